"""One connection and its worker, where a client could hardly bring them: with sockets and streams that do as the test says."""

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

from nardis.server import Config, _hypercorn
from nardis.server._hypercorn import asyncio_worker, trio_worker
from nardis.server._hypercorn.connection import LINGER_S, Connection, Service, clock
from nardis.server._hypercorn.pieces import Pieces
from nardis.server._serve import serve

pytestmark = pytest.mark.anyio

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

on_asyncio = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"debug": True}), ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)
on_trio = pytest.mark.parametrize("anyio_backend", ["trio"])


async def app(scope, receive, send):
    """Answer any request with five bytes."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@asynccontextmanager
async def serving(app, backend, **settings):
    """Serve for the length of the block; the port is given."""
    stop = anyio.Event()
    config = Config(bind=["127.0.0.1:0"], backend=backend, drain_s=0.1, **settings)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            [address] = await group.start(lambda task_status: serve(app, config, shutdown=stop.wait, task_status=task_status))
            yield int(address.rpartition(":")[2])
            stop.set()


# --- hypercorn ----------------------------------------------------------------------------------------------------------


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


# --- on both workers ----------------------------------------------------------------------------------------------------


class Protocol:
    """What would speak HTTP: nothing is under way."""

    http2 = False

    def __init__(self):
        self.handled = []

    async def handle(self, event):
        self.handled.append(event)

    def is_unfinished(self):
        return False


class FakeConnection(Connection):
    """A connection without a socket that lists what is done to it."""

    _read = _has_input = is_closed = cancel = None  # not called

    def __init__(self, **settings):
        super().__init__(Service(app, Config(**settings)))
        self.protocol = Protocol()
        self.log = []
        self.unsent = False

    async def _write(self, data):
        self.log.append(data)
        return True

    async def _write_pieces(self, pieces):
        return await self._write(b"".join(pieces))

    async def _finish(self):
        self.log.append("finish")

    def _has_unsent(self):
        return self.unsent

    def close(self):
        self.log.append("close")

    def cut(self):
        self.log.append("cut")


async def test_a_connection_is_finished_once_and_nothing_is_written_after_it():
    connection = FakeConnection()
    for event in (RawData(b"answer"), Pieces([b" and", b" more"]), Closed(), RawData(b"late"), Pieces([b"later"]), Closed()):
        await connection.send(event)

    assert connection.log == [b"answer", b" and more", "finish"]
    assert connection.protocol.handled == [Closed()]


async def test_a_last_piece_that_nobody_takes_is_cut_after_the_time_of_a_stall():
    """What is taken later than the moment that a client has to close its side is not."""
    connection = FakeConnection(write_stall_s=5)
    connection.unsent = True
    await connection.send(Closed())
    connection.log.clear()

    connection.look(clock() + LINGER_S / 2)
    assert connection.log == []
    connection.look(clock() + 6)
    assert connection.log == ["cut"]


async def test_a_client_that_does_not_close_its_side_is_closed_after_a_moment():
    connection = FakeConnection(write_stall_s=5)
    await connection.send(Closed())
    connection.log.clear()

    connection.look(clock() + LINGER_S / 2)
    assert connection.log == []
    connection.look(clock() + 6)
    assert connection.log == ["close"]


async def test_one_client_too_many_is_closed_without_a_word_where_it_speaks_tls(anyio_backend_name, tmp_path):
    """The first is served; the other one gets nothing, not even the beginning of a handshake."""
    authority, path = trustme.CA(), str(tmp_path / "both.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async with serving(app, anyio_backend_name, certfile=path, keyfile=path, max_connections=1) as port:
        first = await anyio.connect_tcp("127.0.0.1", port, ssl_context=trusting, tls_standard_compatible=False)
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


async def test_a_message_before_the_handshake_is_answered_is_refused_and_the_application_learns_that_it_is_over(
    anyio_backend_name,
):
    """Also if it comes by itself, while the application thinks about it."""
    asked, received = anyio.Event(), []

    async def app(scope, receive, send):
        assert scope["type"] == "websocket"
        received.append(await receive())
        asked.set()
        received.append(await receive())

    async with serving(app, anyio_backend_name) as port, await anyio.connect_tcp("127.0.0.1", port) as client:
        await client.send(HANDSHAKE)
        await asked.wait()
        await client.send(b"\x81\x82\x00\x00\x00\x00hi")
        answer = b"".join([piece async for piece in client])

    assert answer.startswith(b"HTTP/1.1 400")
    assert received == [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}]


async def test_an_application_that_was_told_of_the_restart_hears_of_no_other_end(anyio_backend_name):
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

    assert received == 2 * [{"type": "websocket.disconnect", "code": 1012, "reason": "the server restarts"}]


@pytest.mark.parametrize("unread", [0, 20_000], ids=["", "behind what was not read"])
async def test_a_close_frame_is_heard_by_an_application_whose_send_finds_that_the_client_is_gone(anyio_backend_name, unread):
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


# --- asyncio ------------------------------------------------------------------------------------------------------------


class Transport:
    """A transport that lists what is done to it."""

    def __init__(self, *, half_closes=True, closing=False, unsent=0):
        self.log = []
        self._half_closes = half_closes
        self._closing = closing
        self._unsent = unsent

    def set_write_buffer_limits(self, high):
        assert high == 0

    def get_write_buffer_size(self):
        return self._unsent

    def is_closing(self):
        return self._closing

    def can_write_eof(self):
        return self._half_closes

    def write_eof(self):
        self.log.append("write_eof")

    def close(self):
        self.log.append("close")

    def abort(self):
        self.log.append("abort")

    def setsockopt(self, level, option, value):
        """Stand where the transport has its socket."""
        self.log.append("reset")


def over(transport):
    """Give a connection over *transport*."""
    writer = SimpleNamespace(transport=transport, get_extra_info={"socket": transport}.get)
    return asyncio_worker.AsyncioConnection(Service(app, Config()), asyncio_worker.Reader(), writer)


@on_asyncio
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "tls"])
async def test_what_arrived_before_a_connection_broke_is_read(plain):
    """Over TLS only what was deciphered."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.send(b" after")
        reader = asyncio_worker.Reader(ours if plain else None)
        reader.feed_data(b"before")
        reader.set_exception(BrokenPipeError())

        assert await reader.read() == (b"before after" if plain else b"before")


