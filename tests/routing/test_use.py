"""Middlewares: where they run, and in which order."""

import json

import anyio
import pytest

from nardis import Limits, Nardis, Router, UsageError, get, main
from nardis.testing import Client

pytestmark = pytest.mark.anyio


def answers(text):
    async def handler(req, res):
        await res.send(text)

    return handler


def passes(log, name):
    async def middleware(req, res, next):
        log.append(name)
        await next()
        log.append(f"/{name}")

    return middleware


async def test_middlewares_stand_around_each_other_like_the_skins_of_an_onion():
    app, log = Nardis(), []
    app.use(passes(log, "a"), passes(log, "b"))

    @app.get("/x", passes(log, "c"))
    async def handler(req, res):
        log.append("handler")
        await res.send("ok")

    async with Client(app) as client:
        await client.get("/x")
    assert log == ["a", "b", "c", "handler", "/c", "/b", "/a"]


async def test_next_returns_when_everything_behind_it_is_done():
    """Also what runs in tasks of the handler, and when the last byte was given."""
    app, log = Nardis(), []

    @app.use
    async def outer(req, res, next):
        await next()
        log.append(f"after {res.bytes_sent} bytes")

    @app.get("/x")
    async def handler(req, res):
        async def writer():
            await res.write("12345")
            await anyio.lowlevel.checkpoint()
            await res.write("67890")
            log.append("writer")

        async with anyio.create_task_group() as group:
            group.start_soon(writer)
        log.append("handler")

    async with Client(app) as client:
        assert (await client.get("/x")).text == "1234567890"
    assert log == ["writer", "handler", "after 10 bytes"]


async def test_use_decorates_with_and_without_a_prefix():
    app, log = Nardis(), []
    everywhere, below = passes(log, "everywhere"), passes(log, "below")

    assert app.use(everywhere) is everywhere
    assert app.use("/api")(below) is below
    app.get("/*path", answers("ok"))

    async with Client(app) as client:
        await client.get("/x")
        assert log == ["everywhere", "/everywhere"]
        await client.get("/api/x")
        assert log[2:] == ["everywhere", "below", "/below", "/everywhere"]


async def test_a_prefix_takes_several_middlewares_and_routers():
    app, router, log = Nardis(), Router(), []
    router.get("/x", answers("ok"))
    app.use("/api", passes(log, "a"), passes(log, "b"), router)

    async with Client(app) as client:
        assert (await client.get("/api/x")).text == "ok"
        assert (await client.get("/x")).status_code == 404
    assert log == ["a", "b", "/b", "/a"]


async def test_middlewares_may_come_in_a_list():
    """As in Express: `app.use([a, b])`, with and without a prefix."""
    app, log = Nardis(), []
    app.use("/x", [passes(log, "a"), [passes(log, "b")]])
    app.use([passes(log, "c"), passes(log, "d")])
    app.get("/x", answers("ok"))

    async with Client(app) as client:
        assert (await client.get("/x")).text == "ok"
    assert log == ["a", "b", "c", "d", "/d", "/c", "/b", "/a"]


@pytest.mark.parametrize(
    ("prefix", "path", "runs"),
    [
        ("/api", "/api", True),
        ("/api", "/api/", True),
        ("/api", "/api/x/y", True),
        ("/api", "/apix", False),
        ("/api", "/x/api", False),
        ("/api/", "/api/x", True),
        ("/", "/x", True),
        ("/:tenant", "/acme/x", True),
        ("/:tenant", "/", False),
        (["/a", "/b"], "/b/x", True),
        (["/a", "/b"], "/c/x", False),
        ("/a%20b", "/a%20b/x", True),
    ],
)
async def test_a_prefix_ends_on_a_segment_border(prefix, path, runs):
    app, log = Nardis(), []
    app.use(prefix, passes(log, "m"))

    async with Client(app) as client:
        await client.get(path)
    assert log == (["m", "/m"] if runs else [])


async def test_middlewares_run_for_what_nobody_answers():
    """And for methods that nobody routes."""
    app, log = Nardis(), []
    app.use(passes(log, "m"))

    async with Client(app) as client:
        assert (await client.request("BREW", "/pot")).status_code == 404
    assert log == ["m", "/m"]


async def test_a_middleware_that_answers_ends_the_walk():
    app, log = Nardis(), []

    @app.use
    async def guard(req, res, next):
        await res.status(401).send("who are you?")

    app.use(passes(log, "never"))

    async with Client(app) as client:
        response = await client.get("/")
    assert (response.status_code, response.text, log) == (401, "who are you?", [])


async def test_a_middleware_can_change_the_head_until_it_leaves():
    app = Nardis()

    @app.use
    async def stamp(req, res, next):
        res.set("x-early", "1").on_head(lambda: res.set("x-late", "2"))
        await next()

    app.get("/", answers("ok"))

    async with Client(app) as client:
        response = await client.get("/")
    assert (response.headers["x-early"], response.headers["x-late"]) == ("1", "2")


