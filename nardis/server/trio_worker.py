"""The trio worker: how it waits for a client's socket, and its door."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from socket import socket
from typing import Any, ClassVar

import trio
from trio.lowlevel import current_task, notify_closing, wait_readable, wait_writable

from .client import ACCEPT_PAUSE_S, serve_client, turn_away
from .hypercorn.trio_tasks import ConnectionTasks
from .service import Service, logger
from .stream import Stream

__all__ = ["accepting"]


class TrioStream(Stream):
    """A client's socket, on trio."""

    __slots__ = ()

    awoken: ClassVar[type[Exception]] = trio.ClosedResourceError

    def _readable(self) -> Awaitable[object]:
        return wait_readable(self.socket)  # noqa: ASYNC105  # awaited by the caller

    def _writable(self) -> Awaitable[object]:
        return wait_writable(self.socket)  # noqa: ASYNC105  # as above

    def wake(self) -> None:
        """Call off what waits for this socket."""
        notify_closing(self.socket)


def innermost() -> Callable[[bool], object]:
    """Return a function that tells the innermost cancel scope of this task; see `Service`."""
    task: Any = current_task()
    return lambda cancelled: getattr(task, "_cancel_status", None)


@asynccontextmanager
async def accepting(
    service: Service, listeners: Sequence[socket], tls: ssl.SSLContext | None
) -> AsyncGenerator[Callable[[], None], None]:
    """Serve clients until the yielded function is called; leaving cancels the connections left."""

    async def run(serving: Coroutine[Any, Any, None]) -> None:
        try:
            await serving
        finally:
            service.admitted -= 1
        if current_task().child_nurseries:
            # An application has left a task group open. trio makes an error of a task that ends so,
            # which would end all connections.
            await trio.sleep_forever()

    def start(serving: Coroutine[Any, Any, None]) -> None:
        service.admitted += 1
        connections.start_soon(run, serving)

    async def accept(listener: socket) -> None:
        while listener.fileno() >= 0:
            await wait_readable(listener)
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as exc:  # no more files, or no memory: the client waits in the queue
                logger.error("cannot accept a connection: %s", exc)
                await trio.sleep(ACCEPT_PAUSE_S)
                continue
            accepted.setblocking(False)
            if service.is_full():
                connections.start_soon(
                    partial(turn_away, TrioStream(accepted), secure=tls is not None)
                )
            else:
                start(serve_client(service, TrioStream(accepted), tls, ConnectionTasks))

    async def open_doors(door: trio.CancelScope) -> None:
        with door:
            async with trio.open_nursery() as doors:
                for listener in listeners:
                    doors.start_soon(accept, listener)

    service.start = start
    service.innermost = innermost
    with _forgiving():
        async with trio.open_nursery() as connections:
            door = trio.CancelScope()
            connections.start_soon(open_doors, door)
            try:
                yield door.cancel
            finally:
                connections.cancel_scope.cancel()


@contextmanager
def _forgiving() -> Generator[None, None, None]:
    """Drop the errors that trio makes of tasks which end inside of task groups; see `run`."""
    try:
        yield
    except BaseExceptionGroup as group:
        rest: BaseExceptionGroup[BaseException] | None = group.split(_is_of_open_nursery)[1]
        if rest is not None:
            raise rest from None


def _is_of_open_nursery(exc: BaseException) -> bool:
    return isinstance(exc, RuntimeError) and "stack corrupted" in str(exc)
