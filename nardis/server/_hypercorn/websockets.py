"""
WebSockets at a shutdown.

Fault (hypercorn 0.18): an open WebSocket is cut without a close frame, and its application is told nothing before it is
cancelled.

Cure: both are told 1012, "service restart" (RFC 6455 §7.4.2 and IANA's registry), and the client's close ends it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.events import CloseConnection

from .inbox import found_inbox

__all__ = ["HANDSHAKE_FIELDS", "awaits_answer", "close_websocket", "give_up", "open_websockets"]

SERVICE_RESTART: Final = 1012
ABNORMAL_CLOSURE: Final = 1006

# What wsproto reads as ASCII, or not at all.
HANDSHAKE_FIELDS: Final = (b"connection", b"sec-websocket-protocol", b"sec-websocket-extensions")


def awaits_answer(stream: WSStream) -> bool:
    """Tell whether the application has neither accepted nor begun to deny the handshake."""
    return not stream.closed and stream.state is ASGIWebsocketState.HANDSHAKE


def give_up(stream: WSStream) -> None:
    """Let nothing more come of a handshake; the application learns that the client is gone."""
    stream.closed = True
    found_inbox(stream).close({"type": "websocket.disconnect", "code": ABNORMAL_CLOSURE})


def open_websockets(streams: Iterable[object]) -> list[WSStream]:
    """List those of hypercorn's *streams* that are WebSockets, and accepted."""
    return [each for each in streams if isinstance(each, WSStream) and each.state is ASGIWebsocketState.CONNECTED]


async def close_websocket(stream: WSStream) -> None:
    """Say 1012 to both sides."""
    found_inbox(stream).close({"type": "websocket.disconnect", "code": SERVICE_RESTART, "reason": "the server restarts"})
    stream.state = ASGIWebsocketState.CLOSED
    await stream._send_wsproto_event(CloseConnection(code=SERVICE_RESTART))
