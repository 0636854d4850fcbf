"""What is said on a WebSocket, over each HTTP: rules S1 to S4 of `speech`."""

import random

import anyio
import pytest

from nardis.server.hypercorn.h2_window import OUT_BYTES
from nardis.server.websocket.deflate import SLOW_BYTES, SMALL_BYTES, deflated
from nardis.server.websocket.frames import frame as server
from tests.peers.wsclient import BINARY, CLOSE, PING, PONG, TEXT, close_frame, frame
from tests.runner.ends import cancelled, fill
from tests.runner.talks import TALKS, settled, talking
from tests.runner.test_socket_ends import Listens, closed, gone

pytestmark = pytest.mark.anyio

MUCH = 8 * 2**20  # more than the kernel has room for
SAID = {"type": "websocket.send", "bytes": b"said"}


def ours(opcode, payload=b""):
    return frame(opcode, payload, masked=False)


def server_frame(payload):
    """Return a compressed message of ours."""
    return server(BINARY, deflated(payload, 15), compressed=True)


@pytest.fixture(params=TALKS)
def opened(request, anyio_backend_name):
    """Return a context manager that opens a WebSocket to an application, over each HTTP."""
    return lambda app, **options: talking(request.param, anyio_backend_name, app, **options)


async def test_s1_frames_of_several_tasks_go_out_whole_and_in_the_order_of_the_calls(opened):
    app = Listens()
    async with opened(app, window=1) as talk, anyio.create_task_group() as group:
        await talk.block()
        for number in range(5):
            message = {"type": "websocket.send", "text": 20 * f"{number}"}
            group.start_soon(app.send, message)
            await settled()

        said = b"".join(ours(TEXT, 20 * f"{number}".encode()) for number in range(5))
        assert await talk.read(len(said)) == said


async def test_s2_each_ping_is_answered_while_there_is_room(opened):
    app = Listens()
    async with opened(app) as talk:
        await talk.send(b"".join(frame(PING, b"%d" % number) for number in range(10)))

        said = b"".join(ours(PONG, b"%d" % number) for number in range(10))
        assert await talk.read(len(said)) == said


async def test_s2_of_pings_that_cannot_be_answered_the_last_is_in_front_of_the_next_frame(opened):
    app = Listens()
    async with opened(app, window=1) as talk, anyio.create_task_group() as group:
        await talk.block()
        group.start_soon(app.send, SAID)
        await settled()
        group.start_soon(app.send, SAID)
        await settled()
        for number in range(3):
            await talk.send(frame(PING, b"%d" % number))

        message = ours(BINARY, b"said")
        said = message + ours(PONG, b"2") + message
        assert await talk.read(len(said)) == said
        await talk.send(frame(PING, b"more"))
        assert await talk.read(6) == ours(PONG, b"more")


async def test_s2_an_answer_that_finds_no_room_goes_out_by_itself(opened):
    app = Listens()
    async with opened(app, window=1) as talk:
        await talk.block()
        await talk.send(frame(PING, b"?"))

        assert await talk.read(3) == ours(PONG, b"?")


async def test_s3_a_frame_that_is_cancelled_before_its_first_byte_leaves_no_trace(opened):
    app = Listens()
    async with opened(app, window=0) as talk, anyio.create_task_group() as group:
        await talk.block()
        await cancelled(app.send, {**SAID, "bytes": b"never"})  # it was its turn
        group.start_soon(app.send, SAID)
        await settled()
        await cancelled(app.send, {**SAID, "bytes": b"never"})  # another's
        await talk.send(frame(PING, b"?"))
        group.start_soon(app.send, SAID)
        await settled()

        said = ours(BINARY, b"said") + ours(PONG, b"?") + ours(BINARY, b"said")
        assert await talk.read(len(said)) == said
        assert app.heard == []


async def test_s3_a_close_that_is_cancelled_before_its_first_byte_leaves_it_open(opened):
    app = Listens(reads=True)
    async with opened(app, window=0) as talk, anyio.create_task_group() as group:
        await talk.block()
        await cancelled(app.send, {"type": "websocket.close", "code": 4000})
        await talk.send(frame(TEXT, b"goes on"))
        group.start_soon(app.send, SAID)
        await settled()
        assert await talk.read(6) == ours(BINARY, b"said")
        group.start_soon(app.send, {"type": "websocket.close", "code": 4002})
        await talk.grow(100)
        assert await talk.read(4) == ours(CLOSE, closed(4002))
        await talk.send(close_frame(4001))
        await app.left.wait()
    assert app.messages() == ["goes on"]
    assert app.heard == [(4001, "")]


async def test_s3_a_frame_that_is_cancelled_behind_its_first_byte_is_the_last(opened):
    """Neither what waits nor an answer comes inside of it; both sides hear 1006."""
    app = Listens(reads=True)
    async with opened(app) as talk, anyio.create_task_group() as group:
        sent = anyio.CancelScope()

        async def send():
            with sent:
                await app.send({**SAID, "bytes": bytes(MUCH)})

        group.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(app.send, SAID)
        await talk.send(frame(PING, b"?"))
        await settled()
        sent.cancel()
        await app.left.wait()
        await app.send(SAID)
        assert app.heard == [(1006, "")]

        said = await gone(talk)
        assert ours(BINARY, bytes(MUCH)).startswith(said)


