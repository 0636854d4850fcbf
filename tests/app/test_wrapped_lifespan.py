"""The lifespan of a foreign middleware runs, with the application's inside it."""

from __future__ import annotations

import anyio
import pytest

from nardis import Nardis, Router, wrap
from nardis.testing import Client
from tests.peers.driver import rest

pytestmark = pytest.mark.anyio


class Pool:
    """A middleware that opens something at start, for its requests, and closes it at the end."""

    def __init__(self, app, log, name="pool"):
        self.app, self.log, self.name = app, log, name

    async def __call__(self, scope, receive, send):
        if scope["type"] != "lifespan":
            self.log.append(f"request with {self.name} {scope['state'][self.name]}")
            return await self.app(scope, receive, send)

        async def told(message):
            self.log.append(f"{self.name} hears {message['type'].removeprefix('lifespan.')}")
            await send(message)

        async def asked():
            message = await receive()
            self.log.append(f"{self.name} is told {message['type'].removeprefix('lifespan.')}")
            return message

        scope["state"][self.name] = "open"
        await self.app(scope, asked, told)
        self.log.append(f"{self.name} closed")


def with_a_lifespan(log, *middlewares):
    app = Nardis()
    if middlewares:
        app.use(*middlewares)

    @app.lifespan
    async def lifespan(app):
        log.append("application started")
        yield
        log.append("application stopped")

    @app.get("/")
    async def handler(req, res):
        await res.send("x")

    return app


async def test_it_stands_around_that_of_the_application():
    log = []
    app = with_a_lifespan(log, wrap(Pool, log))

    async with Client(app) as client:
        assert (await client.get("/")).text == "x"

    assert log == [
        "pool is told startup", "application started", "pool hears startup.complete",
        "request with pool open",
        "pool is told shutdown", "application stopped",
        "pool hears shutdown.complete", "pool closed",
    ]  # fmt: skip


async def test_several_nest_in_the_order_of_the_chain_each_once():
    log = []
    app, router = with_a_lifespan(log), Router()
    inner = wrap(Pool, log, "inner")
    app.use(wrap(Pool, log, "outer"))
    app.use("/a", router)
    router.use(inner)
    router.get("/b", inner, unasked)

    async with Client(app):
        pass

    assert log == [
        "outer is told startup", "inner is told startup", "application started",
        "inner hears startup.complete", "outer hears startup.complete",
        "outer is told shutdown", "inner is told shutdown", "application stopped",
        "inner hears shutdown.complete", "inner closed",
        "outer hears shutdown.complete", "outer closed",
    ]  # fmt: skip


async def unasked(req, res):
    """Never run."""


class Alone:
    """A middleware that answers the lifespan itself, and does not pass it on."""

    def __init__(self, app, log, *, fails=False):
        self.app, self.log, self.fails = app, log, fails

    async def __call__(self, scope, receive, send):
        if scope["type"] != "lifespan":
            return await self.app(scope, receive, send)
        await receive()
        if self.fails:
            return await send({"type": "lifespan.startup.failed", "message": "no pool"})
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await anyio.lowlevel.checkpoint()
        self.log.append("alone stopped")
        await send({"type": "lifespan.shutdown.complete"})


async def test_one_that_does_not_pass_it_on_starts_and_stops_beside_it():
    log = []
    app = with_a_lifespan(log, wrap(Alone, log))

    async with Client(app) as client:
        assert (await client.get("/")).text == "x"

    assert sorted(log) == ["alone stopped", "application started", "application stopped"]


async def test_one_that_cannot_start_keeps_the_application_from_starting():
    log = []
    app = with_a_lifespan(log)
    app.use(wrap(Alone, log, fails=True))

    with pytest.raises(Exception, match=r"wrap\(Alone\): no pool"):
        await Client(app).__aenter__()

    assert log == []


async def test_one_that_knows_no_lifespan_is_served_without():
    class Refuses:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            assert scope["type"] == "http"
            await self.app(scope, receive, send)

    log = []
    app = with_a_lifespan(log, wrap(Refuses))

    async with Client(app) as client:
        assert (await client.get("/")).text == "x"

    assert log == ["application started", "application stopped"]


@pytest.mark.parametrize("error", [ValueError("no database"), SystemExit(3)], ids=repr)
async def test_an_application_that_cannot_start_ends_the_middleware_around_it(error):
    log, app = [], Nardis()
    app.use(wrap(Pool, log))

    @app.lifespan
    async def lifespan(app):
        raise error
        yield  # pragma: no cover  # it makes this a generator

    with pytest.raises(Exception, match=type(error).__name__):
        await Client(app).__aenter__()

    assert log == ["pool is told startup"]


async def test_one_that_does_not_end_is_logged_and_left(caplog):
    class Stays:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            async def kept(message):
                await (anyio.sleep_forever() if "shutdown" in message["type"] else send(message))

            await self.app(scope, receive, kept)

    log = []
    app = with_a_lifespan(log)
    from nardis import Limits

    app.limits = Limits(cleanup_s=0.01)
    app.use(wrap(Stays))
    async with Client(app):
        await rest()

    assert log == ["application started", "application stopped"]
    assert "the lifespan of wrap(Stays) did not end within 0.01 s" in caplog.text
