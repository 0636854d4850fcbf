"""
What outlives requests: the user's lifespan, background tasks, the notice to drain, and the sweeper.

The order at the end is that of the promises: draining is announced, exchanges end, tasks end, the code after the user's `yield`
runs, and the sweeper goes last, so that limits and disconnects are seen to as long as anything is in flight.

Source: the ASGI lifespan specification.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio.abc import TaskGroup

from ._exchange import Sweeper
from ._types import Receive, Send
from .errors import LifespanRequired

if TYPE_CHECKING:
    from .app import Nardis

__all__ = ["Tasks", "run_lifespan", "wait_idle"]

logger: logging.Logger = logging.getLogger("nardis")

# How often the end of the exchanges is looked for at shutdown; servers have usually ended them all before.
POLL_S: Final = 0.02


class Tasks:
    """
    Background tasks that belong to the application: they outlive requests and end with the lifespan.

    A failing task is logged and takes nothing else down. At shutdown all have `limits.cleanup_s` to finish, then they are
    cancelled.
    """

    def __init__(self, *, pending: bool = False) -> None:
        self._group: TaskGroup | None = None
        # Started while the lifespan is being entered: they begin when it is.
        self._pending: list[tuple[Callable[..., Awaitable[object]], tuple[Any, ...], str | None]] | None = [] if pending else None

    def start_soon(self, fn: Callable[..., Awaitable[object]], *args: Any, name: str | None = None) -> None:
        """
        Run `await fn(*args)` in the background.

        Raises:
            LifespanRequired: No lifespan is running.
        """
        if self._group is not None:
            self._group.start_soon(self._supervised, fn, args, name=name or getattr(fn, "__qualname__", "nardis.task"))
        elif self._pending is not None:
            self._pending.append((fn, args, name))
        else:
            raise LifespanRequired("app.tasks.start_soon()")

    async def _supervised(self, fn: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        try:
            await fn(*args)
        except Exception as exc:
            logger.error("a background task failed: %r", fn, exc_info=exc)

    @asynccontextmanager
    async def opened(self, seconds: float) -> AsyncGenerator[None, None]:
        """Take tasks; at the end wait for them, at most *seconds*, then cancel those that are left."""
        async with anyio.create_task_group() as group:
            self._group = group
            for fn, args, name in self._pending or ():
                self.start_soon(fn, *args, name=name)
            self._pending = None
            try:
                yield
            finally:
                self._group = None
                group.cancel_scope.deadline = anyio.current_time() + seconds


async def run_lifespan(app: Nardis, receive: Receive, send: Send) -> None:
    """Answer the server's lifespan events with what the application and those joined to it do at start and end."""
    await receive()
    failure: Exception | None = None
    started = False
    async with anyio.create_task_group() as watchers:
        sweeper = Sweeper(watchers, app._clock)
        watchers.start_soon(sweeper.run, name="nardis.sweeper")
        app._begin(sweeper)
        try:
            async with AsyncExitStack() as stack:
                for each in app._joined():
                    if each._lifespan is not None:
                        await stack.enter_async_context(asynccontextmanager(each._lifespan)(each))  # pyright: ignore[reportDeprecated]  # any async iterator will do
                await stack.enter_async_context(app.tasks.opened(app.limits.cleanup_s))
                started = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
                app.draining.set()
                await _end_exchanges(sweeper, app.limits.cleanup_s)
        except Exception as exc:
            failure = exc
        finally:
            app._end()
            watchers.cancel_scope.cancel()
    phase = "shutdown" if started else "startup"
    if failure is None:
        await send({"type": "lifespan.shutdown.complete"})
    else:
        # The server tells of a failed start, in a line; the traceback is for those who look for it.
        logger.log(logging.ERROR if started else logging.DEBUG, "lifespan %s failed", phase, exc_info=failure)
        await send({"type": f"lifespan.{phase}.failed", "message": f"{type(failure).__name__}: {failure}"})


async def _end_exchanges(sweeper: Sweeper, seconds: float) -> None:
    """Wait for the exchanges in flight; after *seconds* they are cancelled, and get as long for their clean-up."""
    for _ in range(2):
        await wait_idle(sweeper, seconds)
        for exchange in sweeper.exchanges:
            exchange.interrupt("shutdown")


async def wait_idle(sweeper: Sweeper, seconds: float) -> None:
    """Wait until no exchange is in flight, at most *seconds*."""
    with anyio.move_on_after(seconds):
        while sweeper.exchanges:  # noqa: ASYNC110  # an event would cost each request
            await anyio.sleep(POLL_S)
