"""
One connection and its worker, where a client could hardly bring them: with sockets and streams that
do as the test says.
"""

import errno
import importlib.metadata
import importlib.util
import socket
import ssl
import struct
from contextlib import asynccontextmanager
from types import SimpleNamespace

import anyio
import pytest
import trio
import trustme
from anyio.lowlevel import checkpoint
from hypercorn.events import Closed, RawData

from nardis.server import Config
from nardis.server import hypercorn as _hypercorn
from nardis.server.hypercorn import asyncio_worker, trio_worker
from nardis.server.hypercorn.connection import LINGER_S, Connection
from nardis.server.hypercorn.inbox import Inbox
from nardis.server.hypercorn.pieces import Pieces
from nardis.server.hypercorn.service import Service, clock
from nardis.server.serving import serve

pytestmark = pytest.mark.anyio

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

on_asyncio = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"debug": True}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)
on_trio = pytest.mark.parametrize("anyio_backend", ["trio"])


async def app(scope, receive, send):
    """Answer any request with five bytes."""
    assert scope["type"] == "http"
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
    )
    await send({"type": "http.response.body", "body": b"hello"})


@asynccontextmanager
async def serving(app, backend, **settings):
    """Serve for the length of the block; the port is given."""
    stop = anyio.Event()
    config = Config(bind=["127.0.0.1:0"], backend=backend, drain_s=0.1, **settings)

    with anyio.fail_after(10):
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


# --- on both workers ------------------------------------------------------------------------------


class Protocol:
    """What would speak HTTP: nothing is under way, or one call is."""

    http2 = False

    def __init__(self):
        self.handled = []
        self.calls = []

    async def handle(self, event):
        self.handled.append(event)

    def inboxes(self):
        return self.calls

    def is_unfinished(self):
        return False

    def websockets(self):
        return []


class FakeConnection(Connection):
    """
    A connection without a socket that lists what is done to it; *taken* counts what its client
    took.
    """

    _receive = _say = _half_close = _has_input = None  # not called

    def __init__(self, **settings):
        super().__init__(Service(app, Config(**settings)))
        self.protocol = Protocol()
        self.log = []
        self.unsent = 0
        self.closed = False
        self.taken = 0

    async def _transmit(self, pieces):
        self.log.append(b"".join(pieces))
        return True

    async def _finish(self, *, whole):
        self.log.append(f"finish {whole}")

    def _unsent(self):
        return self.unsent

    def _count_taken(self):
        return self.taken

    def is_closed(self):
        return self.closed

    def close(self):
        self.log.append("close")

    def cut(self):
        self.log.append("cut")

    def cancel(self):
        self.log.append("cancel")


async def test_a_connection_is_finished_once_and_nothing_is_written_after_it():
    connection = FakeConnection()
    for event in (
        RawData(b"answer"),
        Pieces([b" and", b" more"]),
        Closed(),
        RawData(b"late"),
        Pieces([b"later"]),
        Closed(),
    ):
        await connection.send(event)

    assert connection.log == [b"answer", b" and more", "finish True"]
    assert connection.protocol.handled == [Closed()]


async def test_a_last_piece_that_nobody_takes_is_cut_after_the_time_of_a_stall():
    """What is taken later than the moment that a client has to close its side is not."""
    connection = FakeConnection(write_stall_s=5)
    connection.unsent = 7
    await connection.send(Closed())
    connection.log.clear()

    connection.look(clock() + LINGER_S / 2)
    assert connection.log == []
    connection.look(clock() + 6)
    assert connection.log == ["cut"]


async def test_a_last_piece_of_which_bytes_are_taken_is_not():
    connection = FakeConnection(write_stall_s=5)
    connection.unsent = 7
    await connection.send(Closed())
    connection.log.clear()

    for second in range(4, 40, 4):
        connection.taken += 1
        connection.look(clock() + second)
    assert connection.log == []
    connection.look(clock() + 45)
    assert connection.log == ["cut"]


async def test_a_client_that_does_not_close_its_side_is_closed_after_a_moment():
    connection = FakeConnection(write_stall_s=5)
    await connection.send(Closed())
    connection.log.clear()

    connection.look(clock() + LINGER_S / 2)
    assert connection.log == []
    connection.look(clock() + 6)
    assert connection.log == ["close"]


class Listener:
    """Who wants to know of a client."""

    def __init__(self):
        self.heard = []

    def stalled(self):
        self.heard.append("stalled")


