"""
The asyncio worker's half of a connection, and its door.

Fault (hypercorn 0.18): a connection whose client left goes on writing, with a warning for each piece, and one that ends waits for
a client that does not read; on Python 3.12 and later a shutdown waits for all of them (issue 308).

Cure: nothing is written to a transport that is closing; the sweep ends connections that make no progress; the door is closed
without waiting for those who came through it.
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

from ..._types import Message, Scope
from .connection import LINGER_S, OVERLOAD_ANSWER, READ_BYTES, Connection, Service, clock, contained, logger, readable, run_app
from .inbox import Inbox

__all__ = ["accepting"]

# Connections taken before others get their turn, and the pause where the system has no room for one more.
ACCEPTS_AT_ONCE: Final = 64
ACCEPT_PAUSE_S: Final = 0.1


class Tasks(TaskGroup):
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
    A stream that tells whether something arrived.

    Attributes:
        fed: Something did since this was last made False.
    """

    fed = False

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Take what arrived."""
        self.fed = True
        super().feed_data(data)


class AsyncioConnection(Connection):
    """One client, on asyncio or uvloop."""

    def __init__(self, service: Service, reader: Reader, writer: asyncio.StreamWriter) -> None:
        super().__init__(service)
        self._reader = reader
        self._writer = writer
        self._transport = writer.transport
        self._transport.set_write_buffer_limits(high=0)  # a piece is taken when the socket has it
        self.socket = writer.get_extra_info("socket")
        self._task = cast("asyncio.Task[None]", asyncio.current_task())

    async def run(self) -> None:
        """Serve the client to the end; nothing but cancellation comes out."""
        with contained(self):
            tls: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object")
            alpn = None if tls is None else tls.selected_alpn_protocol()
            async with Tasks(self.service) as tasks:
                await self.converse(tasks, WorkerContext(None), alpn, secure=tls is not None)

    async def _read(self) -> bytes:
        self._reader.fed = False
        try:
            return await self._reader.read(READ_BYTES)
        except OSError:
            return b""

    def _has_unsent(self) -> bool:
        return self._transport.get_write_buffer_size() > 0

    def _has_input(self) -> bool:
        return self._reader.fed or readable(self.socket)

    async def _write(self, data: bytes) -> bool:
        return await self._write_pieces((data,))

    async def _write_pieces(self, pieces: Sequence[bytes]) -> bool:
        if self._transport.is_closing():
            return False
        # Not `writelines`: it lets the buffer grow without bound up to Python 3.12.8 and 3.13.1 (CVE-2024-12254).
        for piece in pieces:
            self._writer.write(piece)
        if self._transport.get_write_buffer_size() > 0:
            self.writing = self.writing or clock()
            try:
                await self._writer.drain()
            except OSError:
                return False
            finally:
                self.writing = 0.0
        return True

    async def _finish(self) -> None:
        with suppress(OSError, RuntimeError):
            if self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.close()

    def is_closed(self) -> bool:
        """Tell whether the socket is closed, or was lost: the event loop notices a reset also where nobody reads."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the socket, after what was written; whoever waits for it is woken."""
        self._transport.close()

    def cut(self) -> None:
        """Reset the connection: what was written and not sent is dropped."""
        if not self._transport.is_closing() or self._transport.get_write_buffer_size():
            super().cut()  # else the number of its socket may be another's by now
        self._transport.abort()

    def cancel(self) -> None:
        """Cancel what runs for this connection."""
        self._task.cancel()


@asynccontextmanager
async def accepting(
    service: Service, listeners: Sequence[socket], tls: ssl.SSLContext | None
) -> AsyncGenerator[Callable[[], None], None]:
    """Serve those who connect, until what it gives is called; leaving cancels the connections that are left."""
    tasks: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()

    def start(serving: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = loop.create_task(serving)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def leave(task: asyncio.Task[None]) -> None:
        service.admitted -= 1

    # Not `asyncio.start_server`: what it has accepted when it is closed is served late, or never (Python 3.13, uvloop 0.23).
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
    reader = Reader(READ_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    loop = asyncio.get_running_loop()
    handshake: dict[str, Any] = {} if tls is None else {"ssl": tls, "ssl_handshake_timeout": service.config.head_s}
    try:
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted, **handshake)
    except OSError:
        accepted.close()  # the client left, or does not speak TLS
    else:
        await AsyncioConnection(service, reader, asyncio.StreamWriter(transport, protocol, reader, loop)).run()


async def _turn_away(accepted: socket, tls: ssl.SSLContext | None) -> None:
    """Say 503 to one client too many; over TLS there is no saying anything without the work that is too much."""
    loop = asyncio.get_running_loop()
    with accepted, suppress(OSError, TimeoutError):
        if tls is None:
            async with asyncio.timeout(LINGER_S):
                await loop.sock_sendall(accepted, OVERLOAD_ANSWER)
                accepted.shutdown(SHUT_WR)
                while await loop.sock_recv(accepted, READ_BYTES):
                    pass
