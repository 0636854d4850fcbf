"""Turns: one task at a time, in the order of the calls."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeAlias

import anyio

__all__ = ["TakesTurns", "Waiting"]

# In the order of their calls. A deque is gone through for each that leaves: ten thousand that are
# cancelled at once would hold everything up for a second.
Waiting: TypeAlias = OrderedDict[anyio.Event, None]


class TakesTurns:
    """Something that several tasks use, one after the other."""

    # The slots are those of the classes below: two bases with slots do not go together.
    __slots__ = ()

    # Set by the constructor of what is used.
    _busy: bool  # a task has its turn
    _turns: Waiting | None  # the others, which wait for it; made for the first of them

    async def _take_turn(self) -> None:
        """Wait until it is nobody else's turn; first come, first served."""
        if self._busy:
            await self._wait_for_turn()
        self._busy = True  # type: ignore[misc]  # the slot is below

    async def _wait_for_turn(self) -> None:
        """Wait behind all that wait already."""
        if self._turns is None:
            self._turns = OrderedDict()  # type: ignore[misc]  # as above
        turn = anyio.Event()
        self._turns[turn] = None
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self._give_turn()
            else:
                del self._turns[turn]
            raise

    def _give_turn(self) -> None:
        if self._turns:
            turn, _ = self._turns.popitem(last=False)
            turn.set()
        else:
            self._busy = False  # type: ignore[misc]  # as above
