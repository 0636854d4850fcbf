"""
HTTP/2: an upload that nobody reads does not block the other streams.

Faults (hypercorn 0.18): the task that reads the socket waits until an application has taken what
arrived, so that nothing else of the connection is heard meanwhile: no WINDOW_UPDATE, no PING, no
reset, no new stream. Both windows are given back together. A client that waits for `100 Continue`
waits for ever.

Cure: what arrives waits at its stream, bounded by the window of that stream, which is given back as
the application takes (RFC 9113 §5.2). The connection's window is given back at once, so no stream
can use it up. The client is invited to go on when the application first asks for the body (RFC 9110
§10.1.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import h2.events
import h2.exceptions
import h2.settings

from .h2_honesty import HonestH2
from .inbox import Inbox, found_inbox, inbox_of

__all__ = ["FairH2"]

# What a client may send ahead on each stream. At 100 ms round trip this allows 2.5 MiB/s; HTTP/2's
# own 64 KiB a quarter of it.
WINDOW_BYTES: Final = 256 * 1024

# The connection's window is given back as data arrives; it is only what may be on its way.
CONNECTION_WINDOW_BYTES: Final = 1024 * 1024
START_WINDOW_BYTES: Final = 2**16 - 1


class FairH2(HonestH2):
    """HTTP/2 whose streams do not wait for each other's applications."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connection.local_settings[h2.settings.SettingCodes.INITIAL_WINDOW_SIZE] = WINDOW_BYTES
        self.connection.local_settings.acknowledge()

    async def initiate(
        self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None
    ) -> None:
        """Begin, with a window for the connection that lets one stream use its own."""
        await super().initiate(headers, settings)
        self.connection.increment_flow_control_window(CONNECTION_WINDOW_BYTES - START_WINDOW_BYTES)
        self.kick()

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        await super()._create_stream(request)
        inbox = found_inbox(self.streams[request.stream_id])
        inbox.bounded = False
        inbox.taken = partial(self._give_back, request.stream_id)
        if _expects_100(request.headers):
            inbox.asked = partial(self._invite, request.stream_id, inbox)

    async def _invite(self, stream_id: int, inbox: Inbox) -> None:
        """Ask the client for the body that it holds back, unless that is over, or answered."""
        if stream_id in self.streams and stream_id not in self._accounts and not inbox.whole:
            with suppress(h2.exceptions.ProtocolError):  # the stream, or the connection, has ended
                self.connection.send_headers(stream_id, [(b":status", b"100")])
                await self._flush()

    async def take_data(self, event: h2.events.DataReceived) -> None:
        """Take a piece of a body without waiting for anybody."""
        size = event.flow_controlled_length
        if size:
            self.connection.increment_flow_control_window(size)
        stream = self.streams.get(event.stream_id)
        inbox = inbox_of(stream)
        if stream is None or inbox is None:
            return  # the response is complete already
        inbox.asked = None  # the client did not wait to be asked
        inbox.add(event.data, size)

    def _give_back(self, stream_id: int, size: int) -> None:
        """Let the client send as much again."""
        # The stream may have ended, and h2 may have forgotten it; to give back nothing is an error
        # (§6.9.1).
        with suppress(h2.exceptions.ProtocolError, KeyError, ValueError):
            self.connection.increment_flow_control_window(size, stream_id)
            self.kick()


def _expects_100(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in fields)
