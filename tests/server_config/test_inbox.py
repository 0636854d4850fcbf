"""What an application receives from, between it and the protocol: nothing is lost, doubled, or held without bound."""

import itertools

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from nardis.server._hypercorn.inbox import BOUND_BYTES, MESSAGE_BYTES, MESSAGE_OVERHEAD_BYTES, Inbox, inbox_of

pytestmark = pytest.mark.anyio

LEFT = {"type": "http.disconnect"}
# No eight bytes of it are like any other eight, so that nothing can be lost, doubled or moved unseen.
BODY = b"".join(number.to_bytes(8, "big") for number in range(200_000))


def body(data, *, more):
    return {"type": "http.request", "body": data, "more_body": more}


sizes = st.one_of(st.integers(0, 300), st.integers(0, 70_000))
pauses = st.integers(0, 3)


@given(
    pieces=st.lists(st.tuples(sizes, pauses), max_size=20),
    ends=st.sampled_from(["whole", "cut", "whole and closed"]),
    reads=st.lists(pauses, min_size=1, max_size=8),
    bounded=st.booleans(),
)
async def test_no_interleaving_loses_or_doubles_a_byte(pieces, ends, reads, bounded):
    """Of a body that was cut a beginning may be taken; of one that is whole everything is, and then the disconnect."""
    inbox, taken, heaviest = Inbox(), [], 0
    inbox.bounded = bounded
    sent = sum(size for size, _ in pieces)

    async def produce():
        nonlocal heaviest
        at = 0
        for size, pause in pieces:
            for _ in range(pause):
                await checkpoint()
            await inbox.put(body(BODY[at : at + size], more=True))
            heaviest = max(heaviest, inbox.weight)
            at += size
        if ends != "cut":
            await inbox.put(body(b"", more=False))
        if ends != "whole":
            await inbox.put(LEFT)

    async def consume():
        turn = itertools.cycle(reads)
        while True:
            for _ in range(next(turn)):
                await checkpoint()
            message = await inbox.get()
            if message == LEFT:
                return
            taken.append(message)
            if ends == "whole" and not message["more_body"]:
                return

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            group.start_soon(consume)

    received = b"".join(message["body"] for message in taken)
    if ends == "cut":
        assert BODY.startswith(received)
        assert all(message["more_body"] for message in taken)
    else:
        assert received == BODY[:sent]
        assert [message["more_body"] for message in taken] == [True] * (len(taken) - 1) + [False]
    if ends != "whole":
        assert inbox.has_left()
        assert await inbox.get() == LEFT
    if bounded:
        assert heaviest <= BOUND_BYTES


async def test_a_piece_too_many_waits_until_there_is_room():
    inbox, told = Inbox(), []

    async def produce():
        for _ in range(3):
            await inbox.put(body(bytes(MESSAGE_BYTES), more=True))
            told.append(inbox.weight)

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        await anyio.wait_all_tasks_blocked()
        assert len(told) == 1
        assert inbox.weight <= BOUND_BYTES + MESSAGE_OVERHEAD_BYTES * 2
        await inbox.get()
        await anyio.wait_all_tasks_blocked()
        assert len(told) == 2
        await inbox.get()
        await anyio.wait_all_tasks_blocked()
        assert len(told) == 3


async def test_tiny_pieces_weigh_more_than_their_bytes():
    """A client that sends single bytes is made to wait long before a hundred thousand of them lie here."""
    inbox, count = Inbox(), 0

    async def produce():
        nonlocal count
        while True:
            await inbox.put(body(b"x", more=True))
            count += 1

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        await anyio.wait_all_tasks_blocked()
        assert count <= BOUND_BYTES / MESSAGE_OVERHEAD_BYTES
        assert len((await inbox.get())["body"]) >= count
        group.cancel_scope.cancel()


