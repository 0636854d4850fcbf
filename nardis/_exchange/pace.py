"""What is here already, read in pieces: with turns for other tasks, and in little memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Final, TypeVar

from anyio.lowlevel import checkpoint

from .turns import TURN_S

__all__ = ["FEED_BYTES", "Pace", "add_piece", "cut", "paced"]

# What is read in one go; a body that was gathered is one piece. As much as servers deliver.
FEED_BYTES: Final = 64 * 1024

# Smaller pieces are joined at once: each object takes some 50 bytes, and a client may send single
# ones.
SMALL_BYTES: Final = 1024

T = TypeVar("T")


class Pace:
    """
    Knows when others should have a turn: after `TURN_S` of work.

    What is here already is read without awaiting anything, however much it is.
    """

    __slots__ = ("_due",)

    def __init__(self) -> None:
        self._due: float = monotonic() + TURN_S

    def is_due(self) -> bool:
        """Whether it is time to `give_turn()`."""
        return monotonic() > self._due

    def is_due_after(self, since: float) -> bool:
        """Whether it still is, after a wait since then: in a long one others had their turn."""
        now = monotonic()
        if now - since > TURN_S:
            self._due = now + TURN_S
        return now > self._due

    async def give_turn(self) -> None:
        """Let others work. Cancellation: the turn stays due."""
        await checkpoint()
        self._due = monotonic() + TURN_S


async def paced(steps: Iterable[T | None]) -> list[T]:
    """Return what comes of *steps*, each little work, except for None; give turns in between."""
    found: list[T] = []
    pace = Pace()
    for each in steps:
        if each is not None:
            found.append(each)
        if pace.is_due():
            await pace.give_turn()
    return found


def cut(data: bytes) -> Iterator[bytes]:
    """Cut *data* into pieces of `FEED_BYTES`, one by one."""
    return (data[start : start + FEED_BYTES] for start in range(0, len(data), FEED_BYTES))


def add_piece(pieces: list[bytes | bytearray], piece: bytes) -> None:
    """Add *piece* to those that are to be joined; small ones are it at once, but for the first."""
    last = pieces[-1] if pieces else None
    if last is None or len(piece) >= SMALL_BYTES:
        pieces.append(piece)
    elif isinstance(last, bytearray):
        last += piece
    else:
        pieces.append(bytearray(piece))
