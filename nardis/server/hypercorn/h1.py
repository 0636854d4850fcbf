"""
HTTP/1.1, as far as it leads to something else: the handshake of a WebSocket, the upgrade to HTTP/2.

Faults (hypercorn 0.18): a WebSocket message that comes with its handshake ends the trio worker, and
so does `Upgrade: h2c` with unreadable settings; a denied WebSocket is not told that the connection
closes, or twice, and no answer has a reason phrase. The content of a handshake is read as frames,
of a field that comes twice the last is read, and a client of another version is not told which is
spoken.

Cure: such a message is refused, and so is a handshake that announces content, whatever its length
(RFC 9110 §7.8: the switch comes after the content, and a party before us may count otherwise); an
upgrade that cannot be read is not for us; fields of a list are one list (§5.3); another version is
answered by 426 (RFC 6455 §4.4). All answers to a handshake but 101 say `connection: close`, once
(RFC 9112 §9.6).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any, Final

import h2.connection
import h11
from h2.config import H2Configuration
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Request, Response
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.typing import ConnectionState, TaskGroup, WorkerContext

from ..config import Config
from ..http1.request import RequestHead
from .handshakes import HANDSHAKE_FIELDS, VERSION, awaits_answer, give_up
from .settings import Settings
from .speech import Line
from .websockets import WebSocket, new_websocket

__all__ = ["H1", "opens_http2", "opens_websocket", "with_whole_lists"]

# The connection ends after this answer (RFC 9112 §9.6).
CLOSE: Final = (b"connection", b"close")

TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")


# What a 426 has to have (RFC 9110 §15.5.22).
UPGRADE: Final = (VERSION, (b"upgrade", b"websocket"), (b"connection", b"upgrade"))

# 16 bytes in base64 (RFC 6455 §4.1).
KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")

# Fields of a handshake that are a list, where hypercorn reads but one.
LISTS: Final = (b"connection", b"sec-websocket-protocol")

# h11 says none by itself.
REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}


class _Refused(Exception):
    """The request was answered, and the connection closed, without the application."""


class _Nobody:
    """Stands for the event of a reader that waits, where there is none."""

    async def set(self) -> None:
        """Do nothing."""


NOBODY: Final = _Nobody()


class H1(H11Protocol):
    """One connection that begins in HTTP/1.1."""

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
        line: Line,
    ) -> None:
        super().__init__(app, settings, context, tasks, state, ssl, client, server, send)
        # It was measured before it came here; this bound is on what h11 itself keeps.
        self.connection: Any = h11.Connection(
            h11.SERVER, max_incomplete_event_size=2 * config.head_bytes
        )
        self._line = line

    async def handle(self, event: Event) -> None:
        """Take what came from the socket."""
        try:
            stream = self.stream
            if isinstance(event, RawData) and isinstance(stream, WebSocket):
                if awaits_answer(stream):
                    await self._refuse_early_message(stream)
                return  # it is being denied: what the client says is of no matter
            await super().handle(event)
        except _Refused:
            await self.send(Closed())

    async def _create_stream(self, request: h11.Request) -> None:
        fields = list(request.headers)
        fault = _fault_of(fields)
        if fault is not None:
            await self._refuse(*fault)
        stream = new_websocket(self, STREAM_ID, self._line)
        self.stream: Any = stream
        connection = H11WSConnection(self.connection)
        self.connection = connection
        await stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=with_whole_lists(fields),
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
            answer = h11.InformationalResponse(
                status_code=101, reason=REASONS[101], headers=[*event.headers, *self._ours()]
            )
            try:
                await self._send_h11_event(answer)
            except BaseException:
                self._line.cut()  # h11 has done with it, and no frame may go out in its place
                raise
            # Nothing more is needed of these; ten thousand of them would take 60 MiB.
            self.connection.h11_connection = None
            self.can_read: Any = NOBODY
        else:
            fields = [each for each in event.headers if each[0].lower() != b"connection"]
            await self._send_h11_event(_answer(event.status_code, [*fields, *self._ours(), CLOSE]))

    def _ours(self) -> list[tuple[bytes, bytes]]:
        """Return the fields of each answer, without the news that the connection ends."""
        return [each for each in self.config.response_headers("h11") if each != CLOSE]

    async def _refuse_early_message(self, stream: WSStream) -> None:
        """
        Refuse what a client says before the handshake is answered (RFC 6455 §4.1).

        The application learns that the client left.
        """
        give_up(stream)
        await self._refuse(400)

    async def _answer(self, status: int, text: str, fields: Iterable[tuple[bytes, bytes]]) -> None:
        body = text.encode()
        size = (b"content-length", b"%d" % len(body))
        about = [*fields, TEXT, size] if body else [*fields, size]
        await self._send_h11_event(_answer(status, [*about, *self._ours(), CLOSE]))
        if body:
            await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())

    async def _refuse(
        self, status: int, text: str = "", fields: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        await self._answer(status, text, fields)
        raise _Refused

    def is_unfinished(self) -> bool:
        """Whether a response has begun and not ended."""
        return (
            isinstance(self.connection, h11.Connection)
            and self.connection.our_state is h11.SEND_BODY
        )

    def goodbye(self) -> bool:
        """Say nothing: responses do, by `connection: close`."""
        return False


def _answer(status: int, fields: list[tuple[bytes, bytes]]) -> h11.Response:
    return h11.Response(status_code=status, reason=REASONS.get(status, b""), headers=fields)


def _fault_of(
    fields: list[tuple[bytes, bytes]],
) -> tuple[int, str, tuple[tuple[bytes, bytes], ...]] | None:
    """Return why a handshake is refused: a status, what to say, fields; None if it is not."""
    if not all(value.isascii() for name, value in fields if name in HANDSHAKE_FIELDS):
        return 400, "a field of the handshake is not ASCII\n", ()  # wsproto cannot read it
    for name, value in fields:
        has_content = name in (b"transfer-encoding", b"expect")
        if has_content or (name == b"content-length" and value.strip(b"0")):
            return 400, "a handshake has no content\n", ()
    versions = [value for name, value in fields if name == b"sec-websocket-version"]
    if versions != [VERSION[1]]:
        return 426, "version 13 of the WebSocket protocol is spoken here\n", UPGRADE
    keys = [value for name, value in fields if name == b"sec-websocket-key"]
    if len(keys) != 1 or not KEY.fullmatch(keys[0]):
        return 400, "one Sec-WebSocket-Key of 16 bytes in base64 is needed\n", ()
    return None


def with_whole_lists(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Join the fields of a list where the first of them stands (RFC 9110 §5.3)."""
    whole: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in LISTS:
            whole[name] = whole[name] + b", " + value if name in whole else value
    return [
        (name, whole.pop(name) if name in LISTS else value)
        for name, value in fields
        if name not in LISTS or name in whole
    ]


def opens_websocket(request: RequestHead) -> bool:
    """Whether a request opens a WebSocket (RFC 6455 §4.1)."""
    return request.upgrade == b"websocket" and request.method == "GET"


def opens_http2(request: RequestHead) -> bool:
    """
    Whether a request goes over to HTTP/2, and that would work.

    RFC 9113 §3.1 takes this upgrade back, and a server need not heed it: RFC 9110 §7.8.
    """
    settings = dict(request.headers).get(b"http2-settings", b"")
    may = request.upgrade == b"h2c" and request.target[:1] == b"/" and request.length == 0
    return may and _readable(settings)


def _readable(settings: bytes) -> bool:
    """Whether an upgrade to HTTP/2 would work."""
    try:
        h2.connection.H2Connection(H2Configuration(client_side=False)).initiate_upgrade_connection(
            settings
        )
    except Exception:  # whatever a client can make h2 raise
        return False
    return True
