"""
A client that drives any ASGI 3 application in process: no socket, no server, the same on asyncio, uvloop and trio.

It is a faithful peer rather than a recorder. Chunks pass from task to task without a buffer, so a handler is never more
than one chunk ahead of whoever reads; a request body goes up as the application asks for it; the client can leave at any
byte; and what a real server would only log, an exception or a broken rule of ASGI, fails the test.

Each call of the application runs in a task of a task group that the `Client` owns, and the lifespan in another.
Source: ASGI specification, "HTTP & WebSocket" 2.3 and "Lifespan" 2.0. Version 2.4 says that `send` raises once the client
has left; servers do not agree on that, so the client claims 2.3, where `send` does nothing.
"""

from __future__ import annotations

import inspect
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, ClassVar, NoReturn, Self, TypeAlias, TypedDict, Unpack, cast
from urllib.parse import quote, unquote, urlencode, urlsplit

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.abc import TaskGroup

from ._closing import Closing
from ._stepper import steps_in_flight
from ._types import ASGIApp, Message, Scope
from .datastructures import Headers
from .errors import ClientDisconnected, UsageError

__all__ = ["ASGIViolation", "AppError", "Client", "RequestOptions", "StreamedResponse", "TestResponse"]

# `stream()` waits for a head until everything in the loop rests, but something else in a test may keep it busy for ever.
_BUSY_S = 1.0
# Then a little longer, for short timers and foreign threads; so many times while threads of anyio's or of pipe() are at work.
_GRACE_S, _GRACES = 0.05, 10
# `send` returns at once when nobody listens, as on a server. One turn of the event loop in so many calls lets the client
# cancel an application that never notices.
_SENDS_PER_TURN = 1000

_START, _BODY, _TRAILERS = "http.response.start", "http.response.body", "http.response.trailers"
# Messages that change nothing for the reader; legal where the extension of the same name is offered.
_SIDE_MESSAGES = {"http.response.early_hint", "http.response.push", "http.response.debug"}

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")  # RFC 9110 §5.6.2, without upper case (ASGI and RFC 9113 §8.2)
_CONNECTION_FIELDS = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}  # RFC 9113 §8.2.2
_URL = re.compile(r"(?:(https?)://(?:[^/?#@]*@)?([^/?#]+))?(/[^?#]*|\*)?(?:\?([^#]*))?(?:#.*)?")
_CHARSET = re.compile(r'charset="?([^\s";]+)', re.IGNORECASE)
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

_Pairs: TypeAlias = list[tuple[bytes, bytes]]
_Fields: TypeAlias = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]
_Form: TypeAlias = Mapping[str, Any] | Sequence[tuple[str, Any]]


class AppError(Exception):
    """
    The application raised, would not end, or its lifespan failed.

    `__cause__` is the application's own exception, so a test report shows the handler's traceback.
    """


class ASGIViolation(Exception):
    """The application broke a rule of ASGI; raised into its `send` or `receive`, and in the test as well."""


class RequestOptions(TypedDict, total=False):
    """
    What every request takes beside method and URL; at most one of `content`, `json` and `data`.

    `params` is added to the query, `json` is sent as application/json, `data` as application/x-www-form-urlencoded. An
    async iterable as `content` is pulled only as the application asks. `cookies` are sent beside those of the client.
    """

    headers: _Fields | None
    params: _Form | None
    content: bytes | AsyncIterable[bytes] | None
    json: Any
    data: _Form | None
    cookies: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class TestResponse:
    """A response read to its end. `complete` is False when it was cut short; see `StreamedResponse.complete`."""

    __test__: ClassVar[bool] = False

    status_code: int
    headers: Headers
    content: bytes
    trailers: Headers
    complete: bool

    @property
    def text(self) -> str:
        """The body as text, by the charset of Content-Type or UTF-8; bytes that do not decode are replaced."""
        charset = _CHARSET.search(self.headers.get("content-type") or "")
        return self.content.decode(charset[1] if charset else "utf-8", "replace")

    def json(self) -> Any:
        """Decode the body as JSON. Raises `ValueError` when it is not."""
        return json.loads(self.content)


