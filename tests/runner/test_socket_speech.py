"""What is said on a WebSocket, over each HTTP: rules S1 to S4 of `speech`."""

import random
import socket

import anyio
import pytest

from nardis.server.hypercorn.h2_window import OUT_BYTES
from nardis.server.hypercorn.websockets import CLOSE_S
from nardis.server.websocket.deflate import SLOW_BYTES, SMALL_BYTES, deflated
from nardis.server.websocket.frames import frame as server
from tests.peers.wsclient import BINARY, CLOSE, PING, PONG, TEXT, close_frame, frame
from tests.runner.ends import cancelled, fill
from tests.runner.talks import TALKS, settled, stream_of, talking
from tests.runner.test_socket_ends import Listens, closed, gone

pytestmark = pytest.mark.anyio

MUCH = 8 * 2**20  # more than the kernel has room for
OFFER = {"offer": "permessage-deflate", "ws_compression": True}
SAID = {"type": "websocket.send", "bytes": b"said"}
LARGE = {"type": "websocket.send", "bytes": bytes(MUCH)}


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
        for each in (b"?", b"2", b"3"):
            await talk.send(frame(PING, each))

        assert await talk.read(6) == ours(PONG, b"?") + ours(PONG, b"3")


async def test_s2_an_answer_that_a_frame_has_taken_along_is_not_missed(opened):
    app = Listens()
    async with opened(app, window=0) as talk, anyio.create_task_group() as group:
        await talk.block()
        group.start_soon(app.send, SAID)
        stream_of(talk).answer(PONG, b"?")  # it has a task of its own, which comes behind
        await settled()

        assert await talk.read(9) == ours(PONG, b"?") + ours(BINARY, b"said")
        group.start_soon(app.send, SAID)
        assert await talk.read(6) == ours(BINARY, b"said")


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


async def test_s3_a_compressed_message_that_is_cancelled_leaves_no_trace_either(opened):
    app = Listens()
    async with opened(app, window=0, **OFFER) as talk, anyio.create_task_group() as group:
        await talk.block()
        await cancelled(app.send, {**SAID, "bytes": SMALL_BYTES * b"x"})
        group.start_soon(app.send, SAID)

        assert await talk.read(6) == ours(BINARY, b"said")


async def test_s3_an_accept_that_is_cancelled_has_no_frame_in_its_place(anyio_backend_name):
    """The client was slow to take what it had asked for before."""

    class Accepts(Listens):
        async def answer(self, send):
            await self.end.wait()
            await cancelled(send, {"type": "websocket.accept"})
            self.reads.set()

    app = Accepts()
    async with talking("h1", anyio_backend_name, app, waits=False) as talk:
        fill(talk.connection.wire)
        app.end.set()
        await app.reads.wait()
        assert set(await gone(talk)) == {0}
        await app.left.wait()
    assert app.heard == [(1006, "")]


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


async def test_s3_a_frame_that_is_cancelled_behind_its_first_byte_is_finished(opened):
    """Its caller leaves at once; what waits comes behind, an answer in front of it."""
    app = Listens(reads=True)
    async with opened(app) as talk, anyio.create_task_group() as group:
        await cancelled(app.send, LARGE)
        group.start_soon(app.send, SAID)
        await anyio.wait_all_tasks_blocked()
        await talk.send(frame(PING, b"?"))

        said = ours(BINARY, LARGE["bytes"]) + ours(PONG, b"?") + ours(BINARY, b"said")
        assert await talk.read(len(said)) == said
        assert app.heard == []
        assert not stream_of(talk).is_speaking


@pytest.mark.parametrize("is_left", [False, True], ids=["waits", "is cancelled"])
async def test_s3_a_frame_that_finds_room_for_a_part_is_finished(
    anyio_backend_name, monkeypatch, is_left
):
    """Also where its caller is cancelled before there is room for any more of it."""
    zeros = 0

    def begin(wire, data):
        nonlocal zeros
        monkeypatch.undo()
        sent = wire.socket.send(data[:3])
        zeros = fill(wire)
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return sent

    app = Listens()
    async with talking("h1", anyio_backend_name, app) as talk, anyio.create_task_group() as group:
        monkeypatch.setattr(type(talk.connection.wire), "begin", begin)
        if is_left:
            await cancelled(app.send, SAID)
        else:
            group.start_soon(app.send, SAID)
            await anyio.wait_all_tasks_blocked()
        group.start_soon(app.send, SAID)
        said = await talk.read(12 + zeros)

        assert said[:3] + said[3 + zeros :] == 2 * ours(BINARY, b"said")


async def test_s3_a_close_of_the_client_is_answered_behind_a_frame_that_is_finished(opened):
    app = Listens()
    async with opened(app) as talk:
        await cancelled(app.send, LARGE)
        await talk.send(close_frame(4001))

        said = ours(BINARY, LARGE["bytes"]) + ours(CLOSE, closed(4001))
        assert await talk.read(len(said)) == said
        assert await talk.rest() == b""


async def test_s3_a_frame_is_finished_before_we_close_for_an_application_that_has_ended(opened):
    app = Listens(reads=True)
    async with opened(app) as talk:
        await cancelled(app.send, LARGE)
        await stream_of(talk).app_send(None)

        said = ours(BINARY, LARGE["bytes"]) + ours(CLOSE, closed(1011))
        assert await talk.read(len(said)) == said
        await talk.send(close_frame(1011))
        assert await talk.rest() == b""


