"""The tasks of a connection that hypercorn looks after, on trio."""

from __future__ import annotations

from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext

from ..service import Service
from .inbox import SpawnsApps

__all__ = ["ConnectionTasks"]


class ConnectionTasks(SpawnsApps, TaskGroup):  # type: ignore[misc]  # its own is annotated in part
    """A nursery for one connection."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.service = service
        service.context = self.context = service.context or WorkerContext(None)
