"""The public API in strictly typed code: mypy and pyright check this file, pytest runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Literal, assert_type

import anyio
import pytest
from anyio.abc import ByteReceiveStream

from nardis import (
    ErrorHandler,
    Handler,
    HTTPError,
    Limits,
    Middleware,
    Nardis,
    Next,
    Request,
    Response,
    Router,
    SkipRoute,
    UsageError,
    WebSocket,
    WebSocketHandler,
    delete,
    get,
    head,
    main,
    options,
    patch,
    post,
    put,
    shielded,
    wrap,
)
from nardis.asgi import asgi2
from nardis.draining import Draining
from nardis.events import Event, EventDecoder, EventStream, encode_event
from nardis.middleware import OriginCheck, compression, cors, current_request_id, request_id
from nardis.routing import BaseHTTPMatcher, Get, RegexPattern
from nardis.server import Config
from nardis.testing import Client, TestResponse, TestWebSocket, WebSocketClosed, WebSocketDenied
from nardis.types import App

pytestmark = pytest.mark.anyio

# As asgiref.typing and Starlette have them.
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass
class Item:
    """What a client sends."""

    name: str
    price: float


async def timing(req: Request, res: Response, next: Next) -> None:
    """A middleware, as the documentation spells it."""
    started = anyio.current_time()
    res.on_head(lambda: res.set("server-timing", f"app;dur={anyio.current_time() - started:.0f}"))
    await next()


async def index(req: Request, res: Response) -> None:
    await res.send("<h1>Index</h1>")


async def missing(err: KeyError, req: Request, res: Response) -> None:
    await res.status(404).json({"missing": str(err)})


async def refused(err: HTTPError, req: Request, res: Response) -> None:
    await res.send(f"{err.status}: {err.detail}")


class Greeter:
    """An object with handlers and a middleware for methods, and one that is a handler itself."""

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    async def __call__(self, req: Request, res: Response) -> None:
        await res.send(self.greeting)

    async def around(self, req: Request, res: Response, next: Next) -> None:
        await next()


HANDLER: Handler = index
MIDDLEWARE: Middleware = timing
ERROR_HANDLER: ErrorHandler = missing
CALLABLES: tuple[Handler, Middleware] = (Greeter("hello"), Greeter("hello").around)


async def test_registration_keeps_the_types_of_functions() -> None:
    """What a decorator gives back is what it was given."""
    app = Nardis(
        debug=False,
        limits=Limits(buffered_body_bytes=10),
        case_sensitive=False,
        cancel_on_disconnect=True,
    )
    router = Router(strict=True, merge_params=False)

    same: Callable[[Request, Response], Any] = app.get("/", timing)(index)
    used: Callable[[Request, Response, Next], Any] = app.use(timing)
    below: Callable[[Request, Response, Next], Any] = app.use("/api")(timing)
    failed: Callable[[KeyError, Request, Response], Any] = app.error(KeyError, 404)(missing)
    app.use("/api", timing, router)
    app.use(router)
    app.post(["/a", "/b"], index, limits=Limits(), cancel_on_disconnect=False, name="ab")
    app.method("REPORT", "/x", timing, index)
    app.route("/y").get(index).post(timing, index).all(CALLABLES[0])
    app.error(HTTPError)(refused)

    @router.get("/key", CALLABLES[1])
    async def fails(req: Request, res: Response) -> None:
        raise KeyError("k")

    @router.get("/refused")
    async def refuses(req: Request, res: Response) -> None:
        raise HTTPError(409, "taken")

    async with Client(app) as client:
        assert (await client.get("/")).text == "<h1>Index</h1>"
        assert (await client.put("/y")).text == "hello"
        assert (await client.get("/api/key")).json() == {"missing": "'k'"}
        assert (await client.get("/refused")).text == "409: taken"

    assert (same, used, below, failed) == (index, timing, timing, missing)
    assert_type(app.url_for("ab"), str)
    rows: Sequence[tuple[str | None, str, str | None]] = app.routes()
    assert all(len(row) == 3 for row in rows)
    assert_type(app.state, SimpleNamespace)
    assert_type(app.draining, Draining)


async def hello_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application, as a strictly typed one is written."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"foreign"})


def hello_asgi2(scope: Scope) -> Callable[[Receive, Send], Awaitable[None]]:
    """An ASGI 2 application."""

    async def inner(receive: Receive, send: Send) -> None:
        await hello_asgi(scope, receive, send)

    return inner


class Passing:
    """An ASGI middleware, as a strictly typed one is written."""

    def __init__(self, app: ASGIApp, depth: int) -> None:
        self.app = app
        self.depth = depth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


async def test_foreign_applications_are_typed() -> None:
    app = Nardis()
    assert_type(app.mount("/three", hello_asgi), None)
    app.mount("/two", hello_asgi2)
    app.mount("/own", Nardis())
    middleware = app.use(wrap(Passing, depth=1))
    assert_type(middleware, Middleware)
    app.get("/", wrap(Passing, 2), index)

    async with Client(app) as client:
        assert (await client.get("/three")).text == "foreign"
        assert (await client.get("/two")).text == "foreign"
        assert (await client.get("/")).text == "<h1>Index</h1>"


class Exactly:
    """A pattern of one's own."""

    def __init__(self, text: str) -> None:
        self.text = text

    def match(self, path: str) -> bool:
        return path == self.text

    def parse(self, path: str) -> dict[str, Any]:
        return {}