async def test_each_byte_that_the_client_takes_renews_the_time_of_a_write():
    """And who is cut for taking none learns that this is why."""
    connection, call = FakeConnection(write_stall_s=5), Inbox()
    call.listener = Listener()
    connection.protocol.calls.append(call)
    connection.writing = began = clock()
    connection.idle_since = 0.0

    for second in range(4, 40, 4):
        connection.taken += 1
        connection.look(began + second)
    assert connection.log == []
    assert call.progressed == began + 36

    connection.look(began + 40)
    assert connection.log == []
    connection.look(began + 42)
    assert connection.log == ["cut"]
    assert (call.listener.heard, call.stalled) == (["stalled"], True)


@pytest.mark.parametrize(("flushing", "renewed"), [(True, True), (False, False)])
async def test_a_stream_that_waits_for_its_window_makes_no_progress_by_that_of_the_socket(
    flushing, renewed
):
    connection, call = FakeConnection(), Inbox()
    connection.protocol.http2 = True
    call.flushing = flushing
    connection.protocol.calls.append(call)
    connection.writing = now = clock()
    connection.taken = 1

    connection.look(now)

    assert call.progressed == now * renewed


# --- the walls between connections ----------------------------------------------------------------


class Faulty(FakeConnection):
    """A connection of which nothing can be wanted."""

    def __init__(self, fault, **settings):
        super().__init__(**settings)
        self.fault = fault

    def look(self, now):
        raise self.fault

    def interrupt(self):
        raise self.fault

    def end(self):
        raise self.fault


class Sound(FakeConnection):
    def look(self, now):
        self.log.append("look")
        return False

    def interrupt(self):
        self.log.append("interrupt")

    def hung_up(self):
        self.log.append("hung up")


@pytest.mark.parametrize(
    "fault", [ValueError(-1), SystemExit(3), BaseExceptionGroup("", [GeneratorExit()])], ids=repr
)
@pytest.mark.parametrize(
    ("act", "done"),
    [
        (lambda service: service.look(clock()), ["look"]),
        (lambda service: service.interrupt(), ["interrupt"]),
        (lambda service: service.cut(), ["cut", "cancel"]),
    ],
    ids=["look", "interrupt", "cut"],
)
async def test_a_fault_in_looking_after_one_connection_is_no_others(fault, act, done, caplog):
    service = Service(app, Config())
    sound = [Sound(), Sound()]
    service.connections = [sound[0], Faulty(fault), sound[1]]  # in this order
    faulty = service.connections[1]
    service.connections = Ordered(service.connections)

    act(service)

    assert [each.log for each in sound] == [done, done]
    assert faulty not in service.connections
    assert caplog.text.count("a fault ended a connection") == 1


class Ordered(list):
    """A set that keeps the order of a list."""

    discard = list.remove


async def test_ctrl_c_is_no_fault_of_a_connection():
    service = Service(app, Config())
    service.connections = {Faulty(KeyboardInterrupt())}
    with pytest.raises(KeyboardInterrupt):
        service.look(clock())


async def test_a_closed_connection_is_not_looked_at():
    """No limit is enforced on it, and its descriptor is not used."""
    connection = FakeConnection(keep_alive_s=1, write_stall_s=1)
    connection.closed = True
    connection.writing = connection.idle_since = 1.0

    assert connection.look(clock()) is False
    connection.handling = 1.0  # a handler that does not read has to be told
    assert connection.look(clock()) is True
    assert connection.log == []


async def test_a_closed_connection_that_nobody_reads_is_told_of_it_without_its_socket():
    service = Service(app, Config())
    connection = Sound()
    connection.closed, connection.look = True, lambda now: True
    service.connections.add(connection)

    service.look(clock())

    assert connection.log == ["hung up"]


@pytest.mark.parametrize(
    ("heard", "claimed", "done"),
    [(True, True, []), (True, False, ["cancel"]), (False, True, ["cancel"])],
)
async def test_at_the_end_of_the_drain_calls_are_cancelled_that_no_application_looks_after(
    heard, claimed, done
):
    connection, call = FakeConnection(), Inbox()
    connection.protocol.calls.append(call)
    call.claimed = claimed
    if heard:
        connection.service.tell(lambda seconds: None, lambda: None)

    connection.interrupt()

    assert connection.log == done


@pytest.mark.parametrize("fault", [ValueError("v"), SystemExit(3)], ids=repr)
async def test_an_application_that_cannot_hear_of_the_shutdown_keeps_no_other_from_it(
    fault, caplog
):
    service, told = Service(app, Config(drain_s=4)), []

    def fails(*args):
        raise fault

    service.tell(fails, fails)
    service.tell(told.append, lambda: told.append("interrupted"))

    service.drain()
    service.interrupt()
    service.cut()

    assert told == [4, "interrupted", "interrupted"]
    assert caplog.text.count("a fault in the runner") == 3


