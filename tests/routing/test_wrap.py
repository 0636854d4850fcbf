"""Foreign ASGI middlewares at any place in the chain."""

import gc
import weakref

import anyio
import pytest

from nardis import HTTPError, Limits, Nardis, Router, wrap
from nardis.errors import FieldError, HeadersAlreadySent, NextCalledTwice, NoResponse, UsageError
from nardis.testing import AppError, Client
from tests.foreign.peers import START, body, rest, start, websocket
from tests.peers.driver import Server, part

pytestmark = pytest.mark.anyio

CHUNKED = {"transfer-encoding": "chunked"}


class Through:
    """A middleware that passes everything on, and marks heads."""

    def __init__(self, app, mark=b"x-through", *, log=None):
        self.app, self.mark, self.log = app, mark, log

    async def __call__(self, scope, receive, send):
        async def marked(message):
            if message["type"].endswith((".start", ".accept")):
                message["headers"] = [*message.get("headers", ()), (self.mark, b"1")]
            await send(message)

        if self.log is not None and scope["type"] != "lifespan":
            self.log.append(f"enter {scope['type']}")
        try:
            await self.app({**scope, "greeting": "hello"}, receive, marked)
        except Exception as exc:
            if self.log is not None:
                self.log.append(type(exc).__name__)
            raise


async def greet(req, res):
    await res.send(
        f"{req.scope.get('greeting')} {req.params.get('name')} {req.base_url} {req.path}"
    )


@pytest.mark.parametrize("place", ["app", "prefix", "router", "route", "list", "outer"])
async def test_it_may_stand_anywhere(place):
    """Place in the URL, captures and what follows are as without it."""
    app, router = Nardis(), Router()
    if place == "app":
        app.use(wrap(Through))
    if place == "prefix":
        app.use("/a", wrap(Through))
    if place == "outer":
        app.use("/a", wrap(Through), router)
    if place == "router":
        router.use(wrap(Through))
    handlers = [[wrap(Through), wrap(Through, b"x-second")], greet] if place == "list" else [greet]
    if place == "route":
        handlers.insert(0, wrap(Through))
    router.get("/b/:name", *handlers)
    app.use("/a", router)
    async with Client(app) as client:
        response = await client.get("/a/b/you")
        assert response.text == "hello you /a /b/you"
        assert response.headers["x-through"] == "1"
        assert ("x-second" in response.headers) == (place == "list")
        assert (await client.head("/a/b/you")).headers["content-length"] == str(
            len(response.content)
        )
        assert (await client.get("/nothing")).status_code == 404


async def test_state_params_and_route_are_shared():
    """What a middleware outside hands in is seen inside, and what was found inside is seen outside afterwards."""
    app, seen = Nardis(), []

    @app.use
    async def outside(req, res, next):
        req.state.user = "alice"
        res.on_head(lambda: seen.append(req.route.path))
        await next()
        seen.append(
            (
                req.state.answer,
                req.route.path,
                req.params,
                res.status_code,
                res.finished,
                await req.bytes(),
            )
        )

    @app.use(r"/:tenant")
    async def tenant(req, res, next):
        await next()

    app.use(wrap(Through))

    @app.post("/a/:name")
    async def handler(req, res):
        req.state.answer = (req.state.user, await req.json())
        await res.status(201).send()

    async with Client(app) as client:
        await client.post("/a/you", json=[1])
    assert seen == ["/a/:name", (("alice", [1]), "/a/:name", {"name": "you"}, 201, True, b"[1]")]


async def test_a_router_that_falls_through_goes_on_outside():
    """From behind the middleware into the rest of the router around, and past a prefix."""
    app, router = Nardis(), Router()
    router.use(wrap(Through))
    app.use("/a", router)
    app.get("/a/b", greet)
    async with Client(app) as client:
        response = await client.get("/a/b")
    assert (response.text, response.headers["x-through"]) == ("hello None  /a/b", "1")


