"""
The trio worker's half of a connection, and its door.

Fault (hypercorn 0.18): a write is shielded without a limit, so a client that stops reading keeps
its handler, and a shutdown, for ever; closing a socket with something unread resets it, which may
cost the client its answer; and over TLS no close_notify says that an answer is whole.

Cure: a write can be cancelled, and a cancelled write cuts the connection, because half a piece may
be on the wire; the sweep ends those that make no progress; our half is closed first, and what still
arrives is dropped for a moment.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from socket import SHUT_WR, socket
from typing import Any

import trio
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext

from ...types import Message, Scope
from ..tls import TLS
from .connection import LINGER_S, OVERLOAD_ANSWER, READ_BYTES, Connection, contained, readable
from .inbox import Inbox
from .pieces import rest_of
from .service import Service, clock, run_app

__all__ = ["accepting"]


class ConnectionTasks(TaskGroup):
    """A nursery for one connection; its applications receive by way of an Inbox."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    async def spawn_app(  # type: ignore[override]  # hypercorn spells the ASGI messages as TypedDicts
        self, app: Any, config: Any, scope: Scope, send: Callable[[Message | None], Awaitable[None]]
    ) -> Callable[[Message], Awaitable[None]]:
        """Call the application; it receives what is put into what is given back."""
        inbox = Inbox()
        self.spawn(run_app, self._service, scope, inbox, send)  # pyright: ignore[reportUnknownMemberType]  # partly annotated
        return inbox.put


class TrioConnection(Connection):
    """One client, on trio."""

    def __init__(self, service: Service, stream: trio.SocketStream, tls: TLS | None = None) -> None:
        super().__init__(service, tls)
        self._stream = stream
        self.socket: Any = stream.socket
        self._scope = trio.CancelScope()
        self._lock = trio.Lock()

    async def run(self) -> None:
        """Serve the client to the end; nothing but cancellation comes out."""
        with contained(self), self._scope:
            if await self.shake_hands():
                async with ConnectionTasks(self.service) as tasks:
                    await self.converse(tasks, WorkerContext(None))

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def _transmit(self, pieces: Sequence[bytes]) -> bool:
        """Send in turn; a send that is cancelled may have sent a half."""
        try:
            try:
                # Where it is free, `acquire` would be a checkpoint more.
                self._lock.acquire_nowait()
            except trio.WouldBlock:
                await self._lock.acquire()
            try:
                self.writing = clock()
                await (
                    self._send_pieces(pieces)
                    if self.tls is None
                    else self._send_encrypted(self.tls, pieces)
                )
            finally:
                self.writing: float = 0.0
                self._lock.release()
        except (OSError, trio.ClosedResourceError):
            return False
        except trio.Cancelled:
            self.cut()
            raise
        return True

    async def _send_pieces(self, pieces: Sequence[bytes]) -> None:
        if len(pieces) == 1:
            await self._send_all(pieces[0])
            return
        sent = await self.socket.sendmsg(pieces)
        for rest in rest_of(pieces, sent):
            await self._send_all(rest)

    async def _send_encrypted(self, tls: TLS, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            for at in range(0, len(piece), READ_BYTES):
                tls.encrypt(memoryview(piece)[at : at + READ_BYTES])
                await self._send_all(tls.outgoing())
        if data := tls.outgoing():
            await self._send_all(data)

    async def _send_all(self, data: bytes | memoryview) -> None:
        """
        Send *data*; a cancellation comes before its first byte, or while the socket has no room.

        The stream's `send_all` has a checkpoint of its own before it sends, where a deadline would
        tear a response of which nothing was lost.
        """
        sent: int = await self.socket.send(data)
        while sent < len(data):
            sent += await self.socket.send(memoryview(data)[sent:])

    async def _say(self) -> None:
        if not self._lock.locked():  # else the one that sends takes it along
            await self._transmit(())

    def _half_close(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(SHUT_WR)

    def _unsent(self) -> int:
        return 0  # a write ends when the system has it

    def _has_input(self) -> bool:
        return readable(self.socket)

    def is_closed(self) -> bool:
        """Whether the socket is closed."""
        return bool(self.socket.fileno() < 0)

    def close(self) -> None:
        """Close the socket; a task that waits for it is woken."""
        self.socket.close()

    def cut(self) -> None:
        """Reset the connection: nobody can take that for a regular end."""
        if not self.is_closed():
            self._linger_away()
        self.close()

    def cancel(self) -> None:
        """Cancel what runs for this connection."""
        self._scope.cancel()


@asynccontextmanager
async def accepting(
    service: Service, listeners: Sequence[socket], tls: ssl.SSLContext | None
) -> AsyncGenerator[Callable[[], None], None]:
    """Serve clients until the yielded function is called; leaving cancels the connections left."""

    async def serve(stream: trio.SocketStream) -> None:
        if service.is_full():
            return await _turn_away(stream, secure=tls is not None)
        service.admitted += 1
        try:
            await TrioConnection(service, stream, None if tls is None else TLS(tls)).run()
        finally:
            service.admitted -= 1

    async def accept(door: trio.CancelScope) -> None:
        with door:
            await trio.serve_listeners(serve, opened, handler_nursery=connections)

    opened = [trio.SocketListener(trio.socket.from_stdlib_socket(each)) for each in listeners]
    async with trio.open_nursery() as connections:
        door = trio.CancelScope()
        connections.start_soon(partial(accept, door))
        try:
            yield door.cancel
        finally:
            connections.cancel_scope.cancel()


async def _turn_away(stream: trio.SocketStream, *, secure: bool) -> None:
    """Answer 503 to one client too many; over TLS say nothing, the handshake costs too much."""
    with trio.move_on_after(LINGER_S), suppress(OSError, trio.BrokenResourceError):
        async with stream:
            if secure:
                return
            await stream.send_all(OVERLOAD_ANSWER)
            await stream.send_eof()
            while await stream.receive_some(READ_BYTES):
                pass
