"""
The response: what a handler sends. Setters are sync and chain; what moves bytes is awaited.

Source: RFC 9110 (semantics), RFC 9113 §8.2.2 (fields that HTTP/2 forbids), the ASGI HTTP specification.
"""

from __future__ import annotations

import json as stdjson
import re
from collections.abc import Callable, Coroutine, Mapping
from functools import cached_property, lru_cache
from html import escape
from inspect import CORO_CREATED, getcoroutinestate, iscoroutinefunction
from types import CoroutineType
from typing import Any, Final, NoReturn, TypeAlias, overload

from ._exchange.exchange import ENDED, IDLE, Codec, Exchange
from ._http import fields, media_types
from ._http.location import encode_location
from ._sending.sources import pump, to_bytes
from .datastructures import MutableHeaders
from .errors import FieldError, HeadersAlreadySent, HTTPError, UsageError, reason_phrase
from .request import Request
from .types import Message

__all__ = ["Response"]

_CHARSET: Final = re.compile(rb"""[ \t]*;[ \t]*charset=("[^"]*"|[^;]*)""", re.IGNORECASE)

Verb: TypeAlias = Coroutine[Any, Any, None]

# One encoder for all: json.dumps() with arguments makes one for each call (1,700 against 2,900 ns, measured). NaN is not JSON.
_encode_json: Final = stdjson.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode

_HTML: Final = b"text/html; charset=utf-8"
_JSON: Final = b"application/json; charset=utf-8"
_OCTETS: Final = b"application/octet-stream"

# RFC 9113 §8.2.2: an HTTP/2 message with one of these is malformed.
_CONNECTION_SPECIFIC: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)

# Statuses whose messages have no body, and no length either (RFC 9110 §8.6, §15.3.5, §15.4.5).
_BODILESS: Final = frozenset({204, 304})
_OF_A_BODY: Final = frozenset({b"content-length", b"content-type", b"transfer-encoding"})

# What describes the body that an error answer replaces.
_OF_THE_BODY: Final = frozenset(
    {b"accept-ranges", b"cache-control", b"etag", b"expires", b"last-modified"}
)


