"""
WebSockets: who hears what when one ends (RFC 6455 §7).

Faults (hypercorn 0.18): the application hears 1006, whatever the client's Close frame said. A
broken rule ends the connection without a Close frame. A message that is too big gets a Close frame,
and the application is told nothing. Nor is it at a shutdown, which cuts an open WebSocket without a
word. An offer of compression that cannot be read, and a field that cannot be sent, are faults of
the connection.

Cure: the application hears the code and the reason of the client's Close frame, 1005 if there is
no code in it, the code of what was refused, and 1006 only if the client vanished (§7.1.5). A broken
rule is answered by one Close frame, and then the connection ends (§7.1.7). At a shutdown both sides
are told 1012, "service restart" (§7.4.2 and IANA's registry), and the client's Close frame ends it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

import anyio
from hypercorn.protocol.events import Data, EndBody, Event, Request, Response, StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, WSStream
from hypercorn.typing import ASGISendEvent, WebsocketAcceptEvent
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping, Pong
from wsproto.events import Event as Said
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, Frame, FrameProtocol
from wsproto.utilities import LocalProtocolError

from .inbox import found_inbox, inbox_of

__all__ = [
    "HANDSHAKE_FIELDS",
    "WebSocket",
    "awaits_answer",
    "close_websocket",
    "give_up",
    "new_websocket",
    "open_websockets",
]

# Registered with IANA after RFC 6455, and unknown to wsproto 1.3, which takes it for a broken rule.
BAD_GATEWAY: Final = 1014

# What wsproto reads as ASCII, or not at all.
HANDSHAKE_FIELDS: Final = (b"connection", b"sec-websocket-protocol", b"sec-websocket-extensions")


class _Frames(FrameProtocol):
    """The frames of one WebSocket; a Close frame may have each code that IANA registered."""

    def _process_close(self, frame: Frame) -> Frame:
        payload = bytes(frame.payload)  # type: ignore[arg-type]  # bytes, until it was processed
        if payload[:2] != struct.pack("!H", BAD_GATEWAY):
            return super()._process_close(frame)
        known = struct.pack("!H", CloseReason.NORMAL_CLOSURE) + payload[2:]
        processed = super()._process_close(frame._replace(payload=known))
        return processed._replace(payload=(BAD_GATEWAY, str(processed.payload[1])))


class WebSocket(WSStream):
    """
    One WebSocket, from its handshake to its end.

    Attributes:
        unwelcome: The client was not accepted, or broke a rule, and may still be sending.
        give_back: Called with the flow-controlled bytes that were worked on (HTTP/2).
    """

    give_back: Callable[[int], None]

    # hypercorn's annotations of these are incomplete
    buffer: Any
    task_group: Any

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.unwelcome: bool = True
        # HTTP/2 sends a frame in parts, as the window opens: no other frame may come between them.
        self._turn = anyio.Lock(fast_acquire=True)
        self._answers: dict[type[Said], Said] = {}
        self._answering = False
        self._unheard = bytearray()
        self._credit = 0
        self._hearing = False
        self._last: EndBody | StreamClosed | None = None

    def is_open(self) -> bool:
        """Whether it was accepted, and its end was not heard."""
        return self.handshake.accepted and not self.closed

    # --- from the client --------------------------------------------------------------------------

    async def handle(self, event: Event) -> None:
        """Take what came from the client, or the news that there is no client any more."""
        if isinstance(event, EndBody):
            self.unwelcome = False
        if self.closed:
            return
        if isinstance(event, (EndBody, StreamClosed)):
            if self._hearing:  # there may be a Close frame in what was not heard yet
                self._last = event
                found_inbox(self).lift()
            else:
                await self._vanish(event)
        elif isinstance(event, Request):
            await self._open(event)
        else:
            await super().handle(event)

    async def _open(self, event: Request) -> None:
        await super().handle(event)
        if self.closed:
            await self._over()  # hypercorn has refused the handshake, and would keep the stream

    def hear(self, data: bytes, credit: int) -> None:
        """Take a piece of *credit* flow-controlled bytes, without holding the connection up."""
        self._unheard += data
        self._credit += credit
        if not self._hearing:
            self._hearing = True
            self.task_group.spawn(self._hear)

    async def _hear(self) -> None:
        while self._credit and not self.closed:
            data, credit = bytes(self._unheard), self._credit
            self._unheard, self._credit = bytearray(), 0
            await super().handle(Data(stream_id=self.stream_id, data=data))
            self.give_back(credit)
        self._hearing = False
        if self._last is not None and not self.closed:
            await self._vanish(self._last)

    async def _vanish(self, event: EndBody | StreamClosed) -> None:
        """End what the client has left without a Close frame; a denial that has begun goes on."""
        if isinstance(event, StreamClosed):
            self.closed: bool = True
            self.tell(CloseReason.ABNORMAL_CLOSURE)
        elif awaits_answer(self):
            give_up(self)
            await self._send_error_response(400)
            await self._over()
        elif self.handshake.accepted:
            self.tell(CloseReason.ABNORMAL_CLOSURE)
            self.state = ASGIWebsocketState.CLOSED
            self.closed = True
            await self._over()

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                try:
                    self.buffer.extend(event)
                except FrameTooLargeError:
                    self.fail(
                        CloseReason.MESSAGE_TOO_BIG,
                        f"a message is larger than {self.buffer.max_length}",
                    )
                else:
                    if event.message_finished:
                        await found_inbox(self).put(self.buffer.to_message())
                        self.buffer.clear()
            elif isinstance(event, Ping):
                self.say(event.response())
            elif isinstance(event, CloseConnection):
                if self.connection.state in (
                    ConnectionState.REMOTE_CLOSING,
                    ConnectionState.CLOSED,
                ):
                    self._end(event)
                else:  # so wsproto tells of a broken rule
                    self.fail(event.code, event.reason or "")
            if self.closed:
                return

    def fail(self, code: int, reason: str) -> None:
        """Refuse what the client does: tell both sides why, and close (RFC 6455 §7.1.7)."""
        self.unwelcome = self._last is None
        self._end(CloseConnection(code=code, reason=reason))

    def _end(self, close: CloseConnection) -> None:
        self.tell(close.code, close.reason or "")
        self.state = ASGIWebsocketState.CLOSED
        self.closed = True
        self.buffer.clear()
        self.say(close.response())

    def tell(self, code: int, reason: str = "") -> None:
        """Let the application hear how it ended, after what came before; the first end counts."""
        inbox = inbox_of(self)
        if inbox is not None and inbox.closed is None:
            message = {"type": "websocket.disconnect", "code": int(code)}
            inbox.close({**message, "reason": reason} if reason else message)

    # --- to the client ----------------------------------------------------------------------------

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """Take what the application sends; what it sends after the end is dropped."""
        if self.is_open():
            if message is None:
                return await self._returned()
            if found_inbox(self).closed is not None:
                return
        await super().app_send(message)

    async def _returned(self) -> None:
        """Close what the application left open, after what is being said."""
        self.state = ASGIWebsocketState.CLOSED
        self.closed = True
        self._answers.setdefault(CloseConnection, CloseConnection(code=CloseReason.INTERNAL_ERROR))
        if not self._answering:
            await self._answer()

    async def _accept(self, message: WebsocketAcceptEvent) -> None:
        handshake = self.handshake
        handshake.extensions = [each for each in handshake.extensions or () if _is_readable(each)]
        status, fields, connection = handshake.accept(
            message.get("subprotocol"), message.get("headers", [])
        )
        # wsproto has no other door to its frames.
        extensions = connection._proto.extensions  # pyright: ignore[reportPrivateUsage]
        connection._proto = _Frames(client=False, extensions=extensions)  # pyright: ignore[reportPrivateUsage]
        self.connection = connection
        self.state = ASGIWebsocketState.CONNECTED
        self.unwelcome = False
        try:
            await self.send(Response(stream_id=self.stream_id, status_code=status, headers=fields))
        except Exception:  # whatever is wrong with the application's fields
            self.state: ASGIWebsocketState = ASGIWebsocketState.HANDSHAKE
            self.unwelcome = True
            handshake.accepted = False
            raise

    async def _send_wsproto_event(self, event: Said) -> None:
        async with self._turn:
            try:
                data = self.connection.send(event)
            except LocalProtocolError:
                return  # nothing may be said after a Close frame
            await self.send(Data(stream_id=self.stream_id, data=data))

    def say(self, event: Said) -> None:
        """Send what the protocol has to say by itself, without making the client's reader wait."""
        if isinstance(event, Pong):
            # One is enough for all Pings before it (RFC 6455 §5.5.3): a client cannot pile them up.
            self._answers[Pong] = event
        else:
            self._answers.setdefault(type(event), event)
        if not self._answering:
            self._answering = True
            self.task_group.spawn(self._answer)

    async def _answer(self) -> None:
        self._answering = True
        while self._answers:
            await self._send_wsproto_event(self._answers.pop(next(iter(self._answers))))
        self._answering = False
        if self.closed:
            await self._over()

    async def _over(self) -> None:
        await self.send(StreamClosed(stream_id=self.stream_id))


