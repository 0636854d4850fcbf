"""
What one client may cost: connections, requests, and time; and what a client sees that is refused,
or late, or leaves early.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import psutil
import pytest

from tests.peers.client import Answer, Connection, eventually
from tests.wire.app import CHUNK, record
from tests.wire.servers import LEAKS, OURS, Server, on, serving

MIB = 1024 * 1024
TARGET = "tests.wire.test_bounds:app"

MOST_CONNECTIONS = 6
MOST_IN_FLIGHT = 2
SHORT = "0.4"  # seconds that some wait may last


async def app(scope: Any, receive: Any, send: Any) -> None:
    """
    Serve what a Nardis application would not need: that is a raw ASGI application, with no limits
    of its own.
    """
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"]
            await send({"type": f"{event}.complete"})
            if event == "lifespan.shutdown":
                return
    name, _, key = scope["path"][1:].partition("/")
    if scope["type"] == "websocket":
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
    else:
        await HANDLERS[name](key, scope, receive, send)


async def answer(send: Any, body: bytes, status: int = 200, *fields: tuple[bytes, bytes]) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-length", b"%d" % len(body)), *fields],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def hello(key: str, scope: Any, receive: Any, send: Any) -> None:
    await answer(send, scope["path"].encode())


async def read(key: str, scope: Any, receive: Any, send: Any) -> None:
    """Read the body, and then say how long it was."""
    size, more = 0, True
    record(key, "started")
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            record(key, "disconnected", size=size)
            return
        size += len(message["body"])
        more = message["more_body"]
    await answer(send, b"%d" % size)


async def wait(key: str, scope: Any, receive: Any, send: Any) -> None:
    """Wait until the client leaves."""
    record(key, "started")
    while (await receive())["type"] != "http.disconnect":
        pass
    record(key, "disconnected")


async def flood(key: str, scope: Any, receive: Any, send: Any) -> None:
    """Write without a pause until the client leaves."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    async with anyio.create_task_group() as group:

        async def until_disconnect() -> None:
            await wait(key, scope, receive, send)
            group.cancel_scope.cancel()

        group.start_soon(until_disconnect)
        while True:
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})


async def pieces(key: str, scope: Any, receive: Any, send: Any) -> None:
    """Stream, and fail or do not."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"one ", "more_body": True})
    if key == "fail":
        raise RuntimeError("on purpose")
    await send({"type": "http.response.body", "body": b"two"})


async def refuse(key: str, scope: Any, receive: Any, send: Any) -> None:
    """Answer without a look at the body."""
    await answer(send, b"too large", 413, (b"connection", b"close"))


HANDLERS = {function.__name__: function for function in (hello, read, wait, flood, pieces, refuse)}


@pytest.fixture(scope="module", params=OURS)
def crowded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """
    A server for few at once, who may be idle as long as they like once they have said what they
    want.
    """
    options = [
        "--max-connections",
        MOST_CONNECTIONS,
        "--max-in-flight",
        MOST_IN_FLIGHT,
        "--keep-alive",
        "30",
    ]
    options += ["--head-timeout", SHORT]
    with running(request.param, tmp_path_factory, *options) as server:
        yield server


@pytest.fixture(scope="module", params=OURS)
def impatient(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server for those who do not make it wait."""
    options = [
        "--keep-alive",
        SHORT,
        "--body-idle",
        SHORT,
        "--write-stall",
        SHORT,
        "--head-timeout",
        "30",
    ]
    with running(request.param, tmp_path_factory, *options) as server:
        yield server


@contextlib.contextmanager
def running(kind: str, directories: pytest.TempPathFactory, *options: object) -> Iterator[Server]:
    with serving(kind, directories.mktemp(kind), *map(str, options), target=TARGET) as server:
        assert server.ask("GET", "/hello").status == 200
        at_rest[server.port] = file_descriptors(server)
        yield server
        assert alone(server)
        assert server.stop() == 0, server.log()
        assert not LEAKS.search(server.log())


at_rest: dict[int, int] = {}