class Response:
    """
    One HTTP response: a status, header fields, and a body that is sent whole or in pieces.

    Attributes:
        req: The request it answers.
        status_code: 200 to 999; set it with `status()` or directly, until the head is sent.
    """

    __slots__ = ("__dict__", "_exchange", "_fields", "_hooks", "_sealed", "_status", "_verb", "req")

    def __init__(self, req: Request, exchange: Exchange) -> None:
        self.req: Request = req
        self._exchange = exchange
        self._status = 200
        self._fields: list[tuple[bytes, bytes]] = []
        self._sealed = False  # the head was composed
        self._hooks: list[Callable[[], object]] | None = None
        self._verb: CoroutineType[Any, Any, None] | None = (
            None  # the last verb called, to find one that was never awaited
        )
        exchange.head = self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._status}{' started' if self.started else ''}>"

    # --- the head -----------------------------------------------------------------------------------------------------

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

    @property
    def status_code(self) -> int:
        """The status, 200 unless set."""
        return self._status

    @status_code.setter
    def status_code(self, code: int) -> None:
        self.status(code)

    def status(self, code: int) -> Response:
        """Set the status, an integer from 200 to 999 (RFC 9110 §15)."""
        if self._sealed:
            self._refuse(f"set status {code}")
        if not (isinstance(code, int) and 200 <= code <= 999):  # type: ignore[redundant-expr]  # for untyped callers
            raise UsageError(f"status() takes an integer from 200 to 999, not {code!r}")
        self._status = code
        return self

    @cached_property
    def headers(self) -> MutableHeaders:
        """The header fields, case-insensitive; they can change until the head is sent."""
        return MutableHeaders(self._fields, guard=self._guard)

    def _guard(self, action: str) -> None:
        if self._sealed:
            self._refuse(action)

    def _refuse(self, action: str) -> NoReturn:
        raise HeadersAlreadySent(action, self._status)

    @overload
    def set(self, name: str, value: str | int, /) -> Response: ...
    @overload
    def set(self, name: Mapping[str, str | int], /) -> Response: ...
    def set(
        self, name: str | Mapping[str, str | int], value: str | int | None = None, /
    ) -> Response:
        """
        Set one header field, or several from a mapping; a field set before is replaced.

        Raises:
            FieldError: The name is no token, or the value has CR, LF or NUL in it (RFC 9110 §5.5).
            HeadersAlreadySent: The head was sent.
        """
        if isinstance(name, Mapping):
            for key, item in name.items():
                self.set(key, item)
            return self
        if self._sealed:
            self._refuse(f"set header {name!r}")
        key_bytes = fields.check_name(name)
        if value is None:
            raise FieldError(
                f"set({name!r}) needs a value; to take a field away use res.remove({name!r})"
            )
        self._put(key_bytes, fields.check_value(name, value))
        return self

    def _put(self, name: bytes, value: bytes) -> None:
        lines = self._fields
        for at, line in enumerate(lines):
            if line[0] == name:
                lines[:] = [
                    *lines[:at],
                    (name, value),
                    *(other for other in lines[at + 1 :] if other[0] != name),
                ]
                return
        lines.append((name, value))

    def _peek(self, name: bytes) -> bytes | None:
        for key, value in self._fields:
            if key == name:
                return value
        return None

    def get(self, name: str) -> str | None:
        """Return the value of a header field of the response, None if it is not set."""
        return self.headers.get(name)

    def append(self, name: str, value: str | int) -> Response:
        """Add a line to a header field, keeping those it has."""
        self.headers.append(name, value)
        return self

    def remove(self, name: str) -> Response:
        """Take a header field away; nothing happens if it is not set."""
        self._guard(f"remove header {name!r}")
        self.headers.pop(name, None)
        return self

    def type(self, t: str) -> Response:
        """Set the Content-Type from a media type (`"text/plain"`) or an extension (`"json"`, `".png"`); text gets UTF-8."""
        if self._sealed:
            self._refuse(f"set type {t!r}")
        self._put(b"content-type", _media_type(t))
        return self

    def vary(self, *names: str) -> Response:
        """Add *names* to Vary, each once; `*` stands for everything (RFC 9110 §12.5.5)."""
        listed: dict[str, str] = {}
        for each in (self.headers.get("vary", ""), *names):
            for name in each.split(","):
                listed.setdefault(name.strip().lower(), name.strip())
        listed.pop("", None)
        if listed:
            self.headers["vary"] = "*" if "*" in listed else ", ".join(listed.values())
        return self

    def location(self, url: str) -> Response:
        """Set Location; what a URL may not hold is percent-encoded, a backslash too (browsers read it as a slash)."""
        return self.set("location", encode_location(url))

    def on_head(self, hook: Callable[[], object]) -> Response:
        """
        Call *hook* just before the head is composed, last registered first; it may still set fields and filters.

        It is sync, and runs for every head: errors, HEAD and 304 too. If it raises, the answer is a 500 without hooks.
        """
        self._guard("add an on_head hook")
        if iscoroutinefunction(hook):
            raise UsageError(
                f"on_head() hooks are sync, and {hook!r} is async: do what awaits before the head is sent"
            )
        if self._hooks is None:
            self._hooks = []
        self._hooks.append(hook)
        return self

    def filter(self, codec: Codec) -> Response:
        """
        Let the body pass through *codec*: `feed(bytes)`, `flush()`, `finish()`, each giving bytes; the first added comes first.

        Content-Length goes, and an ETag becomes weak. Nothing is fed for HEAD, 204 and 304; `finish` is never called
        after a failure.
        """
        self._guard("add a filter")
        self._exchange.codecs = (*self._exchange.codecs, codec)
        return self

    # --- sending ------------------------------------------------------------------------------------------------------

    # The verbs are plain functions around one coroutine of the exchange: no level of coroutine more than needed, and the end of
    # the handler can tell by `_verb` whether the last one was ever awaited.

    def send(self, body: object = None, *, more: bool = False) -> Verb:
        """
        Send the whole answer: `str` as HTML, bytes-like as octets, None as nothing, anything else as JSON.

        A Content-Type that is already set is kept. With `more=True` it is a `write()` that also sets the type: the response
        stays open until the next `send()` without it, or the end of the handler.

        Backpressure and cancellation: as `write()`.
        """
        if isinstance(body, str):
            default, data = _HTML, body.encode()
        elif isinstance(body, (bytes, bytearray, memoryview)):
            default, data = _OCTETS, to_bytes(body, "send()")
        elif body is None:
            default, data = None, b""
        else:
            default, data = _JSON, self._encoded(body)
        if default is not None and not self._sealed:
            self._default_type(default)
        if more:
            self.__dict__["_open"] = True
            return self._keep(self._exchange.write(data), "send")
        if self._sealed and "_open" in self.__dict__:
            return self._keep(self._exchange.end(data), "send")
        verb = self._exchange.answer(data)
        self._verb = verb  # type: ignore[assignment]  # as in write()
        return verb

    def _default_type(self, default: bytes) -> None:
        """Set the Content-Type if there is none; text is sent as UTF-8, and says so."""
        for at, (name, value) in enumerate(self._fields):
            if name == b"content-type":
                if default is _HTML:
                    self._fields[at] = (name, in_utf8(value))
                return
        self._fields.append((b"content-type", default))

    def json(self, obj: object) -> Verb:
        """
        Send *obj* as JSON, in UTF-8; `Nardis(json=...)` chooses the encoder.

        Raises:
            TypeError, ValueError: *obj* cannot be encoded; NaN cannot, it is not JSON (RFC 8259 §6).
        """
        data = self._encoded(obj)
        if not self._sealed:
            self._default_type(_JSON)
        return self._whole(data, "json")

    def _encoded(self, obj: object) -> bytes:
        codec = self.req.app.json_codec
        encoded = _encode_json(obj) if codec is None else codec.dumps(obj)
        if not isinstance(encoded, str):
            return encoded
        try:
            return encoded.encode()
        except UnicodeEncodeError:  # a lone surrogate has no UTF-8, but an escape
            return stdjson.dumps(obj, allow_nan=False, separators=(",", ":")).encode()

    def send_status(self, code: int) -> Verb:
        """Set the status and send its reason phrase as plain text."""
        self.status(code).type("text/plain")
        return self._whole(reason_phrase(code).encode(), "send_status")

    def redirect(self, url: str, status: int = 302, *, code: int | None = None) -> Verb:
        """
        Send the client to *url* with Location and a short body, in HTML if it prefers that.

        *code* is what Nardis 0.0.7 called *status*.

        *url* is not checked: a target that comes from the client makes this an open redirect. Pass it only after comparing it
        with a list of your own.

        Source: RFC 9110 §15.4.
        """
        status = status if code is None else code
        if not (isinstance(status, int) and 300 <= status <= 399):  # type: ignore[redundant-expr]  # for untyped callers
            raise UsageError(
                f"redirect() takes a status from 300 to 399, not {status!r}; the URL comes first: redirect(url, 303)"
            )
        self.status(status).location(url).vary("Accept")
        target = self.headers["location"]
        if self.req.accepts("text", "html") == "html":
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

        Backpressure: returns when the server took the piece. Nothing is buffered or merged. Several tasks may write: each
        piece is whole, in the order of the calls.

        Cancellation: a piece that was interrupted while being sent may be half on the wire; the response can then only be
        aborted, and further writes raise ResponseAborted.

        Raises:
            ContentLengthMismatch: The declared Content-Length would be exceeded; nothing of this piece was sent.
            ResponseAlreadyEnded: After `end()` or a whole answer.
            ClientDisconnected: The client left, and this handler is not cancelled for it (or is shielded).
        """
        verb = self._exchange.write(data if type(data) is bytes else to_bytes(data, "write()"))
        self._verb = verb  # type: ignore[assignment]  # mypy knows what an async def gives only by its interface
        return verb

    def flush(self) -> Verb:
        """Send the head if it was not sent, and what filters hold back."""
        return self._keep(self._exchange.flush(), "flush")

    def send_head(self) -> Verb:
        """Send the head, as HTML if it has no type, so that a `send()` may follow: a name of Nardis 0.0.7. Else use `flush`."""
        if not self._sealed:
            self._default_type(_HTML)
        self.__dict__["_open"] = True
        return self._keep(self._exchange.flush(), "send_head")

    def end(self, data: str | bytes | bytearray | memoryview = b"") -> Verb:
        """
        End the response, with a last piece if one is given. Returning from the handler does it as well.

        While an exception is in flight (in a `finally` or `except`) it takes effect only if the handler then returns: a handler
        that fails never ends its response cleanly.
        """
        return self._keep(self._exchange.end(to_bytes(data, "end()")), "end")

    def abort(self) -> Coroutine[Any, Any, NoReturn]:
        """Cut the response on purpose, so that it cannot look whole; before the head it is an empty 500. Never returns."""
        verb = self._exchange.abort()
        self._verb = verb  # type: ignore[assignment]  # as in write()
        return verb

    def pipe(self, source: object) -> Verb:
        """
        Send everything *source* has, piece by piece, and close it.

        Args:
            source: An async iterable or an iterable of `str` or bytes-like, a stream or a channel of
                anyio or trio, an `asyncio.StreamReader`, or an open file.

        What may block runs in threads. A file is read in worker threads, in chunks and never by lines.
        A generator, or another sync iterable that is not in memory, has one thread for its whole life,
        from its first step to its close, and one context, a copy of its handler's: rows of sqlite3 and
        context variables can be used in it; `anyio.from_thread` wants its `token` there. An event loop
        has at most 500 such threads; generators beyond that wait. A thread is held for as long as its
        client takes: for thousands of slow clients use an async generator.

        Backpressure: the next piece is asked for when the server took the last. HEAD never touches the
        source.

        Cancellation: the source is closed, with a few seconds for it. A step in a thread is waited for
        first, however long it takes. A close that fails is the error of `pipe()`; beside another error,
        or a cancellation, it is logged.

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
        self._verb = verb  # type: ignore[assignment]
        return verb

    def forgotten(self) -> str | None:
        """Name the last verb if it was called and never awaited; it is closed then."""
        verb = self._verb
        if verb is None or getcoroutinestate(verb) != CORO_CREATED:
            return None
        verb.close()
        self._verb = None
        return "send" if verb.__name__ == "answer" else verb.__name__

    # --- for the exchange ---------------------------------------------------------------------------------------------

    def compose(self, size: int | None, close: bool, /) -> tuple[Message, int | None, bool]:
        """Close the head: see `_exchange.Head`."""
        if self._hooks:
            self._run_hooks()
        self._sealed = True
        exchange = self._exchange
        lines = self._fields
        status = self._status
        has_body = self.req.method != "HEAD" and status not in _BODILESS
        if size is not None and not exchange.codecs and status not in _BODILESS:
            for line in lines:
                if line[0] == b"content-length":
                    if (
                        size or self.req.method != "HEAD"
                    ):  # a handler of HEAD may know the length and not the body
                        self._put(b"content-length", b"%d" % size)
                    break
            else:
                lines.append((b"content-length", b"%d" % size))
            declared: int | None = size
        else:
            declared = self._compose_open(has_body)
        if not exchange.http1:
            if any(line[0] in _CONNECTION_SPECIFIC for line in lines):
                lines[:] = [line for line in lines if line[0] not in _CONNECTION_SPECIFIC]
        elif close:
            self._put(b"connection", b"close")
        return (
            {"type": "http.response.start", "status": status, "headers": lines},
            declared,
            has_body,
        )

    def _compose_open(self, has_body: bool) -> int | None:
        """Settle what the head says of a body that comes in pieces, passes filters, or must not be there."""
        lines = self._fields
        try:
            declared = fields.content_length(self._peek(b"content-length"))
        except HTTPError as exc:
            raise FieldError("Content-Length takes a number of bytes") from exc
        if self._exchange.codecs:
            lines[:] = [weakened(line) for line in lines if line[0] != b"content-length"]
            if not has_body:
                self._exchange.codecs = ()
        if self._status in _BODILESS:
            lines[:] = [line for line in lines if line[0] not in _OF_A_BODY]
        return declared

    def _run_hooks(self) -> None:
        hooks, self._hooks = self._hooks, None
        for hook in reversed(hooks or ()):
            hook()

    def reset(self, error: BaseException | None = None) -> None:
        """
        Make room for the answer to *error*: what described the body goes, and the filters; the rest (CORS, request id) stays.

        The status and the fields of an HTTPError are set, for a handler to keep or change; other errors begin as a 500.
        """
        self._sealed = False
        self._exchange.codecs = ()
        self._exchange.end_data = None
        self._status = 500
        if self._fields:
            kept = [
                line
                for line in self._fields
                if not (line[0].startswith(b"content-") or line[0] in _OF_THE_BODY)
            ]
            self._fields[:] = kept
        if isinstance(error, HTTPError):
            self._status = error.status
            if error.headers:
                self.set(error.headers)


@lru_cache(maxsize=128)
def in_utf8(content_type: bytes) -> bytes:
    """
    Give a type of text, or one that names a charset, the charset that its text is sent in.

    >>> in_utf8(b"text/csv; charset=latin-1; header=present"), in_utf8(b"application/xml")
    (b'text/csv; charset=utf-8; header=present', b'application/xml')
    """
    try:
        media_type, parameters = media_types.parse_media_type(content_type.decode("latin-1"))
    except HTTPError:
        return content_type
    charset = parameters.get("charset")
    if (charset is None and not media_type.startswith("text/")) or (
        charset or ""
    ).lower() == "utf-8":
        return content_type
    if charset is None:
        return content_type + b"; charset=utf-8"
    return _CHARSET.sub(b"; charset=utf-8", content_type)


@lru_cache(maxsize=128)
def _media_type(t: str) -> bytes:
    return media_types.mime_type(t).encode("latin-1")


def weakened(line: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """
    Make a strong ETag weak: the bytes it stood for were changed on the way out (RFC 9110 §8.8.1).

    >>> weakened((b"etag", b'"1"'))
    (b'etag', b'W/"1"')
    """
    name, value = line
    return (name, b"W/" + value) if name == b"etag" and not value.startswith(b"W/") else line
