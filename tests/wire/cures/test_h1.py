"""`h1`: handshakes of WebSockets over HTTP/1.1."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from tests.peers.raw_app import KIB
from tests.peers.wsclient import websocket_request
from tests.wire.cures.stock import CAN_GO, happens, serves
from tests.wire.servers import Server

GLUED = b"\x81\x82\x00\x00\x00\x00hi"  # a text message of a WebSocket


def speak_before_the_handshake(server: Server, key: str) -> int:
    """
    Send a WebSocket message glued to its handshake, and give the status of the answer; 0 is none.
    """
    with server.connect() as connection:
        connection.send(ws_upgrade(key) + GLUED)
        return connection.head()[0] if not connection.at_end() else 0


def ws_upgrade(key: str, what: str = "websocket") -> bytes:
    return websocket_request(f"/{what}/{key}")


def test_h1_refuses_a_message_glued_to_the_handshake(server: Server, key: str):
    assert speak_before_the_handshake(server, key) == 400
    assert server.event(key, "disconnect")["code"] == 1006


@pytest.mark.parametrize(
    "field",
    [
        b"connection: Upgrade, \xff",
        b"sec-websocket-protocol: \xff",
        b"sec-websocket-extensions: \xff",
    ],
)
def test_h1_refuses_a_handshake_that_is_not_ascii(server: Server, key: str, field: bytes):
    head, _, rest = ws_upgrade(key).partition(b"\r\n")
    with server.connect() as connection:
        connection.send(head + b"\r\n" + field + b"\r\n" + rest)
        assert connection.head()[0] == 400


def test_h1_refuses_a_bad_handshake_with_a_message_glued_to_it(server: Server, key: str):
    with server.silent(), server.connect() as connection:
        connection.send(ws_upgrade(key).replace(b"Sec-WebSocket-Key", b"X") + GLUED)
        assert connection.answer().status == 400
        assert connection.at_end()


def test_h1_finishes_a_denial_whatever_is_said_meanwhile(server: Server, key: str):
    with server.silent(), server.connect() as connection:
        connection.send(ws_upgrade(key, "denied"))
        assert connection.head()[0] == 403
        assert connection.chunk() == b"not "
        connection.send(GLUED)
        server.ask("GET", f"/release/{key}")
        assert connection.chunk() == b"here"
        assert connection.chunk() == b""


def test_h1_of_stock_ends_the_worker_by_a_message_glued_to_the_handshake(doomed: Server, key: str):
    """
    It does so only where the application is not as quick as the next turn of the loop, about each
    second time.
    """

    def dies() -> bool:
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", doomed.port), timeout=0.5) as connection,
        ):
            connection.sendall(ws_upgrade(key) + GLUED)
            connection.recv(KIB)
        return not serves(doomed)

    assert happens(dies, 5), CAN_GO + "h1"


def fields_of_a_denial(server: Server, key: str) -> dict[str, str]:
    with server.connect() as connection:
        connection.send(ws_upgrade(key, "denied-with-nothing"))
        status, fields = connection.head()
        assert status == 403
        assert connection.chunk() == b""
        assert connection.at_end()
        return fields


def test_h1_says_that_the_connection_closes_after_a_denial(server: Server, key: str):
    assert fields_of_a_denial(server, key)["connection"] == "close"


def test_h1_of_stock_closes_without_a_word_after_a_denial(stock_trio: Server, key: str):
    assert "connection" not in fields_of_a_denial(stock_trio, key), CAN_GO + "h1"
