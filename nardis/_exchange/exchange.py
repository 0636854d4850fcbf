"""
One HTTP exchange: the only caller of the server's `receive` and `send`, and the owner of the handler's cancel scope.

Three promises rest on this module: bytes flow, work follows the client, endings are honest. The rules it keeps:

The response moves `IDLE → STARTED → ENDED | ABORTED`, and never back.
 R1  One head: `http.response.start` leaves once, and before any body message.
 R2  The final message leaves once, only after the handler returned or ended the response, never after it failed past the head.
 R3  Nothing leaves after the final message, after an abort, or after the client left.
 R4  With a declared Content-Length the body is exactly as long, or the exchange is aborted. A write beyond it sends nothing.
 R5  A chunk goes out whole, in the order of the calls, whoever calls. A cancellation that is due comes before a chunk, and leaves
     no trace. A chunk whose sending was interrupted tears the response: it can only be aborted.
 R6  HEAD, 204 and 304 send no body byte.

The request body has one reader at a time.
 Q1  One task at a time is inside the server's `receive`: the reader, or the watcher of this exchange.
 Q2  Every body byte reaches the reader once, in order, or is discarded after the answer. A cancelled read loses none.
 Q3  The reader asks for no more than it takes. The watcher takes one message ahead; 13 once one lay unread for a tick.
 Q4  After `http.disconnect` neither `receive` nor `send` of the server is called again.

Cancellation has one reason.
 C1  `close_reason` is set once: `gone`, `stalled`, `deadline` or `shutdown`; the first one stays.
 C2  A disconnect cancels the handler, unless the final message has begun or the route opted out. Stalls, deadlines and the
     shutdown always do.
 C3  The watcher ends with its exchange, and lets nothing but cancellation out.

One exchange is one failure domain: what leaves it, except its own cancellation, is its failure and reaches nothing else.

Costs decide the shape: a cancel scope is affordable for each request, a task is not. So one sweeper looks at all exchanges four
times a second and gives a watcher only to those that have been around for longer than that.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, ClassVar, Final, Literal, NoReturn, Protocol, TypeAlias, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from .._asgi.extensions import Client
from .._failures import parted
from ..errors import (
    ClientDisconnected,
    ContentLengthMismatch,
    NardisError,
    ResponseAborted,
    ResponseAlreadyEnded,
)
from ..limits import Limits
from ..types import Message, Receive, Scope, Send
from .intake import Intake
from .sweeper import TICK_S, Sweeper

__all__ = ["ABORTED", "ENDED", "IDLE", "STARTED", "CloseReason", "Exchange", "shielded"]

logger = logging.getLogger("nardis")
State: TypeAlias = Literal[0, 1, 2, 3]
IDLE: Final = 0
STARTED: Final = 1
ENDED: Final = 2
ABORTED: Final = 3
CloseReason: TypeAlias = Literal["gone", "stalled", "deadline", "shutdown"]

# A write loop gives the event loop a turn this often: a server's send may return without suspending. A checkpoint costs 4 to
# 5 us, so one in a millisecond costs half a percent.
TURN_S: Final = 0.001

# What is handed to the server at once. A larger body goes out in pieces of this size, so that a slow client's progress shows:
# `write_stall_s` is the time without any.
PIECE_BYTES: Final = 64 * 1024

# A stream that has come this far is watched without waiting for the sweeper: what a fast handler writes until its client is
# known to have left is lost, and on hypercorn's asyncio worker stays in memory.
WATCHED_BYTES: Final = 1024 * 1024
UNBOUNDED: Final = sys.maxsize
T = TypeVar("T")

# Methods whose requests carry a body only if they say so (RFC 9110 §9.3); HTTP/2 needs no field to announce one.
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"})


def shielded(seconds: float) -> anyio.CancelScope:
    """
    Let clean-up finish: a `with` block whose awaits are not hit by cancellation from outside, for at most *seconds*.

    A cancelled handler's awaits fail at once, also those in a `finally` (level cancellation, on both backends). Inside this
    block they work. When the time is up the block is left quietly; `.cancelled_caught` of the scope it gives tells.

        finally:
            with shielded(5):
                await connection.close()
    """
    return anyio.move_on_after(seconds, shield=True)


class Codec(Protocol):
    """What changes the bytes of a response on their way out, such as a compression."""

    def feed(self, data: bytes, /) -> bytes:
        """Take some bytes and give what can go out already."""
        ...

    def flush(self) -> bytes:
        """Give what is held back, so that the client has all bytes fed so far."""
        ...

    def finish(self) -> bytes:
        """Give the end. Never called for a response that failed."""
        ...


class Head(Protocol):
    """What an exchange wants of a response: its head, once."""

    def compose(self, size: int | None, close: bool, /) -> tuple[Message, int | None, bool]:
        """
        Run the hooks, close the head to changes, and give the start message, the declared length and whether a body may follow.

        *size* is the length of the whole body where it is known; *close* asks for `connection: close`.
        """
        ...


class Dependant(Protocol):
    """
    What must learn that the handler is ended from outside, although cancellation alone may not reach it.

    Attributes:
        listening: How many of its tasks wait to be told. It ends by itself then, and is cancelled only when it has not within a
            tick: tasks of asyncio's own that it has made would outlive it.
    """

    listening: int

    def interrupt(self, reason: CloseReason, status: int, /) -> None:
        """Hear what `Exchange.interrupt` is told."""
        ...

    def disconnected(self) -> None:
        """Hear that the client left."""
        ...


class Exchange:
    """The state of one request and its response; the rules are in the module's docstring."""

    __slots__ = (
        "_bodiless",
        "_busy",
        "_checkpoint_if_cancelled",
        "_operations",
        "_plain",
        "_receive",
        "_send",
        "_torn",
        "_turns",
        "_yielded",
        "cancel_scope",
        "cancels",
        "client",
        "close_reason",
        "closing",
        "codecs",
        "declared",
        "deferred",
        "dependant",
        "end_data",
        "entry_exception",
        "expects_body",
        "failure",
        "fields",
        "final",
        "gone",
        "head",
        "head_scope",
        "http1",
        "intake",
        "limits",
        "offered",
        "scope",
        "silent",
        "since",
        "state",
        "sweeper",
        "timeout_status",
        "writing",
        "written",
    )

    intake_type: ClassVar[type[Intake]] = Intake

    head: Head

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, sweeper: Sweeper, limits: Limits
    ) -> None:
        self.scope: Scope = scope
        self._receive = receive
        self._send = send
        self.sweeper: Sweeper = sweeper
        self._checkpoint_if_cancelled = sweeper.checkpoint_if_cancelled
        self.limits: Limits = limits
        self.client: Client | None = None  # what our own runner knows of it
        self.since: float = sweeper.clock()
        self.fields: dict[bytes, bytes] = dict(scope["headers"])

        self.state: State = IDLE
        self.close_reason: CloseReason | None = None
        self.closing: bool = (
            False  # the handler is being cancelled, or its client is gone: no more is sent
        )
        self.timeout_status: int = 503  # what a client that is still there gets when a limit ended the handler before the head
        self.cancel_scope: anyio.CancelScope | None = None  # around the handler
        self.cancels: bool = (
            True  # False: a disconnect cancels nothing (`cancel_on_disconnect=False`)
        )
        self.deferred: (
            list[tuple[Context, Callable[..., Awaitable[object]], tuple[Any, ...]]] | None
        ) = None
        self.failure: BaseException | None = None  # of a handler that failed past the head
        self.offered: BaseException | None = (
            None  # on its way outward: every error handler was asked
        )
        self.silent: Callable[..., object] | None = (
            None  # the last function that returned and had not answered
        )
        self.dependant: Dependant | None = (
            None  # a foreign application that answers for the handler
        )
        self._operations: set[anyio.CancelScope] | None = (
            None  # scopes of single reads and writes, where there is no other
        )

        # The response.
        self.declared: int = UNBOUNDED  # Content-Length of the response, counted before filters
        self.written: int = 0  # body bytes given by the handler
        self.codecs: tuple[Codec, ...] = ()
        self.final: bool = False  # the final message has begun
        self.end_data: bytes | None = (
            None  # of an end() while an exception was in flight: takes effect if the handler returns
        )
        self.entry_exception: BaseException | None = (
            None  # what was in flight when the current handler began
        )
        self.head_scope: anyio.CancelScope | None = (
            None  # HEAD: around the route's handler, left at its first write
        )
        self.writing: float = 0.0  # since when a send is pending; 0.0 is never
        self._plain: bool = False  # started, may have a body, unfiltered, undisturbed: the short way through write()
        self._bodiless: bool = False  # R6
        self._torn: bool = False  # R5
        self._busy: bool = False  # a task is sending
        self._turns: deque[anyio.Event] | None = None  # the tasks that wait to send
        self._yielded: float = 0.0  # when the event loop last had its turn

        # The request.
        self.http1: bool = True
        self.expects_body: bool = False
        self.gone: bool = False  # the client left
        self.intake: Intake | None = None  # its body, once somebody reads, watches or discards it

        # HTTP/1 announces a body by a field (RFC 9112 §6.3); HTTP/2 does not need one (RFC 9113 §8.1).
        if b"content-length" in self.fields or b"transfer-encoding" in self.fields:
            self.expects_body = True
        if scope["http_version"] >= "2":
            self.http1 = False
            if scope["method"] not in _BODILESS:
                self.expects_body = True

    def set_limits(self, limits: Limits) -> None:
        """Apply the limits of the route that matched."""
        self.limits = limits
        if self.intake is not None:
            self.intake.limit = limits.streamed_body_bytes

    def set_cancels(self, cancels: bool) -> None:
        """Apply what the route that matched says of a disconnect (C2)."""
        self.cancels = cancels

    def body(self) -> Intake:
        """Take care of the request body from now on: before, nobody calls the server's `receive`."""
        if self.intake is None:
            self.intake = self.intake_type(self, self._receive)
        return self.intake

    @property
    def declared_body_bytes(self) -> int | None:
        """The Content-Length of the request; None if it is unknown, or unreadable (the front gate refuses that)."""
        value = self.fields.get(b"content-length")
        return int(value) if value is not None and value.isdigit() else None

    @contextmanager
    def own_scope(self) -> Generator[None, None, None]:
        """Let the handler run in a cancel scope of its own, inside the one that it has, if any."""
        around = self.cancel_scope
        self.sweeper.exchanges.add(self)
        try:
            with self.sweeper.new_scope() as self.cancel_scope:
                yield
        finally:
            self.cancel_scope = around
            if around is not None and self.close_reason not in (None, "gone"):
                around.cancel()

    # --- the client leaves, limits run out ----------------------------------------------------------------------------

    def interrupt(self, reason: CloseReason, status: int = 503) -> None:
        """
        End the handler for *reason* (C1, C2).

        *status* is for a client that is still there and has not got the head.
        """
        if reason == "gone" and (self.final or self.state == ENDED):
            return
        if self.close_reason is None:
            self.close_reason = reason
            self.timeout_status = status
        if reason != "gone" or self.cancels:
            if self.dependant is not None and self.dependant.listening:
                self._plain = False
                self.closing = True
            else:
                self._cancel()
        if self.dependant is not None:
            self.dependant.interrupt(reason, status)

    def _cancel(self) -> None:
        self._plain = False
        if self.cancel_scope is not None:
            self.closing = True
            self.cancel_scope.cancel()
        for operation in self._operations or ():
            operation.cancel()

    def fail(self, error: BaseException) -> None:
        """Note that the handler failed past the head: whoever catches the error on its way outward, the response is cut (R2)."""
        if self.state == STARTED:
            self.state = ABORTED
            self.failure = error
            self._plain = False

    def disconnected(self) -> None:
        """Note that the client left."""
        self.gone = self.closing = True
        self._plain = False
        self.interrupt("gone")
        if self.dependant is not None:
            self.dependant.disconnected()

    def left(self) -> None:
        """Hear from the runner that the client is gone. Where that cancels nothing, the reader learns it behind the body."""
        if self.cancels and not self.final:
            self.disconnected()

    def stalled(self) -> None:
        """Hear from the runner that the client took nothing for too long."""
        self.interrupt("stalled")

    def has_started(self) -> bool:
        """Whether the head has left."""
        return self.state != IDLE

    def give_up(self, error: BaseException) -> None:
        """End the handler, because *error* keeps us from looking after it."""
        self.fail(error)
        self.failure = self.failure or error
        self._cancel()

    def server_failed(self, exc: BaseException) -> Message:
        """Take a failing `receive` or `send` for a client that left: ASGI 2.4 servers raise OSError for that."""
        if not isinstance(exc, OSError) and not self.final:
            logger.error("the server failed; its client counts as gone: %r", exc, exc_info=exc)
        self.disconnected()
        return {"type": "http.disconnect"}

    async def raise_gone(self) -> NoReturn:
        """Let the cancellation land; where it cannot (shielded, or opted out), say that the client left."""
        await checkpoint()
        raise ClientDisconnected(f"the client is no longer served: {self.close_reason or 'gone'}")

    async def bounded(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await *call* in a scope of its own where the handler has none, so that limits can end it."""
        if self.cancel_scope is not None:
            return await call()
        if self._operations is None:
            self._operations = set()
            self.sweeper.exchanges.add(self)
        with self.sweeper.new_scope() as scope:
            self._operations.add(scope)
            try:
                return await call()
            finally:
                self._operations.discard(scope)
        await self.raise_gone()

    def look(self, now: float) -> None:
        """Enforce the limits and see to a watcher; the sweeper calls this once a tick."""
        if (
            self.dependant is not None
            and self.close_reason is not None
            and (self.close_reason != "gone" or self.cancels)
        ):
            self._cancel()  # it was told a tick ago, at the latest
        limits = self.limits
        intake = self.intake
        reading = intake is not None and intake.reading
        if self.writing and now - self._last_progress() > limits.write_stall_s:
            self.interrupt("stalled")
        elif intake is not None and intake.is_too_slow(now):
            self.interrupt("stalled", 408)
        elif limits.handler_s is not None and now - self.since > limits.handler_s:
            self.interrupt("deadline")
        if self.gone or reading or now - self.since < TICK_S:
            return
        if self.cancels and self.client is not None and self.client.has_left():
            return self.disconnected()
        if self.final:
            # Still in the last send after a tick: the server may wait for us to take the rest of the body.
            self.body().discard()
        else:
            self.body().watch()

    def _last_progress(self) -> float:
        """Return when the client last took something of the response; our own runner sees each byte of a piece."""
        return self.writing if self.client is None else max(self.writing, self.client.progressed)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """
        Send one piece of the body, and the head before it if that has not left.

        Backpressure: returns when the server took the piece. Cancellation: an interrupted piece may be half on the wire, so the
        response can only be aborted after it (R5); a write cancelled before its turn leaves no trace.
        """
        await self._checkpoint_if_cancelled()
        if not self._plain or self._busy or len(data) > PIECE_BYTES:
            return await self._write_slowly(data)
        written = self.written + len(data)
        if written > self.declared:
            raise self._overrun(len(data))
        self.written = written
        now = self.writing = self.sweeper.clock()
        self._busy = True
        try:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except BaseException as exc:
            await self._interrupted(exc)
        finally:
            self.writing = 0.0
            if self._turns:
                self._give_turn()
            else:
                self._busy = False
        if now - self._yielded > TURN_S:
            self._yielded = now
            if self.written > WATCHED_BYTES:
                self.body().watch()
            await checkpoint()

    async def _write_slowly(self, data: bytes) -> None:
        """Do what `write` does when it comes first, others write too, filters stand in between, or nobody listens."""
        await self._take_turn()
        try:
            if await self._may_send("write"):
                await self._send_piece(data)
        finally:
            self._give_turn()
        await checkpoint()

    async def flush(self) -> None:
        """Send the head if it has not left, and what filters hold back."""
        await self._take_turn()
        try:
            if await self._may_send("flush"):
                await self._send_piece(b"")
                held = b""
                for codec in self.codecs:
                    held = (codec.feed(held) if held else b"") + codec.flush()
                await self._send_body(held)
        finally:
            self._give_turn()
        await checkpoint()

    async def answer(self, body: bytes) -> None:
        """Send head and whole body in one go; the length is declared unless a filter changes it."""
        size = len(body)
        await self._checkpoint_if_cancelled()
        if (
            self._busy
            or self.state != IDLE
            or self.closing
            or (self.expects_body and not self.body().complete)
        ):
            return await self._answer_slowly(body)
        if size > PIECE_BYTES:
            return await self._answer_slowly(body)
        # The short way, for nearly every answer: what _answer() and _send_last() do, without their detours.
        message, _, has_body = self.head.compose(size, False)
        if self.codecs:
            body = self._finished(body)
        self._busy = True
        self.state = STARTED
        self.writing = self.sweeper.clock()
        try:
            await self._send(message)
            if self.closing:
                await self.raise_gone()  # type: ignore[unreachable]  # the client may have left meanwhile
            self.final = True
            await self._send(
                {
                    "type": "http.response.body",
                    "body": body if has_body else b"",
                    "more_body": False,
                }
            )
            self.written = size
            self.state = ENDED
        except BaseException as exc:
            await self._interrupted(exc)
        finally:
            self.writing = 0.0
            self._give_turn()

    async def _answer_slowly(self, body: bytes) -> None:
        await self._take_turn()
        try:
            if await self._may_send("send"):
                if self.state != IDLE:
                    raise ResponseAlreadyEnded("send a whole answer", started=True)
                await self._answer(body)
        finally:
            self._give_turn()

    async def _answer(self, body: bytes) -> None:
        message, _, has_body = self.head.compose(
            len(body), self.expects_body and self.http1 and self.body().costs_connection()
        )
        self.written = len(body)
        self._bodiless = not has_body
        if self.codecs:
            body = self._finished(body)
        self.state = STARTED
        await self._deliver(message)
        if self.closing:
            await self.raise_gone()
        await self._send_last(body if has_body else b"")

    async def end(self, data: bytes = b"") -> None:
        """
        End the response: flush what filters hold, check the length, send the final message.

        While an exception is in flight (a `finally`, an `except`) it takes effect only if the handler then returns (R2).
        """
        in_flight = sys.exception()
        await self._take_turn()
        try:
            if not await self._may_send("end"):
                return
            if in_flight is not None and in_flight is not self.entry_exception:
                self.end_data = data
            else:
                await self._end(data)
        finally:
            self._give_turn()

    async def conclude(self) -> None:
        """End the response of a handler that returned."""
        await self._take_turn()
        try:
            await self._end(self.end_data or b"")
        finally:
            self._give_turn()

    async def abort(self) -> NoReturn:
        """Cut the response on purpose; before the head it is an empty 500. Never returns."""
        if self.state == IDLE and not self.closing:
            fields = [
                (b"content-length", b"0"),
                *([(b"connection", b"close")] if self.http1 else []),
            ]
            self.state = STARTED
            self.closing = True  # for other writers
            await self._deliver({"type": "http.response.start", "status": 500, "headers": fields})
            await self._send_last(b"")
        elif self.state == STARTED:
            self.state = ABORTED
        self._cancel()
        await checkpoint()
        raise ResponseAborted("res.abort() cut the response")

    # The parts of the verbs above; whoever calls them has the turn.

    async def _send_piece(self, data: bytes) -> None:
        if self.state == IDLE:
            await self._send_head(len(data))
        if self._bodiless:
            return await self._leave_head_handler()
        if data:
            self._account(data)
            for codec in self.codecs:
                data = codec.feed(data)
            await self._send_body(data)

    async def _send_head(self, first: int) -> None:
        message, declared, has_body = self.head.compose(None, False)
        if has_body:
            if declared is not None:
                self.declared = declared
            if first > self.declared:
                error = self._overrun(first)
                self.declared = UNBOUNDED
                raise error
        self._bodiless = not has_body
        self.state = STARTED
        await self._deliver(message)
        self._plain = (
            has_body and not self.codecs and self.cancel_scope is not None and not self.closing
        )
        self._yielded = self.sweeper.clock()

    async def _send_body(self, data: bytes) -> None:
        if not self._bodiless:
            for at in range(0, len(data), PIECE_BYTES):
                if self.closing:
                    await self.raise_gone()
                await self._deliver(
                    {
                        "type": "http.response.body",
                        "body": data[at : at + PIECE_BYTES],
                        "more_body": True,
                    }
                )

    async def _end(self, data: bytes) -> None:
        if self.state == IDLE:
            return await self._answer(data)
        if self._bodiless:
            return await self._send_last(b"")
        if data:
            self._account(data)
        if self.declared not in (UNBOUNDED, self.written):
            raise ContentLengthMismatch(
                f"the response declared a Content-Length of {self.declared} bytes and ended after {self.written}: it is "
                "aborted, so that it does not look whole. Write as much as you declare, or leave the length out."
            )
        await self._send_last(self._finished(data))

    def _finished(self, data: bytes) -> bytes:
        for codec in self.codecs:
            data = (codec.feed(data) if data else b"") + codec.finish()
        return data

    async def _send_last(self, body: bytes) -> None:
        """Send the final message, and what of a large body comes before it, taking what is left of the request beside it."""
        self._refuse_torn()
        self._plain = False
        if self.expects_body and b"expect" not in self.fields and not self.body().arrived():
            self.body().discard()
        if len(body) > PIECE_BYTES:
            last = (len(body) - 1) // PIECE_BYTES * PIECE_BYTES
            await self._send_body(body[:last])
            body = body[last:]
            if self.closing:
                await self.raise_gone()
        self.final = True
        await self._deliver({"type": "http.response.body", "body": body, "more_body": False})
        self.state = ENDED

    async def _deliver(self, message: Message) -> None:
        self.writing = self.sweeper.clock()
        try:
            await (
                self._send(message)
                if self.cancel_scope is not None
                else self.bounded(lambda: self._send(message))
            )
        except BaseException as exc:
            await self._interrupted(exc)
        finally:
            self.writing = 0.0

    async def _interrupted(self, exc: BaseException) -> NoReturn:
        """Note that a send was cut short: by a client that left, by cancellation, or by a server that failed (R5)."""
        self._torn = True
        self._plain = False
        # hypercorn's trio worker fails in the last send when the client, who has all it wants, closes meanwhile (0.18).
        if not isinstance(exc, NardisError) and parted(exc)[0] is None:
            self.server_failed(exc)
            await self.raise_gone()
        raise exc

    async def _leave_head_handler(self) -> None:
        """HEAD: the head says everything. End the exchange and, quietly, the route's handler."""
        if self.head_scope is not None:
            await self._send_last(b"")
            self.head_scope.cancel()

    async def _may_send(self, verb: str) -> bool:
        """Refuse what may not be sent any more (R3); False: drop it quietly."""
        if self.head_scope is not None and self.head_scope.cancel_called:
            return False  # a HEAD handler on its way out behind a shield
        if self.closing:
            await self.raise_gone()
        if self.state == ENDED or self.end_data is not None:
            raise ResponseAlreadyEnded(verb)
        self._refuse_torn()
        await self._checkpoint_if_cancelled()
        return True

    def _refuse_torn(self) -> None:
        if self.state == ABORTED:
            raise ResponseAborted(
                "the response was cut: its handler failed past the head, or called res.abort()"
            )
        if self._torn:
            raise ResponseAborted(
                "a write was interrupted half-way: the response cannot go on, the client would see a gap"
            )

    def _account(self, data: bytes) -> None:
        if self.written + len(data) > self.declared:
            raise self._overrun(len(data))
        self.written += len(data)

    def _overrun(self, size: int) -> ContentLengthMismatch:
        return ContentLengthMismatch(
            f"{size} bytes more after {self.written} would exceed the declared Content-Length of {self.declared}: none of them "
            "was sent. Write as much as you declare, or leave the length out."
        )

    async def _take_turn(self) -> None:
        """Wait until no other task is sending; first come, first served (R5)."""
        if not self._busy:
            self._busy = True
            return
        if self._turns is None:
            self._turns = deque()
        turn = anyio.Event()
        self._turns.append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self._give_turn()
            else:
                self._turns.remove(turn)
            raise

    def _give_turn(self) -> None:
        if self._turns:
            self._turns.popleft().set()
        else:
            self._busy = False

    # --- the end ------------------------------------------------------------------------------------------------------

    async def clean_up(self) -> None:
        """
        Let go of the server: the watcher ends (C3). Then run what was deferred, last first.

        All of it has `cleanup_s`; a failing one is logged, and the others still run.
        """
        if self.intake is not None:
            self.intake.close()
        if not self.deferred:
            return
        with shielded(self.limits.cleanup_s) as scope:
            while self.deferred:
                context, call, args = self.deferred.pop()
                try:
                    with _variables_of(context):
                        await call(*args)
                except BaseException as exc:
                    going, failure = parted(exc)
                    if failure is not None:
                        logger.error("a deferred clean-up failed: %r", call, exc_info=failure)
                    if going is not None:
                        raise
        if scope.cancelled_caught:
            logger.error(
                "deferred clean-up took longer than cleanup_s=%s and was cut", self.limits.cleanup_s
            )


@contextmanager
def _variables_of(context: Context) -> Generator[None, None, None]:
    """Give context variables the values that they had in *context*; those that it does not know keep theirs."""
    missing = object()
    changed = [
        (each, each.set(value)) for each, value in context.items() if each.get(missing) is not value
    ]
    try:
        yield
    finally:
        for variable, token in changed:
            variable.reset(token)
