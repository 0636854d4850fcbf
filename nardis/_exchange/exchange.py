"""
One HTTP exchange: the response to one request, and the door to its body. Rules R1 to R7.

The exchange is the only caller of the server's `send`; the rules stand at the door of this room.
"""

from __future__ import annotations

from io import FileIO
from sys import exception
from typing import Final, NoReturn, Self

import anyio
from anyio.lowlevel import checkpoint

from .._asgi.extensions import FILE, PATH
from .._http.fields import BODILESS_METHODS, declared_length
from .._turns import Waiting
from ..errors import (
    ContentLengthMismatch,
    NoResponse,
    ResponseAborted,
    ResponseAlreadyStarted,
)
from ..limits import Limits
from ..types import Composed, Composes, Filter, Message, Receive, Scope, Send
from .filtering import holds_back, passed
from .intake import Intake
from .ledger import ABORTED, ENDED, IDLE, STARTED, UNBOUNDED, Ledger, State
from .pulse import Pulse
from .sweeper import Sweeper
from .turns import TURN_S, Calls

__all__ = ["ABORTED", "ENDED", "IDLE", "PIECE_BYTES", "STARTED", "Exchange"]

# What is handed to the server at once. A larger body goes out in pieces of this size, so that a
# slow client's progress shows: `write_stall_s` is the time without any.
PIECE_BYTES: Final = 64 * 1024

# A stream that has come this far is watched without waiting for the sweeper: what a fast handler
# writes until its client is known to have left is lost, and on hypercorn's asyncio worker stays in
# memory.
WATCHED_BYTES: Final = 1024 * 1024