async def test_a_404_and_a_405_are_answered_inside_it():
    app = Nardis()
    app.use(wrap(Through))
    app.post("/x", greet)
    async with Client(app) as client:
        for path, status in (("/nothing", 404), ("/x", 405)):
            response = await client.get(path)
            assert (response.status_code, response.headers["x-through"]) == (status, "1")
        assert (await client.options("/x")).headers["allow"] == "POST"


async def test_an_error_is_answered_where_it_arises():
    """By a handler that knows it, inside; the middleware sees an answer and no exception."""
    app, log = Nardis(), []
    app.use(wrap(Through, log=log))

    @app.error(KeyError)
    async def missing(err, req, res):
        await res.status(404).send("missing")

    @app.get("/key")
    async def key(req, res):
        raise KeyError("k")

    @app.get("/http")
    async def http(req, res):
        raise HTTPError(409, "taken")

    async with Client(app) as client:
        for path, status in (("/key", 404), ("/http", 409)):
            response = await client.get(path)
            assert (response.status_code, response.headers["x-through"]) == (status, "1")
    assert log == ["enter http"] * 2


async def test_an_error_that_nobody_knows_passes_through_it():
    app, log = Nardis(), []
    asked = []
    app.use(wrap(Through, log=log))

    @app.error(KeyError)
    async def passes(err, req, res):
        asked.append(err)
        raise err

    @app.get("/")
    async def handler(req, res):
        raise KeyError("k")

    async with Client(app) as client:
        with pytest.raises(AppError, match="KeyError"):
            await client.get("/")
    assert log == ["enter http", "KeyError"]
    assert len(asked) == 1


async def test_an_error_answer_drops_what_was_said_of_the_body_outside_as_well():
    app = Nardis()

    @app.use
    async def outside(req, res, next):
        res.set({"cache-control": "max-age=3600", "x-id": "7"})
        await next()

    app.use(wrap(Through))
    async with Client(app) as client:
        response = await client.get("/nothing")
    assert (response.headers.get("cache-control"), response.headers["x-id"]) == (None, "7")


async def test_silence_behind_it_is_a_loud_500():
    app = Nardis()
    app.use(wrap(Through))

    @app.get("/")
    async def silent(req, res):
        pass

    async with Client(app) as client:
        with pytest.raises(AppError) as raised:
            await client.get("/")
    assert isinstance(raised.value.__cause__, NoResponse)
    assert "silent()" in str(raised.value)


async def test_what_it_reads_first_is_what_the_handler_gets():
    """Limits of the handler's own hold behind it."""

    class Doubles:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            async def doubled():
                message = await receive()
                return {**message, "body": message["body"] * 2}

            await self.app(scope, doubled, send)

    app = Nardis()

    @app.post("/", wrap(Doubles), limits=Limits(buffered_body_bytes=6))
    async def handler(req, res):
        await res.send(await req.bytes())

    async with Client(app) as client:
        assert (await client.post("/", content=b"abc")).content == b"abcabc"
        assert (await client.post("/", content=b"abcd")).status_code == 413


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
        await server.tick()
        await server.tick()
        call.disconnect()
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
        await server.tick()
        await server.tick()
        call.disconnect()
        await rest()
        assert not call.ended.is_set()
        go.set()
        await call.wait()
    assert log == ["gone"]


async def test_deferred_work_runs_after_the_final_message():
    app, log = Nardis(), []
    app.use(wrap(Through), wrap(Through, b"x-second"))

    async def later(what):
        log.append(what)

    @app.use
    async def outside(req, res, next):
        req.defer(later, "outside")
        await next()
        log.append("after next")

    @app.get("/")
    async def handler(req, res):
        req.defer(later, "handler")
        await res.send("x")

    async with Client(app) as client:
        await client.get("/")
    assert log == ["after next", "handler", "outside"]


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