async def not_here(req: Request, res: Response) -> None:
    await res.status(404).send("not here")


async def test_routes_are_data() -> None:
    first = get("/", timing, index, name="first", limits=Limits())
    assert_type(first, Get)
    routes: list[BaseHTTPMatcher] = [
        *[verb("/a", index) for verb in (post, put, patch, delete, head, options)],
        first,
        Get("^/b$", index),
        Get("/c", [timing, index], pattern_cls=Exactly),
    ]
    app = main({"routes": routes, "action_404": not_here})
    assert_type(app, Nardis)
    assert_type(main(routes), Nardis)
    assert_type(RegexPattern("^/(?P<a>.)$").parse("/x"), dict[str, Any])
    assert_type(asgi2(app)({"type": "http"}), Callable[[Receive, Send], Awaitable[None]])

    async with Client(app) as client:
        for path in ("/", "/b", "/c"):
            assert (await client.get(path)).text == "<h1>Index</h1>"
        assert (await client.get("/d")).text == "not here"


async def test_a_request_is_typed() -> None:
    app = Nardis()

    @app.post("/items/:id", timing)
    async def create(req: Request, res: Response) -> None:
        assert_type(req.method, str)
        assert_type(req.path, str)
        assert_type(req.url_for("create", id=7), str)
        assert_type(req.raw_path, bytes)
        assert_type(req.params, dict[str, Any])
        assert_type(req.get("x-a"), str | None)
        assert_type(req.get("x-a", 1), str | int)
        assert_type(req.app, App)
        assert_type(req.content_length, int | None)
        assert_type(req.accepts(), list[str])
        assert_type(req.accepts("json", "html"), str | None)
        assert_type(req.is_type("json"), str | None)
        assert_type(await req.json(), Any)
        item = await req.json(Item)
        assert_type(item, Item)
        assert_type(await req.bytes(), bytes)
        assert_type(await req.text(limit=1000), str)
        assert_type([line async for line in req.lines()], list[str])
        assert_type([value async for value in req.ndjson()], list[Any])
        assert_type([each async for each in req.ndjson(Item)], list[Item])
        assert_type(req.access_fields, dict[str, Any])
        req.defer(anyio.sleep, 0)
        await res.status(201).set("x-id", 7).vary("Accept").json({"name": item.name})

    async with Client(app) as client:
        response = await client.post("/items/7", json={"name": "tea", "price": 2.5})
        assert_type(response, TestResponse)
        assert response.status_code == 201