class Exchange(Ledger):
    """
    The state of one request and its response.

    Attributes:
        head: The response, which composes its head.
        filters: What the body passes on its way out.
        entry_exception: What was in flight when the current handler began.
    """

    __slots__ = ("_bodiless", "entry_exception", "filters", "head")

    head: Composes

    def begin(
        self, scope: Scope, receive: Receive, send: Send, sweeper: Sweeper, limits: Limits
    ) -> Self:
        """Take a request over from the server; it is the constructor: see `Lifetime.begin_life`."""
        self.begin_life(scope, sweeper, limits)
        self._receive, self._send = receive, send
        self._is_cancelled, self._clock = sweeper.is_cancelled, sweeper.clock

        fields: dict[bytes, bytes] = dict(scope["headers"])
        self.fields: dict[bytes, bytes] = fields
        self.intake: Intake | None = None
        http1: bool = scope["http_version"] < "2"
        self.http1: bool = http1
        # HTTP/1 announces a body by a field (RFC 9112 §6.3); HTTP/2 need not (RFC 9113 §8.1).
        announced = b"content-length" in fields or b"transfer-encoding" in fields
        self.expects_body: bool = announced or not (http1 or scope["method"] in BODILESS_METHODS)
        self.state: State = IDLE
        self.ending: bool = False
        self.content_length: int = UNBOUNDED
        self.written: int = 0
        self.writing: float = 0.0
        self.filters: tuple[Filter, ...] = ()
        self.end_data: bytes | None = None
        self.entry_exception: BaseException | None = exception()
        self.head_scope: anyio.CancelScope | None = None
        self.pulse: Pulse | None = None
        # Started, may have a body, unfiltered, untorn: the short way through write().
        self._plain: bool = False
        self._bodiless = self._torn = False  # R6, R5
        self._busy: bool = False  # a task is sending
        self._turns: Waiting | None = None  # the tasks that wait to send
        self._yields_at: float = 0.0  # when the event loop has its next turn
        return self

    # --- writing --------------------------------------------------------------------------------

    async def write(self, data: bytes, calls: Calls | None = None) -> None:
        """
        Send one piece of the body, and the head before it if that has not left.

        *calls* is the response that notes its verbs, where this is one of them.

        Backpressure: returns when the server took the piece. Cancellation: an interrupted piece may
        be half on the wire, so the response can only be aborted after it (R5); a write cancelled
        before its turn leaves no trace.
        """
        # In locals, because CPython 3.11 is slow to call what a slot holds.
        is_cancelled = self._is_cancelled
        size = len(data)
        if is_cancelled() or not self._plain or self.closing or self._busy or size > PIECE_BYTES:
            return await self._write_slowly(data)
        written = self.written + size
        if written > self.content_length:
            raise ContentLengthMismatch.beyond(self.content_length, self.written, size)
        if calls is not None and calls.earlier is None:
            calls.unawaited = None
        self.written = written
        clock, send = self._clock, self._send
        now = self.writing = clock()
        self._busy = True
        try:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        except BaseException as exc:
            await self._interrupted(exc)
        finally:
            self.writing = 0.0
            if self._turns:
                self._give_turn()
            else:
                self._busy = False
        if now > self._yields_at:
            self._yields_at = now + TURN_S
            if self.written > WATCHED_BYTES:
                self.open_body().watch()
            await checkpoint()

    async def _write_slowly(self, data: bytes) -> None:
        """Write the first piece, a large or filtered one, or one that has to wait."""
        if self._is_cancelled():
            await checkpoint()
        await self._take_turn()
        try:
            if await self._may_send("write"):
                await self._send_piece(data)
        finally:
            self._give_turn()
        await self._yield()

    async def _yield(self) -> None:
        """Give the event loop its turn, once a millisecond."""
        now = self._clock()
        if now > self._yields_at or self.state == ENDED:  # HEAD: the handler is cancelled here
            self._yields_at = now + TURN_S
            await checkpoint()

    async def send_file(self, file: FileIO, offset: int, count: int) -> bool:
        """
        Have the server send *count* bytes of an open file as one piece of the body.

        Returns False if it cannot, because the body is filtered: then nothing of it was sent, and
        `write` goes on. Ask `takes_files` before.

        Backpressure, cancellation: as `write`.
        """
        await self._take_turn()
        try:
            if not await self._may_send("send a file"):
                return True
            if self.state == IDLE:
                await self._send_head(count)
            if self._bodiless:
                await self._leave_head_handler()
            elif self.filters:
                return False
            else:
                self._account(count)
                part = {"file": file, "offset": offset, "count": count}
                await self._deliver({"type": FILE, **part, "more_body": True})
        finally:
            self._give_turn()
        await self._yield()
        return True

    async def send_path(self, path: str, size: int) -> bool:
        """
        Have the server send a whole file of *size* bytes, and end the response.

        Returns False if it cannot, as `send_file`. Ask `takes_paths` before.
        """
        await self._take_turn()
        try:
            if not await self._may_send("send a file"):
                return True
            if self.state != IDLE:
                return False
            await self._send_head(size)
            if self._bodiless or self.filters or self.head.trailers is not None:
                return False
            self._account(size)
            await self._send_end({"type": PATH, "path": path})
        finally:
            self._give_turn()
        return True

    @property
    def has_no_body(self) -> bool:
        """Whether the head has left, and said that nothing stands behind it (R6)."""
        return self._bodiless

    async def flush(self) -> None:
        """Send the head if it has not left, and what filters hold back."""
        await self._take_turn()
        try:
            if await self._may_send("flush"):
                await self._send_piece(b"", flush=True)
        finally:
            self._give_turn()
        await checkpoint()

    async def answer(self, body: bytes, calls: Calls | None = None) -> None:
        """
        Send head and whole body in one go; the length is declared unless a filter changes it.

        *calls* as in `write`.
        """
        size = len(body)
        if calls is not None and calls.earlier is None:
            calls.unawaited = None
        is_cancelled, clock, send = self._is_cancelled, self._clock, self._send  # see write()
        if is_cancelled():
            await checkpoint()
        if (
            self.state != IDLE
            or self._busy
            or self.closing
            or size > PIECE_BYTES
            or (self.expects_body and not self.open_body().complete)
        ):
            return await self._answer_slowly(body)
        # The short way, for nearly all: what _answer() and _send_last() do, without detours.
        composed = message, _, has_body, filters = self.head.compose(size, self.http1, False)
        self._busy = True
        if filters:
            return await self._answer_filtered(composed, body)
        self.state = STARTED
        self.writing = clock()
        try:
            await send(message)
            if self.closing:
                await self.raise_gone()  # type: ignore[unreachable]  # the client left meanwhile
            self.ending = True
            last = body if has_body else b""
            await send({"type": "http.response.body", "body": last, "more_body": False})
            if "trailers" in message and self.head.trailers is not None:
                await send(self.head.trailers)
            self.written = size
            self.state = ENDED
        except BaseException as exc:
            await self._interrupted(exc)
        finally:
            self.writing = 0.0
            if self._turns:
                self._give_turn()
            else:
                self._busy = False

    async def _answer_slowly(self, body: bytes) -> None:
        await self._take_turn()
        try:
            if await self._may_send("send"):
                if self.state != IDLE:
                    raise ResponseAlreadyStarted("send a whole answer")
                await self._answer(body)
        finally:
            self._give_turn()

    async def _answer(self, body: bytes) -> None:
        await self._send_answer(self._compose_whole(len(body)), body)

    def _compose_whole(self, size: int) -> Composed:
        close = self.expects_body and self.http1 and self.open_body().costs_connection()
        return self.head.compose(size, self.http1, close)

    async def _answer_filtered(self, composed: Composed, body: bytes) -> None:
        try:
            await self._send_answer(composed, body)
        finally:
            self._give_turn()

    async def _send_answer(self, composed: Composed, body: bytes) -> None:
        message, _, has_body, self.filters = composed
        self.written = len(body)
        self._bodiless = not has_body
        if self.filters:
            body = await self._filtered(body, finish=True)
        self.state = STARTED
        await self._deliver(message)
        if self.closing:
            await self.raise_gone()
        await self._send_last(body if has_body else b"")

    async def end(self, data: bytes = b"", *, at_once: bool = False) -> None:
        """
        End the response: flush what filters hold, check the length, send the final message.

        While an exception is in flight (a `finally`, an `except`) it takes effect only if the
        handler then returns (R2), unless it is *at_once*: the exception goes no further.
        """
        in_flight = None if at_once else exception()
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

    async def hint(self, message: Message | None) -> None:
        """Send early hints if the head has not left; None is a server that takes none."""
        await self._take_turn()
        try:
            if await self._may_send("send early hints") and message and self.state == IDLE:
                await self._deliver(message)
        finally:
            self._give_turn()
        await checkpoint()

    async def abort(self) -> NoReturn:
        """Cut the response on purpose; before the head it is an empty 500. Never returns."""
        was_open = not self.closing
        self.closing = True  # for other writers
        if self.state == IDLE and was_open:
            fields = [(b"content-length", b"0")]
            if self.http1:
                fields.append((b"connection", b"close"))
            self.state = STARTED
            self._bodiless = True
            await self._deliver({"type": "http.response.start", "status": 500, "headers": fields})
            await self._send_last(b"")
        elif self.state == STARTED:
            self.state = ABORTED
        self.cancel()
        await checkpoint()
        raise ResponseAborted("res.abort() cut the response")

    # The parts of the verbs above; whoever calls them has the turn.

    async def _send_piece(self, data: bytes, *, flush: bool = False) -> None:
        # A server may keep the head back for a first message of the body: an empty one lets it go.
        lets_go = self.state == IDLE and not data
        if self.state == IDLE:
            await self._send_head(len(data))
        if self._bodiless:
            return await self._leave_head_handler()
        if data:
            self._account(len(data))
        if self.filters:
            data = await self._filtered(data, flush=flush)
        if data or lets_go:
            await self._send_body(data)

    async def _send_head(self, first: int) -> None:
        message, declared, has_body, self.filters = self.head.compose(None, self.http1, False)
        if has_body:
            if declared is not None:
                self.content_length = declared
            if first > self.content_length:
                error = ContentLengthMismatch.beyond(self.content_length, 0, first)
                self.content_length = UNBOUNDED
                raise error
        self._bodiless = not has_body
        self.state = STARTED
        await self._deliver(message)
        self._plain = (
            has_body and not self.filters and self.cancel_scope is not None and not self.closing
        )
        self._yields_at = self._clock() + TURN_S
        if self.filters and has_body and holds_back(self.filters):
            Pulse(self).start()

    async def _send_body(self, data: bytes) -> None:
        for at in range(0, len(data) or 1, PIECE_BYTES):
            if self.closing:
                await self.raise_gone()
            piece = data[at : at + PIECE_BYTES]
            await self._deliver({"type": "http.response.body", "body": piece, "more_body": True})

    async def _end(self, data: bytes) -> None:
        if self.state == IDLE:
            return await self._end_at_once(data)
        if self._bodiless:
            return await self._send_last(b"")
        if data:
            self._account(len(data))
        if self.content_length not in (UNBOUNDED, self.written):
            raise ContentLengthMismatch.short(self.content_length, self.written)
        if self.filters:
            data = await self._filtered(data, finish=True)
        await self._send_last(data)

    async def _end_at_once(self, data: bytes) -> None:
        """
        End a response that has not begun.

        Unlike an answer in one piece it keeps to the length that was declared: the source of a
        body that turned out to be empty broke off (R4).
        """
        size = len(data)
        declared = declared_length(self.head.peek(b"content-length"))
        composed = self._compose_whole(size)
        if composed[2] and declared is not None and size != declared:
            if size > declared:
                raise ContentLengthMismatch.beyond(declared, 0, size)
            raise ContentLengthMismatch.short(declared, size)
        await self._send_answer(composed, data)

    async def _filtered(self, data: bytes, *, flush: bool = False, finish: bool = False) -> bytes:
        """Pass a piece through the filters: interrupted, it tears the response (R5)."""
        self._refuse_torn()
        self._torn = True
        data = await passed(self.filters, data, flush=flush, finish=finish)
        self._torn = False
        if self.closing or self.state == ABORTED:  # meanwhile
            await self.raise_gone()
        return data

    async def _send_last(self, body: bytes) -> None:
        """
        Send the final message, and before it the first part of a large body.

        Beside it the rest of the request is discarded.
        """
        self._refuse_torn()
        self._plain = False
        if self.expects_body and b"expect" not in self.fields and not self.open_body().arrived():
            self.open_body().discard()
        if len(body) > PIECE_BYTES:
            last = (len(body) - 1) // PIECE_BYTES * PIECE_BYTES
            await self._send_body(body[:last])
            body = body[last:]
            if self.closing:
                await self.raise_gone()
        await self._send_end({"type": "http.response.body", "body": body, "more_body": False})

    async def _send_end(self, message: Message) -> None:
        """Send the message that ends the body, and the trailers."""
        self.ending = True
        await self._deliver(message)
        if self.head.trailers is not None and not self._bodiless:
            await self._deliver(self.head.trailers)
        self.state = ENDED

    async def _leave_head_handler(self) -> None:
        """HEAD: the head says everything. End the exchange and, quietly, the route's handler."""
        if self.head_scope is not None:
            await self._send_last(b"")
            self.head_scope.cancel()

    # --- the end --------------------------------------------------------------------------------

    async def finish(self, silent: tuple[str, ...] | None) -> None:
        """
        End the response of a chain that returned.

        *silent* is what a `NoResponse` takes of the last function that returned without an answer.

        Raises:
            NoResponse: Nobody answered; it names *silent*.
        """
        if self.state == IDLE and self.end_data is None:
            raise NoResponse(*(silent or ("the application",)))
        if self.state == STARTED or self.end_data is not None:
            await self._take_turn()
            try:
                if not self._is_ended():  # by another task that was sending
                    await self._end(self.end_data or b"")
            finally:
                self._give_turn()

    def _is_ended(self) -> bool:
        return self.state == ENDED
