"""WebSockets as the runner serves them, and hypercorn's other conversations with a connection."""

import importlib.metadata
import importlib.util
import socket
import struct
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypercorn.events import Closed, RawData, Updated

from nardis.server import Config
from nardis.server import hypercorn as _hypercorn
from nardis.server.connection import Connection
from nardis.server.hypercorn.guest import Guest
from nardis.server.hypercorn.inbox import Inbox
from nardis.server.service import TICK_S, Service
from nardis.server.serving import serve
from nardis.server.stream import clock

pytestmark = pytest.mark.anyio

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04" + bytes(5)


@asynccontextmanager
async def serving(app, backend, **settings):
    """Serve for the length of the block; the port is given."""
    stop = anyio.Event()
    config = Config(bind=["127.0.0.1:0"], backend=backend, drain_s=0.1, **settings)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            [address] = await group.start(
                lambda task_status: serve(app, config, shutdown=stop.wait, task_status=task_status)
            )
            yield int(address.rpartition(":")[2])
            stop.set()


# --- hypercorn ------------------------------------------------------------------------------------


def load_anew():
    """Import the package once more, beside the one that is there."""
    spec = importlib.util.spec_from_file_location("another", _hypercorn.__file__)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


@pytest.mark.parametrize("version", ["0.17.3", "0.19.0", "1.0.18.0"])
def test_another_series_of_hypercorn_is_refused_with_what_to_install(monkeypatch, version):
    load_anew()
    monkeypatch.setattr(importlib.metadata, "version", {"hypercorn": version}.__getitem__)

    with pytest.raises(ImportError, match=f"here is {version}: install 'hypercorn>=0.18,<0.19'"):
        load_anew()


# --- WebSockets -----------------------------------------------------------------------------------


async def test_a_message_before_the_handshake_is_answered_is_refused_and_the_application_hears(
    anyio_backend_name,
):
    """Also if it comes by itself, while the application thinks about it."""
    asked, received = anyio.Event(), []

    async def app(scope, receive, send):
        assert scope["type"] == "websocket"
        received.append(await receive())
        asked.set()
        received.append(await receive())

    async with (
        serving(app, anyio_backend_name) as port,
        await anyio.connect_tcp("127.0.0.1", port) as client,
    ):
        await client.send(HANDSHAKE)
        await asked.wait()
        await client.send(b"\x81\x82\x00\x00\x00\x00hi")
        answer = b"".join([piece async for piece in client])

    assert answer.startswith(b"HTTP/1.1 400")
    assert received == [
        {"type": "websocket.connect"},
        {"type": "websocket.disconnect", "code": 1006},
    ]


async def test_an_application_that_was_told_of_the_restart_hears_of_no_other_end(
    anyio_backend_name,
):
    answered, received = anyio.Event(), []

    async def app(scope, receive, send):
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        received.append(await receive())
        await answered.wait()
        received.append(await receive())

    async def answer(client):
        async with client:
            assert await client.receive() == b"\x88\x15\x03\xf4the server restarts"
            await client.send(b"\x88\x82\x00\x00\x00\x00\x0f\xa1")
            assert [piece async for piece in client] == [], "a second Close frame"
        answered.set()

    async with anyio.create_task_group() as group, serving(app, anyio_backend_name) as port:
        client = await anyio.connect_tcp("127.0.0.1", port)
        await client.send(HANDSHAKE)
        assert (await client.receive()).startswith(b"HTTP/1.1 101")
        group.start_soon(answer, client)

    assert received == 2 * [
        {"type": "websocket.disconnect", "code": 1012, "reason": "the server restarts"}
    ]


async def test_a_connection_without_any_is_ended_at_the_shutdown(anyio_backend_name):
    """One of HTTP/2, on which there may be some."""

    async def app(scope, receive, send):
        raise RuntimeError("nothing was asked")

    async with serving(app, anyio_backend_name) as port:
        client = await anyio.connect_tcp("127.0.0.1", port)
        await client.send(PREFACE)
        await client.receive()
    async with client:
        assert isinstance([piece async for piece in client], list), "it has an end"


async def test_an_accept_with_a_field_that_cannot_be_sent_is_the_applications_fault(
    anyio_backend_name,
):
    """It may still refuse the handshake."""

    async def app(scope, receive, send):
        assert scope["type"] == "websocket"
        await receive()
        with pytest.raises(Exception, match=r"\w"):
            await send({"type": "websocket.accept", "headers": [(b"x-a", b"b\nc: d")]})
        await send({"type": "websocket.close"})

    async with (
        serving(app, anyio_backend_name) as port,
        await anyio.connect_tcp("127.0.0.1", port) as client,
    ):
        await client.send(HANDSHAKE)
        answer = b"".join([piece async for piece in client])

    assert answer.startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("unread", [0, 20_000], ids=["", "behind what was not read"])