async def test_a_body_is_typed() -> None:
    app = Nardis()

    @app.post("/loop")
    async def loop(req: Request, res: Response) -> None:
        size = 0
        async for chunk in req:
            assert_type(chunk, bytes)
            size += len(chunk)
        await res.json(size)

    @app.post("/stream")
    async def stream(req: Request, res: Response) -> None:
        body: ByteReceiveStream = req.body
        await res.write(await body.receive(1))
        await res.pipe(body)

    async with Client(app) as client:
        assert (await client.post("/loop", content=b"123")).json() == 3
        assert (await client.post("/stream", content=b"123")).content == b"123"


async def test_a_response_chains() -> None:
    """Setters give the response back; verbs are awaited and give nothing."""
    app = Nardis()

    @app.get("/")
    async def chained(req: Request, res: Response) -> None:
        same = (
            res.status(200)
            .type("text")
            .set({"x-a": "1"})
            .append("x-b", "2")
            .remove("x-a")
            .location("/x")
        )
        assert_type(same, Response)
        assert_type(res.get("x-b"), str | None)
        assert_type(res.started, bool)
        assert_type(res.status_code, int)
        res.headers["x-c"] = "3"
        await res.write("1")
        await res.write(bytearray(b"2"))
        await res.flush()
        assert_type(res.bytes_sent, int)
        await res.end(memoryview(b"3"))

    @app.get("/away")
    async def away(req: Request, res: Response) -> None:
        await res.redirect("/", 303)

    @app.get("/status")
    async def status(req: Request, res: Response) -> None:
        await res.send_status(418)

    async with Client(app) as client:
        assert (await client.get("/")).text == "123"
        assert (await client.get("/away")).status_code == 303
        assert (await client.get("/status")).status_code == 418


async def test_the_middlewares_that_come_along_are_typed() -> None:
    def is_known(origin: str, req: Request) -> bool:
        return origin == req.get("x-known")

    async def is_known_later(origin: str, req: Request) -> bool:
        return is_known(origin, req)

    app = Nardis()
    check: OriginCheck = is_known_later
    made = cors(origins=is_known, max_age=timedelta(hours=1))
    assert_type(made, Middleware)
    app.use(made, cors(origins=check, methods=["GET"]), cors(origins="*", headers={"x-a"}))
    app.use(compression(), compression(level=9, codings=["gzip"], with_cookies=True))
    app.use(compression(level={"br": 4}, min_bytes=500, media_types=("text/*",)))
    app.use(request_id(trust=lambda req: req.secure, make=lambda: "1"), request_id(trust=True))
    assert_type(current_request_id(), str | None)
    async with Client(app) as client:
        answer = await client.get("/", headers={"origin": "https://a.com"})
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_events_are_typed() -> None:
    app = Nardis()

    @app.get("/events")
    async def clock(req: Request, res: Response) -> None:
        assert_type(req.last_event_id, str)
        async with res.sse(ping=None, retry=1) as events:
            assert_type(events, EventStream)
            await events.send({"tick": 1}, event="tick", id="1")
            await events.comment("still here")

    @app.get("/lines")
    async def lines(req: Request, res: Response) -> None:
        await res.ndjson([1, 2])

    @app.get("/array")
    async def array(req: Request, res: Response) -> None:
        await res.json_array({"n": n} for n in range(2))

    async with Client(app) as client, client.sse("/events", last_event_id="0") as events:
        assert_type([each.data async for each in events], list[str])
        assert (await client.get("/lines")).content == b"1\n2\n"
        assert (await client.get("/array")).json() == [{"n": 0}, {"n": 1}]
    assert_type(EventDecoder().feed(encode_event("x", id="1")), list[Event])