async def test_s4_nothing_comes_behind_a_close(opened):
    """Not what waits, nor an answer; and a task that sends on is not disturbed."""
    app = Listens()
    async with opened(app, window=1) as talk, anyio.create_task_group() as group:
        await talk.block()
        for message in (SAID, {"type": "websocket.close", "code": 4000}):
            group.start_soon(app.send, message)
            await settled()
        await talk.send(frame(PING, b"?"))
        said = ours(BINARY, b"said") + ours(PONG, b"?") + ours(CLOSE, closed(4000))
        assert await talk.read(len(said)) == said
        await talk.send(frame(PING, b"late") + close_frame(1000))

        assert await talk.rest() == b""
        await app.send(SAID)


async def test_s4_what_waited_when_the_client_closed_is_dropped(opened):
    app = Listens()
    async with opened(app, window=1) as talk, anyio.create_task_group() as group:
        await talk.block()
        for _ in range(3):
            group.start_soon(app.send, SAID)
            await settled()
        await talk.send(close_frame(4001))
        said = ours(BINARY, b"said") + ours(CLOSE, closed(4001))
        assert await talk.read(len(said)) == said
        assert await talk.rest() == b""


async def test_s4_what_waited_when_the_client_left_is_dropped(opened):
    app = Listens()
    async with opened(app, window=1) as talk, anyio.create_task_group() as group:
        await talk.block()
        for _ in range(2):
            group.start_soon(app.send, SAID)
            await settled()
        await talk.leave()
        await settled()
        assert app.heard == [(1006, "")]


# --- what HTTP/2 does in its own way --------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "said"), [(SAID, False), ({"type": "websocket.close"}, True)], ids=["data", "close"]
)
async def test_s3_a_frame_that_is_with_the_connection_as_a_whole_goes_out(
    anyio_backend_name, last, said
):
    """Its cancellation comes too late; an answer finds no room any more, and waits."""
    app = Listens()
    async with talking("h2", anyio_backend_name, app, window=2**20) as talk:
        fill(talk.connection.wire)
        [stream] = talk.connection.talk.protocol.streams()
        protocol = talk.connection.talk.protocol.protocol
        await app.send({**SAID, "bytes": bytes(OUT_BYTES // 2)})
        await settled()  # it waits for the socket, and there is room for as much behind it
        protocol._out += bytes(OUT_BYTES - len(protocol._out))
        await cancelled(app.send, last)
        assert stream.went_out
        assert stream.said_close is said

        await talk.send(frame(PING, b"?"))
        assert app.heard == []


async def test_s3_a_close_that_is_cancelled_behind_its_first_byte_is_a_cut(anyio_backend_name):
    app = Listens(reads=True)
    async with talking("h2", anyio_backend_name, app, window=2) as talk:
        await cancelled(app.send, {"type": "websocket.close", "code": 4000})
        await app.left.wait()

        assert app.heard == [(1006, "")]
        assert await gone(talk) == ours(CLOSE, closed(4000))[:2]


# --- compression ----------------------------------------------------------------------------------

OFFER = {"offer": "permessage-deflate", "ws_compression": True}


async def test_a_message_is_compressed_where_that_is_worth_it(opened):
    app, noise = Listens(), random.Random(1).randbytes(SMALL_BYTES)
    async with opened(app, **OFFER) as talk:
        assert b"server_no_context_takeover" in str(talk.head).encode()
        for payload, expected in (
            ((SMALL_BYTES - 1) * b"x", ours(BINARY, (SMALL_BYTES - 1) * b"x")),
            (SMALL_BYTES * b"x", server_frame(SMALL_BYTES * b"x")),
            (noise, ours(BINARY, noise)),
            (SLOW_BYTES * b"x", server_frame(SLOW_BYTES * b"x")),  # in a thread
        ):
            await app.send({**SAID, "bytes": payload})
            assert await talk.read(len(expected)) == expected


async def test_messages_keep_their_order_where_one_is_compressed_in_a_thread(opened):
    app, large = Listens(), server_frame(SLOW_BYTES * b"x")
    async with opened(app, **OFFER) as talk, anyio.create_task_group() as group:
        group.start_soon(app.send, {**SAID, "bytes": SLOW_BYTES * b"x"})
        await settled()
        group.start_soon(app.send, {**SAID, "bytes": SLOW_BYTES * b"x"})
        await settled()
        await app.send(SAID)

        assert await talk.read(2 * len(large)) == 2 * large
        assert await talk.read(6) == ours(BINARY, b"said")


async def test_a_compressed_message_beyond_the_bound_is_refused_when_it_is(opened):
    app = Listens(1000)
    async with opened(app, **OFFER) as talk:
        fits, over = (
            frame(BINARY, deflated(bytes(size), 15), first=0xC0) for size in (1000, 10**6)
        )
        await talk.send(fits + over)
        assert (await talk.read(4))[2:] == closed(1009)
        app.reads.set()
        await app.left.wait()
    assert app.messages() == [1000]


async def test_compression_is_asked_for_on_both_sides(opened):
    for options in ({**OFFER, "ws_compression": False}, {**OFFER, "offer": "x-unheard"}):
        async with opened(Listens(), **options) as talk:
            assert b"extensions" not in str(talk.head).encode()


async def test_a_close_of_the_client_goes_out_behind_a_message_that_is_being_compressed(opened):
    app = Listens()
    async with opened(app, **OFFER) as talk, anyio.create_task_group() as group:
        group.start_soon(app.send, {**SAID, "bytes": 64 * SLOW_BYTES * b"x"})
        await settled()
        await talk.send(close_frame(4001))

        assert (await talk.rest())[-4:] == ours(CLOSE, closed(4001))