async def test_s3_a_frame_is_not_finished_for_a_client_that_takes_nothing(opened):
    app = Listens(reads=True)
    async with opened(app) as talk, anyio.create_task_group() as group:
        await cancelled(app.send, LARGE)
        group.start_soon(app.send, SAID)
        await stream_of(talk).app_send(None)
        await anyio.wait_all_tasks_blocked()
        talk.look(CLOSE_S - 1)
        talk.look(2 * CLOSE_S)
        await app.left.wait()
        assert ours(BINARY, LARGE["bytes"]).startswith(await gone(talk))


@pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
async def test_s3_a_frame_is_not_finished_for_a_client_that_has_left(opened, before):
    """Whatever it still reads; before its send was cancelled, or after."""
    app = Listens()
    async with opened(app) as talk:
        async with anyio.create_task_group() as group:
            group.start_soon(app.send, LARGE)
            await anyio.wait_all_tasks_blocked()
            if before:
                await talk.say_no_more()
            group.cancel_scope.cancel()
        if not before:
            await talk.say_no_more()
        assert app.heard == [(1006, "")]
        assert ours(BINARY, LARGE["bytes"]).startswith(await gone(talk))


async def test_s3_a_frame_that_is_finished_no_more_gives_its_turn(opened):
    """The connection ended meanwhile, and others may be waiting to send to it."""
    app = Listens()
    async with opened(app) as talk, anyio.create_task_group() as group:
        await cancelled(app.send, LARGE)
        group.start_soon(app.send, SAID)
        await anyio.wait_all_tasks_blocked()
        talk.connection.end()


async def test_s3_a_close_that_the_client_forestalls_answers_it_also_if_it_is_cancelled(opened):
    app = Listens()
    async with opened(app, window=0) as talk:
        await talk.block()
        async with anyio.create_task_group() as group:
            group.start_soon(app.send, {"type": "websocket.close", "code": 4000})
            await anyio.wait_all_tasks_blocked()
            await talk.send(close_frame(4001))
            group.cancel_scope.cancel()
        await settled()

        assert await talk.read(4) == ours(CLOSE, closed(4000))
        assert await talk.rest() == b""


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


@pytest.mark.parametrize("last", [SAID, {"type": "websocket.close"}], ids=["data", "close"])
async def test_s3_a_frame_that_is_with_the_connection_as_a_whole_goes_out(anyio_backend_name, last):
    """Its cancellation comes too late; an answer finds no room any more, and waits."""
    app = Listens()
    async with talking("h2", anyio_backend_name, app, window=2**20) as talk:
        fill(talk.connection.wire)
        stream, protocol = stream_of(talk), talk.connection.talk.protocol.protocol
        await app.send({**SAID, "bytes": bytes(OUT_BYTES // 2)})
        await settled()  # it waits for the socket, and there is room for as much behind it
        protocol._out += bytes(OUT_BYTES - len(protocol._out))
        await cancelled(app.send, last)
        assert stream.said_close is (last is not SAID)

        await talk.send(frame(PING, b"?"))
        assert app.heard == []


async def test_s3_a_close_that_is_cancelled_behind_its_first_byte_is_finished(anyio_backend_name):
    """Then the stream ends on our side, though its application goes on."""
    app = Listens(reads=True)
    async with talking("h2", anyio_backend_name, app, window=2) as talk:
        await cancelled(app.send, {"type": "websocket.close", "code": 4000})
        assert await talk.read(4) == ours(CLOSE, closed(4000))
        await talk.rest()
        assert talk.ended
        await talk.send(close_frame(4000))
        await app.left.wait()

    assert app.heard == [(4000, "")]


async def test_s3_a_denial_that_is_cancelled_behind_its_first_byte_is_cut(anyio_backend_name):
    class Denies(Listens):
        async def answer(self, send):
            await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
            await cancelled(send, {"type": "websocket.http.response.body", "body": b"never"})
            self.end.set()

    app = Denies()
    async with talking("h2", anyio_backend_name, app, window=2) as talk:
        await app.end.wait()
        assert await gone(talk) == b"ne"


async def test_a_close_that_is_taken_byte_by_byte_has_no_more_time(anyio_backend_name):
    """What is in front of it has, as long as the client takes that."""
    app = Listens()
    async with talking("h2", anyio_backend_name, app, window=0) as talk:
        stream = stream_of(talk)
        async with anyio.create_task_group() as group:
            for message in (SAID, {"type": "websocket.close", "code": 4000}):
                group.start_soon(app.send, message)
                await settled()
            stream._closing_since -= CLOSE_S - 1
            await talk.grow(1)
            talk.look(2)
            assert app.heard == []
            await talk.grow(6)
            stream._closing_since -= CLOSE_S - 1
            await talk.grow(1)
            talk.look(2)
            assert app.heard == [(1006, "")]
        assert await gone(talk) == ours(BINARY, b"said") + ours(CLOSE, closed(4000))[:2]


# --- compression ----------------------------------------------------------------------------------


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