class StreamedResponse:
    """
    A response as it arrives, and the way to feed, slow down or leave a request that is still running.

    Made by `Client.stream()`. Iterating gives the chunks as the application sent them, never empty ones.

    Backpressure: the application's `send` returns when its chunk is taken here, and not before.
    Cancellation: of any method loses no bytes; what was taken from the application stays for the next read.
    """

    __test__: ClassVar[bool] = False

    def __init__(self, call: _Call) -> None:
        self._call = call
        self._taken = bytearray()

    @property
    def status_code(self) -> int:
        """The status. Raises `UsageError` while there is no head; `await head()` waits for it."""
        self._call.require_head()
        return self._call.status

    @property
    def headers(self) -> Headers:
        """The header fields. Raises `UsageError` while there is no head."""
        self._call.require_head()
        return Headers(self._call.answer.headers)

    @property
    def trailers(self) -> Headers:
        """The trailer fields; empty before the end, and when there are none."""
        return Headers(self._call.answer.trailers)

    @property
    def complete(self) -> bool:
        """
        Whether the response is whole, as an HTTP client could tell.

        True only when the final message was taken, the application did not raise, and the body has as many bytes as
        Content-Length says (not asked of HEAD, 204 and 304).
        """
        return self._call.complete

    async def head(self) -> None:
        """Wait for status and fields. Raises `AppError` when the application fails first, `UsageError` after a disconnect."""
        await self._call.headed.wait()
        self._call.require_head()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._taken:
            return self._take(None)
        chunk = await self._call.next_chunk()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def read(self, n: int | None = None) -> bytes:
        """
        Read exactly *n* bytes, or all there are when the body is shorter or *n* is None.

        Raises `AppError` or `ASGIViolation`, once, at the end of a body that the application did not end by itself; the
        bytes before it stay readable.
        """
        while n is None or len(self._taken) < n:
            chunk = await self._call.next_chunk()
            if chunk is None:
                break
            self._taken += chunk
        return self._take(n)

    def _take(self, n: int | None) -> bytes:
        taken = bytes(self._taken[:n])
        del self._taken[:n]
        return taken

    async def send(self, chunk: bytes) -> None:
        """
        Send the next chunk of a request body that is sent by hand.

        Backpressure: returns when the application has received it.

        Raises:
            anyio.BrokenResourceError: The response ended, or the client disconnected, before the application asked for it.
            AppError: The application failed before it asked for it.
        """
        await self._call.upload(chunk)

    async def end(self) -> None:
        """End a request body that is sent by hand; waits for nobody."""
        self._call.end_upload()
        await anyio.lowlevel.checkpoint()

    async def disconnect(self) -> None:
        """
        Leave: from now on the application's `receive` says `http.disconnect` and its `send` does nothing.

        What was read so far stays readable. Does not wait for the application; the end of the `stream()` block does.
        """
        self._call.hang_up()
        await anyio.lowlevel.checkpoint()


