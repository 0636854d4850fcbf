"""
One client's connection, as far as it is the same on both workers; hypercorn's `TCPServer`.

Fault (hypercorn 0.18): an exception in one connection ends the whole trio worker; each pause
between two requests costs a task with a timer of its own, and nothing else has a limit: a client
that stops reading, or stops sending half-way, stays for ever.

Cure: each connection notes when it began to read, to write, to wait, and when its client last took
something; one sweep over all of them, four times a second, ends those that make no progress.
Whatever leaves a connection ends that one alone.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

import anyio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.typing import ConnectionState, TaskGroup, WorkerContext
from hypercorn.utils import parse_socket_addr  # pyright: ignore[reportUnknownVariableType]  # partly annotated

from ..._failures import parted
from ..tls import TLS
from .inbox import Inbox
from .pieces import Pieces
from .protocol import Protocols
from .service import TICK_S, Service, clock, log_fault, logger

__all__ = ["LINGER_S", "OVERLOAD_ANSWER", "READ_BYTES", "Connection", "contained", "readable"]


# One read of a socket.
READ_BYTES: Final = 64 * 1024

# An idle connection may have its next request on the way when a shutdown begins: it is waited for.
DRAIN_IDLE_S: Final = 0.5

# After our last byte, what the client still sends is read and dropped for this long: closing at
# once would reset the connection, and the client might lose the answer (RFC 9112 §9.6). In the
# clear nothing is read beyond this much, and the socket is held. Over TLS clients such as requests
# and urllib3 give an answer up when a write fails: all is read that comes in the time.
LINGER_S: Final = 1.0
LINGER_BYTES: Final = 4 * 1024 * 1024

# What a connection too many gets (RFC 9110 §15.6.4).
OVERLOAD_ANSWER: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n"
    b"content-type: text/plain; charset=utf-8\r\n"
    b"content-length: 36\r\nconnection: close\r\n\r\ntoo many connections: try again soon"
)

# `close()` then resets the connection and drops what was not sent: it cannot be taken for a regular
# end.
RESET: Final = b"\x01\x00\x00\x00\x00\x00\x00\x00"

# Linux counts the bytes that the peer's system took (tcpi_bytes_acked of struct tcp_info, since
# 4.1), also while one piece waits to be sent: where it does not, progress shows by the piece.
TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
TCP_INFO_BYTES: Final = 128
BYTES_ACKED: Final = struct.Struct("=120xQ")


class Connection(ABC):
    """
    One client.

    Attributes:
        socket: Its socket.
        protocol: What speaks HTTP/1.1 or HTTP/2 with it.
        idle_since: No request is under way since then; 0.0 while one is.
        writing: A write is pending since then; 0.0 is none.
        progressed: The client was last seen to take something then.
        handling: What was read is being worked on since then; 0.0 while the client is waited for.
        over: Nothing more is sent.
        ending: Our side is closed since then; 0.0 is not.
    """

    socket: Any  # each event loop has its own class for it
    protocol: Protocols
    tasks: Any  # hypercorn's annotation of `spawn` is incomplete

    def __init__(self, service: Service, tls: TLS | None = None) -> None:
        self.service: Service = service
        self.tls: TLS | None = tls
        self.idle_since: float = clock()
        self.head_since: float = 0.0
        self.read_at: float = 0.0
        self.writing: float = 0.0
        self.progressed: float = 0.0
        self.handling: float = 0.0
        self.over: bool = False
        self.ending: float = 0.0
        self._taken = 0
        self._hung_up = False

    # --- what the workers do each in its way ------------------------------------------------------

    @abstractmethod
    async def _receive(self) -> bytes:
        """Read some bytes from the socket; none is the end, however it came."""

    @abstractmethod
    async def _transmit(self, pieces: Sequence[bytes]) -> bool:
        """Send *pieces* in order, encrypted if need be; return False if the client is gone."""

    @abstractmethod
    async def _say(self) -> None:
        """Send what TLS itself has to say, unless a writer is at it: a reader waits for none."""

    @abstractmethod
    def _half_close(self) -> None:
        """Close our sending half, after what was written."""

    @abstractmethod
    def _unsent(self) -> int:
        """Return how many bytes were written that the system has not taken."""

    @abstractmethod
    def _has_input(self) -> bool:
        """Whether something has arrived that `_receive` has not given yet."""

    @abstractmethod
    def is_closed(self) -> bool:
        """Whether the socket is closed: its number may be another's by now."""

    @abstractmethod
    def close(self) -> None:
        """Close the socket."""

    @abstractmethod
    def cut(self) -> None:
        """Reset the connection: nobody can take that for a regular end."""

    @abstractmethod
    def cancel(self) -> None:
        """Cancel what runs for this connection."""

    # --- the conversation -------------------------------------------------------------------------

    async def shake_hands(self) -> bool:
        """Agree on TLS; False says that it failed, or took too long."""
        tls = self.tls
        if tls is None:
            return True
        with anyio.move_on_after(self.service.config.head_s), suppress(ssl.SSLError):
            try:
                while not tls.shake_hands():
                    await self._transmit(())
                    data = await self._receive()
                    if not data:
                        return False
                    tls.feed(data)
            finally:
                with anyio.CancelScope(shield=True, deadline=anyio.current_time() + LINGER_S):
                    await self._transmit(
                        ()
                    )  # the end of it, or the alert that says why there is none
            return True
        return False

    async def _read(self) -> bytes:
        """Read some bytes of what the client says; none is the end, however it came."""
        tls = self.tls
        if tls is None:
            return await self._receive()
        while (said := tls.decrypt()) is None:
            if tls.has_to_say:
                await self._say()
            data = await self._receive()
            if not data:
                return b""
            tls.feed(data)
        if tls.has_to_say:  # an alert
            await self._say()
        return said

    async def converse(self, tasks: TaskGroup, context: WorkerContext) -> None:
        """Read what the client sends and hand it to the protocol, to the end."""
        self.tasks = tasks
        self.protocol = Protocols(
            self.service.app,
            self.service.settings,
            context,
            tasks,
            ConnectionState(self.service.state),
            self.tls is not None,
            parse_socket_addr(self.socket.family, self.socket.getpeername()),
            parse_socket_addr(self.socket.family, self.socket.getsockname()),
            self.send,
            None if self.tls is None else self.tls.alpn,
            self.service.config,
        )
        self.service.connections.add(self)
        protocol = self.protocol
        await protocol.initiate()
        if self.service.draining:
            protocol.goodbye()
        while data := await self._read():
            if self.over:
                break
            self.read_at = now = clock()
            if self.idle_since and not self.head_since:
                self.head_since = now
            self.handling = now
            await protocol.handle(RawData(data))
            self.handling = 0.0
        if self.over:
            await self._linger()
        await protocol.handle(Closed())

    async def _linger(self) -> None:
        """Read and drop what the client still sends; the sweep closes the socket after LINGER_S."""
        dropped = 0
        while data := await self._receive():
            dropped += len(data)
            if dropped > LINGER_BYTES and self.tls is None:
                await anyio.sleep(LINGER_S)
                return

    async def send(self, event: Event) -> None:
        """Do what the protocol wants done with the socket."""
        if isinstance(event, RawData):
            if event.data and not self.over and not await self._transmit((event.data,)):
                await self._broken()
        elif isinstance(event, Pieces):
            if not self.over and not await self._transmit(event.pieces):
                await self._broken()
        elif isinstance(event, Updated):
            self.head_since = 0.0
            self.idle_since = clock() if event.idle else 0.0
        elif not self.over:
            self.over = True
            if self.protocol.is_unfinished() and (
                self.protocol.ends_by_closing() or self._unsent()
            ):
                # What was sent so far would look whole, or waits for a client that may not want it.
                self.cut()
            else:
                await self._finish(whole=not self.protocol.is_unfinished())
            self.ending = clock()
            await self._lost()

    async def _finish(self, *, whole: bool) -> None:
        """Close our sending half, after what was written; if *whole*, TLS says close_notify."""
        if self.tls is not None and whole:
            self.tls.close()
            await self._transmit(())
        self._half_close()

    async def _broken(self) -> None:
        """End what cannot be written to; a reader does it where a Close frame may still come."""
        if self.protocol.hears_to_the_end():
            for inbox in self.protocol.inboxes():
                inbox.lift()
        else:
            await self._lost()
            self.close()

    async def _lost(self) -> None:
        await self.protocol.handle(Closed())

    # --- limits -----------------------------------------------------------------------------------

    def look(self, now: float) -> bool:
        """
        Enforce the limits.

        Return True if nobody is reading this socket, so that the kernel has to be asked whether the
        client hung up.
        """
        if self.is_closed():
            return bool(self.handling)
        config = self.service.config
        # When the time of those that may end by themselves is over, those that do not read have had
        # theirs.
        stall_s = (
            min(config.write_stall_s, LINGER_S)
            if self.service.interrupted
            else config.write_stall_s
        )
        if self.writing or self.over:
            self._watch_progress(now)
        if self.writing and now - max(self.writing, self.progressed) > stall_s:
            self._stall(stall_s)
        elif self.over:
            if self.writing or self._unsent():
                if self.ending and now - max(self.ending, self.progressed) > stall_s:
                    self._stall(stall_s)
            elif self.ending and now - self.ending > LINGER_S:
                self.close()
        elif self.idle_since:
            idle_s = (
                min(config.keep_alive_s, DRAIN_IDLE_S)
                if self.service.draining
                else config.keep_alive_s
            )
            since = max(self.idle_since, self.service.draining)
            if self.head_since and not self.protocol.http2:
                idle_s, since = config.head_s, self.head_since
            # Its next request may have arrived while something else kept the event loop.
            if now - since > idle_s and not self._has_input() and not self.protocol.goodbye():
                self.close()
        elif self.handling:
            return now - self.handling > TICK_S
        elif now - self.read_at > config.body_idle_s and any(
            self._waits_for_body(each) for each in self.protocol.inboxes()
        ):
            logger.info(
                "a request body stopped arriving for %s s: its connection is closed",
                config.body_idle_s,
            )
            self.cut()
        return False

    def _watch_progress(self, now: float) -> None:
        """Note whether the client has taken something since the last look."""
        taken = self._count_taken()
        if taken != self._taken:
            self._taken = taken
            self.progressed = now
            for inbox in self.protocol.inboxes():
                if inbox.flushing or not self.protocol.http2:
                    inbox.progressed = now

    def _count_taken(self) -> int:
        """Return a number that changes when the client takes something."""
        info = b""
        if TCP_INFO is not None and self.socket.family != socket.AF_UNIX:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, TCP_INFO, TCP_INFO_BYTES)
        return (
            int(BYTES_ACKED.unpack_from(info)[0])
            if len(info) >= BYTES_ACKED.size
            else -self._unsent()
        )

    def _stall(self, seconds: float) -> None:
        """Cut a client that does not read; the applications that answer it learn the reason."""
        logger.info("a client took nothing for %s s: its connection is cut", seconds)
        for inbox in self.protocol.inboxes():
            inbox.stall()
        self.cut()

    def _waits_for_body(self, inbox: Inbox) -> bool:
        return inbox.waited_for and not inbox.whole and not inbox.claimed

    def hung_up(self) -> None:
        """
        Note that the client left while nobody reads.

        What it sent comes in; where that is not possible, the client is gone.
        """
        for inbox in self.protocol.inboxes():
            inbox.lift()
        if self._hung_up:  # a pipelined request waits for its turn
            self.tasks.spawn(self._lost)
        self._hung_up = True

    def say_goodbye(self) -> None:
        """Say that a shutdown has begun."""
        self.protocol.goodbye()

    def interrupt(self) -> None:
        """Tell WebSockets that it is over; cancel other calls, unless an application does."""
        if self.protocol.websockets():
            self.tasks.spawn(self.protocol.close_websockets)
        elif not self.service.is_heard or not all(each.claimed for each in self.protocol.inboxes()):
            self.cancel()

    def end(self) -> None:
        """Cut the connection, and cancel what runs for it."""
        self.cut()
        self.cancel()

    def _linger_away(self) -> None:
        """Let `close` drop what was not sent, so that the client learns that it was cut."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def readable(sock: Any) -> bool:
    """Whether there is something to read from *sock*."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def contained(connection: Connection) -> Generator[None, None, None]:
    """Let whatever leaves a connection, except its cancellation, end that connection alone."""
    try:
        yield
    except BaseException as exc:
        going, fault = parted(exc)
        if isinstance(fault, BaseExceptionGroup):
            fault = cast("BaseExceptionGroup[BaseException]", fault).split(OSError)[1]
        if fault is not None and not isinstance(fault, OSError):  # else the client is gone
            log_fault(fault)
            connection.cut()
        if going is not None:
            raise going  # noqa: B904  # it is in *exc*
    finally:
        connection.service.connections.discard(connection)
        connection.close()
