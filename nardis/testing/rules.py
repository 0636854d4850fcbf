"""
The rules that an ASGI application owes its server, checked message by message.

The test client judges from outside. So these checks are written anew, and do not call the code of
`nardis` that sends the messages; tables of the standard are shared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, cast

from .._http.fields import BODILESS_STATUSES, CONNECTION_SPECIFIC
from ..errors import ClientDisconnected
from ..types import Message, Scope
from .requests import Pairs, pairs_of

__all__ = [
    "DENIAL",
    "ASGIViolation",
    "Answer",
    "AppError",
    "Talk",
    "close_fault",
    "is_departure",
    "payload_of",
]

_START, _BODY, _TRAILERS = "http.response.start", "http.response.body", "http.response.trailers"


# Messages that change nothing for the reader; legal where the extension of the same name is
# offered.
_SIDE_MESSAGES = {"http.response.early_hint", "http.response.push", "http.response.debug"}
# RFC 9110 §5.6.2, without upper case (ASGI and RFC 9113 §8.2).
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")

_ACCEPT, _SEND, _CLOSE = "websocket.accept", "websocket.send", "websocket.close"
DENIAL = "websocket.http.response"
_DENY, _DENIAL_BODY = f"{DENIAL}.start", f"{DENIAL}.body"
# What may come next, for each stage of a WebSocket.
_DUE = {
    "handshake": (_ACCEPT, _CLOSE, _DENY),
    "denying": (_DENIAL_BODY,),
    "open": (_SEND, _CLOSE),
    "over": (),
}
# In the head that accepts, these are the server's (RFC 6455 §4.2.2), or have no place in any 1xx
# answer, nor in a 2xx to CONNECT (RFC 9110 §8.6).
_OF_SERVER = {
    *CONNECTION_SPECIFIC,
    b"content-length",
    b"sec-websocket-accept",
    b"sec-websocket-extensions",
    b"sec-websocket-protocol",
}
# RFC 6455 §7.4 and IANA's registry: 1004 is reserved, and 1005, 1006 and 1015 are never sent.
_CODES = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
# RFC 6455 §5.5: a control frame carries 125 bytes, and two are the code.
_REASON_BYTES = 123


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

    def _fields_fault(self, message: Message) -> str | None:
        return _fields_fault(message, self.scope["http_version"])

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


@dataclass(slots=True)
class Talk:
    """What the application has said on a WebSocket so far, as `Answer` has it for a request."""

    scope: Scope
    stage: Literal["handshake", "denying", "open", "over"] = "handshake"
    subprotocol: str | None = None
    headers: Pairs = field(default_factory=list[tuple[bytes, bytes]])
    denial: Answer = field(init=False)
    denial_body: bytes = b""

    def __post_init__(self) -> None:
        version = self.scope["http_version"]
        self.denial = Answer({"method": "GET", "http_version": version, "extensions": {}})

    def fault(self, message: Message) -> str | None:
        """Name the rule that *message* breaks, if any."""
        kind = message.get("type")
        checks = {
            _ACCEPT: self._accept_fault,
            _SEND: _payload_fault,
            _CLOSE: _close_message_fault,
            _DENY: self._denial_fault,
            _DENIAL_BODY: self._denial_fault,
        }
        if kind not in checks:
            return f"unknown message type {kind!r}"
        if kind in (_DENY, _DENIAL_BODY) and DENIAL not in self.scope["extensions"]:
            return f"{kind} without the extension {DENIAL}"
        if kind not in (due := _DUE[self.stage]):
            return f"{kind} where {' or '.join(due)} was due" if due else f"{kind} after the end"
        return checks[kind](message)

    def _accept_fault(self, message: Message) -> str | None:
        chosen = message.get("subprotocol")
        if chosen is not None and chosen not in self.scope["subprotocols"]:
            return f"subprotocol {chosen!r} was not offered"
        fault = _fields_fault(message, self.scope["http_version"])
        for name, _ in () if fault else message["headers"]:
            if name in _OF_SERVER:
                return f"header {name!r} in {_ACCEPT}, where it is the server's"
        return fault

    def _denial_fault(self, message: Message) -> str | None:
        said = _as_http(message)
        fault = self.denial.fault(said)
        if fault is None and said["type"] == _START:
            message["headers"] = said["headers"]
            if said["status"] < 300 and self.scope["http_version"] >= "2":
                return f"a denial with status {said['status']}, which accepts on HTTP/2 (RFC 8441)"
        return fault

    def take(self, message: Message) -> bool:
        """Accept *message*; return whether it was expected, and is not to be ignored."""
        kind = message.get("type")
        if kind not in _DUE[self.stage] or (kind == _SEND and payload_of(message) is None):
            return False
        if kind == _ACCEPT:
            self.stage = "open"
            self.subprotocol = message.get("subprotocol")
            self.headers = pairs_of(message.get("headers", ()))
        elif kind == _CLOSE:
            if self.stage == "handshake":  # what servers answer
                head = [(b"content-length", b"0")]
                self.denial.take({"type": _START, "status": 403, "headers": head})
                self.denial.take({"type": _BODY})
            self.stage = "over"
        elif kind != _SEND:
            self.denial_body += self.denial.take(_as_http(message))
            self.stage = "denying" if self.denial.expects else "over"
        return True


def _as_http(message: Message) -> Message:
    return {**message, "type": message["type"].removeprefix("websocket.")}


def payload_of(message: Message) -> str | bytes | None:
    """Return what a websocket.send carries; None if nothing of it can be sent."""
    data = message.get("bytes")
    payload = message.get("text") if data is None else data
    if isinstance(payload, bytes | bytearray | memoryview):
        return bytes(cast("bytes", payload))
    return payload if isinstance(payload, str) else None


def _payload_fault(message: Message) -> str | None:
    text, data = message.get("text"), message.get("bytes")
    if (text is None) == (data is None):
        return f"{_SEND} with {'neither text nor' if text is None else 'both text and'} bytes"
    if data is not None:
        return None if isinstance(data, bytes) else f"bytes is {type(data).__name__}, not bytes"
    if not isinstance(text, str):
        return f"text is {type(text).__name__}, not str"
    return "text that UTF-8 cannot encode" if re.search("[\ud800-\udfff]", text) else None


def _close_message_fault(message: Message) -> str | None:
    return close_fault(message.get("code", 1000), message.get("reason") or "")


def close_fault(code: object, reason: object) -> str | None:
    """Say what keeps *code* and *reason* from being sent in a Close frame, if anything."""
    if not isinstance(code, int) or code not in _CODES:
        return f"{code!r} is not a code that may be sent (RFC 6455 §7.4)"
    if not isinstance(reason, str):
        return f"reason is {type(reason).__name__}, not str"
    if len(reason.encode("utf-8", "replace")) > _REASON_BYTES:
        return f"a reason of more than {_REASON_BYTES} bytes (RFC 6455 §5.5)"
    return None


def _fields_fault(message: Message, http_version: str) -> str | None:
    try:  # an iterator is legal, and here is its one reading
        message["headers"] = pairs = [(name, value) for name, value in message.get("headers", ())]
    except (TypeError, ValueError):
        return f"headers are not an iterable of pairs: {message['headers']!r}"
    for name, value in pairs:
        if not (isinstance(name, bytes) and isinstance(value, bytes)):
            return f"header {name!r}: {value!r} is not bytes"
        if not _TOKEN.fullmatch(name):
            return f"header name {name!r} is not a lower-case token"
        if re.search(rb"[\r\n\0]", value):
            return f"header {name!r} has CR, LF or NUL in its value"
        if name in CONNECTION_SPECIFIC and http_version >= "2":
            return f"connection-specific header {name!r} on HTTP/{http_version}"
        if name == b"content-length" and not value.isdigit():
            return f"content-length {value!r} is not a number"
    return None


def is_departure(exc: BaseException) -> bool:
    """Whether *exc* says only that the client left, which is nobody's fault when it did."""
    if isinstance(exc, BaseExceptionGroup):
        return all(map(is_departure, cast("BaseExceptionGroup[BaseException]", exc).exceptions))
    # By name: Starlette has classes of its own, and the client knows no framework.
    names = ("ClientDisconnect", "WebSocketDisconnect")
    return isinstance(exc, ClientDisconnected) or type(exc).__name__ in names