def _is_readable(offer: str) -> bool:
    """Whether wsproto can read an offer of compression; else it is declined (RFC 7692 §7.1)."""
    try:
        PerMessageDeflate().accept(offer)
    except ValueError:  # a size that is no number
        return False
    return True


def new_websocket(protocol: H11Protocol | H2Protocol, stream_id: int) -> WebSocket:
    """Make the stream of one more WebSocket, with what hypercorn gives to its own."""
    return WebSocket(
        protocol.app,
        protocol.config,
        protocol.context,
        protocol.task_group,
        protocol.ssl,
        protocol.client,
        protocol.server,
        protocol.stream_send,
        stream_id,
    )


def awaits_answer(stream: WSStream) -> bool:
    """Whether the application has neither accepted nor begun to deny the handshake."""
    return not stream.closed and stream.state is ASGIWebsocketState.HANDSHAKE


def give_up(stream: WSStream) -> None:
    """Let nothing more come of a handshake; the application learns that the client is gone."""
    stream.closed = True
    found_inbox(stream).close(
        {"type": "websocket.disconnect", "code": int(CloseReason.ABNORMAL_CLOSURE)}
    )


def open_websockets(streams: Iterable[object]) -> list[WebSocket]:
    """List those of hypercorn's *streams* that are WebSockets, and accepted."""
    return [
        each
        for each in streams
        if isinstance(each, WebSocket) and each.state is ASGIWebsocketState.CONNECTED
    ]


def close_websocket(stream: WebSocket) -> None:
    """Say 1012 to both sides."""
    stream.tell(CloseReason.SERVICE_RESTART, "the server restarts")
    stream.state = ASGIWebsocketState.CLOSED
    stream.say(CloseConnection(code=CloseReason.SERVICE_RESTART))
