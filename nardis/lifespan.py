"""
What outlives requests: the user's lifespan, background tasks, the notice to drain, and the sweeper.

The order at the end is that of the promises: draining is announced, exchanges end, tasks end, the code after the user's `yield`
runs, and the sweeper goes last, so that limits and disconnects are seen to as long as anything is in flight.

Source: the ASGI lifespan specification.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio

from ._asgi.extensions import RUNNER, Runner, extension
from ._exchange.exchange import shielded
from ._exchange.sweeper import Sweeper, interrupt_all
from ._failures import explained, parted
from ._foreign.crossing import LifespanCrossing
from ._foreign.mounted import Mounted
from ._foreign.wrapped import Wrapped
from .errors import StartFailed, UsageError
from .types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from .app import Nardis

__all__ = ["Draining", "run_lifespan", "wait_idle"]

logger: logging.Logger = logging.getLogger("nardis")

# How often the end of the exchanges is looked for at shutdown; servers have usually ended them all before.
POLL_S: Final = 0.02


class Draining:
    """The notice that the server shuts down; it comes once."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._until: float | None = None

    def is_set(self) -> bool:
        """Whether the shutdown has begun."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the shutdown begins."""
        await self._event.wait()

    def set(self, seconds: float | None = None) -> None:
        """Say that the shutdown begins, and that what runs is cancelled after *seconds*; later calls change nothing."""
        if not self._event.is_set():
            self._until = None if seconds is None else time.monotonic() + seconds
            self._event.set()

    @property
    def seconds_left(self) -> float | None:
        """The seconds until what still runs is cancelled; None before the shutdown, and where the server does not say."""
        return None if self._until is None else max(self._until - time.monotonic(), 0.0)


