"""A client that has just come in: its first conversation, or a word of regret."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final

import anyio

from .connection import Connection, contained
from .http1.conversation import Http1
from .http1.request import RequestHead
from .hypercorn.guest import Guest, Tasks, takes
from .secure import SecureStream
from .service import Service
from .stream import LINGER_S, Stream

__all__ = ["ACCEPT_PAUSE_S", "serve_client", "turn_away"]

# The pause of a door for whose next client the system has no room.
ACCEPT_PAUSE_S: Final = 0.1

# What a connection too many gets (RFC 9110 §15.6.4).
OVERLOAD_ANSWER: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n"
    b"content-type: text/plain; charset=utf-8\r\n"
    b"content-length: 36\r\nconnection: close\r\n\r\ntoo many connections: try again soon"
)


async def serve_client(
    service: Service,
    wire: Stream,
    context: ssl.SSLContext | None,
    tasks: Tasks,
) -> None:
    """
    Serve one client to the end; nothing but cancellation comes out.

    *tasks* makes a group for what needs several at once.
    """
    with contained(service, wire):
        if context is None:
            await _converse(Connection(service, wire, wire), tasks, None)
        else:
            secure = SecureStream(wire, context)
            if await secure.shake_hands(service.config.head_s):
                connection = Connection(service, wire, secure)
                await _converse(connection, tasks, secure.tls.alpn)


async def _converse(connection: Connection, tasks: Tasks, alpn: str | None) -> None:
    def hand_over(request: RequestHead | None, read: bytes) -> Guest | None:
        if request is None:
            return Guest(connection, tasks, read, "h2")
        if takes(request, http2=connection.service.config.http2):
            return Guest(connection, tasks, read, None)
        return None

    first = Guest(connection, tasks, b"", alpn) if alpn == "h2" else Http1(connection, hand_over)
    try:
        await connection.converse(first)
    finally:
        connection.service.connections.discard(connection)


async def turn_away(wire: Stream, *, secure: bool) -> None:
    """Answer 503 to one client too many; over TLS say nothing, the handshake costs too much."""
    try:
        with anyio.move_on_after(LINGER_S), suppress(OSError):
            if not secure and await wire.write(OVERLOAD_ANSWER):
                await wire.finish(whole=True)
                while await wire.read():
                    pass
    finally:
        wire.close()
