"""`receive` and `send` for a foreign application, over one exchange."""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from .._exchange.exchange import IDLE, Exchange
from .._failures import parted
from .._http.fields import BODILESS_STATUSES, content_length
from .._sending.sources import to_bytes
from ..errors import (
    ClientDisconnected,
    ContentLengthMismatch,
    NoResponse,
    ResponseAborted,
    ResponseAlreadyEnded,
    UsageError,
)
from ..request import Request
from ..response import Response
from ..types import ASGIApp, CloseReason, Message, Scope

__all__ = ["Doorway"]


class Doorway:
    """
    `receive` and `send` for a foreign application, over one exchange.

    Attributes:
        failure: Of the handler behind a middleware, past its head: from now on nothing goes out,
            whoever caught the error.
        inner: The exchange of that handler, while it runs.
        ended: The final message was given.
        listening: How many tasks wait for the client to leave.
        has_trailers: The handler behind a middleware has given `res` some.
    """

    __slots__ = (
        "_complete",
        "_exchange",
        "_left",
        "_lock",
        "_req",
        "_res",
        "_started",
        "ended",
        "failure",
        "has_trailers",
        "inner",
        "listening",
    )

    def __init__(self, req: Request, res: Response) -> None:
        exchange = req.exchange
        self._req = req
        self._res = res
        self._exchange = exchange
        self._lock = anyio.Lock(fast_acquire=True)
        self._left = anyio.Event()
        self._complete = False
        self._started = False
        self.ended: bool = False
        self.listening: int = 0
        self.has_trailers: bool = False
        self.failure: BaseException | None = None
        self.inner: Exchange | None = None

    async def run(self, app: ASGIApp, scope: Scope, name: str) -> None:
        """
        Let *app* answer.

        Raises what it raised, or that it did not bring its answer to an end.
        """
        self._exchange.dependant = self
        if self._exchange.gone:
            self._left.set()
        try:
            await app(scope, self.receive, self.send)
        except BaseException as exc:
            if self.failure is None or parted(exc)[0] is not None:
                raise  # else it came of that
        finally:
            self.ended = True
            self._left.set()
            self._exchange.dependant = None
            failure, self.failure = self.failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure  # a circle: its traceback has this frame
        exchange = self._exchange
        if exchange.close_reason is not None and not exchange.ending:
            raise ClientDisconnected(f"{name} was told that it is over: {exchange.close_reason}")
        if exchange.closing or exchange.ending or exchange.end_data is not None:
            return
        if exchange.state == IDLE:
            raise NoResponse(name)
        raise UsageError(
            f"{name} returned without ending the response it began: ASGI wants a last message, "
            "without `more_body`"
        )

    # --- what happens outside ---------------------------------------------------------------------

    def interrupt(self, reason: CloseReason, status: int) -> None:
        """Pass on why the handler ends; an application that listens knows only one reason."""
        if self.listening:
            self._left.set()
        if self.inner is not None:
            self.inner.interrupt(reason, status)

    def disconnected(self) -> None:
        """Let whoever waits in `receive` know that the client left."""
        self._left.set()
        if self.inner is not None:
            self.inner.disconnected()

    def fail(self, error: BaseException) -> None:
        """Note that the handler behind a middleware failed past its head."""
        if not self.ended and self.failure is None:
            self.failure = error
            self._exchange.fail(error)

    # --- for the application ----------------------------------------------------------------------

    async def receive(self) -> Message:
        """
        Return the next message.

        Those of the body come once, to one caller at a time. When the client left, that comes for
        ever.
        """
        if not self._complete:
            async with self._lock:
                message = await self._next_message()
            if message is not None:
                return message
        self.listening += 1
        try:
            await self._left.wait()
        finally:
            self.listening -= 1
        return {"type": "http.disconnect"}

    async def _next_message(self) -> Message | None:
        if self._complete or self._left.is_set():
            return None
        try:
            body, more = await self._req.take_body()
        except ClientDisconnected:
            self._left.set()
            return None
        self._complete = not more
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(self, message: Message) -> None:
        """
        Take the next message of the answer.

        Raises:
            UsageError: It is not the one that ASGI wants here.
            FieldError: A header field that HTTP does not allow.
            ContentLengthMismatch: The body is longer or shorter than its head said.
            ResponseAborted: The handler failed past the head.
        """
        kind = message["type"]
        if self.failure is not None:
            raise ResponseAborted(
                "the response was cut: the handler behind this middleware failed past its head"
            )
        if self.ended:
            raise ResponseAlreadyEnded(f"send {kind!r}")
        if kind == "http.response.start" and not self._started:
            self._res.merge(message)
            self._started = True
            if self.has_trailers and not _announces_trailers(message):
                # The middleware answers by itself: they belong to the answer that it put away.
                self._res.trailers = None
                self._res.remove("trailer")
        elif kind == "http.response.body" and self._started:
            try:
                await self._send_body(message)
            except BaseException as exc:
                if parted(exc)[0] is None:
                    self.failure = exc  # what went out so far has a gap now
                    self._exchange.fail(exc)
                raise
        else:
            expected = "http.response.body" if self._started else "http.response.start"
            raise UsageError(f"an ASGI application sent {kind!r} where {expected!r} was due")

    async def _send_body(self, message: Message) -> None:
        body = to_bytes(message.get("body", b""), "an ASGI body message")
        if not message.get("more_body", False):
            await self._send_last(body)
        # The head goes with the first of them, as ASGI has servers do: until then an error can
        # still be answered.
        elif body or self._exchange.state == IDLE:
            await self._exchange.write(body)

    async def _send_last(self, body: bytes) -> None:
        self.ended = True
        exchange = self._exchange
        exchange.head_scope = (
            None  # this application has come to its end: there is nothing to spare it
        )
        if exchange.state != IDLE:
            await exchange.end(body)
        elif self._req.method == "HEAD" and not body:
            await (
                exchange.flush()
            )  # without a word on the length: an application leaves the body of HEAD out
            await exchange.end()
        else:
            self._check_length(len(body))
            await exchange.answer(body)
        self._left.set()
        if self.inner is not None and not self.inner.ending:
            # The middleware answers by itself: the handler has nobody left to talk to.
            self.inner.disconnected()

    def _check_length(self, size: int) -> None:
        """Refuse a whole body of another length than its head says; `res.send()` would mend it."""
        if self._req.method == "HEAD" or self._res.status_code in BODILESS_STATUSES:
            return
        declared = content_length(self._res.peek(b"content-length"))
        if declared not in (None, size):
            raise ContentLengthMismatch(
                f"an ASGI application declared a Content-Length of {declared} bytes and sent {size}"
            )


def _announces_trailers(message: Message) -> bool:
    lines: Iterable[tuple[bytes, bytes]] = message.get("headers", ())
    return any(name.lower() == b"trailer" for name, _ in lines)
