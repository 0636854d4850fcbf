"""
HTTP/2: responses feel the client's window.

Fault (hypercorn 0.18): a stream's buffer lets its writer go on whenever a piece taken from it was
small, and the nothing that a shut window allows is small: 253 of 256 MiB went into memory for a
client that read none, and stayed there after it had left. What several tasks flush can also be lost
when one of them is cancelled while it waits for the socket.

Cure: nothing is buffered for a stream. What the window allows goes to the one task that writes to
the socket; the rest waits for the window, in the application's own `send`. PRIORITY is not heeded
any more (RFC 9113 §5.3.2): streams take turns.

A stream is stalled when its window took none of its bytes for `write_stall_s`: it is reset. Time in
which the socket is full does not count, because the connection has a limit of its own for that.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import anyio
import h2.errors
import h2.exceptions
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import (
    Body,
    Data,
    EndBody,
    EndData,
    InformationalResponse,
    Response,
    Trailers,
)
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.typing import ConnectionState, TaskGroup, WorkerContext

from ..config import Config
from .inbox import Inbox, found_inbox, inbox_of
from .settings import Settings

__all__ = ["ANSWERS_BYTES", "WindowedH2", "clock"]

clock: Callable[[], float] = time.monotonic

# Bytes on their way to the socket before an application that has more must wait.
OUT_BYTES: Final = 64 * 1024

# The same for the task that reads. Bodies never fill it, so a client that does not read is heard
# all the same, until it has asked for too many answers (to PING, SETTINGS).
ANSWERS_BYTES: Final = 4 * OUT_BYTES


class NoPriorities:
    """Stands where hypercorn keeps a tree of priorities, which fills up and has faults."""

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
        self.priority: Any = NoPriorities()
        self._out = bytearray()
        self._said_all = False
        self._wanted = anyio.Event()  # there is something to write
        self._written = anyio.Event()  # there is room again
        self._opened = anyio.Event()  # some window may have grown, or some stream ended

    # --- the one that writes ----------------------------------------------------------------------

    async def send_task(self) -> None:
        """Write to the socket what there is, to the end of the connection."""
        while True:
            pause_s = self.do_what_is_due()
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
                with anyio.move_on_after(pause_s):
                    await self._wanted.wait()

    def do_what_is_due(self) -> float | None:
        """Do what has waited for its time; return the seconds until the next, None for never."""
        return None

    def finished(self) -> bool:
        """Whether all was said, so that the connection can be closed."""
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

    async def _end_stream(self, stream_id: int, error: h2.errors.ErrorCodes) -> None:
        """Reset a stream, and tell its application that the client is gone."""
        self.reset(stream_id, error)
        await self._close_stream(stream_id)
        await self.send(Updated(idle=self.idle))

    def kick(self) -> None:
        """Wake the writing task: h2 has bytes for the client."""
        self._wanted.set()

    async def _flush(self, bound: int = OUT_BYTES) -> None:
        """Write the bytes that h2 has; wait while more than *bound* are on their way."""
        self._collect()
        self.kick()
        while len(self._out) > bound and not self.closed:
            if self._written.is_set():
                self._written = anyio.Event()
            await self._written.wait()

    async def handle(self, event: Event) -> None:
        """Take what came from the socket."""
        await super().handle(event)
        self._opened.set()
        self._written.set()
        self.kick()

    # --- those that wait for the window -----------------------------------------------------------

    async def stream_send(self, event: StreamEvent) -> None:
        """Take what an application sends."""
        stream_id = event.stream_id
        try:
            if isinstance(event, (Body, Data)):
                await self._send_body(stream_id, event.data)
            elif isinstance(event, (EndBody, EndData)):
                self.connection.end_stream(stream_id)
                await self._flush_for(stream_id)
            elif isinstance(event, Trailers):
                self.connection.send_headers(stream_id, event.headers, end_stream=True)
                await self._flush_for(stream_id)
            elif isinstance(event, (Response, InformationalResponse)):
                status = (b":status", b"%d" % event.status_code)
                self.connection.send_headers(
                    stream_id, [status, *event.headers, *self.config.response_headers("h2")]
                )
                await self._flush_for(stream_id)
            else:
                await super().stream_send(event)
        except h2.exceptions.ProtocolError:
            return  # the stream or the connection has ended: nobody hears any more

    @property
    def unsent(self) -> int:
        """How many bytes wait to be written."""
        return len(self._out)

    async def _send_body(self, stream_id: int, data: bytes) -> None:
        rest = memoryview(data)
        since = clock()
        try:
            while rest and not self.closed and stream_id in self.streams:
                inbox = found_inbox(self.streams[stream_id])
                room = min(self.connection.local_flow_control_window(stream_id), OUT_BYTES)
                if room <= 0:
                    await self._wait_for_window(stream_id, inbox, max(since, inbox.progressed))
                    continue
                if len(self._out) <= OUT_BYTES:  # else other streams have filled it
                    self._send_some(stream_id, rest[:room])
                    rest = rest[room:]
                    inbox.progressed = clock()
                await self._flush_for(stream_id)
                since = clock()
        except BaseException:
            if len(rest) < len(data):
                self.interrupted(stream_id, rest)
            raise

    def _send_some(self, stream_id: int, data: memoryview) -> None:
        """Give h2 what the window allows, in frames."""
        for start in range(0, len(data), self.connection.max_outbound_frame_size):
            end = start + self.connection.max_outbound_frame_size
            self.connection.send_data(stream_id, data[start:end].tobytes())

    def interrupted(self, stream_id: int, rest: memoryview) -> None:
        """Hear that a write was cancelled which has begun; *rest* was not sent."""

    def try_to_send(self, stream_id: int, data: bytes) -> bool:
        """Send a few bytes of a stream if there is room for them now; return whether it was so."""
        try:
            if self.closed or len(self._out) > OUT_BYTES:
                return False
            if self.connection.local_flow_control_window(stream_id) < len(data):
                return False
            self.connection.send_data(stream_id, data)
        except h2.exceptions.ProtocolError:  # the stream or the connection has ended
            return False
        self._collect()
        self.kick()
        return True

    async def _flush_for(self, stream_id: int) -> None:
        """Flush; what that takes is the socket's time, and none in which a window is shut."""
        inbox = inbox_of(self.streams.get(stream_id))
        if inbox is None:  # it is answered without an application
            return await self._flush()
        inbox.flushing = True
        try:
            await self._flush()
        finally:
            inbox.flushing = False
            if inbox.progressed:
                inbox.progressed = clock()

    async def _wait_for_window(self, stream_id: int, inbox: Inbox, since: float) -> None:
        """Wait until some window may have grown; reset the stream when it stalled for too long."""
        if self._opened.is_set():
            self._opened = anyio.Event()
        with anyio.move_on_after(since + self._write_stall_s - clock()) as scope:
            await self._opened.wait()
        if scope.cancelled_caught:
            inbox.stall()
            await self._end_stream(stream_id, h2.errors.ErrorCodes.CANCEL)

    async def _close_stream(self, stream_id: int) -> None:
        await super()._close_stream(stream_id)
        self.stream_buffers.pop(stream_id, None)
        self._opened.set()
        self.kick()
