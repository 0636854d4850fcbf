"""Whose turn it is to send: one message at a time, in the order of the calls (R5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn, Protocol

from .._failures import parted
from .._turns import TakesTurns
from ..errors import NardisError
from ..types import Send
from .lifetime import Lifetime

__all__ = ["TURN_S", "Calls", "Turns"]

# A loop of sends gives the event loop a turn this often: a server's send may return without
# suspending. A checkpoint costs 4 to 5 us, so one in a millisecond costs half a percent.
TURN_S: Final = 0.001


class Calls(Protocol):
    """
    Notes which verbs of a response were called, and not awaited yet: `_sending.verbs` has the rest.

    Attributes:
        unawaited: The last one. The write or the answer that it is takes itself out as it begins,
            because to ask whether it has ended would cost more.
        earlier: Those before it that had not begun when the next was called. None if there are
            none: then `unawaited` is the one that begins, and no other.
    """

    unawaited: Any
    earlier: Any


class Turns(TakesTurns, Lifetime):
    """
    A call whose tasks send one after the other.

    Attributes:
        writing: Since when a send is pending; 0.0 is never.
    """

    __slots__ = (
        "_busy",
        "_clock",
        "_is_cancelled",
        "_send",
        "_turns",
        "_yields_at",
        "writing",
    )

    # Set by the constructor of what sends: one of their own would cost one percent of a plain
    # request.
    _clock: Callable[[], float]
    _is_cancelled: Callable[[], int]  # a cancellation of the running task is due
    _send: Send
    _yields_at: float  # when the event loop has its next turn
    writing: float

    def is_stalled(self, now: float) -> bool:
        """
        Whether the client has taken nothing of a pending send for `write_stall_s`.

        Our own runner sees each byte of a piece; other servers show whole pieces.
        """
        taken = 0.0 if self.client is None else self.client.progressed
        waits = now - max(self.writing, taken)
        return bool(self.writing) and waits > self.limits.write_stall_s

    async def _interrupted(self, exc: BaseException) -> NoReturn:
        """Note that a send was cut short by the client, by cancellation or by the server (R5)."""
        # hypercorn's trio worker fails in the last send when the client has all it wants and closes
        # meanwhile (0.18).
        if not isinstance(exc, NardisError) and parted(exc)[0] is None:
            self.server_failed(exc)
            await self.raise_gone()
        raise exc
