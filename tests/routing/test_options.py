"""OPTIONS: the methods of the whole application, unless somebody answers it."""

import pytest

from nardis import Nardis, Router
from nardis.testing import Client

pytestmark = pytest.mark.anyio


def answers(text):
    async def handler(req, res):
        await res.send(text)

    return handler


async def passes(req, res, next):
    await next()


async def test_options_lists_the_methods_of_the_whole_application():
    """Merged over nested routers, `use` and routes with other patterns."""
    app, router, inner = Nardis(), Router(), Router()
    app.get("/r/i/x", answers("x"))
    app.use("/r", passes, router)
    router.post("/i/:any", answers("x"))
    router.use("/i", inner)
    inner.delete("/x", answers("x"))
    inner.put("/other", answers("x"))
    app.method("REPORT", "/*all", answers("x"))

    async with Client(app) as client:
        response = await client.options("/r/i/x")
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["allow"] == "DELETE, GET, HEAD, POST, REPORT"


async def test_options_of_nothing_is_404():
    app = Nardis()
    app.get("/x", answers("x"))

    async with Client(app) as client:
        assert (await client.options("/y")).status_code == 404


async def test_a_route_for_options_answers_instead():
    app = Nardis()
    app.get("/x", answers("x"))
    app.options("/x", answers("mine"))
    app.all("/y", answers("all"))

    async with Client(app) as client:
        response = await client.options("/x")
        assert (response.text, "allow" in response.headers) == ("mine", False)
        assert (await client.options("/y")).text == "all"


async def test_a_route_for_options_may_pass_on_to_the_list():
    app, seen = Nardis(), []

    @app.options("/x")
    async def watches(req, res, next):
        seen.append(req.method)
        await next()

    app.get("/x", answers("x"))

    async with Client(app) as client:
        assert (await client.options("/x")).headers["allow"] == "GET, HEAD"
    assert seen == ["OPTIONS"]


async def test_middlewares_stand_around_the_list():
    app = Nardis()

    @app.use
    async def stamp(req, res, next):
        res.set("x-stamp", "1")
        await next()

    app.get("/x", answers("x"))

    async with Client(app) as client:
        assert (await client.options("/x")).headers["x-stamp"] == "1"


async def test_options_of_the_server_as_a_whole_is_answered():
    """`OPTIONS *` (RFC 9110 §9.3.7) is about no resource."""
    app = Nardis()
    app.get("/x", answers("x"))

    async with Client(app) as client:
        response = await client.options("*")
    assert (response.status_code, response.content) == (204, b"")
