"""`app.tasks`: background work that ends with the application."""

import anyio
import pytest

from nardis import Limits, Nardis, UsageError
from nardis.errors import LifespanRequired
from nardis.testing import Client

pytestmark = pytest.mark.anyio


async def test_a_task_outlives_its_request():
    app, started, go, done = Nardis(), anyio.Event(), anyio.Event(), anyio.Event()

    async def work(a, b):
        started.set()
        await go.wait()
        assert (a, b) == (1, 2)
        done.set()

    @app.get("/")
    async def index(req, res):
        app.tasks.start_soon(work, 1, 2)
        await res.send("begun")

    async with Client(app) as client:
        assert (await client.get("/")).text == "begun"
        await started.wait()
        assert not done.is_set()
        go.set()
        await done.wait()


async def test_a_task_has_the_name_it_was_given():
    app, names, done = Nardis(), [], anyio.Event()

    async def work():
        names.append(anyio.get_current_task().name)
        if len(names) == 2:
            done.set()

    async with Client(app):
        app.tasks.start_soon(work, name="my work")
        app.tasks.start_soon(work)
        await done.wait()
    assert "my work" in names
    assert any("work" in name and name != "my work" for name in names)


async def test_a_failing_task_is_logged_and_takes_nothing_down(caplog):
    app, go, done = Nardis(), anyio.Event(), anyio.Event()

    async def fails():
        raise KeyError("in the background")

    async def other():
        await go.wait()
        done.set()

    @app.get("/")
    async def index(req, res):
        await res.send("still here")

    async with Client(app) as client:
        app.tasks.start_soon(other)
        app.tasks.start_soon(fails)
        await anyio.wait_all_tasks_blocked()
        assert (await client.get("/")).text == "still here"
        go.set()
        await done.wait()
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info[0] is KeyError
    assert "fails" in record.getMessage()


async def test_the_shutdown_waits_for_tasks():
    app, log = Nardis(), []

    @app.lifespan
    async def lifespan(given):
        yield
        log.append("after yield")

    async def work():
        await app.draining.wait()
        await anyio.lowlevel.checkpoint()
        log.append("task")

    async with Client(app):
        app.tasks.start_soon(work)
    assert log == ["task", "after yield"]


async def test_the_shutdown_cancels_tasks_that_take_too_long(caplog):
    """The log names them: it waited for them."""
    app, log = Nardis(limits=Limits(cleanup_s=0.02)), []

    async def work():
        try:
            await anyio.sleep_forever()
        finally:
            log.append("cancelled")

    async with Client(app):
        app.tasks.start_soon(work, name="poller")
        app.tasks.start_soon(work, name="poller")
        app.tasks.start_soon(anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
    assert log == ["cancelled"] * 2
    assert [each.getMessage() for each in caplog.records if each.levelname == "WARNING"] == [
        "tasks still ran 0.02 s into their shutdown, and were cancelled: poller, sleep_forever; "
        "app.draining tells them when to end"
    ]


async def test_tasks_need_a_lifespan():
    app = Nardis()

    async def work():
        pytest.fail("must not run")  # pragma: no cover - must not happen

    with pytest.raises(LifespanRequired, match="async with Client"):
        app.tasks.start_soon(work)
    async with Client(app):
        pass
    with pytest.raises(UsageError, match=r"app\.tasks"):
        app.tasks.start_soon(work)


async def test_a_lifespan_can_start_tasks_before_its_yield():
    """The usual place to start a poller; it runs once the application has started."""
    app, ran = Nardis(), anyio.Event()

    async def poller():
        ran.set()

    @app.lifespan
    async def lifespan(given):
        given.tasks.start_soon(poller)
        yield

    async with Client(app):
        await ran.wait()


async def test_a_joined_application_has_tasks_of_its_own():
    """Its handlers and its lifespan may use `joined.tasks` wherever it is joined."""
    app, joined, ran = Nardis(), Nardis(), anyio.Event()

    async def work():
        ran.set()

    @joined.get("/")
    async def index(req, res):
        joined.tasks.start_soon(work)
        await res.send("begun")

    app.use("/joined", joined)

    async with Client(app) as client:
        assert (await client.get("/joined")).text == "begun"
        await ran.wait()


async def test_a_task_may_start_another():
    app, ran = Nardis(), anyio.Event()

    async def inner():
        ran.set()

    async def outer():
        app.tasks.start_soon(inner)

    async with Client(app):
        app.tasks.start_soon(outer)
        await ran.wait()


async def work(n):
    pytest.fail("must not run")  # pragma: no cover - must not happen


@pytest.mark.parametrize(
    ("give", "told"),
    [
        (lambda: work(1), r"the function and its arguments.*: write \S+\(work, \.\.\.\)"),
        (lambda: "text", "takes an async function and its arguments, not 'text'"),
    ],
    ids=["coroutine", "text"],
)
async def test_what_is_no_function_is_refused_where_it_is_given(give, told):
    """Nothing is left of a coroutine for Python to warn of."""
    app = Nardis()

    @app.get("/")
    async def index(req, res):
        with pytest.raises(UsageError, match=f"^req.defer.*{told}"):
            req.defer(give())
        await res.send("ok")

    async with Client(app) as client:
        with pytest.raises(UsageError, match=f"^app.tasks.start_soon.*{told}"):
            app.tasks.start_soon(give())
        assert (await client.get("/")).text == "ok"


async def test_what_is_not_async_is_logged_as_such_and_takes_nothing_down(caplog):
    """It has run: that shows only when it was called."""
    app, ran = Nardis(), []

    def sync():
        ran.append(True)

    @app.get("/")
    async def index(req, res):
        req.defer(sync)
        await res.send("ok")

    async with Client(app) as client:
        app.tasks.start_soon(sync, name="wrong")
        await anyio.wait_all_tasks_blocked()
        assert (await client.get("/")).text == "ok"
    told = [str(each.exc_info[1]) for each in caplog.records if each.levelname == "ERROR"]
    assert [each.partition("(")[0] for each in told] == ["app.tasks.start_soon", "req.defer"]
    assert all("sync() is none: it has run" in each for each in told)
    assert len(ran) == 2