async def test_a_close_frame_is_heard_by_an_application_whose_send_finds_that_the_client_is_gone(
    anyio_backend_name, unread
):
    left, received = anyio.Event(), []

    async def app(scope, receive, send):
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        await left.wait()
        for _ in range(3):
            await send({"type": "websocket.send", "text": "still there?"})
        while not received or received[-1]["type"] != "websocket.disconnect":
            received.append(await receive())

    async with serving(app, anyio_backend_name) as port:
        with socket.socket() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.connect(("127.0.0.1", port))
            client.sendall(HANDSHAKE)
            assert (await anyio.to_thread.run_sync(client.recv, 4096)).startswith(b"HTTP/1.1 101")
            message = b"\x82\xfe" + unread.to_bytes(2, "big") + bytes(4) + bytes(unread)
            client.sendall(message * bool(unread) + b"\x88\x82\x00\x00\x00\x00\x0f\xa1")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        left.set()

    assert [len(each["bytes"]) for each in received[:-1]] == [unread] * bool(unread)
    assert received[-1] == {"type": "websocket.disconnect", "code": 4001}


# --- a conversation of hypercorn's ----------------------------------------------------------------


class Wire:
    """A client's socket that lists what is done to it."""

    client = server = rest = None
    read_at = sent = writing = 0

    def __init__(self, *pieces):
        self.log = []
        self.pieces = list(pieces)
        self.closed = self.broken = False

    async def read(self):
        for _ in range(30):  # meanwhile the others do what they have to
            await checkpoint()
        return self.pieces.pop(0) if self.pieces else b""

    async def write(self, *pieces, keeps=False):
        self.log.append(b"".join(pieces))
        return not self.broken

    async def finish(self, *, whole):
        self.log.append(f"finish {whole}")

    def close(self):
        self.log.append("close")
        self.closed = True


class Protocol:
    """What would speak; *hears* whether a Close frame of a WebSocket may still come."""

    def __init__(self, *, http2=True, hears=False, websockets=False, unfinished=False):
        self.http2 = http2
        self.hears = hears
        self.open = websockets
        self.unfinished = unfinished
        self.until = 0.0
        self.handled = []
        self.calls = [Inbox(), Inbox()]

    async def handle(self, event):
        self.handled.append(event)

    def inboxes(self):
        return self.calls

    def is_unfinished(self):
        return self.unfinished

    def hears_to_the_end(self):
        return self.hears

    def close_websockets(self):
        return self.open

    def look(self, now, wire, *, busy):
        self.handled.append(f"look, {busy=}")
        return self.until

    def goodbye(self):
        return self.http2


class Tasks:
    """A group of tasks of which none is begun."""

    def __init__(self):
        self.spawned = []

    def spawn(self, function):
        self.spawned.append(function)


def guest(**facts):
    """Return a conversation that has begun, its connection, and what is done to that."""
    wire = Wire()
    connection = Connection(
        Service(None, Config()), wire, wire, lambda self: Guest(self, None, b"", "h2")
    )
    talk = connection.talk
    talk.protocol, talk.tasks = Protocol(**facts), Tasks()
    return talk, connection, wire


@pytest.mark.parametrize("unfinished", [False, True])
async def test_a_connection_is_finished_once_and_nothing_is_written_after_it(unfinished):
    talk, _, wire = guest(unfinished=unfinished)
    for event in (RawData(b"answer"), RawData(b""), Closed(), RawData(b"late"), Closed()):
        await talk.send(event)

    assert wire.log == [b"answer", f"finish {not unfinished}"]
    assert talk.protocol.handled == [Closed()]


async def test_a_connection_that_cannot_be_written_to_is_lost():
    talk, _, wire = guest()
    wire.broken = True
    await talk.send(RawData(b"answer"))

    assert wire.log == [b"answer", "close"]
    assert talk.protocol.handled == [Closed()]


async def test_a_connection_that_cannot_be_written_to_is_read_to_a_close_frame():
    """What the application has not taken does not stand in its way."""
    talk, _, wire = guest(hears=True)
    wire.broken = True
    await talk.send(RawData(b"message"))

    assert (wire.log, talk.protocol.handled) == ([b"message"], [])
    assert [inbox.bounded for inbox in talk.calls()] == [False, False]


