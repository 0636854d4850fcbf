"""
The asyncio worker's half of a connection, and its door.

Fault (hypercorn 0.18): a connection whose client left goes on writing, with a warning for each
piece, and one that ends waits for a client that does not read; on Python 3.12 and later a shutdown
waits for all of them (issue 308). Over TLS a cut response ends with close_notify, as a whole one
does. asyncio drops what a client sent last, if a write finds it gone before that was read.

Cure: nothing is written to a transport that is closing; the sweep ends connections that make no
progress; the door is closed without waiting for the clients that came through it; a cut is a reset,
and nothing else. What a client sent last is read.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from socket import SHUT_WR, socket
from typing import Any, Final, SupportsIndex, cast

import anyio
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext

from ...types import Message, Scope
from ..tls import TLS
from .connection import LINGER_S, OVERLOAD_ANSWER, READ_BYTES, Connection, contained, readable
from .inbox import Inbox
from .service import Service, clock, logger, run_app

__all__ = ["accepting"]

# Connections taken before others get their turn, and the pause where the system has no room for one
# more.
ACCEPTS_AT_ONCE: Final = 64
ACCEPT_PAUSE_S: Final = 0.1


class ConnectionTasks(TaskGroup):
    """A task group for one connection; its applications receive by way of an Inbox."""

    def __init__(self, service: Service) -> None:
        super().__init__(asyncio.get_running_loop())
        self._service = service

    async def spawn_app(  # type: ignore[override]  # hypercorn spells the ASGI messages as TypedDicts
        self, app: Any, config: Any, scope: Scope, send: Callable[[Message | None], Awaitable[None]]
    ) -> Callable[[Message], Awaitable[None]]:
        """Call the application; it receives what is put into what is given back."""
        inbox = Inbox()
        self.spawn(run_app, self._service, scope, inbox, send)  # pyright: ignore[reportUnknownMemberType]  # partly annotated
        return inbox.put


class Reader(asyncio.StreamReader):
    """
    A stream that tells whether something arrived, and loses nothing of it.

    Attributes:
        fed: Something did since this was last made False.
    """

    fed: bool = False

    def __init__(self, accepted: socket) -> None:
        super().__init__(READ_BYTES)
        self._accepted = accepted

    def set_exception(self, exc: BaseException) -> None:
        """End after what the client sent last, a Close frame too: asyncio would drop it."""
        with suppress(OSError):
            while data := self._accepted.recv(READ_BYTES):
                self.feed_data(data)
        self.feed_eof()

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Take what arrived."""
        self.fed = True
        super().feed_data(data)


class Protocol(asyncio.StreamReaderProtocol):
    """
    What a transport tells of its socket.

    Attributes:
        lost: The socket is closed, or will be in this very turn: uvloop gives its number also
            afterwards.
    """

    lost: bool = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Hear that the socket is gone."""
        self.lost = True
        super().connection_lost(exc)


class AsyncioConnection(Connection):
    """One client, on asyncio or uvloop."""

    def __init__(
        self,
        service: Service,
        reader: Reader,
        writer: asyncio.StreamWriter,
        protocol: Protocol,
        tls: TLS | None = None,
    ) -> None:
        super().__init__(service, tls)
        self._reader = reader
        self._writer = writer
        self._protocol = protocol
        self._transport = writer.transport
        self._transport.set_write_buffer_limits(high=0)  # a piece is taken when the socket has it
        self.socket: Any = writer.get_extra_info("socket")
        self._task = cast("asyncio.Task[None]", asyncio.current_task())

    async def run(self) -> None:
        """Serve the client to the end; nothing but cancellation comes out."""
        with contained(self):
            if await self.shake_hands():
                async with ConnectionTasks(self.service) as tasks:
                    await self.converse(tasks, WorkerContext(None))

    async def _receive(self) -> bytes:
        self._reader.fed = False
        return await self._reader.read(READ_BYTES)

    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def _has_input(self) -> bool:
        return self._reader.fed or readable(self.socket)

    async def _transmit(self, pieces: Sequence[bytes]) -> bool:
        if self._transport.is_closing():
            return False
        if self.tls is not None:
            try:
                pieces = (_encrypted(self.tls, pieces),)
            except OSError:
                return False
        # Not `writelines`: it lets the buffer grow without bound up to Python 3.12.8 and 3.13.1
        # (CVE-2024-12254).
        for piece in pieces:
            self._writer.write(piece)
        if self._transport.get_write_buffer_size() > 0:
            self.writing = self.writing or clock()
            try:
                await self._writer.drain()
            except OSError:
                return False
            finally:
                self.writing: float = 0.0
        return True

    async def _say(self) -> None:
        with suppress(RuntimeError):  # our half is closed
            self._writer.write(cast(TLS, self.tls).outgoing())

    def _half_close(self) -> None:
        with suppress(OSError, RuntimeError):
            self._transport.write_eof()

    def is_closed(self) -> bool:
        """Whether the socket is closed, or was lost: a reset is noticed also where nobody reads."""
        return self._protocol.lost or (self._transport.is_closing() and not self._unsent())

    def close(self) -> None:
        """Close the socket, after what was written; a task that waits for it is woken."""
        self._transport.close()

    def cut(self) -> None:
        """Reset the connection: what was written and not sent is dropped."""
        if not self._protocol.lost:
            self._linger_away()
        self._transport.abort()

    def cancel(self) -> None:
        """Cancel what runs for this connection."""
        self._task.cancel()


@asynccontextmanager
async def accepting(
    service: Service, listeners: Sequence[socket], tls: ssl.SSLContext | None
) -> AsyncGenerator[Callable[[], None], None]:
    """Serve clients until the yielded function is called; leaving cancels the connections left."""
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    def start(serving: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = loop.create_task(serving)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

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
                _ = start(_turn_away(accepted, tls))
            else:
                service.admitted += 1
                start(_serve(service, accepted, tls)).add_done_callback(leave)

    def open_door(listener: socket) -> None:
        if listener.fileno() >= 0 and not service.draining:
            loop.add_reader(listener, accept, listener)

    def close_door() -> None:
        for listener in listeners:
            if listener.fileno() >= 0:
                loop.remove_reader(listener)

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


async def _serve(service: Service, accepted: socket, tls: ssl.SSLContext | None) -> None:
    reader = Reader(accepted)
    protocol = Protocol(reader)
    loop = asyncio.get_running_loop()
    try:
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted)
    except OSError:  # pragma: no cover  # the client left; but nothing is sent or read here
        accepted.close()
    else:
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        await AsyncioConnection(
            service, reader, writer, protocol, None if tls is None else TLS(tls)
        ).run()


def _encrypted(tls: TLS, pieces: Sequence[bytes]) -> bytes:
    for piece in pieces:
        tls.encrypt(piece)
    return tls.outgoing()


async def _turn_away(accepted: socket, tls: ssl.SSLContext | None) -> None:
    """Answer 503 to one client too many; over TLS say nothing, the handshake costs too much."""
    loop = asyncio.get_running_loop()
    with accepted, suppress(OSError, TimeoutError):
        if tls is None:
            async with asyncio.timeout(LINGER_S):
                await loop.sock_sendall(accepted, OVERLOAD_ANSWER)
                accepted.shutdown(SHUT_WR)
                while await loop.sock_recv(accepted, READ_BYTES):
                    pass
