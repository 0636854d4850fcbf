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

from ..._http.fields import BODILESS_STATUSES, declared_length
from ...errors import FieldError

__all__ = ["CLOSE", "CONTINUE", "Start", "date_line", "refusal"]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Final = b"connection: close\r\n"

STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
    if status >= 200
}

# Fields that are more than a line to us.
SPECIAL: Final = frozenset({b"content-length", b"transfer-encoding", b"connection", b"date"})

# token, RFC 9110 §5.6.2.
TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

# The names of fields come from the source of applications. One that makes up names must not grow
# this memory without bound.
KNOWN_NAMES: Final = 1024
KNOWN_NAME_BYTES: Final = 64

# What stands in no line, but for the two bytes at its end (RFC 9110 §5.5).
CONTROLS: Final = bytes(code for code in range(32) if code != 9) + b"\x7f"

# With what they are to us: b"" is a line.
_known: dict[bytes, bytes] = {}


class Start:
    r"""
    The head of a response, as the application wants it.

    Args:
        status: From 200 to 999.
        headers: Names and values.

    Attributes:
        lines: The status line and the fields, without those of connection and framing.
        length: The length that it declares.
        closes: It says that the connection closes.
        dated: It has a Date of its own.
        bodiless: Its status has no body.

    Raises:
        FieldError: A status, name, value or length that cannot be sent.

    >>> start = Start(200, [(b"a", b"b"), (b"content-length", b"5")])
    >>> start.lines, start.length
    (b'HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 5\r\n', 5)
    """

    __slots__ = ("bodiless", "closes", "dated", "length", "lines")

    def __init__(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.length: int | None = None
        self.closes: bool = False
        self.dated: bool = False
        self.bodiless: bool = status in BODILESS_STATUSES
        lines = [STATUS_LINES.get(status) or _odd_status_line(status)]
        ends = 2
        for name, value in headers:
            try:
                special = _known[name]
            except (KeyError, TypeError):
                special = _learn(name)
            if not special or self._keeps(special, value, status):
                lines += (name, b": ", value, b"\r\n")
                ends += 2
        self.lines: bytes = b"".join(lines)
        if len(self.lines.translate(None, CONTROLS)) + ends != len(self.lines):
            raise FieldError("a header field has a line break or another control character in it")

    def _keeps(self, name: bytes, value: bytes, status: int) -> bool:
        """Note what a field says of the message; return whether it is sent as it is."""
        if name == b"content-length":
            length = declared_length(bytes(value))
            if length is None or self.length is not None:
                raise FieldError("one Content-Length can be declared, in digits")
            self.length = length
            return status != 204  # RFC 9110 §8.6
        if name == b"date":
            self.dated = True
            return True
        if name == b"connection":
            self.closes = self.closes or b"close" in re.split(rb"[\s,]+", bytes(value).lower())
        return False  # the connection and the framing are ours


def _odd_status_line(status: object) -> bytes:
    if not isinstance(status, int) or not 200 <= status <= 999:
        raise FieldError(f"the status of a response is a number from 200 to 999, not {status!r}")
    return b"HTTP/1.1 %d \r\n" % status


def _learn(name: bytes) -> bytes:
    """Check the name of a field; return it in lower case if it is a special one."""
    plain = bytes(name)
    if not TOKEN.fullmatch(plain):
        raise FieldError(f"{plain[:64]!r} cannot be the name of a header field")
    special = plain.lower() if plain.lower() in SPECIAL else b""
    if len(_known) < KNOWN_NAMES and len(plain) <= KNOWN_NAME_BYTES:
        _known[plain] = special
    return special


class _Clock:
    """
    The Date of answers, made once a second.

    Attributes:
        second: For which it was made.
        line: It.
    """

    second = 0
    line = b""


def date_line() -> bytes:
    """Return the line of the Date field (RFC 9110 §6.6.1)."""
    second = int(time.time())
    if second != _Clock.second:
        _Clock.second = second
        _Clock.line = b"date: %b\r\n" % format_date_time(second).encode()
    return _Clock.line


def refusal(status: int, reason: str) -> bytes:
    """Make the whole answer to a request that no application sees; the connection then closes."""
    body = reason.encode("ascii", "replace")
    fields = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % len(body)
    return b"".join((STATUS_LINES[status], fields, date_line(), CLOSE, b"\r\n", body))
