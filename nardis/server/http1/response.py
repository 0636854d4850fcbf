"""
The head of a response, from ASGI to bytes; and the answers that the server gives by itself.

Source: RFC 9112 §4 (status line), RFC 9110 §5 (fields), §6.6.1 (Date), §8.6 (Content-Length) and
§15 (statuses).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from wsgiref.handlers import format_date_time

from ..._http.fields import BODILESS_STATUSES, NO_TRAILERS
from ...errors import FieldError

__all__ = [
    "CLOSE",
    "CONTINUE",
    "Start",
    "date_line",
    "early_hints",
    "refusal",
    "trailer_section",
]

# Lines that follow others bring the end of the line before.
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Final = b"\r\nconnection: close"

STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode()
    for status in HTTPStatus
    if status >= 200
}

# token, RFC 9110 §5.6.2.
TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# The names of fields come from the source of applications. One that makes up names must not grow
# this memory without bound.
KNOWN_NAMES: Final = 1024
KNOWN_NAME_BYTES: Final = 64

# What stands in no line, but for the two bytes at its end (RFC 9110 §5.5).
CONTROLS: Final = bytes(code for code in range(32) if code != 9) + b"\x7f"

# A length with more digits than this is no length of anything.
MOST_DIGITS: Final = 18

# How the lines of known names begin.
LENGTH: Final = b"content-length: "
_starts: dict[bytes, bytes] = {b"content-length": LENGTH}


class Start:
    r"""
    The head of a response, as the application wants it.

    Args:
        status: From 200 to 999.
        headers: Names and values.
        trailing: Trailers are announced.
        chunked: They are sent: the body comes in chunks, whatever length was declared (RFC 9112
            §6.2).

    Attributes:
        lines: The status line and the fields, without those of connection and framing, and without
            the last line's end.
        length: The length that it declares.
        closes: It says that the connection closes.
        dated: It has a Date of its own.
        bodiless: Its status has no body.

    Raises:
        FieldError: A status, name, value or length that cannot be sent.

    >>> start = Start(200, [(b"a", b"b"), (b"content-length", b"5")])
    >>> start.lines, start.length
    (b'HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 5', 5)
    """

    __slots__ = ("bodiless", "chunked", "closes", "dated", "length", "lines", "trailing")

    def __init__(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        trailing: bool = False,
        chunked: bool = False,
    ) -> None:
        self.trailing: bool = trailing
        self.chunked: bool = chunked
        self.length: int | None = None
        self.closes: bool = False
        self.dated: bool = False
        self.bodiless: bool = status in BODILESS_STATUSES
        lines = [STATUS_LINES.get(status) or _odd_status_line(status)]
        for name, value in headers:
            start: bytes | None
            try:
                start = _starts[name]
            except (KeyError, TypeError):  # new, or a bytearray
                start = self._odd_start(bytes(name), bytes(value), status)
            else:
                if start is LENGTH:
                    start = self._declared(start, value, status)
            if start is not None:
                lines.append(start + value)
        self.lines: bytes = b"\r\n".join(lines)
        if len(self.lines.translate(None, CONTROLS)) + 2 * len(lines) - 2 != len(self.lines):
            raise FieldError("a header field has a line break or another control character in it")

    def _declared(self, start: bytes, value: bytes, status: int) -> bytes | None:
        """Note the length; 204 has none (RFC 9110 §8.6)."""
        if self.length is not None or not value.isdigit() or len(value) > MOST_DIGITS:
            raise FieldError("one Content-Length can be declared, in digits")
        self.length = int(value)
        return None if status == 204 or self.chunked else start

    def _odd_start(self, name: bytes, value: bytes, status: int) -> bytes | None:
        """Return how a line begins whose name is new, or special; None leaves it out."""
        lower = name.lower()
        if lower in (b"connection", b"transfer-encoding"):  # they are ours
            if value.translate(None, CONTROLS) != value:
                raise FieldError("a header field has a line break or another control character")
            tokens = re.split(rb"[\s,]+", value.lower())
            self.closes = self.closes or (lower == b"connection" and b"close" in tokens)
            # It goes with an Upgrade field (RFC 9110 §7.8), and says nothing of this connection.
            is_upgrade = lower == b"connection" and tokens == [b"upgrade"]
            return name + b": " if is_upgrade else None
        if lower == b"content-length":
            return self._declared(name + b": ", value, status)
        if lower == b"date":
            self.dated = True
        elif not TOKEN.fullmatch(name):
            raise FieldError(f"{name[:64]!r} cannot be the name of a header field")
        elif len(_starts) < KNOWN_NAMES and len(name) <= KNOWN_NAME_BYTES:
            _starts[name] = name + b": "
        return name + b": "


def _odd_status_line(status: object) -> bytes:
    if not isinstance(status, int) or not 200 <= status <= 999:
        raise FieldError(f"the status of a response is a number from 200 to 999, not {status!r}")
    return b"HTTP/1.1 %d " % status


class _Clock:
    """
    The Date of answers, made once a second.

    Attributes:
        until: When another one is due, by `time.time`.
        line: It.
    """

    until = 0.0
    line = b""


def date_line() -> bytes:
    """Return the line of the Date field (RFC 9110 §6.6.1), behind the end of the line before."""
    now = time.time()
    if not _Clock.until - 1 <= now < _Clock.until:
        _Clock.until = int(now) + 1.0
        _Clock.line = b"\r\ndate: %b" % format_date_time(now).encode()
    return _Clock.line


def early_hints(links: Iterable[bytes]) -> bytes:
    r"""
    Make an informational response that says what the client will need (RFC 8297 §2).

    >>> early_hints([b"</a.css>; rel=preload"])
    b'HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n'
    """
    return b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % trailer_section(
        (b"link", each) for each in links
    )


def trailer_section(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    r"""
    Make the lines of fields that stand outside of the head of a response (RFC 9112 §7.1.2).

    Raises:
        FieldError: One cannot be sent, or not so late (RFC 9110 §6.5.1).

    >>> trailer_section([(b"x-sum", b"9e10")])
    b'x-sum: 9e10\r\n'
    """
    lines: list[bytes] = []
    for name, value in fields:
        if not TOKEN.fullmatch(name) or len(value.translate(None, CONTROLS)) != len(value):
            raise FieldError(f"{name[:64]!r} cannot be sent: its name or value is malformed")
        if bytes(name).lower() in NO_TRAILERS:
            raise FieldError(f"{name!r} cannot be a trailer: the client needs it before the body")
        lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines)


def refusal(status: int, reason: str, *, to_head: bool = False) -> bytes:
    """
    Make the whole answer to a request that no application answers; the connection then closes.

    HEAD gets no body (RFC 9110 §9.3.2).
    """
    body = reason.encode("ascii", "replace")
    fields = b"\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d" % len(body)
    head = b"".join((STATUS_LINES[status], fields, date_line(), CLOSE, b"\r\n\r\n"))
    return head if to_head else head + body
