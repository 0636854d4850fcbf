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
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from socket import socket
from typing import Any

import anyio
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext

from ..._types import Message, Scope
from .connection import LINGER_S, OVERLOAD_ANSWER, READ_BYTES, Connection, Service, clock, contained, run_app
from .inbox import Inbox

__all__ = ["accepting"]


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


class AsyncioConnection(Connection):
    """One client, on asyncio or uvloop."""

    def __init__(self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(service)
        self._reader = reader
        self._writer = writer
        self._transport = writer.transport
        self.socket = writer.get_extra_info("socket")
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve the client to the end; nothing but cancellation comes out."""
        self._task = asyncio.current_task()
        with contained(self):
            tls: ssl.SSLObject | None = self._writer.get_extra_info("ssl_object")
            alpn = None if tls is None else tls.selected_alpn_protocol()
            async with Tasks(self.service) as tasks:
                await self.converse(tasks, WorkerContext(None), alpn, secure=tls is not None)

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(READ_BYTES)
        except OSError:
            return b""

    async def _write(self, data: bytes) -> bool:
        if self._transport.is_closing():
            return False
        self._writer.write(data)
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
        if self._task is not None:
            self._task.cancel()


@asynccontextmanager
async def accepting(
    service: Service, listeners: Sequence[socket], tls: ssl.SSLContext | None
) -> AsyncGenerator[Callable[[], None], None]:
    """Serve those who connect, until what it gives is called; leaving cancels the connections that are left."""
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = _turn_away(reader, writer) if service.is_full() else AsyncioConnection(service, reader, writer).run()
        task = asyncio.get_running_loop().create_task(serving)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    servers: list[asyncio.Server] = []

    def close_door() -> None:
        for server in servers:
            server.close()

    options: dict[str, Any] = {} if tls is None else {"ssl": tls, "ssl_handshake_timeout": service.config.head_s}
    try:
        for listener in listeners:
            server = await asyncio.start_server(connected, sock=listener, **options)
            servers.append(server)
        yield close_door
    finally:
        close_door()
        for task in tasks:
            task.cancel()
        if tasks:
            with anyio.CancelScope(shield=True):
                await asyncio.wait(tasks)


async def _turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say 503 to one client too many."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(LINGER_S):
            writer.write(OVERLOAD_ANSWER)
            if writer.can_write_eof():
                writer.write_eof()
            while await reader.read(READ_BYTES):
                pass
    writer.transport.abort()
