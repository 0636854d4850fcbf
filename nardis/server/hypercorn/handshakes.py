"""Handshakes of WebSockets that were not answered yet: what hypercorn makes of them."""

from __future__ import annotations

from typing import Final

from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream

from .inbox import found_inbox

__all__ = ["HANDSHAKE_FIELDS", "VANISHED", "VERSION", "awaits_answer", "give_up"]

# What hypercorn reads as ASCII, or not at all.
HANDSHAKE_FIELDS: Final = (b"connection", b"sec-websocket-protocol", b"sec-websocket-extensions")

# Which version is spoken, for a client of another one (RFC 6455 §4.4).
VERSION: Final = (b"sec-websocket-version", b"13")

# What an application hears of a client that left without a Close frame (RFC 6455 §7.1.5).
VANISHED: Final = 1006


def awaits_answer(stream: WSStream) -> bool:
    """Whether the application has neither accepted nor begun to deny the handshake."""
    return not stream.closed and stream.state is ASGIWebsocketState.HANDSHAKE


def give_up(stream: WSStream) -> None:
    """Let nothing more come of a handshake; the application learns that the client is gone."""
    stream.closed = True
    found_inbox(stream).close({"type": "websocket.disconnect", "code": VANISHED})
