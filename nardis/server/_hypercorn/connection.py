"""
One client's connection, as far as it is the same on both workers. It stands where hypercorn has its `TCPServer`.

Fault (hypercorn 0.18): an exception in one connection ends the whole trio worker; each pause between two requests costs a task
with a timer of its own, and nothing else has a limit: a client that stops reading, or stops sending half-way, stays for ever.

Cure: each connection notes when it began to read, to write, to wait; one sweep over all of them, four times a second, ends those
that took too long. An exception ends its connection alone.
"""

from __future__ import annotations

import logging
import select
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import anyio
from anyio.lowlevel import checkpoint
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.typing import ConnectionState, TaskGroup, WorkerContext
from hypercorn.utils import parse_socket_addr  # pyright: ignore[reportUnknownVariableType]  # partly annotated

from ..._types import ASGIApp, Message, Scope
from ...app import Nardis
from .._config import Config
from .inbox import Inbox
from .pieces import Pieces
from .protocol import Protocols
from .settings import Settings

__all__ = ["LINGER_S", "OVERLOAD_ANSWER", "READ_BYTES", "Connection", "Service", "clock", "contained", "readable", "run_app"]

logger: logging.Logger = logging.getLogger("nardis.server")

clock = time.monotonic

# One read of a socket.
READ_BYTES: Final = 64 * 1024

# How often connections are looked at.
TICK_S: Final = 0.25

# An application that only writes gives the others a turn this often.
TURN_S: Final = 0.001

# The extension of a scope by which a Nardis application can ask whether the client left, without a `receive`.
LEFT: Final = "nardis.left"

# An idle connection may have its next request on the way when a shutdown begins: it is waited for.
DRAIN_IDLE_S: Final = 0.5

# After our last byte, what the client still sends is read and dropped for this long, and up to this much: closing at once would
# reset the connection, and the client might lose the answer (RFC 9112 §9.6).
LINGER_S: Final = 1.0
LINGER_BYTES: Final = 4 * 1024 * 1024

# What a connection too many gets (RFC 9110 §15.6.4).
OVERLOAD_ANSWER: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 36\r\nconnection: close\r\n\r\ntoo many connections: try again soon"
)

# `close()` then resets the connection and drops what was not sent: it cannot be taken for a regular end.
RESET: Final = b"\x01\x00\x00\x00\x00\x00\x00\x00"

# Linux tells by it that the peer has closed its sending half, without anybody reading.
HANG_UP: Final[int] = getattr(select, "POLLRDHUP", 0)


class Service:
    """
    What all connections share.

    Attributes:
        app: The application.
        config: Ours.
        settings: hypercorn's.
        state: The lifespan's, copied for each request.
        connections: Those that are open.
        admitted: How many were accepted and have not ended; some may not have begun.
        calls: How many calls of the application are running.
        requests: How many there were.
        enough: Set when there were as many as `max_requests` allows.
        draining: When a shutdown began; 0.0 before.
        interrupted: What runs is being cancelled.
        call: Runs the application for one scope.
    """

    clock = staticmethod(time.monotonic)

    def __init__(self, app: ASGIApp, config: Config, max_requests: int | None = None) -> None:
        self.app: ASGIApp = app
        self.config: Config = config
        self.settings: Settings = Settings(config)
        self.state: dict[str, Any] = {}
        self.connections: set[Connection] = set()
        self.admitted: int = 0
        self.calls: int = 0
        self.requests: int = 0
        self.enough: anyio.Event = anyio.Event()
        self.draining: float = 0.0
        self.interrupted: bool = False
        self.call: ASGIApp = app
        self._max_requests = max_requests
        # A Nardis application looks after its bodies, and has logged what it raises.
        self.knows_limits: bool = isinstance(app, Nardis)

    def is_full(self) -> bool:
        """Tell whether there are as many connections as are allowed."""
        return self.admitted >= self.config.max_connections

    def count_request(self) -> None:
        """Count one more call; too many end the worker."""
        self.calls += 1
        self.requests += 1
        if self.requests == self._max_requests:
            self.enough.set()

    def drain(self) -> None:
        """Begin to shut down: say so on every connection."""
        self.draining = clock()
        self.settings.draining = True
        for connection in tuple(self.connections):
            connection.protocol.goodbye()

    def interrupt(self) -> None:
        """Tell WebSockets that it is over; cancel what else runs, unless the application does that."""
        self.interrupted = True
        for connection in tuple(self.connections):
            if connection.protocol.websockets():
                connection.tasks.spawn(connection.protocol.close_websockets)
            elif not self.knows_limits:
                connection.cancel()

    def cut(self) -> None:
        """Cut all connections, and cancel what runs for them."""
        for connection in tuple(self.connections):
            connection.cut()
            connection.cancel()

    async def sweep(self) -> None:
        """Look at all connections, four times a second, until cancelled."""
        while True:
            await anyio.sleep(TICK_S)
            self.look(clock())

    def look(self, now: float) -> None:
        """Look at each connection once; *now* is in seconds of `time.monotonic`."""
        blocked = [connection for connection in tuple(self.connections) if connection.look(now)]
        gone = [connection for connection in blocked if connection.is_closed()]
        asked = {connection.socket.fileno(): connection for connection in blocked if not connection.is_closed()}
        if asked and HANG_UP:
            poll = select.poll()
            for number in asked:
                poll.register(number, HANG_UP)
            gone += [asked[number] for number, _ in poll.poll(0)]
        for connection in gone:
            connection.hung_up()


