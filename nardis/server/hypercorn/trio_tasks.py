"""The tasks of a connection that hypercorn looks after, on trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext

from ...types import Message, Scope
from ..service import Service
from .inbox import Inbox, call_app

__all__ = ["ConnectionTasks"]


class ConnectionTasks(TaskGroup):
    """A nursery for one connection; its applications receive by way of an Inbox."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service
        self.context: WorkerContext = WorkerContext(None)

    async def spawn_app(  # type: ignore[override]  # hypercorn spells the ASGI messages as TypedDicts
        self, app: Any, config: Any, scope: Scope, send: Callable[[Message | None], Awaitable[None]]
    ) -> Callable[[Message], Awaitable[None]]:
        """Call the application; it receives what is put into what is given back."""
        inbox = Inbox()
        self.spawn(call_app, self._service, scope, inbox, send)  # pyright: ignore[reportUnknownMemberType]  # partly annotated
        return inbox.put