def alone(server: Server) -> bool:
    """Wait until the server has no client any more: all their sockets are closed."""
    return eventually(lambda: file_descriptors(server) <= at_rest[server.port])


def file_descriptors(server: Server) -> int:
    count: int = psutil.Process(server.process.pid).num_fds()
    return count


# --- how many -------------------------------------------------------------------------------------


def fill(server: Server, stack: ExitStack) -> tuple[list[Connection], Answer]:
    """
    Connect until somebody is refused; give those who were served, who stay, and what the other one
    was told.
    """
    assert alone(server)
    served: list[Connection] = []
    while True:
        connection = stack.enter_context(server.connect())
        answered = connection.ask("GET", "/hello")
        if answered.status != 200:
            assert connection.at_end()
            return served, answered
        served.append(connection)


def test_one_connection_too_many_gets_a_503_that_says_when_to_come_back(crowded: Server) -> None:
    with ExitStack() as stack:
        served, refused = fill(crowded, stack)

        assert len(served) == MOST_CONNECTIONS
        assert (refused.status, refused.complete) == (503, True)
        assert int(refused.headers["retry-after"]) > 0
        assert refused.headers["connection"] == "close"
        assert b"connections" in refused.body


def test_when_one_connection_leaves_the_next_is_served(crowded: Server) -> None:
    with ExitStack() as stack:
        served, _ = fill(crowded, stack)
        served.pop().close()

        eventually(lambda: crowded.ask("GET", "/hello").status == 200)
        for each in served:
            assert each.ask("GET", "/hello").status == 200


@pytest.mark.skipif(sys.platform == "win32", reason="processes cannot be stopped for a while there")
def test_connections_that_come_all_at_once_are_counted(crowded: Server) -> None:
    """Those that are accepted in one turn of the event loop, too."""
    with ExitStack() as stack:
        served, _ = fill(crowded, stack)
        for each in served:
            each.close()
        eventually(lambda: crowded.ask("GET", "/hello").status == 200)
        crowded.process.send_signal(signal.SIGSTOP)
        try:
            crowd = [stack.enter_context(crowded.connect()) for _ in range(10 * MOST_CONNECTIONS)]
            for each in crowd:
                each.request("GET", "/hello")
        finally:
            crowded.process.send_signal(signal.SIGCONT)
        answers = [each.answer().status for each in crowd]

        assert answers.count(503) >= 9 * MOST_CONNECTIONS
        assert set(answers) == {200, 503}


def occupy(server: Server, stack: ExitStack, key: str) -> list[Connection]:
    """Have as many requests in flight as may be; each waits for a byte."""

    def one(number: int) -> Connection:
        connection = stack.enter_context(server.connect())
        connection.request("POST", f"/read/{key}-{number}", content_length=1)
        server.event(f"{key}-{number}", "started")
        return connection

    assert alone(server)
    return [one(number) for number in range(MOST_IN_FLIGHT)]


def test_one_request_too_many_gets_a_503_and_the_others_go_on(crowded: Server, key: str) -> None:
    with ExitStack() as stack:
        busy = occupy(crowded, stack, key)
        other = stack.enter_context(crowded.connect())
        refused = other.ask("GET", "/hello")

        assert (refused.status, refused.complete) == (503, True)
        assert int(refused.headers["retry-after"]) > 0
        assert b"requests" in refused.body
        for each in busy:
            each.send(b"x")
            assert each.answer().body == b"1"
        assert other.ask("GET", "/hello").status == 200, "the connection was not to blame"


