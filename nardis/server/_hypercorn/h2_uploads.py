"""
HTTP/2: an upload that nobody reads does not block the other streams.

Fault (hypercorn 0.18): the task that reads the socket waits until an application has taken what arrived, so that nothing else of
the connection is heard meanwhile: no WINDOW_UPDATE, no PING, no reset, no new stream. Both windows are given back together.

Cure: what arrives waits at its stream, bounded by the window of that stream, which is given back as the application takes (RFC
9113 §5.2). The connection's window is given back at once, so no stream can use it up.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, Final

import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hypercorn.protocol.events import Body

from .h2_honesty import HonestH2
from .inbox import inbox_of

__all__ = ["FairH2"]

# What a client may send ahead on each stream. At 100 ms round trip this allows 2.5 MiB/s; HTTP/2's own 64 KiB a quarter of it.
WINDOW_BYTES: Final = 256 * 1024

# The connection's window is given back as data arrives; it is only what may be on its way.
CONNECTION_WINDOW_BYTES: Final = 1024 * 1024
START_WINDOW_BYTES: Final = 2**16 - 1

# Small frames cost more memory than their bytes: beyond this a stream is ended (RFC 9113 §10.5).
WEIGHT_BYTES: Final = 8 * WINDOW_BYTES


class FairH2(HonestH2):
    """HTTP/2 whose streams do not wait for each other's applications."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connection.local_settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = WINDOW_BYTES
        self.connection.local_settings.acknowledge()

    async def initiate(self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None) -> None:
        """Begin, with a window for the connection that lets one stream use its own."""
        await super().initiate(headers, settings)
        self.connection.increment_flow_control_window(CONNECTION_WINDOW_BYTES - START_WINDOW_BYTES)
        self.kick()

    async def take_data(self, event: h2.events.DataReceived) -> None:
        """Take a piece of a body without waiting for anybody."""
        size = event.flow_controlled_length
        if size:
            self.connection.increment_flow_control_window(size)
        stream = self.streams.get(event.stream_id)
        inbox = inbox_of(stream)
        if stream is None or inbox is None:
            return  # the response is complete already
        inbox.bounded = False
        inbox.taken = partial(self._give_back, event.stream_id)
        inbox.owed += size
        await stream.handle(Body(stream_id=event.stream_id, data=event.data))
        if not event.data and inbox.owed:  # padding alone: no message will be taken for it
            inbox.owed -= size
            self._give_back(event.stream_id, size)
        if inbox.weight > WEIGHT_BYTES:
            await self._end_stream(event.stream_id, h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)

    async def _end_stream(self, stream_id: int, error: h2.errors.ErrorCodes) -> None:
        self.reset(stream_id, error)
        await self._close_stream(stream_id)

    def _give_back(self, stream_id: int, size: int) -> None:
        """Let the client send as much again."""
        with suppress(h2.exceptions.ProtocolError, ValueError):  # the stream has ended; or a size of none
            self.connection.increment_flow_control_window(size, stream_id)
            self.kick()
