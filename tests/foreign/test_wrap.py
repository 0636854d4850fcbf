"""Foreign ASGI middlewares at any place in the chain."""

import gc
import weakref

import pytest

from nardis import Limits, Nardis, Router, wrap
from nardis.testing import Client
from tests.foreign.applications import Through, greet
from tests.peers.asgi import body, start, websocket
from tests.peers.driver import Identity, Server

pytestmark = pytest.mark.anyio


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
    """
    What a middleware outside hands in is seen inside, and what was found inside is seen outside
    afterwards.
    """
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


async def application(scope, receive, send):
    pytest.fail("must not run")  # pragma: no cover - must not happen


@pytest.mark.parametrize(
    ("made", "named"), [(Through(application), "Through"), (application, "application")]
)
async def test_what_is_made_already_is_told_that_the_class_belongs_there(made, named):
    """Python would miss two arguments of a call that the program does not have."""
    with pytest.raises(TypeError, match=rf"takes the class .*: wrap\({named}, \.\.\.\)"):
        wrap(made)


async def test_a_class_that_does_not_say_what_it_takes_is_made():
    class Silent(Through):
        __signature__ = "?"

    app = Nardis()
    app.use(wrap(Silent))
    app.get("/", greet)
    async with Client(app) as client:
        assert (await client.get("/")).headers["x-through"] == "1"


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


async def test_a_websocket_that_is_denied_inside_it_leaves_nothing():
    """A denial that is streamed has a pulse, which ends with it: else each is kept for ever."""
    app = Nardis()
    app.use(wrap(Through))

    @app.use
    async def deny(req, res, next):
        res.filter(Identity())
        await res.status(403).write("no")

    async with Server(app) as server:
        async with websocket(app, "/", extensions={"websocket.http.response": {}}) as socket:
            pass
        assert not server.exchanges

    assert socket.sent[-1] == {
        "type": "websocket.http.response.body",
        "body": b"",
        "more_body": False,
    }


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