def test_one_websocket_too_many_is_denied_with_a_503(crowded: Server, key: str) -> None:
    handshake = {
        "connection": "upgrade", "upgrade": "websocket", "sec_websocket_version": 13,
        "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    with ExitStack() as stack:
        busy = occupy(crowded, stack, key)
        other = stack.enter_context(crowded.connect())
        refused = other.ask("GET", "/socket", **handshake)

        assert (refused.status, refused.complete) == (503, True)
        assert int(refused.headers["retry-after"]) > 0
        for each in busy:
            each.send(b"x")
            assert each.answer().status == 200
        again = stack.enter_context(crowded.connect())
        again.request("GET", "/socket", **handshake)
        assert again.head()[0] == 101


# --- how long -------------------------------------------------------------------------------------


def drip(connection: Connection, data: bytes) -> None:
    """Send *data* again and again, slowly, until the server closes the connection."""
    connection.socket.settimeout(0.05)
    deadline = time.monotonic() + 5
    with contextlib.suppress(ConnectionError):
        while True:
            assert time.monotonic() < deadline, "the server takes it for ever"
            connection.send(data)
            try:
                assert connection.socket.recv(100) == b""
                return
            except TimeoutError:
                continue


def test_a_head_that_drips_in_is_cut(crowded: Server) -> None:
    """Also one after a request that came in time, and for all that its bytes keep coming."""
    with crowded.connect() as fresh, crowded.connect() as used:
        assert used.ask("GET", "/hello").status == 200
        for connection in (fresh, used):
            connection.send(b"GET /hello HTTP/1.1\r\nhost: localhost\r\nx-slow: ")
            drip(connection, b"y")


def test_an_idle_connection_is_closed(impatient: Server) -> None:
    """One that never asked for anything, and one that was answered."""
    with impatient.connect() as silent, impatient.connect() as used:
        assert used.ask("GET", "/hello").status == 200

        assert silent.at_end()
        assert used.at_end()


def test_a_body_that_stops_is_cut_for_an_application_without_limits(
    impatient: Server, key: str
) -> None:
    with impatient.connect() as connection:
        connection.request("POST", f"/read/{key}", content_length=1000)
        connection.send(b"half")

        assert connection.at_end()
        assert impatient.event(key, "disconnected")["size"] in (0, 4)


def test_a_body_that_is_slow_but_comes_is_taken(impatient: Server, key: str) -> None:
    with impatient.connect() as connection:
        connection.request("POST", f"/read/{key}", content_length=8)
        for _ in range(8):
            time.sleep(
                float(SHORT) / 4
            )  # what is tested is a client that is slow, twice as long as it may pause
            connection.send(b"x")

        assert connection.answer().body == b"8"


def test_an_application_that_takes_its_time_is_no_slow_body(impatient: Server, key: str) -> None:
    """
    A body that is whole is waited for by nobody, so the application may wait for the client to
    leave.
    """
    with impatient.connect() as connection:
        connection.request("POST", f"/wait/{key}", b"whole")
        impatient.event(key, "started")
        connection.socket.settimeout(3 * float(SHORT))
        with pytest.raises(TimeoutError):
            connection.line()
        connection.close()

        impatient.event(key, "disconnected")


def test_a_client_that_reads_nothing_is_cut(impatient: Server, key: str) -> None:
    with impatient.connect(receive_buffer=64 * 1024) as connection:
        connection.request("GET", f"/flood/{key}")
        impatient.event(key, "disconnected")
        answered = connection.answer()

        assert (answered.status, answered.complete) == (200, False)
    assert impatient.ask("GET", "/hello").status == 200


# --- who leaves early -----------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(impatient: Server, key: str) -> None:
    with impatient.connect() as connection:
        requests = [
            b"GET /hello/%d HTTP/1.1\r\nhost: localhost\r\n\r\n" % number for number in range(5)
        ]
        requests.insert(
            2,
            b"POST /read/%b HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\nbody"
            % key.encode(),
        )
        connection.send(b"".join(requests))

        bodies = [connection.answer().body for _ in requests]
        assert bodies == [b"/hello/0", b"/hello/1", b"4", b"/hello/2", b"/hello/3", b"/hello/4"]


def half_close(connection: Connection) -> None:
    connection.socket.shutdown(socket.SHUT_WR)


WAYS = {"close": Connection.close, "half-close": half_close, "reset": Connection.reset}

# They are tried at once: it takes the server a tick or two to look.
only_linux_tells = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells of a hang-up before what lies unread"
)


