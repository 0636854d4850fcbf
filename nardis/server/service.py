"""
What all connections share, and what is done with each of them.

A fault in one connection, or in one application that is told of the shutdown, reaches nothing else.
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextlib import contextmanager
from functools import partial
from socket import socket
from typing import Any, Final, Protocol

import anyio

from .._failures import explained, failure_of, parted
from ..types import ASGIApp, Receive, Scope, Send
from .config import Config
from .hypercorn.settings import Settings
from .stream import clock

__all__ = ["DRAIN_IDLE_S", "TICK_S", "Connected", "Service", "log_fault", "logger", "run_app"]

logger: logging.Logger = logging.getLogger("nardis.server")

# How often connections are looked at. The application's own sweep (`_exchange`) looks at requests,
# under any server; this one looks at sockets, for any application.
TICK_S: Final = 0.25

# A tick that takes so long was held up by something that kept the event loop.
LATE_S: Final = 1.5 * TICK_S

# A client that has not asked for anything may be about to when a shutdown begins: it is waited for.
DRAIN_IDLE_S: Final = 0.5

# Linux tells by it that the peer has closed its sending half, without anybody reading.
HANG_UP: Final[int] = getattr(select, "POLLRDHUP", 0)

# Linux alone can be asked once about many sockets, at no cost for those of which there is no news.
EPOLL: Final[bool] = hasattr(select, "epoll")


class Connected(Protocol):
    """
    What is done with a connection.

    Attributes:
        rests_until: Nothing can be due before then, if its client does not leave; 0.0 is at each
            tick.
    """

    rests_until: float

    @property
    def socket(self) -> socket:
        """Its socket."""
        ...

    def look(self, now: float, /) -> bool:
        """Enforce the limits; return True if the kernel has to be asked for its hang-up."""
        ...

    def is_closed(self) -> bool:
        """Whether the socket is closed."""
        ...

    def hung_up(self) -> None:
        """Note that the client left while nobody reads."""
        ...

    def say_goodbye(self) -> None:
        """Say that a shutdown has begun."""
        ...

    def interrupt(self) -> None:
        """Cancel what runs for it, unless an application looks after that."""
        ...

    def end(self) -> None:
        """Cut it, and cancel what runs for it."""
        ...


class Claimed(Protocol):
    """
    A call of the application.

    Attributes:
        claimed: A Nardis application looks after it, and has logged what it raises.
    """

    claimed: bool


class Service:
    """
    What all connections share.

    Attributes:
        app: The application.
        config: Ours.
        settings: hypercorn's.
        state: The lifespan's, copied for each request.
        connections: Those that are open.
        relieved: How to cancel each task whose connection another one has taken over.
        admitted: How many were accepted and have not ended; some may not have begun.
        calls: How many calls of the application are running.
        requests: How many there were.
        max_requests: How many may be, until the worker ends.
        enough: Set when there were as many.
        stopped: Set when the application cannot go on.
        draining: When a shutdown began; 0.0 before.
        interrupted: What runs is being cancelled.
        yielded: A call that sends has last given the event loop a turn then.
        call: Runs the application for one scope.
        lends: The application can be lent the scope of a connection's task.
        start: Starts a task that serves a client, and counts it as admitted.
        context: hypercorn's, by the worker: of a connection nothing is in it.
        innermost: Makes, in a task, what tells the cancel scope that it is in: it is another one
            after a call that has left a scope of its own open. It is told whether the task is
            being cancelled, by that scope.
    """

    def __init__(self, app: ASGIApp, config: Config, max_requests: int | None = None) -> None:
        self.app: ASGIApp = app
        self.config: Config = config
        self.settings: Settings = Settings(config)
        self.state: dict[str, Any] = {}
        self.connections: set[Connected] = set()
        self.relieved: dict[object, Callable[[], object]] = {}
        self.admitted: int = 0
        self.calls: int = 0
        self.requests: int = 0
        self.enough: anyio.Event = anyio.Event()
        self.stopped: anyio.Event = anyio.Event()
        self.draining: float = 0.0
        self.interrupted: bool = False
        self.yielded: float = 0.0
        self.call: ASGIApp = app
        self.lends: bool = False
        self.start: Callable[[Coroutine[Any, Any, None]], object]  # both by the worker
        self.context: Any = None
        self.innermost: Callable[[], Callable[[bool], object]]
        self.max_requests: int | None = max_requests
        self._hang_ups: select.epoll | None = None  # of connections that rest
        self._handshakes: set[anyio.CancelScope] = set()
        self._told: list[tuple[Callable[[float], object], Callable[[], object]]] = []

    @property
    def is_heard(self) -> bool:
        """Whether an application wants to hear of the shutdown: it looks after its requests."""
        return bool(self._told)

    def tell(self, drain: Callable[[float], object], interrupt: Callable[[], object], /) -> None:
        """Take an application that wants to hear of the shutdown; see `extensions.Runner`."""
        self._told.append((drain, interrupt))

    def lend_to(self, borrower: object, /) -> None:
        """Lend it the scope of each connection's task, if nothing stands around it."""
        self.lends = self.lends or borrower is self.app

    def stop(self) -> None:
        """Begin the shutdown, because the application cannot go on."""
        if not self.stopped.is_set():
            logger.error("the application cannot go on: stopping")
            self.stopped.set()

    def is_full(self) -> bool:
        """Whether there are as many connections as are allowed."""
        return self.admitted >= self.config.max_connections

    @contextmanager
    def handshake(self) -> Generator[None, None, None]:
        """Give up what the block does soon after a shutdown has begun: it leads to no request."""
        with anyio.CancelScope() as scope:
            self._handshakes.add(scope)
            if self.draining:
                self._hasten(scope)
            try:
                yield
            finally:
                self._handshakes.discard(scope)

    def _hasten(self, scope: anyio.CancelScope) -> None:
        scope.deadline = anyio.current_time() + DRAIN_IDLE_S

    def drain(self) -> None:
        """Begin to shut down: say so to the applications, and on every connection."""
        self.draining = clock()
        self.settings.draining = True
        self._tell_all([partial(self._hasten, scope) for scope in self._handshakes])
        self._tell_all(partial(drain, self.config.drain_s) for drain, _ in self._told)
        self._for_each(lambda connection: connection.say_goodbye())

    def interrupt(self) -> None:
        """Cancel what runs; an application that is told does it itself, WebSockets are told."""
        self.interrupted = True
        self._tell_all(interrupt for _, interrupt in self._told)
        self._tell_all(tuple(self.relieved.values()))
        self._for_each(lambda connection: connection.interrupt())

    def cut(self) -> None:
        """Cut all connections, and cancel what runs for them."""
        self._tell_all(interrupt for _, interrupt in self._told)
        self._tell_all(tuple(self.relieved.values()))
        self._for_each(lambda connection: connection.end())

    async def sweep(self) -> None:
        """Look at all connections, four times a second, until cancelled."""
        while True:
            began = clock()
            await anyio.sleep(TICK_S)
            if clock() - began > LATE_S:
                await anyio.sleep(TICK_S)  # others were held up too: they have their turn first
            self._tell_all([partial(self.look, clock())])

    def look(self, now: float) -> None:
        """Look at each connection that does not rest; *now* is in seconds of `time.monotonic`."""
        asked: dict[int, Connected] = {}

        def look_at(connection: Connected) -> None:
            if connection.look(now):
                if connection.is_closed():
                    connection.hung_up()
                elif connection.rests_until > now:
                    self._ask_for_hang_up(connection)
                else:
                    asked[connection.socket.fileno()] = connection

        due = [each for each in self.connections if each.rests_until <= now]
        self._for_each(look_at, due)
        gone = self._left_at_rest(now)
        if asked and HANG_UP:
            poll = select.poll()
            for number in asked:
                poll.register(number, HANG_UP)
            gone.update(asked[number] for number, _ in poll.poll(0))
        self._for_each(lambda connection: connection.hung_up(), gone)

    def _ask_for_hang_up(self, connection: Connected) -> None:
        """Have the kernel tell once when the client of a connection that rests has left."""
        try:
            if EPOLL:
                return self._register(connection)
        except OSError:  # no more files, or no more that may be asked about
            pass
        connection.rests_until = 0.0

    def _register(self, connection: Connected) -> None:
        if self._hang_ups is None:
            self._hang_ups = select.epoll()
        number, events = connection.socket.fileno(), HANG_UP | select.EPOLLONESHOT
        try:
            self._hang_ups.register(number, events)
        except FileExistsError:  # it rested before
            self._hang_ups.modify(number, events)

    def _left_at_rest(self, now: float) -> set[Connected]:
        """Return the connections that rest though their clients have left."""
        told = self._hang_ups.poll(0) if self._hang_ups is not None else ()
        numbers = {number for number, _ in told}
        return {
            each
            for each in (self.connections if numbers else ())
            if each.rests_until > now and not each.is_closed() and each.socket.fileno() in numbers
        }

    def _tell_all(self, calls: Iterable[Callable[[], object]]) -> None:
        """Make each call; a fault in one of them keeps nobody else from his."""
        for call in calls:
            try:
                call()
            except BaseException as exc:
                logger.error(
                    "a fault in the runner, or in an application that it tells of the shutdown",
                    exc_info=failure_of(exc),
                )

    def _for_each(
        self, act: Callable[[Connected], object], connections: Iterable[Connected] | None = None
    ) -> None:
        """Do something with each connection; a fault in one of them ends that one alone."""
        for connection in tuple(self.connections if connections is None else connections):
            try:
                try:
                    act(connection)
                except BaseException as exc:
                    log_fault(failure_of(exc))
                    self.connections.discard(connection)
                    connection.end()
            except BaseException as exc:
                failure_of(exc)  # not even its end goes well: it is forgotten


def log_fault(fault: BaseException | None) -> None:
    """Log a fault; a client can make as many as it likes, so a line is the rule."""
    logger.warning(
        "a fault ended a connection: %r",
        fault,
        exc_info=fault if logger.isEnabledFor(logging.DEBUG) else None,
    )


async def run_app(
    service: Service, scope: Scope, call: Claimed, receive: Receive, send: Send
) -> None:
    """Call the application for one scope; nothing but cancellation comes out."""
    service.calls += 1
    service.requests += 1
    if service.requests == service.max_requests:
        service.enough.set()
    try:
        await service.call(scope, receive, send)
    except BaseException as exc:
        going, failure = parted(exc)
        try:
            if failure is not None and not call.claimed:  # else the application has logged it
                path = scope["path"].encode("unicode_escape").decode()  # it may have line breaks
                text = "%s %s failed: %r"
                logger.error(text, scope["type"], path, failure, exc_info=explained(failure))
            if going is not None:
                raise going
        finally:
            del going, failure  # a circle: its traceback has this frame
    finally:
        service.calls -= 1
