"""Whose turn it is to write: one at a time, in the order of the calls."""

from __future__ import annotations

from collections import deque

import anyio

__all__ = ["Turns"]


class Turns:
    """What several tasks write to."""

    __slots__ = ("_busy", "_turns")

    # Set by the constructor of what is written to.
    _busy: bool  # a task has its turn
    _turns: deque[anyio.Event] | None  # the others, which wait for it; an empty one is 760 bytes

    async def _wait_for_turn(self) -> None:
        """Wait for all that wait already: writes go out in the order of the calls."""
        if self._turns is None:
            self._turns = deque()
        turn = anyio.Event()
        self._turns.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self._give_turn()
            else:
                self._turns.remove(turn)
            raise

    def _give_turn(self) -> None:
        self._busy = bool(self._turns)
        if self._turns:
            self._turns.popleft().set()
