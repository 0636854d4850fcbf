"""Saying no in time: what is too much gets a 503 that says when to come back (RFC 9110 §15.6.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from .hypercorn.connection import Service

__all__ = ["with_limit"]

BODY: Final = b"too many requests at once: try again soon"
FIELDS: Final = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(BODY)),
    (b"retry-after", b"1"),
]


def with_limit(service: Service, app: ASGIApp) -> ASGIApp:
    """Answer in the stead of *app* while more requests are in flight than it should have."""
    most = service.config.max_in_flight

    def limited(scope: Scope, receive: Receive, send: Send) -> object:
        return app(scope, receive, send) if service.calls <= most else _refuse(scope, send)

    return limited  # type: ignore[return-value]


async def _refuse(scope: Scope, send: Send) -> None:
    prefix = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    start: Message = {"type": f"{prefix}.start", "status": 503, "headers": FIELDS}
    await send(start)
    await send({"type": f"{prefix}.body", "body": BODY})
