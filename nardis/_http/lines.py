r"""
Lines: what stands between two line feeds, from the bytes of a body as they come.

A line ends with LF, and one CR in front of that belongs to the end. A lone CR ends nothing: in JSON
it is a blank (RFC 8259 §2).

Source: the NDJSON specification §3.2 (line ends); POSIX.1-2017 §3.206 (what a line is).
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

from ..errors import HTTPError

__all__ = ["LineSplitter"]


class LineSplitter:
    r"""
    Take a body apart into lines while it arrives, none of them over a limit.

    However the body is cut into pieces, the lines and the error are the same. Between two calls the
    beginning of one line is kept. The first error is the last: `feed` and `finish` go on raising
    it.

    Args:
        most: Most bytes of a line, without its end.

    >>> splitter = LineSplitter(8)
    >>> [*splitter.feed(b"a\r\n\nb\rc\r")], [*splitter.feed(b"\nd")], splitter.finish()
    ([b'a', b''], [b'b\rc'], b'd')
    """

    __slots__ = ("_ended", "_error", "_most", "_rest")

    def __init__(self, most: int) -> None:
        self._most: int = most
        self._rest: bytearray = bytearray()  # a line that has not ended
        self._ended: int = 0  # lines
        # Raised are copies of it: with its traceback it would hold this object.
        self._error: HTTPError | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        r"""
        Return the lines that end in the next piece of the body, without their ends.

        Args:
            data: Any number of bytes.

        Returns:
            The lines. Consume it wholly before the next call.

        Raises:
            HTTPError: 413, a line is longer than the limit. It is raised behind the lines before
                that one, and as soon as the bytes are too many, wherever the line ends.

        Source: RFC 9110 §15.5.14.
        >>> splitter = LineSplitter(2)
        >>> next(splitter.feed(b"ab\r\nabc"))
        b'ab'
        """
        if self._error is not None:
            raise copy(self._error)
        if len(self._rest) + len(data) > self._most:
            return self._checked(data)
        return iter(self._split(data))

    def finish(self) -> bytes | None:
        r"""
        Say that the body has ended; return its last line if that has no end, else None.

        Raises:
            HTTPError: 413, as from `feed`.

        >>> splitter = LineSplitter(8)
        >>> [*splitter.feed(b"a\nb\r")], splitter.finish(), splitter.finish()
        ([b'a'], b'b\r', None)
        """
        if self._error is not None:
            raise copy(self._error)
        if len(self._rest) > self._most:  # by a CR which might have been the beginning of an end
            raise self._too_long(self._ended + 1)
        line, self._rest = bytes(self._rest), bytearray()
        return line or None

    def _split(self, data: bytes) -> list[bytes]:
        # Of CR CR LF one CR is taken: what replace() has written it does not look at again.
        lines = (data.replace(b"\r\n", b"\n") if b"\r" in data else data).split(b"\n")
        if self._rest and len(lines) > 1:
            if data.startswith(b"\n") and self._rest.endswith(b"\r"):
                del self._rest[-1]
            lines[0] = bytes(self._rest + lines[0])
            self._rest = bytearray()
        self._rest += lines.pop()
        self._ended += len(lines)
        return lines

    def _checked(self, data: bytes) -> Iterator[bytes]:
        """Split a piece in which a line may be too long."""
        before = self._ended
        for number, line in enumerate(self._split(data), before + 1):
            if len(line) > self._most:
                raise self._too_long(number)
            yield line
        if len(self._rest) - self._rest.endswith(b"\r") > self._most:
            raise self._too_long(self._ended + 1)

    def _too_long(self, number: int) -> HTTPError:
        most = self._most
        error = HTTPError(
            413,
            f"line {number:,} is longer than the {most:,} bytes allowed here",
            limit=most,
            line=number,
        )
        self._error, self._rest = copy(error), bytearray()
        return error