async def talks_asgi(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    if scope["path"] == "/":
        await send({"type": "websocket.accept", "subprotocol": "v1"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})
    await send({"type": "websocket.close", "code": 4000, "reason": "enough"})


async def test_a_websocket_of_a_test_is_typed() -> None:
    async with Client(talks_asgi, lifespan=False) as client:
        with pytest.raises(WebSocketDenied) as denied:
            async with client.websocket("/no", cookies={"a": "1"}, params={"b": "2"}):
                raise AssertionError("it was let in")  # pragma: no cover - it is denied
        async with client.websocket("/", ["v1"], headers={"origin": "http://testserver"}) as ws:
            assert_type(ws, TestWebSocket)
            assert_type(ws.subprotocol, str | None)
            await ws.send_json({"n": 1})
            assert_type(await ws.receive_json(), Any)
            assert_type([message async for message in ws], list[str | bytes])
            assert_type(ws.close_code, int | None)
            with pytest.raises(WebSocketClosed) as closed:
                assert_type(await ws.receive_text(), str)
    assert_type(denied.value.response, TestResponse)
    assert (closed.value.code, closed.value.reason) == (4000, "enough")


async def echo(req: Request, ws: WebSocket) -> None:
    assert_type(ws.state, Literal["connecting", "open", "closed"])
    await ws.accept("v1", {"x-a": req.params["room"]})
    assert_type((ws.subprotocols, ws.subprotocol), tuple[list[str], str | None])
    assert_type(await ws.receive(), str | bytes)
    assert_type((await ws.receive_text(), await ws.receive_bytes()), tuple[str, bytes])
    assert_type(await ws.receive_json(), Any)
    assert_type(await ws.receive_json(Item), Item)
    async for message in ws:
        assert_type(message, str | bytes)
        await ws.send(message)
        await ws.send(memoryview(b"bytes"))
        await ws.send_json({"n": 1})
        await ws.close(4000, reason="enough")
    assert_type(ws.close_code, int | None)
    assert_type(ws.close_reason, str)


async def test_a_websocket_of_a_handler_is_typed() -> None:
    app = Nardis(websocket_origins=["https://a.example"])
    handler: WebSocketHandler = echo
    app.websocket("/echo/:room", handler, subprotocols=("v1",), origins="*", name="echo")

    @app.websocket("/gone", cancel_on_disconnect=False, limits=Limits(cleanup_s=1))
    async def gone(req: Request, ws: WebSocket) -> None:
        raise HTTPError(410)

    named: Callable[[Request, WebSocket], Awaitable[None]] = gone
    assert named is gone
    async with Client(app) as client:
        with pytest.raises(WebSocketDenied):
            await client.websocket("/gone").__aenter__()
        async with client.websocket("/echo/red", ["v1"]) as ws:
            for message in ("a", "b", b"c", "{}", '{"name": "x", "price": 1.5}', "last"):
                await ws.send(message)
            assert [message async for message in ws] == ["last", b"bytes", '{"n":1}']
            assert ws.close_code == 4000


async def test_what_outlives_requests_is_typed() -> None:
    app = Nardis()

    @app.lifespan
    async def lifespan(given: Nardis) -> AsyncIterator[None]:
        given.state.count = 0
        yield
        with shielded(1) as scope:
            assert_type(scope, anyio.CancelScope)

    async def count(step: int) -> None:
        app.state.count += step

    async with Client(app):
        app.tasks.start_soon(count, 2, name="count")
    assert app.state.count == 2


async def test_errors_are_typed() -> None:
    error = HTTPError(409, "taken", headers={"retry-after": "1"}, owner="alice")
    assert_type(error.status, int)
    assert_type(error.detail, str)
    assert_type(error.headers, dict[str, str])
    assert_type(error.extensions, dict[str, Any])
    assert issubclass(UsageError, Exception)
    assert issubclass(SkipRoute, Exception)
    assert_type(Config(bind=["127.0.0.1:0"], backend="asyncio", drain_s=1, graceful_s=2), Config)
    assert (index, timing, missing) == (HANDLER, MIDDLEWARE, ERROR_HANDLER)
