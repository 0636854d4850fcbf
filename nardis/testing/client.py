"""
A client that drives any ASGI 3 application in process: no socket, the same on each backend.

It is a faithful peer rather than a recorder. Chunks pass from task to task without a buffer, so a
handler is never more than one chunk ahead of whoever reads; a request body goes up as the
application asks for it; the client can leave at any byte; and what a real server would only log, an
exception or a broken rule of ASGI, fails the test.

Each call of the application runs in a task of a task group that the `Client` owns, and the lifespan
in another. Source: ASGI specification, "HTTP & WebSocket" 2.3 and "Lifespan" 2.0. Version 2.4 says
that `send` raises once the client has left; servers do not agree on that, so the client claims 2.3,
where `send` does nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Self, Unpack

import anyio
from anyio.abc import TaskGroup

from .._http.hosts import host_name
from ..errors import UsageError
from ..types import ASGIApp
from .call import Call, Manners
from .events import StreamedEvents, asked_for_events
from .forms import Form
from .http_call import HTTPCall
from .jar import CookieJar, Place
from .lifespan import Lifespan
from .requests import (
    Content,
    Fields,
    Pairs,
    RequestOptions,
    content_of,
    handshake_of,
    joined,
    offered_in,
    pairs_of,
    target_of,
)
from .responses import StreamedResponse, TestResponse
from .rules import DENIAL
from .websocket import TestWebSocket, WebSocketDenied
from .websocket_call import WebSocketCall

__all__ = ["Client"]


class Client:
    """
    Drive *app* in process: `async with Client(app) as client: response = await client.get("/")`.

    Entering starts the lifespan; leaving disconnects every request, closes every WebSocket, ends
    the lifespan and leaves no task behind. Redirects are not followed. Cookies are kept and sent as
    browsers do it; `cookies` has them.

    Args:
        app: Any ASGI 3 application.
        lifespan: Whether to send lifespan events. An app that raises on them, or returns, goes on
            without.
        headers: Sent with every request; those of a request replace them by name.
        http_version: "1.0", "1.1", "2" or "3", as the scope says it.
        client: Address and port of the peer, or None.
        strict: Turn broken rules of ASGI into `ASGIViolation`. Otherwise they pass, or are ignored
            as servers do.
        extensions: What the scope offers beside `nardis.errors`, such as
            `{"http.response.trailers": {}}`. That of a WebSocket has those that do not begin with
            `http.`, and `websocket.http.response`, unless it is None here.
        raise_app_errors: Turn exceptions of the application into `AppError`: those it raises, and
            those it answers itself and appends to `scope["extensions"]["nardis.errors"]`. Otherwise
            one before the head is an empty 500, one after it a response that is not complete. Each
            request raises its first error, once. Broken rules and an app that does not end are
            raised in any case.

    Raises:
        AppError: On entering, when the startup failed; on leaving, when the shutdown failed or did
            not end, or a request had an error that nobody has seen.
    """

    __test__: ClassVar[bool] = False

    close_s: float = 10.0
    """
    Seconds for the application after a disconnect, and for the lifespan after its shutdown.

    Twice the `cleanup_s` of `Limits`: what an application bounds itself ends by its own bound, and
    is told in its own words.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        lifespan: bool = True,
        headers: Fields | None = None,
        http_version: str = "1.1",
        client: tuple[str, int] | None = ("127.0.0.1", 50000),
        strict: bool = True,
        extensions: Mapping[str, Any] | None = None,
        raise_app_errors: bool = True,
    ) -> None:
        self.app = app
        self.raise_app_errors = raise_app_errors
        self.strict = strict
        self._base: dict[str, Any] = {"http_version": http_version, "client": client}
        self._extensions = dict(extensions or {})
        self._headers = pairs_of(headers)
        host = dict(self._headers).get(b"host", b"testserver").decode("latin-1")
        self._cookies = CookieJar(host_name(host))
        self._has_lifespan = lifespan
        self._lifespan: Lifespan | None = None  # while the client is open
        self._calls: list[Call] = []
        self._tasks: TaskGroup | None = None

    @property
    def cookies(self) -> CookieJar:
        """
        The cookies that the client keeps, as a mapping of names to values.

        It shows those of the client's own host ("testserver", or the Host field among the
        `headers` of the client), whatever their path, and with Secure too. An assignment,
        `client.cookies["a"] = "1"`, sets a cookie for that host, for each path and scheme;
        `del` and `clear()` remove them. Those of other hosts are kept as well, and not shown.

        Domain, Path, Secure, Max-Age, Expires and the prefixes `__Host-` and `__Secure-` mean what
        they mean to browsers. So a Secure cookie needs requests to `https://testserver/...`, both
        to be set and to be sent. `clock` is a function that gives the time in unix seconds; a test
        sets another one to let cookies expire:
        `client.cookies.clock = lambda: time.time() + 3600`.
        """
        return self._cookies

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        try:
            if self._has_lifespan:
                self._lifespan = Lifespan(self.app, self.strict)
                await self._lifespan.start(self._tasks, self.close_s)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
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
        # Not told of the exception that leaves the test's body, or it would come out wrapped in a
        # group.
        await tasks.__aexit__(None, None, None)

    def _group(self) -> TaskGroup:
        if self._tasks is None:
            raise UsageError(
                "the client is not open: use it inside `async with Client(app) as client:`"
            )
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

    async def request(
        self, method: str, url: str, **options: Unpack[RequestOptions]
    ) -> TestResponse:
        """
        Send a request and read the whole response.

        Args:
            method: Sent in upper case.
            url: A path with a query, or an absolute http(s) URL, whose host becomes the Host field
                ("testserver" otherwise). What is not printable ASCII is percent-encoded; existing
                escapes stay.
            options: See `RequestOptions`.

        Raises:
            AppError: The application raised, or was still running `close_s` after the response.
            ASGIViolation: The application broke a rule of ASGI.

        Cancellation: disconnects, and waits for the application to end, `close_s` at most.
        """
        call = self._call(method, url, options, by_hand=False)
        async with self._running(call):
            await call.headed.wait()
            call.require_head()
            response = StreamedResponse(call)
            content = await response.read()
        return TestResponse(
            response.status_code, response.headers, content, response.trailers, response.complete
        )

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, **options: Unpack[RequestOptions]
    ) -> AsyncGenerator[StreamedResponse, None]:
        """
        Send a request, and read the response while it is made.

        POST, PUT and PATCH without `content`, `json`, `data` or `files` have a body sent by hand:
        `send()` and `end()` of the response. Entering waits for the head, but no longer than until
        everything in the event loop waits, so a handler that first wants a body, or never answers,
        does not hang the test: `head()` waits for the rest. Leaving early disconnects. Arguments,
        errors and cancellation are those of `request()`; an error is raised on entering, by a read,
        or on leaving the block unless it is being left by another exception.
        """
        call = self._call(method, url, options, by_hand=True)
        async with self._running(call):
            await call.headed_or_idle()
            if call.headed.is_set():
                call.require_head()
            yield StreamedResponse(call)

    @asynccontextmanager
    async def sse(
        self,
        url: str,
        *,
        method: str = "GET",
        last_event_id: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> AsyncGenerator[StreamedEvents, None]:
        """
        Ask for server-sent events, and read them while they are made.

        `async with client.sse("/clock") as events: first = await anext(events)`. Leaving early
        disconnects. The request is that of a browser: Accept is text/event-stream, and
        Cache-Control is no-cache, unless the headers have others. It does not connect again by
        itself: `client.sse(url, last_event_id=events.last_event_id)` does. Apart from that it is a
        `stream()`, which does not wait for ever for the head; `events.response` is what that gives.

        Args:
            url: As for `request()`.
            method: Browsers use GET alone.
            last_event_id: Sent as Last-Event-ID, unless it is empty or the headers have one. An
                event before the first new id has this one.
            options: See `RequestOptions`.

        Raises:
            NotAnEventStream: The answer is not a 200 of text/event-stream. A 204, with which a
                server tells a browser to stop, is not.
            AppError: The application raised.
            ASGIViolation: The application broke a rule of ASGI.

        Source: WHATWG HTML §9.2.3 to §9.2.6.
        """
        given = pairs_of(options.get("headers"))
        options["headers"] = asked_for_events(self._headers, given, last_event_id)
        call = self._call(method, url, options, by_hand=True)
        async with self._running(call):
            await call.headed_or_idle()
            events = StreamedEvents(StreamedResponse(call), last_event_id)
            if call.headed.is_set():
                await events.check()
            yield events

    @asynccontextmanager
    async def websocket(
        self,
        url: str,
        subprotocols: Sequence[str] = (),
        *,
        headers: Fields | None = None,
        params: Form | None = None,
        cookies: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[TestWebSocket, None]:
        """
        Open a WebSocket: `async with client.websocket("/chat") as ws: await ws.send("hello")`.

        Entering waits until the application accepts or denies, however long that takes. Leaving
        closes with 1000, unless the WebSocket has ended, and waits for the application, `close_s`
        at most. What a handler that is waited for sends on other WebSockets is kept for them, as in
        a socket: the test reads it later.

        The handshake is that of HTTP/1.1, or that of the client's `http_version`. There is no
        Origin among its fields, which browsers send: `headers={"origin": ...}` has one.

        Args:
            url: A path with a query, or an absolute URL of ws, wss, http or https. A Secure cookie
                needs `wss://testserver/...`.
            subprotocols: Offered to the application, the preferred one first.
            headers: Sent beside those of the client, and replace them by name.
            params: Added to the query.
            cookies: Sent beside those of the client, and replace them by name.

        Raises:
            WebSocketDenied: The application did not accept; the error has its answer.
            AppError: The application raised, or was still running `close_s` after the end.
            ASGIViolation: The application broke a rule of ASGI.

        Cancellation: while it waits for the answer, the client vanishes. The application is waited
        for, `close_s` at most.

        Source: RFC 6455 §4.1; RFC 8441 for HTTP/2; RFC 9220 for HTTP/3.
        """
        given: RequestOptions = {"headers": headers, "params": params, "cookies": cookies}
        call = self._websocket_call(url, subprotocols, given)
        async with self._running(call):
            await call.answered.wait()
            if call.accepted:
                yield TestWebSocket(call)
        if not call.accepted:
            raise WebSocketDenied(call.denied())

    @asynccontextmanager
    async def _running(self, call: Call) -> AsyncGenerator[None, None]:
        tasks = self._group()
        self._calls.append(call)
        call.start(tasks, self.app)
        try:
            yield
        finally:
            await call.leave(self.close_s)
        # Left by an exception, the call stays in the list: what it has to say is said when the
        # client closes.
        self._calls.remove(call)
        call.settle()

    def _call(self, method: str, url: str, options: RequestOptions, *, by_hand: bool) -> HTTPCall:
        if unknown := options.keys() - RequestOptions.__annotations__.keys():
            raise UsageError(
                f"a request takes {', '.join(RequestOptions.__annotations__)}, "
                f"not {', '.join(sorted(unknown))}"
            )
        method = method.upper()
        scope, usual, place = self._addressed(url, options)
        given = dict(scope["headers"])
        content = content_of(options, given.get(b"content-type"))
        if content.body is None and not (by_hand and method in ("POST", "PUT", "PATCH")):
            content = Content(b"", length=0)
        usual[b"content-type"] = content.media_type
        if not {b"content-length", b"transfer-encoding"} & given.keys():
            if content.length is not None:
                has_length = content.length or method in ("POST", "PUT", "PATCH")
                usual[b"content-length"] = b"%d" % content.length if has_length else b""
            elif scope["http_version"].startswith("1"):
                usual[b"transfer-encoding"] = b"chunked"
        scope |= {"type": "http", "method": method, "headers": joined(usual, scope["headers"])}
        scope["extensions"] = {**self._extensions, "nardis.errors": []}
        return HTTPCall(scope, content.body, self._manners(), partial(self._keep_cookies, place))

    def _websocket_call(
        self, url: str, subprotocols: Sequence[str], options: RequestOptions
    ) -> WebSocketCall:
        url = f"http{url[2:]}" if url.startswith(("ws://", "wss://")) else url
        scope, usual, place = self._addressed(url, options)
        usual |= handshake_of(subprotocols, scope["http_version"])
        fields = joined(usual, scope["headers"])
        scope |= {"type": "websocket", "scheme": "wss" if place.secure else "ws", "headers": fields}
        scope["subprotocols"] = offered_in(fields)
        offered: dict[str, Any] = {DENIAL: {}, **self._extensions, "nardis.errors": []}
        scope["extensions"] = {
            name: value
            for name, value in offered.items()
            if value is not None and not name.startswith("http.")
        }
        return WebSocketCall(scope, self._manners(), partial(self._keep_cookies, place))

    def _addressed(
        self, url: str, options: RequestOptions
    ) -> tuple[dict[str, Any], dict[bytes, bytes], Place]:
        # The scope with the fields of the test, those that are usual, and the place of cookies.
        self._group()  # the client has to be open
        target = target_of(url, options.get("params"))
        authority: bytes = target.pop("authority")
        scope: dict[str, Any] = target | self._base
        own = pairs_of(options.get("headers"))
        fields = [*(pair for pair in self._headers if pair[0] not in dict(own)), *own]
        host = host_name(dict(fields).get(b"host", authority).decode("latin-1"))
        place = Place(host, scope["raw_path"].decode("latin-1"), scope["scheme"] == "https")
        cookie = self._cookie_field(place, options.get("cookies") or {})
        scope["asgi"] = {"version": "3.0", "spec_version": "2.3"}
        scope |= {"root_path": "", "headers": fields}
        if self._lifespan and self._lifespan.running:
            scope["state"] = self._lifespan.state.copy()
        return scope, {b"host": authority, b"cookie": cookie}, place

    def _manners(self) -> Manners:
        return Manners(self.strict, self.raise_app_errors, self.close_s)

    def _cookie_field(self, place: Place, own: Mapping[str, str]) -> bytes:
        kept = [pair for pair in self._cookies.matching(place) if pair[0] not in own]
        text = "; ".join(f"{name}={value}" for name, value in (*kept, *own.items()))
        return text.encode("utf-8", "surrogateescape")

    def _keep_cookies(self, place: Place, headers: Pairs) -> None:
        self._cookies.keep([value for name, value in headers if name == b"set-cookie"], place)
