"""The lifespan, and what the client does at its own end."""

import anyio
import pytest

from nardis import Limits, Nardis
from nardis.testing import AppError, ASGIViolation, Client

pytestmark = pytest.mark.anyio

START, BODY = "http.response.start", "http.response.body"
STARTED, STOPPED = {"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}


async def answer(scope, receive, send):
    await send({"type": START, "status": 200})
    await send({"type": BODY, "body": repr(sorted(scope.get("state", {"no state": 1}))).encode()})


def lives(lifespan):
    """Make an application with this lifespan."""

    async def app(scope, receive, send):
        await (lifespan if scope["type"] == "lifespan" else answer)(scope, receive, send)

    return app


async def test_a_lifespan_runs_around_everything():
    """Its state is copied into each request."""
    log = []

    async def lifespan(scope, receive, send):
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
        log.append(await receive())
        scope["state"]["pool"] = 1
        await send(STARTED)
        log.append(await receive())
        await send(STOPPED)

    async def app(scope, receive, send):
        if scope["type"] == "http":
            assert list(scope["state"]) == ["pool"]
            scope["state"]["mine"] = 2
        await lives(lifespan)(scope, receive, send)

    async with Client(app) as client:
        for _ in range(2):
            assert (await client.get("/")).text == "['mine', 'pool']"
        assert log == [{"type": "lifespan.startup"}]
    assert log == [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]


def test_a_client_is_made_outside_of_an_event_loop_and_opened_again():
    """As one that a module has for all of its tests."""
    log = []

    async def lifespan(scope, receive, send):
        log.append((await receive())["type"])
        await send(STARTED)
        log.append((await receive())["type"])
        await send(STOPPED)

    client = Client(lives(lifespan))

    async def test():
        async with client:
            assert (await client.get("/")).status_code == 200

    for backend in ("asyncio", "trio"):
        anyio.run(test, backend=backend)
    assert log == ["lifespan.startup", "lifespan.shutdown"] * 2


async def test_no_lifespan_is_sent_when_none_is_wanted():
    """And there is no state."""

    async def lifespan(scope, receive, send):
        pytest.fail("a lifespan was sent")  # pragma: no cover - must not happen

    async with Client(lives(lifespan), lifespan=False) as client:
        assert (await client.get("/")).text == "['no state']"


@pytest.mark.parametrize("raises", [True, False])
async def test_an_app_without_lifespan_goes_on_without(raises):
    """Whether it raises on the scope or returns."""

    async def lifespan(scope, receive, send):
        if raises:
            raise TypeError(scope["type"])

    async with Client(lives(lifespan)) as client:
        assert (await client.get("/")).text == "['no state']"


@pytest.mark.parametrize("after", ["returns", "raises", "hangs"])
async def test_a_failed_startup_is_raised_on_entering(after):
    """With the message, and with the exception when there is one, as Starlette sends both."""

    async def lifespan(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        if after == "raises":
            raise ConnectionError("refused")
        if after == "hangs":
            await anyio.sleep_forever()

    client = Client(lives(lifespan))
    client.close_s = 0.01
    with pytest.raises(AppError, match=r"lifespan.startup.failed: no database") as caught:
        async with client:
            pytest.fail("it was entered")  # pragma: no cover - must not happen
    assert isinstance(caught.value.__cause__, ConnectionError) is (after == "raises")


async def test_a_failed_shutdown_is_raised_on_leaving():
    """Unless another exception is on its way."""

    async def lifespan(scope, receive, send):
        await receive()
        await send(STARTED)
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "still busy"})

    with pytest.raises(AppError, match="still busy"):
        async with Client(lives(lifespan)):
            pass
    with pytest.raises(LookupError):
        async with Client(lives(lifespan)):
            raise LookupError


async def test_a_lifespan_that_raises_while_running_is_raised_on_leaving():
    """The requests before it were answered."""

    async def lifespan(scope, receive, send):
        await receive()
        await send(STARTED)
        raise KeyError("gone")

    with pytest.raises(AppError, match=r"the lifespan raised KeyError\('gone'\)"):
        async with Client(lives(lifespan)) as client:
            assert (await client.get("/")).text == "[]"


@pytest.mark.parametrize("how", ["ignores it", "waits for more"])
async def test_a_hanging_shutdown_is_cut(how):
    """It has `close_s`, and leaves no task."""
    ended = []

    async def lifespan(scope, receive, send):
        try:
            await receive()
            await send(STARTED)
            if how == "waits for more":
                await receive()
                await send(STOPPED)
                await receive()
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    with pytest.raises(AppError, match=r"did not end within 0\.01 s"):
        async with Client(lives(lifespan)) as client:
            client.close_s = 0.01
    assert ended == [True]


async def test_the_application_has_time_for_the_end_of_its_own_tasks(caplog):
    """A task that goes on for ever ends by `cleanup_s`, before the client's patience does."""
    assert Client.close_s >= 2 * Limits().cleanup_s
    app = Nardis(limits=Limits(cleanup_s=0.02))

    async with Client(app):
        app.tasks.start_soon(anyio.sleep_forever, name="poll")

    assert "were cancelled: poll; app.draining tells them when to end" in caplog.text


@pytest.mark.parametrize("phase", ["starting", "running"])
@pytest.mark.parametrize("swallows", [True, False])
async def test_a_wrong_event_is_a_violation(phase, swallows):
    """Raised into the application and in the test."""

    async def lifespan(scope, receive, send):
        await receive()
        if phase == "running":
            await send(STARTED)
            await receive()
        try:
            await send({"type": "lifespan.startup.finished"})
        except ASGIViolation:
            if not swallows:
                raise
        if phase == "starting":
            await send(STARTED)

    with pytest.raises(ASGIViolation, match=r"lifespan\.startup\.finished"):
        async with Client(lives(lifespan)):
            pass


async def test_a_wrong_event_passes_without_strict():
    """It is ignored."""

    async def lifespan(scope, receive, send):
        await send({"type": "lifespan.startup.finished"})
        await send(STARTED)
        await send(STARTED)

    async with Client(lives(lifespan), strict=False) as client:
        assert (await client.get("/")).text == "[]"


async def test_a_cancelled_start_leaves_no_task():
    """A startup that takes for ever can be given up."""
    ended = []

    async def lifespan(scope, receive, send):
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Client(lives(lifespan)).__aenter__)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert ended == [True]


async def test_a_cancelled_client_leaves_no_task():
    """Requests and lifespan end with the scope around them."""
    ended = []

    async def app(scope, receive, send):
        try:
            await receive()
            if scope["type"] == "lifespan":
                await send(STARTED)
            await anyio.sleep_forever()
        finally:
            ended.append(scope["type"])

    with anyio.CancelScope() as scope:
        async with Client(app) as client, client.stream("GET", "/"):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert sorted(ended) == ["http", "lifespan"]
