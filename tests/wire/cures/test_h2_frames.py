"""`h2_frames`: late and broken frames end their stream alone."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, RstStreamFrame, WindowUpdateFrame

from tests.peers.h2client import H2Client, Stream, pseudo
from tests.peers.raw_app import KIB
from tests.peers.wsclient import websocket_head
from tests.wire.cures.scenes import beside_another
from tests.wire.cures.stock import CAN_GO, happens, serves
from tests.wire.servers import Server


def late_data(client: H2Client) -> None:
    stream_id = client.request("POST", "/early", end=False)
    client.answer(stream_id)
    client.send_frames(DataFrame(stream_id, b"late"))


def connect_without_path(client: H2Client) -> None:
    client.send_headers([(":method", "CONNECT"), (":authority", "localhost")])


def path_beyond_ascii(client: H2Client) -> None:
    client.request("GET", b"/hello/\xff")


def path_beyond_ascii_and_reset(client: H2Client) -> None:
    stream_id = client.h2.get_next_available_stream_id()
    client.h2.send_headers(stream_id, pseudo("GET", b"/\xff"), end_stream=True)
    client.h2.reset_stream(stream_id)
    client.streams[stream_id] = Stream(reset=ErrorCodes.NO_ERROR)
    client.flush()


def handshake_beyond_ascii(client: H2Client) -> None:
    client.send_headers(
        websocket_head("/websocket/never", ("sec-websocket-protocol", b"\xff")), end=False
    )


def broken_streams(*ways: Callable[[H2Client], None]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("break_a_stream", ways, ids=lambda each: each.__name__)


@broken_streams(
    late_data,
    connect_without_path,
    path_beyond_ascii,
    path_beyond_ascii_and_reset,
    handshake_beyond_ascii,
)
def test_h2_frames_end_their_stream_alone(
    server: Server, key: str, break_a_stream: Callable[[H2Client], None]
):
    with beside_another(server, key) as client:
        break_a_stream(client)

        assert client.ask("GET", "/hello").body == b"hello"
        client.until(lambda: client.streams[3].reset is not None or client.streams[3].status == 400)


def test_h2_frames_reset_a_stream_once(server: Server, key: str):
    """Whatever still comes of an upload that was stopped."""
    with beside_another(server, key) as client:
        stream_id = client.request("POST", "/early", end=False)
        client.until(lambda: client.streams[stream_id].reset is not None)
        client.send_frames(
            *(DataFrame(stream_id, bytes(16 * KIB)) for _ in range(32)),
            WindowUpdateFrame(stream_id, 1),
        )
        client.send_frames(RstStreamFrame(stream_id), DataFrame(stream_id, flags=["END_STREAM"]))
        client.ping()

        assert client.reset_frames == [stream_id]


@broken_streams(late_data, connect_without_path, path_beyond_ascii)
def test_h2_frames_of_stock_end_the_worker(
    doomed: Server, break_a_stream: Callable[[H2Client], None]
):
    with H2Client(doomed.port) as client:
        break_a_stream(client)
        assert client.ends()

    assert happens(lambda: not serves(doomed)), CAN_GO + "h2_frames"


def test_h2_frames_that_come_with_a_goaway_are_no_fault(server: Server):
    with server.silent(), H2Client(server.port) as client:
        upload, refused = (
            client.request("POST", "/digest", end=False),
            client.h2.get_next_available_stream_id(),
        )
        client.h2.send_headers(refused, pseudo("GET", b"/\xff"), end_stream=True)
        client.h2.send_data(upload, b"last")
        client.h2.close_connection()
        client.socket.sendall(client.h2.data_to_send())
        client.socket.shutdown(socket.SHUT_WR)
        while client.socket.recv(KIB):
            pass
