"""
A scope that the runner lends: an exchange cancels its handler with it, and nothing else.

The client is a script, the application has its lifespan, the conversation is the runner's.
"""

from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import HTTPError, Limits, Nardis, shielded
from nardis.server import Config
from nardis.server.connection import Connection
from nardis.server.http1.conversation import Http1
from nardis.server.lifespan import Lifespan
from nardis.server.service import Service
from tests.http1.scripted import Wire, innermost

pytestmark = pytest.mark.anyio

GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"


@asynccontextmanager
async def served(app, wire):
    """Serve *app* to the client of *wire* for the length of the block, and to its end."""
    service = Service(app, Config())
    service.innermost = innermost
    lifespan = Lifespan(app, service.state, service)
    connection = Connection(service, wire, wire, lambda self: Http1(self, lambda *asked: None))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(lifespan.run)
            await lifespan.startup()
            async with anyio.create_task_group() as talking:
                service.start = partial(talking.start_soon, run)
                talking.start_soon(connection.attend)
                yield connection
                wire.leave()
            await lifespan.stop()


async def run(serving):
    await serving


def lent(req):
    return req.scope["extensions"]["nardis.client"].scope


async def test_it_is_lent_to_the_application_that_is_called():
    app, scopes = Nardis(), []

    @app.get("/")
    async def index(req, res):
        scopes.append((lent(req), req.exchange.cancel_scope))
        await res.send("")

    wire = Wire([GET % b"", GET % b""])
    async with served(app, wire):
        pass

    [scope] = {scope for pair in scopes for scope in pair}
    assert not scope.cancel_called


class Own(Nardis):
    """An application with something of its own around each call."""

    async def __call__(self, scope, receive, send):
        await super().__call__(scope, receive, send)
        await checkpoint()


@pytest.mark.parametrize("around", [True, False], ids=["a middleware", "a method"])
async def test_it_is_not_lent_where_something_stands_around_the_application(around):
    """That would be cancelled too."""
    app, scopes = Nardis() if around else Own(), []

    @app.get("/")
    async def index(req, res):
        scopes.append(lent(req))
        req.exchange.cancel_scope.cancel()
        await checkpoint()

    async def middleware(scope, receive, send):
        await app(scope, receive, send)
        await checkpoint()

    wire = Wire([GET % b""])
    async with served(middleware if around else app, wire):
        pass

    assert scopes == [None]


@pytest.mark.parametrize("cleans_up", ["well", "badly", "with a task group"])
async def test_a_limit_ends_one_handler_and_the_connection_goes_on(cleans_up, caplog):
    """The handler's clean-up runs, the client hears why, the next request is another one's."""
    app, cleaned = Nardis(), []
    fault = ValueError("in the clean-up")
    faults = {"well": [], "badly": [fault], "with a task group": [BaseExceptionGroup("", [fault])]}

    @app.get("/late", limits=Limits(handler_s=0.001))
    async def late(req, res):
        req.defer(clean, "deferred")
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                await anyio.sleep_forever()
        finally:
            with shielded(5):
                await clean("shielded")
            for fault in faults[cleans_up]:
                raise fault

    async def clean(name):
        await checkpoint()
        cleaned.append(name)

    @app.get("/next")
    async def following(req, res):
        await checkpoint()
        await res.send("free")

    @app.error(503)
    async def unavailable(err, req, res):
        await checkpoint()  # a fresh scope
        await res.status(503).send("too late")

    wire = Wire([GET % b"late" + GET % b"next"])
    async with served(app, wire):
        pass

    assert [(status, body) for status, _, body in wire.answers()] == [
        (503, b"too late"),
        (200, b"free"),
    ]
    assert cleaned == ["shielded", "deferred"]
    assert ("in the clean-up" in caplog.text) is (cleans_up != "well")


async def test_a_limit_past_the_head_cuts_the_response():
    app = Nardis()

    @app.get("/late", limits=Limits(handler_s=0.001))
    async def late(req, res):
        await res.write("begun")
        await anyio.sleep_forever()

    wire = Wire([GET % b"late" + GET % b"next"])
    async with served(app, wire):
        pass

    assert wire.sent.endswith(b"\r\n\r\n5\r\nbegun\r\n")
    assert wire.log == ["cut short"]


async def test_a_client_that_leaves_ends_its_handler_and_no_other():
    app, ended, waits = Nardis(), [], anyio.Event()

    @app.get("/")
    async def index(req, res):
        try:
            waits.set()
            await anyio.sleep_forever()
        finally:
            ended.append(req.close_reason)

    wire = Wire([GET % b""], ends=False)
    async with served(app, wire) as connection:
        await waits.wait()
        connection.hung_up()

    assert ended == ["gone"]
    assert wire.sent == b""


async def test_the_shutdown_ends_handlers_and_says_so():
    app, waits = Nardis(), anyio.Event()

    @app.get("/")
    async def index(req, res):
        waits.set()
        await anyio.sleep_forever()

    wire = Wire([GET % b""], ends=False)
    async with served(app, wire) as connection:
        await waits.wait()
        connection.service.drain()
        connection.service.interrupt()

    [(status, fields, _)] = wire.answers()
    assert (status, fields[b"connection"]) == (503, b"close")


async def test_a_connection_that_is_cut_ends_a_handler_that_nobody_else_has_cancelled():
    app, ended, waits = Nardis(), [], anyio.Event()

    @app.get("/")
    async def index(req, res):
        try:
            waits.set()
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")

    wire = Wire([GET % b""], ends=False)
    async with served(app, wire) as connection:
        await waits.wait()
        connection.end()

    assert ended == ["cancelled"]
    assert wire.log[0] == "reset"


async def test_an_error_before_the_limit_is_answered_as_ever():
    app = Nardis()

    @app.get("/")
    async def index(req, res):
        raise HTTPError(409)

    wire = Wire([GET % b"" + GET % b""])
    async with served(app, wire):
        pass

    assert wire.statuses() == [409, 409]
