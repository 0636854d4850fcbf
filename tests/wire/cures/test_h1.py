"""`h1`: heads, handshakes and endings of HTTP/1.1."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from tests.peers.raw_app import KIB, MIB
from tests.peers.wsclient import websocket_request
from tests.wire.cures.stock import CAN_GO, happens, serves
from tests.wire.servers import Server

GLUED = b"\x81\x82\x00\x00\x00\x00hi"  # a text message of a WebSocket


def test_h1_makes_nobody_a_tunnel(server: Server):
    """
    An application that answered CONNECT with 200 would fail in its own body, at the client's will.
    """
    with server.silent(), server.connect() as connection:
        connection.send(b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n")
        assert connection.head()[0] == 501


def send_head(server: Server, size: int) -> int:
    """Send a request head of *size* bytes, and give the status of the answer."""
    with server.connect() as connection:
        connection.request("GET", "/hello", x=(size - 60) * "x")
        return connection.head()[0]


@pytest.mark.parametrize("size", [70 * KIB, 40 * KIB, 33 * KIB])
def test_h1_refuses_a_head_that_is_too_large(server: Server, size: int):
    assert send_head(server, size) == 431


def test_h1_takes_a_head_within_the_limit(server: Server):
    assert send_head(server, 31 * KIB) == 200


def test_h1_of_stock_takes_a_head_beyond_its_limit(stock_trio: Server):
    """
    The limit is 16 KiB; it is held only where the head comes in several pieces, which cannot be
    helped here.
    """
    assert any(send_head(stock_trio, 40 * KIB) == 200 for _ in range(5)), CAN_GO + "h1"


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
        assert connection.head()[0] == 400
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


def read_a_cut_body(server: Server) -> bytes:
    """Read, in HTTP/1.0, a body that an exception cut, to what looks like its regular end."""
    received = b""
    with server.connect() as connection:
        connection.send(b"GET /fail HTTP/1.0\r\n\r\n")
        while data := connection.socket.recv(MIB):
            received += data
    return received


def test_h1_resets_a_body_that_only_the_end_of_the_connection_would_end(server: Server):
    with pytest.raises(ConnectionResetError):
        read_a_cut_body(server)


def test_h1_of_stock_ends_a_cut_body_as_if_it_were_whole(stock_trio: Server):
    assert read_a_cut_body(stock_trio).endswith(b"half"), CAN_GO + "h1"


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
