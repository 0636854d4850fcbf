"""`app.websocket` on real servers: who is told what, and whose work ends, when a client leaves."""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from wsproto.events import BytesMessage, CloseConnection, TextMessage

from tests.peers.client import Connection, eventually
from tests.peers.wsclient import (
    BINARY,
    CLOSE,
    TEXT,
    WebSocketH1,
    WebSocketH2,
    close_frame,
    frame,
    websocket_request,
)
from tests.wire.servers import OURS, Server, Sharing, serving

TARGET = "tests.wire.socket_app:app"

# RFC 6455 §7.4.1
VANISHED, TOO_BIG, RESTART = 1006, 1009, 1012

MIB = 1024 * 1024

Over = type[WebSocketH1] | type[WebSocketH2]


@pytest.fixture(
    params=[(kind, over) for kind in OURS for over in (WebSocketH1, WebSocketH2)]
    + [("uvicorn-httptools", WebSocketH1)],
    ids=lambda pair: f"{pair[0]}-{pair[1].__name__}",
)
def pair(request: pytest.FixtureRequest, shared: Sharing) -> Iterator[tuple[Server, Over]]:
    """A server, which has no complaint of what a client does, and a client of it."""
    kind, over = request.param
    server = shared(kind, target=TARGET)
    if kind in OURS:
        with server.silent():
            yield server, over
    else:  # it tells of each WebSocket
        yield server, over
        assert "Traceback" not in server.log()


def how(server: Server, key: str) -> tuple[int, str]:
    """Wait until the handler returned; return what it heard of the end."""
    over = server.event(key, "over")
    server.event(key, "deferred")
    assert "cancelled" not in server.observed(key)
    return over["code"], over["reason"]


def test_a_handler_that_reads_answers_and_hears_the_close(pair: tuple[Server, Over], key: str):
    server, over = pair
    with over(server.port, key, "reads") as socket:
        socket.send(TextMessage("zażółć"))
        assert socket.next() == TextMessage("zażółć")
        socket.send(BytesMessage(bytes(100_000)))
        assert whole(socket) == bytes(100_000)
        # A handler that is still sending, and does not read, is cancelled by a Close.
        server.event(key, "answered 100000")
        socket.send_raw(close_frame(4001, "bye"))

        assert how(server, key) == (4001, "bye")
        assert socket.said() == [(CLOSE, struct.pack("!H", 4001) + b"bye")]


def whole(socket: WebSocketH1 | WebSocketH2) -> bytes:
    """Read one message, which comes in parts."""
    data, is_whole = b"", False
    while not is_whole:
        part = socket.next()
        assert isinstance(part, BytesMessage)
        data, is_whole = data + part.data, part.message_finished
    return data


@pytest.mark.parametrize("what", ["sleeps", "pours"])
def test_a_handler_that_does_not_read_is_cancelled_when_the_client_closes(
    pair: tuple[Server, Over], key: str, what: str
):
    server, over = pair
    with over(server.port, key, what) as socket:
        socket.send_raw(close_frame(1000))

        assert server.event(key, "cancelled")["reason"] == "gone"
        assert server.event(key, "deferred")["reason"] == "gone"


@pytest.mark.parametrize("what", ["sleeps", "pours"])
def test_a_handler_that_does_not_read_is_cancelled_when_the_client_vanishes(
    pair: tuple[Server, Over], key: str, what: str
):
    server, over = pair
    with over(server.port, key, what) as socket:
        server.event(key, "started")
        socket.reset()

        assert server.event(key, "cancelled")["reason"] == "gone"


def test_a_handler_that_reads_hears_that_the_client_vanished(pair: tuple[Server, Over], key: str):
    server, over = pair
    with over(server.port, key, "reads") as socket:
        server.event(key, "started")
        socket.reset()

        assert how(server, key)[0] in (VANISHED, 1005)  # uvicorn knows no difference


def test_a_message_over_the_limit_ends_with_1009(pair: tuple[Server, Over], key: str):
    """Ours refuses it by the head of its frame; others give it to us, and we refuse it."""
    server, over = pair
    with over(server.port, key, "reads") as socket:
        socket.send_raw(frame(BINARY, bytes(MIB + 1))[:100_000])
        if server.kind not in OURS:
            socket.send_raw(frame(BINARY, bytes(MIB + 1))[100_000:])

        assert how(server, key)[0] == TOO_BIG
        event = socket.next()
        assert isinstance(event, CloseConnection)
        assert event.code == TOO_BIG


def test_a_client_that_leaves_before_the_accept_ends_its_handler(
    pair: tuple[Server, Over], key: str
):
    server, over = pair
    if over is WebSocketH2:
        pytest.skip("a client that is not answered: as over HTTP/1.1")
    with Connection(server.port) as client:
        client.send(websocket_request(f"/waits/{key}"))
        server.event(key, "started")
        client.reset()

        assert server.event(key, "cancelled")["reason"] == "gone"


def test_a_page_of_another_origin_is_refused(pair: tuple[Server, Over], key: str):
    server, _ = pair
    with Connection(server.port) as client:
        opening = websocket_request(f"/reads/{key}")
        client.send(opening.replace(b"\r\n", b"\r\nOrigin: https://evil.example\r\n", 1))

        assert client.head()[0] == 403
    assert server.observed(key) == {}


def test_a_request_that_only_a_websocket_would_answer_is_426(pair: tuple[Server, Over], key: str):
    server, _ = pair
    answer = server.ask("GET", f"/reads/{key}")

    assert answer.status == 426
    assert answer.headers["upgrade"] == "websocket"


@pytest.mark.parametrize("kind", OURS)
def test_a_shutdown_says_1012_to_both(kind: str, tmp_path: Path):
    """A handler that reads hears it and returns; the others are cancelled."""
    with serving(kind, tmp_path, "--drain", "0.2", "--graceful", "5", target=TARGET) as server:
        with (
            WebSocketH1(server.port, "one", "reads") as one,
            WebSocketH1(server.port, "two", "sleeps") as two,
            WebSocketH2(server.port, "three", "reads") as three,
        ):
            for key in ("one", "two", "three"):
                server.event(key, "started")
            one.send_raw(frame(TEXT, b"hello"))
            assert one.next() == TextMessage("hello")
            server.process.send_signal(signal.SIGTERM)

            for socket in (one, two, three):
                event = socket.next()
                assert isinstance(event, CloseConnection)
                assert (event.code, event.reason) == (RESTART, "the server restarts")
                socket.send_raw(close_frame(RESTART))
            assert how(server, "one") == how(server, "three") == (RESTART, "the server restarts")
            assert server.event("two", "cancelled")["reason"] == "shutdown"
            assert server.event("one", "deferred")["reason"] == "shutdown"
        assert eventually(lambda: server.process.poll() is not None, 10)
        assert server.process.returncode == 0, server.log()
        assert "Traceback" not in server.log()