async def test_the_protocol_says_when_the_connection_is_idle():
    talk, connection, _ = guest()
    connection.head_since = 1.0
    await talk.send(Updated(idle=False))
    assert (connection.idle_since, connection.head_since) == (0.0, 0.0)

    await talk.send(Updated(idle=True))
    assert 0 < connection.idle_since <= clock()


@pytest.mark.parametrize(
    ("http2", "renewed"), [(True, [True, False]), (False, [True, True])], ids=["http2", "http1"]
)
async def test_a_stream_that_waits_for_its_window_makes_no_progress_by_that_of_the_socket(
    http2, renewed
):
    talk, _, _ = guest(http2=http2)
    talk.calls()[0].flushing = True
    talk.progressed(5.0)

    assert [inbox.progressed == 5.0 for inbox in talk.calls()] == renewed


async def test_nobody_hears_the_client_leave_while_what_it_said_is_worked_on_for_long():
    talk, _, _ = guest()
    assert talk.look(clock()) is False
    talk.handling = now = clock()

    assert talk.look(now + TICK_S / 2) is False
    assert talk.look(now + TICK_S * 2) is True


async def test_a_client_that_left_unheard_is_read_to_its_end_and_is_then_gone():
    """What lies between it and the application may not hold that up for ever."""
    talk, _, _ = guest()
    talk.hung_up()
    assert [inbox.bounded for inbox in talk.calls()] == [False, False]
    assert talk.tasks.spawned == []

    talk.hung_up()
    [lose] = talk.tasks.spawned
    await lose()
    assert talk.protocol.handled == [Closed()]


async def test_websockets_are_looked_after_whether_or_not_somebody_reads():
    talk, _, _ = guest()
    talk.look(clock())
    talk.handling = clock()
    talk.look(clock())

    assert talk.protocol.handled == ["look, busy=False", "look, busy=True"]


async def test_a_task_group_that_has_ended_takes_no_more_tasks(anyio_backend_name):
    """Who has to see one done is told that it was never begun."""
    tasks = importlib.import_module(f"nardis.server.hypercorn.{anyio_backend_name}_tasks")
    done = []
    async with tasks.ConnectionTasks(Service(None, Config())) as group:
        ending = dict(vars(group))
        group.complete(checkpoint, partial(done.append, "in time"))
    for state in (ending, dict(vars(group))):  # trio's has closed before it has ended
        vars(group).update(state)
        group.spawn(checkpoint)
        group.complete(checkpoint, partial(done.append, "too late"))

    assert done == ["in time", "too late", "too late"]


async def test_a_task_that_is_cancelled_before_it_began_is_done_with(anyio_backend_name):
    tasks = importlib.import_module(f"nardis.server.hypercorn.{anyio_backend_name}_tasks")
    done = anyio.Event()
    with anyio.CancelScope() as scope:
        async with tasks.ConnectionTasks(Service(None, Config())) as group:
            scope.cancel()
            group.complete(anyio.sleep_forever, done.set)
    await done.wait()


@pytest.mark.parametrize("websockets", [True, False])
async def test_it_is_known_whether_there_are_websockets_to_be_closed(websockets):
    talk, _, _ = guest(websockets=websockets)

    assert talk.close_websockets() is websockets
    assert talk.goodbye() is talk.multiplexed is True


GOAWAY = b"\x07"  # the type of a frame that says goodbye (RFC 9113 §6.8)


async def converse(backend, wire, unread, *, draining=0.0):
    """Let a client speak HTTP/2 to its end; return the connection."""
    tasks = importlib.import_module(f"nardis.server.hypercorn.{backend}_tasks").ConnectionTasks
    service = Service(None, Config())
    service.draining = draining
    connection = Connection(service, wire, wire, lambda self: Guest(self, tasks, unread, "h2"))
    with anyio.fail_after(20):
        await connection.attend()
    return connection


async def test_what_was_read_before_is_spoken_of_first(anyio_backend_name):
    """And the first byte after a pause begins a head."""
    wire = Wire(b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678")
    connection = await converse(anyio_backend_name, wire, PREFACE)

    said = b"".join(each for each in wire.log if isinstance(each, bytes))
    assert said.endswith(b"\x00\x00\x08\x06\x01\x00\x00\x00\x0012345678"), "no pong"
    assert connection.head_since > 0
    assert wire.log[-1] == "close"


async def test_a_conversation_that_begins_in_a_shutdown_says_goodbye(anyio_backend_name):
    wire = Wire(PREFACE, b"never heard")
    connection = await converse(anyio_backend_name, wire, b"", draining=clock())

    said = b"".join(each for each in wire.log if isinstance(each, bytes))
    assert b"\x00\x00\x08" + GOAWAY in said
    assert connection.over
    assert wire.pieces == []
