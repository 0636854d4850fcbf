"""
The access log: one line for each exchange, when it has ended, to the logger `nardis.access`.

It says what a log of status codes hides in streams: when the first byte left, how long it took in
all, how much of that the client kept the application waiting, whether it was cut, and why.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from .._asgi.extensions import ACCESS, CLIENT, FILE, ORIGIN, PATH, extension
from .._failures import failure_of, message_of, one_line, parted
from .._http.fields import declared_length
from ..types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["with_access_log"]

logger: logging.Logger = logging.getLogger("nardis.access")

# Where it is told that a line is lost.
faults: logging.Logger = logging.getLogger("nardis")

# What JSON lacks becomes text. Made once, because `json.dumps` would make one for each line.
_encode: Final = json.JSONEncoder(default=message_of, allow_nan=False).encode

# Half of a surrogate pair in JSON, for which strict readers refuse the whole line. What the first
# group has is none: a backslash, or a pair.
_HALF: Final = re.compile(r"(\\\\|\\ud[89ab]..\\ud[c-f]..)|\\ud[89a-f]..")

# Below that it was the system that took its time, and a line of text says nothing of it.
LEAST_BLOCKED_MS: Final = 1.0

# A WebSocket whose client left without a Close (RFC 6455 §7.1.5).
VANISHED: Final = 1006


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
            began = now = time.monotonic()
            if entry.head_waits:
                entry.let_head_go(began)
            try:
                await send(message)
            finally:
                now = time.monotonic()
                entry.blocked += now - began
            entry.sent(message, now)

        async def noted_receive() -> Message:
            message = await receive()
            if message["type"].endswith(".disconnect"):
                entry.left = True
                entry.close_code = entry.close_code or message.get("code")
            return message

        scope["extensions"][ACCESS] = entry.notes
        try:
            await app(scope, noted_receive, counted_send)
        except BaseException as exc:
            entry.failed = parted(exc)[0] is None
            raise
        finally:
            if logger.isEnabledFor(logging.INFO):
                _log(entry, as_json=as_json, draining=bool(shutdown.draining))

    return logged


def _log(entry: _Entry, *, as_json: bool, draining: bool) -> None:
    """
    Write the line of an exchange.

    A handler or filter may raise, and so may a record factory. That costs the line, not the answer.
    """
    try:
        fields = entry.fields(draining=draining)
        line = _as_json(fields, entry.added) if as_json else _as_text(fields)
        # Not by `extra`, which refuses what a record factory has set already.
        record = logger.makeRecord(
            logger.name, logging.INFO, __file__, 0, "%s", (line,), None, "with_access_log"
        )
        vars(record)["exchange"] = {**entry.added, **fields}
        if fields["request_id"] is not None:
            vars(record)["request_id"] = message_of(fields["request_id"])  # as on other records
        logger.handle(record)
    except BaseException as exc:
        failure = failure_of(exc)  # lets a cancellation go on
        with suppress(Exception):  # of the same record factory
            faults.error(
                "a line of the access log is lost: %s", message_of(failure), exc_info=failure
            )


class _Entry:
    """
    What is known of one exchange.

    Attributes:
        notes: What the application says of it; its fields for the line are among them.
        began: When it began, in Unix seconds; `since` is the same by the clock that never jumps.
        blocked: How long the application waited for the client, in seconds.
        head: The fields of its answer.
        head_waits: HTTP/1 sends a head with the first piece of the body, and that is not there yet.
            Until then the answer is not what the application said: 500 if it fails.
        close_code: How a WebSocket ended, by the first Close of either side.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope: Scope = scope
        self.version: str = scope.get("http_version", "1.1")
        self.notes: dict[str, Any] = {}
        self.began: float = time.time()
        self.since: float = time.monotonic()
        self.blocked: float = 0.0
        self.head: Iterable[tuple[bytes, bytes]] = ()
        self.head_waits: bool = False
        self.first_byte: float | None = None
        self.status: int | None = None
        self.bytes: int = 0
        self.trailers: bool = False  # some are to come behind the body
        self.ended: bool = False
        self.failed: bool = False
        self.left: bool = False
        self.close_code: int | None = None

    @property
    def added(self) -> dict[Any, Any]:
        """The fields that the application adds to the line, by name, if it obeys the types."""
        fields: dict[Any, Any] = self.notes.get("fields") or {}
        return fields

    def let_head_go(self, now: float) -> None:
        """Take note that the head leaves."""
        self.head_waits = False
        if self.first_byte is None:  # it has no early hints before it
            self.first_byte = now - self.since

    def sent(self, message: Message, now: float) -> None:
        """Take note of what went out, until *now*."""
        kind = message["type"]
        if kind.endswith("response.start"):
            self.status = message["status"]
            self.head = message.get("headers", ())
            self.trailers = message.get("trailers", False)
            self.head_waits = kind == "http.response.start" and self.version < "2"
        elif kind == "websocket.accept":
            self.status = 101
        if self.first_byte is None and not self.head_waits:
            self.first_byte = now - self.since
        if kind == "websocket.send":
            self.bytes += len(message.get("bytes") or (message.get("text") or "").encode())
        elif kind.endswith("response.body"):
            self.bytes += len(message.get("body", b""))
            self.ended = not (self.trailers or message.get("more_body", False))
        elif kind in (FILE, PATH):
            self.bytes = self._after_file(message.get("count"))
            self.ended = not (self.trailers or message.get("more_body", False))
        elif kind.endswith("response.trailers"):
            self.ended = not message.get("more_trailers", False)
        elif kind == "websocket.close":
            self.ended = not self.left  # else the client has ended it
            if self.status == 101:
                self.close_code = self.close_code or message.get("code", 1000)
            elif self.status is None and not self.left:
                self.status = 403  # so a server denies a handshake (ASGI specification)

    def _after_file(self, count: int | None) -> int:
        """Return how many bytes were sent behind a file; without a count it is all of the rest."""
        if count is not None:
            return self.bytes + count
        return max(self.bytes, declared_length(dict(self.head).get(b"content-length")) or 0)

    def fields(self, *, draining: bool) -> dict[str, Any]:
        """Return the facts of the line."""
        scope = self.scope
        client, origin = scope.get("client"), extension(scope, ORIGIN)
        asked: dict[bytes, bytes] = dict(scope.get("headers") or ())
        stalled = getattr(extension(scope, CLIENT), "stalled", False)
        code: int | None = self.close_code or self.notes.get("close_code")
        is_closed = (
            scope["type"] == "websocket" and code != VANISHED and (self.left or code is not None)
        )
        # An application that is no Nardis may not have noticed that its last piece was cut.
        ended = (self.ended and not stalled) or is_closed
        told = None if self.head_waits else self.status
        # The server answers for what failed, if somebody is there.
        is_500 = self.failed and told is None and not (self.head_waits and self.left)
        status = 500 if is_500 else told
        reason = self.notes.get("close_reason")
        if reason is None and not ended and not is_500:
            reason = (
                "stalled" if stalled else "gone" if self.left else "shutdown" if draining else None
            )
        return {
            "time": _rfc3339(self.began),
            "request_id": self.added.get("request_id"),
            "client": _named(client) if client else None,
            "method": scope.get("method", "WEBSOCKET"),
            "host": _text(asked.get(b"host")) if origin is None else origin.host,
            "path": scope["path"],
            "http_version": self.version,
            "status": status,
            "bytes": self.bytes,
            "first_byte_ms": None if self.first_byte is None else round(self.first_byte * 1000, 1),
            "duration_ms": round((time.monotonic() - self.since) * 1000, 1),
            "blocked_ms": round(self.blocked * 1000, 1),
            "user_agent": _text(asked.get(b"user-agent")),
            "aborted": not ended and status != 500,
            "close_reason": reason,
            **({} if code is None else {"close_code": code}),
        }


