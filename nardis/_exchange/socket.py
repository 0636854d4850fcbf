"""
A WebSocket once it is accepted: messages, backpressure, and how it ends. Rules W1 to W4.

Source: RFC 6455 §5.4 to §7.4; the ASGI specification, "WebSocket".
"""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import Final, NoReturn

import anyio
from anyio.lowlevel import checkpoint

from .._asgi.extensions import Cancels
from .._failures import message_of, parted
from ..errors import ClientDisconnected, HTTPError, NardisError, UsageError
from ..types import CloseReason, Message, Receive, Send
from .inflow import Inflow
from .lifetime import Lifetime
from .sweeper import TICK_S
from .turns import TURN_S, Turns

__all__ = ["REASON_BYTES", "VANISHED", "Messages", "Socket", "close_code_of", "how_of"]

# What the watcher takes ahead of the reader, about: a message counts with its overhead.
AHEAD_BYTES: Final = 64 * 1024
MESSAGE_OVERHEAD_BYTES: Final = 256

# Bytes of a character, at most.
_MOST_UTF8: Final = 4

# RFC 6455 §7.4.1, and IANA's registry.
NORMAL: Final = 1000
UNSUPPORTED: Final = 1003
NO_STATUS: Final = 1005
VANISHED: Final = 1006
INVALID: Final = 1007
POLICY: Final = 1008
TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
RESTART: Final = 1012

# What a handler finds wrong with the client, as it would say it in HTTP.
_BY_STATUS: Final = {400: INVALID, 413: TOO_BIG, 415: UNSUPPORTED, 422: INVALID}

# Of a Close frame: 125 bytes, two of which are the code (RFC 6455 §5.5).
REASON_BYTES: Final = 123


class Messages(Inflow):
    """
    What the server says of one WebSocket.

    Attributes:
        last: The `websocket.disconnect`, once it was taken.
        met: The `websocket.connect` was taken.
    """

    __slots__ = ("_weight", "last", "met")

    def __init__(self, lifetime: Lifetime, receive: Receive) -> None:
        super().__init__(lifetime, receive)
        self.last: Message | None = None
        self.met: bool = False
        self._weight = 0

    def serve(self, lifetime: Lifetime) -> None:
        """Tell *lifetime* what happens from now on."""
        self._lifetime = lifetime

    @property
    def has_unread(self) -> bool:
        """Whether a message lies here that nobody has read."""
        return bool(self._queue)

    @property
    def is_at_end(self) -> bool:
        """Whether nothing comes any more."""
        return self.last is not None and not self._queue

    def shut(self) -> Message:
        """Ask the server for nothing more; return what everybody gets."""
        self.last = self.last or {"type": "websocket.disconnect", "code": VANISHED}
        return self.last

    async def take(self) -> Message:
        """Take the next message; it is an ASGI `receive`."""
        self.reading: float = self._lifetime.sweeper.clock()
        try:
            if self._watcher is None and not self._queue and self.last is None:
                message = await self._receive()
            else:
                message = await self._next_message()
        finally:
            self.reading = 0.0
        if not self._queue:
            self._weight = 0
        kind = message["type"]
        if kind == "websocket.disconnect":
            self.last = message
        elif kind == "websocket.connect":
            self.met = True
        return message

    def _has_room(self) -> bool:
        return self._weight < AHEAD_BYTES

    def _keeps(self, message: Message) -> bool:
        if message["type"] == "websocket.disconnect":
            self.last = message
            self._lifetime.closed(*how_of(message))
            return False
        self._weight += _size(message) + MESSAGE_OVERHEAD_BYTES
        return True

    def _end(self) -> Message | None:
        return self.last


