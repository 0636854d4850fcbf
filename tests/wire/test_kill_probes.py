"""
What one connection says ends at most that connection.

Each of these thirteen was once tried on the trio worker of hypercorn 0.18; five of them end it, and
with it all connections.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import h2.exceptions
import pytest
from hyperframe.frame import DataFrame, PriorityFrame, RstStreamFrame
from wsproto import ConnectionType, WSConnection
from wsproto.events import Request

from tests.peers.h2client import Ended, H2Client
from tests.wire.servers import OURS, Server, Sharing


@pytest.fixture(params=OURS)
def server(request: pytest.FixtureRequest, shared: Sharing) -> Server:
    return shared(request.param, target="tests.peers.raw_app:app")


def upgrade() -> bytes:
    return WSConnection(ConnectionType.CLIENT).send(
        Request(host="localhost", target="/websocket/probe")
    )


def talk(server: Server, first: bytes, then: bytes = b"") -> None:
    """Send *first*, and after an answer *then*; read to the end of the connection."""
    with server.connect() as connection:
        connection.send(first)
        connection.head()
        connection.send(then)
        if then:
            connection.at_end()  # the reaction to it, whatever it is
        connection.socket.shutdown(socket.SHUT_WR)
        while not connection.at_end():
            connection.take(2**16)


def h2_late_data(server: Server) -> None:
    with H2Client(server.port) as client:
        early, reset = (
            client.request("POST", "/early", end=False),
            client.request("POST", "/tick/reset", end=False),
        )
        client.answer(early)
        client.until(lambda: client.streams[reset].body)
        client.send_frames(
            DataFrame(early, b"after the answer"),
            DataFrame(early, b"after the answer", flags=["END_STREAM"]),
            RstStreamFrame(reset),
            DataFrame(reset, b"after RST_STREAM"),
        )
        client.ping()
        ended = client.request("GET", "/hello")
        client.answer(ended)
        client.send_frames(DataFrame(ended, b"after END_STREAM"))
        with suppress(Ended):  # a connection error is allowed: RFC 9113 §5.1
            client.ping()


def ws_glued(server: Server) -> None:
    talk(server, upgrade() + b"\x81\x82\x00\x00\x00\x00hi")


def ws_bad_upgrade(server: Server) -> None:
    head = (
        b"GET /websocket/probe HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n"
        b"upgrade: websocket\r\nsec-websocket-version: 13"
    )
    talk(server, head + b"\r\n\r\n")


def ws_garbage(server: Server) -> None:
    talk(server, upgrade(), b"\xff\xff\xff\xff")


def ws_invalid_utf8(server: Server) -> None:
    talk(server, upgrade(), b"\x81\x82\x00\x00\x00\x00\xff\xff")


def h2_connect_no_path(server: Server) -> None:
    with H2Client(server.port) as client:
        client.answer(client.send_headers([(":method", "CONNECT"), (":authority", "localhost")]))


def h2_nonascii_path(server: Server) -> None:
    with H2Client(server.port) as client:
        client.answer(client.request("GET", b"/\xff"))


def h2_goaway_mid(server: Server) -> None:
    with H2Client(server.port) as client:
        stream = client.streams[client.request("GET", "/tick/goaway")]
        client.until(lambda: stream.body)
        client.h2.close_connection()
        client.socket.sendall(client.h2.data_to_send())
        with suppress(Ended, h2.exceptions.ProtocolError):
            while True:
                client.read()


def h2_priority_loop(server: Server) -> None:
    with H2Client(server.port) as client:
        client.send_frames(
            PriorityFrame(1, depends_on=3),
            PriorityFrame(3, depends_on=1),
            PriorityFrame(1, depends_on=3),
        )
        client.ask("GET", "/hello")


def h2c_upgrade(server: Server) -> None:
    fields = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: !!notbase64"
    talk(server, b"GET /hello HTTP/1.1\r\nhost: x\r\n" + fields + b"\r\n\r\n")


def rst_on_accept(server: Server) -> None:
    for _ in range(30):
        with server.connect() as connection:
            connection.reset()


def h1_nonascii_path(server: Server) -> None:
    talk(server, b"GET /\xc3\xa9 HTTP/1.1\r\nhost: x\r\n\r\n")


def h1_nonascii_upgrade(server: Server) -> None:
    talk(server, b"GET /hello HTTP/1.1\r\nhost: \xff\r\nupgrade: \xff\r\n\r\n")


@pytest.mark.parametrize(
    "probe",
    [
        h2_late_data,
        ws_glued,
        ws_bad_upgrade,
        ws_garbage,
        ws_invalid_utf8,
        h2_connect_no_path,
        h2_nonascii_path,
        h2_goaway_mid,
        h2_priority_loop,
        h2c_upgrade,
        rst_on_accept,
        h1_nonascii_path,
        h1_nonascii_upgrade,
    ],
    ids=lambda probe: probe.__name__,
)
def test_a_fault_is_noticed_by_nobody_else(
    server: Server, key: str, probe: Callable[[Server], None]
):
    """
    Neither by a connection that streams meanwhile, nor by the next one; and nothing is logged.
    """
    with server.silent(), server.connect() as witness:
        witness.request("GET", f"/tick/{key}")
        witness.head()
        first = witness.chunk()

        probe(server)

        sent = int(server.ask("GET", f"/progress/{key}").body)
        assert [first, *(witness.chunk() for _ in range(sent + 1))] == [
            b"%d\n" % number for number in range(sent + 2)
        ]
