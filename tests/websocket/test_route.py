"""`app.websocket`: which handshakes a route gets, and what the others are told."""

from __future__ import annotations

from functools import partial

import pytest

from nardis import HTTPError, Nardis, Router, SkipRoute, UsageError
from nardis.testing import Client, WebSocketDenied

pytestmark = pytest.mark.anyio


async def denial(client, url, subprotocols=(), **options):
    """Open a WebSocket that is denied, and return the answer."""
    with pytest.raises(WebSocketDenied) as caught:
        await client.websocket(url, subprotocols, **options).__aenter__()
    return caught.value.response


async def heard(client, url, **options):
    """Open a WebSocket, and return what it says first."""
    async with client.websocket(url, **options) as ws:
        return await ws.receive()


def says(text):
    async def handler(req, ws):
        await ws.send(text)

    return handler


async def test_middlewares_stand_around_the_handler_however_it_is_registered():
    """What follows `next()` runs when the conversation is over."""
    app, log = Nardis(), []

    def noting(name):
        async def middleware(req, res, next):
            log.append((name, req.method, await req.bytes(), res.started))
            res.append("x-through", name)
            await next()
            log.append((name, res.started))

        return middleware

    async def talks(req, ws):
        log.append(ws.state)
        await ws.send(req.path)

    app.use(noting("app"))
    app.websocket("/called", noting("route"), talks)
    app.websocket("/lists", [noting("route"), [talks]])
    app.websocket("/decorated", noting("route"))(talks)

    async with Client(app) as client:
        for path in ("/called", "/lists", "/decorated"):
            async with client.websocket(path) as ws:
                assert await ws.receive() == path
                assert ws.headers.get_all("x-through") == ["app", "route"]
            assert log == [
                ("app", "GET", b"", False),
                ("route", "GET", b"", False),
                "connecting",
                ("route", True),
                ("app", True),
            ]
            log.clear()


async def test_the_request_is_that_of_any_route():
    app = Nardis()

    @app.param("id")
    def number(req, value):
        if value == "0":
            raise SkipRoute
        return int(value)

    @app.websocket("/rooms/:id/*rest", name="room")
    async def room(req, ws):
        await ws.send_json([req.params, req.query["q"], req.route.path, repr(ws), ws.state])

    async with Client(app) as client:
        url = app.url_for("room", id=7, rest=["a", "b"]) + "?q=1"
        async with client.websocket(url) as ws:
            params = {"id": 7, "rest": ["a", "b"]}
            shown = "<WebSocket /rooms/7/a/b?q=1 connecting>"
            assert await ws.receive_json() == [params, "1", "/rooms/:id/*rest", shown, "connecting"]
        assert (await denial(client, "/rooms/0/a")).status_code == 404
    assert app.routes() == [("WEBSOCKET", "/rooms/:id/*rest", "room")]
    assert "WEBSOCKET /rooms/:id" in repr(app.websocket("/rooms/:id"))


async def test_it_lives_in_routers_and_joined_applications_and_under_hosts():
    app, router, joined = Nardis(), Router(), Nardis()
    tenants = Router(host=":tenant.example.com")
    router.websocket("/a", says("router"))
    joined.websocket("/a", says("joined"))

    @tenants.websocket("/a")
    async def tenant(req, ws):
        await ws.send(req.params["tenant"])

    app.use(tenants)
    app.use("/api", router)
    app.use("/joined", joined)
    for lifespan in (True, False):
        async with Client(app, lifespan=lifespan) as client:
            assert await heard(client, "/api/a") == "router"
            assert await heard(client, "/joined/a") == "joined"
            assert await heard(client, "/a", headers={"host": "me.example.com"}) == "me"
            assert (await denial(client, "/a")).status_code == 404


async def test_error_handlers_answer_what_fails_before_the_accept():
    """By the type and by the status, and the default ones in the form that is preferred."""
    app = Nardis()

    @app.error(KeyError)
    async def missing(err, req, res):
        await res.status(418).json({"missing": str(err)})

    @app.error(404)
    async def nothing(err, req, res):
        await res.status(404).send("nothing here")

    @app.websocket("/key")
    async def key(req, ws):
        raise KeyError("k")

    @app.websocket("/status")
    async def status(req, ws):
        raise HTTPError(401, "who?", headers={"www-authenticate": "Basic"})

    async with Client(app) as client:
        answer = await denial(client, "/key")
        assert (answer.status_code, answer.json()) == (418, {"missing": "'k'"})
        answer = await denial(client, "/other")
        assert (answer.status_code, answer.text) == (404, "nothing here")
        answer = await denial(client, "/status")
        assert (answer.status_code, answer.text) == (401, "401 Unauthorized: who?\n")
        assert answer.headers["www-authenticate"] == "Basic"
        answer = await denial(client, "/status", headers={"accept": "application/json"})
        assert answer.json()["detail"] == "who?"


