"""
WebSockets: their handshake, and who hears what when one ends (RFC 6455 §7).

Faults (hypercorn 0.18): the application hears 1006, whatever the client's Close frame said. A
broken rule ends the connection without a Close frame. A message that is too big gets a Close frame,
and the application is told nothing. Nor is it at a shutdown, which cuts an open WebSocket without a
word. An offer of compression that cannot be read, and a field that cannot be sent, are faults of
the connection. A message is inflated without a bound. A client that vanished is never found.

Cure: the application hears the code and the reason of the client's Close frame, 1005 if there is
no code in it, the code of what was refused, and 1006 only if the client vanished (§7.1.5). A broken
rule is answered by one Close frame, and then the connection ends (§7.1.7). At a shutdown both sides
are told 1012, "service restart" (§7.4.2 and IANA's registry), and the client's Close frame ends it.
It is waited for, for a while, also when the application has returned (§7.1.1). What is said once it
is accepted is `socket`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from hypercorn.protocol.events import EndBody, EndData, Event, Response, StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import ASGIWebsocketState, Handshake
from hypercorn.typing import ASGISendEvent, WebsocketAcceptEvent
from hypercorn.utils import UnexpectedMessageError

from ..service import logger
from ..stream import TURN_S, Stream, clock
from ..websocket.deflate import agree
from ..websocket.frames import (
    CLOSE,
    PING,
    PONG,
    Broken,
    Close,
    Control,
    Frames,
    close_payload,
    frame,
)
from .handshakes import VANISHED, VERSION, awaits_answer, give_up
from .inbox import BOUND_BYTES, Inbox, found_inbox, inbox_of
from .settings import Settings
from .speech import Line, Speech

__all__ = [
    "WebSocket",
    "new_websocket",
]

# The largest message, unless the application sets a bound.
MESSAGE_BYTES: Final = 16 * 1024 * 1024

# What is taken after our Close frame, or when the client has left and nothing holds it up any more:
# there may be a window of HTTP/2, or all that the kernel had, of messages that are larger in memory
# than on the wire. What comes behind is dropped.
LATE_BYTES: Final = 8 * BOUND_BYTES

# From our Close frame to the client's; and to the first byte of ours that it takes.
CLOSE_S: Final = 5.0

# Close codes (RFC 6455 §7.4.1 and IANA's registry).
NORMAL: Final = 1000
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012

RESTARTS: Final = "the server restarts"

# Stands for each handshake that is over.
ACCEPTED: Final = Handshake([], "1.1")
ACCEPTED.accepted = True

PING_FRAME: Final = frame(PING, b"")

# A member of an enumeration is looked up in 40 ns each time.
_CONNECTED: Final = ASGIWebsocketState.CONNECTED


class WebSocket(Speech):
    """
    One WebSocket, from its handshake to its end.

    Attributes:
        unwelcome: The client was not accepted, or broke a rule, and may still be sending.
        give_back: Called with the flow-controlled bytes that were worked on (HTTP/2).
        inbox: What its application receives from.
    """

    __slots__ = (
        "_closing_since",
        "_credit",
        "_frames",
        "_heard_at",
        "_hearing",
        "_is_left",
        "_last",
        "_late",
        "_pinged_at",
        "_pinged_to",
        "_taken",
        "_unheard",
        "give_back",
        "inbox",
        "unwelcome",
    )

    buffer: Any
    config: Settings
    handshake: Handshake
    over: bool
    give_back: Callable[[int], None]
    inbox: Inbox

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.unwelcome: bool = True
        self._frames: Frames | None = None  # what the client says, from the acceptance to the end
        self._unheard = bytearray()
        self._credit = 0
        self._hearing = False
        self._heard_at = 0.0  # something had last come on its stream then
        self._last: EndBody | StreamClosed | None = None
        self._closing_since = 0.0  # our Close frame was asked for then
        self._is_left = False  # its application has returned
        self._late = 0  # what was taken at its end, after our Close frame or the client's leave
        self._pinged_at = 0.0  # a Ping waits for anything to be heard
        self._pinged_to = 0  # it is among so many bytes of the connection
        self._taken = 0

    @property
    def idle(self) -> bool:
        """Whether nothing more is to come of it."""
        return self.closed

    def is_open(self) -> bool:
        """Whether it was accepted, and its end was not heard."""
        return self.handshake.accepted and not self.closed

    # --- from the client --------------------------------------------------------------------------

    async def handle(self, event: Event) -> None:
        """Take what came from the client, or the news that there is no client any more."""
        if isinstance(event, EndBody):
            self.unwelcome = False
        if self.closed:
            return
        if isinstance(event, (EndBody, StreamClosed)):
            if self._hearing:  # there may be a Close frame in what was not heard yet
                self._last = event
                self.inbox.lift()
            else:
                await self._vanish(event)
        else:
            await self._open(event)

    async def _open(self, event: Event) -> None:
        await super().handle(event)
        if self.closed:
            await self.end()  # hypercorn has refused the handshake, and would keep the stream
        else:
            self.inbox = found_inbox(self)

    async def _send_error_response(self, status_code: int) -> None:
        """Refuse a handshake; only one of HTTP/2 comes here with another version (`h1`)."""
        fields: list[tuple[bytes, bytes]] = [(b"content-length", b"0")]
        if self.handshake.version != VERSION[1]:
            fields.append(VERSION)
        await self.send(Response(stream_id=self.stream_id, status_code=status_code, headers=fields))
        await self.send(EndBody(stream_id=self.stream_id))

    def take(self, data: bytes) -> Coroutine[Any, Any, None] | None:
        """
        Work on what has arrived; return what is to be awaited then, None where all is done.

        There is more to do while the application has enough that it has not read.
        """
        self._feed(data)
        is_done = self._work()
        return self._take_rest(is_done) if self.over or not is_done else None

    async def _take_rest(self, is_done: bool) -> None:
        while not is_done:
            await self._pause()
            is_done = self._work()
        if self.over:
            await self.end()

    async def hear(self, data: bytes, credit: int) -> None:
        """Take a piece of *credit* flow-controlled bytes, without holding the connection up."""
        self._heard_at = clock()
        if self._hearing:
            self._unheard += data
            self._credit += credit
            return
        self._feed(data)
        if self._work():
            self.give_back(credit)
            if self.over:
                await self.end()
        else:
            self._hearing = True
            self.task_group.spawn(self._hear, credit)

    async def _hear(self, credit: int) -> None:
        """Work on what has arrived when there is room for it."""
        while self._frames is not None:
            await self._pause()
            if self._work():
                self.give_back(credit)
                data, credit = bytes(self._unheard), self._credit
                self._unheard, self._credit = bytearray(), 0
                if not credit:
                    break
                self._feed(data)
        self._hearing = False
        if self._last is not None and not self.closed:
            await self._vanish(self._last)
        elif self.over:
            await self.end()

    def _feed(self, data: bytes) -> None:
        if self._frames is not None:
            self._frames.feed(data)

    def heard(self, now: float) -> float:
        """Return when anything last came on its stream; *now* while nobody reads that (HTTP/2)."""
        return now if self._hearing else self._heard_at

    async def _pause(self) -> None:
        """Wait while the application has enough; and give others a turn in any case."""
        await self.inbox.room()
        await self.line.give_turn()

    def _work(self) -> bool:
        """
        Work on the frames that are here.

        False says that there may be more of them, but the application has enough, or others should
        have a turn: tens of thousands are in one read, at 15 us for each.
        """
        frames, inbox, turn_at = self._frames, self.inbox, clock() + TURN_S
        try:
            while frames is not None and (said := frames.next()) is not None:
                if isinstance(said, Control):
                    if said.opcode == PING:
                        self.answer(PONG, said.payload)
                elif isinstance(said, Close):
                    if self._late > LATE_BYTES and not self._closing_since:
                        self.tell(VANISHED)  # what came before it is not all there
                    self._end(said.code, said.reason)
                    break
                elif self._closing_since or not inbox.bounded:
                    self._take_late(said, frames)
                elif not inbox.take(said):
                    return False
                if clock() > turn_at:
                    return False
        except Broken as exc:
            self.fail(exc.code, exc.reason)
        return True

    def _take_late(self, message: str | bytes, frames: Frames) -> None:
        """Take a message at the end, up to a bound; drop all others."""
        inbox, bound = self.inbox, LATE_BYTES
        if self._late > bound:
            return
        weight = inbox.weight
        inbox.take(message)
        self._late += inbox.weight - weight
        if self._closing_since and inbox.is_full:  # its sender has heard that nobody wants more
            self._late = bound + 1
        if self._late > bound:
            frames.skip()

    def fail(self, code: int, reason: str) -> None:
        """Refuse what the client does: tell both sides why, and close (RFC 6455 §7.1.7)."""
        self.unwelcome = self._last is None
        self._end(code, reason)

    def _end(self, code: int, reason: str) -> None:
        self.tell(code, reason)
        self._shut()
        self.over = True
        self.answer(CLOSE, close_payload(code, reason))

    def _shut(self) -> None:
        """Hear nothing more."""
        self.state: ASGIWebsocketState = ASGIWebsocketState.CLOSED
        self.closed: bool = True
        self._frames = None
        self._closing_since = self._closing_since or clock()
        self.inbox.lift()

    async def _vanish(self, event: EndBody | StreamClosed) -> None:
        """End what the client has left without a Close frame; a denial that has begun goes on."""
        if isinstance(event, StreamClosed):
            self.closed = True
            self._frames = None
            self.tell(VANISHED)
        elif awaits_answer(self):
            give_up(self)
            await self._send_error_response(400)
            await self.end()
        elif self.handshake.accepted:
            self.tell(VANISHED)
            self._shut()
            if self.is_speaking:
                self.line.cut()  # half a frame may be out, which is no regular end
            else:
                await self.end()

    def tell(self, code: int, reason: str = "") -> None:
        """Let the application hear how it ended, after what came before; the first end counts."""
        inbox = inbox_of(self)
        if inbox is not None and inbox.closed is None:
            message = {"type": "websocket.disconnect", "code": code}
            inbox.close({**message, "reason": reason} if reason else message)

    # --- from the application ---------------------------------------------------------------------

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """Take what the application sends; what it sends after the end is dropped."""
        if self.closed or not self.handshake.accepted:
            return await super().app_send(message)
        if message is None:
            return await self._returned()
        if self.inbox.closed is not None:
            return
        kind: str = message["type"]
        if self.state is not _CONNECTED:
            if self._is_left:
                return
            raise UnexpectedMessageError(self.state, kind)
        if kind == "websocket.send":
            rest = self.begin(message)
            if rest is not None:
                await rest
        elif kind == "websocket.close":
            await self._close_for(message)
        else:
            raise UnexpectedMessageError(self.state, kind)

    async def _close_for(self, message: Any) -> None:
        """Close; cancelled before the first byte of its frame it is as open as before (S3)."""
        code, reason = int(message.get("code", NORMAL)), message.get("reason") or ""
        close = frame(CLOSE, close_payload(code, reason))
        self.state, self._closing_since = ASGIWebsocketState.CLOSED, clock()
        self.inbox.lift()
        try:
            await self.say(close, last=True)
        except BaseException:
            if not self.said_close and not self.closed:
                self.state, self._closing_since = ASGIWebsocketState.CONNECTED, 0.0
                self.inbox.bounded = True
            raise
        await self.send(EndData(stream_id=self.stream_id))

    async def _returned(self) -> None:
        """
        Close what the application left open, after what is being said.

        The client's Close frame ends it, or the time for that. To end it at once would reset the
        connection of one who is still talking, and who then loses what is on its way.
        """
        self._is_left = True
        self.state = ASGIWebsocketState.CLOSED
        self._closing_since = self._closing_since or clock()
        self._late = LATE_BYTES + 1
        cast("Frames", self._frames).skip()  # it is open
        self.inbox.lift()
        self.answer(CLOSE, close_payload(INTERNAL_ERROR))
        if self.task_group.service.interrupted:
            self._part()

    def _part(self) -> None:
        """End what has no application any more, though its client has not answered our Close."""
        self._shut()
        self._closing_since = math.inf
        self.over = True
        self.task_group.spawn(self.end)

    async def _accept(self, message: WebsocketAcceptEvent) -> None:
        handshake = self.handshake
        handshake.extensions = None  # wsproto would take them
        status, fields, _ = handshake.accept(message.get("subprotocol"), message.get("headers", []))
        agreed = agree(self._offers()) if self.config.ws_compression else None
        if agreed is not None:
            fields.append((b"sec-websocket-extensions", agreed[0].encode()))
            self._window_bits = agreed[1]
        bound = self.inbox.message_bytes
        self._frames = Frames(
            MESSAGE_BYTES if bound is None else bound, compresses=agreed is not None
        )
        self.state = ASGIWebsocketState.CONNECTED
        self.unwelcome = False
        self._heard_at = clock()
        try:
            await self.send(Response(stream_id=self.stream_id, status_code=status, headers=fields))
        except Exception:  # whatever is wrong with the application's fields
            self.state = ASGIWebsocketState.HANDSHAKE
            self.unwelcome = True
            self._frames = None
            handshake.accepted = False
            raise
        self.handshake, self.buffer = ACCEPTED, None  # of hypercorn's nothing more is needed

    def _offers(self) -> list[str]:
        """List the extensions that the client offers; they may stand in several fields."""
        return [
            offer
            for name, value in self.scope["headers"]
            if name.lower() == b"sec-websocket-extensions"
            for offer in value.decode("ascii").split(",")
        ]

    # --- from the sweep ---------------------------------------------------------------------------

    def restart(self) -> None:
        """Say 1012 to both sides; the client's answer ends it."""
        self.tell(SERVICE_RESTART, RESTARTS)
        self.state = ASGIWebsocketState.CLOSED
        self._closing_since = clock()
        self.answer(CLOSE, close_payload(SERVICE_RESTART, RESTARTS))

    def look(self, now: float, heard: float, sent: int, wire: Stream) -> float:
        """
        Enforce the times of a close, and of a silent client.

        *heard* is when anything last came of the client, *now* where nobody reads; *sent* counts
        the bytes of the connection that are out, or on their way to *wire*. Return the time before
        which nothing can be due, unless something else is sent; 0.0 is the next tick.
        """
        ping_s = self.config.ws_ping_s
        if self._closing_since:
            if self.is_speaking and not self._closing:  # a message is in front
                self._closing_since = max(self._closing_since, self.inbox.progressed)
            is_late = now - self._closing_since > CLOSE_S
            if self._is_left and self.said_close and not self._closing:
                if is_late or self.task_group.service.interrupted:
                    self._part()
            elif is_late:
                self._lose(f"its client did not answer a Close frame for {CLOSE_S:g} s")
        elif self._frames is None:
            return 0.0
        elif not ping_s:
            return math.inf
        elif self._pinged_at > heard:
            self._look_for_answer(now, wire)
        elif now - heard > ping_s:
            self._ping(now, heard, sent)
        else:
            return heard + ping_s
        return 0.0

    def _ping(self, now: float, heard: float, sent: int) -> None:
        """Ask a silent client whether it is there; one with no room for that takes nothing."""
        if self.is_speaking:
            return  # it is another's business that this takes so long
        if self.line.try_write(PING_FRAME):
            self._pinged_at, self._pinged_to, self._taken = now, sent + len(PING_FRAME), -1
        elif now - heard > self.config.ws_ping_s + self.config.write_stall_s:
            self.inbox.stall()
            self._lose(f"its client took nothing for {self.config.write_stall_s:g} s")

    def _look_for_answer(self, now: float, wire: Stream) -> None:
        """Lose a client that is silent; while the Ping is on its way, what it takes is a sign."""
        taken = wire.taken()
        if self._taken != taken < self._pinged_to:
            self._pinged_at, self._taken = now, taken
        elif now - self._pinged_at > self.config.ws_ping_s:
            self._lose(f"its client did not answer a Ping for {self.config.ws_ping_s:g} s")

    def _lose(self, why: str) -> None:
        """Count the client as gone, and cut what leads to it."""
        logger.info("a WebSocket is cut: %s", why)
        self.tell(VANISHED)
        self._shut()
        self._closing_since = math.inf
        self.line.cut()


def new_websocket(protocol: H11Protocol | H2Protocol, stream_id: int, line: Line) -> WebSocket:
    """Make the stream of one more WebSocket, with what hypercorn gives to its own."""
    stream = WebSocket(
        protocol.app,
        protocol.config,
        protocol.context,
        protocol.task_group,
        protocol.ssl,
        protocol.client,
        protocol.server,
        protocol.stream_send,
        stream_id,
    )
    stream.line = line
    return stream