class Client:
    """
    Drive *app* in process: `async with Client(app) as client: response = await client.get("/")`.

    Entering starts the lifespan; leaving disconnects every request, ends the lifespan and leaves no task behind.
    Redirects are not followed. Cookies are kept in `cookies` by name alone: Path and Domain are ignored.

    Args:
        app: Any ASGI 3 application.
        lifespan: Whether to send lifespan events. An app that raises on them, or returns, goes on without.
        headers: Sent with every request; those of a request replace them by name.
        http_version: "1.0", "1.1", "2" or "3", as the scope says it.
        client: Address and port of the peer, or None.
        strict: Turn broken rules of ASGI into `ASGIViolation`. Otherwise they pass, or are ignored as servers do.
        extensions: What the scope offers beside `nardis.errors`, such as `{"http.response.trailers": {}}`.
        raise_app_errors: Turn exceptions of the application into `AppError`: those it raises, and those it answers itself
            and appends to `scope["extensions"]["nardis.errors"]`. Otherwise one before the head is an empty 500, one
            after it a response that is not complete. Each request raises its first error, once. Broken rules and an app
            that does not end are raised in any case.

    Raises:
        AppError: On entering, when the startup failed; on leaving, when the shutdown failed or did not end, or a request
            had an error that nobody has seen.
    """

    __test__: ClassVar[bool] = False

    close_s: float = 5.0
    """Seconds that the application has after a disconnect, and the lifespan after its shutdown event, to end."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        lifespan: bool = True,
        headers: _Fields | None = None,
        http_version: str = "1.1",
        client: tuple[str, int] | None = ("127.0.0.1", 50000),
        strict: bool = True,
        extensions: Mapping[str, Any] | None = None,
        raise_app_errors: bool = True,
    ) -> None:
        self.app = app
        self.cookies: dict[str, str] = {}
        self.raise_app_errors = raise_app_errors
        self.strict = strict
        self._base: dict[str, Any] = {"http_version": http_version, "client": client}
        self._extensions = dict(extensions or {})
        self._headers = _pairs(headers)
        self._lifespan = _Lifespan(app, strict) if lifespan else None
        self._calls: list[_Call] = []
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        try:
            if self._lifespan:
                await self._lifespan.start(self._tasks, self.close_s)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for call in tuple(self._calls):
            await call.leave(self.close_s)
        if self._lifespan:
            await self._lifespan.stop(self.close_s)
        await self._close()
        if exc is None:
            for call in tuple(self._calls):
                call.settle()
            if self._lifespan:
                self._lifespan.settle()

    async def _close(self) -> None:
        tasks, self._tasks = self._group(), None
        tasks.cancel_scope.cancel()
        # Not told of the exception that leaves the test's body, or it would come out wrapped in a group.
        await tasks.__aexit__(None, None, None)

    def _group(self) -> TaskGroup:
        if self._tasks is None:
            raise UsageError("the client is not open: use it inside `async with Client(app) as client:`")
        return self._tasks

    async def get(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """GET *url*; see `request()`."""
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """POST to *url*; see `request()`."""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """PUT to *url*; see `request()`."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """PATCH *url*; see `request()`."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """DELETE *url*; see `request()`."""
        return await self.request("DELETE", url, **options)

    async def head(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """HEAD of *url*; a body that the application sends is dropped, as servers do."""
        return await self.request("HEAD", url, **options)

    async def options(self, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """OPTIONS of *url*; see `request()`."""
        return await self.request("OPTIONS", url, **options)

    async def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> TestResponse:
        """
        Send a request and read the whole response.

        Args:
            method: Sent in upper case.
            url: A path with a query, or an absolute http(s) URL, whose host becomes the Host field ("testserver"
                otherwise). What is not printable ASCII is percent-encoded; existing escapes stay.
            options: See `RequestOptions`.

        Raises:
            AppError: The application raised, or was still running `close_s` after the response.
            ASGIViolation: The application broke a rule of ASGI.

        Cancellation: disconnects, and waits for the application to end, `close_s` at most.
        """
        async with self._running(method, url, options, by_hand=False) as call:
            await call.headed.wait()
            call.require_head()
            response = StreamedResponse(call)
            content = await response.read()
        return TestResponse(response.status_code, response.headers, content, response.trailers, response.complete)

    @asynccontextmanager
    async def stream(self, method: str, url: str, **options: Unpack[RequestOptions]) -> AsyncGenerator[StreamedResponse, None]:
        """
        Send a request, and read the response while it is made.

        POST, PUT and PATCH without `content`, `json` or `data` have a body sent by hand: `send()` and `end()` of the
        response. Entering waits for the head, but no longer than until everything in the event loop waits, so a handler
        that first wants a body, or never answers, does not hang the test: `head()` waits for the rest. Leaving early
        disconnects. Arguments, errors and cancellation are those of `request()`; an error is raised on entering, by a
        read, or on leaving the block unless it is being left by another exception.
        """
        async with self._running(method, url, options, by_hand=True) as call:
            await call.headed_or_idle()
            if call.headed.is_set():
                call.require_head()
            yield StreamedResponse(call)

    @asynccontextmanager
    async def _running(self, method: str, url: str, options: RequestOptions, *, by_hand: bool) -> AsyncGenerator[_Call, None]:
        tasks = self._group()
        call = self._call(method.upper(), url, options, by_hand=by_hand)
        self._calls.append(call)
        tasks.start_soon(call.run, self.app, name=f"{call.name} (app)")
        if isinstance(call.content, AsyncIterable):
            tasks.start_soon(call.pump, call.content, name=f"{call.name} (body)")
        try:
            yield call
        finally:
            await call.leave(self.close_s)
        # Left by an exception, the call stays in the list: what it has to say is said when the client closes.
        self._calls.remove(call)
        call.settle()

    def _call(self, method: str, url: str, options: RequestOptions, *, by_hand: bool) -> _Call:
        if unknown := options.keys() - RequestOptions.__annotations__.keys():
            raise UsageError(f"a request takes {', '.join(RequestOptions.__annotations__)}, not {', '.join(sorted(unknown))}")
        scope = _target(url, options.get("params")) | self._base | {"type": "http", "method": method, "root_path": ""}
        scope["asgi"] = {"version": "3.0", "spec_version": "2.3"}
        content, media_type = _content(options)
        if content is None and not (by_hand and method in ("POST", "PUT", "PATCH")):
            content = b""
        fields = _pairs(options.get("headers"))
        fields = [*(pair for pair in self._headers if pair[0] not in dict(fields)), *fields]
        given = dict(fields)
        usual = {b"host": scope.pop("authority"), b"content-type": media_type}
        usual[b"cookie"] = "; ".join(f"{k}={v}" for k, v in {**self.cookies, **(options.get("cookies") or {})}.items()).encode()
        if not {b"content-length", b"transfer-encoding"} & given.keys():
            if isinstance(content, bytes):
                usual[b"content-length"] = b"%d" % len(content) if content or method in ("POST", "PUT", "PATCH") else b""
            elif scope["http_version"].startswith("1"):
                usual[b"transfer-encoding"] = b"chunked"
        scope["headers"] = [*((name, value) for name, value in usual.items() if value and name not in given), *fields]
        scope["extensions"] = {**self._extensions, "nardis.errors": []}
        if self._lifespan and self._lifespan.running:
            scope["state"] = self._lifespan.state.copy()
        return _Call(scope, content, self)


@dataclass(slots=True)
class _Answer:
    """What the application has said so far, and which rule its next message would break."""

    scope: Scope
    expects: str | None = _START
    status: int = 0
    headers: _Pairs = field(default_factory=list[tuple[bytes, bytes]])
    trailers: _Pairs = field(default_factory=list[tuple[bytes, bytes]])
    announced: bool = False
    declared_bytes: int | None = None
    body_bytes: int = 0

    @property
    def bodiless(self) -> bool:
        return self.scope["method"] == "HEAD" or self.status in (204, 304)

    @property
    def whole(self) -> bool:
        return self.expects is None and (self.bodiless or self.declared_bytes in (None, self.body_bytes))

    def fault(self, message: Message) -> str | None:
        """Name the rule that *message* breaks, if any."""
        kind = message.get("type")
        offered = kind in self.scope["extensions"]
        if kind not in (_START, _BODY, _TRAILERS):
            return None if kind in _SIDE_MESSAGES and offered else f"unknown message type {kind!r}"
        if kind == _TRAILERS and not offered:
            return f"{_TRAILERS} without the extension of that name"
        if kind != self.expects:
            return f"{kind} after the final message" if self.expects is None else f"{kind} where {self.expects} was due"
        check = {_START: self._start_fault, _BODY: self._body_fault, _TRAILERS: self._fields_fault}[kind]
        return check(message)

    def _start_fault(self, message: Message) -> str | None:
        status = message.get("status")
        if not isinstance(status, int) or not 200 <= status <= 599:
            return f"{status!r} is not the status of a final response (200 to 599)"
        if message.get("trailers") and _TRAILERS not in self.scope["extensions"]:
            return "trailers announced without the http.response.trailers extension"
        return self._fields_fault(message)

    def _body_fault(self, message: Message) -> str | None:
        body = message.get("body", b"")
        if not isinstance(body, bytes):
            return f"body is {type(body).__name__}, not bytes"
        if body and self.status in (204, 304):
            return f"a body with status {self.status}"
        if not self.bodiless and self.declared_bytes is not None and self.body_bytes + len(body) > self.declared_bytes:
            return f"{self.body_bytes + len(body)} body bytes where Content-Length says {self.declared_bytes}"
        return None

    def _fields_fault(self, message: Message) -> str | None:
        try:  # an iterator is legal, and here is its one reading
            message["headers"] = pairs = [(name, value) for name, value in message.get("headers", ())]
        except (TypeError, ValueError):
            return f"headers are not an iterable of pairs: {message['headers']!r}"
        for name, value in pairs:
            if not (isinstance(name, bytes) and isinstance(value, bytes)):
                return f"header {name!r}: {value!r} is not bytes"
            if not _TOKEN.fullmatch(name):
                return f"header name {name!r} is not a lower-case token"
            if re.search(rb"[\r\n\0]", value):
                return f"header {name!r} has CR, LF or NUL in its value"
            if name in _CONNECTION_FIELDS and self.scope["http_version"] >= "2":
                return f"connection-specific header {name!r} on HTTP/{self.scope['http_version']}"
            if name == b"content-length" and not value.isdigit():
                return f"content-length {value!r} is not a number"
        return None

    def take(self, message: Message) -> bytes:
        """Accept *message*, which is the expected one, and return the bytes that the reader gets."""
        if message["type"] == _START:
            self.expects, self.status, self.headers = _BODY, int(message["status"]), _pairs(message.get("headers", ()))
            self.announced = message.get("trailers", False)
            length = dict(self.headers).get(b"content-length", b"")
            self.declared_bytes = int(length) if length.isdigit() else None
            return b""
        if message["type"] == _TRAILERS:
            self.trailers += _pairs(message.get("headers", ()))
            self.expects = _TRAILERS if message.get("more_trailers", False) else None
            return b""
        body = bytes(message.get("body", b""))
        self.body_bytes += len(body)
        if not message.get("more_body", False):
            self.expects = _TRAILERS if self.announced else None
        return b"" if self.bodiless else body


class _Call:
    """One call of the application: `receive` and `send` are its side, the rest is the test's."""

    def __init__(self, scope: Scope, content: bytes | AsyncIterable[bytes] | None, client: Client) -> None:
        self.scope: Scope = scope
        self.content: bytes | AsyncIterable[bytes] | None = content
        self.client: Client = client
        self.name: str = f"{scope['method']} {scope['path']}"
        self.answer: _Answer = _Answer(scope)
        self.status: int = 0  # as the peer sees it: 0 until the head
        self.headed: anyio.Event = anyio.Event()
        self.ended: anyio.Event = anyio.Event()
        self._done, self._pumped = anyio.Event(), anyio.Event()
        self._task_scope, self._pump_scope = anyio.CancelScope(), anyio.CancelScope()
        self._down_out, self._down_in = anyio.create_memory_object_stream[bytes](0)
        self._up_out, self._up_in = anyio.create_memory_object_stream[bytes](0)
        self._sending = anyio.Lock(fast_acquire=True)
        self._wanted = anyio.Event()
        self._unread = content if isinstance(content, bytes) else None
        self._uploading = self._unread is None
        if not isinstance(content, AsyncIterable):
            self._pumped.set()
        self._receiving = self._told = self._gone = self._finished = self._reported = self._hung = False
        self._unheard_sends = 0
        self._error: Exception | None = None
        self._body_error: Exception | None = None
        self._violation: ASGIViolation | None = None

    # The application's side.

    async def run(self, app: ASGIApp) -> None:
        with self._task_scope:
            try:
                await app(self.scope, self.receive, self.send)
            except Exception as exc:
                self._error = exc
            finally:
                if not self.status and not self._gone and self._failure() is None:
                    self.status = 500  # what servers answer for an application that ended without a head
                self._close()
                self._done.set()

    async def receive(self) -> Message:
        if self.client.strict and self._receiving:
            self._violate("two receive() calls at once")
        if self.client.strict and self._told:
            await self._violate_soon("receive() after it said http.disconnect")
        self._receiving = True
        try:
            if not self.ended.is_set() and self._unread is not None:
                body, self._unread = self._unread, None
                return {"type": "http.request", "body": body, "more_body": False}
            if not self.ended.is_set() and self._uploading:
                return await self._receive_upload()
            await self.ended.wait()
            return self._disconnected()
        finally:
            self._receiving = False

    async def _receive_upload(self) -> Message:
        if not self._up_in.statistics().tasks_waiting_send:  # a chunk may be left over from a receive() that was cancelled
            self._wanted.set()
        try:
            return {"type": "http.request", "body": await self._up_in.receive(), "more_body": True}
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._uploading = False
            return self._disconnected() if self.ended.is_set() else {"type": "http.request", "body": b"", "more_body": False}

    def _disconnected(self) -> Message:
        self._told = True
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        message = {**message}
        if self.client.strict:
            fault = self.answer.fault(message)
            if fault:
                self._violate(fault)
            if self._told:
                await self._violate_soon("send() after receive() said http.disconnect")
        expected = message.get("type") == self.answer.expects  # a server without lint ignores what it does not expect
        chunk = self.answer.take(message) if expected else b""
        if not self._gone and not self.status and self.answer.status:
            self.status = self.answer.status
            _keep_cookies(self.client.cookies, self.answer.headers)
            self.headed.set()
        if expected and not self._gone and (chunk or self.answer.expects is None):
            await self._hand_over(chunk, final=self.answer.expects is None)
        else:
            self._unheard_sends += 1
            if self._unheard_sends % _SENDS_PER_TURN == 0:
                await anyio.lowlevel.checkpoint()

    async def _hand_over(self, chunk: bytes, *, final: bool) -> None:
        async with self._sending:  # the final message must not overtake a chunk that another task is sending
            try:
                if chunk:
                    await self._down_out.send(chunk)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return  # the client left meanwhile
            if final and not self._gone:
                self._finished = True
                self._close()

    async def _violate_soon(self, rule: str) -> NoReturn:
        # The task that heard the disconnect may be cancelling this one, which was on its way here already: then it ends here.
        await anyio.lowlevel.checkpoint()
        self._violate(rule)

    def _violate(self, rule: str) -> NoReturn:
        violation = ASGIViolation(f"{self.name}: {rule}")
        self._violation = self._violation or violation
        self.hang_up()  # the test learns it now, not when the application gets round to ending
        raise violation

    # The test's side.

    async def pump(self, chunks: AsyncIterable[bytes]) -> None:
        """Send *chunks* up, each pulled when the application has asked for it."""
        try:
            with self._pump_scope:
                async with Closing(chunks if inspect.isasyncgen(chunks) else None, seconds=self.client.close_s):
                    await self._wanted.wait()
                    async for chunk in chunks:
                        self._wanted = anyio.Event()
                        await self._up_out.send(chunk)
                        await self._wanted.wait()
                    self._up_out.close()
        except Exception as exc:
            self._body_error = exc
            self.hang_up()
        finally:
            self._pumped.set()

    async def upload(self, chunk: bytes) -> None:
        self._require_by_hand()
        try:
            await self._up_out.send(chunk)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            self.settle()
            raise anyio.BrokenResourceError(
                f"{self.name}: nobody will receive this chunk, its body or response has ended"
            ) from exc

    def end_upload(self) -> None:
        self._require_by_hand()
        self._up_out.close()

    def _require_by_hand(self) -> None:
        if self.content is not None:
            raise UsageError("only POST, PUT and PATCH without content, json or data have a body sent by hand")

    async def next_chunk(self) -> bytes | None:
        try:
            return await self._down_in.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self.settle()
            return None

    async def headed_or_idle(self) -> None:
        """Wait for the head, or until it will not come without the test doing something."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_when_idle, tasks.cancel_scope)
            await self.headed.wait()
            tasks.cancel_scope.cancel()

    async def _cancel_when_idle(self, scope: anyio.CancelScope) -> None:
        for _ in range(10):  # anyio's check for idleness polls each 0.1 s on asyncio; most applications rest sooner
            await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(_BUSY_S):
            await anyio.wait_all_tasks_blocked()
        for _ in range(_GRACES):
            await anyio.sleep(_GRACE_S)
            if not (anyio.to_thread.current_default_thread_limiter().borrowed_tokens or steps_in_flight()):
                break
        scope.cancel()

    def require_head(self) -> None:
        if not self.status:
            self.settle()
            why = "none came before the end" if self.headed.is_set() else "it has not begun: `await response.head()` waits for it"
            raise UsageError(f"{self.name}: there is no response head, {why}")

    @property
    def complete(self) -> bool:
        return self._finished and self.answer.whole and self._error is None and self._violation is None

    def hang_up(self) -> None:
        self._gone = True
        self._close()
        self._down_in.close()

    def _close(self) -> None:
        self.headed.set()
        self.ended.set()
        self._pump_scope.cancel()
        for stream in (self._up_out, self._up_in, self._down_out):
            stream.close()

    async def leave(self, close_s: float) -> None:
        """Disconnect, and wait for the application; shielded, so that a cancelled test leaves no task behind either."""
        self.hang_up()
        if not await _ends(self._done, self._task_scope, close_s):
            self._hung = True
        with anyio.CancelScope(shield=True):
            await self._pumped.wait()

    def settle(self) -> None:
        """Raise what went wrong, once."""
        if self._hung:
            self._hung = False
            raise AppError(f"{self.name}: the app kept running {self.client.close_s} s after the disconnect and was cancelled")
        failure = self._failure()
        if failure is None or self._reported:
            return
        self._reported = True
        if isinstance(failure, ASGIViolation):
            raise ASGIViolation(*failure.args) from failure
        if failure is self._body_error:
            raise failure
        raise AppError(f"{self.name}: the app raised {failure!r}") from failure

    def _failure(self) -> Exception | None:
        if self._violation or self._body_error or not self.client.raise_app_errors:
            return self._violation or self._body_error
        errors = [*self.scope["extensions"]["nardis.errors"], self._error]
        return next((exc for exc in errors if exc and not (self._gone and _is_departure(exc))), None)


class _Lifespan:
    """The lifespan of the application, in a task of its own."""

    def __init__(self, app: ASGIApp, strict: bool) -> None:
        self.state: dict[str, Any] = {}
        self.running = False
        self._app, self._strict = app, strict
        self._started, self._stopping, self._done = anyio.Event(), anyio.Event(), anyio.Event()
        self._scope = anyio.CancelScope()
        self._said: str | None = None
        self._allowed: tuple[str, ...] = ("lifespan.startup.complete", "lifespan.startup.failed")
        self._failed: str | None = None
        self._error: Exception | None = None

    async def _run(self) -> None:
        asgi = {"version": "3.0", "spec_version": "2.0"}
        with self._scope:
            try:
                await self._app({"type": "lifespan", "asgi": asgi, "state": self.state}, self._receive, self._send)
            except Exception as exc:
                self._error = self._error or exc
            finally:
                self._started.set()
                self._done.set()

    async def _receive(self) -> Message:
        if self._said is None:
            self._said = "lifespan.startup"
        else:
            await self._stopping.wait()
            if self._said == "lifespan.shutdown":
                await anyio.sleep_forever()  # as servers do: nothing comes after the shutdown
            self._said = "lifespan.shutdown"
        return {"type": self._said}

    async def _send(self, message: Message) -> None:
        kind = message.get("type")
        if kind not in self._allowed:
            if self._strict:
                self._error = ASGIViolation(f"lifespan: {kind!r} where one of {self._allowed} was due")
                raise self._error
            return
        self._allowed = () if kind != "lifespan.startup.complete" else ("lifespan.shutdown.complete", "lifespan.shutdown.failed")
        self.running = kind == "lifespan.startup.complete"
        if kind.endswith("failed"):
            self._failed = f"{kind}: {message.get('message', '')}"
        self._started.set()

    async def start(self, tasks: TaskGroup, close_s: float) -> None:
        tasks.start_soon(self._run, name="lifespan")
        await self._started.wait()
        if self._failed is not None:
            await _ends(self._done, self._scope, close_s)
        if self._failed is not None or isinstance(self._error, ASGIViolation):
            self.settle()
        if not self.running:
            self._error = None  # raised before the startup was complete: an application without lifespan

    async def stop(self, close_s: float) -> None:
        self._stopping.set()
        if not await _ends(self._done, self._scope, close_s):
            self._failed = f"the lifespan did not end within {close_s} s of lifespan.shutdown and was cancelled"

    def settle(self) -> None:
        if isinstance(self._error, ASGIViolation):
            raise ASGIViolation(*self._error.args) from self._error
        if self._failed is not None or self._error is not None:
            raise AppError(self._failed or f"the lifespan raised {self._error!r}") from self._error


async def _ends(done: anyio.Event, scope: anyio.CancelScope, close_s: float) -> bool:
    """Wait for a task to end, and cancel it when it takes longer than *close_s*. Not cancellable, but bounded."""
    with anyio.move_on_after(close_s, shield=True):
        await done.wait()
        return True
    scope.cancel()
    with anyio.move_on_after(close_s, shield=True):  # a thread, or a shield of its own, may hold it further
        await done.wait()
    return False


def _is_departure(exc: BaseException) -> bool:
    """Tell whether *exc* says only that the client left, which is nobody's fault when it did."""
    if isinstance(exc, BaseExceptionGroup):
        return all(map(_is_departure, cast("BaseExceptionGroup[BaseException]", exc).exceptions))
    # By name: Starlette has a class of its own, and the client knows no framework.
    return isinstance(exc, ClientDisconnected) or type(exc).__name__ == "ClientDisconnect"