def _named(client: tuple[str, int]) -> str:
    """Write an address; a port of 0 is not known, as of a client behind a proxy."""
    return f"{client[0]}:{client[1]}" if client[1] else client[0]


def _rfc3339(seconds: float) -> str:
    """Write Unix seconds as `2026-11-28T19:30:00.004Z`."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _as_json(fields: dict[str, Any], added: dict[Any, Any]) -> str:
    """
    Write a line of JSON: our fields, and behind them what the application added under other names.

    What JSON lacks becomes text: a line is never lost for a value in it. No name comes twice.
    """
    line = fields.copy()
    for key, value in added.items():
        name = str.__str__(key) if isinstance(key, str) else message_of(key)
        if name not in fields:
            line[name] = value
    try:
        text = _encode(line)
    except BaseException as exc:  # NaN, a circle, a number of 5,000 digits
        failure_of(exc)  # lets a cancellation go on
        text = _encode({name: _plain(value) for name, value in line.items()})
    return _HALF.sub(lambda half: half[1] or "\\ufffd", text) if "\\ud" in text else text


def _plain(value: object) -> object:
    """Return *value* if it can be encoded, else what it says of itself."""
    try:
        _encode(value)
    except BaseException as exc:
        failure_of(exc)
        return message_of(value)
    return value


def _as_text(fields: dict[str, Any]) -> str:
    first_byte = "-" if fields["first_byte_ms"] is None else f"{fields['first_byte_ms']}ms"
    line = (
        f'{_word(fields["client"] or "-")} "{_word(fields["method"])} {_quotable(fields["path"])} '
        f'HTTP/{fields["http_version"]}" {fields["status"] or "-"} '
        f"{fields['bytes']}B first={first_byte} total={fields['duration_ms']}ms"
    )
    if fields["blocked_ms"] >= LEAST_BLOCKED_MS:
        line += f" blocked={fields['blocked_ms']}ms"
    if fields["request_id"] is not None:
        line += f" id={_word(message_of(fields['request_id']))}"
    if fields["aborted"]:
        line += " aborted"
    if fields["close_reason"]:
        line += f" close_reason={fields['close_reason']}"
    if "close_code" in fields:
        line += f" close_code={fields['close_code']}"
    return line


def _word(text: str) -> str:
    """Write a text so that it is one field of a line, without quotes around it."""
    return _quotable(text).replace(" ", "_")


def _quotable(text: str) -> str:
    """Write a text so that a line end in it is no line of the log, and a quote ends no field."""
    return one_line(text).replace('"', '\\"')
