"""
The rules that an ASGI application owes its server, checked message by message.

The test client judges from outside. So these checks are written anew, and do not call the code of
`nardis` that sends the messages; tables of the standard are shared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import cast

from .._http.fields import BODILESS_STATUSES, CONNECTION_SPECIFIC
from ..errors import ClientDisconnected
from ..types import Message, Scope
from .requests import Pairs, pairs_of

__all__ = ["ASGIViolation", "Answer", "AppError", "is_departure"]

_START, _BODY, _TRAILERS = "http.response.start", "http.response.body", "http.response.trailers"


# Messages that change nothing for the reader; legal where the extension of the same name is
# offered.
_SIDE_MESSAGES = {"http.response.early_hint", "http.response.push", "http.response.debug"}
# RFC 9110 §5.6.2, without upper case (ASGI and RFC 9113 §8.2).
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")


class AppError(Exception):
    """
    The application raised, would not end, or its lifespan failed.

    `__cause__` is the application's own exception, so a test report shows the handler's traceback.
    """


class ASGIViolation(Exception):
    """The application broke a rule of ASGI; raised in its `send` or `receive`, and in the test."""


@dataclass(slots=True)
class Answer:
    """What the application has said so far, and which rule its next message would break."""

    scope: Scope
    expects: str | None = _START
    status: int = 0
    headers: Pairs = field(default_factory=list[tuple[bytes, bytes]])
    trailers: Pairs = field(default_factory=list[tuple[bytes, bytes]])
    announced: bool = False
    declared_bytes: int | None = None
    body_bytes: int = 0

    @property
    def bodiless(self) -> bool:
        """Whether the answer has no body."""
        return self.scope["method"] == "HEAD" or self.status in BODILESS_STATUSES

    @property
    def whole(self) -> bool:
        """Whether the answer is complete, and as long as it says."""
        return self.expects is None and (
            self.bodiless or self.declared_bytes in (None, self.body_bytes)
        )

    def fault(self, message: Message) -> str | None:
        """Name the rule that *message* breaks, if any."""
        kind = message.get("type")
        offered = kind in self.scope["extensions"]
        if kind not in (_START, _BODY, _TRAILERS):
            return None if kind in _SIDE_MESSAGES and offered else f"unknown message type {kind!r}"
        if kind == _TRAILERS and not offered:
            return f"{_TRAILERS} without the extension of that name"
        if kind != self.expects:
            return (
                f"{kind} after the final message"
                if self.expects is None
                else f"{kind} where {self.expects} was due"
            )
        check = {_START: self._start_fault, _BODY: self._body_fault, _TRAILERS: self._fields_fault}[
            kind
        ]
        return check(message)

    def _start_fault(self, message: Message) -> str | None:
        status = message.get("status")
        if not isinstance(status, int) or not 200 <= status <= 599:
            return f"{status!r} is not the status of a final response (200 to 599)"
        if message.get("trailers") and _TRAILERS not in self.scope["extensions"]:
            return "trailers announced without the http.response.trailers extension"
        return self._fields_fault(message)

    def _body_fault(self, message: Message) -> str | None:
        body = message.get("body", b"")
        if not isinstance(body, bytes):
            return f"body is {type(body).__name__}, not bytes"
        if body and self.status in BODILESS_STATUSES:
            return f"a body with status {self.status}"
        if (
            not self.bodiless
            and self.declared_bytes is not None
            and self.body_bytes + len(body) > self.declared_bytes
        ):
            sent = self.body_bytes + len(body)
            return f"{sent} body bytes where Content-Length says {self.declared_bytes}"
        return None

    def _fields_fault(self, message: Message) -> str | None:
        try:  # an iterator is legal, and here is its one reading
            message["headers"] = pairs = [
                (name, value) for name, value in message.get("headers", ())
            ]
        except (TypeError, ValueError):
            return f"headers are not an iterable of pairs: {message['headers']!r}"
        for name, value in pairs:
            if not (isinstance(name, bytes) and isinstance(value, bytes)):
                return f"header {name!r}: {value!r} is not bytes"
            if not _TOKEN.fullmatch(name):
                return f"header name {name!r} is not a lower-case token"
            if re.search(rb"[\r\n\0]", value):
                return f"header {name!r} has CR, LF or NUL in its value"
            if name in CONNECTION_SPECIFIC and self.scope["http_version"] >= "2":
                return f"connection-specific header {name!r} on HTTP/{self.scope['http_version']}"
            if name == b"content-length" and not value.isdigit():
                return f"content-length {value!r} is not a number"
        return None

    def take(self, message: Message) -> bytes:
        """Accept *message*, which is the expected one, and return the bytes for the reader."""
        if message["type"] == _START:
            self.expects, self.status, self.headers = (
                _BODY,
                int(message["status"]),
                pairs_of(message.get("headers", ())),
            )
            self.announced = message.get("trailers", False)
            length = dict(self.headers).get(b"content-length", b"")
            self.declared_bytes = int(length) if length.isdigit() else None
            return b""
        if message["type"] == _TRAILERS:
            self.trailers += pairs_of(message.get("headers", ()))
            self.expects = _TRAILERS if message.get("more_trailers", False) else None
            return b""
        body = bytes(message.get("body", b""))
        self.body_bytes += len(body)
        if not message.get("more_body", False):
            self.expects = _TRAILERS if self.announced else None
        return b"" if self.bodiless else body


def is_departure(exc: BaseException) -> bool:
    """Whether *exc* says only that the client left, which is nobody's fault when it did."""
    if isinstance(exc, BaseExceptionGroup):
        return all(map(is_departure, cast("BaseExceptionGroup[BaseException]", exc).exceptions))
    # By name: Starlette has a class of its own, and the client knows no framework.
    return isinstance(exc, ClientDisconnected) or type(exc).__name__ == "ClientDisconnect"
