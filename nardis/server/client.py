"""A client that has just come in: its first conversation, or a word of regret."""

from __future__ import annotations

import ssl
from contextlib import suppress
from functools import partial
from typing import Final

import anyio

from .connection import Connection, Conversation, contained
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
    if context is None:
        return await Connection(service, wire, wire, partial(_first, tasks, None)).attend()
    secure, agreed = SecureStream(wire, context), False
    try:
        with contained(wire, lambda: True), service.handshake():
            agreed = await secure.shake_hands(service.config.head_s)
    finally:
        if not agreed:
            wire.close()
    if agreed:
        await Connection(service, wire, secure, partial(_first, tasks, secure.tls.alpn)).attend()


def _first(tasks: Tasks, alpn: str | None, connection: Connection) -> Conversation:
    """Make the conversation that a client begins with, by the protocol that TLS agreed on."""
    if alpn == "h2":
        return Guest(connection, tasks, b"", alpn)
    return Http1(connection, partial(_hand_over, connection, tasks))


def _hand_over(
    connection: Connection, tasks: Tasks, request: RequestHead | None, read: bytes
) -> Guest | None:
    """Make hypercorn's conversation of a request, or of HTTP/2's preface, if it is one for it."""
    if request is None:
        return Guest(connection, tasks, read, "h2")
    if takes(request, http2=connection.service.config.http2):
        return Guest(connection, tasks, read, None)
    return None


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
