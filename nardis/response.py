"""
The response: what a handler sends. Setters are sync and chain; what moves bytes is awaited.

Source: RFC 9110 (semantics), RFC 9113 §8.2.2 (fields that HTTP/2 forbids), the ASGI HTTP
specification.
"""

from __future__ import annotations

from collections.abc import Coroutine
from inspect import CORO_CREATED, getcoroutinestate
from types import CoroutineType
from typing import Any, NoReturn, TypeAlias

from ._exchange.exchange import ENDED, IDLE, Exchange
from ._models import encode_json
from ._sending.head import HTML, JSON, OCTETS, UTF8, ResponseHead
from ._sending.sources import pump, to_bytes
from .errors import UsageError, reason_phrase
from .request import Request

__all__ = ["Response"]

Verb: TypeAlias = Coroutine[Any, Any, None]


class Response(ResponseHead):
    """
    One HTTP response: a status, header fields, and a body that is sent whole or in pieces.

    Attributes:
        req: The request it answers.
        status_code: 200 to 999; set it with `status()` or directly, until the head is sent.
        unawaited: For Nardis itself: the last verb called, to find one that was never awaited.
    """

    __slots__ = ("_exchange", "_keeps_open", "req", "unawaited")

    def __init__(self, req: Request, exchange: Exchange) -> None:
        self._is_head = req.method == "HEAD"
        self._status = 200
        self._fields = []
        self._filters = ()
        self._hooks = None
        self.sealed = False
        self.req: Request = req
        self._exchange = exchange
        self._keeps_open = False  # a `send(more=True)`, or `send_head()`: the next `send` ends it
        self.unawaited: CoroutineType[Any, Any, None] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._status}{' started' if self.started else ''}>"

    @property
    def started(self) -> bool:
        """Whether the head was sent: status and fields can no longer change."""
        return self._exchange.state != IDLE

    @property
    def finished(self) -> bool:
        """Whether the final message was sent."""
        return self._exchange.state == ENDED

    @property
    def bytes_sent(self) -> int:
        """Body bytes given so far, before any filter."""
        return self._exchange.written

    # --- sending ----------------------------------------------------------------------------------

    # The verbs are plain functions around one coroutine of the exchange: no level of coroutine more
    # than needed, and the end of the handler can tell by `unawaited` whether the last one was ever
    # awaited.

    def send(self, body: object = None, *, more: bool = False) -> Verb:
        """
        Send the whole answer: `str` as HTML, bytes as octets, None as nothing, the rest as JSON.

        A Content-Type that is already set is kept. With `more=True` it is a `write()` that also
        sets the type: the response stays open until the next `send()` without it, or the end of the
        handler.

        Backpressure and cancellation: as `write()`.
        """
        if isinstance(body, str):
            default, data = HTML, body.encode()
        elif isinstance(body, (bytes, bytearray, memoryview)):
            default, data = OCTETS, to_bytes(body, "send()")
        elif body is None:
            default, data = None, b""
        else:
            default, data = JSON, encode_json(body, self.req.app.json_codec)
        if default is not None and not self.sealed:
            lines = self._fields  # the short ways: most answers have at most one field, their type
            if not lines:
                lines.append((b"content-type", default))
            elif lines[0][0] != b"content-type" or not lines[0][1].endswith(UTF8):
                self.default_type(default)
        if more:
            self._keeps_open = True
            return self._keep(self._exchange.write(data), "send")
        if self.sealed and self._keeps_open:
            return self._keep(self._exchange.end(data), "send")
        verb = self._exchange.answer(data)
        self.unawaited = verb  # type: ignore[assignment]  # as in write()
        return verb

    def json(self, obj: object) -> Verb:
        """
        Send *obj* as JSON, in UTF-8; `Nardis(json=...)` chooses the encoder.

        Raises:
            TypeError, ValueError: *obj* cannot be encoded; NaN cannot, it is not JSON (RFC 8259
                §6).
        """
        data = encode_json(obj, self.req.app.json_codec)
        if not self.sealed:
            if self._fields:
                self.default_type(JSON)
            else:
                self._fields.append((b"content-type", JSON))
        return self._whole(data, "json")

    def send_status(self, code: int) -> Verb:
        """Set the status and send its reason phrase as plain text."""
        self.status(code).type("text/plain")
        return self._whole(reason_phrase(code).encode(), "send_status")

    def redirect(self, url: str, status: int = 302, *, code: int | None = None) -> Verb:
        """
        Send the client to *url* with Location and a short body, in HTML if it prefers that.

        *code* is what Nardis 0.0.7 called *status*.

        *url* is not checked: a target that comes from the client makes this an open redirect. Pass
        it only after comparing it with a list of your own.

        Source: RFC 9110 §15.4.
        """
        status = status if code is None else code
        if not (isinstance(status, int) and 300 <= status <= 399):  # type: ignore[redundant-expr]  # for untyped callers
            raise UsageError(
                f"redirect() takes a status from 300 to 399, not {status!r}; the URL comes first: "
                "redirect(url, 303)"
            )
        self.status(status).location(url).vary("Accept")
        target = self.headers["location"]
        if self.req.accepts("text", "html") == "html":
            from html import escape  # 1.3 ms, for a program that redirects nobody

            self.type("html")
            link = f'<a href="{escape(target)}">{escape(target)}</a>'
            body = f"<!doctype html><title>{reason_phrase(status)}</title><p>See {link}.</p>\n"
        else:
            self.type("text/plain")
            body = f"{reason_phrase(status)}. See {target}\n"
        return self._whole(body.encode(), "redirect")

    def write(self, data: str | bytes | bytearray | memoryview) -> Verb:
        """
        Send one piece of the body, and the head first if it was not sent.

        Backpressure: returns when the server took the piece. Nothing is buffered or merged. Several
        tasks may write: each piece is whole, in the order of the calls.

        Cancellation: a piece that was interrupted while being sent may be half on the wire; the
        response can then only be aborted, and further writes raise ResponseAborted.

        Raises:
            ContentLengthMismatch: The declared Content-Length would be exceeded; nothing of this
                piece was sent.
            ResponseAlreadyEnded: After `end()` or a whole answer.
            ClientDisconnected: The client left, and this handler is not cancelled for it (or is
                shielded).
        """
        verb = self._exchange.write(data if type(data) is bytes else to_bytes(data, "write()"))
        self.unawaited = verb  # type: ignore[assignment]  # mypy knows what an async def gives only by its interface
        return verb

    def flush(self) -> Verb:
        """Send the head if it was not sent, and what filters hold back."""
        return self._keep(self._exchange.flush(), "flush")

    def send_head(self) -> Verb:
        """
        Send the head, as HTML if it has no type, so that a `send()` may follow.

        A name of Nardis 0.0.7; `flush` is today's.
        """
        if not self.sealed:
            self.default_type(HTML)
        self._keeps_open = True
        return self._keep(self._exchange.flush(), "send_head")

    def end(self, data: str | bytes | bytearray | memoryview = b"") -> Verb:
        """
        End the response, with a last piece if one is given. Returning does the same.

        While an exception is in flight (in a `finally` or `except`) it takes effect only if the
        handler then returns: a handler that fails never ends its response cleanly.
        """
        return self._keep(self._exchange.end(to_bytes(data, "end()")), "end")

    def abort(self) -> Coroutine[Any, Any, NoReturn]:
        """
        Cut the response on purpose, so that it cannot look whole. Never returns.

        Before the head it is an empty 500.
        """
        verb = self._exchange.abort()
        self.unawaited = verb  # type: ignore[assignment]  # as in write()
        return verb

    def pipe(self, source: object) -> Verb:
        """
        Send everything *source* has, piece by piece, and close it.

        Args:
            source: An async iterable or an iterable of `str` or bytes-like, a stream or a channel
                of anyio or trio, an `asyncio.StreamReader`, or an open file.

        What may block runs in threads. A file is read in worker threads, in chunks and never by
        lines. A generator, or another sync iterable that is not in memory, has one thread for its
        whole life, from its first step to its close, and one context, a copy of its handler's: rows
        of sqlite3 and context variables can be used in it; `anyio.from_thread` wants its `token`
        there. An event loop has at most 500 such threads; generators beyond that wait. A thread is
        held for as long as its client takes: for thousands of slow clients use an async generator.

        Backpressure: the next piece is asked for when the server took the last. HEAD never touches
        the source.

        Cancellation: the source is closed, with a few seconds for it. A step in a thread is waited
        for first, however long it takes. A close that fails is the error of `pipe()`; beside
        another error, or a cancellation, it is logged.

        Raises:
            UsageError: The source, or a piece of it, is of another type; or a cancel scope that an
                async generator holds open around its `yield` was cancelled while a piece was sent.
        """
        return self._keep(pump(self._exchange, source), "pipe")

    def _whole(self, data: bytes, name: str) -> Verb:
        return self._keep(self._exchange.answer(data), name)

    def _keep(self, verb: Verb, name: str) -> Verb:
        # The name shows in tracebacks, in "was never awaited" warnings, and in ForgottenAwait.
        verb.__name__ = name  # type: ignore[attr-defined]  # as in write()
        self.unawaited = verb  # type: ignore[assignment]
        return verb

    # --- for Nardis itself ----------------------------------------------------------------------

    def reset(self, error: BaseException | None = None) -> None:
        """Make room for the answer to *error*."""
        ResponseHead.reset(self, error)
        self._exchange.end_data = None

    def forgotten(self) -> str | None:
        """Close the last verb if it was called and never awaited, and return its name."""
        verb = self.unawaited
        if verb is None or getcoroutinestate(verb) != CORO_CREATED:
            return None
        verb.close()
        self.unawaited = None
        return "send" if verb.__name__ == "answer" else verb.__name__
