"""404 and 405: raised once, when every table is exhausted, inside the middlewares."""

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


async def test_what_no_route_matches_is_404():
    app = Nardis()
    app.get("/x", answers("x"))

    async with Client(app) as client:
        response = await client.get("/y")
    assert response.status_code == 404
    assert "allow" not in response.headers
    assert "no route answers GET" in response.text


async def test_another_method_is_405_with_the_methods_there_are():
    """HEAD beside GET, each once, also of routes with other patterns and of nested routers."""
    app, router = Nardis(), Router()
    app.get("/r/x", answers("x"))
    app.get("/r/:any", answers("x"))
    app.use("/r", router)
    router.delete("/x", answers("x"))
    router.post("/y", answers("x"))
    app.patch("/r/*rest", answers("x"))

    async with Client(app) as client:
        response = await client.put("/r/x")
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE, GET, HEAD, PATCH")


async def test_an_explicit_head_is_named_once():
    app = Nardis()
    app.head("/x", answers("x"))
    app.get("/x", answers("x"))

    async with Client(app) as client:
        assert (await client.post("/x")).headers["allow"] == "GET, HEAD"


async def test_what_middlewares_set_is_on_404_and_405():
    """They stand around the answer, and their `next()` returns normally."""
    app, statuses = Nardis(), []

    @app.use
    async def cors(req, res, next):
        res.set("access-control-allow-origin", "*")
        await next()
        statuses.append(res.status_code)

    app.get("/x", answers("x"))

    async with Client(app) as client:
        missing, refused = await client.get("/y"), await client.post("/x")
    assert (missing.status_code, missing.headers["access-control-allow-origin"]) == (404, "*")
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (405, "*")
    assert statuses == [404, 405]


async def test_404_is_raised_once_by_the_application():
    """Routers that fall through raise none: only the application's error handler is asked, once."""
    app, router, log = Nardis(), Router(), []
    app.use("/r", router)

    @app.error(404)
    @router.error(404)
    async def missing(err, req, res):
        log.append(req.base_url)
        await res.send("nobody")

    async with Client(app) as client:
        response = await client.get("/r/x")
    assert (response.status_code, response.text, log) == (404, "nobody", [""])


async def test_405_can_be_answered_by_the_application():
    app = Nardis()
    app.get("/x", answers("x"))

    @app.error(405)
    async def refused(err, req, res):
        await res.send(f"not {req.method}")

    async with Client(app) as client:
        response = await client.post("/x")
    assert (response.status_code, response.text, response.headers["allow"]) == (
        405,
        "not POST",
        "GET, HEAD",
    )


async def test_a_route_that_passes_on_ends_in_404():
    app, log = Nardis(), []

    @app.use
    async def watches(req, res, next):
        await next()
        log.append(res.status_code)

    app.all("/x", passes)

    async with Client(app) as client:
        assert (await client.get("/x")).status_code == 404
    assert log == [404]


async def test_a_method_that_has_a_route_is_never_called_not_allowed():
    """GET is allowed here: its route passed on. So nothing was found, whatever POST would find."""
    app = Nardis()
    app.get("/x", passes)
    app.post("/x", answers("x"))

    async with Client(app) as client:
        assert (await client.get("/x")).status_code == 404
        assert (await client.put("/x")).status_code == 405


async def test_all_before_other_methods_is_405_when_it_passes_on():
    """A route for any method says nothing about which ones there are."""
    app = Nardis()
    app.route("/x").all(passes).get(answers("x"))

    async with Client(app) as client:
        assert (await client.get("/x")).text == "x"
        response = await client.put("/x")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


async def test_method_not_allowed_false_answers_404():
    app = Nardis(method_not_allowed=False)
    app.get("/x", answers("x"))

    async with Client(app) as client:
        response = await client.post("/x")
        assert (response.status_code, "allow" in response.headers) == (404, False)
        assert (await client.get("/x")).text == "x"


async def test_method_not_allowed_false_still_answers_options():
    """It rules 405 alone: to ask for the methods is no error (Express answers, and has no 405)."""
    app = Nardis(method_not_allowed=False)
    app.get("/x", answers("x"))

    async with Client(app) as client:
        response = await client.options("/x")
    assert (response.status_code, response.headers["allow"]) == (204, "GET, HEAD")


async def test_allow_does_not_leak_between_requests():
    app = Nardis()
    app.get("/a", answers("x"))
    app.post("/b", answers("x"))

    async with Client(app) as client:
        assert (await client.put("/a")).headers["allow"] == "GET, HEAD"
        assert (await client.put("/b")).headers["allow"] == "POST"


async def test_a_broken_escape_in_a_capture_is_400():
    app = Nardis()
    app.get("/:name", answers("x"))
    app.get("/files/*path", answers("x"))

    async with Client(app) as client:
        assert (await client.get("/%ff")).status_code == 400
        assert (await client.get("/%zz")).status_code == 400
        assert (await client.get("/files/a/%ff")).status_code == 400


@pytest.mark.parametrize("path", ["/nothing", "/posted"])
@pytest.mark.parametrize("accept", ["text/html", "application/json", "*/*"])
async def test_head_has_the_fields_of_get(path, accept):
    """Its Content-Length is that of the page that GET is shown (RFC 9110 §8.6)."""
    app = Nardis()
    app.post("/posted", answers("x"))

    async with Client(app) as client:
        got = await client.get(path, headers={"accept": accept})
        head = await client.head(path, headers={"accept": accept})

    assert (head.status_code, head.headers.pairs()) == (got.status_code, got.headers.pairs())
