"""
What an application receives from, between it and the protocol: nothing is lost, doubled, or held
without bound.
"""

import importlib
import itertools
import tracemalloc
from collections import deque

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import example, given
from hypothesis import strategies as st

from nardis.server.hypercorn.inbox import (
    BOUND_BYTES,
    MESSAGE_BYTES,
    MESSAGE_OVERHEAD_BYTES,
    SMALL_BYTES,
    Inbox,
    inbox_of,
)

pytestmark = pytest.mark.anyio

LEFT = {"type": "http.disconnect"}
# No eight bytes of it are like any other eight, so that nothing can be lost, doubled or moved
# unseen.
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
    """
    Of a body that was cut a beginning may be taken; of one that is whole everything is, and then
    the disconnect.
    """
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
        for _ in range(4):
            await inbox.put(body(bytes(MESSAGE_BYTES), more=True))
            told.append(inbox.weight)

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        await anyio.wait_all_tasks_blocked()
        assert told == [MESSAGE_BYTES, BOUND_BYTES]
        assert inbox.weight == BOUND_BYTES + MESSAGE_BYTES
        await inbox.get()
        await anyio.wait_all_tasks_blocked()
        assert len(told) == 3
        await inbox.get()
        await anyio.wait_all_tasks_blocked()
        assert len(told) == 4


async def test_tiny_pieces_cost_no_more_memory_than_their_bytes():
    """A client may send single bytes, as many as there is room for."""
    inbox = Inbox()
    tracemalloc.start()
    try:
        for number in range(BOUND_BYTES):
            inbox.add(BODY[number : number + 1])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert inbox.weight == BOUND_BYTES
    assert held < 2 * BOUND_BYTES
    assert [(await inbox.get())["body"] for _ in range(2)] == [
        BODY[:MESSAGE_BYTES],
        BODY[MESSAGE_BYTES:BOUND_BYTES],
    ]
    assert inbox.weight == 0


async def test_tiny_pieces_wait_for_room_like_others():
    inbox, count = Inbox(), 0

    async def produce():
        nonlocal count
        while True:
            await inbox.put(body(bytes(64), more=True))
            count += 1

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        await anyio.wait_all_tasks_blocked()
        assert count == BOUND_BYTES // 64
        await inbox.get()
        await anyio.wait_all_tasks_blocked()
        assert count == (BOUND_BYTES + MESSAGE_BYTES) // 64
        group.cancel_scope.cancel()