@on_asyncio
@pytest.mark.parametrize(("half_closes", "done"), [(True, ["write_eof"]), (False, ["close"])])
async def test_what_has_no_half_closed_state_is_closed(half_closes, done):
    """TLS is that."""
    transport = Transport(half_closes=half_closes)
    await over(transport)._finish()

    assert transport.log == done


@on_asyncio
@pytest.mark.parametrize(
    ("closing", "unsent", "done"),
    [(False, 0, ["reset", "close", "abort"]), (True, 7, ["reset", "close", "abort"]), (True, 0, ["abort"])],
)
async def test_a_socket_that_may_be_anothers_by_now_is_not_reset(closing, unsent, done):
    transport = Transport(closing=closing, unsent=unsent)
    over(transport).cut()

    assert transport.log == done


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
    monkeypatch.setattr(asyncio_worker, "ACCEPT_PAUSE_S", 0.01)
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


# --- trio ---------------------------------------------------------------------------------------------------------------


class Stream:
    """A stream of trio that sends when it is let, and not two things at once."""

    socket = None

    def __init__(self):
        self.sent = b""
        self.busy = False
        self.room = trio.Event()

    async def send_all(self, data):
        assert not self.busy
        self.busy = True
        await self.room.wait()
        self.sent += data
        self.busy = False


@on_trio
async def test_writers_take_turns():
    """Two streams of HTTP/2, or an answer and a ping."""
    stream = Stream()
    connection = trio_worker.TrioConnection(Service(app, Config()), stream)
    async with trio.open_nursery() as nursery:
        for data in (b"one ", b"two ", b"three"):
            nursery.start_soon(connection._write, data)
            await anyio.wait_all_tasks_blocked()
        assert stream.busy
        assert connection.writing
        stream.room.set()

    assert stream.sent == b"one two three"
    assert not connection.writing
