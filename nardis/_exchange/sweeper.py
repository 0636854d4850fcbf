"""The clock that looks at all exchanges in flight, and lets no fault of one reach another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from math import inf
from typing import Any, Final, Protocol, cast

import anyio
from anyio.abc import TaskGroup

from .._failures import failure_of
from ..types import CloseReason

__all__ = ["TICK_S", "InFlight", "Sweeper", "interrupt_all", "sweep"]

logger: logging.Logger = logging.getLogger("nardis")

# How often exchanges are looked at, and so the delay after which a client that left is noticed.
TICK_S: Final = 0.25


class InFlight(Protocol):
    """
    What is looked at: an exchange, or another call of the application.

    Attributes:
        rests_until: Nothing can be due before then, by the sweeper's clock; 0.0 is at each tick.
    """

    rests_until: float

    def look(self, now: float, /) -> None:
        """Enforce the limits, and see to it that a client that left is noticed."""
        ...

    def interrupt(self, reason: CloseReason, /) -> None:
        """End the handler."""
        ...

    def give_up(self, error: BaseException, /) -> None:
        """End the handler, because *error* came of one of the others."""
        ...


class Sweeper:
    """
    Looks at every exchange in flight four times a second, unless nothing can be due at it.

    It enforces limits, and starts watchers for exchanges that last.

    Attributes:
        exchanges: Those to look at.
        group: Where watchers live.
        clock: One clock for all timestamps, in seconds.
        new_scope: Makes a cancel scope of the running backend, shielded or not.
            `anyio.CancelScope()` looks the backend up each time, which costs a third of a scope (2
            of 6 us).
        is_cancelled: Whether a cancellation of the running task is due; 0 is no.
        has_runner: A runner tells of the shutdown, and each handler is to hear of it.
        yields_at: When whoever talks to WebSockets gives the event loop its next turn: one mark for
            all of them, because a room sends one message to each.
    """

    def __init__(self, group: TaskGroup, clock: Callable[[], float] = time.monotonic) -> None:
        self.exchanges: set[InFlight] = set()
        self.group = group
        self.clock = clock
        self.new_scope: Callable[..., anyio.CancelScope] = _new_scope()
        self.is_cancelled: Callable[[], int] = _is_cancelled()
        self.has_runner: bool = False
        self.yields_at: float = 0.0

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await anyio.sleep(TICK_S)
            sweep(self.exchanges, self.clock())


def sweep(exchanges: Iterable[InFlight], now: float) -> None:
    """Look at each of *exchanges* that does not rest; *now* is in seconds of their clock."""
    due = [exchange for exchange in exchanges if exchange.rests_until <= now]
    _for_each(due, lambda exchange: exchange.look(now))


def interrupt_all(exchanges: Iterable[InFlight], reason: CloseReason) -> None:
    """End the handlers of all *exchanges*."""
    _for_each(exchanges, lambda exchange: exchange.interrupt(reason))


def _for_each(exchanges: Iterable[InFlight], act: Callable[[InFlight], None]) -> None:
    """Call *act* for each; a fault in one of them ends that one alone."""
    for exchange in tuple(exchanges):
        try:
            try:
                act(exchange)
            except BaseException as exc:
                exchange.give_up(failure_of(exc))
        except BaseException as exc:
            error = failure_of(exc)  # not even giving up goes well: it is left to itself
            logger.error("an exchange cannot be looked after: %r", error, exc_info=error)


def _new_scope() -> Callable[..., anyio.CancelScope]:
    """Return the class of cancel scopes: trio's own, as anyio's around it costs a tenth more."""
    if anyio.get_cancelled_exc_class().__module__.startswith("trio"):
        from trio import CancelScope

        return cast("Callable[..., anyio.CancelScope]", CancelScope)
    return type(anyio.CancelScope())


def _is_cancelled() -> Callable[[], int]:
    """
    Return a function that tells whether the running task is being cancelled.

    `anyio.lowlevel.checkpoint_if_cancelled` is a coroutine, looks the backend up each time, and on
    asyncio walks through all scopes: it would cost more than the rest of a write.
    """
    if anyio.get_cancelled_exc_class().__module__.startswith("trio"):
        from trio.lowlevel import current_task as task_of_trio

        # Trio's own way to ask, where it has it (0.35): what is public costs ten times as much.
        if hasattr(getattr(task_of_trio(), "_cancel_status", None), "effectively_cancelled"):
            return lambda: task_of_trio()._cancel_status.effectively_cancelled  # pyright: ignore[reportPrivateUsage]
        return lambda: anyio.current_effective_deadline() == -inf
    from asyncio import current_task, get_running_loop, tasks

    loop = get_running_loop()
    # The dictionary that asyncio itself looks into, where it has it (to 3.13): half the cost, and a
    # tenth of that of a write. Told the loop, it need not look for that, which takes CPython 3.11 a
    # system call.
    known: Any = getattr(tasks, "_current_tasks", {})
    if known.get(loop) is current_task(loop) is not None:

        def is_cancelled() -> int:
            try:
                due: int = known[loop].cancelling()
            except KeyError:  # a request on another loop than the lifespan's: it is not asked
                return 0
            return due

        return is_cancelled

    return lambda: getattr(current_task(loop), "cancelling", int)()  # 0 where there is no task
