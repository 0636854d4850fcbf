"""`websockets`: the application hears how one ended; `../test_websockets.py` has all cases."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from wsproto.events import CloseConnection, TextMessage

from tests.peers.raw_app import MIB
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
from tests.wire.cures.scenes import end_of_a_websocket
from tests.wire.cures.stock import CAN_GO, TARGET, happens, serves, stock
from tests.wire.servers import OURS, Server, serving

SERVICE_RESTART = 1012

ENDS = {
    "a Close frame": (close_frame(4001), 4001),
    "one without a code": (frame(CLOSE), 1005),
    "a broken rule": (frame(0x3), 1002),
    "a text that is none": (frame(TEXT, b"\xff"), 1007),
}

ends = pytest.mark.parametrize(("last", "code"), ENDS.values(), ids=ENDS)

over = pytest.mark.parametrize("over", [WebSocketH1, WebSocketH2], ids=["h1", "h2"])


@ends
@over
def test_websockets_tell_the_application_how_they_ended(
    server: Server, key: str, last: bytes, code: int, over: type[WebSocketH1] | type[WebSocketH2]
):
    assert end_of_a_websocket(server, key, last, over) == code


@ends
@over
def test_websockets_of_stock_say_that_the_client_vanished(
    stock_trio: Server,
    key: str,
    last: bytes,
    code: int,
    over: type[WebSocketH1] | type[WebSocketH2],
):
    assert end_of_a_websocket(stock_trio, key, last, over) == 1006, CAN_GO + "websockets"


def answer_to_a_broken_rule(server: Server, key: str) -> list[tuple[int, bytes]]:
    with WebSocketH1(server.port, key) as websocket:
        websocket.send_raw(frame(0x3))
        return websocket.said()


def test_websockets_answer_a_broken_rule(server: Server, key: str):
    assert [opcode for opcode, _ in answer_to_a_broken_rule(server, key)] == [CLOSE]


def test_websockets_of_stock_do_not_answer_a_broken_rule(stock_trio: Server, key: str):
    assert answer_to_a_broken_rule(stock_trio, key) == [], CAN_GO + "websockets"


TOO_BIG = frame(BINARY, bytes(16 * MIB + 1))


def test_websockets_tell_the_application_of_a_message_that_is_too_big(server: Server, key: str):
    """By its head: the client may see that nobody reads on."""
    assert end_of_a_websocket(server, key, TOO_BIG[:MIB], WebSocketH1) == 1009


def test_websockets_of_stock_do_not_tell_of_a_message_that_is_too_big(stock_trio: Server, key: str):
    assert end_of_a_websocket(stock_trio, key, TOO_BIG, WebSocketH1) is None, CAN_GO + "websockets"


def offer_compression(server: Server, key: str) -> bool:
    """Offer a compression that cannot be read, and tell whether a WebSocket comes of it."""
    with server.connect() as connection:
        connection.send(
            websocket_request(
                f"/websocket/{key}", "permessage-deflate; client_max_window_bits=many"
            )
        )
        return not connection.at_end() and connection.head()[0] == 101


def test_websockets_decline_a_compression_that_they_cannot_read(server: Server, key: str):
    assert offer_compression(server, key)


def test_websockets_of_stock_end_the_worker_by_a_compression_that_they_cannot_read(
    doomed: Server, key: str
):
    assert not offer_compression(doomed, key), CAN_GO + "websockets"
    assert happens(lambda: not serves(doomed)), CAN_GO + "websockets"


@pytest.mark.parametrize("kind", OURS)
def test_websockets_are_told_of_a_restart(kind: str, tmp_path: Path):
    with serving(kind, tmp_path, "--drain", "0.3", "--graceful", "5", target=TARGET) as server:
        with WebSocketH1(server.port, "h1") as first, WebSocketH2(server.port, "h2") as second:
            for websocket in (first, second):
                websocket.send(TextMessage("still there?"))
                assert websocket.next() == TextMessage("still there?")

            server.process.send_signal(signal.SIGTERM)

            for websocket in (first, second):
                close = websocket.next()
                assert isinstance(close, CloseConnection)
                assert close.code == SERVICE_RESTART
                websocket.send(close.response())
                assert websocket.at_end()
        assert server.process.wait(20) == 0, server.log()
        for key in ("h1", "h2"):
            assert server.observed(key)["disconnect"]["code"] == SERVICE_RESTART
        assert "Traceback" not in server.log()


def test_websockets_of_stock_are_cut_without_a_word(tmp_path: Path):
    with (
        stock("trio", tmp_path, "--workers", "1", "--graceful-timeout", "0") as server,
        WebSocketH1(server.port, "h1") as websocket,
    ):
        server.process.send_signal(signal.SIGTERM)

        assert websocket.next() is None, CAN_GO + "websockets"
        assert "disconnect" not in server.observed("h1"), CAN_GO + "websockets"
