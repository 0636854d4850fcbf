"""
Which HTTP a connection speaks: HTTP/1.1, or HTTP/2 if TLS agreed on it or the client begins so.

Fault (hypercorn 0.18): cleartext HTTP/2 cannot be switched off, and an `Upgrade: h2c` with settings
that are no base64 ends the trio worker.

Cure: `Config(http2=False)` serves HTTP/1.1 alone; an upgrade is ignored unless its settings can be
read (RFC 9113 §3.1 takes the upgrade back, and a server need not heed it: RFC 9110 §7.8).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from hypercorn.events import Event, RawData
from hypercorn.protocol.h11 import H2CProtocolRequiredError
from hypercorn.protocol.ws_stream import ASGIWebsocketState
from hypercorn.typing import ConnectionState, TaskGroup, WorkerContext

from ..config import Config
from ..stream import Stream
from .h1 import H1
from .h2 import H2
from .inbox import Inbox, SpawnsApps, inbox_of
from .settings import Settings
from .speech import Line
from .websockets import WebSocket

__all__ = ["Protocols"]

Address = tuple[str, int] | None


class Protocols:
    """The switch between the protocols; it stands where hypercorn has its `ProtocolWrapper`."""

    def __init__(
        self,
        app: Any,
        settings: Settings,
        context: WorkerContext,
        tasks: TaskGroup,
        state: ConnectionState,
        ssl: bool,
        client: Address,
        server: Address,
        send: Callable[[Event], Awaitable[None]],
        alpn: str | None,
        config: Config,
        line: Line,
    ) -> None:
        self._arguments = (app, settings, context, tasks, state, ssl, client, server, send)
        self._config = config
        self._tasks = cast("SpawnsApps", tasks)
        self.protocol: H1 | H2 = (
            H2(*self._arguments, config) if alpn == "h2" else H1(*self._arguments, config, line)
        )

    @property
    def http2(self) -> bool:
        """Whether it is HTTP/2 by now."""
        return isinstance(self.protocol, H2)

    async def initiate(self) -> None:
        """Begin: HTTP/2 speaks first."""
        await self.protocol.initiate()

    def hear(self, data: bytes) -> Coroutine[Any, Any, None] | None:
        """
        Take what came from the socket.

        Return what is to be awaited then; None where all is done, as with most messages.
        """
        stream: Any = getattr(self.protocol, "stream", None)  # of HTTP/1.1
        if isinstance(stream, WebSocket) and stream.handshake.accepted:
            return stream.take(data)
        return self.handle(RawData(data))

    async def handle(self, event: Event) -> None:
        """Hand on what happened; what a client says first may change the protocol."""
        try:
            return await self.protocol.handle(event)
        except H2CProtocolRequiredError as error:
            data, headers, settings = error.data, error.headers, error.settings
        self.protocol = H2(*self._arguments, self._config)
        await self.protocol.initiate(headers, settings)
        if data:
            await self.protocol.handle(RawData(data))

    def inboxes(self) -> list[Inbox]:
        """List what the applications of this connection receive from."""
        protocol = self.protocol
        if isinstance(protocol, H2):
            found = map(inbox_of, protocol.streams.values())
            return [inbox for inbox in found if inbox is not None]
        inbox = inbox_of(protocol.stream)  # four times a second, of ten thousand WebSockets
        return [] if inbox is None else [inbox]

    def streams(self) -> list[Any]:
        """List hypercorn's streams that are open."""
        protocol = self.protocol
        if isinstance(protocol, H2):
            return list(protocol.streams.values())
        return [] if protocol.stream is None else [protocol.stream]

    def hears_to_the_end(self) -> bool:
        """Whether there is a WebSocket whose client may have said how it ends."""
        return any(isinstance(stream, WebSocket) and stream.is_open() for stream in self.streams())

    def close_websockets(self) -> bool:
        """
        Say 1012 at both ends of each open WebSocket; return whether there is one.

        Then the connection goes on for them, and the other calls on it are cancelled one by one.
        """
        websockets = [
            each
            for each in self.streams()
            if isinstance(each, WebSocket) and each.state is ASGIWebsocketState.CONNECTED
        ]
        for each in websockets:
            each.restart()
        if websockets:
            self._tasks.cancel_calls({each.inbox for each in websockets})
        return bool(websockets)

    def look(self, now: float, wire: Stream, *, busy: bool) -> float:
        """
        Look after the WebSockets; *busy* says that nobody reads what their clients say.

        Return the time before which nothing can be due; 0.0 is the next tick.
        """
        protocol = self.protocol
        if isinstance(protocol, H2):
            sent = wire.sent + protocol.unsent
            for stream in tuple(protocol.streams.values()):
                if isinstance(stream, WebSocket):
                    stream.look(now, now if busy else stream.heard(now), sent, wire)
        elif isinstance(protocol.stream, WebSocket):
            return protocol.stream.look(now, now if busy else wire.read_at, wire.sent, wire)
        return 0.0

    def is_unfinished(self) -> bool:
        """Whether a response has begun and not ended."""
        return isinstance(self.protocol, H1) and self.protocol.is_unfinished()

    def goodbye(self) -> bool:
        """Say that no more requests are taken; True if the connection then ends by itself."""
        return self.protocol.goodbye()
