"""`app.draining`, and who tells it: the runner offers itself in the scope of the lifespan."""

from __future__ import annotations

import anyio
import pytest

from nardis import Nardis
from nardis._asgi.extensions import RUNNER
from tests.peers.driver import rest

pytestmark = pytest.mark.anyio


class Runner:
    """A runner that keeps what it is told to call."""

    def __init__(self):
        self.told = []

    def tell(self, drain, interrupt):
        self.told.append((drain, interrupt))


class Lifespan:
    """Serve the lifespan of *app* for the length of the block."""

    def __init__(self, app, extensions):
        self.app, self.extensions = app, extensions
        self.over = anyio.Event()
        self.sent = []

    async def receive(self):
        if not self.sent:
            return {"type": "lifespan.startup"}
        await self.over.wait()
        return {"type": "lifespan.shutdown"}

    async def send(self, message):
        self.sent.append(message["type"])

    async def __aenter__(self):
        self.group = anyio.create_task_group()
        await self.group.__aenter__()
        self.group.start_soon(
            self.app, {"type": "lifespan", "extensions": self.extensions}, self.receive, self.send
        )
        while not self.sent:
            await anyio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *exc_info):
        self.over.set()
        await self.group.__aexit__(None, None, None)


async def test_it_is_set_by_the_runner_with_the_seconds_that_are_left():
    app, runner = Nardis(), Runner()
    async with Lifespan(app, {RUNNER: runner}):
        [(drain, _)] = runner.told
        assert (app.draining.is_set(), app.draining.seconds_left) == (False, None)

        drain(10)
        await app.draining.wait()
        assert 9 < app.draining.seconds_left <= 10

        drain(99)
        assert app.draining.seconds_left <= 10


async def test_it_is_set_through_a_middleware_around_the_application():
    """The runner knows the application by the scope and not by its class."""
    app, runner = Nardis(), Runner()

    async def around(scope, receive, send):
        await app(dict(scope), receive, send)

    async with Lifespan(around, {RUNNER: runner}):
        runner.told[0][0](1)
        assert app.draining.is_set()


@pytest.mark.parametrize("extensions", [None, {}, {RUNNER: None}], ids=repr)
async def test_a_server_that_says_nothing_sets_it_at_its_shutdown(extensions):
    app = Nardis()
    async with Lifespan(app, extensions):
        draining = app.draining
        assert not draining.is_set()
    assert draining.is_set()
    assert draining.seconds_left is not None


async def test_no_time_is_left_once_it_is_over():
    app = Nardis()
    app.draining.set(0)
    assert app.draining.seconds_left == 0


@pytest.mark.parametrize("opted_out", [False, True])
async def test_the_runner_ends_what_runs_also_where_a_disconnect_cancels_nothing(opted_out):
    """With a 503, as the head has not left, and a clean-up that knows why."""
    app, runner, log, sent = Nardis(cancel_on_disconnect=not opted_out), Runner(), [], []

    @app.get("/")
    async def handler(req, res):
        try:
            await anyio.sleep_forever()
        finally:
            log.append(req.close_reason)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
    }
    async with Lifespan(app, {RUNNER: runner}) as lifespan:
        lifespan.group.start_soon(app, scope, anyio.sleep_forever, send)
        await rest()
        runner.told[0][1]()
        await rest()

    assert log == ["shutdown"]
    assert sent[0]["status"] == 503
    assert lifespan.sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