async def test_a_message_is_no_larger_than_it_should_be():
    inbox = Inbox()
    for _ in range(3):
        await inbox.put(body(bytes(MESSAGE_BYTES // 2), more=True))

    assert [len((await inbox.get())["body"]) for _ in range(2)] == [
        MESSAGE_BYTES,
        MESSAGE_BYTES // 2,
    ]


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


async def test_whoever_waits_is_woken_also_where_another_waited_and_was_cancelled(
    anyio_backend_name,
):
    """A foreign application may ask from several tasks; event loops wake them in their own way."""
    tasks = importlib.import_module(f"nardis.server.hypercorn.{anyio_backend_name}_tasks")
    inbox, told = Inbox(tasks.ConnectionTasks.signal), []
    inbox.take("first")
    await inbox.get()

    async def ask():
        told.append(await inbox.get())

    async with anyio.create_task_group() as group:
        async with anyio.create_task_group() as impatient:
            impatient.start_soon(ask)
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            impatient.cancel_scope.cancel()
        inbox.take("second")
    assert [each["text"] for each in told] == ["second"]


async def test_who_asks_with_a_deadline_again_and_again_leaves_nothing_behind(anyio_backend_name):
    """A conversation in which the client is silent may last for days."""
    tasks = importlib.import_module(f"nardis.server.hypercorn.{anyio_backend_name}_tasks")
    inbox = Inbox(tasks.ConnectionTasks.signal)
    inbox.take("first")
    await inbox.get()

    async def ask():
        with anyio.move_on_after(0):
            await inbox.get()

    await ask()
    tracemalloc.start()
    try:
        for _ in range(300):
            await ask()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 300 * 100


async def test_messages_of_a_websocket_keep_their_order_and_their_bound():
    inbox, told = Inbox(), []

    async def produce():
        await inbox.put({"type": "websocket.connect"})
        for kind, message in ("text", "x" * BOUND_BYTES), ("bytes", b"y"):
            if not inbox.take(message):
                await inbox.room()
            told.append(kind)

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


WINDOW_BYTES = 50_000

steps = st.one_of(
    st.tuples(
        st.just("piece"),
        st.one_of(st.integers(0, 300), st.integers(0, 20_000)),
        st.integers(0, 256),
    ),
    st.tuples(st.just("message"), st.integers(0, 70_000), st.sampled_from(["bytes", "text"])),
    st.just(("get",)),
)


class Sender:
    """A client that sends as much as its window allows, and what lies of it, by its own account."""

    def __init__(self):
        self.room = WINDOW_BYTES
        self.given = []
        self.pieces = deque()  # of each its size and its flow-controlled bytes
        self.messages = deque()
        self.inbox = Inbox()
        self.inbox.bounded = False
        self.inbox.taken = self.given.append

    def send_piece(self, size, padding):
        if size + padding <= self.room:
            self.room -= size + padding
            self.inbox.add(bytes(size), size + padding)
            if size:
                self.pieces.append((size, size + padding))
            elif padding:
                self.room += self.given.pop()  # padding alone is given back at once

    def send_message(self, size, kind):
        self.inbox.take({"bytes": b"x", "text": "x"}[kind] * size)
        self.messages.append(size + MESSAGE_OVERHEAD_BYTES)

    async def take(self):
        """Let the application take one message, which gives back what it came in, to the byte."""
        message = await self.inbox.get()
        if message["type"] == "websocket.receive":
            self.messages.popleft()
            return
        size, credit = len(message["body"]), 0
        while size > 0:
            taken, came_in = self.pieces.popleft()
            size, credit = size - taken, credit + came_in
        assert (size, self.given) == (0, [credit])
        self.room += self.given.pop()

    def check(self):
        assert self.given == []
        assert (
            self.inbox.owed == WINDOW_BYTES - self.room == sum(credit for _, credit in self.pieces)
        )
        assert self.inbox.weight == sum(self.messages) + sum(size for size, _ in self.pieces)


@pytest.mark.parametrize("size", [0, 1, 40])
@pytest.mark.parametrize("make", [lambda text: text, str.encode], ids=["text", "bytes"])
def test_messages_of_a_websocket_take_no_more_memory_than_is_counted(size, make):
    """Each is a dictionary in a queue, however little it says."""
    inbox = Inbox()
    tracemalloc.start()
    try:
        for number in range(500):
            inbox.take(make(str(number).rjust(size)[:size]))
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert held <= inbox.weight


@given(st.lists(steps, max_size=60))
@example([("piece", 20_000, 256)] * 3)
@example([("piece", 0, 0), ("piece", 0, 256), ("get",)])
async def test_no_order_of_puts_and_gets_lets_the_credit_or_the_weight_drift(steps):
    """
    What lies never exceeds the window, because the client has no other room than what is given
    back.
    """
    sender = Sender()
    for kind, *facts in steps:
        if kind == "piece":
            sender.send_piece(*facts)
        elif kind == "message":
            sender.send_message(*facts)
        elif sender.inbox.weight:
            await sender.take()
        sender.check()
        assert sender.room >= 0
    with anyio.fail_after(20):
        while sender.pieces or sender.messages:
            await sender.take()
    sender.check()
    assert (sender.room, sender.inbox.weight) == (WINDOW_BYTES, 0)


async def test_what_is_dropped_weighs_nothing():
    inbox = Inbox()
    inbox.add(bytes(SMALL_BYTES), SMALL_BYTES + 10)
    inbox.close(LEFT)

    assert (inbox.weight, inbox.owed) == (0, 0)
    inbox.add(b"late", 4)
    assert (inbox.weight, inbox.owed) == (0, 0)


async def test_nothing_is_given_back_to_a_client_that_has_sent_all():
    inbox, told = Inbox(), []
    inbox.taken = told.append
    inbox.add(b"last", 4)
    await inbox.put(body(b"", more=False))

    assert await inbox.get() == body(b"last", more=False)
    assert told == []


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


@pytest.mark.parametrize(
    ("whole", "claimed", "waits"),
    [(False, False, True), (True, False, False), (False, True, False)],
)
async def test_an_application_waits_for_its_body_where_nobody_else_looks_after_that(
    whole, claimed, waits
):
    inbox = Inbox()
    if whole:
        await inbox.put(body(b"all", more=False))
        await inbox.get()
    inbox.claimed = claimed
    assert not inbox.waits_since
    async with anyio.create_task_group() as group:
        group.start_soon(inbox.get)
        await anyio.wait_all_tasks_blocked()
        assert inbox.waited_for
        assert bool(inbox.waits_since) is waits
        inbox.close(LEFT)
    assert not inbox.waits_since


async def test_waits_for_a_body_add_up_until_something_arrives(monkeypatch):
    now, inbox = 100.0, Inbox()
    monkeypatch.setattr("nardis.server.hypercorn.inbox.clock", lambda: now)
    for waited in (0, 5):
        with anyio.CancelScope() as asking:
            async with anyio.create_task_group() as group:
                group.start_soon(inbox.get)
                await anyio.wait_all_tasks_blocked()
                assert now - inbox.waits_since == waited
                now += 5
                asking.cancel()
    await inbox.put(body(b"some", more=True))
    await inbox.get()
    async with anyio.create_task_group() as group:
        group.start_soon(inbox.get)
        await anyio.wait_all_tasks_blocked()
        assert inbox.waits_since == now
        inbox.close(LEFT)


class Listener:
    """Who wants to know of a client."""

    def __init__(self):
        self.heard = []

    def left(self):
        self.heard.append("left")

    def stalled(self):
        self.heard.append("stalled")


async def test_who_wants_to_know_of_a_client_is_told_at_once_that_it_left_or_stalled():
    inbox = Inbox()
    inbox.leave()
    inbox.stall()
    assert inbox.stalled is True
    inbox.listener = Listener()
    inbox.leave()
    inbox.stall()

    assert inbox.listener.heard == ["left", "stalled"]


async def test_the_inbox_of_a_stream_is_found_once_it_has_one():
    class Stream:
        """As hypercorn's are."""

    stream, inbox = Stream(), Inbox()
    assert inbox_of(stream) is None
    assert inbox_of(None) is None
    stream.app_put = inbox.put
    assert inbox_of(stream) is inbox