async def test_a_middleware_that_answers_refuses():
    """Whether it ends its answer or returns in the middle of it."""
    app = Nardis()

    @app.use
    async def guard(req, res, next):
        await res.status(403).write(f"not {req.query['who']}")
        if req.query["who"] == "you":
            await res.end(b"!")

    app.websocket("/", says("never"))
    async with Client(app) as client:
        assert (await denial(client, "/?who=you")).text == "not you!"
        answer = await denial(client, "/?who=me")
        assert (answer.status_code, answer.text, answer.complete) == (403, "not me", True)


async def test_a_route_passes_on_by_next_and_by_skip_route():
    app = Nardis()

    async def passes(req, res, next):
        await next()

    async def skips(req, ws):
        raise SkipRoute

    app.websocket("/:a", passes)
    app.websocket("/:b", skips)
    app.websocket("/here", says("the third"))
    async with Client(app) as client:
        assert await heard(client, "/here") == "the third"
        assert (await denial(client, "/gone")).status_code == 404


async def test_a_page_and_a_websocket_share_a_path():
    app = Nardis()

    @app.get("/")
    @app.post("/posted")
    @app.all("/any")
    async def page(req, res):
        await res.send("page")

    for path in ("/", "/any"):
        app.websocket(path, says("hello"))
    async with Client(app) as client:
        for path in ("/", "/any"):
            assert (await client.get(path)).text == "page"
            assert await heard(client, path) == "hello"
        assert (await client.options("/")).headers["allow"] == "GET, HEAD"
        answer = await client.post("/")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        # A page of any method is none for a WebSocket.
        assert (await denial(client, "/posted")).status_code == 404


@pytest.mark.parametrize("http_version", ["1.1", "2"])
async def test_a_request_that_is_none_is_told_to_upgrade(http_version):
    """Whatever its method; on HTTP/2 no connection is upgraded (RFC 9113 §8.2.2)."""
    app = Nardis()
    app.websocket("/", says("hello"))
    app.websocket("/passed/:on", says("hello"))

    @app.get("/passed/on")
    async def passed(req, res, next):
        await next()

    fields = {"1.1": ("websocket", "upgrade"), "2": (None, None)}[http_version]
    async with Client(app, http_version=http_version) as client:
        for method in ("GET", "HEAD", "POST", "OPTIONS", "PROPFIND"):
            answer = await client.request(method, "/")
            assert answer.status_code == 426, method
            assert (answer.headers.get("upgrade"), answer.headers.get("connection")) == fields
        assert "ws: or wss:" in (await client.get("/")).text
        assert (await client.get("/passed/on")).status_code == 404
        assert (await client.post("/passed/on")).status_code == 405
        assert await heard(client, "/") == "hello"


async def test_hosts_and_heads_are_judged_as_for_any_request():
    app = Nardis(allowed_hosts=["testserver"])
    app.websocket("/:name", says("hello"))
    async with Client(app) as client:
        assert (await denial(client, "/", headers={"host": "evil"})).status_code == 400
        many = {f"x-{number}": "1" for number in range(101)}
        assert (await denial(client, "/", headers=many)).status_code == 431
        assert (await denial(client, "/%ff")).status_code == 400


async def blocks():
    """Is no handler: it takes nothing."""


async def reversed_(ws, req):
    """Is that of another framework."""


async def with_res(req, ws, res):
    """Would be a middleware, with `res` for its `ws`."""


WRONG = [
    ((lambda req, ws: None,), {}, "not async"),
    ((blocks,), {}, "takes 0 parameters"),
    ((partial(says, "x"),), {}, "not async"),
    ((None,), {}, "not None"),
    ((reversed_,), {}, "takes .ws, req.: `req` comes first"),
    ((with_res,), {}, "takes .req, ws, res.: a handler has no third parameter"),
    (("/other",), {}, "not '/other'"),
    ((), {"origin": "*"}, "unexpected keyword argument 'origin'.*subprotocols, origins"),
    ((), {"limits": 3}, "limits"),
    ((), {"subprotocols": "v1"}, "subprotocols"),
    ((), {"subprotocols": ["a b"]}, "a b"),
    ((), {"origins": "example.com"}, "https://example.com"),
    ((), {"origins": 7}, "origins"),
]


@pytest.mark.parametrize(("handlers", "options", "told"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_with_a_route_is_told_at_once(handlers, options, told):
    with pytest.raises((TypeError, ValueError, UsageError), match=told):
        Nardis().websocket("/", *handlers, **options)
