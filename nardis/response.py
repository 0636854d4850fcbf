"""
The response: what a handler sends. Setters are sync and chain; what moves bytes is awaited.

Source: RFC 9110 (semantics), RFC 9113 §8.2.2 (fields that HTTP/2 forbids), the ASGI HTTP spec.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn, Self

from ._asgi.extensions import EARLY_HINT, extension
from ._exchange.exchange import Exchange
from ._http.fields import BODILESS_STATUSES
from ._http.links import format_hints
from ._http.location import redirection
from ._models import encode_json
from ._parameters import parameters_of
from ._sending.feeds import EVENTS, EventStream, SendsItems, pump_array, pump_lines
from ._sending.files import Caching, Dotfiles, Wanted, send_file
from ._sending.head import GET, HEAD, HTML, JSON, OCTETS, OTHER, ResponseHead
from ._sending.sources import piece_to_bytes, pump, to_bytes
from ._sending.verbs import Called, Verb, Verbs
from ._sending.whole import LINES, TYPE
from .errors import FieldError, HTTPError, UsageError, reason_phrase
from .request import Request

__all__ = ["Response"]


class Response(Verbs):
    """
    One HTTP response: a status, header fields, and a body that is sent whole or in pieces.

    Attributes:
        req: The request it answers.
        status_code: 200 to 999; set it with `status()` or directly, until the head is sent.
    """

    __slots__ = ("_keeps_open",)

    def begin(self, req: Request, exchange: Exchange) -> Self:
        """For Nardis itself: it is the constructor, for the reason that `Exchange` has."""
        method = req.method
        self._reads = GET if method == "GET" else HEAD if method == "HEAD" else OTHER
        self._status = 200
        self._fields = []
        self._filters = ()
        self._hooks = None
        self.sealed = False
        self.req: Request = req
        self._exchange = exchange
        self._keeps_open = False  # a `send(more=True)`, or `send_head()`: the next `send` ends it
        self.unawaited: Called | None = None
        self.earlier: list[Called] | None = None
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._status}{' started' if self.started else ''}>"

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
        if self.unawaited is not None:
            self.forget_whole()
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
            elif lines[0][0] is not TYPE:
                self.default_type(default)
            if self._status == 200 and self._reads and not more:
                if data and len(lines) == 1:  # the type alone
                    lines += LINES[data]
                    if b"if-none-match" in self._exchange.fields:
                        self._spare()
                else:
                    self._tag(data)
        elif self._reads and not (self.sealed or more) and self._status == 200:
            self._spare()
        if more:
            self._keeps_open = True
            return self._keep(self._exchange.write(data), "send")
        if self.sealed and self._keeps_open:
            return self._keep(self._exchange.end(data), "send")
        if self.unawaited is not None:
            return self._keep(self._exchange.answer(data, self), "send")
        verb = self._exchange.answer(data, self)
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
        if self.unawaited is not None:
            self.forget_whole()
        if not self.sealed:
            if self._fields:
                self.default_type(JSON)
            else:
                self._fields.append((b"content-type", JSON))
            if self._status == 200 and self._reads:
                self._tag(data)
        return self._whole(data, "json")

    async def _format(self, offers: Mapping[str, Callable[..., Awaitable[object]]]) -> None:
        types = [each for each in offers if each != "default"]
        self.vary("Accept")
        chosen = self.req.accepts(*types) if types else None
        if chosen is not None:
            self.type(chosen)
        elif "default" not in offers:
            raise HTTPError(406, f"this can be had as {', '.join(types)}")
        function = offers[chosen or "default"]
        await (function(self.req, self) if parameters_of(function) else function())

    def format(self, offers: Mapping[str, Callable[..., Awaitable[object]]]) -> Verb:
        """
        Answer in the form that the client prefers: `res.format({"json": as_json, "html": page})`.

        The Content-Type is set, and `Vary: Accept`.

        Args:
            offers: By type or extension, the most wanted first, an async function: a handler
                `(req, res)`, or one without parameters. `"default"` is for a client that takes none
                of the others.

        Raises:
            HTTPError: 406, the client takes none of them, and there is no default.

        Source: RFC 9110 §12.5.1 and §15.5.7.
        """
        return self._keep(self._format(offers), "format")

    def send_status(self, code: int) -> Verb:
        """Set the status and send its reason phrase as plain text."""
        self.forget_whole()
        self.status(code).type("text/plain")
        return self._whole(reason_phrase(code).encode(), "send_status")

    def redirect(self, url: str, status: int = 302, *, code: int | None = None) -> Verb:
        """
        Send the client to *url* with Location and a short body.

        It is text, or HTML if the client prefers that; there is none for one that takes neither.

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
        self.forget_whole()
        self.status(status).location(url).vary("Accept")
        form = self.req.accepts("text", "html")
        if form is not None:
            self.type(form)
        page = redirection(reason_phrase(status), self.headers["location"], form)
        return self._whole(page.encode(), "redirect")

    def redirect_back(self, fallback: str, status: int = 302) -> Verb:
        """
        Send the client to the page of this site that it came from, else to *fallback*.

        A Referer of another origin is not followed: that would be an open redirect.

        Source: RFC 9110 §10.1.3; RFC 6454 §5.
        """
        referer, host = self.req.get("referer") or "", self.req.host
        origin = f"{self.req.protocol}://{host}/".lower()
        same = bool(host) and f"{referer}/".lower().startswith(origin)
        self.vary("Referer")
        return self._keep(self.redirect(referer if same else fallback, status), "redirect_back")

    def early_hints(self, hints: Mapping[str, str | Sequence[str]]) -> Verb:
        """
        Name what the client will need before the answer is there: an informational 103 response.

        `await res.early_hints({"link": "</style.css>; rel=preload; as=style"})`. It does nothing
        where the server offers no hints, and for HTTP/1.0. RFC 9110 §15.2 has every client of
        HTTP/1.1 take a 103, but some do not: Python's `http.client` takes it for the answer. Give
        hints where `req.get("sec-fetch-mode") == "navigate"` if you do not know your clients.

        Args:
            hints: The field `link`, with one value or several.

        Raises:
            HeadersAlreadySent: The head was sent.

        Source: RFC 8297; the ASGI extension `http.response.early_hint`.
        """
        lines = format_hints(hints)
        if any(name != b"link" for name, _ in lines):
            raise FieldError("ASGI's early hints have Link fields alone: set others on the answer")
        if self.sealed:
            self._refuse("send early hints")
        message = {"type": EARLY_HINT, "links": [value for _, value in lines]}
        offered = bool(lines) and extension(self._exchange.scope, EARLY_HINT) is not None
        return self._keep(self._exchange.hint(message if offered else None), "early_hints")

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
        last = self.unawaited
        if last is not None and last.cr_frame is not None:
            self.miss(last)
        verb = self._exchange.write(
            data if type(data) is bytes else to_bytes(data, "write()"), self
        )
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

    def end(self, data: str | bytes | bytearray | memoryview | None = None) -> Verb:
        """
        End the response, with a last piece if one is given. Returning does the same.

        While an exception is in flight (in a `finally` or `except`) it takes effect only if the
        handler then returns: a handler that fails never ends its response cleanly.
        """
        self.forget_whole()
        last = b"" if data is None else data
        return self._keep(self._exchange.end(to_bytes(last, "end()")), "end")

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
        return self._keep(pump(self._exchange, source, piece_to_bytes), "pipe")

    def ndjson(self, items: object) -> Verb:
        """
        Send each of *items* as a line of JSON, as soon as it is there.

        The type is application/x-ndjson unless one is set. The head leaves with the first item, so
        that a source which fails before it is answered by an error; one that fails later makes a
        response that does not look whole.

        Args:
            items: What `pipe()` takes, with items of any type that `json()` takes: rows of a
                database, an async generator, a list.

        Threads, backpressure and cancellation: as `pipe()`. HEAD never touches *items*. Of a
        generator, or another sync iterable that is not in memory, the items of a millisecond go out
        as one piece: to ask a thread for each would cost 50 us.

        Raises:
            TypeError, ValueError: An item cannot be encoded.
            UsageError: *items* is no iterable, or it is one mapping or one file; or what was done
                with `Nardis(json=...)` has line ends in it.
        """
        return self._items(pump_lines, items, b"application/x-ndjson", "ndjson")

    def json_array(self, items: object) -> Verb:
        """
        Send *items* as one JSON array of any length, item by item, in the memory of one of them.

        Everything else is as in `ndjson()`. Where the source fails half-way, the array is not
        closed either.
        """
        return self._items(pump_array, items, JSON, "json_array")

    def _items(self, send: SendsItems, items: object, default: bytes, name: str) -> Verb:
        codec = self.req.app.json_codec
        self.forget_whole()
        if not self.sealed:
            self.default_type(default)
        return self._keep(send(self._exchange, items, lambda item: encode_json(item, codec)), name)

    def sse(self, *, ping: float | None = 15, retry: float | None = None) -> EventStream:
        """
        Send server-sent events, which a browser's `EventSource` reads.

            async with res.sse() as events:
                async for price in prices():
                    await events.send({"price": price}, id=price.id)

        `events.send()` waits for the client. The block ends when the server shuts down, also where
        it waits for something else, and clients come back over ten seconds. A block that fails cuts
        the response. Where a client comes back, `req.last_event_id` is the last `id` that it got;
        a status of 204 tells it not to.

        Cache-Control is no-store unless it is set, and nginx is told not to buffer.

        Args:
            ping: Most seconds of silence before a comment is sent, so that proxies keep the
                connection and a client that vanished is noticed; None sends none. It costs no task.
            retry: How long a client whose connection is lost waits before it comes back, in
                seconds; None leaves that to it (3 to 5 in browsers).

        Source: the HTML standard, "Server-sent events".
        """
        if ping is not None and not ping > 0:
            raise UsageError(f"ping= is seconds of silence, or None for no pings, not {ping!r}")
        if retry is not None and not 0 <= retry <= 3600:
            raise UsageError(f"retry= is seconds, an hour at most, not {retry!r}")
        self.forget_whole()
        known = self.headers
        kind = known.get("content-type", "text/event-stream").partition(";")[0].strip().lower()
        if kind != "text/event-stream" or self._status in BODILESS_STATUSES:
            raise UsageError(
                f"events are text/event-stream, and have a body: take away the type {kind!r}, or "
                f"answer with the status {self._status} and no events"
            )
        self.set({name: value for name, value in EVENTS.items() if name not in known})
        self.sends_events: bool = True
        app = self.req.app
        return EventStream(self, self._exchange, app.draining, app.json_codec, ping, retry)

    def send_file(
        self,
        path: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        max_age: float | timedelta = 0,
        immutable: bool = False,
        dotfiles: Dotfiles = "ignore",
        precompressed: bool = False,
    ) -> Verb:
        """
        Send a file: with its type, its validators, and the ranges that the client asks for.

        A 304 where the client has it, a 206 for ranges of a GET. It is opened once and sent as it
        was then: one that shrinks meanwhile breaks the response off. Fields that are set stay, such
        as a type or an ETag. With another status than 200 it is sent whole.

        Args:
            path: An absolute path, which links may lead anywhere; with *root* one below that, and
                then it may come from a client.
            root: The folder that it has to stay in, links resolved. What the server's user cannot
                read is not there.
            max_age: How long caches may use it without asking, in seconds or as a timedelta.
            immutable: It never changes under this path while it is fresh.
            dotfiles: What to do about names below *root* that begin with a dot: `"ignore"` them
                (404), `"deny"` them (403) or `"allow"` them.
            precompressed: Send the file of that name with `.br`, `.zst` or `.gz` behind it to
                clients that take it.

        Backpressure: as `write()`. On our own server the system copies the file to the socket,
        where no filter wants to see it.

        Cancellation: as `write()`; the file is closed.

        Raises:
            HTTPError: 404, there is no such file, or it is no regular one (`FolderFound`: it is a
                folder); 412, a precondition fails; 416, nothing of the ranges is there.
            UsageError: *path* is relative, and there is no *root*.

        Source: RFC 9110 §13.2.2, §14 and §15.3.7.
        """
        wanted = self._wanted(path, root, dotfiles, Caching(max_age, immutable))
        verb = send_file(self, self._exchange, wanted._replace(precompressed=precompressed))
        return self._keep(verb, "send_file")

    def download(
        self,
        path: str | os.PathLike[str],
        filename: str | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        max_age: float | timedelta = 0,
        immutable: bool = False,
        dotfiles: Dotfiles = "ignore",
    ) -> Verb:
        """
        Send a file for the client to save, under *filename*, by default the file's own name.

        Everything else is as in `send_file()`.
        """
        wanted = self._wanted(path, root, dotfiles, Caching(max_age, immutable))
        name = os.path.basename(wanted.path) if filename is None else filename
        verb = send_file(self, self._exchange, wanted._replace(filename=name))
        return self._keep(verb, "download")

    def _wanted(
        self,
        path: str | os.PathLike[str],
        root: str | os.PathLike[str] | None,
        dotfiles: Dotfiles,
        caching: Caching,
    ) -> Wanted:
        path = os.fspath(path)
        if root is None and not os.path.isabs(path):
            raise UsageError(
                f"a file is sent by an absolute path, or below root=..., not by {path!r}"
            )
        self.forget_whole()
        return Wanted(path, None if root is None else os.path.abspath(root), dotfiles, caching)

    def _whole(self, data: bytes, name: str) -> Verb:
        verb = self._exchange.answer(data, self)
        if self.unawaited is not None:
            return self._keep(verb, name)
        called: Any = verb
        called.__name__ = name
        self.unawaited = called
        return verb

    # --- for Nardis itself ----------------------------------------------------------------------

    def reset(self, error: BaseException | None = None) -> None:
        """Make room for the answer to *error*."""
        ResponseHead.reset(self, error)
        self._exchange.begin_anew()
