"""Background tasks that end with the application: `app.tasks`."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup

from ._failures import explained, parted
from ._later import begun, check_later
from .errors import LifespanRequired

__all__ = ["Tasks"]

logger: logging.Logger = logging.getLogger("nardis")


class Tasks:
    """
    Background tasks of the application: they outlive requests and end with the lifespan.

    A failing task is logged and takes nothing else down. At shutdown all have `limits.cleanup_s` to
    finish, then they are cancelled.
    """

    def __init__(self, *, pending: bool = False) -> None:
        self._group: TaskGroup | None = None
        self._cut: list[str] = []  # names of the tasks that the end cancels
        # Started while the lifespan is being entered: they begin when it is.
        self._pending: (
            list[tuple[Callable[..., Awaitable[object]], tuple[Any, ...], str | None]] | None
        ) = [] if pending else None

    def start_soon(
        self, fn: Callable[..., Awaitable[object]], *args: Any, name: str | None = None
    ) -> None:
        """
        Run `await fn(*args)` in the background.

        Raises:
            LifespanRequired: No lifespan is running.
            UsageError: It is no function, but what a call of it returned.
        """
        check_later("app.tasks.start_soon", fn)
        if self._group is not None:
            known = name or str(getattr(fn, "__qualname__", "nardis.task"))
            self._group.start_soon(self._supervised, fn, args, known, name=known)
        elif self._pending is not None:
            self._pending.append((fn, args, name))
        else:
            raise LifespanRequired("app.tasks.start_soon()")

    async def _supervised(
        self, fn: Callable[..., Awaitable[object]], args: tuple[Any, ...], name: str
    ) -> None:
        try:
            await begun("app.tasks.start_soon", fn, args)
        except BaseException as exc:
            going, failure = parted(exc)
            try:
                if failure is not None:
                    logger.error("a background task failed: %r", fn, exc_info=explained(failure))
                if going is not None:
                    self._cut.append(name)
                    raise going
            finally:
                del going, failure  # a circle: its traceback has this frame

    @asynccontextmanager
    async def opened(self, seconds: float) -> AsyncGenerator[None, None]:
        """Run tasks; at the end wait for them for at most *seconds*, then cancel the rest."""
        async with anyio.create_task_group() as group:
            self._group = group
            for fn, args, name in self._pending or ():
                self.start_soon(fn, *args, name=name)
            self._pending = None
            try:
                yield
            finally:
                self._group = None
                self._cut.clear()
                group.cancel_scope.deadline = anyio.current_time() + seconds
        if self._cut:
            names = ", ".join(sorted(set(self._cut)))
            text = "tasks still ran %s s into their shutdown, and were cancelled: %s; %s"
            logger.warning(text, seconds, names, "app.draining tells them when to end")
