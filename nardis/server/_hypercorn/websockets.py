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

from .inbox import inbox_of

__all__ = ["close_websocket", "open_websockets"]

SERVICE_RESTART: Final = 1012


def open_websockets(streams: Iterable[object]) -> list[WSStream]:
    """List those of hypercorn's *streams* that are WebSockets, and accepted."""
    return [each for each in streams if isinstance(each, WSStream) and each.state is ASGIWebsocketState.CONNECTED]


async def close_websocket(stream: WSStream) -> None:
    """Say 1012 to both sides."""
    inbox = inbox_of(stream)
    if inbox is not None:
        inbox.close({"type": "websocket.disconnect", "code": SERVICE_RESTART, "reason": "the server restarts"})
    await stream._send_wsproto_event(CloseConnection(code=SERVICE_RESTART))