async def test_the_sweep_goes_on_after_a_fault_of_its_own(monkeypatch):
    monkeypatch.setattr("nardis.server.hypercorn.connection.TICK_S", 0)
    service, looks, again = Service(app, Config()), [], anyio.Event()

    def look(now):
        looks.append(now)
        if len(looks) == 1:
            raise ValueError
        again.set()

    service.look = look
    async with anyio.create_task_group() as group:
        group.start_soon(service.sweep)
        await again.wait()
        group.cancel_scope.cancel()

    assert len(looks) >= 2


async def test_an_application_is_told_of_the_drain_and_how_long_it_is():
    service, told = Service(app, Config(drain_s=4)), []
    service.tell(told.append, lambda: told.append("interrupted"))

    service.drain()
    service.interrupt()

    assert told == [4, "interrupted"]


async def test_one_client_too_many_is_closed_without_a_word_where_it_speaks_tls(
    anyio_backend_name, tmp_path
):
    """The first is served; the other one gets nothing, not even the beginning of a handshake."""
    authority, path = trustme.CA(), str(tmp_path / "both.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async with serving(
        app, anyio_backend_name, certfile=path, keyfile=path, max_connections=1
    ) as port:
        first = await anyio.connect_tcp(
            "127.0.0.1", port, ssl_context=trusting, tls_standard_compatible=False
        )
        async with first, await anyio.connect_tcp("127.0.0.1", port) as second:
            with pytest.raises(anyio.EndOfStream):
                await second.receive()
            await first.send(ASK)
            answer = b"".join([piece async for piece in first])

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"hello")


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


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
        assert await client.receive() == b"\x88\x02\x03\xf4"
        await client.send(b"\x88\x82\x00\x00\x00\x00\x0f\xa1")
        assert [piece async for piece in client] == [], "a second Close frame"
        answered.set()

    async with anyio.create_task_group() as group, serving(app, anyio_backend_name) as port:
        client = await anyio.connect_tcp("127.0.0.1", port)
        await client.send(HANDSHAKE)
        assert (await client.receive()).startswith(b"HTTP/1.1 101")
        group.start_soon(answer, client)
    await client.aclose()

    assert received == 2 * [
        {"type": "websocket.disconnect", "code": 1012, "reason": "the server restarts"}
    ]


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


# --- asyncio --------------------------------------------------------------------------------------


class Transport:
    """A transport that lists what is done to it."""

    family = socket.AF_INET

    def __init__(self, *, closing=False, unsent=0):
        self.log = []
        self._closing = closing
        self._unsent = unsent

    def set_write_buffer_limits(self, high):
        assert high == 0

    def get_write_buffer_size(self):
        return self._unsent

    def is_closing(self):
        return self._closing

    def abort(self):
        self.log.append("abort")

    def setsockopt(self, level, option, value):
        """Stand where the transport has its socket."""
        self.log.append("reset")


def over(transport, *, lost=False):
    """Return a connection over *transport*."""
    writer = SimpleNamespace(transport=transport, get_extra_info={"socket": transport}.get)
    reader = asyncio_worker.Reader(None)
    protocol = asyncio_worker.Protocol(reader)
    protocol.lost = lost
    return asyncio_worker.AsyncioConnection(Service(app, Config()), reader, writer, protocol)


@on_asyncio
@pytest.mark.parametrize(("lost", "done"), [(False, ["reset", "abort"]), (True, ["abort"])])
async def test_a_socket_that_may_be_anothers_by_now_is_not_reset(lost, done):
    transport = Transport()
    over(transport, lost=lost).cut()

    assert transport.log == done


class Ended:
    """A session of TLS that has ended."""

    def encrypt(self, data):
        raise OSError("ended")


@on_asyncio
async def test_what_a_session_of_tls_that_ended_cannot_encrypt_is_for_a_client_that_is_gone():
    connection = over(Transport())
    connection.tls = Ended()

    assert await connection._transmit([b"data"]) is False


@on_asyncio
async def test_where_the_system_does_not_count_what_was_taken_progress_is_what_was_sent():
    """On a unix socket, for one."""
    transport = Transport(unsent=7)
    transport.family = socket.AF_UNIX

    assert over(transport)._count_taken() == -7


