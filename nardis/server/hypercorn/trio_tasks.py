"""The tasks of a connection that hypercorn looks after, on trio."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import trio
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext

from ..service import Service
from .inbox import Signal, SpawnsApps

__all__ = ["ConnectionTasks"]


class ConnectionTasks(SpawnsApps, TaskGroup):  # type: ignore[misc]  # its own is annotated in part
    """A nursery for one connection."""

    signal: ClassVar[type[Signal]] = trio.Event
    _nursery: trio.Nursery | None

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service
        self.context: Any = service.context or WorkerContext(None)
        service.context = self.context

    def spawn(self, func: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Start a task, unless there is nothing left that it could belong to."""
        self._begin(func, *args)

    def complete(
        self, func: Callable[[], Coroutine[Any, Any, None]], done: Callable[[], None]
    ) -> None:
        """Start a task, and call *done* at its end, also where it never begins."""

        async def run() -> None:
            try:
                await func()
            finally:
                done()

        if not self._begin(run):
            done()

    def _begin(self, func: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> bool:
        if self._nursery is None:  # a task of another connection was sending to the client
            return False
        try:
            self._nursery.start_soon(func, *args)
        except RuntimeError:  # the same, and the last task here has just ended
            return False
        return True
