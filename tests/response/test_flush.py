"""`await res.flush()`: the head now, and what filters hold."""

import anyio
import pytest

from nardis import Nardis
from nardis.errors import ResponseAlreadyEnded
from nardis.testing import Client

pytestmark = pytest.mark.anyio


async def test_flush_sends_the_head_alone():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.status(202).set("x-one", "1").flush()
        await anyio.sleep_forever()

    async with Client(app) as client, client.stream("GET", "/") as response:
        assert (response.status_code, response.headers["x-one"]) == (202, "1")


async def test_flush_again_changes_nothing(serve):
    async def handler(req, res):
        await res.flush()
        await res.write("a")
        await res.flush()
        await res.write("b")
        await res.flush()

    response = await serve(handler)

    assert (response.content, response.complete) == (b"ab", True)


async def test_flush_after_the_end_is_refused(failure):
    async def handler(req, res):
        await res.send("x")
        await res.flush()

    error = await failure(handler)

    assert isinstance(error, ResponseAlreadyEnded)
    assert "cannot flush" in str(error)


async def test_on_head_flush_ends_the_handler(serve):
    steps = []

    async def handler(req, res):
        await res.flush()
        steps.append("after")  # pragma: no cover: the scope around the handler is cancelled

    assert (await serve(handler, "HEAD")).complete
    assert steps == []
