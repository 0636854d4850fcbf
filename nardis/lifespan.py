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

from ._exchange import Sweeper, shielded
from ._mount import Mounted
from ._types import Message, Receive, Send
from .errors import LifespanRequired, StartFailed, UsageError

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
                await stack.enter_async_context(_guests(app._mounts(), app.limits.cleanup_s))
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


@asynccontextmanager
async def _guests(mounts: list[Mounted], seconds: float) -> AsyncGenerator[None, None]:
    """Run the lifespans of mounted applications, each once: one starts after the other, and the last one stops first."""
    failure: Exception | None = None
    apps = {id(mounted.app): mounted for mounted in mounts}
    async with anyio.create_task_group() as group:
        guests: list[_Guest] = []
        try:
            for mounted in apps.values():
                guest = _Guest(mounted)
                guests.append(guest)
                group.start_soon(guest.run, name=f"{mounted.__qualname__}.lifespan")
                await guest.start()
                for each in mounts:
                    if each.app is mounted.app:
                        each.state = guest.state if guest.running else None
            yield
        except Exception as exc:
            failure = exc  # past the group, which would wrap it
        finally:
            for guest in reversed(guests):
                with shielded(seconds) as scope:
                    await guest.stop()
                if scope.cancelled_caught:
                    logger.error("the lifespan of %s did not end within %s s", guest.name, seconds)
            for each in mounts:
                each.state = None
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure


class _Guest:
    """The lifespan of one mounted application: we are its server."""

    def __init__(self, mounted: Mounted) -> None:
        self.name = mounted.__qualname__
        self.state: dict[str, Any] = {}
        self.running = False
        self._call = mounted.call
        self._heard = 0
        self._failed: str | None = None
        self._started, self._stopping, self._stopped = anyio.Event(), anyio.Event(), anyio.Event()

    async def run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._call(scope, self._receive, self._send)
        except Exception as exc:
            if self.running:
                logger.error("the lifespan of %s failed", self.name, exc_info=exc)
            else:
                # What does not know lifespans says so by an exception; what does says that it failed.
                logger.info("%s has no lifespan: %r", self.name, exc)
        finally:
            self._started.set()
            self._stopped.set()

    async def _receive(self) -> Message:
        self._heard += 1
        if self._heard == 1:
            return {"type": "lifespan.startup"}
        await self._stopping.wait()
        if self._heard > 2:
            await anyio.sleep_forever()  # nothing comes after the shutdown
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        kind: str = message["type"]
        if kind == "lifespan.startup.complete":
            self.running = True
            self._started.set()
        elif kind == "lifespan.startup.failed":
            self._failed = message.get("message", "")
            self._started.set()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            if kind == "lifespan.shutdown.failed":
                logger.error("the shutdown of %s failed: %s", self.name, message.get("message", ""))
            self._stopped.set()
        else:
            raise UsageError(f"{self.name} sent {kind!r} in its lifespan")

    async def start(self) -> None:
        await self._started.wait()
        if self._failed is not None:
            raise StartFailed(f"{self.name}: {self._failed or 'its startup failed'}")

    async def stop(self) -> None:
        if self.running:
            self._stopping.set()
            await self._stopped.wait()


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
