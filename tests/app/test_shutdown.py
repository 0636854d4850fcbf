"""The end: draining, exchanges in flight, tasks, the lifespan; in that order."""

import anyio
import pytest

from nardis import Limits, Nardis, Router
from nardis.testing import Client

from ._driver import Lifespan

pytestmark = pytest.mark.anyio


async def test_draining_is_set_first_at_shutdown():
    """Before exchanges, tasks and the code after `yield`."""
    app, log = Nardis(), []

    @app.lifespan
    async def lifespan(given):
        log.append(("starts", given.draining.is_set()))
        yield
        log.append(("ends", given.draining.is_set()))

    async def task():
        await app.draining.wait()
        log.append(("task", app.draining.is_set()))

    async with Client(app):
        assert not app.draining.is_set()
        app.tasks.start_soon(task)
        await anyio.wait_all_tasks_blocked()
    assert log == [("starts", False), ("task", True), ("ends", True)]


async def test_draining_is_new_for_each_lifespan():
    app, events = Nardis(), []

    for _ in range(2):
        async with Client(app):
            assert not app.draining.is_set()
            events.append(app.draining)
        assert events[-1].is_set()
    assert events[0] is not events[1]


async def test_draining_can_be_asked_for_without_a_lifespan():
    """It is never set then, and stays the same."""
    app = Nardis()

    assert not app.draining.is_set()
    assert app.draining is app.draining


async def test_draining_taken_in_the_startup_is_that_of_the_lifespan():
    """A lifespan that hands the event to its own tasks hands them the right one."""
    app, log = Nardis(), []

    @app.lifespan
    async def lifespan(given):
        draining = given.draining
        yield
        log.append(draining.is_set())

    for _ in range(2):
        async with Client(app):
            pass
    assert log == [True, True]


async def test_a_joined_application_drains_with_its_parent():
    """A handler that waits for its own application's event hears of it wherever that is joined."""
    app, joined = Nardis(), Nardis()
    app.use("/joined", joined)

    async with Client(app):
        event = joined.draining
        assert not event.is_set()
    assert event.is_set()


@pytest.mark.parametrize("where", ["app", "router"])
async def test_streams_that_wait_for_draining_say_goodbye(where):
    """They end by themselves, whole, before anything is cancelled."""
    app, router = Nardis(), Router()

    @(app if where == "app" else router).get("/feed")
    async def feed(req, res):
        await res.write("hello ")
        await req.app.draining.wait()
        await res.write("goodbye")
        assert req.close_reason is None

    app.use(router)

    async with anyio.create_task_group() as group:
        lifespan = await group.start(Lifespan(app).run)
        async with Client(app, lifespan=False) as client, client.stream("GET", "/feed") as response:
            assert await response.read(6) == b"hello "
            lifespan.stopping.set()
            assert await response.read() == b"goodbye"
            assert response.complete
        await lifespan.done.wait()
    assert lifespan.sent[-1]["type"] == "lifespan.shutdown.complete"


async def test_the_shutdown_waits_for_exchanges_in_flight():
    app, go, log = Nardis(), anyio.Event(), []

    @app.lifespan
    async def lifespan_(given):
        yield
        log.append("after yield")

    @app.get("/slow")
    async def slow(req, res):
        await go.wait()
        log.append("handler")
        await res.send("done")

    async with anyio.create_task_group() as group:
        lifespan = await group.start(Lifespan(app).run)
        async with Client(app, lifespan=False) as client, client.stream("GET", "/slow") as response:
            lifespan.stopping.set()
            await app.draining.wait()
            go.set()
            assert await response.read() == b"done"
        await lifespan.done.wait()
    assert log == ["handler", "after yield"]


async def test_exchanges_that_take_too_long_are_cancelled():
    """With their reason; before the head the client gets a 503, and then clean-up has its time."""
    app, log = Nardis(limits=Limits(cleanup_s=0.02)), []

    @app.lifespan
    async def lifespan_(given):
        yield
        log.append("after yield")

    async def bye(req):
        log.append(f"deferred {req.close_reason}")

    @app.get("/forever")
    async def forever(req, res):
        req.defer(bye, req)
        try:
            await anyio.sleep_forever()
        finally:
            log.append(f"handler {req.close_reason}")

    async with anyio.create_task_group() as group:
        lifespan = await group.start(Lifespan(app).run)
        async with (
            Client(app, lifespan=False) as client,
            client.stream("GET", "/forever") as response,
        ):
            lifespan.stopping.set()
            await response.head()
            assert response.status_code == 503
            assert b"shutdown" in await response.read()
        await lifespan.done.wait()
    assert log == ["handler shutdown", "deferred shutdown", "after yield"]


async def test_a_stream_that_takes_too_long_is_cut_and_does_not_look_whole(caplog):
    caplog.set_level("INFO", "nardis")
    app, reasons = Nardis(limits=Limits(cleanup_s=0.2)), []

    @app.get("/feed")
    async def feed(req, res):
        await res.write("half")
        try:
            await anyio.sleep_forever()
        finally:
            reasons.append(req.close_reason)

    async with anyio.create_task_group() as group:
        lifespan = await group.start(Lifespan(app).run)
        async with Client(app, lifespan=False, raise_app_errors=False) as client:
            async with client.stream("GET", "/feed") as response:
                lifespan.stopping.set()
                assert await response.read() == b"half"
                assert not response.complete
        await lifespan.done.wait()
    assert reasons == ["shutdown"]
    # Nobody's fault, and so no error.
    assert [
        record.levelname for record in caplog.records if getattr(record, "truncated", False)
    ] == ["INFO"]


async def test_a_server_that_cancels_a_handler_shuts_down():
    """A foreign server says nothing beforehand: the cancellation is the notice."""
    app, reasons, inside = Nardis(), [], anyio.Event()

    @app.get("/")
    async def handler(req, res):
        try:
            inside.set()
            await anyio.sleep_forever()
        finally:
            reasons.append(req)

    async def receive():
        await anyio.sleep_forever()  # pragma: no cover - reached only if a watcher is quick

    async def send(message):
        pytest.fail("nothing is sent")  # pragma: no cover - must not happen

    scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/", "headers": []}
    async with Client(app):
        async with anyio.create_task_group() as group:
            group.start_soon(app, scope, receive, send)
            await inside.wait()
            group.cancel_scope.cancel()
        assert not app.life.sweeper.exchanges
    assert [req.close_reason for req in reasons] == ["shutdown"]


async def test_a_cancelled_handler_whose_clean_up_fails_is_answered_all_the_same(caplog):
    """
    The head was not sent, so the client hears of it; the failure is logged once.

    Also in a task group.
    """
    app, inside = Nardis(limits=Limits(cleanup_s=0.02)), anyio.Event()

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            try:
                inside.set()
                await anyio.sleep_forever()
            finally:
                raise KeyError("in the clean-up")

    async with anyio.create_task_group() as group:
        lifespan = await group.start(Lifespan(app).run)
        async with Client(app, lifespan=False, raise_app_errors=False) as client:
            async with client.stream("GET", "/") as response:
                await inside.wait()
                lifespan.stopping.set()
                await response.head()
                assert response.headers["content-type"].startswith("text/plain")
                assert response.status_code in (500, 503)
                await response.read()
                assert response.complete
        await lifespan.done.wait()
    assert [record.exc_info[0] for record in caplog.records if record.levelname == "ERROR"] == [
        KeyError
    ]
