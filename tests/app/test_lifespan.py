"""What happens around the life of an application."""

from contextlib import asynccontextmanager

import anyio
import pytest

from nardis import Nardis, Router, UsageError
from nardis.testing import AppError, Client

from ._driver import Lifespan

pytestmark = pytest.mark.anyio


def living(app, log, name):
    """Give *app* a lifespan that records its beginning and its end."""

    @app.lifespan
    async def lifespan(given):
        assert given is app
        log.append(f"{name} starts")
        given.state.name = name
        yield
        log.append(f"{name} ends")

    return app


async def test_the_lifespan_runs_around_all_requests():
    app, log = Nardis(), []
    living(app, log, "app")

    @app.get("/")
    async def index(req, res):
        log.append("request")
        await res.send(app.state.name)

    async with Client(app) as client:
        assert log == ["app starts"]
        assert (await client.get("/")).text == "app"
    assert log == ["app starts", "request", "app ends"]


async def test_lifespan_gives_its_function_back():
    async def lifespan(app):
        yield  # pragma: no cover - never run

    assert Nardis().lifespan(lifespan) is lifespan


async def coroutine(app):
    pytest.fail("must not run")  # pragma: no cover - must not happen


def generator(app):
    yield  # pragma: no cover - must not happen


async def async_generator(app):
    yield


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (coroutine, r"coroutine\(\) has no `yield`"),
        (generator, r"generator\(\) is not async: write `async def`"),
        (
            asynccontextmanager(async_generator),
            r"generator\(\) is .*leave out @asynccontextmanager",
        ),
    ],
    ids=["coroutine", "generator", "context-manager"],
)
def test_what_cannot_be_a_lifespan_is_refused_where_it_is_given(function, told):
    """Another framework wants it, or it is a slip. At the start it would fail without a name."""
    with pytest.raises(UsageError, match=told):
        Nardis().lifespan(function)


async def test_a_function_that_returns_an_async_iterator_is_a_lifespan():
    """As decorators make them."""
    app = Nardis()
    app.lifespan(lambda given: async_generator(given))

    async with Client(app):
        pass


@pytest.mark.parametrize("made", [None, coroutine], ids=["nothing", "coroutine"])
async def test_a_function_that_returns_something_else_is_named_at_the_start(made):
    app = Nardis()

    @app.lifespan
    def lifespan(given):
        return made and made(given)

    with pytest.raises(AppError, match=r"lifespan\(\) is not async"):
        async with Client(app):
            pytest.fail("must not start")  # pragma: no cover - must not happen


async def test_a_value_that_a_lifespan_yields_is_refused_at_the_start():
    """Starlette would make it the state of requests; here it would be lost without a word."""
    app, log = Nardis(), []

    @app.lifespan
    async def lifespan(given):
        try:
            yield {"pool": "open"}
        finally:
            log.append("closed")

    with pytest.raises(AppError, match=r"lifespan\(\) yields a value.*app\.state"):
        async with Client(app):
            pytest.fail("must not start")  # pragma: no cover - must not happen
    assert log == ["closed"]


async def test_an_application_has_one_lifespan():
    app = living(Nardis(), [], "app")

    with pytest.raises(UsageError, match="a lifespan already"):
        living(app, [], "again")


