"""The tasks of a connection that hypercorn looks after, on trio."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import trio
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext

from ..service import Service
from .inbox import SpawnsApps

__all__ = ["ConnectionTasks"]


class ConnectionTasks(SpawnsApps, TaskGroup):  # type: ignore[misc]  # its own is annotated in part
    """A nursery for one connection."""

    _nursery: trio.Nursery

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service
        service.context = self.context = service.context or WorkerContext(None)

    def complete(
        self, func: Callable[[], Coroutine[Any, Any, None]], done: Callable[[], None]
    ) -> None:
        """Start a task, and call *done* at its end, also where it never begins."""

        async def run() -> None:
            try:
                await func()
            finally:
                done()

        try:
            self._nursery.start_soon(run)
        except RuntimeError:  # the nursery is closed: the task of another connection has sent
            done()
