"""HEAD: answered by GET's route, unless a route of its own stands before it."""

import pytest

from nardis import Nardis, Router
from nardis.testing import Client

pytestmark = pytest.mark.anyio


def answers(text):
    async def handler(req, res):
        await res.send(text)

    return handler


async def test_head_is_answered_by_get():
    app = Nardis()
    app.get("/x", answers("12345"))

    async with Client(app) as client:
        response = await client.head("/x")
    assert (response.status_code, response.headers["content-length"], response.content) == (
        200,
        "5",
        b"",
    )


@pytest.mark.parametrize(("first", "length"), [("head", "4"), ("get", "5")])
async def test_of_head_and_get_the_first_answers(first, length):
    app = Nardis()
    if first == "head":
        app.head("/x", answers("head"))
    app.get("/x", answers("get-r"))
    app.head("/x", answers("head"))

    async with Client(app) as client:
        assert (await client.head("/x")).headers["content-length"] == length
        assert (await client.get("/x")).text == "get-r"


@pytest.mark.parametrize("verbs", [("get", "head"), ("head", "get")])
async def test_a_chain_that_has_a_head_of_its_own_asks_no_get(verbs):
    """As in Express: of one `route()` the order of the two means nothing."""
    app = Nardis()
    chain = app.route("/x")
    for verb in verbs:
        getattr(chain, verb)(answers(verb * 2))

    async with Client(app) as client:
        assert (await client.head("/x")).headers["content-length"] == "8"
        assert (await client.get("/x")).text == "getget"


async def test_head_passes_on_from_get_to_head():
    app, log = Nardis(), []

    async def passes(req, res, next):
        log.append(req.method)
        await next()

    app.get("/x", passes)
    app.head("/x", answers("head"))

    async with Client(app) as client:
        assert (await client.head("/x")).headers["content-length"] == "4"
    assert log == ["HEAD"]


async def test_head_leaves_a_stream_after_its_head_and_middlewares_go_on():
    """The first write ends the handler; its clean-up and the code after `next()` run."""
    app, log = Nardis(), []

    @app.use
    async def around(req, res, next):
        await next()
        log.append("after next")

    @app.get("/feed")
    async def feed(req, res):
        try:
            while True:
                await res.write("chunk")
        finally:
            log.append("finally")

    async with Client(app) as client:
        response = await client.head("/feed")
    assert (response.status_code, response.content, log) == (200, b"", ["finally", "after next"])


async def test_head_of_nothing_is_404_and_of_post_405():
    app = Nardis()
    app.post("/x", answers("no"))

    async with Client(app) as client:
        missing, refused = await client.head("/"), await client.head("/x")
    assert (missing.status_code, missing.content) == (404, b"")
    assert (refused.status_code, refused.content, refused.headers["allow"]) == (405, b"", "POST")


async def test_head_works_in_routers_and_with_all():
    app, router = Nardis(), Router()
    router.get("/get", answers("123"))
    router.all("/all", answers("1234"))
    app.use("/r", router)

    async with Client(app) as client:
        assert (await client.head("/r/get")).headers["content-length"] == "3"
        assert (await client.head("/r/all")).headers["content-length"] == "4"
