"""The tasks of a connection that hypercorn looks after, on asyncio."""

from __future__ import annotations

import asyncio

from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext

from ..service import Service
from .inbox import SpawnsApps

__all__ = ["ConnectionTasks"]


class ConnectionTasks(SpawnsApps, TaskGroup):  # type: ignore[misc]  # its own is annotated in part
    """A task group for one connection."""

    def __init__(self, service: Service) -> None:
        super().__init__(asyncio.get_running_loop())
        self.service = service
        self.context: WorkerContext = WorkerContext(None)
