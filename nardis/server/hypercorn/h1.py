"""
HTTP/1.1.

Faults (hypercorn 0.18): a request head of 70 KiB passes a limit of 16, because only an incomplete
one is measured; `Upgrade: h2c` with unreadable settings ends the trio worker, and so does a
WebSocket message that comes with its handshake; an HTTP/1.0 response that was cut looks whole; `100
Continue` leaves before the application can refuse the body; and a denied WebSocket is not told that
the connection closes, or twice.

Cure: heads are measured when they are complete, too; an upgrade that cannot be read is ignored, and
such a message refused; a response that only the end of the connection would end is cut by a reset;
the client is invited to go on when the application first asks for the body (RFC 9110 §10.1.1); all
answers to a handshake but 101 say `connection: close`, once (RFC 9112 §9.6).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, cast

import h2.connection
import h11
from h2.config import H2Configuration
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Request, Response
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import ConnectionState, H11SendableEvent, TaskGroup, WorkerContext

from ..config import Config
from .inbox import found_inbox
from .pieces import Pieces
from .settings import Settings
from .websockets import HANDSHAKE_FIELDS, awaits_answer, give_up, new_websocket

__all__ = ["H1"]

# The connection ends after this answer (RFC 9112 §9.6).
CLOSE: Final = (b"connection", b"close")

# From this size on a piece is not copied to stand between its chunk's size and end.
LARGE_BYTES: Final = 16 * 1024


class _Refused(Exception):
    """The request was answered, and the connection closed, without the application."""


class _Patient(h11.Connection):
    """A connection that sends no `100 Continue` by itself, and has an end also while paused."""

    over = False

    def next_event(self) -> Any:
        """Return the next event; once it is over, that the client has closed."""
        return h11.ConnectionClosed() if self.over else super().next_event()

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        """Say no; who wants to know asks `client_is_waiting_for_100_continue`."""
        return False


class H1(H11Protocol):
    """One HTTP/1.1 connection."""

    def __init__(
        self,
        app: Any,
        settings: Settings,
        context: WorkerContext,
        tasks: TaskGroup,
        state: ConnectionState,
        ssl: bool,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        send: Callable[[Event], Awaitable[None]],
        config: Config,
    ) -> None:
        super().__init__(app, settings, context, tasks, state, ssl, client, server, send)
        self.connection = _Patient(h11.SERVER, max_incomplete_event_size=config.head_bytes)
        self._http2 = config.http2
        self._head_bytes = config.head_bytes

    async def handle(self, event: Event) -> None:
        """Take what came from the socket."""
        try:
            stream = self.stream
            if (
                isinstance(event, RawData)
                and isinstance(stream, WSStream)
                and not stream.handshake.accepted
            ):
                if awaits_answer(stream):
                    await self._refuse_early_message(stream)
                return  # it is being denied: what the client says is of no matter
            await super().handle(event)
        except _Refused:
            await self.send(Closed())
        if isinstance(event, Closed) and isinstance(self.connection, _Patient):
            # A pipelined request may wait for its turn, and the task that reads with it (hypercorn
            # 0.18 leaves both for ever).
            self.connection.over = True
            await self.can_read.set()

    async def _check_protocol(self, event: h11.Request) -> None:
        size = len(event.target)
        upgrade = settings = b""
        handshake_is_text = True
        for name, value in event.headers:
            size += len(name) + len(value) + 4
            if name == b"upgrade":
                upgrade = value.lower()
            elif name == b"http2-settings":
                settings = value
            elif name in HANDSHAKE_FIELDS:
                handshake_is_text = handshake_is_text and value.isascii()
        if size > self._head_bytes:
            await self._refuse(431)
        if upgrade == b"websocket" and not handshake_is_text:
            await self._refuse(400)  # wsproto cannot read it
        is_preface = (
            event.method == b"PRI" and event.target == b"*" and event.http_version == b"2.0"
        )
        if is_preface and not self._http2:
            await self._refuse(505)
        if event.method == b"CONNECT" or (event.method == b"PRI" and not is_preface):
            await self._refuse(
                501
            )  # an application cannot be a tunnel; PRI is no method of anybody's (RFC 9113 §11.6)
        upgrades = (
            upgrade == b"h2c" and self._http2 and event.target[:1] == b"/" and _readable(settings)
        )
        if is_preface or upgrades:
            await super()._check_protocol(event)

    async def _create_stream(self, request: h11.Request) -> None:
        if _opens_websocket(request):
            return await self._create_websocket(request)
        await super()._create_stream(request)
        if (
            isinstance(self.connection, h11.Connection)
            and self.connection.client_is_waiting_for_100_continue
        ):
            found_inbox(self.stream).asked = self._invite

    async def _create_websocket(self, request: h11.Request) -> None:
        stream = new_websocket(self, STREAM_ID)
        self.stream: Any = stream
        connection = H11WSConnection(cast(h11.Connection, self.connection))
        self.connection: Any = connection
        await stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method="GET",
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1
        await self.context.mark_request()
        if connection.buffer and not stream.closed:
            await self._refuse_early_message(stream)

    async def stream_send(self, event: StreamEvent) -> None:
        """Take an application's message; the answer to a handshake decides about the connection."""
        if not isinstance(event, Response) or not isinstance(self.stream, WSStream):
            await super().stream_send(event)
        elif event.status_code == 101:
            await self._send_h11_event(
                h11.InformationalResponse(status_code=101, headers=[*event.headers, *self._ours()])
            )
        else:
            fields = [each for each in event.headers if each[0].lower() != b"connection"]
            await self._send_h11_event(
                h11.Response(status_code=event.status_code, headers=[*fields, *self._ours(), CLOSE])
            )

    def _ours(self) -> list[tuple[bytes, bytes]]:
        """Return the fields of each answer, without the news that the connection ends."""
        return [each for each in self.config.response_headers("h11") if each != CLOSE]

    async def _invite(self) -> None:
        """Ask the client for the body that it holds back, unless it does not any more."""
        if (
            isinstance(self.connection, h11.Connection)
            and self.connection.client_is_waiting_for_100_continue
        ):
            await self._send_h11_event(h11.InformationalResponse(status_code=100, headers=[]))

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        connection = self.connection
        if (
            not isinstance(event, h11.Data)
            or len(event.data) < LARGE_BYTES
            or not isinstance(connection, h11.Connection)
        ):
            return await super()._send_h11_event(event)
        pieces = None
        with suppress(h11.LocalProtocolError):
            # What h11 joins would be one more copy of the piece, held for as long as the client
            # takes.
            pieces = connection.send_with_data_passthrough(event)
        if pieces is None:
            await super()._send_h11_event(event)  # which knows whether that is an error
        else:
            await self.send(Pieces(pieces))

    async def _refuse_early_message(self, stream: WSStream) -> None:
        """
        Refuse what a client says before the handshake is answered (RFC 6455 §4.1).

        The application learns that the client left.
        """
        give_up(stream)
        await self._refuse(400)

    async def _send_error_response(self, status_code: int) -> None:
        fields = [(b"content-length", b"0"), *self._ours(), CLOSE]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=fields))
        await self._send_h11_event(h11.EndOfMessage())

    async def _refuse(self, status: int) -> None:
        await self._send_error_response(status)
        raise _Refused

    def is_unfinished(self) -> bool:
        """Whether a response has begun and not ended."""
        return (
            isinstance(self.connection, h11.Connection)
            and self.connection.our_state is h11.SEND_BODY
        )

    def ends_by_closing(self) -> bool:
        """Whether the end of the connection is the end of a response (RFC 9112 §8)."""
        return (
            isinstance(self.connection, h11.Connection)
            and (self.connection.their_http_version or b"1.0") < b"1.1"
        )

    def goodbye(self) -> bool:
        """Say nothing: responses do, by `connection: close`."""
        return False


def _opens_websocket(request: h11.Request) -> bool:
    """Whether a request opens a WebSocket, by hypercorn's rule: the last of each field counts."""
    upgrade = connection = ""
    for name, value in request.headers:
        if name == b"upgrade":
            upgrade = value.decode("latin-1").strip().lower()
        elif name == b"connection":
            connection = value.decode("latin-1").lower()
    if upgrade != "websocket" or request.method.upper() != b"GET":
        return False
    return any(token.strip() == "upgrade" for token in connection.split(","))


def _readable(settings: bytes) -> bool:
    """Whether an upgrade to HTTP/2 would work."""
    try:
        h2.connection.H2Connection(H2Configuration(client_side=False)).initiate_upgrade_connection(
            settings
        )
    except Exception:  # whatever a client can make h2 raise
        return False
    return True