async def test_an_application_without_one_says_that_it_is_ready():
    app = Nardis()
    async with anyio.create_task_group() as group:
        lifespan = await group.start(Lifespan(app).run)
        await lifespan.stop()
    assert [message["type"] for message in lifespan.sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_lifespans_of_joined_applications_run_inside_the_parents():
    """Also of those joined to joined ones or to their routers; each once."""
    app, first, second, deep = Nardis(), Nardis(), Nardis(), Nardis()
    log, router = [], Router()
    for each, name in ((deep, "deep"), (app, "app"), (second, "second"), (first, "first")):
        living(each, log, name)
    app.use("/1", first)
    app.use("/again", first)
    app.use(second)
    router.use(deep)
    first.use("/router", router)

    async with Client(app):
        assert log == ["app starts", "first starts", "second starts", "deep starts"]
        log.clear()
    assert log == ["deep ends", "second ends", "first ends", "app ends"]
    assert first.state.name == "first"


@pytest.mark.parametrize("joined", [False, True])
async def test_a_failed_startup_says_why(joined, caplog):
    """What had started before is ended, and no request is served."""
    app, log = living(Nardis(), log := [], "app"), log
    broken = Nardis()

    @broken.lifespan
    async def lifespan(given):
        raise ConnectionError("no database")
        yield  # an async generator has one

    if joined:
        app.use(broken)

    told = (
        r"lifespan\.startup\.failed: ConnectionError: no database \(test_lifespan\.py, line \d+\)"
    )
    with pytest.raises(AppError, match=told) as caught:
        async with Client(app if joined else broken):
            pytest.fail("must not start")  # pragma: no cover - must not happen
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert not [
        record for record in caplog.records if record.levelname == "ERROR"
    ]  # the server tells, in a line
    if joined:
        assert log[0] == "app starts"


async def test_a_startup_that_fails_ends_what_had_started():
    """A `finally` of the parent's lifespan runs."""
    app, broken, log = Nardis(), Nardis(), []

    @app.lifespan
    async def outer(given):
        try:
            yield
        finally:
            log.append("closed")

    @broken.lifespan
    async def inner(given):
        raise ConnectionError
        yield

    app.use(broken)

    with pytest.raises(AppError, match="ConnectionError"):
        async with Client(app):
            pytest.fail("must not start")  # pragma: no cover - must not happen
    assert log == ["closed"]


async def test_a_failed_shutdown_says_why():
    app = Nardis()

    @app.lifespan
    async def lifespan(given):
        yield
        raise ConnectionError("no goodbye")

    with pytest.raises(AppError, match=r"lifespan\.shutdown\.failed: ConnectionError: no goodbye"):
        async with Client(app):
            pass


async def test_a_failed_shutdown_of_one_ends_the_others():
    app, joined, log = Nardis(), Nardis(), []

    @app.lifespan
    async def outer(given):
        try:
            yield
        finally:
            log.append("closed")

    @joined.lifespan
    async def inner(given):
        yield
        raise ConnectionError("no goodbye")

    app.use(joined)

    with pytest.raises(AppError, match="no goodbye"):
        async with Client(app):
            pass
    assert log == ["closed"]


async def test_a_lifespan_that_does_not_yield_is_a_failed_startup():
    app = Nardis()

    @app.lifespan
    async def lifespan(given):
        if given is None:
            yield  # pragma: no cover - it never does

    with pytest.raises(AppError, match=r"startup\.failed.*yield"):
        async with Client(app):
            pytest.fail("must not start")  # pragma: no cover - must not happen


async def test_a_lifespan_may_hold_a_task_group():
    """It is entered and left in one task, so scopes in it nest as written."""
    app, log = Nardis(), []

    @app.lifespan
    async def lifespan(given):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            yield
            group.cancel_scope.cancel()
        log.append("ended")

    async with Client(app):
        pass
    assert log == ["ended"]


async def test_an_application_can_live_again():
    app, log = Nardis(), []
    living(app, log, "app")

    for _ in range(2):
        async with Client(app):
            pass
    assert log == ["app starts", "app ends"] * 2


async def test_a_lifespan_goes_on_where_another_one_inside_it_has_ended():
    """Clients of a test may overlap: tasks and the notice to drain are those of the first again."""
    app, done = Nardis(), []
    app.use("/joined", joined := Nardis())

    async def note(path):
        done.append(path)

    @app.get("/*path")
    @joined.get("/")
    async def handler(req, res):
        req.app.tasks.start_soon(note, req.original_url)
        joined.tasks.start_soon(note, "joined")
        await res.send(f"draining: {app.draining.is_set()}, {joined.draining.is_set()}")

    async with Client(app) as first:
        async with Client(app) as second:
            assert (await second.get("/second")).text == "draining: False, False"
        assert (await first.get("/first")).text == "draining: False, False"
    assert sorted(done) == ["/first", "/second", "joined", "joined"]


async def test_state_is_shared_by_all_requests():
    app = Nardis()
    app.state.count = 0

    @app.get("/")
    async def count(req, res):
        req.app.state.count += 1
        await res.json(app.state.count)

    async with Client(app) as client:
        assert [(await client.get("/")).json() for _ in range(3)] == [1, 2, 3]
