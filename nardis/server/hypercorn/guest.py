"""
What hypercorn speaks on a connection: HTTP/2, and WebSockets over either HTTP.

Fault (hypercorn 0.18): nothing has a limit, and an exception in one connection ends the whole trio
worker.

Cure: what it does with a socket is done here, by the rules of every connection; one task reads, and
hands on what it has read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

import anyio
from anyio.lowlevel import checkpoint
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.typing import ConnectionState

from ..connection import Connection
from ..http1.request import RequestHead
from ..service import TICK_S, Service
from ..stream import clock
from .h1 import opens_http2, opens_websocket
from .inbox import Inbox
from .protocol import Protocols

# Makes the tasks of one connection; hypercorn's annotations of them are incomplete.
Tasks: TypeAlias = Callable[[Service], Any]

__all__ = ["REST_S", "Guest", "Tasks", "takes"]

# So long at most a connection is not looked at. What begins to be sent, or to be waited for, ends
# its rest; only what TLS has to say for itself does not.
REST_S: Final = 10.0

# A client that is in the middle of a message, which was refused for its size (1009), may read our
# Close frame only behind it: so much of it is read and dropped, if it comes within LINGER_S.
LINGER_BYTES: Final = 64 * 1024 * 1024


def takes(request: RequestHead, *, http2: bool) -> bool:
    """Whether *request* opens a WebSocket, or HTTP/2 where that is spoken."""
    return opens_websocket(request) or (http2 and opens_http2(request))


class Guest:
    """
    One connection that hypercorn's protocols speak on.

    Args:
        connection: The client.
        tasks: Makes a group of tasks.
        unread: What was read of the socket already.
        alpn: The protocol that TLS agreed on.

    Attributes:
        protocol: What speaks.
        tasks: What runs for it.
        handling: What was read is being worked on since then; 0.0 while the client is waited for.
    """

    protocol: Protocols
    tasks: Any

    def __init__(
        self,
        connection: Connection,
        tasks: Tasks,
        unread: bytes,
        alpn: str | None,
    ) -> None:
        self.handling: float = 0.0
        self._connection = connection
        self._open_tasks = tasks
        self._unread = unread
        self._alpn = alpn
        self._hung_up = False

    @property
    def multiplexed(self) -> bool:
        """Whether several requests may be under way at once."""
        return self.protocol.http2

    async def converse(self) -> None:
        """Read what the client sends and hand it to the protocol, to the end."""
        with anyio.CancelScope() as scope:
            self._connection.cancel = scope.cancel
            await self._converse()

    async def _converse(self) -> None:
        connection, service = self._connection, self._connection.service
        async with self._open_tasks(service) as self.tasks:
            protocol = self.protocol = Protocols(
                service.app,
                service.settings,
                self.tasks.context,
                self.tasks,
                ConnectionState(service.state),
                connection.is_secure,
                connection.wire.client,
                cast("Any", connection.wire.server),  # it only goes into the scope
                self.send,
                self._alpn,
                service.config,
                self,
            )
            await protocol.initiate()
            if service.draining:
                protocol.goodbye()
            data: bytes | None = self._unread or await connection.stream.read()
            self._unread = b""
            while data:
                if connection.over:
                    break
                if connection.idle_since and not connection.head_since:
                    connection.head_since = clock()
                rest = protocol.hear(data)
                if rest is not None:
                    self.handling, connection.rests_until = clock(), 0.0
                    await rest
                    self.handling = 0.0
                data = await connection.stream.read()
            if connection.over:
                await connection.linger(LINGER_BYTES)
            await self._lost()
            # An application that does not listen may go on for long.
            if connection.wire.writing or self.has_rest:  # half of something may be out
                connection.wire.cut()
            else:
                connection.wire.close()

    async def send(self, event: Event) -> None:
        """Do what the protocol wants done with the socket."""
        connection = self._connection
        if isinstance(event, RawData):
            if event.data:
                await self.write(event.data, keeps=False)
        elif isinstance(event, Updated):
            connection.head_since = 0.0
            connection.idle_since = clock() if event.idle else 0.0
        elif not connection.over:
            await connection.finish(whole=not self.protocol.is_unfinished())
            await self._lost()

    @property
    def has_rest(self) -> bool:
        """Whether a write was cancelled which has begun."""
        return self._connection.stream.rest is not None

    async def write(self, *pieces: bytes, keeps: bool = True, begun: bool = False) -> None:
        """Send *pieces* as one, unless nobody takes them any more; see `Line`."""
        connection = self._connection
        connection.rests_until = 0.0
        try:
            if not connection.over and not await connection.stream.write(*pieces, keeps=keeps):
                await self._broken()
        except BaseException:
            if begun and not self.has_rest:
                connection.wire.rest = iter([memoryview(each) for each in pieces])
            raise

    def begin(self, data: bytes) -> int:
        """Send what there is room for now; see `Line`."""
        return 0 if self._connection.over else self._connection.stream.begin(data)

    async def resume(self) -> None:
        """Send the rest of a write that was cancelled; see `Line`."""
        connection = self._connection
        if not connection.over and not await connection.stream.resume():
            await self._broken()

    def try_write(self, data: bytes) -> bool:
        """Send *data* if there is room for all of it now; return whether there was."""
        self._connection.rests_until = 0.0
        return not self._connection.over and self._connection.stream.try_write(data)

    async def give_turn(self) -> None:
        """Give others a turn; see `Line`."""
        await checkpoint()

    def cut(self) -> None:
        """Reset the connection."""
        self._connection.wire.cut()

    async def _broken(self) -> None:
        """End what cannot be written to; a reader does it where a Close frame may still come."""
        if self.protocol.hears_to_the_end():
            for inbox in self.protocol.inboxes():
                inbox.lift()
        else:
            await self._lost()
            self._connection.wire.close()

    async def _lost(self) -> None:
        await self.protocol.handle(Closed())

    # --- for the connection -----------------------------------------------------------------------

    def calls(self) -> list[Inbox]:
        """List what the applications of this connection receive from."""
        return self.protocol.inboxes()

    def progressed(self, now: float) -> None:
        """Note that the client has taken something; not of a stream whose window is shut."""
        for inbox in self.protocol.inboxes():
            if inbox.flushing or not self.protocol.http2:
                inbox.progressed = now

    def look(self, now: float) -> bool:
        """
        Look after the WebSockets.

        Return whether what was read is being worked on for some time: nobody reads. A WebSocket
        that is read, and to which nothing is being sent, may rest.
        """
        connection = self._connection
        until = self.protocol.look(now, connection.wire, busy=bool(self.handling))
        if self.handling:
            return now - self.handling > TICK_S
        if until > now and not (connection.wire.writing or connection.over):
            connection.rests_until = min(until, now + REST_S)
        return False

    def hung_up(self) -> None:
        """
        Note that the client left while nobody reads.

        What it sent comes in; where that is not possible, the client is gone.
        """
        for inbox in self.protocol.inboxes():
            inbox.lift()
        if self._hung_up:
            self.tasks.spawn(self._lost)
        self._hung_up = True

    def goodbye(self) -> bool:
        """Say that no more requests are taken; True if the connection then ends by itself."""
        return self.protocol.goodbye()

    def close_websockets(self) -> bool:
        """Say 1012 at both ends of each open WebSocket; return whether there is one."""
        return self.protocol.close_websockets()
