"""Saying no in time: what is too much gets a 503 that says when to come back (RFC 9110 §15.6.4)."""

from __future__ import annotations

from typing import Final, Protocol

from ..types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["with_limit"]

BODY: Final = b"too many requests at once: try again soon"
FIELDS: Final = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", b"%d" % len(BODY)),
    (b"retry-after", b"1"),
]


class Load(Protocol):
    """
    What a server has to do at the moment.

    Attributes:
        calls: How many calls of the application are running.
    """

    calls: int


def with_limit(app: ASGIApp, most: int, load: Load) -> ASGIApp:
    """Answer in the stead of *app* while more than *most* calls are running."""

    def limited(scope: Scope, receive: Receive, send: Send) -> object:
        return app(scope, receive, send) if load.calls <= most else _refuse(scope, send)

    return limited  # type: ignore[return-value]


async def _refuse(scope: Scope, send: Send) -> None:
    prefix = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    start: Message = {"type": f"{prefix}.start", "status": 503, "headers": FIELDS}
    await send(start)
    await send({"type": f"{prefix}.body", "body": BODY})
