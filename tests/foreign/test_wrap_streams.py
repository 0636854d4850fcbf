"""Streams through a foreign ASGI middleware: limits, clients that leave, and endings."""

import anyio
import pytest
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware

from nardis import Limits, Nardis, wrap
from nardis.errors import HeadersAlreadySent
from nardis.testing import Client
from tests.foreign.applications import Through
from tests.peers.asgi import body, says, start
from tests.peers.driver import Server, part, rest

pytestmark = pytest.mark.anyio


TRAILERS = {"http.response.trailers": {}}
CHUNKED = {"transfer-encoding": "chunked"}


async def summed(req, res):
    res.trailer("X-Sum", "").trailer("x-other", 1)
    await res.write("a")
    with pytest.raises(HeadersAlreadySent, match="'x-late'"):
        res.trailer("x-late", "1")
    res.trailer("x-sum", "2")
    await res.end("b")
    with pytest.raises(HeadersAlreadySent, match="'x-sum'"):
        res.trailer("x-sum", "3")


class Once(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        return await call_next(request)


@pytest.mark.parametrize(
    "wrapped",
    [
        [Through],
        [Through, Through],
        [GZipMiddleware],
        [Once],
    ],
    ids=["plain", "two", "gzip", "base"],
)
async def test_trailers_go_past_it(wrapped):
    """Starlette's middlewares stop the messages of ASGI that they do not know."""
    app = Nardis()
    for each in wrapped:
        app.use(wrap(each))
    app.get("/", summed)

    async with Client(app, extensions=TRAILERS) as client:
        answer = await client.get("/")

    assert (answer.text, answer.headers["trailer"]) == ("ab", "x-sum, x-other")
    assert dict(answer.trailers) == {"x-sum": "2", "x-other": "1"}


async def test_without_trailers_it_says_so_behind_it_too():
    app = Nardis()
    app.get("/", wrap(Through), summed)

    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/")).status_code == 500


async def test_trailers_are_gone_where_it_answers_by_itself():
    """They are those of the answer that it put away."""

    class Instead(Through):
        async def __call__(self, scope, receive, send):
            async def away(message):
                pass

            await self.app(scope, receive, away)
            await says(start(), body(b"instead"))(scope, receive, send)

    app = Nardis()
    app.get("/", wrap(Instead), summed)

    async with Client(app, extensions=TRAILERS) as client:
        answer = await client.get("/")

    assert (answer.text, answer.headers.get("trailer"), [*answer.trailers]) == ("instead", None, [])


@pytest.mark.parametrize("times", [1, 2])
async def test_trailers_that_it_does_not_announce_are_dropped_and_their_answer_is_whole(times):
    class Quiet(Through):
        async def __call__(self, scope, receive, send):
            async def without(message):
                if message["type"] == "http.response.start":
                    kept = [each for each in message["headers"] if each[0] != b"trailer"]
                    message = {**message, "headers": kept}
                await send(message)

            await self.app(scope, receive, without)

    app = Nardis()
    app.get("/", *[wrap(Quiet)] * times, summed)

    async with Client(app, extensions=TRAILERS) as client:
        answer = await client.get("/")

    assert (answer.text, answer.headers.get("trailer"), [*answer.trailers]) == ("ab", None, [])


async def test_trailers_are_refused_behind_one_that_has_sent_the_head():
    refusals = []

    class First(Through):
        async def __call__(self, scope, receive, send):
            async def rest_of_it(message):
                if message["type"] != "http.response.start":
                    await send(message)

            await send(start())
            await send(body(b"first ", more=True))
            await self.app(scope, receive, rest_of_it)

    async def handler(req, res):
        try:
            res.trailer("x-sum", "1")
        except HeadersAlreadySent as exc:
            refusals.append(exc)
        await res.send("then")

    app = Nardis()
    app.get("/", wrap(First), handler)

    async with Client(app, extensions=TRAILERS) as client:
        assert (await client.get("/")).text == "first then"
    assert len(refusals) == 1


async def test_limits_of_a_route_behind_it_hold():
    app = Nardis()
    app.use(wrap(Through))

    @app.post("/size", limits=Limits(streamed_body_bytes=3))
    async def size(req, res):
        await res.send(str(sum([len(chunk) async for chunk in req])))

    @app.post("/slow", limits=Limits(handler_s=3))
    async def slow(req, res):
        await anyio.sleep_forever()

    @app.post("/late", limits=Limits(handler_s=3))
    async def late(req, res):
        await res.write("half")
        await anyio.sleep_forever()

    @app.post("/idle", limits=Limits(body_idle_s=3))
    async def idle(req, res):
        await req.bytes()

    async with Client(app) as client:
        assert (await client.post("/size", content=b"four")).status_code == 413
    async with Server(app) as server:
        for path, status in (("/slow", 503), ("/idle", 408)):
            call = server.call(path, method="POST", headers=CHUNKED)
            await server.tick(4)
            await call.wait()
            assert call.status == status
        call = server.call("/late", method="POST", headers=CHUNKED)
        await server.tick(4)
        await call.wait()
        assert call.aborted


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_client_that_leaves_cancels_the_handler_behind_it_within_a_tick(cancels):
    """Also where only the route says so."""
    app, reasons = Nardis(cancel_on_disconnect=cancels), []
    app.use(wrap(Through))

    @app.get("/", cancel_on_disconnect=True)
    async def handler(req, res):
        try:
            await res.write("1")
            await anyio.sleep_forever()
        finally:
            reasons.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)
        await call.wait()
    assert reasons == ["gone"]
    assert not call.final_begun


