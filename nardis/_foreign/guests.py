"""The lifespans of foreign applications and middlewares, inside and around ours."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio

from .._asgi.extensions import RUNNER
from .._asgi.lifespan import SHUTDOWN_ANSWERS, STARTUP_ANSWERS, LifespanServer
from .._exchange.lifetime import shielded
from .._failures import explained, failure_of, parted
from ..draining import Draining
from ..errors import StartFailed, UsageError
from ..types import ASGIApp, Message, Scope
from .crossing import LifespanCrossing
from .mounted import Mounted
from .wrapped import Wrapped

__all__ = ["guests", "surrounded"]

logger: logging.Logger = logging.getLogger("nardis")


@asynccontextmanager
async def surrounded(
    wrapped: list[Wrapped], scope: Scope, seconds: float
) -> AsyncGenerator[list[Surrounding], None]:
    """Run the lifespans of foreign middlewares around what is done in the block."""
    failure: BaseException | None = None
    async with anyio.create_task_group() as group:
        around: list[Surrounding] = []
        try:
            for each in wrapped:
                guest = Surrounding(each, scope)
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
async def guests(
    mounts: list[Mounted], seconds: float, draining: Draining, around: tuple[object, ...]
) -> AsyncGenerator[None, None]:
    """
    Run the lifespans of mounted applications, each once.

    One starts after the other, and the last one stops first. Those of Nardis hear of the shutdown
    when it begins, as *draining* says, and not only when all requests are over; and of the lives
    *around* theirs.
    """
    failure: BaseException | None = None
    apps = {id(mounted.app): mounted for mounted in mounts}
    async with anyio.create_task_group() as group:
        started: list[Mate] = []
        try:
            for mounted in apps.values():
                guest = Mate(mounted.__qualname__, mounted.call, draining, around)
                started.append(guest)
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
            for guest in reversed(started):
                await guest.end(seconds)
            for each in mounts:
                each.state = None
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure


class Guest(LifespanServer):
    """The lifespan of one foreign application: we are its server."""

    def __init__(self, name: str, app: ASGIApp) -> None:
        super().__init__(app, {})
        self.name = name

    def raised(self, failure: BaseException) -> None:
        """Log *failure*; before the startup it means that the application has no lifespan."""
        if self.running:
            logger.error("the lifespan of %s failed", self.name, exc_info=explained(failure))
        else:
            # An application that knows no lifespans raises; another one says that it failed.
            logger.info("%s has no lifespan: %r", self.name, failure)

    async def send(self, message: Message) -> None:
        """Be the application's `send`: an unknown message is an error, a failed end a line."""
        kind: str = message["type"]
        if kind not in (*STARTUP_ANSWERS, *SHUTDOWN_ANSWERS):
            raise UsageError(f"{self.name} sent {kind!r} in its lifespan")
        if kind == "lifespan.shutdown.failed":
            logger.error("the shutdown of %s failed: %s", self.name, message.get("message", ""))
        await super().send(message)

    async def start(self) -> None:
        """
        Wait until the application is ready.

        Raises:
            StartFailed: The application says that its startup failed.
        """
        await self.started.wait()
        self._check()

    def _check(self) -> None:
        if self.failure is not None:
            raise StartFailed(
                f"{self.name}: {self.failure or 'its startup failed'}"
            ) from self.cause

    async def end(self, seconds: float) -> None:
        """Send the shutdown, and wait until the application has cleaned up, at most *seconds*."""
        with shielded(seconds) as scope:
            if self.running:
                self.stopping.set()
                await self.stopped.wait()
        if scope.cancelled_caught:
            logger.error("the lifespan of %s did not end within %s s", self.name, seconds)


class Mate(Guest):
    """
    The lifespan of a mounted application; one of Nardis takes us for its runner.

    Attributes:
        around: The lives that it runs in, from the outside in.
    """

    def __init__(
        self, name: str, app: ASGIApp, draining: Draining, around: tuple[object, ...]
    ) -> None:
        super().__init__(name, app)
        self.around: tuple[object, ...] = around
        self._draining = draining

    def offers(self) -> dict[str, Any]:
        """Offer to tell of the shutdown."""
        return {RUNNER: self}

    def tell(self, drain: Callable[[float], object], interrupt: Callable[[], object]) -> None:
        """Call *drain* when the shutdown begins; the requests around its own are interrupted."""

        def hear(seconds: float | None) -> None:
            try:
                drain(0.0 if seconds is None else seconds)
            except BaseException as exc:
                failure = failure_of(exc)
                logger.error("%s failed to hear of the shutdown", self.name, exc_info=failure)

        self._draining.tell(hear)


class Surrounding(Guest):
    """The lifespan of a foreign middleware: ours is inside it, if it passes lifespans on."""

    def __init__(self, wrapped: Wrapped, scope: Scope) -> None:
        super().__init__(wrapped.__qualname__, wrapped.call)
        self._crossing = LifespanCrossing()
        self._outer = scope

    def scope(self) -> Scope:
        """Return our own scope, with the crossing in it."""
        return self._crossing.scope(self._outer)

    def has_started(self) -> None:
        """Note it in the crossing too: the middleware will not call the application any more."""
        super().has_started()
        self._crossing.entered.set()
        self._crossing.said.set()

    def has_stopped(self) -> None:
        """Note it in the crossing too: the middleware passes no shutdown on any more."""
        super().has_stopped()
        self._crossing.leaving.set()

    async def enter(self) -> None:
        """Start the middleware, up to the application inside it."""
        await self._crossing.entered.wait()
        self._check()

    async def go_on(self) -> None:
        """Report that the application inside has started, and wait for the rest of the start."""
        self._crossing.started.set()
        await self._crossing.said.wait()
        self._check()
        self.running = True

    async def begin_to_stop(self, seconds: float) -> None:
        """Begin to stop the middleware, up to the application inside it."""
        self.stopping.set()
        with anyio.move_on_after(seconds):
            await self._crossing.leaving.wait()

    async def leave(self, seconds: float) -> None:
        """Report that the application inside has stopped, and wait for the end."""
        self._crossing.stopped.set()
        await self.end(seconds)