@only_linux_tells
def test_a_client_that_leaves_behind_a_pipelined_request_is_noticed(
    impatient: Server, key: str
) -> None:
    with ExitStack() as stack:
        for way, leave in WAYS.items():
            connection = stack.enter_context(impatient.connect())
            connection.request("GET", f"/wait/{key}-{way}")
            impatient.event(f"{key}-{way}", "started")
            connection.request("GET", f"/wait/{key}-{way}-second")
            leave(connection)

        for way in WAYS:
            impatient.event(f"{key}-{way}", "disconnected")
            assert not impatient.observed(f"{key}-{way}-second")


def send_until_stuck(connection: Connection) -> None:
    """Send until the server takes no more for a moment."""
    connection.socket.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while True:
            connection.send(CHUNK)


@only_linux_tells
@on(*OURS)
def test_a_client_that_leaves_behind_an_unread_upload_is_noticed(server: Server, key: str) -> None:
    """Whether it was whole or not; it is more than lies unread before a client is made to wait."""
    sent = MIB // 4
    with ExitStack() as stack:
        for declared in (sent, 1024 * MIB):
            for way, leave in WAYS.items():
                connection = stack.enter_context(server.connect())
                connection.request("POST", f"/hold/{key}-{way}-{declared}", content_length=declared)
                connection.send(bytes(sent))
                server.event(f"{key}-{way}-{declared}", "started")
                leave(connection)

        for declared in (sent, 1024 * MIB):
            for way in WAYS:
                assert server.event(f"{key}-{way}-{declared}", "cancelled")["reason"] == "gone"
    assert server.comes_to_rest()


@only_linux_tells
@on(*OURS)
def test_a_reset_is_noticed_behind_an_upload_without_end(server: Server, key: str) -> None:
    """
    Nothing but a reset can be: a regular end waits in the client's kernel behind what the server
    does not take.
    """
    with server.connect() as connection:
        connection.request("POST", f"/hold/{key}", content_length=1024 * MIB)
        server.event(key, "started")
        send_until_stuck(connection)
        connection.reset()

        assert server.event(key, "cancelled")["reason"] == "gone"
    assert server.comes_to_rest()


def test_an_early_answer_can_be_read_to_the_end(impatient: Server) -> None:
    """
    What the client still sends is taken, so that no reset overtakes the answer: the connection ends
    as it should.
    """
    with impatient.connect() as connection:
        connection.request("POST", "/refuse", content_length=64 * MIB)
        connection.send(bytes(3 * MIB))
        answered = connection.answer()

        assert (answered.status, answered.body, answered.complete) == (413, b"too large", True)
        assert connection.socket.recv(1) == b"", "and not a ConnectionResetError"


def test_a_client_that_never_stops_sending_is_cut_in_the_end(impatient: Server) -> None:
    with impatient.connect() as connection:
        connection.request("POST", "/refuse", content_length=1024 * MIB)
        with pytest.raises(ConnectionError):
            while True:
                connection.send(bytes(MIB))
        assert connection.answer().status == 413


# --- old and short --------------------------------------------------------------------------------


def everything(connection: Connection) -> bytes:
    return b"".join(iter(lambda: connection.socket.recv(64 * 1024), b""))


def test_http_1_0_gets_a_body_that_ends_with_the_connection(impatient: Server) -> None:
    with impatient.connect() as connection:
        connection.send(b"GET /pieces HTTP/1.0\r\n\r\n")
        head, _, body = everything(connection).partition(b"\r\n\r\n")

        assert head.startswith(b"HTTP/1.1 200")
        assert b"transfer-encoding" not in head.lower()
        assert body == b"one two"


def test_http_1_0_can_tell_a_body_that_was_cut(impatient: Server) -> None:
    """There is nothing to tell it by but a reset."""
    with impatient.connect() as connection:
        connection.send(b"GET /pieces/fail HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            everything(connection)


@pytest.mark.parametrize("path", ["/hello", "/pieces", "/refuse"])
def test_a_client_that_wants_to_close_is_told_that_and_closed(impatient: Server, path: str) -> None:
    with impatient.connect() as connection:
        answered = connection.ask("GET", path, connection="close")

        assert answered.complete
        assert answered.headers["connection"] == "close"
        assert connection.socket.recv(1) == b""