async def test_a_message_is_no_larger_than_it_should_be():
    inbox = Inbox()
    for _ in range(3):
        await inbox.put(body(bytes(MESSAGE_BYTES // 2), more=True))

    assert [len((await inbox.get())["body"]) for _ in range(2)] == [MESSAGE_BYTES, MESSAGE_BYTES // 2]


async def test_an_empty_body_is_one_message():
    inbox = Inbox()
    await inbox.put(body(b"", more=False))

    assert await inbox.get() == body(b"", more=False)


async def test_what_came_of_a_body_that_is_not_whole_is_dropped_when_the_client_leaves():
    inbox = Inbox()
    await inbox.put(body(b"half", more=True))
    inbox.close(LEFT)

    assert await inbox.get() == LEFT


async def test_a_whole_body_comes_in_one_piece_before_the_disconnect():
    """Those who do not take many messages ahead learn of the disconnect all the same."""
    inbox = Inbox()
    inbox.lift()
    for _ in range(20):
        await inbox.put(body(bytes(MESSAGE_BYTES), more=True))
    await inbox.put(body(b"", more=False))
    inbox.close(LEFT)

    message = await inbox.get()
    assert (len(message["body"]), message["more_body"]) == (20 * MESSAGE_BYTES, False)
    assert await inbox.get() == LEFT
    assert await inbox.get() == LEFT


async def test_the_disconnect_wakes_who_waits_on_either_side():
    inbox, told = Inbox(), []

    async def get(name):
        told.append((name, await inbox.get()))

    async with anyio.create_task_group() as group:
        for name in ("first", "second"):
            group.start_soon(get, name)
        await anyio.wait_all_tasks_blocked()
        assert inbox.waited_for
        assert not inbox.has_left()
        inbox.close(LEFT)
    assert sorted(told) == [("first", LEFT), ("second", LEFT)]

    full = Inbox()
    async with anyio.create_task_group() as group:
        group.start_soon(full.put, body(bytes(2 * BOUND_BYTES), more=True))
        await anyio.wait_all_tasks_blocked()
        full.close(LEFT)
    assert full.has_left()


async def test_two_who_wait_get_one_message_each():
    inbox, told = Inbox(), []

    async def get():
        told.append((await inbox.get())["body"])

    async with anyio.create_task_group() as group:
        group.start_soon(get)
        group.start_soon(get)
        await anyio.wait_all_tasks_blocked()
        await inbox.put(body(b"one", more=True))
        await anyio.wait_all_tasks_blocked()
        assert told == [b"one"]
        assert inbox.waited_for
        await inbox.put(body(b"two", more=True))
    assert told == [b"one", b"two"]


async def test_nothing_comes_after_the_disconnect():
    inbox = Inbox()
    inbox.close(LEFT)
    await inbox.put(body(b"late", more=False))

    assert await inbox.get() == LEFT
    assert inbox.weight == 0


async def test_an_answer_may_be_changed_by_who_got_it():
    """Foreign middleware writes into messages; the next one is as it was."""
    inbox = Inbox()
    inbox.close(LEFT)
    (await inbox.get())["type"] = "spoilt"

    assert await inbox.get() == LEFT


async def test_messages_of_a_websocket_keep_their_order_and_their_bound():
    inbox, told = Inbox(), []

    async def produce():
        await inbox.put({"type": "websocket.connect"})
        await inbox.put({"type": "websocket.receive", "text": "x" * BOUND_BYTES, "bytes": None})
        told.append("text")
        await inbox.put({"type": "websocket.receive", "bytes": b"y", "text": None})
        told.append("bytes")

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        await anyio.wait_all_tasks_blocked()
        assert told == []
        assert (await inbox.get())["type"] == "websocket.connect"
        assert len((await inbox.get())["text"]) == BOUND_BYTES
        await anyio.wait_all_tasks_blocked()
        assert told == ["text", "bytes"]
        assert (await inbox.get())["bytes"] == b"y"
    assert inbox.weight == 0


async def test_what_was_taken_is_told_to_flow_control_once():
    inbox, told = Inbox(), []
    await inbox.put(body(b"abc", more=True))
    inbox.owed = 3
    await inbox.get()
    assert inbox.owed == 3
    inbox.taken = told.append
    for _ in range(2):
        await inbox.put(body(b"def", more=True))
        await inbox.get()
    assert told == [3]


async def test_who_asks_first_is_told_of_once():
    """It is the moment for `100 Continue`."""
    inbox, told = Inbox(), []

    async def asked():
        told.append("asked")
        await inbox.put(body(b"body", more=False))

    inbox.asked = asked
    assert (await inbox.get())["body"] == b"body"
    inbox.close(LEFT)
    await inbox.get()
    assert told == ["asked"]


async def test_the_inbox_of_a_stream_is_found_once_it_has_one():
    class Stream:
        """As hypercorn's are."""

    stream, inbox = Stream(), Inbox()
    assert inbox_of(stream) is None
    assert inbox_of(None) is None
    stream.app_put = inbox.put
    assert inbox_of(stream) is inbox
