"""
What an answer in one piece says of its body: its ETag and its length.

Source: RFC 9110 §8.6 and §8.8.3.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from .._http.conditional import make_etag

__all__ = ["ETAG", "LENGTH", "LENGTHS", "LINES", "TYPE"]

Line: TypeAlias = tuple[bytes, bytes]

# Programs that answer the same again and again have ETag and length of it at hand. Larger bodies
# would cost more memory than they save time.
_KNOWN_BYTES: Final = 1024
_KNOWN_BODIES: Final = 256

# Names of their own, so that these fields can be told from those that the application has set.
ETAG: Final = bytes(bytearray(b"etag"))
LENGTH: Final = bytes(bytearray(b"content-length"))

# Likewise, of a type that suits any whole answer as it is: it says UTF-8, or it is not of text.
TYPE: Final = bytes(bytearray(b"content-type"))


class _Lengths(dict[int, Line]):
    """Content-Length fields, by the size of the body."""

    def __missing__(self, size: int) -> Line:
        line = LENGTH, b"%d" % size
        if size <= _KNOWN_BYTES:
            self[size] = line
        return line


class _Lines(dict[bytes, tuple[Line, Line]]):
    """ETag and Content-Length, by the whole body."""

    def __missing__(self, body: bytes) -> tuple[Line, Line]:
        lines = (ETAG, make_etag(body).encode()), LENGTHS[len(body)]
        if len(body) <= _KNOWN_BYTES:
            if len(self) >= _KNOWN_BODIES:
                self.clear()
            self[body] = lines
        return lines


LENGTHS: Final = _Lengths()
LINES: Final = _Lines()