async def run_lifespan(app: Nardis, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the server's lifespan events with what the application and those joined to it do at start and end."""
    await receive()
    failure: BaseException | None = None
    started = False
    seconds = app.limits.cleanup_s
    async with anyio.create_task_group() as watchers:
        sweeper = Sweeper(watchers, app._clock)
        watchers.start_soon(sweeper.run, name="nardis.sweeper")
        app._begin(sweeper)
        runner: Runner | None = extension(scope, RUNNER)
        if runner is not None:
            runner.tell(app.draining.set, app._interrupt)
        try:
            async with AsyncExitStack() as stack:
                around = await stack.enter_async_context(_surrounded(_wrapped(app), scope, seconds))
                for each in app._joined():
                    if each._lifespan is not None:
                        await stack.enter_async_context(asynccontextmanager(each._lifespan)(each))  # pyright: ignore[reportDeprecated]  # any async iterator will do
                await stack.enter_async_context(_guests(app._mounts(), seconds))
                await stack.enter_async_context(app.tasks.opened(seconds))
                for guest in reversed(around):
                    await guest.go_on()
                started = True
                await send({"type": "lifespan.startup.complete"})
                await receive()
                app.draining.set(seconds)
                await _end_exchanges(sweeper, seconds)
                for guest in around:
                    await guest.begin_to_stop(seconds)
        except BaseException as exc:
            going, failure = parted(exc)
            if going is not None:
                raise
        finally:
            app._end()
            watchers.cancel_scope.cancel()
    phase = "shutdown" if started else "startup"
    if failure is None:
        await send({"type": "lifespan.shutdown.complete"})
    else:
        # The server tells of a failed start, in a line; the traceback is for those who look for it.
        logger.log(
            logging.ERROR if started else logging.DEBUG,
            "lifespan %s failed",
            phase,
            exc_info=explained(failure),
        )
        await send(
            {"type": f"lifespan.{phase}.failed", "message": f"{type(failure).__name__}: {failure}"}
        )


def _wrapped(app: Nardis) -> list[Wrapped]:
    """List the foreign middlewares of an application, from the outside in, each once."""
    found = {
        id(handler): handler
        for router in app._below()
        for layer in router._layers
        for handler, _ in layer.steps
        if isinstance(handler, Wrapped)
    }
    return list(found.values())


@asynccontextmanager
async def _surrounded(
    wrapped: list[Wrapped], scope: Scope, seconds: float
) -> AsyncGenerator[list[_Surrounding], None]:
    """Run the lifespans of foreign middlewares around what is done in the block."""
    failure: BaseException | None = None
    async with anyio.create_task_group() as group:
        around: list[_Surrounding] = []
        try:
            for each in wrapped:
                guest = _Surrounding(each, scope)
                group.start_soon(guest.run, name=f"{each.__qualname__}.lifespan")
                await guest.enter()
                around.append(guest)
            yield around
        except BaseException as exc:
            going, failure = parted(exc)  # past the group, which would wrap it
            if going is not None:
                raise
        finally:
            for guest in reversed(around):
                await guest.leave(seconds)
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def _guests(mounts: list[Mounted], seconds: float) -> AsyncGenerator[None, None]:
    """Run the lifespans of mounted applications, each once: one starts after the other, and the last one stops first."""
    failure: BaseException | None = None
    apps = {id(mounted.app): mounted for mounted in mounts}
    async with anyio.create_task_group() as group:
        guests: list[_Guest] = []
        try:
            for mounted in apps.values():
                guest = _Guest(mounted.__qualname__, mounted.call)
                guests.append(guest)
                group.start_soon(guest.run, name=f"{mounted.__qualname__}.lifespan")
                await guest.start()
                for each in mounts:
                    if each.app is mounted.app:
                        each.state = guest.state if guest.running else None
            yield
        except BaseException as exc:
            going, failure = parted(exc)  # past the group, which would wrap it
            if going is not None:
                raise
        finally:
            for guest in reversed(guests):
                await guest.stop(seconds)
            for each in mounts:
                each.state = None
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure


class _Guest:
    """The lifespan of one foreign application: we are its server."""

    def __init__(self, name: str, call: ASGIApp) -> None:
        self.name = name
        self.state: dict[str, Any] = {}
        self.running = False
        self._call = call
        self._heard = 0
        self._failed: str | None = None
        self._started, self._stopping, self._stopped = anyio.Event(), anyio.Event(), anyio.Event()

    def scope(self) -> dict[str, Any]:
        return {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }

    async def run(self) -> None:
        try:
            await self._call(self.scope(), self._receive, self._send)
        except BaseException as exc:
            going, failure = parted(exc)
            if failure is not None and self.running:
                logger.error("the lifespan of %s failed", self.name, exc_info=explained(failure))
            elif failure is not None:
                # What does not know lifespans says so by an exception; what does says that it failed.
                logger.info("%s has no lifespan: %r", self.name, failure)
            if going is not None:
                raise
        finally:
            self._has_started()
            self._has_stopped()

    def _has_started(self) -> None:
        self._started.set()

    def _has_stopped(self) -> None:
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
            self._has_started()
        elif kind == "lifespan.startup.failed":
            self._failed = message.get("message", "")
            self._has_started()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            if kind == "lifespan.shutdown.failed":
                logger.error("the shutdown of %s failed: %s", self.name, message.get("message", ""))
            self._has_stopped()
        else:
            raise UsageError(f"{self.name} sent {kind!r} in its lifespan")

    async def start(self) -> None:
        await self._started.wait()
        self._check()

    def _check(self) -> None:
        if self._failed is not None:
            raise StartFailed(f"{self.name}: {self._failed or 'its startup failed'}")

    async def stop(self, seconds: float) -> None:
        """Tell it that it is over, and wait until it has cleaned up, at most *seconds*."""
        with shielded(seconds) as scope:
            if self.running:
                self._stopping.set()
                await self._stopped.wait()
        if scope.cancelled_caught:
            logger.error("the lifespan of %s did not end within %s s", self.name, seconds)


class _Surrounding(_Guest):
    """The lifespan of a foreign middleware: ours is inside it, where it passes lifespans on."""

    def __init__(self, wrapped: Wrapped, scope: Scope) -> None:
        super().__init__(wrapped.__qualname__, wrapped.call)
        self._crossing = LifespanCrossing()
        self._scope = scope

    def scope(self) -> dict[str, Any]:
        return self._crossing.scope(self._scope)

    def _has_started(self) -> None:
        super()._has_started()
        self._crossing.entered.set()
        self._crossing.said.set()

    def _has_stopped(self) -> None:
        super()._has_stopped()
        self._crossing.leaving.set()

    async def enter(self) -> None:
        """Let it start, as far as to what is inside it."""
        await self._crossing.entered.wait()
        self._check()

    async def go_on(self) -> None:
        """Tell it that what is inside has started, and let it come to the end of its own start."""
        self._crossing.started.set()
        await self._crossing.said.wait()
        self._check()
        self.running = True

    async def begin_to_stop(self, seconds: float) -> None:
        """Let it begin its end, as far as to what is inside it."""
        self._stopping.set()
        with anyio.move_on_after(seconds):
            await self._crossing.leaving.wait()

    async def leave(self, seconds: float) -> None:
        """Tell it that what is inside has stopped, and let it end."""
        self._crossing.stopped.set()
        await self.stop(seconds)


async def _end_exchanges(sweeper: Sweeper, seconds: float) -> None:
    """Wait for the exchanges in flight; after *seconds* they are cancelled, and get as long for their clean-up."""
    for _ in range(2):
        await wait_idle(sweeper, seconds)
        interrupt_all(sweeper.exchanges, "shutdown")


async def wait_idle(sweeper: Sweeper, seconds: float) -> None:
    """Wait until no exchange is in flight, at most *seconds*."""
    with anyio.move_on_after(seconds):
        while sweeper.exchanges:  # noqa: ASYNC110  # an event would cost each request
            await anyio.sleep(POLL_S)
