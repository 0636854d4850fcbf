"""What may be sent, and what was: the state of a response, its length, and refusals (R3 to R5)."""

from __future__ import annotations

from sys import maxsize
from typing import Final, Literal, TypeAlias

import anyio
from anyio.lowlevel import checkpoint

from .._failures import parted
from ..errors import ContentLengthMismatch, ResponseAborted, ResponseAlreadyEnded
from .outgoing import Outgoing

__all__ = ["ABORTED", "ENDED", "IDLE", "STARTED", "UNBOUNDED", "Ledger", "State"]

State: TypeAlias = Literal[0, 1, 2, 3]
IDLE: Final = 0
STARTED: Final = 1
ENDED: Final = 2
ABORTED: Final = 3

UNBOUNDED: Final = maxsize


class Ledger(Outgoing):
    """
    The state of a response.

    Attributes:
        state: IDLE, STARTED, ENDED or ABORTED.
        ending: The final message has begun.
        content_length: Counted before filters; UNBOUNDED if none is declared.
        written: Body bytes given by the handler.
        end_data: Of an `end()` while an exception was in flight: it takes effect if the handler
            returns.
        head_scope: HEAD: around the route's handler, left at its first write.
    """

    __slots__ = ("content_length", "end_data", "ending", "head_scope", "state", "written")

    # Set by the exchange's constructor, as those of the request side.
    content_length: int
    end_data: bytes | None
    ending: bool
    head_scope: anyio.CancelScope | None
    state: State
    written: int

    def begin_anew(self) -> None:
        """Make room for another answer, where nothing was sent of the one before."""
        self.end_data, self._torn = None, False
        self.written, self.content_length = 0, UNBOUNDED

    def is_over(self) -> bool:
        """Whether the final message has begun."""
        return self.ending or self.state == ENDED

    def has_started(self) -> bool:
        """Whether the head has left."""
        return self.state != IDLE

    def is_silent(self) -> bool:
        """Whether the body has begun, and nobody sends any of it."""
        return self.state == STARTED and not (self.ending or self.closing or self._busy)

    def fail(self, error: BaseException) -> None:
        """
        Note that the handler failed past the head (R2).

        The response is cut, whatever catches the error on its way outward.
        """
        if self.state == STARTED:
            self.state = ABORTED
            self.failure: BaseException | None = error
            self._plain = False

    def cut_short(self, exc: BaseException) -> None:
        """
        Cut a response half-way if *exc*, which left a handler, is its cancellation (R2).

        A middleware has cancelled it, and may keep quiet about that. Where the call is ended from
        outside, nothing is sent any more in any case.
        """
        begun = self.state == STARTED and not self.closing
        if begun and parted(exc)[0] is not None:
            self.fail(ResponseAborted("a middleware cancelled the handler half-way"))

    async def _may_send(self, verb: str) -> bool:
        """Refuse what may not be sent any more (R3); False: drop it quietly."""
        if self.head_scope is not None and self.head_scope.cancel_called:
            return False  # a HEAD handler on its way out behind a shield
        if self.closing:
            await self.raise_gone()
        if self.state == ENDED or self.end_data is not None:
            raise ResponseAlreadyEnded(verb)
        self._refuse_torn()
        if self._is_cancelled():
            await checkpoint()
        return True

    def _refuse_torn(self) -> None:
        if self.state == ABORTED:
            raise ResponseAborted(
                "the response was cut: its handler failed past the head, or called res.abort()"
            )
        if self._torn:
            raise ResponseAborted("a write was interrupted half-way: the client would see a gap")

    def _account(self, size: int) -> None:
        if self.written + size > self.content_length:
            raise ContentLengthMismatch.beyond(self.content_length, self.written, size)
        self.written += size
