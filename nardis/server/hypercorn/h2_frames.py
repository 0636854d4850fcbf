"""
HTTP/2: late and broken frames end a stream, and nothing else.

Faults (hypercorn 0.18): DATA for a stream whose response is complete is a KeyError, a CONNECT
without a path an UnboundLocalError, a path with a byte above 127 a UnicodeDecodeError; each ends
the trio worker, on asyncio the connection. A reset waits behind the frames that were read with it,
while the socket is full. h2 4.4 answers each late frame of a stream that was reset with one more
reset.

Cure: events are handled one by one, and none waits for the socket. DATA for a stream that is gone
is dropped (its connection window is given back). A request that cannot be read is reset with
PROTOCOL_ERROR (RFC 9113 §8.1.1), and so is one whose method or path is none: h2 does not look at
them. A stream is reset once; late frames are discarded (§5.1).
hypercorn closes a connection, under its open streams, after 1,000 requests, which bounds what a
client can start and reset again and again (CVE-2023-44487); here one that does little else is
closed.
"""

from __future__ import annotations

import re
from typing import Any, Final

import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from anyio.lowlevel import checkpoint
from h2.config import H2Configuration
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import EndBody
from hyperframe.frame import Frame, RstStreamFrame

from ..stream import TURN_S
from .h2_websockets import SocketsH2
from .h2_window import ANSWERS_BYTES, clock
from .handshakes import HANDSHAKE_FIELDS
from .inbox import found_inbox
from .websockets import WebSocket

__all__ = ["SteadyH2"]


# Of what was read h2 takes so much at once: with empty frames that is 5 ms, and 37 with all of it.
# In pieces of this size an upload costs h2 9 % more (4.4).
PIECE_BYTES: Final = 8 * 1024

# Requests that a client may reset beyond half of all it makes.
SPARE_RESETS: Final = 100

# Streams that are remembered to have been reset. Late frames come within a round trip, and not this
# many resets later.
RESETS: Final = 10_000

# A method is a token (RFC 9110 §9.1), and the longest of IANA's has 17 letters. A path has no
# blanks and no controls (RFC 9113 §8.3.1): they would stand in logs.
_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
_PATH: Final = re.compile(rb"[/*][!-~]*")


class _ResetsOnce(h2.connection.H2Connection):
    """h2's connection, from which at most one RST_STREAM leaves for each stream."""

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self._was_reset: dict[int, None] = {}  # the oldest first

    def _prepare_for_sending(self, frames: list[Frame]) -> None:
        super()._prepare_for_sending([frame for frame in frames if self._is_news(frame)])

    def _is_news(self, frame: Frame) -> bool:
        if not isinstance(frame, RstStreamFrame):
            return True
        if frame.stream_id in self._was_reset:
            return False
        self._was_reset[frame.stream_id] = None
        if len(self._was_reset) > RESETS:
            del self._was_reset[next(iter(self._was_reset))]
        return True


class SteadyH2(SocketsH2):
    """HTTP/2 whose streams fail alone."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        settings = self.connection.local_settings
        self.connection: Any = _ResetsOnce(self.connection.config)
        self.connection.local_settings = settings
        self._resets = 0

    async def handle(self, event: Event) -> None:
        """Take bytes from the socket; what cannot be HTTP/2 ends the connection, with GOAWAY."""
        if not isinstance(event, RawData):
            return await super().handle(event)
        for start in range(0, len(event.data), PIECE_BYTES):
            try:
                events = self.connection.receive_data(event.data[start : start + PIECE_BYTES])
            except (h2.exceptions.ProtocolError, ValueError, KeyError):
                return self.close_soon()
            await self._handle_events(events)
            if self.closed:
                return

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        turn_at = clock() + TURN_S
        for event in events:
            if self.closed:
                return
            if clock() > turn_at:
                await checkpoint()
                turn_at = clock() + TURN_S
            try:
                await self._handle_event(event)
            except h2.exceptions.ProtocolError:
                return (
                    self.close_soon()
                )  # a GOAWAY further on in what was read has ended the connection
        await self._flush(ANSWERS_BYTES)

    async def _handle_event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            await self.take_data(event)
        elif isinstance(event, h2.events.RequestReceived):
            await self._create_stream(event)
            await self.send(Updated(idle=self.idle))
        elif isinstance(event, h2.events.StreamEnded):
            self._to_stop.pop(event.stream_id, None)
            if stream := self.streams.get(event.stream_id):
                await stream.handle(EndBody(stream_id=event.stream_id))
        elif isinstance(event, h2.events.StreamReset):
            await self._take_reset(event.stream_id)
        elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
            self._opened.set()
        elif isinstance(event, h2.events.ConnectionTerminated):
            await self.send(Closed())

    async def _take_reset(self, stream_id: int) -> None:
        """End a stream in the very turn in which its reset was read."""
        self._to_stop.pop(stream_id, None)
        if stream_id in self.streams:  # else it has its answer, and only stops its upload
            stream = self.streams[stream_id]
            if not isinstance(stream, WebSocket):  # which may still find a Close frame
                found_inbox(stream).leave()
            if not (isinstance(stream, WebSocket) and stream.is_open()):
                self._count_reset()  # an open WebSocket ends so when its client vanishes
            await self._close_stream(stream_id)
            await self.send(Updated(idle=self.idle))

    def _count_reset(self) -> None:
        self._resets += 1
        if 2 * self._resets > SPARE_RESETS + self.keep_alive_requests:
            self.connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
            self.close_soon()

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        if not _readable(request.headers):
            self.reset(request.stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)
            return
        await super()._create_stream(request)


def _readable(fields: Any) -> bool:
    """Whether a request has what one needs; CONNECT is for WebSockets alone (RFC 8441 §4)."""
    pseudo = {name: value for name, value in fields if name[:1] == b":"}
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if method.upper() == b"CONNECT":  # as hypercorn compares it
        handshake_is_text = all(
            value.isascii() for name, value in fields if name in HANDSHAKE_FIELDS
        )
        if pseudo.get(b":protocol") != b"websocket" or not handshake_is_text:
            return False
    return bool(_METHOD.fullmatch(method) and _PATH.fullmatch(path))