async def test_it_is_made_once_with_its_options():
    made = []

    class Made(Through):
        def __init__(self, app, *args, **options):
            super().__init__(app)
            made.append((args, options))

    app = Nardis()
    app.use(wrap(Made, 1, two=2))
    app.get("/", greet)
    async with Client(app) as client:
        await client.get("/")
        await client.get("/")
    assert made == [((1,), {"two": 2})]


async def test_what_makes_no_application_is_refused():
    with pytest.raises(TypeError, match=r"wrap\(\) what makes one"):
        wrap(lambda app: None)


async def test_a_scope_of_its_own_is_an_error_that_says_so():
    class Forgets:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app({"type": "http"}, receive, send)

    app = Nardis()
    app.use(wrap(Forgets))
    async with Client(app) as client:
        with pytest.raises(AppError) as raised:
            await client.get("/")
    assert isinstance(raised.value.__cause__, UsageError)


async def test_to_call_the_application_twice_is_an_error():
    class Twice(Through):
        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)
            with pytest.raises(NextCalledTwice):
                await self.app(scope, receive, send)

    app = Nardis()
    app.use(wrap(Twice))
    app.get("/", greet)
    async with Client(app) as client:
        assert (await client.get("/")).status_code == 200


async def test_an_error_of_its_own_send_is_one_in_the_handler():
    """And no sign of a client that left."""

    class Refuses(Through):
        async def __call__(self, scope, receive, send):
            async def refusing(message):
                raise OSError("disk full")

            await self.app(scope, receive, refusing)

    app = Nardis()
    app.use(wrap(Refuses))

    @app.get("/")
    async def handler(req, res):
        with pytest.raises(OSError, match="disk full"):
            await res.write("x")
        raise KeyError("seen")

    async with Client(app) as client:
        with pytest.raises(AppError, match="seen"):
            await client.get("/")


async def test_an_answer_of_its_own_needs_no_handler():
    class Answers(Through):
        async def __call__(self, scope, receive, send):
            await send(start(204))
            await send(body())

    app, log = Nardis(), []
    app.use(wrap(Answers))

    @app.get("/")
    async def handler(req, res):
        log.append(1)  # pragma: no cover - never reached

    async with Client(app) as client:
        assert (await client.get("/")).status_code == 204
    assert log == []


async def test_an_error_past_the_head_that_it_has_kept_back_can_still_be_answered():
    """The client has seen nothing yet, so handlers outside are asked."""

    class Buffers(Through):
        async def __call__(self, scope, receive, send):
            async def kept(message):
                messages.append(message)

            messages = []
            await self.app(scope, receive, kept)

    app = Nardis()
    app.use(wrap(Buffers))

    @app.error(KeyError)
    async def missing(err, req, res):
        await res.status(404).send("missing")

    @app.get("/")
    async def handler(req, res):
        await res.write("half")
        raise KeyError("k")

    async with Client(app) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (404, "missing")


async def test_a_group_of_tasks_behind_it_costs_nobody_his_errors():
    app = Nardis()
    app.use(wrap(Through))

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group():
            raise HTTPError(409)

    async with Client(app) as client:
        assert (await client.get("/")).status_code == 409


async def test_a_failed_clean_up_after_the_client_left_is_logged_once(caplog):
    app = Nardis()
    app.use(wrap(Through))

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as group:

            async def fails():
                try:
                    await anyio.sleep_forever()
                finally:
                    raise KeyError("k")

            group.start_soon(fails)
            group.start_soon(anyio.sleep_forever)
            await res.write("x")
            await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        await server.tick()
        await server.tick()
        call.disconnect()
        await call.wait()
    assert caplog.text.count("failed after its end") == 1


async def test_a_failed_clean_up_after_it_said_that_the_client_left_is_the_error():
    class Lies(Through):
        async def __call__(self, scope, receive, send):
            async def gone():
                return {"type": "http.disconnect"}

            await self.app(scope, gone, send)

    app = Nardis()
    app.use(wrap(Lies))

    async def fails():
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("k")

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as group:
            group.start_soon(fails)
            group.start_soon(anyio.sleep_forever)
            await rest()
            await req.bytes()

    async with Client(app) as client:
        with pytest.raises(AppError, match="KeyError"):
            await client.get("/")


