"""
What is sent while a handler is silent: what filters hold back, and pings.

An idle stream has no task of its own. The sweeper looks at its pulse, which starts a task only
while something is sent, and never a second one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from math import inf
from random import uniform
from typing import Protocol

import anyio

from .._failures import failure_of, parted
from ..errors import ClientDisconnected, ResponseAborted, ResponseAlreadyEnded
from ..types import CloseReason, Filter
from .filtering import holds_back
from .sweeper import Sweeper

__all__ = ["Pulse", "Streaming"]


class Streaming(Protocol):
    """
    What a pulse wants of an exchange.

    Attributes:
        filters: What the body passes on its way out.
        pulse: That of this exchange.
        written: Body bytes given so far.
    """

    filters: tuple[Filter, ...]
    pulse: Pulse | None
    sweeper: Sweeper
    written: int

    @property
    def wrote_at(self) -> float:
        """When something of the body was last sent."""
        ...

    def is_silent(self) -> bool:
        """Whether the body has begun, and nobody sends any of it."""
        ...

    def give_up(self, error: BaseException, /) -> None:
        """Let the response fail."""
        ...

    async def write(self, data: bytes, /) -> None:
        """Send one piece of the body."""
        ...

    async def flush(self) -> None:
        """Send what filters hold back."""
        ...


class Pulse:
    """
    The pulse of one response that is streamed.

    What the handler wrote is flushed through filters within two ticks of the sweeper, so that a
    compression keeps no client waiting. Where a ping is asked for, one goes out after each
    `ping_s` of silence, or up to a quarter of that earlier: streams that heard the same event at
    the same time do not all ping in one tick, with a task for each.

    Cancellation: what is being sent is cut short by `stop()`. A failure of it is one of the
    response, and the handler is cancelled.

    Args:
        exchange: The one whose body has begun, with its filters.
        ping: What to send.
        ping_s: After so many seconds at most; None is never.
    """

    __slots__ = (
        "_due_s",
        "_ended",
        "_exchange",
        "_flushed",
        "_holds",
        "_ping",
        "_ping_s",
        "_scope",
        "_seen",
    )

    rests_until: float = 0.0

    def __init__(self, exchange: Streaming, ping: bytes = b"", ping_s: float | None = None) -> None:
        self._exchange = exchange
        self._ping = ping
        self._ping_s: float = inf if ping_s is None else ping_s
        self._due_s: float = self._next_s()
        self._holds: bool = holds_back(exchange.filters)
        self._seen = self._flushed = 0  # of `exchange.written`: at the last look, at the last flush
        self._scope: anyio.CancelScope | None = None  # around the task
        self._ended: anyio.Event | None = None  # of that task

    def start(self) -> None:
        """Begin, instead of the pulse that the exchange had."""
        exchange = self._exchange
        if exchange.pulse is not None:
            exchange.pulse.stop()
        exchange.pulse = self
        exchange.sweeper.exchanges.add(self)

    def stop(self) -> None:
        """End with the exchange."""
        self._exchange.sweeper.exchanges.discard(self)
        if self._scope is not None:
            self._scope.cancel()

    def look(self, now: float) -> None:
        """Send what is due, if nothing else is being sent; the sweeper calls this once a tick."""
        exchange = self._exchange
        if self._scope is not None or not exchange.is_silent():
            return
        seen, self._seen = self._seen, exchange.written
        if self._holds and self._flushed < seen:  # some of it waits since the last look
            self._flushed = exchange.written
            self._begin(exchange.flush)
        elif now - exchange.wrote_at >= self._due_s:
            self._due_s = self._next_s()
            self._begin(self._send_ping)

    async def ended(self) -> None:
        """Wait until nothing is being sent any more: a filter may be at work in a thread."""
        if self._ended is not None:
            await self._ended.wait()

    def interrupt(self, reason: CloseReason) -> None:
        """Leave that to the exchange, which is told too."""

    def give_up(self, error: BaseException) -> None:
        """Let the exchange fail."""
        self._exchange.give_up(error)

    def _next_s(self) -> float:
        return self._ping_s * uniform(0.75, 1)

    async def _send_ping(self) -> None:
        await self._exchange.write(self._ping)

    def _begin(self, act: Callable[[], Awaitable[None]]) -> None:
        sweeper = self._exchange.sweeper
        self._scope, self._ended = sweeper.new_scope(), anyio.Event()
        sweeper.group.start_soon(self._run, self._scope, self._ended, act, name="nardis.pulse")

    async def _run(
        self, scope: anyio.CancelScope, ended: anyio.Event, act: Callable[[], Awaitable[None]]
    ) -> None:
        with scope:
            try:
                await act()
            except (ClientDisconnected, ResponseAborted, ResponseAlreadyEnded):
                pass  # the exchange knows
            except BaseException as exc:
                if parted(exc)[0] is not None:
                    raise
                self.give_up(failure_of(exc))
            finally:
                self._scope = self._ended = None
                ended.set()
