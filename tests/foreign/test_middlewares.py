"""
Other people's ASGI middlewares, wrapped: the three promises hold behind each of them.

Starlette's GZip holds nothing back while a body is streamed, but its compressor does; so the
streaming rows ask it to leave this content type alone, and a row of its own looks at what it
compresses.
"""

import gzip
import zlib

import anyio
import pytest
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse

from nardis import Nardis, Router, wrap
from nardis.testing import Client
from tests.peers.asgi import BODY, START
from tests.peers.driver import Server, rest

pytestmark = pytest.mark.anyio


async def passes(request, call_next):
    response = await call_next(request)
    response.headers["x-base"] = "1"
    return response


class Hostile:
    """
    It reads and sends in tasks of its own, drops the disconnect, swallows every exception and ends
    every body, twice.
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def gentle():
            message = await receive()
            return (
                {"type": "http.request", "body": b"", "more_body": True}
                if message["type"] == "http.disconnect"
                else message
            )

        async def tries(message):
            try:
                await send(message)
            except Exception as exc:
                refused.append(exc)

        refused = []
        try:
            await self.app(scope, gentle, send)
        except Exception as exc:
            refused.append(exc)
        for _ in range(2):
            await tries({"type": START, "status": 200, "headers": []})
            await tries({"type": BODY, "body": b"", "more_body": False})


class Listens:
    """
    It waits for the disconnect itself, in a task of its own, while what is behind it may read as
    well.
    """

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def listens():
            while (await receive())["type"] != "http.disconnect":
                pass

        async with anyio.create_task_group() as group:
            if scope["method"] == "GET":
                group.start_soon(listens)
            try:
                await self.app(scope, receive, send)
            finally:
                group.cancel_scope.cancel()


ALL = [
    pytest.param(lambda: wrap(CORSMiddleware, allow_origins=["*"]), id="cors"),
    pytest.param(lambda: wrap(GZipMiddleware, minimum_size=500), id="gzip"),
    pytest.param(lambda: wrap(SessionMiddleware, secret_key="tests"), id="sessions"),
    pytest.param(
        lambda: wrap(TrustedHostMiddleware, allowed_hosts=["testserver"]), id="trustedhost"
    ),
    pytest.param(lambda: wrap(BaseHTTPMiddleware, dispatch=passes), id="basehttp"),
    pytest.param(lambda: wrap(OpenTelemetryMiddleware), id="opentelemetry"),
    pytest.param(lambda: wrap(Hostile), id="hostile"),
    pytest.param(lambda: wrap(Listens), id="listens"),
]
ORIGIN = {"origin": "https://elsewhere.example"}


@pytest.fixture(params=ALL)
def middleware(request):
    return request.param()


class Jobs:
    """An application behind *middleware* with a handler for each promise."""

    def __init__(self, middleware):
        self.written, self.reasons, self.left = 0, [], anyio.Event()
        self.app = app = Nardis()
        app.use(middleware)

        @app.get("/stream")
        async def stream(req, res):
            for self.written in range(1, 101):
                await res.write(bytes(100_000))

        @app.get("/idle")
        async def idle(req, res):
            try:
                await res.write("1")
                await anyio.sleep_forever()
            finally:
                self.reasons.append(req.close_reason)
                self.left.set()

        @app.get("/silent")
        async def silent(req, res):
            try:
                await anyio.sleep_forever()
            finally:
                self.reasons.append(req.close_reason)

        @app.get("/broken")
        async def broken(req, res):
            await res.write("half")
            raise KeyError("k")

        @app.get("/cut")
        async def cut(req, res):
            await res.write("half")
            await res.abort()

        @app.get("/short")
        async def short(req, res):
            await res.set("content-length", 9).write("half")

        @app.post("/echo")
        async def echo(req, res):
            async for chunk in req:
                await res.write(chunk)

        @app.post("/whole")
        async def whole(req, res):
            await res.json(await req.json())


async def test_a_body_comes_through_both_ways(middleware):
    async with Client(Jobs(middleware).app) as client:
        assert (await client.post("/whole", json={"a": 1})).json() == {"a": 1}
        assert (await client.get("/nothing")).status_code == 404


async def test_a_big_stream_is_not_gathered(middleware):
    """
    10 MB in chunks of 100 kB: the first is read before the handler has come far, and all of it
    arrives.
    """
    jobs = Jobs(middleware)
    async with Client(jobs.app) as client, client.stream("GET", "/stream") as response:
        first = await anext(response)
        await rest()
        assert jobs.written <= 4
        assert len(first) + len(await response.read()) == 10_000_000
        assert response.complete


async def test_a_client_that_leaves_cancels_the_handler_within_a_tick(middleware):
    jobs = Jobs(middleware)
    async with Server(jobs.app) as server:
        for path in ("/idle", "/silent"):
            call = server.call(path)
            await server.lose(call)
            await call.wait()
            assert not call.final_begun
    assert jobs.reasons == ["gone", "gone"]


@pytest.mark.parametrize("path", ["/broken", "/cut", "/short"])
async def test_a_failure_past_the_head_never_looks_whole(middleware, path, caplog):
    async with Client(Jobs(middleware).app, raise_app_errors=False) as client:
        response = await client.get(path)
    assert (response.content, response.complete) == (b"half", False)


async def test_both_directions_at_once(middleware):
    async with Client(Jobs(middleware).app) as client, client.stream("POST", "/echo") as response:
        for chunk in (b"one", b"two"):
            await response.send(chunk)
            assert await response.read(3) == chunk
        await response.end()
        assert await response.read() == b""
        assert response.complete


async def test_head_starts_no_stream(middleware):
    jobs = Jobs(middleware)
    async with Client(jobs.app) as client:
        response = await client.head("/stream")
    assert (response.status_code, response.content, response.complete, jobs.written) == (
        200,
        b"",
        True,
        1,
    )


async def test_cors_fields_are_on_errors_too():
    """
    A 404, an error that somebody answers; the browser's question is answered before any route.
    """
    app = Nardis()
    app.use(wrap(CORSMiddleware, allow_origins=[ORIGIN["origin"]], allow_methods=["PUT"]))

    @app.error(KeyError)
    async def missing(err, req, res):
        await res.status(410).send("gone")

    @app.put("/key")
    async def key(req, res):
        raise KeyError("k")

    async with Client(app, headers=ORIGIN) as client:
        for response in (await client.get("/nothing"), await client.put("/key")):
            assert response.headers["access-control-allow-origin"] == ORIGIN["origin"]
            assert (
                response.headers["vary"].startswith("Accept, Origin")
                or response.headers["vary"] == "Origin"
            )
        response = await client.options("/key", headers={"access-control-request-method": "PUT"})
        assert (response.status_code, response.text) == (200, "OK")


async def test_gzip_compresses_what_the_handler_writes():
    """
    And takes the handler's length away. It flushes nothing, so a small piece waits for those behind
    it.
    """
    app = Nardis()
    app.use(wrap(GZipMiddleware, minimum_size=10))

    @app.get("/whole")
    async def whole(req, res):
        await res.set("etag", '"1"').send("x" * 1000)

    @app.get("/stream")
    async def stream(req, res):
        for _ in range(10):
            await res.write("x" * 1000)

    @app.get("/broken")
    async def broken(req, res):
        await res.write("x" * 1000)
        raise KeyError("k")

    async with Client(app, headers={"accept-encoding": "gzip"}, raise_app_errors=False) as client:
        response = await client.get("/whole")
        assert (gzip.decompress(response.content), response.headers["content-encoding"]) == (
            b"x" * 1000,
            "gzip",
        )
        assert response.headers["content-length"] == str(len(response.content))
        response = await client.get("/stream")
        assert gzip.decompress(response.content) == b"x" * 10_000
        response = await client.get("/broken")
        assert not response.complete
        assert not zlib.decompressobj(31).eof


async def test_sessions_last_from_request_to_request():
    """Its place is a router here."""
    app, router = Nardis(), Router()
    router.use(wrap(SessionMiddleware, secret_key="tests"))

    @router.get("/count")
    async def count(req, res):
        session = req.scope["session"]
        session["n"] = session.get("n", 0) + 1
        await res.json(session["n"])

    app.use("/s", router)
    async with Client(app) as client:
        assert [(await client.get("/s/count")).json() for _ in range(3)] == [1, 2, 3]


async def test_a_host_that_is_not_trusted_is_refused_before_the_handler():
    """Its place is one route here."""
    app, log = Nardis(), []

    @app.get("/guarded", wrap(TrustedHostMiddleware, allowed_hosts=["testserver"]))
    @app.get("/open")
    async def handler(req, res):
        log.append(req.path)
        await res.send("ok")

    async with Client(app) as client:
        assert (await client.get("http://evil.example/guarded")).status_code == 400
        assert (await client.get("http://evil.example/open")).status_code == 200
        assert (await client.get("/guarded")).status_code == 200
    assert log == ["/open", "/guarded"]


async def test_basehttp_may_replace_the_answer_or_the_request():
    """The handler whose answer it replaces has nobody left to talk to: it is cancelled."""
    log = []

    async def replaces(request, call_next):
        log.append(await request.body())
        await call_next(request)
        return PlainTextResponse("replaced", 418)

    app = Nardis()
    app.use(wrap(BaseHTTPMiddleware, dispatch=replaces))

    @app.post("/")
    async def handler(req, res):
        log.append(await req.bytes())
        try:
            while True:
                await res.write("for ever")
        finally:
            log.append(req.close_reason)

    async with Client(app) as client:
        response = await client.post("/", content=b"abc")
    assert (response.status_code, response.text) == (418, "replaced")
    assert log == [b"abc", b"abc", "gone"]


async def test_basehttp_sees_the_exception_and_may_answer_it():
    """Nothing was sent, so its answer stands."""

    async def answers(request, call_next):
        try:
            return await call_next(request)
        except KeyError:
            return PlainTextResponse("sorry", 503)

    app = Nardis()
    app.use(wrap(BaseHTTPMiddleware, dispatch=answers))

    @app.get("/")
    async def handler(req, res):
        raise KeyError("k")

    async with Client(app) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (503, "sorry")


async def test_opentelemetry_records_a_span_for_each_request(caplog):
    """With status and error, and around the handler, whose own spans are its children."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("tests")
    app = Nardis()
    app.use(
        wrap(OpenTelemetryMiddleware, tracer_provider=provider, exclude_spans=["send", "receive"])
    )

    @app.get("/ok")
    async def ok(req, res):
        with tracer.start_as_current_span("mine"):
            await res.send("x")

    @app.get("/fails")
    async def fails(req, res):
        raise KeyError("k")

    async with Client(app, raise_app_errors=False) as client:
        await client.get("/ok")
        assert (await client.get("/fails")).status_code == 500
        await client.get("/nothing")
    ok_span, mine, failed, nothing = exporter.get_finished_spans()
    assert mine.parent.span_id == ok_span.context.span_id
    assert [span.attributes.get("http.status_code") for span in (ok_span, nothing)] == [200, 404]
    assert not failed.status.is_ok
    assert nothing.status.status_code != failed.status.status_code


async def test_a_chain_of_them_holds_as_well():
    """All at once, on one another."""
    app, written = Nardis(), []
    app.use(*[parameter.values[0]() for parameter in ALL])

    @app.get("/stream")
    async def stream(req, res):
        for n in range(50):
            await res.write(bytes(1000))
            written.append(n)

    @app.get("/broken")
    async def broken(req, res):
        await res.write("half")
        raise KeyError("k")

    async with Client(app, raise_app_errors=False) as client:
        async with client.stream("GET", "/stream") as response:
            await anext(response)
            await rest()
            assert len(written) <= 4
            await response.read()
            assert response.complete
        response = await client.get("/broken")
        assert (response.content, response.complete) == (b"half", False)
