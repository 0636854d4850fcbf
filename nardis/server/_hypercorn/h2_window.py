"""
HTTP/2: responses feel the client's window.

Fault (hypercorn 0.18): a stream's buffer lets its writer go on whenever a piece taken from it was small, and the nothing that a
shut window allows is small: 253 of 256 MiB went into memory for a client that read none, and stayed there after it had left. What
several tasks flush can also be lost when one of them is cancelled while it waits for the socket.

Cure: nothing is buffered for a stream. What the window allows goes to the one task that writes to the socket; the rest waits for
the window, in the application's own `send`. PRIORITY is not heeded any more (RFC 9113 §5.3.2): streams take turns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import anyio
import h2.errors
import h2.events
import h2.exceptions
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Body, Data, EndBody, EndData, Trailers
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.typing import ConnectionState, TaskGroup, WorkerContext

from .._config import Config
from .settings import Settings

__all__ = ["WindowedH2"]

# Bytes on their way to the socket before whoever has more must wait.
OUT_BYTES: Final = 64 * 1024


class NoPriorities:
    """Stands where hypercorn keeps a tree of priorities, which fills up and has faults of its own."""

    def insert_stream(self, stream_id: int) -> None:
        """Take no notice."""

    def block(self, stream_id: int) -> None:
        """Take no notice."""


class WindowedH2(H2Protocol):
    """HTTP/2 with backpressure."""

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
        self._write_stall_s = config.write_stall_s
        self.priority = NoPriorities()  # type: ignore[assignment]
        self._out = bytearray()
        self._said_all = False
        self._wanted = anyio.Event()  # there is something to write
        self._written = anyio.Event()  # there is room again
        self._opened = anyio.Event()  # some window may have grown, or some stream ended

    # --- the one that writes ------------------------------------------------------------------------------------------

    async def send_task(self) -> None:
        """Write to the socket what there is, to the end of the connection."""
        while True:
            self._collect()
            if self._out and not self.closed:
                data, self._out = bytes(self._out), bytearray()
                self._written.set()
                await self.send(RawData(data))
            elif self.closed:
                return
            elif self.finished():
                await self.send(Closed())
            else:
                self._wanted = anyio.Event()
                await self._wanted.wait()

    def finished(self) -> bool:
        """Tell whether all was said, so that the connection can be closed."""
        return self._said_all

    def close_soon(self) -> None:
        """Close the connection after what is still to be written."""
        self._said_all = True
        self.kick()

    def _collect(self) -> None:
        self._out += self.connection.data_to_send()

    def reset(self, stream_id: int, error: h2.errors.ErrorCodes) -> None:
        """Reset a stream, unless it, or the connection, has ended."""
        with suppress(h2.exceptions.ProtocolError):
            self.connection.reset_stream(stream_id, error)

    def kick(self) -> None:
        """Have written, soon, what h2 has for the client."""
        self._wanted.set()

    async def _flush(self) -> None:
        """Have written what h2 has for the client; waits while too much is on its way."""
        self._collect()
        self.kick()
        while len(self._out) > OUT_BYTES and not self.closed:
            if self._written.is_set():
                self._written = anyio.Event()
            await self._written.wait()

    async def handle(self, event: Event) -> None:
        """Take what came from the socket."""
        await super().handle(event)
        self._opened.set()
        self._written.set()
        self.kick()

    # --- those that wait for the window -------------------------------------------------------------------------------

    async def stream_send(self, event: StreamEvent) -> None:
        """Take what an application sends."""
        stream_id = event.stream_id
        try:
            if isinstance(event, (Body, Data)):
                await self._send_body(stream_id, event.data)
            elif isinstance(event, (EndBody, EndData)):
                self.connection.end_stream(stream_id)
                await self._flush()
            elif isinstance(event, Trailers):
                self.connection.send_headers(stream_id, event.headers, end_stream=True)
                await self._flush()
            else:
                await super().stream_send(event)
        except h2.exceptions.ProtocolError:
            return  # the stream or the connection has ended: nobody hears any more

    async def _send_body(self, stream_id: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self.closed and stream_id in self.streams:
            room = min(self.connection.local_flow_control_window(stream_id), OUT_BYTES)
            if room <= 0:
                await self._wait_for_window(stream_id)
                continue
            for start in range(0, min(room, len(rest)), self.connection.max_outbound_frame_size):
                end = min(start + self.connection.max_outbound_frame_size, room)
                self.connection.send_data(stream_id, rest[start:end].tobytes())
            rest = rest[room:]
            await self._flush()

    async def _wait_for_window(self, stream_id: int) -> None:
        if self._opened.is_set():
            self._opened = anyio.Event()
        with anyio.move_on_after(self._write_stall_s) as scope:
            await self._opened.wait()
        if scope.cancelled_caught:
            self.reset(stream_id, h2.errors.ErrorCodes.CANCEL)
            await self._close_stream(stream_id)

    async def _window_updated(self, stream_id: int | None) -> None:
        self._opened.set()

    async def _close_stream(self, stream_id: int) -> None:
        await super()._close_stream(stream_id)
        self.stream_buffers.pop(stream_id, None)
        self._opened.set()
        self.kick()

    async def _priority_updated(self, event: h2.events.PriorityUpdated) -> None:
        pass
