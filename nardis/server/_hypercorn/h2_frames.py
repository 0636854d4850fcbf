"""
HTTP/2: late and broken frames end a stream, and nothing else.

Fault (hypercorn 0.18): DATA for a stream whose response is complete is a KeyError, a CONNECT without a path an
UnboundLocalError, a path with a byte above 127 a UnicodeDecodeError; each ends the trio worker, on asyncio the connection.

Cure: events are handled one by one. DATA for a stream that is gone is dropped (its connection window is given back), a request
that cannot be read is reset with PROTOCOL_ERROR (RFC 9113 §8.1.1). hypercorn closes a connection, under its open streams, after
1,000 requests, which bounds what a client can start and reset again and again (CVE-2023-44487); here one that does little else
is closed.
"""

from __future__ import annotations

from typing import Any, Final

import h2.errors
import h2.events
import h2.exceptions
from hypercorn.events import Closed, Event, RawData

from .h2_websockets import SocketsH2
from .websockets import HANDSHAKE_FIELDS

__all__ = ["SteadyH2"]


# Requests that a client may reset beyond half of all it makes.
SPARE_RESETS: Final = 100


class SteadyH2(SocketsH2):
    """HTTP/2 whose streams fail alone."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._resets = 0

    async def handle(self, event: Event) -> None:
        """Take what came from the socket; what cannot be HTTP/2 ends the connection, with GOAWAY."""
        if isinstance(event, RawData):
            try:
                events = self.connection.receive_data(event.data)
            except (h2.exceptions.ProtocolError, ValueError, KeyError):
                self.close_soon()
                return
            await self._handle_events(events)
        else:
            await super().handle(event)

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if self.closed:
                return
            try:
                await self._handle_event(event)
            except h2.exceptions.ProtocolError:
                return self.close_soon()  # a GOAWAY further on in what was read has ended the connection
        await self._flush()

    async def _handle_event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            await self.take_data(event)
        elif isinstance(event, h2.events.ConnectionTerminated):
            await self.send(Closed())
        else:
            if isinstance(event, h2.events.StreamReset):
                self._count_reset()
            await super()._handle_events([event])

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
    """Tell whether a request has what one needs; of CONNECT there is only that of WebSockets (RFC 8441 §4)."""
    pseudo = {name: value for name, value in fields if name[:1] == b":"}
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if method.upper() == b"CONNECT":  # as hypercorn compares it
        handshake_is_text = all(value.isascii() for name, value in fields if name in HANDSHAKE_FIELDS)
        if pseudo.get(b":protocol") != b"websocket" or not handshake_is_text:
            return False
    return method.isascii() and path.isascii() and path[:1] in (b"/", b"*")
