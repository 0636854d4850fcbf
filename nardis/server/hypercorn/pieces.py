"""Several pieces of bytes to be sent as one, without being copied together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hypercorn.events import Event

__all__ = ["Pieces", "rest_of"]


@dataclass(frozen=True)
class Pieces(Event):
    """What hypercorn's `RawData` is, in pieces."""

    pieces: Sequence[bytes]


def rest_of(pieces: Sequence[bytes], sent: int) -> Iterator[memoryview]:
    """
    Go through what is left of *pieces* after *sent* bytes of them.

    >>> [bytes(each) for each in rest_of([b"ab", b"cde", b"f"], 3)]
    [b'de', b'f']
    """
    for piece in pieces:
        if sent < len(piece):
            yield memoryview(piece)[sent:]
        sent = max(sent - len(piece), 0)
