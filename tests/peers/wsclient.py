"""
WebSocket clients over HTTP/1.1 and HTTP/2, which also send frames that wsproto would not, and see
each frame that comes.
"""

from __future__ import annotations

import socket
import struct

from wsproto import ConnectionType, WSConnection
from wsproto.connection import Connection as Frames
from wsproto.events import Event, Request

from tests.peers.client import Connection
from tests.peers.h2client import H2Client, pseudo

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA  # RFC 6455 §11.8


def frame(opcode: int, payload: bytes = b"", *, first: int = 0x80, masked: bool = True) -> bytes:
    """
    Make a frame; *first* are the bits beside the opcode: FIN and the reserved ones. The mask is of
    zeros.
    """
    size = len(payload)
    if size < 126:
        length = struct.pack("!B", size | masked << 7)
    elif size < 2**16:
        length = struct.pack("!BH", 126 | masked << 7, size)
    else:
        length = struct.pack("!BQ", 127 | masked << 7, size)
    return bytes([first | opcode]) + length + bytes(4 * masked) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """Take apart short frames of a server."""
    frames = []
    while data:
        end = 2 + data[1]
        assert data[1] < 126, "a long frame, or a masked one"
        frames.append((data[0] & 0xF, data[2:end]))
        data = data[end:]
    return frames


def websocket_request(path: str, offer: str = "") -> bytes:
    """Make the request that opens a WebSocket over HTTP/1.1; *offer* is one of an extension."""
    fields = [(b"sec-websocket-extensions", offer.encode())] if offer else []
    return WSConnection(ConnectionType.CLIENT).send(
        Request(host="localhost", target=path, extra_headers=fields)
    )


def websocket_head(
    path: str, *more: tuple[str | bytes, str | bytes]
) -> list[tuple[str | bytes, str | bytes]]:
    """Make the fields that open a WebSocket over HTTP/2 (RFC 8441)."""
    protocol = (":protocol", "websocket")
    return [*pseudo("CONNECT", path), protocol, ("sec-websocket-version", "13"), *more]


class WebSocketH1:
    """A WebSocket over HTTP/1.1."""

    def __init__(self, port: int, key: str, what: str = "websocket") -> None:
        self._connection = Connection(port)
        self.socket = self._connection.socket
        self._ws = Frames(ConnectionType.CLIENT)
        self.send_raw(websocket_request(f"/{what}/{key}"))
        assert self._connection.head()[0] == 101

    def __enter__(self) -> WebSocketH1:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connection.close()

    def send(self, event: Event) -> None:
        self.send_raw(self._ws.send(event))

    def send_raw(self, data: bytes) -> None:
        self._connection.send(data)

    def end(self) -> None:
        """End our half."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self._connection.reset()

    def at_end(self) -> bool:
        """Tell whether the connection ends."""
        return self._connection.at_end()

    def next(self) -> Event | None:
        """Give what comes next; None is the end of the connection."""
        while (event := next(self._ws.events(), None)) is None:
            data = self._connection.some()
            if not data:
                return None
            self._ws.receive_data(data)
        return event

    def said(self) -> list[tuple[int, bytes]]:
        """Read all frames that come up to the orderly end of the connection."""
        data = b""
        while piece := self._connection.some():
            data += piece
        assert not self._connection.was_reset
        return frames_of(data)


class WebSocketH2:
    """A WebSocket over a stream of HTTP/2 (RFC 8441)."""

    def __init__(
        self, port: int, key: str, what: str = "websocket", client: H2Client | None = None
    ) -> None:
        self.client = client or H2Client(port)
        self.socket = self.client.socket
        self._ws = Frames(ConnectionType.CLIENT)
        self.id = self.client.send_headers(websocket_head(f"/{what}/{key}"), end=False)
        self.stream = self.client.streams[self.id]
        assert self.client.until(lambda: self.stream.status) == 200

    def __enter__(self) -> WebSocketH2:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()

    def send(self, event: Event) -> None:
        self.send_raw(self._ws.send(event))

    def send_raw(self, data: bytes) -> None:
        self.client.send_body(self.id, data, end=False)

    def end(self) -> None:
        """End our half."""
        self.client.h2.end_stream(self.id)
        self.client.flush()

    def reset(self) -> None:
        self.client.h2.reset_stream(self.id)
        self.client.flush()

    def at_end(self) -> bool:
        """Tell whether the stream ends in an orderly way, and is not reset."""
        return self.client.answer(self.id).ended

    def next(self) -> Event:
        """Give what comes next."""
        while (event := next(self._ws.events(), None)) is None:
            self.client.until(lambda: self.stream.body)
            self._ws.receive_data(self.stream.body)
            self.stream.body = b""
        return event

    def said(self) -> list[tuple[int, bytes]]:
        """Read all frames that come up to the orderly end of the stream."""
        assert self.client.answer(self.id).ended
        return frames_of(self.stream.body)
