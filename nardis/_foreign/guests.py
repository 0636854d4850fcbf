"""The lifespans of foreign applications and middlewares, inside and around ours."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from .._exchange.lifetime import shielded
from .._failures import explained, parted
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
async def guests(mounts: list[Mounted], seconds: float) -> AsyncGenerator[None, None]:
    """Run the lifespans of mounted applications, each once: one starts after the other, and the last one stops first."""
    failure: BaseException | None = None
    apps = {id(mounted.app): mounted for mounted in mounts}
    async with anyio.create_task_group() as group:
        started: list[Guest] = []
        try:
            for mounted in apps.values():
                guest = Guest(mounted.__qualname__, mounted.call)
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
                await guest.stop(seconds)
            for each in mounts:
                each.state = None
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure


class Guest:
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


class Surrounding(Guest):
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