async def test_an_answer_outside_that_has_begun_is_not_begun_again():
    app = Nardis()

    @app.use
    async def begins(req, res, next):
        await res.write("begun")
        await next()

    app.use(wrap(Through))
    async with Client(app) as client:
        with pytest.raises(AppError) as raised:
            await client.get("/")
    assert isinstance(raised.value.__cause__, HeadersAlreadySent)


async def test_an_error_behind_it_after_the_end_is_logged(caplog):
    app = Nardis()
    app.use(wrap(Through))

    @app.get("/")
    async def handler(req, res):
        await res.send("whole")
        raise KeyError("k")

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/")
    assert (response.text, response.complete) == ("whole", True)
    assert "failed after its end" in caplog.text


async def test_a_websocket_passes_through_it():
    """Its scope and its messages; and a denial from behind it."""
    app, log = Nardis(), []

    async def chat(scope, receive, send):
        log.append((scope["greeting"], scope["root_path"]))
        await receive()
        await send({"type": "websocket.accept"})

    app.use(wrap(Through))

    @app.use
    async def inside(req, res, next):
        req.defer(later)
        await next()

    async def later():
        log.append("deferred")

    app.mount("/chat", chat)
    async with websocket(app, "/chat") as socket:
        pass
    assert socket.sent == [{"type": "websocket.accept", "headers": [(b"x-through", b"1")]}]
    assert log == [("hello", "/chat"), "deferred"]
    async with websocket(app, "/other") as socket:
        pass
    assert [message["type"] for message in socket.sent] == ["websocket.close"]


@pytest.mark.parametrize("verb", ["send", "write"])
async def test_a_long_denial_behind_it_leaves_nothing_behind(verb):
    """The lifespan ends at once: no exchange is waited for."""
    app = Nardis()
    app.use(wrap(Through))

    @app.use
    async def denies(req, res, next):
        await getattr(res.status(403), verb)("x" * 100_000)

    async with Client(app):
        async with websocket(app, "/", extensions={"websocket.http.response": {}}) as socket:
            pass
        assert not app.life.sweeper.exchanges
    assert sum(len(message["body"]) for message in socket.sent[1:]) == 100_000


class Canary:
    """Something that a request holds."""


@pytest.mark.parametrize("wrapped", [False, True])
async def test_nothing_is_left_to_the_garbage_collector(wrapped):
    """A request behind it is gone when it is over, as any is."""
    app, held = Nardis(), []
    if wrapped:
        app.use(wrap(Through))

    @app.get("/")
    async def handler(req, res):
        req.state.canary = Canary()
        held.append(weakref.ref(req.state.canary))
        await res.send("x")

    async with Client(app) as client:
        gc.disable()
        try:
            await client.get("/")
            assert [reference() for reference in held] == [None]
        finally:
            gc.enable()


async def test_nothing_is_made_for_requests_without_one():
    """No gate, no inner exchange: `dependant` is all there is, and it is None."""
    app, seen = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        seen.append((req.exchange.dependant, req.exchange.deferred, type(req.exchange).__name__))
        await res.send()

    async with Client(app) as client:
        await client.get("/")
    assert seen == [(None, None, "Exchange")]


async def test_a_field_that_http_does_not_allow_is_refused_at_its_head():
    class Splits(Through):
        async def __call__(self, scope, receive, send):
            async def split(message):
                assert message["type"] == START
                message["headers"].append((b"x", b"1\r\nset-cookie: a=1"))
                await send(message)

            await self.app(scope, receive, split)

    app = Nardis()
    app.use(wrap(Splits))
    app.get("/", greet)
    async with Client(app) as client:
        with pytest.raises(AppError) as raised:
            await client.get("/")
    assert isinstance(raised.value.__cause__, FieldError)


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
        with anyio.fail_after(5):
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
