"""`receive` and `send` for a foreign application, over one exchange."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import anyio

from .._exchange.exchange import IDLE, CloseReason, Exchange
from .._failures import parted
from .._http import fields
from .._sending.sources import to_bytes
from ..errors import (
    ClientDisconnected,
    ContentLengthMismatch,
    FieldError,
    HTTPError,
    NoResponse,
    ResponseAborted,
    ResponseAlreadyEnded,
    UsageError,
)
from ..types import ASGIApp, Message, Scope

if TYPE_CHECKING:
    from ..request import Request
    from ..response import Response

__all__ = ["Gate", "merge_head"]


# Several lines of these stand beside each other; of any other field the inner answer wins.
_ADDED = frozenset({b"set-cookie", b"vary"})

# Framing is the server's affair; the ASGI specification has it ignore this field too.
_FRAMING = b"transfer-encoding"


class Gate:
    """
    `receive` and `send` for a foreign application, over one exchange.

    Attributes:
        failure: Of the handler behind a middleware, past its head: from now on nothing goes out, whoever caught the error.
        inner: The exchange of that handler, while it runs.
        ended: The final message was given.
        listening: How many tasks wait for the client to leave.
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
        "inner",
        "listening",
    )

    def __init__(self, req: Request, res: Response) -> None:
        exchange = req._exchange
        self._req = req
        self._res = res
        self._exchange = exchange
        self._lock = anyio.Lock(fast_acquire=True)
        self._left = anyio.Event()
        self._complete = False
        self._started = False
        self.ended: bool = False
        self.listening: int = 0
        self.failure: BaseException | None = None
        self.inner: Exchange | None = None
        if exchange.gone:
            self._left.set()
        exchange.dependant = self

    async def run(self, app: ASGIApp, scope: Scope, name: str) -> None:
        """Let *app* answer; raises what it raised, or that it did not bring its answer to an end."""
        try:
            await app(scope, self.receive, self.send)
        except BaseException as exc:
            if self.failure is None or parted(exc)[0] is not None:
                raise  # else it came of that
        finally:
            self.ended = True
            self._left.set()
            self._exchange.dependant = None
        if self.failure is not None:
            raise self.failure
        exchange = self._exchange
        if exchange.close_reason is not None and not exchange.final:
            raise ClientDisconnected(f"{name} was told that it is over: {exchange.close_reason}")
        if exchange.closing or exchange.final or exchange.end_data is not None:
            return
        if exchange.state == IDLE:
            raise NoResponse(name)
        raise UsageError(
            f"{name} returned without ending the response it began: ASGI wants a last message, without `more_body`"
        )

    # --- what happens outside -----------------------------------------------------------------------------------------

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

    # --- for the application ------------------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """Give the next message: those of the body, once and one caller at a time, and when the client left, that, for ever."""
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
        body = self._req._gathered
        if body is None:
            body = b""
            intake = self._exchange.body()
            read = self._req._body
            try:
                if read is not None and read._rest:
                    body, read._rest = read._rest, b""
                else:
                    body = await intake.next_chunk()
            except StopAsyncIteration:
                pass
            except ClientDisconnected:
                self._left.set()
                return None
            self._complete = intake.complete
        else:
            self._complete = True
        return {"type": "http.request", "body": body, "more_body": not self._complete}

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
            merge_head(self._res, message)
            self._started = True
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
        # The head goes with the first of them, as ASGI has servers do: until then an error can still be answered.
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
        if self.inner is not None and not self.inner.final:
            self.inner.disconnected()  # the middleware answers by itself: the handler has nobody left to talk to

    def _check_length(self, size: int) -> None:
        """Refuse a whole body of another length than its head says, which `res.send()` would put right."""
        if self._req.method == "HEAD" or self._res.status_code in (204, 304):
            return
        declared = fields.content_length(self._res._peek(b"content-length"))
        if declared not in (None, size):
            raise ContentLengthMismatch(
                f"an ASGI application declared a Content-Length of {declared} bytes and sent {size}"
            )


def merge_head(res: Response, message: Message) -> None:
    """Merge a foreign head into *res*: the status is replaced, and each field; Set-Cookie and Vary are added."""
    res.status(message["status"])
    lines = [
        (_name(name), value)
        for name, value in cast("Iterable[tuple[bytes, bytes]]", message.get("headers", ()))
    ]
    given = [
        (name, fields.check_value(name.decode(), value.decode("latin-1")))
        for name, value in lines
        if name != _FRAMING
    ]
    replaced = {name for name, _ in given} - _ADDED
    res._fields[:] = [line for line in res._fields if line[0] not in replaced]
    lengths = {value for name, value in given if name == b"content-length"}
    try:
        if len(lengths) > 1 or any(fields.content_length(value) is None for value in lengths):
            raise FieldError("an ASGI application sent more than one Content-Length")
    except HTTPError as exc:
        raise FieldError(
            "an ASGI application sent a Content-Length that is no number of bytes"
        ) from exc
    for name, value in given:
        if name == b"vary":
            res.vary(value.decode("latin-1"))
        elif name != b"content-length":
            res._fields.append((name, value))
    res._fields.extend((b"content-length", value) for value in lengths)


def _name(name: bytes) -> bytes:
    return fields.check_name(name.decode("latin-1"))