async def test_a_middleware_hands_values_to_handlers():
    app = Nardis()

    @app.use
    async def who(req, res, next):
        req.state.user = "alice"
        await next()

    @app.get("/")
    async def handler(req, res):
        await res.send(req.state.user)

    async with Client(app) as client:
        assert (await client.get("/")).text == "alice"


async def test_a_middleware_may_run_the_rest_in_a_task():
    """A task group or a scope around `next()` is as good as none."""
    app = Nardis()

    @app.use
    async def grouped(req, res, next):
        async with anyio.create_task_group() as group:
            group.start_soon(next)

    app.get("/", answers("ok"))

    async with Client(app) as client:
        assert (await client.get("/")).text == "ok"
        assert (await client.get("/nothing")).status_code == 404


def test_a_router_cannot_be_used_inside_itself():
    """Neither directly nor by way of others: no request would find an end."""
    a, b, c = Router(), Router(), Router()
    with pytest.raises(UsageError, match="inside itself"):
        a.use(a)
    a.use("/b", b)
    with pytest.raises(UsageError, match="inside itself"):
        b.use("/a", a)
    b.use("/c", c)
    with pytest.raises(UsageError, match="inside itself"):
        c.use("/a", a)


def test_an_application_cannot_be_mounted_inside_itself():
    """Neither its lifespan nor a request would find an end."""
    app, router = Nardis(), Router()
    app.use("/a", router)
    with pytest.raises(UsageError, match="inside itself"):
        app.mount("/x", app)
    with pytest.raises(UsageError, match="inside itself"):
        router.mount("/x", app)


def test_applications_cannot_be_mounted_inside_each_other():
    """The circle is refused where it is closed, however many there are in it."""
    a, b, c = Nardis(), Nardis(), Nardis()
    a.mount("/b", b)
    with pytest.raises(UsageError, match="inside what it uses or mounts"):
        b.mount("/a", a)
    b.mount("/c", c)
    with pytest.raises(UsageError, match="inside what it uses or mounts"):
        c.mount("/a", a)
    a.mount("/c", c)  # twice is no circle
    assert c.layers == []


def test_what_mounts_an_application_cannot_be_used_in_it():
    """Neither the router that does, nor one around that, nor another application."""
    app, router, around, other = Nardis(), Router(), Router(), Nardis()
    router.mount("/app", app)
    around.use(router)
    other.mount("/app", app)
    for each in (router, around, other):
        with pytest.raises(UsageError, match="inside what it uses or mounts"):
            app.use("/x", each)
    assert app.layers == []


@pytest.mark.parametrize(
    "options",
    [
        {"debug": True},
        {"limits": Limits(handler_s=5)},
        {"trust_proxy": 1},
        {"allowed_hosts": ["example.com"]},
        {"secret_keys": ["k" * 32]},
        {"json": json},
        {"errors": "problem"},
        {"websocket_origins": ["https://example.com"]},
        {"etag": False},
        {"method_not_allowed": False},
        {"cancel_on_disconnect": False},
    ],
    ids=lambda options: next(iter(options)),
)
def test_an_application_whose_options_would_be_lost_is_mounted_and_not_used(options):
    """Those of a request are the outermost application's; the same ones there lose nothing."""
    inner = Nardis(**options)

    with pytest.raises(UsageError, match=rf"not its {next(iter(options))}: .* mount\(\)"):
        Nardis().use("/api", inner)

    Nardis().mount("/api", inner)
    Nardis(**options).use("/api", inner)


@pytest.mark.parametrize("first", [True, False])
def test_a_router_between_two_applications_loses_no_options_and_lets_none_be_lost(first):
    """It is used before an application is used in it, or after."""

    def nest(outer):
        router, between, inner = Router(), Router(), Nardis(debug=True)
        router.use("/between", between)
        if first:
            outer.use("/router", router)
        between.use("/inner", inner)
        if not first:
            outer.use("/router", router)

    nest(Nardis(debug=True))
    with pytest.raises(UsageError, match="not its debug"):
        nest(Nardis())


def test_options_that_mean_the_same_are_the_same():
    outer = Nardis(secret_keys=["k" * 32], trust_proxy="::1, 10.0.0.0/8")

    outer.use(Nardis(secret_keys=(b"k" * 32,), trust_proxy=iter(["10.0.0.0/8", "::1"])))
    Nardis().use(Nardis(trust_proxy="false"))


def test_an_application_with_options_of_a_router_can_be_used():
    inner = Nardis(
        case_sensitive=False, strict=True, limits=Limits(), allowed_hosts=None, trust_proxy=False
    )

    Nardis().use("/api", inner, main([get("/", answers("index"))]))


async def test_a_router_can_be_used_at_several_places():
    app, router = Nardis(), Router()

    @router.get("/x")
    async def handler(req, res):
        await res.send(req.base_url)

    app.use("/a", router)
    app.use("/b", router)

    async with Client(app) as client:
        assert [(await client.get(f"/{place}/x")).text for place in "ab"] == ["/a", "/b"]