class Connection(ABC):
    """
    One client.

    Attributes:
        socket: Its socket.
        protocol: What speaks HTTP/1.1 or HTTP/2 with it.
        idle_since: No request is under way since then; 0.0 while one is.
        writing: A write is pending since then; 0.0 is none.
        handling: What was read is being worked on since then; 0.0 while the client is waited for.
        ending: Our side is closed since then; 0.0 is not.
    """

    socket: Any  # each event loop has its own class for it
    protocol: Protocols
    tasks: Any  # hypercorn's annotation of `spawn` is incomplete

    def __init__(self, service: Service) -> None:
        self.service: Service = service
        self.idle_since: float = clock()
        self.head_since: float = 0.0
        self.read_at: float = 0.0
        self.writing: float = 0.0
        self.handling: float = 0.0
        self.ending: float = 0.0
        self._dropped = 0
        self._hung_up = False

    # --- what the workers do each in its way --------------------------------------------------------------------------

    @abstractmethod
    async def _read(self) -> bytes:
        """Read some bytes; none is the end, however it came."""

    @abstractmethod
    async def _write(self, data: bytes) -> bool:
        """Send *data*; False says that the client is gone."""

    @abstractmethod
    async def _write_pieces(self, pieces: Sequence[bytes]) -> bool:
        """Send *pieces*, one after the other; False says that the client is gone."""

    @abstractmethod
    async def _finish(self) -> None:
        """Close our sending half, after what was written."""

    @abstractmethod
    def _has_unsent(self) -> bool:
        """Tell whether something that was written has not been sent."""

    @abstractmethod
    def _has_input(self) -> bool:
        """Tell whether something has arrived that `_read` has not given yet."""

    @abstractmethod
    def is_closed(self) -> bool:
        """Tell whether the socket is closed, or was lost."""

    @abstractmethod
    def close(self) -> None:
        """Close the socket."""

    @abstractmethod
    def cancel(self) -> None:
        """Cancel what runs for this connection."""

    # --- the conversation ---------------------------------------------------------------------------------------------

    async def converse(self, tasks: TaskGroup, context: WorkerContext, alpn: str | None, *, secure: bool) -> None:
        """Read what the client sends and hand it to the protocol, to the end."""
        self.tasks = tasks
        self.protocol = Protocols(
            self.service.app, self.service.settings, context, tasks, ConnectionState(self.service.state), secure,
            parse_socket_addr(self.socket.family, self.socket.getpeername()),
            parse_socket_addr(self.socket.family, self.socket.getsockname()),
            self.send, alpn, self.service.config,
        )  # fmt: skip
        self.service.connections.add(self)
        protocol = self.protocol
        await protocol.initiate()
        if self.service.draining:
            protocol.goodbye()
        while data := await self._read():
            self.read_at = now = clock()
            if self.ending:
                self._dropped += len(data)
                if self._dropped > LINGER_BYTES:
                    break
                continue
            if self.idle_since and not self.head_since:
                self.head_since = now
            self.handling = now
            await protocol.handle(RawData(data))
            self.handling = 0.0
        await protocol.handle(Closed())

    async def send(self, event: Event) -> None:
        """Do what the protocol wants done with the socket."""
        if isinstance(event, RawData):
            if event.data and not self.ending and not await self._write(event.data):
                await self._lost()
                self.close()
        elif isinstance(event, Pieces):
            if not self.ending and not await self._write_pieces(event.pieces):
                await self._lost()
                self.close()
        elif isinstance(event, Updated):
            self.head_since = 0.0
            self.idle_since = clock() if event.idle else 0.0
        elif not self.ending:
            self.ending = clock()
            if self.protocol.is_unfinished() and (self.protocol.ends_by_closing() or self._has_unsent()):
                self.cut()  # what was sent so far would look whole, or waits for a client that may not want it
            else:
                await self._finish()
            await self._lost()

    async def _lost(self) -> None:
        await self.protocol.handle(Closed())

    # --- limits -------------------------------------------------------------------------------------------------------

    def look(self, now: float) -> bool:
        """Enforce the limits; tell whether the client would have to be asked for its hang-up, because nobody reads."""
        config = self.service.config
        # When the time of those that may end by themselves is over, those that do not read have had theirs.
        stall_s = min(config.write_stall_s, LINGER_S) if self.service.interrupted else config.write_stall_s
        if self.writing and now - self.writing > stall_s:
            logger.info("a client read nothing for %s s: its connection is cut", stall_s)
            self.cut()
        elif self.ending:
            if now - self.ending > stall_s and self._has_unsent():
                self.cut()
            elif now - self.ending > LINGER_S:
                self.close()
        elif self.idle_since:
            idle_s = min(config.keep_alive_s, DRAIN_IDLE_S) if self.service.draining else config.keep_alive_s
            since = max(self.idle_since, self.service.draining)
            if self.head_since and not self.protocol.http2:
                idle_s, since = config.head_s, self.head_since
            # Its next request may have arrived while something else kept the event loop.
            if now - since > idle_s and not self._has_input() and not self.protocol.goodbye():
                self.close()
        elif self.handling:
            return now - self.handling > TICK_S
        elif not self.service.knows_limits and now - self.read_at > config.body_idle_s and self._waits_for_body():
            logger.info("a request body stopped arriving for %s s: its connection is closed", config.body_idle_s)
            self.cut()
        return False

    def _waits_for_body(self) -> bool:
        return any(inbox.waited_for and not inbox.whole for inbox in self.protocol.inboxes())

    def hung_up(self) -> None:
        """Take note that the client left while nobody reads: what it sent comes in, or it is gone if that is not possible."""
        for inbox in self.protocol.inboxes():
            inbox.lift()
        if self._hung_up:  # a pipelined request waits for its turn
            self.tasks.spawn(self._lost)
        self._hung_up = True

    def cut(self) -> None:
        """Reset the connection: nobody can take that for a regular end."""
        with suppress(OSError):  # it is closed already
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.close()


