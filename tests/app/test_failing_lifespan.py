"""A lifespan that ends by itself, because a task group that it has opened fails."""

import anyio
import pytest

from nardis import Nardis
from nardis._asgi.extensions import RUNNER
from nardis.testing import AppError, Client

from .test_draining import Lifespan, Runner

pytestmark = pytest.mark.anyio


class Stopping(Runner):
    """A runner that can be asked to stop."""

    def __init__(self):
        super().__init__()
        self.stopped = anyio.Event()

    def stop(self):
        self.stopped.set()


def failing(*, swallows=False):
    """Make an application with a task beside it that fails when `fail` is set."""
    app = Nardis()
    app.state.fail, app.state.closed, app.state.log = anyio.Event(), anyio.Event(), []

    async def background():
        await app.state.fail.wait()
        raise ConnectionError("no broker")

    @app.lifespan
    async def lifespan(given):
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(background)
                yield
                tasks.cancel_scope.cancel()
        except* ConnectionError:
            if not swallows:
                raise
        finally:
            app.state.log.append("closed")
            app.state.closed.set()

    @app.get("/")
    async def index(req, res):
        await res.send("served")

    @app.get("/slow")
    async def slow(req, res):
        app.state.fail.set()
        await app.draining.wait()
        app.state.log.append("answered")
        await res.send("served")

    @app.websocket("/ws")
    async def talks(req, ws):
        await ws.accept()  # pragma: no cover - must not happen

    return app


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


async def test_where_the_server_goes_on_what_runs_ends_and_the_rest_is_refused(caplog):
    """The server cannot be told, but its health check can see a 503."""
    app = failing()

    with pytest.raises(AppError, match="no broker"):
        async with Client(app) as client:
            assert (await client.get("/")).text == "served"
            assert (await client.get("/slow")).text == "served"
            await app.state.closed.wait()
            assert app.state.log == ["answered", "closed"]

            answer = await client.get("/")
            assert (answer.status_code, answer.text[:23]) == (503, "503 Service Unavailable")
            with pytest.raises(Exception, match="403"):
                async with client.websocket("/ws"):
                    pytest.fail("must not open")  # pragma: no cover - must not happen

    assert said(caplog) == [
        "a task group or a scope around the lifespan's `yield` failed: "
        "no request is served any more",
        "lifespan shutdown failed",
    ]


async def test_a_mounted_application_is_refused_and_the_one_around_it_goes_on(caplog):
    """It is a guest there, and cannot stop the server."""
    app, inner = Nardis(), failing(swallows=True)
    app.mount("/inner", inner)

    @app.get("/")
    async def index(req, res):
        await res.send("served")

    async with Client(app) as client:
        assert (await client.get("/inner/slow")).text == "served"
        await inner.state.closed.wait()
        assert (await client.get("/inner")).status_code == 503
        assert (await client.get("/")).text == "served"

    assert said(caplog) == [
        "a task group or a scope around the lifespan's `yield` failed: "
        "no request is served any more"
    ]


async def test_the_next_lifespan_begins_anew():
    app = failing(swallows=True)
    async with Client(app) as client:
        assert (await client.get("/slow")).text == "served"
        await app.state.closed.wait()
        assert (await client.get("/")).status_code == 503

    app.state.fail = anyio.Event()
    async with Client(app) as client:
        assert (await client.get("/")).text == "served"


async def test_a_runner_is_asked_to_stop_and_what_the_lifespan_has_open_stays_so(caplog):
    """Up to the shutdown, as always."""
    app, runner = failing(), Stopping()
    async with Lifespan(app, {RUNNER: runner}) as lifespan:
        app.state.fail.set()
        await runner.stopped.wait()
        await anyio.wait_all_tasks_blocked()
        assert (app.state.log, lifespan.sent) == ([], ["lifespan.startup.complete"])
        assert said(caplog)[0].endswith("the server stops")

    assert app.state.log == ["closed"]
    assert lifespan.sent[1:] == ["lifespan.shutdown.failed"]


async def test_in_a_shutdown_it_may_end_when_it_likes(caplog):
    app, runner = failing(swallows=True), Stopping()
    async with Lifespan(app, {RUNNER: runner}) as lifespan:
        [(drain, _)] = runner.told
        drain(1)
        app.state.fail.set()
        await anyio.wait_all_tasks_blocked()

    assert (lifespan.sent[1:], said(caplog)) == (["lifespan.shutdown.complete"], [])
    assert not runner.stopped.is_set()


async def test_a_lifespan_that_is_cancelled_from_outside_asks_nobody(caplog):
    app, runner = failing(), Stopping()
    async with Lifespan(app, {RUNNER: runner}) as lifespan:
        lifespan.group.cancel_scope.cancel()

    assert (app.state.log, said(caplog)) == (["closed"], [])
    assert not runner.stopped.is_set()


async def test_a_server_that_fails_to_tell_of_the_shutdown_keeps_it_from_nothing(caplog):
    app, runner = failing(), Stopping()
    lifespan = Lifespan(app, {RUNNER: runner})
    receive = lifespan.receive

    async def fails():
        if app.state.fail.is_set():
            raise OSError("the server is gone")
        return await receive()

    lifespan.receive = fails
    async with lifespan:
        app.state.fail.set()
        await runner.stopped.wait()

    assert app.state.log == ["closed"]
    assert "the end of the lifespan failed: OSError('the server is gone')" in said(caplog)