class Socket(Turns):
    """
    The conversation of one WebSocket.

    It lives in the scope of its handler, as the handshake before it.

    Attributes:
        subprotocol: The one that was chosen; None where none was.
        open: Both sides may send.
        closed_here: We have closed it.
        over: Nothing more is received: we have closed it, or its handler has ended.
        close_code: Of the first Close; None while it is open.
        close_text: What was said with that.
    """

    __slots__ = (
        "_is_reading",
        "_messages",
        "_opening",
        "_until",
        "close_code",
        "close_text",
        "closed_here",
        "open",
        "over",
        "rests_until",
        "subprotocol",
    )

    def __init__(
        self, opening: Lifetime, messages: Messages, send: Send, subprotocol: str | None
    ) -> None:
        self.begin_life(opening.scope, opening.sweeper, opening.limits)
        self._opening = opening
        self.since: float = opening.since
        self.cancels: bool = opening.cancels
        self.cancel_scope: Cancels | None = opening.cancel_scope
        self.client = opening.client
        self.subprotocol: str | None = subprotocol
        self.open: bool = True
        self.closed_here: bool = False
        self.over: bool = False
        self.close_code: int | None = None
        self.close_text: str = ""
        self._messages = messages
        self._is_reading = False
        self.rests_until: float = 0.0
        self._until: float = 0.0  # when a handler that was reading is cancelled; 0.0 is never
        self._send = send
        self._busy, self._turns = False, None
        self._clock, self._is_cancelled = opening.sweeper.clock, opening.sweeper.is_cancelled
        self._yields_at = self.writing = 0.0

    # --- reading ----------------------------------------------------------------------------------

    async def next_message(self) -> str | bytes:
        """
        Return the next message.

        Raises `StopAsyncIteration` at the end, so that it serves as `__anext__` without one more
        coroutine. Cancellation loses nothing: the message stays with the server or the watcher.
        """
        if self._is_reading:
            raise UsageError(
                "two tasks receive from this WebSocket at once: give it one reader, and let that "
                "one pass messages on"
            )
        if self._is_cancelled():
            await checkpoint()
        if self.over:
            await checkpoint()  # whoever asks on and on must not keep the event loop
            raise StopAsyncIteration
        self._is_reading = True
        try:
            if (now := self._clock()) > self.sweeper.yields_at:
                # Before a message is taken, which a cancellation would lose.
                self.sweeper.yields_at = now + TURN_S
                await checkpoint()
            message = await self._messages.take()
            if message["type"] == "websocket.disconnect":
                self.closed(*how_of(message))
        except BaseException as exc:
            if isinstance(exc, NardisError) or parted(exc)[0] is not None:
                raise
            message = self.server_failed(exc)
        finally:
            self._is_reading = False
        # What comes before the client's answer to our Close interests nobody.
        if message["type"] == "websocket.disconnect" or self._is_over():
            self._until = 0.0 if self.closed_here else self._until
            raise StopAsyncIteration
        text: str | None = message.get("text")
        data: str | bytes = message["bytes"] if text is None else text
        if len(data) * _MOST_UTF8 > self.limits.websocket_message_bytes:
            await self._check_size(_size(message))
        return data

    def _is_over(self) -> bool:
        return self.over  # meanwhile

    async def _check_size(self, size: int) -> None:
        """Close, where a server that was not told of the limit has let a larger one pass (W3)."""
        most = self.limits.websocket_message_bytes
        if size > most:
            await self.close(TOO_BIG, f"a message is larger than {most}")
            raise StopAsyncIteration

    # --- sending ----------------------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """
        Send one message, whole.

        Backpressure: returns when the server took it. Cancellation: a message that was cancelled
        before its turn leaves no trace; one that has begun to go out is finished by our runner, and
        may end the WebSocket on another server.

        Raises:
            ClientDisconnected: It is closed.
        """
        if self._is_cancelled():
            await checkpoint()
        if self._busy:
            await self._wait_for_turn()
        self._busy: bool = True
        try:
            if not self.open or self.closing:
                await self.raise_gone()
            now = self.writing = self._clock()
            await self._send(message)
        except BaseException as exc:
            await self._interrupted(exc)
        finally:
            self.writing = 0.0
            if self._turns:
                self._give_turn()
            else:
                self._busy = False
        if now > self.sweeper.yields_at:
            self.sweeper.yields_at = now + TURN_S
            await checkpoint()

    async def raise_gone(self) -> NoReturn:
        """Let a cancellation land; where it cannot, say how the conversation ended."""
        await checkpoint()
        raise self.ended()

    def ended(self) -> ClientDisconnected:
        """Make the error for whoever goes on with a conversation that is over."""
        if self.close_code is None:
            what = f"the client is no longer served: {self.close_reason}"
        elif self.closed_here:
            what = f"this WebSocket was closed here, with {self.close_code}"
        else:
            what = f"this WebSocket has ended, with {self.close_code}"
        return ClientDisconnected(what, code=self.close_code)

    async def close(self, code: int, reason: str) -> None:
        """Close, after what is being sent; does nothing where that was done."""
        await self._take_turn()
        try:
            if not self.open:
                await checkpoint()
            else:
                self.open, self.closed_here, self.over = False, True, True
                self.close_code, self.close_text = code, reason
                # Our runner says what the client answers, or that it does not. Another server may
                # leave the reader there.
                if self._is_reading and self.client is None and self.cancels:
                    self._give_time()
                self.writing = self._clock()
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except BaseException as exc:
            await self._interrupted(exc)
        finally:
            self.writing = 0.0
            self._give_turn()

    async def finish(self, error: BaseException | None) -> BaseException | None:
        """
        Close what the handler has left open, saying how it ended (W4); within `cleanup_s`.

        Return *error*, unless it says only that the conversation was over.
        """
        is_known = isinstance(error, ClientDisconnected) and (
            not self.open or self.close_reason is not None
        )
        error = None if is_known else error
        if self.open and self.close_reason != "stalled":
            with anyio.move_on_after(self.limits.cleanup_s):
                with suppress(ClientDisconnected):  # meanwhile
                    await self.close(*close_code_of(error, self.close_reason))
        self.shut()
        return error

    def shut(self) -> None:
        """Be over, because the handler is: whoever has it still can neither send nor receive."""
        if self.open:
            self.open = False
            self.close_code = VANISHED
        self.over = True

    # --- the end ----------------------------------------------------------------------------------

    def closed(self, code: int, reason: str) -> None:
        """
        Hear how it ended: from the reader, the watcher or the runner; the first one counts (W2).

        A handler that reads has `cleanup_s` to return. So has one to which an orderly close came
        before it could read all messages. Any other is cancelled at once.
        """
        if not self.open:
            return
        self.open = False
        self.close_code, self.close_text = code, reason
        self.note("gone")
        if self.cancels:
            # Stock hypercorn says 1006 for each end.
            is_orderly = code != VANISHED or self.client is None
            if self._is_reading or (is_orderly and self._has_unread()):
                self._give_time()
            else:
                self.cancel()

    def _give_time(self) -> None:
        self._until, self.rests_until = self._clock() + self.limits.cleanup_s, 0.0

    def _has_unread(self) -> bool:
        if self._messages.has_unread:
            return True
        asked = getattr(self.client, "has_unread", None)  # absent and None are the same
        return asked is not None and asked()

    def disconnected(self) -> None:
        """Hear that the client left without a word."""
        self.closed(VANISHED, "")

    def left(self) -> None:
        """Hear from the runner that the client left without a word."""
        self.disconnected()

    def server_failed(self, exc: BaseException) -> Message:
        """Count the client as gone; see `Lifetime.server_failed`."""
        super().server_failed(exc)
        return self._messages.shut()

    def cancel(self) -> None:
        """Cancel the handler, also what stands around one whose route has a scope of its own."""
        self.closing: bool = True
        self.cancel_scope = self._opening.cancel_scope
        super().cancel()

    def interrupt(self, reason: CloseReason, status: int = 503) -> None:
        """
        End the handler for *reason* (C1, C2).

        At the shutdown our runner closes the WebSocket, and a reader hears of that.
        """
        self.note(reason)
        is_told = reason == "shutdown" and self.open and self.client is not None
        if is_told and self._is_reading and not self._until:
            self._give_time()
        else:
            self.cancel()

    def note(self, reason: CloseReason) -> None:
        """Note why it ended; `req` asks the handshake."""
        super().note(reason)
        self._opening.note(reason)

    def is_over(self) -> bool:
        """Whether it is closed."""
        return not self.open

    def has_started(self) -> bool:
        """Whether something was sent: the accept."""
        return True

    def fail(self, error: BaseException) -> None:
        """Note that the handler failed, whatever catches the error on its way outward."""
        self.note_failure(error)

    def look(self, now: float) -> None:
        """
        Enforce the limits and see to a watcher; the sweeper calls this once a tick.

        Where our runner tells of the end, nothing can be due before a send that begins now has
        stalled, or the handler has had its time.
        """
        handler_s = self.limits.handler_s
        if self.is_stalled(now):
            self.interrupt("stalled")
        elif handler_s is not None and now - self.since > handler_s:
            self.interrupt("deadline")
        if self._until and now > self._until:
            self.cancel()
        if self.client is None:
            if self.open and now - self.since > TICK_S:
                self._messages.watch()
        elif self.close_reason is None and not (self.writing or self._until):
            ends_at = inf if handler_s is None else self.since + handler_s
            self.rests_until = min(now + self.limits.write_stall_s, ends_at)


def close_code_of(error: BaseException | None, reason: CloseReason | None) -> tuple[int, str]:
    """
    Return the code and the reason to close with, after a handler that ended with *error*.

    *reason* is that for which it was ended from outside.

    Source: RFC 6455 §7.4.1; IANA's registry (1012).
    >>> close_code_of(None, None), close_code_of(HTTPError(415, "text, please"), None)
    ((1000, ''), (1003, 'text, please'))
    >>> close_code_of(KeyError("secret"), None), close_code_of(None, "shutdown")
    ((1011, ''), (1012, 'the server restarts'))
    """
    if isinstance(error, HTTPError) and error.status < 500:
        return _BY_STATUS.get(error.status, POLICY), shortened(message_of(error.detail))
    if error is not None:
        return INTERNAL_ERROR, ""
    if reason == "shutdown":
        return RESTART, "the server restarts"
    if reason == "deadline":
        return INTERNAL_ERROR, "the handler took too long"
    return NORMAL, ""


def shortened(reason: str) -> str:
    """
    Cut a text to what a Close frame has room for.

    >>> len(shortened("x" * 200)), len(shortened("\u20ac" * 50))
    (123, 41)
    """
    return reason.encode("utf-8", "replace")[:REASON_BYTES].decode("utf-8", "ignore")


def how_of(message: Message) -> tuple[int, str]:
    """Read how a WebSocket ended; servers leave out what they do not know."""
    return message.get("code") or NO_STATUS, message.get("reason") or ""


def _size(message: Message) -> int:
    """Count the bytes of a message."""
    text: str | None = message.get("text")
    if text is None:
        return len(message.get("bytes") or b"")
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
