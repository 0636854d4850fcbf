"""
The access log: one line for each exchange, when it has ended, to the logger `nardis.access`.

It says what a log of status codes hides in streams: when the first byte left, how long it took in
all, whether it was cut, and why.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Protocol

from .._asgi.extensions import ACCESS, CLIENT, extension
from .._failures import parted
from ..types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["with_access_log"]

logger: logging.Logger = logging.getLogger("nardis.access")


class Shutdown(Protocol):
    """
    The shutdown of a server.

    Attributes:
        draining: When it began; 0.0 before.
    """

    draining: float


def with_access_log(app: ASGIApp, *, as_json: bool, shutdown: Shutdown) -> ASGIApp:
    """
    Log what passes between the server and *app*, as JSON or as text.

    A response that is cut after the beginning of *shutdown* was cut by that.
    """

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        entry = _Entry(scope)

        async def counted_send(message: Message) -> None:
            await send(message)
            entry.sent(message)

        async def noted_receive() -> Message:
            message = await receive()
            if message["type"].endswith(".disconnect"):
                entry.left = True
            return message

        scope["extensions"][ACCESS] = entry.notes
        try:
            await app(scope, noted_receive, counted_send)
        except BaseException as exc:
            entry.failed = parted(exc)[0] is None
            raise
        finally:
            fields = entry.fields(draining=bool(shutdown.draining))
            logger.info(
                "%s",
                json.dumps(fields) if as_json else _as_text(fields),
                extra={"exchange": fields},
            )

    return logged


class _Entry:
    """What is known of one exchange."""

    def __init__(self, scope: Scope) -> None:
        self.scope: Scope = scope
        self.notes: dict[str, Any] = {}
        self.since: float = time.monotonic()
        self.first_byte: float | None = None
        self.status: int | None = None
        self.bytes: int = 0
        self.trailers: bool = False  # some are to come behind the body
        self.ended: bool = False
        self.failed: bool = False
        self.left: bool = False

    def sent(self, message: Message) -> None:
        """Take note of what went out."""
        kind = message["type"]
        if kind.endswith("response.start"):
            self.status = message["status"]
            self.trailers = message.get("trailers", False)
        elif kind == "websocket.accept":
            self.status = 101
        if self.first_byte is None:
            self.first_byte = time.monotonic() - self.since
        if kind == "websocket.send":
            self.bytes += len(message.get("bytes") or (message.get("text") or "").encode())
        elif kind.endswith("response.body"):
            self.bytes += len(message.get("body", b""))
            self.ended = not (self.trailers or message.get("more_body", False))
        elif kind.endswith("response.trailers"):
            self.ended = not message.get("more_trailers", False)
        elif kind == "websocket.close":
            self.ended = True

    def fields(self, *, draining: bool) -> dict[str, Any]:
        """Return the facts of the line."""
        scope = self.scope
        client = scope.get("client")
        stalled = getattr(extension(scope, CLIENT), "stalled", False)
        # An application that is no Nardis may not have noticed that its last piece was cut.
        ended = (self.ended and not stalled) or (self.left and scope["type"] == "websocket")
        status = self.status if self.status is not None or not self.failed else 500
        reason = self.notes.get("close_reason")
        if reason is None and not ended and not (self.failed and self.status is None):
            reason = (
                "stalled" if stalled else "gone" if self.left else "shutdown" if draining else None
            )
        return {
            "client": _named(client) if client else None,
            "method": scope.get("method", "WEBSOCKET"),
            "path": scope["path"],
            "http_version": scope.get("http_version", "1.1"),
            "status": status,
            "bytes": self.bytes,
            "first_byte_ms": None if self.first_byte is None else round(self.first_byte * 1000, 1),
            "duration_ms": round((time.monotonic() - self.since) * 1000, 1),
            "aborted": not ended and status != 500,
            "close_reason": reason,
        }


def _named(client: tuple[str, int]) -> str:
    """Write an address; a port of 0 is not known, as of a client behind a proxy."""
    return f"{client[0]}:{client[1]}" if client[1] else client[0]


def _as_text(fields: dict[str, Any]) -> str:
    first_byte = "-" if fields["first_byte_ms"] is None else f"{fields['first_byte_ms']}ms"
    # A line end in a path is no line of the log, and a quote in it ends no field.
    path = fields["path"].encode("unicode_escape").decode("ascii").replace('"', '\\"')
    line = (
        f'{fields["client"] or "-"} "{fields["method"]} {path} HTTP/{fields["http_version"]}" '
        f"{fields['status'] or '-'} "
        f"{fields['bytes']}B first={first_byte} total={fields['duration_ms']}ms"
    )
    if fields["aborted"]:
        line += " aborted"
    if fields["close_reason"]:
        line += f" close_reason={fields['close_reason']}"
    return line
