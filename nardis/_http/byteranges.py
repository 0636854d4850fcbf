"""
Several ranges in one body: `multipart/byteranges`, whose length is known before a byte is read.

Source: RFC 9110 §14.6 (the media type) and §15.3.7.2 (when it is sent); RFC 2046 §5.1.1 (the
delimiters).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence

from ..errors import FieldError, UsageError
from .fields import check_value
from .ranges import content_range

__all__ = ["ByteRanges"]

# The bchars of RFC 2046 §5.1.1 that are token characters as well: in Content-Type they need no
# quotes (RFC 9110 §5.6.6).
_BOUNDARY = re.compile(r"[0-9A-Za-z'+_.\-]{1,70}")

# 128 random bits, for each body anew. Nobody looks through a file for the boundary before it is
# sent. So the author of the file must not guess it: the file could end its own part, and go on with
# a forged one.
_BOUNDARY_BYTES = 16


class ByteRanges:
    r"""
    Frame several ranges of one representation as the body of a 206.

    Iterating gives the parts: a head to send, then the range whose bytes follow it. Behind the last
    part comes `end`. The 206 itself has no Content-Range.

    Args:
        spans: Two half-open ranges or more, as `parse_range` returns them. A single one is no
            multipart: send it with its `content_range`, since a client that asked for one range
            need not understand parts.
        size: Length of the whole representation, in bytes.
        content_type: The Content-Type that a 200 would have; each part repeats it. `None` if a 200
            has none.
        boundary: What stands between the parts, for a body that must be the same each time. It must
            not be in the representation. The default is random.

    Attributes:
        content_type: The Content-Type of the 206.
        length: The Content-Length of the 206: all heads, all ranges and the end, in bytes.
        end: What follows the last range.

    Raises:
        FieldError: A range is empty or lies outside of the representation, *content_type* is no
            field value, or *boundary* is not 1 to 70 of the characters that need no quotes.
        UsageError: There are fewer than two ranges.

    Source: RFC 9110 §14.6 and §15.3.7.2; RFC 2046 §5.1.1.
    >>> body = ByteRanges([range(0, 2), range(6, 9)], 9, "text/plain", "X")
    >>> body.content_type, body.length, body.end
    ('multipart/byteranges; boundary=X', 140, b'\r\n--X--\r\n')
    >>> [(head[-36:], span) for head, span in body][1]
    (b'lain\r\nContent-Range: bytes 6-8/9\r\n\r\n', range(6, 9))
    """

    __slots__ = ("_parts", "content_type", "end", "length")

    def __init__(
        self,
        spans: Sequence[range],
        size: int,
        content_type: str | None,
        boundary: str | None = None,
    ) -> None:
        if len(spans) < 2:
            raise UsageError(
                f"multipart/byteranges is for two ranges or more, not {len(spans)}: "
                "send a single one as it is, with its content_range()"
            )
        if boundary is None:
            boundary = secrets.token_hex(_BOUNDARY_BYTES)
        elif not _BOUNDARY.fullmatch(boundary):
            raise FieldError(
                f"{boundary[:80]!r} cannot be a boundary: use 1 to 70 of ASCII letters, digits and "
                "'+-._"
            )
        delimiter = b"\r\n--" + boundary.encode()
        # Each part begins with CRLF, the first one too: it ends an empty preamble there, which
        # RFC 9110 §14.6 allows. So all heads are alike.
        start = delimiter + b"\r\n"
        if content_type is not None:
            start += b"Content-Type: %b\r\n" % check_value("content-type", content_type)
        self._parts: list[tuple[bytes, range]] = [
            (b"%bContent-Range: %b\r\n\r\n" % (start, content_range(span, size).encode()), span)
            for span in spans
        ]
        self.content_type: str = f"multipart/byteranges; boundary={boundary}"
        self.end: bytes = delimiter + b"--\r\n"
        self.length: int = len(self.end) + sum(
            len(head) + span.stop - span.start for head, span in self._parts
        )

    def __iter__(self) -> Iterator[tuple[bytes, range]]:
        return iter(self._parts)
