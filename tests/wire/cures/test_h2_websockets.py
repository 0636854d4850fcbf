"""`h2_websockets`: the end of a stream is heard by its WebSocket, and said."""

from __future__ import annotations

from wsproto.events import CloseConnection

from tests.peers.wsclient import WebSocketH2, close_frame, websocket_head
from tests.wire.cures.scenes import beside_another, end_of_a_websocket
from tests.wire.cures.stock import CAN_GO
from tests.wire.servers import Server


def test_h2_websockets_refuse_a_message_before_the_handshake(server: Server, key: str):
    """The application hears that the client is gone, and does not wait for ever."""
    with beside_another(server, f"{key}-other") as client:
        stream_id = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream_id, websocket_head(f"/websocket/{key}"))
        client.h2.send_data(
            stream_id, b"\x88\x80\x00\x00\x00\x00"
        )  # a close: it ends also what was accepted before
        client.flush()
        assert server.event(key, "disconnect")


def test_h2_websockets_hear_the_end_of_their_stream(server: Server, key: str):
    assert end_of_a_websocket(server, key, b"", WebSocketH2) == 1006


def test_h2_websockets_of_stock_do_not_hear_the_end_of_their_stream(stock_trio: Server, key: str):
    assert end_of_a_websocket(stock_trio, key, b"", WebSocketH2) is None, CAN_GO + "h2_websockets"


def test_h2_websockets_end_their_stream_after_a_close(server: Server, key: str):
    with WebSocketH2(server.port, key) as websocket:
        websocket.send_raw(close_frame(4001))
        assert websocket.at_end()


def test_h2_websockets_of_stock_leave_their_stream_open_after_a_close(stock_trio: Server, key: str):
    with WebSocketH2(stock_trio.port, key) as websocket:
        websocket.send_raw(close_frame(4001))
        assert isinstance(websocket.next(), CloseConnection)
        websocket.client.ping()
        assert not websocket.stream.ended, CAN_GO + "h2_websockets"