def _octets(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)


def _pairs(fields: _Fields | None) -> _Pairs:
    items = cast("Mapping[str, str]", fields).items() if isinstance(fields, Mapping) else fields or ()
    return [(_octets(name).lower(), _octets(value)) for name, value in items]


def _target(url: str, params: _Form | None) -> dict[str, Any]:
    """Split *url* into the members of the scope that describe it, and "authority" for the Host field."""
    match = _URL.fullmatch(quote(url, safe=_PRINTABLE))
    if match is None:
        raise UsageError(f"{url!r} is neither a path that begins with / nor an absolute http(s) URL")
    scheme, authority = match[1] or "http", match[2] or "testserver"
    path, query = match[3] or "/", "&".join(filter(None, (match[4], urlencode(params or (), doseq=True))))
    host = urlsplit(f"//{authority}")
    return {
        "scheme": scheme,
        "server": (host.hostname, host.port or {"http": 80, "https": 443}[scheme]),
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "authority": authority.encode(),
    }


def _content(options: RequestOptions) -> tuple[bytes | AsyncIterable[bytes] | None, bytes]:
    """Return the request body, None when there is none, and its media type, empty when it is not known."""
    content, data, obj = options.get("content"), options.get("data"), options.get("json")
    if sum(part is not None for part in (content, data, obj)) > 1:
        raise UsageError("a request has one body: give content, json or data")
    if obj is not None:
        return json.dumps(obj, separators=(",", ":")).encode(), b"application/json"
    if data is not None:
        return urlencode(data, doseq=True).encode(), b"application/x-www-form-urlencoded"
    if not isinstance(cast("object", content), bytes | AsyncIterable | None):
        raise UsageError(f"content is bytes or an async iterable of bytes, not {type(content).__name__}")
    return content, b""


def _keep_cookies(jar: dict[str, str], headers: _Pairs) -> None:
    """Apply the Set-Cookie fields of a response (RFC 6265 §5.2; Path, Domain and the flags are ignored)."""
    for line in (value.decode("latin-1") for name, value in headers if name == b"set-cookie"):
        pair, *attributes = line.split(";")
        name, _, value = (part.strip() for part in pair.partition("="))
        known = {key.strip().lower(): text.strip() for key, _, text in (item.partition("=") for item in attributes)}
        jar[name] = value
        if _is_expired(known.get("max-age"), known.get("expires")):
            del jar[name]


def _is_expired(max_age: str | None, expires: str | None) -> bool:
    if max_age is not None and re.fullmatch(r"-?[0-9]+", max_age):  # wins over Expires (RFC 6265 §5.3, step 3)
        return int(max_age) <= 0
    try:
        return expires is not None and parsedate_to_datetime(expires).timestamp() <= time.time()
    except ValueError:
        return False
