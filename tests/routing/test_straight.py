"""Middlewares around everything and a lone handler: the way that takes no walk, and its ends."""

import anyio
import pytest

from nardis import HTTPError, Nardis, Router, SkipRoute
from nardis.errors import ForgottenAwait, NextCalledTwice
from nardis.testing import AppError, Client

pytestmark = pytest.mark.anyio


async def passes(req, res, next):
    await next()


def answers(text):
    async def handler(req, res):
        await res.send(text)

    return handler


async def test_a_second_next_beside_the_first_takes_nobodys_turn():
    """Not even while the middleware behind it has not called its own."""
    app, refused, log = Nardis(), anyio.Event(), []

    @app.use
    async def hasty(req, res, next):
        async with anyio.create_task_group() as group:
            group.start_soon(next)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(NextCalledTwice):
                await next()
            refused.set()

    @app.use
    async def slow(req, res, next):
        await refused.wait()
        log.append("slow")
        await next()

    app.get("/:name", answers("ok"))

    async with Client(app) as client:
        assert (await client.get("/x")).text == "ok"
    assert log == ["slow"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_skip_route_of_a_middleware_goes_on_behind_it_once(place, when):
    """What a next() has run already does not run again."""
    app, log = Nardis(), []

    async def skips(req, res, next):
        if when == "after":
            await next()
        raise SkipRoute

    for at in range(3):
        app.use(skips if at == place else passes)

    @app.get("/x")
    async def handler(req, res):
        log.append("handler")
        await res.send("ok")

    async with Client(app) as client:
        for _ in range(2):
            assert (await client.get("/x")).text == "ok"
    assert log == ["handler"] * 2


async def test_a_lone_handler_behind_middlewares_passes_on():
    app = Nardis()
    app.use(passes)

    @app.get("/:name")
    async def skips(req, res):
        raise SkipRoute

    app.get("/x", answers("next"))

    async with Client(app) as client:
        assert (await client.get("/x")).text == "next"
        assert (await client.get("/y")).status_code == 404


async def test_a_middleware_sees_the_route_and_its_captures_behind_next():
    app, log = Nardis(), []

    def seen(req):
        return req.params, getattr(req.route, "path", None), req.path, req.url, req.base_url

    @app.use
    async def looks_behind(req, res, next):
        await next()
        log.append((req.route.path, req.params))
        log.append(seen(req))

    @app.use
    async def looks_before(req, res, next):
        if req.get("x-early"):
            log.append((req.route, req.path))
            log.append(seen(req))
        await next()

    @app.get("/:name")
    async def handler(req, res):
        await res.send(req.params["name"])

    async with Client(app) as client:
        assert (await client.get("/x")).text == "x"
        assert log == [("/:name", {"name": "x"}), ({"name": "x"}, "/:name", "/x", "/x", "")]
        log.clear()
        assert (await client.get("/x", headers={"x-early": "1"})).text == "x"
    assert log[:2] == [(None, "/x"), ({}, None, "/x", "/x", "")]
    assert log[2:] == [("/:name", {"name": "x"}), ({"name": "x"}, "/:name", "/x", "/x", "")]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/r/1/x", 200),
        ("HEAD", "/r/1/x", 200),
        ("POST", "/r/1/x", 405),
        ("OPTIONS", "/r/1/x", 204),
        ("GET", "/r/%ff/x", 400),
        ("GET", "/m/a-/x", 404),
        ("GET", "/n/7", 200),
        ("GET", "/n/seven", 404),
        ("GET", "/sub/x", 200),
        ("GET", "/nowhere", 404),
    ],
)
async def test_what_is_no_lone_handler_is_found_by_the_walk(method, path, status):
    """Inside the middlewares, as any other: they see the status of the answer."""
    app, router, log = Nardis(), Router(), []

    @app.use
    async def watches(req, res, next):
        await next()
        log.append(res.status_code)

    app.use(passes)
    app.param("id", int)
    app.get("/r/:a/x", answers("r"))
    app.get("/m/:a-:b/x", answers("never"))
    app.get("/n/:id", answers("n"))
    router.get("/x", answers("sub"))
    app.use("/sub", router)

    async with Client(app) as client:
        assert (await client.request(method, path)).status_code == status
    assert log == [status]


async def test_an_error_is_answered_inside_the_middleware_around_it():
    """Of a middleware and of the handler; what nobody answers passes outward through them."""
    app, log = Nardis(), []

    @app.use
    async def outer(req, res, next):
        try:
            await next()
        finally:
            log.append(("outer", res.status_code))

    @app.use
    async def fails(req, res, next):
        if req.path == "/middleware":
            raise HTTPError(418)
        await next()
        log.append(("fails", res.status_code))

    @app.get("/:what")
    async def handler(req, res):
        raise {"http": HTTPError(410), "key": KeyError("k"), "value": ValueError("v")}[
            req.params["what"]
        ]

    @app.error(KeyError)
    async def missing(err, req, res):
        await res.status(404).send("key")

    async with Client(app, raise_app_errors=False) as client:
        for path in ("/middleware", "/http", "/key", "/value"):
            await client.get(path)
    assert log == [
        ("outer", 418),
        ("fails", 410),
        ("outer", 410),
        ("fails", 404),
        ("outer", 404),
        ("outer", 200),  # and a 500 outside of all
    ]


async def test_a_verb_that_a_middleware_did_not_await_is_named():
    """Behind a handler that has awaited its own, too."""
    app = Nardis()
    app.use(passes)

    @app.use
    async def forgets(req, res, next):
        await next()
        res.write("more")

    app.get("/x", answers("ok"))

    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/x")).text == "ok"
    async with Client(app) as client:
        with pytest.raises(AppError) as caught:
            await client.get("/x")
    assert isinstance(caught.value.__cause__, ForgottenAwait)
    assert "forgets" in str(caught.value.__cause__)


async def test_next_in_an_except_block_lets_the_rest_end():
    app = Nardis()
    app.use(passes)

    @app.use
    async def recovers(req, res, next):
        try:
            raise KeyError
        except KeyError:
            await next()

    @app.get("/:name")
    async def ends(req, res):
        await res.write("half ")
        await res.end("whole")

    async with Client(app) as client:
        response = await client.get("/x")
    assert (response.text, response.complete) == ("half whole", True)


async def test_a_next_that_was_kept_is_refused_after_the_request():
    app, kept = Nardis(), []

    @app.use
    @app.use
    async def keeps(req, res, next):
        kept.append(next)
        if len(kept) == 1:
            await next()
        else:
            await res.send("ok")

    async with Client(app) as client:
        assert (await client.get("/x")).text == "ok"
        for next in kept:
            with pytest.raises(NextCalledTwice):
                await next()
    assert len(kept) == 2
