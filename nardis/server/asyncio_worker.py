"""The asyncio worker: how it waits for a client's socket, with uvloop too, and its door."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from socket import socket
from typing import Any, ClassVar, cast

import anyio
from anyio._backends import _asyncio

from .client import ACCEPT_PAUSE_S, serve_client, turn_away
from .hypercorn.asyncio_tasks import ConnectionTasks
from .service import Service, logger
from .stream import Stream

__all__ = ["accepting"]

# Connections taken before others get their turn.
ACCEPTS_AT_ONCE = 64


class Awoken(Exception):
    """A wait for a socket was called off."""


class AsyncioStream(Stream):
    """
    A client's socket, on asyncio.

    The loop is asked once to tell when something can be read, or written. While nobody wants to
    know it is told to stop, at the first news that nobody takes: what lies unread costs no turn of
    the loop.
    """

    __slots__ = ("_arrival", "_listening", "_loop", "_offering", "_room")

    awoken: ClassVar[type[Exception]] = Awoken

    # libuv (1.51, in uvloop 0.23) stops to look at a connection that was reset, and tells nobody.
    hears_resets: ClassVar[bool] = False

    def __init__(self, sock: socket) -> None:
        super().__init__(sock)
        self._loop = asyncio.get_running_loop()
        self._listening = False
        self._offering = False
        self._arrival: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    def _readable(self) -> Awaitable[object]:
        if not self._listening:
            self._ask(self._loop.add_reader, self._arrived)
            self._listening = True
        self._arrival = self._loop.create_future()
        return self._arrival

    def _ask(self, add: Callable[..., object], callback: Callable[[], None]) -> None:
        """Ask the loop to tell of this socket."""
        try:
            add(self.socket, callback)
        except RuntimeError as exc:  # uvloop (0.23) has closed its handle of it
            raise ConnectionResetError("the client has reset the connection") from exc

    def _arrived(self) -> None:
        arrival = self._arrival
        if arrival is not None and not arrival.done():
            arrival.set_result(None)
        else:
            self._listening = False
            self._loop.remove_reader(self.socket)

    def _writable(self) -> Awaitable[object]:
        if not self._offering:
            self._ask(self._loop.add_writer, self._freed)
            self._offering = True
        self._room = self._loop.create_future()
        return self._room

    def _freed(self) -> None:
        room = self._room
        if room is not None and not room.done():
            room.set_result(None)
        else:
            self._offering = False
            self._loop.remove_writer(self.socket)

    def wake(self) -> None:
        """Call off what waits for this socket."""
        for waiting in (self._arrival, self._room):
            if waiting is not None and not waiting.done():
                waiting.set_exception(Awoken())
                _ = waiting.exception()  # who waited may be cancelled meanwhile

    def close(self) -> None:
        """Close the socket; tasks that wait for it are woken."""
        if not self.closed:
            self._loop.remove_reader(self.socket)
            self._loop.remove_writer(self.socket)
        super().close()


def innermost() -> Callable[[bool], object]:
    """Return a function that tells the innermost cancel scope of this task; see `Service`."""
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    states: Mapping[object, object] = getattr(_asyncio, "_task_states", {})
    scope_of = partial(getattr, states.get(task), "cancel_scope", None)
    # A cancellation of the task itself that was kept from it is left behind too.
    return lambda cancelled: (not cancelled and task.cancelling()) or scope_of()


@asynccontextmanager
async def accepting(
    service: Service, listeners: Sequence[socket], tls: ssl.SSLContext | None
) -> AsyncGenerator[Callable[[], None], None]:
    """Serve clients until the yielded function is called; leaving cancels the connections left."""
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    def run(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = loop.create_task(coroutine)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def start(serving: Coroutine[Any, Any, None]) -> None:
        service.admitted += 1
        run(serving).add_done_callback(leave)

    def leave(task: asyncio.Task[None]) -> None:
        service.admitted -= 1

    # Not `asyncio.start_server`: what it has accepted when it is closed is served late, or never
    # (Python 3.13, uvloop 0.23).
    def accept(listener: socket) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as exc:  # no more files, or no memory: the client waits in the queue
                logger.error("cannot accept a connection: %s", exc)
                loop.remove_reader(listener)
                loop.call_later(ACCEPT_PAUSE_S, open_door, listener)
                return
            accepted.setblocking(False)
            if service.is_full():
                _ = run(turn_away(AsyncioStream(accepted), secure=tls is not None))
            else:
                start(serve_client(service, AsyncioStream(accepted), tls, ConnectionTasks))

    def open_door(listener: socket) -> None:
        if listener.fileno() >= 0 and not service.draining:
            loop.add_reader(listener, accept, listener)

    def close_door() -> None:
        for listener in listeners:
            if listener.fileno() >= 0:
                loop.remove_reader(listener)

    service.start = start
    service.innermost = innermost
    for listener in listeners:
        open_door(listener)
    try:
        yield close_door
    finally:
        close_door()
        for task in tasks:
            task.cancel()
        if tasks:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(tasks)
