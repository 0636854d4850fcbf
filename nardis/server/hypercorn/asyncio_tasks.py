"""The tasks of a connection that hypercorn looks after, on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext

from ..service import Service
from .inbox import Signal, SpawnsApps

__all__ = ["ConnectionTasks"]


class OneTimeSignal:
    """
    What wakes tasks, once.

    An Event is the same with two coroutines more, and a third for anyio's (echo of 1 KiB: a tenth
    of what a message costs).
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def set(self) -> None:
        """Wake all that wait."""
        for each in self._waiting:
            if not each.done():  # its task was cancelled
                each.set_result(None)

    def wait(self) -> asyncio.Future[None]:
        """Wait until it is set, which it is not yet."""
        waiting = asyncio.get_running_loop().create_future()
        if self._waiting:  # a task that asks with a deadline, again and again, leaves one each time
            self._waiting = [each for each in self._waiting if not each.done()]
        self._waiting.append(waiting)
        return waiting


class ConnectionTasks(SpawnsApps, TaskGroup):  # type: ignore[misc]  # its own is annotated in part
    """A task group for one connection."""

    signal: ClassVar[type[Signal]] = OneTimeSignal
    _task_group: asyncio.TaskGroup

    def __init__(self, service: Service) -> None:
        super().__init__(asyncio.get_running_loop())
        self.service = service
        self.context: Any = service.context or WorkerContext(None)
        service.context = self.context

    def spawn(self, func: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Start a task, unless all of them are being cancelled."""
        coroutine = func(*args)
        try:
            self._task_group.create_task(coroutine)
        except RuntimeError:  # the group is shutting down: its loop would complain of what is left
            coroutine.close()

    def complete(
        self, func: Callable[[], Coroutine[Any, Any, None]], done: Callable[[], None]
    ) -> None:
        """Start a task, and call *done* at its end, also where it never begins."""
        coroutine = func()
        try:
            task = self._task_group.create_task(coroutine)
        except RuntimeError:
            coroutine.close()
            done()
        else:
            task.add_done_callback(lambda _: done())  # one that is cancelled early runs nothing
