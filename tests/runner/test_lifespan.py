"""The server's side of the lifespan, with applications that keep to it and others."""

import logging
from contextlib import asynccontextmanager

import anyio
import pytest

from nardis.errors import NardisError, StartFailed
from nardis.server.config import Config
from nardis.server.lifespan import Lifespan
from nardis.server.service import Service

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(app, state=None, runner=None):
    async with anyio.create_task_group() as group:
        lifespan = Lifespan(app, {} if state is None else state, runner)
        group.start_soon(lifespan.run)
        with anyio.fail_after(20):
            yield lifespan
        group.cancel_scope.cancel()


async def test_the_application_is_asked_to_start_and_to_stop():
    told = []

    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        assert scope["asgi"]["version"] == "3.0"
        scope["state"]["pool"] = "open"
        for _ in range(2):
            message = await receive()
            told.append(message["type"])
            await send({"type": message["type"] + ".complete"})

    state = {}
    async with running(app, state) as lifespan:
        await lifespan.startup()
        assert (told, state) == (["lifespan.startup"], {"pool": "open"})
        await lifespan.stop()
        assert told == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.parametrize("said", [{"message": "no database"}, {}])
async def test_a_start_that_failed_says_why(said):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", **said})

    async with running(app) as lifespan:
        with pytest.raises(StartFailed, match=said.get("message", "did not say why")):
            await lifespan.startup()


async def test_an_end_that_failed_says_why():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "not flushed"})

    async with running(app) as lifespan:
        await lifespan.startup()
        with pytest.raises(NardisError, match="not flushed"):
            await lifespan.stop()


@pytest.mark.parametrize("asks", [True, False])
async def test_an_application_that_raises_at_once_is_served_without_a_lifespan(asks, caplog):
    """The specification wants it served: many applications know `http` alone. The log says so."""

    async def app(scope, receive, send):
        if asks:
            await receive()
        raise KeyError(scope["type"])

    async with running(app) as lifespan:
        await lifespan.startup()
        await lifespan.stop()
    [record] = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "nardis.server")
    assert "KeyError" in record.message


async def test_an_application_that_returns_at_once_has_no_lifespan(caplog):
    async def app(scope, receive, send):
        """Do nothing."""

    async with running(app) as lifespan:
        await lifespan.startup()
        await lifespan.stop()
    assert not caplog.records


async def test_a_lifespan_that_breaks_while_it_serves_is_logged_and_told_at_the_end(caplog):
    broken = anyio.Event()

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await broken.wait()
        raise RuntimeError("lost")

    async with running(app) as lifespan:
        await lifespan.startup()
        broken.set()
        with pytest.raises(NardisError, match="lost"):
            await lifespan.stop()
    [record] = caplog.records
    assert record.exc_info[0] is RuntimeError


async def test_a_failure_that_was_told_and_is_raised_too_counts_once(caplog):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "told"})
        raise RuntimeError("told")

    async with running(app) as lifespan:
        with pytest.raises(StartFailed, match="told"):
            await lifespan.startup()
        await anyio.wait_all_tasks_blocked()
    assert not caplog.records


async def test_a_receive_that_was_cancelled_is_made_again():
    """
    An application may wait for the shutdown in turns: the one that it does not cancel gets it.
    """

    async def app(scope, receive, send):
        await receive()
        with anyio.move_on_after(0):
            await receive()
        await send({"type": "lifespan.startup.complete"})
        await send({"type": (await receive())["type"] + ".complete"})

    async with running(app) as lifespan:
        await lifespan.startup()
        await lifespan.stop()


async def test_an_application_that_goes_on_asking_after_the_end_waits():
    """There is no third message; the application is over when it has said so."""
    told = []

    async def app(scope, receive, send):
        while True:
            message = await receive()
            told.append(message["type"])
            await send({"type": message["type"] + ".complete"})

    async with running(app) as lifespan:
        await lifespan.startup()
        await lifespan.stop()
        await anyio.wait_all_tasks_blocked()
    assert told == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.parametrize("says", [True, False])
async def test_one_that_fails_by_itself_stops_the_server(says, caplog):
    """It may say so, before it is asked, or raise."""
    stopped, fail = anyio.Event(), anyio.Event()

    class Runner:
        stop = stopped.set

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await fail.wait()
        if says:
            await send({"type": "lifespan.shutdown.failed", "message": "no broker"})
        else:
            raise ConnectionError("no broker")

    async with running(app, runner=Runner()) as lifespan:
        await lifespan.startup()
        assert not stopped.is_set()
        fail.set()
        await stopped.wait()
        with pytest.raises(NardisError, match="no broker"):
            await lifespan.stop()


async def test_one_that_says_so_and_raises_as_starlette_does_stops_the_server_once(caplog):
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.failed", "message": "no broker"})
        raise ConnectionError("no broker")

    service = Service(app, Config())
    async with running(app, runner=service) as lifespan:
        await service.stopped.wait()
        with pytest.raises(NardisError, match="no broker"):
            await lifespan.stop()
    assert [each.getMessage() for each in caplog.records] == [
        "the application cannot go on: stopping"
    ]


async def test_one_that_ends_early_and_well_does_not():
    stopped = anyio.Event()

    class Runner:
        stop = stopped.set

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})

    async with running(app, runner=Runner()) as lifespan:
        await lifespan.startup()
        await lifespan.stop()
    assert not stopped.is_set()
