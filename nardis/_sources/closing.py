"""
Close what others made: a generator, a stream, a file, at the end of a block and whatever happened.

An async generator with a cancel scope or a task group in it is suspended inside that scope, and the
scopes of a task must nest. A scope that is opened only when the time to close has come would stand
inside the generator's, which is left first. So `Closing` opens its scope before the generator
starts, and arms it at the end. The rules it keeps:

 E1  The first error wins. A close that fails beside it is logged, and so is one that takes longer
     than `CLOSE_S`.
 E2  Cancellation goes on, whatever the close does. An error whose place it takes is logged.
 E3  A group of nothing but GeneratorExit is no error: a task group makes it of the GeneratorExit
     that closes its generator.
 E4  When a scope inside of the source is cancelled while others use a piece, the source has failed:
     by the error that cancelled the scope, else by its mistake. It is no cancellation.
 E5  A close in a thread cannot be cut. It is waited for, and logged as any other that takes long.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from inspect import iscoroutinefunction
from types import TracebackType
from typing import Any, Final, cast

import anyio

from ..errors import UsageError

__all__ = ["CLOSE_S", "Closing", "closes_async", "label"]

logger: logging.Logger = logging.getLogger("nardis")

# Time for one close. It may await, although the client is gone and the handler cancelled.
CLOSE_S: Final = 5.0


class Closing:
    """
    Close *source* at the end of an `async with` block, by `aclose()` or `close()` if it has one.

    Enter it before the source is started. A sync `close()` runs in a worker thread.

    Cancellation: the close is shielded, for *seconds*, by default `CLOSE_S`.
    """

    __slots__ = ("_close", "_name", "_scope", "_seconds")

    _scope: anyio.CancelScope

    def __init__(self, source: object, *, seconds: float | None = None) -> None:
        self._close = _closer(source)
        self._name = label(source)
        self._seconds = CLOSE_S if seconds is None else seconds

    async def __aenter__(self) -> None:
        if self._close is not None:
            self._scope = anyio.CancelScope()
            self._scope.__enter__()

    async def __aexit__(
        self, kind: object, first: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # After GeneratorExit nothing can be awaited: this very coroutine is being thrown away.
        if self._close is None or isinstance(first, GeneratorExit):
            return
        self._scope.shield = True
        # Behind the shield only a scope inside can be cancelled: one that the source holds open.
        interrupted = isinstance(first, anyio.get_cancelled_exc_class()) and _is_cancelled()
        failure = await self._closed(self._close)
        if self._scope.cancel_called:
            logger.error("closing %s took longer than %s s", self._name, self._seconds)
        if interrupted and not _is_cancelled():  # E4
            raise self._misused() if failure is None else failure
        if failure is None:
            return
        if first is None:
            raise failure
        if not _cancels(failure):  # E1
            logger.error(
                "closing %s failed beside another error: %r", self._name, failure, exc_info=failure
            )
        elif not _cancels(first):  # E2
            logger.error(
                "closing %s was cancelled beside an error: %r", self._name, first, exc_info=first
            )
            raise failure

    def _misused(self) -> UsageError:
        return UsageError(
            f"a cancel scope inside of {self._name} was cancelled while others used a piece of it: "
            "put a timeout around all of it, or only around what it waits for itself, and never "
            "around a `yield`"
        )

    async def _closed(self, close: Callable[[], Awaitable[object]]) -> BaseException | None:
        """Close the source, leave the scope, and return the error of either."""
        scope = self._scope
        scope.deadline = anyio.current_time() + self._seconds
        try:
            try:
                await close()
            except BaseException as exc:
                if not scope.__exit__(type(exc), exc, exc.__traceback__):
                    raise
            else:
                scope.__exit__(None, None, None)
        except BaseExceptionGroup as exc:
            return exc.split(GeneratorExit)[1]  # E3
        except BaseException as exc:
            return exc
        return None


def closes_async(source: object) -> bool:
    """Whether *source* is closed by an await."""
    return hasattr(source, "aclose") or iscoroutinefunction(getattr(source, "close", None))


def label(source: object) -> str:
    """Name *source* for a message: a generator by its function, anything else by its type."""
    return str(getattr(source, "__qualname__", None) or type(source).__qualname__)


def _closer(source: Any) -> Callable[[], Awaitable[object]] | None:
    if hasattr(source, "aclose"):
        return cast("Callable[[], Awaitable[object]]", source.aclose)
    if not hasattr(source, "close"):
        return None
    return cast(
        "Callable[[], Awaitable[object]]",
        source.close if closes_async(source) else partial(_in_thread, source.close),
    )


async def _in_thread(close: Callable[[], object]) -> None:
    # A limiter for this call alone: nothing stays open because all worker threads are busy reading.
    await anyio.to_thread.run_sync(close, limiter=anyio.CapacityLimiter(1))


def _is_cancelled() -> bool:
    """Whether the next await would be cancelled by a scope around it."""
    return anyio.current_effective_deadline() == -math.inf


def _cancels(error: BaseException) -> bool:
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).subgroup(cancelled) is not None
    return isinstance(error, cancelled)
