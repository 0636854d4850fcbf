"""
The response side of an exchange: whose turn it is to send, and a message on its way to the server.

What is sent, and in which order, is the exchange's affair.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NoReturn

import anyio

from .._asgi.extensions import FILE, PATH, extension
from .._failures import parted
from ..errors import NardisError
from ..types import Message, Send
from .incoming import Incoming
from .lifetime import shielded
from .pulse import Pulse

__all__ = ["Outgoing"]


class Outgoing(Incoming):
    """
    One request, and the way back.

    Attributes:
        pulse: What is sent while the handler is silent; None where that is nothing.
        writing: Since when a send is pending; 0.0 is never.
    """

    __slots__ = (
        "_busy",
        "_clock",
        "_is_cancelled",
        "_plain",
        "_send",
        "_torn",
        "_turns",
        "_yields_at",
        "pulse",
        "writing",
    )

    # Set by the exchange's constructor, as those of the request side.
    _busy: bool  # a task is sending
    _clock: Callable[[], float]
    _is_cancelled: Callable[[], bool]  # a cancellation of the running task is due
    _plain: bool  # started, may have a body, unfiltered, untorn: the short way through write()
    _send: Send
    _torn: bool  # a send was interrupted half-way (R5)
    _turns: deque[anyio.Event] | None  # the tasks that wait to send
    _yields_at: float  # when the event loop has its next turn
    pulse: Pulse | None
    writing: float

    @property
    def wrote_at(self) -> float:
        """When something of the body was last sent, a little late; 0.0 is never."""
        return self._yields_at

    def is_stalled(self, now: float) -> bool:
        """
        Whether the client has taken nothing of a pending send for `write_stall_s`.

        Our own runner sees each byte of a piece; other servers show whole pieces.
        """
        taken = 0.0 if self.client is None else self.client.progressed
        waits = now - max(self.writing, taken)
        return bool(self.writing) and waits > self.limits.write_stall_s

    def let_go(self) -> None:
        """Let go of the server: the watcher ends, and what is sent in the handler's stead (C3)."""
        self.close_body()
        if self.pulse is not None:
            self.closing: bool = self.closing or not self.is_over()  # nothing follows in its stead
            self.pulse.stop()

    async def pulse_ended(self) -> None:
        """Wait until nothing is sent in the handler's stead: a filter may be in a thread."""
        if self.pulse is not None:
            with shielded(self.limits.cleanup_s):
                await self.pulse.ended()

    async def run_deferred(self) -> None:
        """Run what was deferred, once nothing of this exchange is at work any more."""
        await self.pulse_ended()
        await Incoming.run_deferred(self)

    @property
    def takes_files(self) -> bool:
        """
        Whether the server sends parts of files by itself.

        Of our own it is asked only where nothing is wrapped around the application: a middleware
        may not know the message, and drop the body.
        """
        lent = self.client is None or getattr(self.client, "scope", None) is not None
        return lent and extension(self.scope, FILE) is not None

    @property
    def takes_paths(self) -> bool:
        """Whether the server sends whole files by their path, and no parts of them."""
        offered = extension(self.scope, PATH) is not None
        return offered and extension(self.scope, FILE) is None

    async def _deliver(self, message: Message) -> None:
        # How far a server is with a whole file nobody sees: that is no stall.
        self.writing = 0.0 if message["type"] == PATH else self._clock()
        try:
            if self.cancel_scope is not None:
                await self._send(message)
            else:
                await self.bounded(lambda: self._send(message))
        except BaseException as exc:
            await self._interrupted(exc)
        finally:
            self.writing = 0.0

    async def _interrupted(self, exc: BaseException) -> NoReturn:
        """Note that a send was cut short by the client, by cancellation or by the server (R5)."""
        self._torn = True
        self._plain = False
        # hypercorn's trio worker fails in the last send when the client has all it wants and closes
        # meanwhile (0.18).
        if not isinstance(exc, NardisError) and parted(exc)[0] is None:
            self.server_failed(exc)
            await self.raise_gone()
        raise exc

    async def _take_turn(self) -> None:
        """Wait until no other task is sending; first come, first served (R5)."""
        if not self._busy:
            self._busy = True
            return
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
        if self._turns:
            self._turns.popleft().set()
        else:
            self._busy = False
