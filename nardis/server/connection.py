"""
One client's connection: which conversation it has, what it is held to, and how it ends.

Each connection notes when it began to read, to write, to wait, and when its client last took
something; one sweep over all of them, four times a second, ends those that make no progress.
Whatever leaves a connection ends that one alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from socket import socket
from typing import Protocol, cast

import anyio

from .._failures import parted
from .byte_stream import ByteStream
from .service import DRAIN_IDLE_S, Service, log_fault, logger
from .stream import LINGER_BYTES, LINGER_S, Stream, clock

__all__ = ["Call", "Connection", "Conversation"]


class Call(Protocol):
    """
    One call of the application, as its connection sees it.

    Attributes:
        claimed: A Nardis application looks after its limits and its end.
    """

    claimed: bool

    @property
    def waits_since(self) -> float:
        """
        Since when the application waits for the rest of a body that nobody else looks after.

        0.0 while it does not.
        """
        ...

    def stall(self) -> None:
        """Hear that the connection is being cut because the client took nothing."""
        ...


class Conversation(Protocol):
    """What is spoken on a connection: HTTP/1.1, HTTP/2, or a WebSocket."""

    @property
    def multiplexed(self) -> bool:
        """Whether several requests may be under way at once."""
        ...

    async def converse(self) -> Conversation | None:
        """Speak to the end, or until another conversation takes over, which is returned."""
        ...

    def calls(self) -> Iterable[Call]:
        """List the calls that are under way."""
        ...

    def progressed(self, now: float) -> None:
        """Note that the client has taken something."""
        ...

    def look(self, now: float) -> bool:
        """
        Look after the calls; return whether nobody would hear the client leave.

        It is called four times a second.
        """
        ...

    def hung_up(self) -> None:
        """Note that the client left while nobody reads."""
        ...

    def goodbye(self) -> bool:
        """Say that no more requests are taken; True if the connection then ends by itself."""
        ...

    def close_websockets(self) -> bool:
        """
        Say 1012 at both ends of each open WebSocket; return whether there is one.

        If so, the calls beside them are cancelled too, unless an application looks after them.
        """
        ...


class Connection:
    """
    One client.

    Attributes:
        service: What all connections share.
        wire: Its socket.
        stream: Its bytes: the same, or a session of TLS above it.
        talk: What is spoken.
        idle_since: No request is under way since then; 0.0 while one is.
        head_since: The first byte of a head came then; 0.0 is none.
        progressed: The client was last seen to take something then.
        shift: How often another task has taken it over.
        behind: How many tasks that had it before are still at their calls.
        over: Nothing more is sent.
        ending: Our side is closed since then; 0.0 is not.
        cancel: Cancels what runs for it.
        rests_until: Nothing can be due before then; 0.0 is at each tick.
    """

    __slots__ = (
        "_taken",
        "behind",
        "cancel",
        "ending",
        "head_since",
        "idle_since",
        "over",
        "progressed",
        "rests_until",
        "service",
        "shift",
        "stream",
        "talk",
        "wire",
    )

    cancel: Callable[[], object]  # by the conversation

    def __init__(
        self,
        service: Service,
        wire: Stream,
        stream: ByteStream,
        first: Callable[[Connection], Conversation],
    ) -> None:
        self.service: Service = service
        self.wire: Stream = wire
        self.stream: ByteStream = stream
        self.idle_since: float = clock()
        self.head_since: float = 0.0
        self.progressed: float = 0.0
        self.shift: int = 0
        self.behind: int = 0
        self.over: bool = False
        self.ending: float = 0.0
        self.rests_until: float = 0.0
        self._taken = 0
        self.talk: Conversation = first(self)

    @property
    def socket(self) -> socket:
        """Its socket, to ask the system about."""
        return self.wire.socket

    @property
    def is_secure(self) -> bool:
        """Whether it speaks TLS."""
        return self.stream is not self.wire

    async def attend(self) -> None:
        """
        Talk with the client to the end, or until another task takes over.

        Nothing but cancellation comes out.
        """
        service, shift = self.service, self.shift
        talk: Conversation | None = self.talk
        try:
            with contained(self.wire, lambda: self.shift == shift):
                while talk is not None:
                    self.talk = talk
                    service.connections.add(self)
                    talk = await talk.converse()
        finally:
            if service.relieved.pop((self, shift), None) is not None:
                self.behind -= 1
            if self.shift == shift:
                service.connections.discard(self)
                self.wire.close()

    def change_shift(self) -> None:
        """
        Let another task take over: the one that has the connection is busy elsewhere.

        The service cancels that one at the shutdown, as it does with connections.
        """
        self.service.relieved[self, self.shift] = self.cancel
        self.behind += 1
        self.shift += 1
        self.service.start(self.attend())

    async def finish(self, *, whole: bool) -> None:
        """Send nothing more; *whole* says that nothing is missing."""
        if not self.over:
            self.over, self.rests_until = True, 0.0
            await self.stream.finish(whole=whole)
            self.ending = clock()

    async def linger(self, most: int = LINGER_BYTES) -> None:
        """
        Read and drop what the client still sends; the sweep closes the socket after LINGER_S.

        In the clear nothing is read beyond *most* bytes of it.
        """
        dropped = 0
        while data := await self.wire.read():
            dropped += len(data)
            if dropped > most and not self.is_secure:
                await anyio.sleep(LINGER_S)
                return

    # --- limits -----------------------------------------------------------------------------------

    def look(self, now: float) -> bool:
        """
        Enforce the limits.

        Return True if nobody is reading this socket, so that the kernel has to be asked whether the
        client hung up.
        """
        wire = self.wire
        if wire.closed:
            return self.talk.look(now)
        config = self.service.config
        # When the time of those that may end by themselves is over, those that do not read have had
        # theirs.
        stall_s = config.write_stall_s
        if self.service.interrupted:
            stall_s = min(stall_s, LINGER_S)
        if wire.fetching:  # nobody waits for the client
            self.progressed = now
            self.talk.progressed(now)
        elif wire.writing:
            self._watch_progress(now)
            if now - max(wire.writing, self.progressed) > stall_s:
                self._stall(stall_s)
                return False
        if self.over:
            if not wire.writing and self.ending and now - self.ending > LINGER_S:
                self.wire.close()
        elif self.idle_since:
            self._look_at_idle(now)
            return bool(self.head_since) and wire.may_miss_reset
        elif any(
            call.waits_since and now - max(call.waits_since, wire.read_at) > config.body_idle_s
            for call in self.talk.calls()
        ):
            logger.info(
                "a request body stopped arriving for %s s: its connection is closed",
                config.body_idle_s,
            )
            wire.cut()
        else:
            return self.talk.look(now) or wire.may_miss_reset
        return False

    def _look_at_idle(self, now: float) -> None:
        """Close a connection that has been idle for too long, or whose head takes too long."""
        config, service = self.service.config, self.service
        idle_s = min(config.keep_alive_s, DRAIN_IDLE_S) if service.draining else config.keep_alive_s
        since = max(self.idle_since, service.draining)
        if self.head_since and not self.talk.multiplexed:
            idle_s, since = config.head_s, self.head_since
        if now - since > idle_s:
            if self.wire.has_input():  # a request, while something else kept the event loop
                self.wire.read_anyway()  # or a reset that nobody was told of
            elif not self.talk.goodbye():
                self.wire.close()

    def _watch_progress(self, now: float) -> None:
        """Note whether the client has taken something since the last look."""
        taken = self.wire.taken()
        if taken != self._taken:
            self._taken = taken
            self.progressed = now
            self.talk.progressed(now)

    def _stall(self, seconds: float) -> None:
        """Cut a client that does not read; the applications that answer it learn the reason."""
        logger.info("a client took nothing for %s s: its connection is cut", seconds)
        for call in self.talk.calls():
            call.stall()
        self.wire.cut()

    # --- what the service wants -------------------------------------------------------------------

    def is_closed(self) -> bool:
        """Whether the socket is closed: its number may be another's by now."""
        return self.wire.closed

    def hung_up(self) -> None:
        """Note that the client left while nobody reads, or who reads was told of nothing."""
        if self.wire.reading:
            self.wire.read_anyway()
        else:
            self.talk.hung_up()

    def say_goodbye(self) -> None:
        """Say that a shutdown has begun."""
        self.talk.goodbye()

    def interrupt(self) -> None:
        """Tell WebSockets that it is over; cancel other calls, unless an application does."""
        self.rests_until = 0.0
        if self.talk.close_websockets():
            return
        begun = self.head_since and not self.talk.multiplexed  # half a head: no call will come
        if begun or not self.service.is_heard or not all(c.claimed for c in self.talk.calls()):
            self.cancel()

    def end(self) -> None:
        """Cut the connection, and cancel what runs for it."""
        self.wire.cut()
        self.cancel()


@contextmanager
def contained(wire: Stream, is_mine: Callable[[], bool]) -> Generator[None, None, None]:
    """
    Let whatever leaves a connection, except its cancellation, end that connection alone.

    If it is not the task's own any more, not even that: what is in disorder is the task.
    """
    try:
        yield
    except BaseException as exc:
        going, fault = parted(exc)
        if isinstance(fault, BaseExceptionGroup):
            fault = cast("BaseExceptionGroup[BaseException]", fault).split(OSError)[1]
        gone = fault is None or isinstance(fault, OSError)
        if not gone and is_mine():
            log_fault(fault)
            wire.cut()
        elif not gone:
            logger.debug("a task that another one has relieved ended badly", exc_info=fault)
        if going is not None:
            raise going  # noqa: B904  # it is in *exc*