class Session:
    """A session of TLS that has something of its own to say, twice."""

    def __init__(self):
        self.said = [None, b"hello"]
        self.has_to_say = True

    def decrypt(self):
        return self.said.pop(0)

    def feed(self, data):
        assert data == b"record"


async def test_what_tls_has_to_say_for_itself_is_said_while_reading():
    """A new key, an alert."""
    connection = FakeConnection()
    connection.tls = Session()

    async def receive():
        return b"record"

    async def say():
        connection.log.append("said")

    connection._receive, connection._say = receive, say

    assert await connection._read() == b"hello"
    assert connection.log == ["said", "said"]


@on_asyncio
@pytest.mark.parametrize(
    ("closing", "unsent", "lost", "closed"),
    [
        (False, 0, False, False),
        (True, 7, False, False),
        (True, 0, False, True),
        (True, 0, True, True),
    ],
)
async def test_a_connection_is_closed_once_all_was_sent_or_it_was_lost(
    closing, unsent, lost, closed
):
    assert over(Transport(closing=closing, unsent=unsent), lost=lost).is_closed() is closed


class Door(socket.socket):
    """A listening socket, for which there is no file left when the first client comes."""

    def __init__(self):
        super().__init__()
        self.calls = 0
        self.refused = anyio.Event()
        self.looked_at = anyio.Event()
        self.bind(("127.0.0.1", 0))
        self.listen()
        self.setblocking(False)

    def accept(self):
        self.calls += 1
        if self.calls == 1:
            self.refused.set()
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()

    def fileno(self):
        self.looked_at.set()
        return super().fileno()


@on_asyncio
async def test_where_no_file_is_left_the_client_waits_in_the_queue_and_is_served_later(caplog):
    service = Service(app, Config())
    with Door() as door:
        async with asyncio_worker.accepting(service, [door], None):
            with anyio.fail_after(10):
                async with await anyio.connect_tcp(*door.getsockname()) as client:
                    await client.send(ASK)
                    answer = b"".join([piece async for piece in client])

    assert answer.endswith(b"hello")
    [record] = [each for each in caplog.records if each.name == "nardis.server"]
    assert record.levelname == "ERROR"
    assert "Too many open files" in record.message


@on_asyncio
async def test_a_door_that_no_file_was_left_for_stays_closed_in_a_shutdown(monkeypatch):
    monkeypatch.setattr(asyncio_worker, "ACCEPT_PAUSE_S", 0.2)
    service = Service(app, Config())
    with Door() as door:
        async with asyncio_worker.accepting(service, [door], None):
            with anyio.fail_after(10):
                async with await anyio.connect_tcp(*door.getsockname()):
                    await door.refused.wait()
                    service.draining = clock()
                    door.looked_at = anyio.Event()
                    await door.looked_at.wait()  # the pause is over
                    for _ in range(10):
                        await checkpoint()
    assert door.calls == 1


# --- trio -----------------------------------------------------------------------------------------


class Socket:
    """A socket of trio that sends when it is let, and not two things at once."""

    def __init__(self):
        self.sent = b""
        self.busy = False
        self.room = trio.Event()

    async def send(self, data):
        assert not self.busy
        self.busy = True
        await self.room.wait()
        self.sent += bytes(data[:4])
        self.busy = False
        return len(data[:4])


@on_trio
async def test_writers_take_turns():
    """Two streams of HTTP/2, or an answer and a ping."""
    sock = Socket()
    connection = trio_worker.TrioConnection(Service(app, Config()), SimpleNamespace(socket=sock))
    async with trio.open_nursery() as nursery:
        for data in (b"one ", b"two ", b"three"):
            nursery.start_soon(connection._transmit, (data,))
            await anyio.wait_all_tasks_blocked()
        assert sock.busy
        assert connection.writing
        sock.room.set()

    assert sock.sent == b"one two three"
    assert not connection.writing


class Speaking:
    """A session of TLS that has an alert to send."""

    def outgoing(self):
        return b"alert"


@on_trio
@pytest.mark.parametrize(("busy", "sent"), [(False, b"alert"), (True, b"")])
async def test_a_reader_sends_what_tls_has_to_say_and_waits_for_no_writer(busy, sent):
    """Who is sending takes it along."""
    sock = Socket()
    sock.room.set()
    connection = trio_worker.TrioConnection(Service(app, Config()), SimpleNamespace(socket=sock))
    connection.tls = Speaking()
    if busy:
        await connection._lock.acquire()

    await connection._say()

    assert sock.sent == sent
