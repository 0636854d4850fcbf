"""What is sent in several pieces, without copying them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["rest_of"]


def rest_of(pieces: Sequence[bytes | memoryview], sent: int) -> Iterator[memoryview]:
    """
    Go through what is left of *pieces* after *sent* bytes of them.

    >>> [bytes(each) for each in rest_of([b"ab", b"cde", b"f"], 3)]
    [b'de', b'f']
    """
    for piece in pieces:
        if sent < len(piece):
            yield memoryview(piece)[sent:]
        sent = max(sent - len(piece), 0)
