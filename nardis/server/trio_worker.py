"""The trio worker: how it waits for a client's socket, and its door."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from socket import AF_UNIX, socket
from typing import Any, ClassVar, Final

import trio
from outcome import Error
from trio.lowlevel import (
    Abort,
    checkpoint,
    current_task,
    notify_closing,
    reschedule,
    wait_readable,
    wait_task_rescheduled,
    wait_writable,
)

from .arrivals import Arrivals, arrivals
from .client import ACCEPT_PAUSE_S, serve_client, turn_away
from .hypercorn.trio_tasks import ConnectionTasks
from .service import Service, logger
from .stream import Stream

__all__ = ["accepting"]


# With so many connections each is waited for by itself: measured, with 4 busy ones both ways cost
# the same.
FEW: Final = 4


class TrioStream(Stream):
    """
    A client's socket, on trio.

    Args:
        sock: The socket.
        together: Where it is made known as soon as there are many.
    """

    __slots__ = (
        "_among",
        "_called_off",
        "_has_ended",
        "_has_news",
        "_is_unix",
        "_reader",
        "_together",
    )

    awoken: ClassVar[type[Exception]] = trio.ClosedResourceError

    def __init__(self, sock: socket, together: Arrivals | None = None) -> None:
        super().__init__(sock)
        self._together = together
        self._among: Arrivals | None = None  # it is known there
        self._reader: trio.lowlevel.Task | None = None  # waits for news
        self._has_news = False  # nobody waited for them
        self._has_ended = False
        self._called_off = False
        # There a read ends behind each file that is passed (unix(7), SCM_RIGHTS), and nobody tells.
        self._is_unix = sock.family == AF_UNIX

    def _readable(self) -> Awaitable[object]:
        if self._among is None and not self._joins():
            return wait_readable(self.socket)  # noqa: ASYNC105  # awaited by the caller
        if self._has_news or self._has_ended or (self._is_unix and self.has_input()):
            return self._take_news()
        if self._reader is not None:
            raise trio.BusyResourceError("two tasks read one socket")  # as trio itself says
        self._reader = current_task()
        return wait_task_rescheduled(self._let_go)  # noqa: ASYNC105  # as above

    def _joins(self) -> bool:
        """Make it known, if there are many by now; return whether it is."""
        together = self._together
        if together is None or not together.is_crowded():
            return False
        self._together = None  # it is tried once
        if together.add(self.socket.fileno(), self):
            self._among = together
        return self._among is not None

    def hear(self, *, end: bool) -> None:
        """Let a read go on that waits, or else the next one not wait; see `Arrivals`."""
        self._has_ended = self._has_ended or end
        if self._reader is None:
            self._has_news = True
        else:
            self._called_off = False
            reschedule(self._reader, self)  # type: ignore[arg-type]  # all that is asked of one
            self._reader = None

    def unwrap(self) -> None:
        """
        End a wait that news have ended: as an `outcome.Value` of None.

        To make one of those each time costs more than one percent of a GET.

        Raises:
            trio.ClosedResourceError: It was called off since then. The news may be of what was read
                before: then the read would wait again.
        """
        if self._called_off:
            self._has_news = True
            raise trio.ClosedResourceError

    async def _take_news(self) -> None:
        self._called_off = False
        await checkpoint()  # cancelled here, it leaves them to the next read
        self.unwrap()
        self._has_news = False

    def _let_go(self, _: object) -> Abort:
        """Give a wait up that is cancelled."""
        self._reader = None
        return Abort.SUCCEEDED

    def _writable(self) -> Awaitable[object]:
        return wait_writable(self.socket)  # noqa: ASYNC105  # as above

    def wake(self) -> None:
        """Call off what waits for this socket."""
        self._called_off = True
        if self._reader is not None:
            reschedule(self._reader, Error(trio.ClosedResourceError()))
            self._reader = None
        notify_closing(self.socket)

    def part(self) -> None:
        """Be waited for alone from now on; see `Arrivals`."""
        if self._among is not None:
            self._among.remove(self.socket.fileno())
            self._among = None

    def close(self) -> None:
        """Close the socket; tasks that wait for it are woken."""
        self.part()
        super().close()


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
                if listener.fileno() < 0:  # closed since the wait came back
                    return
                logger.error("cannot accept a connection: %s", exc)
                await trio.sleep(ACCEPT_PAUSE_S)
                continue
            accepted.setblocking(False)
            if service.is_full():
                connections.start_soon(
                    partial(turn_away, TrioStream(accepted), secure=tls is not None)
                )
            else:
                start(serve_client(service, TrioStream(accepted, together), tls, ConnectionTasks))

    async def open_doors(door: trio.CancelScope) -> None:
        with door:
            async with trio.open_nursery() as doors:
                for listener in listeners:
                    doors.start_soon(accept, listener)

    service.start = start
    service.innermost = innermost
    with arrivals(lambda: service.admitted > FEW) as together, _forgiving():
        async with trio.open_nursery() as connections:
            door = trio.CancelScope()
            if together is not None:
                connections.start_soon(together.run)
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