def readable(sock: Any) -> bool:
    """Tell whether there is something to read from *sock*."""
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def contained(connection: Connection) -> Generator[None, None, None]:
    """Let a fault end the connection and nothing else."""
    try:
        yield
    except* OSError:
        pass  # the client is gone
    except* Exception as faults:
        logger.warning("a fault ended a connection: %r", faults.exceptions, exc_info=_details(faults))
        connection.cut()
    finally:
        connection.service.connections.discard(connection)
        connection.close()


def _details(exc: Exception) -> Exception | None:
    """Give what is to be logged with a fault: a client can make as many as it likes, so a line is the rule."""
    return exc if logger.isEnabledFor(logging.DEBUG) else None


async def run_app(service: Service, scope: Scope, inbox: Inbox, send: Callable[[Message | None], Awaitable[None]]) -> None:
    """Call the application for one scope, and tell the protocol when it returned."""
    service.count_request()
    try:
        if service.knows_limits:
            scope["extensions"][LEFT] = inbox.has_left
            await service.call(scope, inbox.get, send)
        else:
            await service.call(scope, inbox.get, _Yielding(inbox, send))
    except Exception as exc:
        if not service.knows_limits:
            logger.error("%s %s failed: %r", scope["type"], scope["path"], exc, exc_info=exc)
    finally:
        service.calls -= 1
        await send(None)


class _Yielding:
    """
    A `send` that gives the event loop a turn.

    Fault (hypercorn 0.18): it returns without suspending where a client is gone, or fast, and one that writes in a loop
    then stops everything else. Nardis applications see to it themselves.
    """

    __slots__ = ("_inbox", "_send", "_yielded")

    def __init__(self, inbox: Inbox, send: Callable[[Message | None], Awaitable[None]]) -> None:
        self._inbox = inbox
        self._send = send
        self._yielded = clock()

    async def __call__(self, message: Message) -> None:
        await self._send(message)
        now = clock()
        if self._inbox.closed is not None or now - self._yielded > TURN_S:
            self._yielded = now
            await checkpoint()
