"""
What we say on a WebSocket: frames, each of them whole, in the order of the calls.

Fault (hypercorn 0.18): each answer to a Ping is a task of the reader, so it comes behind what was
asked later, or holds up what comes next. A `send` that is cancelled within a frame leaves half of
it on the wire, and the next frame goes out inside of it.

Cure: rules S1 to S4; the tests cite them by number.
 S1  Frames take turns. What waits goes out in the order of the calls, one frame after the other.
 S2  A control frame of ours (a Pong, a Ping, the Close of a client's fault) waits for nobody. It
     goes out at once, or in front of the next frame: of several Pongs that wait the last is enough
     (RFC 6455 §5.5.3).
 S3  A frame that is cancelled before its first byte leaves no trace; a Close frame neither, and the
     WebSocket is as open as before. After that byte, and over TLS once its record is made, it is
     finished: its caller leaves at once, and a task of the WebSocket keeps the turn until the rest
     is out. So the end of one connection, whose call was sending here, does not reach this one.
     The rest lies in memory meanwhile; a client that takes none of it is cut for that, and one that
     has left is not waited for.
 S4  Nothing goes out behind a Close frame.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, Protocol

from anyio import to_thread
from hypercorn.protocol.events import EndData, StreamClosed
from hypercorn.protocol.ws_stream import WSStream

from ..turns import Turns
from ..websocket.deflate import SLOW_BYTES, SMALL_BYTES, deflated
from ..websocket.frames import BINARY, CLOSE, PONG, TEXT, frame, frame_head

__all__ = ["Line", "Speech"]

# Beyond this a frame's head and its payload are not copied together: members of a room have the
# payload in common.
JOINED_BYTES: Final = 16 * 1024


class Line(Protocol):
    """What carries the frames of one WebSocket: a connection, or a stream of HTTP/2."""

    async def write(self, *pieces: bytes, begun: bool = False) -> None:
        """
        Send *pieces* as one; return when they are taken, or nobody takes them any more.

        Cancellation: before the first byte it leaves no trace; after it, and where they are what
        `begin` has left of a frame (*begun*), there is a rest.
        """
        ...

    def begin(self, data: bytes) -> int:
        """Send what there is room for now; return how many bytes were taken."""
        ...

    @property
    def has_rest(self) -> bool:
        """Whether a write was cancelled which has begun."""
        ...

    async def resume(self) -> None:
        """Send the rest of that write, before anything else. Cancellation: the line is cut."""
        ...

    def try_write(self, data: bytes) -> bool:
        """Send *data* if there is room for all of it now; return whether there was."""
        ...

    async def give_turn(self) -> None:
        """Give others a turn: all connections, and the other WebSockets of this one."""
        ...

    def cut(self) -> None:
        """End it in a way that nobody takes for a regular end."""
        ...


class Speech(Turns, WSStream):
    """
    The sending half of a WebSocket.

    Attributes:
        line: What carries it.
        said_close: A Close frame has gone out, or is on its way.
        over: It ends when what waits has gone out.
    """

    # hypercorn's own have a dictionary, which is small while few are in it.
    __slots__ = (
        "_answering",
        "_close",
        "_closing",
        "_completing",
        "_pong",
        "_window_bits",
        "line",
        "over",
        "said_close",
    )

    line: Line

    # hypercorn's annotations of these are incomplete
    buffer: Any
    config: Any
    task_group: Any

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.said_close: bool = False
        self.over: bool = False
        self._busy = False
        self._turns = None
        self._pong: bytes | None = None  # answers that wait, as frames
        self._close: bytes | None = None
        self._window_bits = 0  # to compress with; 0 is not at all
        self._answering = False  # a task has begun to send them
        self._closing = False  # a Close frame is on its way
        self._completing = False  # a task finishes a frame whose caller was cancelled

    @property
    def is_speaking(self) -> bool:
        """Whether a frame is on its way."""
        return self._busy

    async def say(self, *pieces: bytes, last: bool = False) -> None:
        """Send a frame in its turn (S1), behind what waits to be answered; *last* is a Close."""
        if self._busy:
            await self._wait_for_turn()
        self._busy = True
        try:
            if last or self.closed or self.said_close or self._pong or self._close or not pieces:
                await self._speak(pieces, last=last)
            else:
                await self.line.write(*pieces)
        except BaseException:
            self._leave()
            raise
        self._give_turn()
        if self.over:
            await self.end()

    def begin(self, message: Any) -> Coroutine[Any, Any, None] | None:
        """
        Send what an application says; return what is to be awaited then, None where it is out.

        Most messages find nothing in front of them, and room for all of their frame (S1): they need
        no coroutine.
        """
        opcode, payload = _message_of(message)
        if self._window_bits and len(payload) >= SMALL_BYTES:
            return self._say_compressed(opcode, payload)
        if len(payload) > JOINED_BYTES:
            return self.say(*_pieces_of(opcode, payload))
        data = frame(opcode, payload)
        if self._busy or self.closed or self.said_close or self._pong or self._close:
            return self.say(data)
        sent = self.line.begin(data)
        if sent == len(data):
            return None
        return self._say_rest(data[sent:]) if sent else self.say(data)

    async def _say_rest(self, rest: bytes) -> None:
        """Send the rest of a frame that has begun, before anybody else can."""
        self._busy = True
        try:
            await self.line.write(rest, begun=True)
        except BaseException:
            self._leave()
            raise
        await self._done()

    async def _say_compressed(self, opcode: int, payload: bytes) -> None:
        """Send a message compressed, unless that makes it larger; a large one in a thread."""
        bits = self._window_bits
        if self._busy:
            await self._wait_for_turn()
        self._busy = True
        try:
            if len(payload) < SLOW_BYTES:
                small = deflated(payload, bits)
            else:
                small = await to_thread.run_sync(deflated, payload, bits)
            if len(small) < len(payload):
                await self._speak(_pieces_of(opcode, small, compressed=True))
            else:
                await self._speak(_pieces_of(opcode, payload))
        except BaseException:
            self._leave()
            raise
        await self._done()

    async def _done(self) -> None:
        self._give_turn()
        if self.over:
            await self.end()

    def _leave(self) -> None:
        """Give the turn, because the caller is cancelled; a frame that has begun is finished."""
        if self.line.has_rest:
            self._completing = True
            self.task_group.complete(self._complete, self._have_completed)
        else:
            self._give_turn()

    async def _complete(self) -> None:
        """Finish a frame whose caller was cancelled (S3)."""
        await self.line.resume()
        self._closing = self._completing = False
        if self.said_close and not self.over:
            await self.send(EndData(stream_id=self.stream_id))
        await self._done()

    def _have_completed(self) -> None:
        if self._completing:  # that was cancelled, or could not begin
            self._completing = False
            self.line.cut()
            self._give_turn()

    async def _speak(self, pieces: tuple[bytes, ...], *, last: bool = False) -> None:
        """Send answers that wait, and a frame, as one (S2)."""
        pong, close = self._pong, self._close
        if self.said_close:
            return
        if close is not None or self.closed:
            pieces, last = (), False
        ours = pieces[-1] if pieces and last else None
        if pong is not None or close is not None:
            pieces = ((pong or b"") + (close or b"") + (pieces[0] if pieces else b""), *pieces[1:])
        if not pieces:
            return
        # Set before: what is asked for meanwhile may not come behind it (S4).
        self.said_close = self._closing = last or close is not None
        try:
            await self.line.write(*pieces)
        except BaseException:
            if self.line.has_rest:
                self._have_answered(pong, close)
            else:
                self.said_close = self._closing = False
                if self.over:  # the client closed meanwhile, and has to be answered
                    self._close = self._close or ours
            raise
        self._closing = False
        self._have_answered(pong, close)

    def _have_answered(self, pong: bytes | None, close: bytes | None) -> None:
        if self._pong is pong:  # else there is one to a later Ping
            self._pong = None
        if close is not None:
            self._close = None

    def answer(self, opcode: int, payload: bytes) -> None:
        """Send a control frame without making anybody wait (S2)."""
        if self.said_close or self._close is not None:
            return
        data = frame(opcode, payload)
        if not self._busy and self._pong is None and self.line.try_write(data):
            self.said_close = opcode == CLOSE
            return
        if opcode == PONG:
            self._pong = data
        else:
            self._close = data
        self._send_answers()

    def _send_answers(self) -> None:
        """Have a task send what waits, unless somebody takes it along."""
        if not self._busy and not self._answering:
            self._answering = True
            self.task_group.spawn(self._answer)

    async def _answer(self) -> None:
        try:
            while (self._pong or self._close) and not self.said_close:
                await self.say()
        finally:
            self._answering = False

    async def end(self) -> None:
        """Say that nothing more comes, once a Close frame that waits or goes out is out."""
        if self._close is None and not self._closing:
            await self.send(StreamClosed(stream_id=self.stream_id))

    def _give_turn(self) -> None:
        super()._give_turn()
        if not self._busy and (self._pong or self._close) and not self.said_close:
            self._send_answers()


def _pieces_of(opcode: int, payload: bytes, *, compressed: bool = False) -> tuple[bytes, ...]:
    """Make a frame; in two pieces if it is not worth while to copy them together."""
    if len(payload) <= JOINED_BYTES:
        return (frame(opcode, payload, compressed=compressed),)
    return frame_head(opcode, len(payload), compressed=compressed), payload


def _message_of(message: Any) -> tuple[int, bytes]:
    """Return the opcode and the payload of what an application sends."""
    payload = message.get("bytes")
    if payload is not None:
        return BINARY, payload if type(payload) is bytes else bytes(payload)
    text = message["text"]
    if not isinstance(text, str):
        raise TypeError(f"{text!r} should be a str")
    return TEXT, text.encode()
