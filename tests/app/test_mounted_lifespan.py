"""The lifespans of mounted applications run inside ours."""

import logging
from contextlib import asynccontextmanager

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from nardis import Limits, Nardis, Router
from nardis.testing import AppError, Client
from tests.peers.asgi import body, start

pytestmark = pytest.mark.anyio


class Foreign:
    """A raw application that logs its lifespan, and does at its stages what it is told to."""

    def __init__(self, log, name, **stages):
        self.log, self.name, self.stages = log, name, stages

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await send(start())
            await send(body(repr(scope.get("state")).encode()))
            scope.get("state", {})["seen"] = True
            return
        scope["state"]["pool"] = self.name
        for stage in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{stage}"
            self.log.append(f"{self.name} {stage}")
            await self.stages.get(stage, complete)(send, stage)
        await receive()


async def complete(send, stage):
    await send({"type": f"lifespan.{stage}.complete"})


async def failed(send, stage):
    await send({"type": f"lifespan.{stage}.failed", "message": "no database"})


async def silent(send, stage):
    await send({"type": f"lifespan.{stage}.failed"})


async def raises(send, stage):
    raise KeyError(stage)


async def wrong(send, stage):
    await send(start())


async def hangs(send, stage):
    await anyio.sleep_forever()


async def test_they_start_after_ours_and_stop_before_it():
    """One after the other, the last one stops first; a router's applications are among them."""
    app, router, log = Nardis(), Router(), []

    @app.lifespan
    async def own(app):
        log.append("own startup")
        yield
        log.append("own shutdown")

    app.mount("/a", Foreign(log, "a"))
    router.mount("/b", Foreign(log, "b"))
    app.use("/r", router)
    async with Client(app):
        log.append("serving")
    starts = ["own startup", "a startup", "b startup"]
    assert log == [*starts, "serving", "b shutdown", "a shutdown", "own shutdown"]


async def test_its_state_is_its_own_and_copied_for_each_request():
    app = Nardis()
    app.mount("/a", Foreign([], "a"))
    app.mount("/b", Foreign([], "b"))
    async with Client(app) as client:
        for _ in range(2):
            assert (await client.get("/a")).text == "{'pool': 'a'}"
        assert (await client.get("/b")).text == "{'pool': 'b'}"
    async with Client(app, lifespan=False) as client:
        assert (await client.get("/a")).text == "None"


async def test_an_application_that_is_mounted_twice_starts_once():
    app, log = Nardis(), []
    twice = Foreign(log, "a")
    app.mount("/a", twice)
    app.mount("/b", twice)
    async with Client(app) as client:
        assert (await client.get("/b")).text == "{'pool': 'a'}"
    assert log == ["a startup", "a shutdown"]


@pytest.mark.parametrize(
    ("stage", "message"), [(failed, "no database"), (silent, "its startup failed")]
)
async def test_a_start_that_fails_is_ours_and_stops_those_before(stage, message):
    app, log = Nardis(), []
    app.mount("/a", Foreign(log, "a"))
    app.mount("/b", Foreign(log, "b", startup=stage))
    with pytest.raises(AppError, match=message):
        async with Client(app):
            pass  # pragma: no cover - never entered
    assert log == ["a startup", "b startup", "a shutdown"]


@pytest.mark.parametrize("stage", [raises, wrong])
async def test_an_application_without_a_lifespan_is_served_without(stage, caplog):
    """It says so by an exception, as servers take it."""
    caplog.set_level(logging.INFO)
    app = Nardis()
    app.mount("/a", Foreign([], "a", startup=stage))
    async with Client(app) as client:
        assert (await client.get("/a")).text == "None"
    assert "has no lifespan" in caplog.text


@pytest.mark.parametrize(
    ("stage", "words"), [(failed, "no database"), (raises, "the lifespan of mount(Foreign) failed")]
)
async def test_a_shutdown_that_fails_is_logged(stage, words, caplog):
    app, log = Nardis(), []
    app.mount("/a", Foreign(log, "a", shutdown=stage))
    async with Client(app):
        pass
    assert words in caplog.text


async def test_an_application_that_reaches_itself_through_another_does_not_start():
    """What an application of others holds shows when it is started; it would never have ended."""
    app, inner, log = Nardis(), Nardis(), []

    @app.lifespan
    async def own(app):
        log.append("startup")
        yield

    async def middleware(scope, receive, send):
        await app(scope, receive, send)

    inner.mount("/app", middleware)
    app.mount("/inner", inner)
    with pytest.raises(AppError, match="an application is mounted inside itself"):
        async with Client(app):
            pass  # pragma: no cover - never entered
    assert log == ["startup"]


async def test_a_shutdown_that_hangs_is_cut(caplog):
    app = Nardis(limits=Limits(cleanup_s=0.01))
    app.mount("/a", Foreign([], "a", shutdown=hangs))
    async with Client(app):
        pass
    assert "did not end within 0.01 s" in caplog.text


async def test_starlette_and_nardis_share_it():
    """
    A Starlette application hands its state to its requests.

    A Nardis application has its tasks and its sweeper.
    """
    app, log = Nardis(), []

    @asynccontextmanager
    async def theirs(app):
        log.append("up")
        yield {"answer": 42}
        log.append("down")

    async def shows(request):
        return PlainTextResponse(str(request.state.answer))

    inner = Nardis()

    @inner.get("/")
    async def starts(req, res):
        inner.tasks.start_soon(later)
        await res.send("started")

    async def later():
        log.append("task")

    app.mount("/starlette", Starlette(routes=[Route("/x", shows)], lifespan=theirs))
    app.mount("/nardis", inner)
    async with Client(app) as client:
        assert (await client.get("/starlette/x")).text == "42"
        assert (await client.get("/nardis")).text == "started"
    assert log == ["up", "task", "down"]