async def test_a_route_that_must_finish_does():
    app, log = Nardis(), []
    app.use(wrap(Through))

    @app.get("/", cancel_on_disconnect=False)
    async def handler(req, res):
        await go.wait()
        log.append(req.close_reason)
        with pytest.raises(Exception, match="no longer served"):
            await res.write("nobody")

    go = anyio.Event()
    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)
        assert not call.ended.is_set()
        go.set()
        await call.wait()
    assert log == ["gone"]


async def test_backpressure_reaches_the_handler():
    app, written = Nardis(), []
    app.use(wrap(Through), wrap(Through))

    @app.get("/")
    async def handler(req, res):
        for n in range(100):
            await res.write(b"%02d" % n)
            written.append(n)

    async with Client(app) as client, client.stream("GET", "/") as response:
        assert await anext(response) == b"00"
        await rest()
        assert len(written) <= 2
        assert len(await response.read()) == 198
        assert response.complete


async def test_both_directions_at_once():
    app = Nardis()
    app.use(wrap(Through))

    @app.post("/")
    async def echo(req, res):
        async for chunk in req:
            await res.write(chunk)

    async with Client(app) as client, client.stream("POST", "/") as response:
        for chunk in (b"one", b"two"):
            await response.send(chunk)
            assert await response.read(3) == chunk
        await response.end()
        assert await response.read() == b""
        assert response.complete


async def test_a_stream_of_some_size_and_an_early_answer_leave_the_body_to_the_exchange_outside():
    """Only the outermost exchange watches, discards, and closes the connection."""
    app = Nardis()
    app.use(wrap(Through))

    @app.post("/stream")
    async def stream(req, res):
        for _ in range(20):
            await res.write(bytes(100_000))

    @app.post("/early")
    async def early(req, res):
        await res.send("no, thanks")

    async with Server(app) as server:
        server.step = 0.01
        call = server.call("/stream", part(b"a"), method="POST", headers=CHUNKED)
        await call.wait()
        assert (len(call.body), call.final) == (2_000_000, True)
        call = await server.finished("/early", part(b"a"), method="POST", headers=CHUNKED)
        assert (call.headers[b"connection"], call.final) == (b"close", True)


async def test_abort_cuts_through_it():
    app = Nardis()
    app.use(wrap(Through))

    @app.get("/late")
    async def late(req, res):
        await res.write("half")
        await res.abort()

    @app.get("/early")
    async def early(req, res):
        await res.abort()

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/late")
        assert (response.content, response.complete) == (b"half", False)
        assert (await client.get("/early")).status_code == 500


async def test_a_wrong_length_behind_it_is_cut(caplog):
    app = Nardis()
    app.use(wrap(Through))

    @app.get("/")
    async def short(req, res):
        res.set("content-length", 9)
        await res.write("half")

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/")
    assert (response.content, response.complete) == (b"half", False)


async def test_head_stops_the_stream_behind_it():
    app, written = Nardis(), []
    app.use(wrap(Through))

    @app.get("/")
    async def handler(req, res):
        await res.write("x")
        written.append("x")  # pragma: no cover - the first write leaves the handler

    async with Client(app) as client:
        response = await client.head("/")
    assert (response.headers.get("content-length"), response.headers["x-through"], written) == (
        None,
        "1",
        [],
    )


async def test_what_it_leaves_running_ends_with_the_request():
    """A handler in a task that outlives its middleware has nobody left to talk to."""
    app, reasons, ended = Nardis(), [], anyio.Event()

    class Strays(Through):
        async def __call__(self, scope, receive, send):
            async def noticed(message):
                await send(message)
                begun.set()

            begun = anyio.Event()
            group.start_soon(self.app, scope, receive, noticed)
            await begun.wait()

    app.use(wrap(Strays))

    @app.get("/")
    async def handler(req, res):
        try:
            while True:
                await res.write("1")
        finally:
            reasons.append(req.close_reason)
            ended.set()

    async with anyio.create_task_group() as group, Client(app, raise_app_errors=False) as client:
        response = await client.get("/")
        with anyio.fail_after(20):
            await ended.wait()
    assert (response.complete, reasons) == (False, ["gone"])


async def test_a_handler_that_it_cuts_half_way_never_looks_whole():
    """Neither by a time-out of its own, nor by the word that the client left."""

    class TimesOut(Through):
        async def __call__(self, scope, receive, send):
            with anyio.CancelScope() as scope_of_mine:

                async def cutting(message):
                    await send(message)
                    if message.get("body"):
                        scope_of_mine.cancel()

                await self.app(scope, receive, cutting)
            with pytest.raises(Exception, match="was cut"):
                await send(body())

    class Lies(Through):
        async def __call__(self, scope, receive, send):
            async def gone():
                return {"type": "http.disconnect"}

            with pytest.raises(Exception, match="left"):
                await self.app(scope, gone, send)
            with pytest.raises(Exception, match="was cut"):
                await send(body())

    app = Nardis()

    @app.get("/times-out", wrap(TimesOut))
    @app.get("/lies", wrap(Lies))
    async def handler(req, res):
        await res.write("half")
        await req.bytes()

    async with Client(app, raise_app_errors=False) as client:
        for path in ("/times-out", "/lies"):
            response = await client.get(path)
            assert (response.content, response.complete) == (b"half", False)
