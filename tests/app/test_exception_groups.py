"""Exception groups are reduced to what there is to answer: error handlers see the error itself."""

from dataclasses import dataclass
from traceback import extract_tb

import anyio
import pytest

from nardis import ClientDisconnected, HTTPError, Nardis
from nardis._failures import failure_of
from nardis.testing import AppError, Client
from tests.peers.driver import tick_once

pytestmark = pytest.mark.anyio


def raises(error):
    async def handler(req, res):
        raise error

    return handler


def group(*errors):
    return ExceptionGroup("group", list(errors))


async def says(err, req, res):
    await res.status(500).send(f"{type(err).__name__} from {type(err.__cause__).__name__}")


async def fails(error):
    raise error


GONE = ClientDisconnected("gone")


@pytest.mark.parametrize(
    "error",
    [
        group(KeyError("k")),
        group(group(group(KeyError("k")))),
        group(KeyError("k"), GONE),
        group(GONE, group(GONE, group(KeyError("k"))), GONE),
    ],
    ids=["one", "nested", "beside a client that left", "among clients that left"],
)
async def test_one_remaining_error_stands_for_the_group(error):
    """Its `__cause__` keeps the group."""
    app = Nardis()
    app.error(KeyError)(says)
    app.get("/", raises(error))

    async with Client(app) as client:
        assert (await client.get("/")).text == "KeyError from ExceptionGroup"


class Single(Exception):
    """An error that is made by its own function alone."""

    def __new__(cls, *args, made=False):
        if not made:
            raise TypeError("make it by Single.of()")
        return super().__new__(cls, *args)

    def __init__(self, *args, made):
        super().__init__(*args)


def noted(error, note):
    error.add_note(note)
    return error


@pytest.mark.parametrize("leaf", [KeyError("k"), OSError(2, "no"), Single("s", made=True)])
async def test_the_cause_of_what_remains_tells_of_all_of_the_group(leaf):
    """It is a copy of the group with a copy of the error, where there can be one."""
    app, causes = Nardis(), []
    around = noted(group(GONE, noted(group(leaf), "inner")), "outer")

    @app.error(KeyError, OSError, Single)
    async def keeps(err, req, res):
        assert err is leaf
        causes.append(err.__cause__)
        await res.send()

    app.get("/", raises(around))

    async with Client(app) as client:
        await client.get("/")
    told, inner = causes[0], causes[0].exceptions[1]
    assert extract_tb(told.__traceback__) == extract_tb(around.__traceback__)
    assert (told.__notes__, inner.__notes__, told.exceptions[0]) == (["outer"], ["inner"], GONE)
    assert str(inner.exceptions[0]) == str(leaf)
    assert (inner.exceptions[0] is leaf) is isinstance(leaf, Single)


async def test_the_cause_shows_whose_task_group_it_was_without_the_insides_of_that():
    async def handler():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails, KeyError("k"))

    try:
        await handler()
    except ExceptionGroup as exc:
        told = failure_of(exc).__cause__
    shown = [frame.name for frame in extract_tb(told.__traceback__)]

    assert shown[-1] == "handler"
    assert "__aexit__" not in shown


def raised_from(error, origin):
    try:
        raise error from origin
    except type(error):
        return error


@pytest.mark.parametrize("origin", [ValueError("origin"), None])
async def test_the_cause_of_the_error_itself_is_told_once_each_time(origin):
    """Also of an error that is raised again and again, as one of a module is."""
    leaf = raised_from(KeyError("k"), origin)
    for _ in range(3):
        told = failure_of(group(leaf)).__cause__
        assert told.exceptions[0].__cause__ is origin
        assert told.exceptions[0].__suppress_context__


async def test_what_an_error_was_raised_beside_is_told():
    leaf, origin = KeyError("k"), ValueError("origin")
    leaf.__context__ = origin

    for _ in range(2):
        copy = failure_of(group(leaf)).__cause__.exceptions[0]
        assert (copy.__context__, copy.__suppress_context__) == (origin, False)


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


async def test_an_error_that_can_have_no_attributes_stands_for_its_group():
    app = Nardis()
    app.error(Frozen)(says)
    app.get("/", raises(group(Frozen(3))))

    async with Client(app) as client:
        assert (await client.get("/")).text == "Frozen from ExceptionGroup"


async def test_a_task_group_around_a_response_costs_no_error_handling():
    app = Nardis()
    app.error(KeyError)(says)

    @app.get("/:kind")
    async def handler(req, res):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            tasks.start_soon(
                fails, KeyError("k") if req.params["kind"] == "key" else HTTPError(418, "short")
            )

    async with Client(app) as client:
        assert (await client.get("/key")).text == "KeyError from ExceptionGroup"
        response = await client.get("/http")
        assert (response.status_code, response.text) == (418, "418 I'm a Teapot: short\n")


@pytest.mark.parametrize(
    "error", [group(KeyError("k"), ValueError("v")), group(group(HTTPError(404)), KeyError("k"))]
)
async def test_several_errors_are_a_500(error):
    app = Nardis()
    app.error(KeyError, ValueError, 404)(says)
    app.get("/", raises(error))

    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/")).text == "500 Internal Server Error\n"
    async with Client(app) as client:
        with pytest.raises(AppError) as caught:
            await client.get("/")
    assert caught.value.__cause__ is error


async def test_several_errors_can_be_answered_as_a_group():
    app = Nardis()
    app.error(ExceptionGroup)(says)
    app.get("/several", raises(group(KeyError("k"), ValueError("v"), GONE)))
    app.get("/one", raises(group(HTTPError(404))))

    async with Client(app) as client:
        assert (await client.get("/several")).text == "ExceptionGroup from NoneType"
        assert (await client.get("/one")).status_code == 404


async def test_a_group_of_clients_that_left_is_a_client_that_left(caplog):
    """Nobody is asked, nothing is logged as an error."""
    app, asked = Nardis(), []

    @app.error(Exception, ExceptionGroup)
    async def everything(err, req, res):
        asked.append(err)  # pragma: no cover - must not happen

    app.get("/", raises(group(GONE, group(GONE))))

    async with Client(app, raise_app_errors=False) as client:
        await client.get("/")
    assert (asked, [record for record in caplog.records if record.levelname == "ERROR"]) == ([], [])


async def test_what_an_error_handler_raises_is_reduced_too():
    app = Nardis()
    app.get("/", raises(ValueError("v")))

    @app.error(ValueError)
    async def handler(err, req, res):
        raise group(HTTPError(409, "from a group"))

    async with Client(app) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (409, "409 Conflict: from a group\n")


async def test_a_middleware_around_a_task_group_sees_an_answered_error_as_none():
    app, log = Nardis(), []

    @app.use
    async def grouped(req, res, next):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(next)
        log.append(res.status_code)

    app.get("/", raises(HTTPError(418)))

    async with Client(app) as client:
        assert (await client.get("/")).status_code == 418
    assert log == [418]


async def test_an_error_that_a_middleware_wraps_in_a_group_is_offered_as_what_it_is():
    """A task group around `next()` wraps a declined error: it is still the same, and asked once."""
    app, asked = Nardis(), []

    @app.use
    async def grouped(req, res, next):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(next)

    @app.error(KeyError)
    async def declines(err, req, res):
        asked.append(err)
        raise err

    app.get("/", raises(KeyError("k")))

    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/")).status_code == 500
    assert len(asked) == 1


async def test_an_error_of_a_group_that_is_cancelled_is_logged_and_not_raised(caplog):
    """The client left; an error of a task's clean-up comes in a group with cancellations."""
    app, waiting = Nardis(), anyio.Event()

    async def cleans_up_badly():
        try:
            waiting.set()
            await anyio.sleep_forever()
        finally:
            raise KeyError("in the clean-up")

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cleans_up_badly)
            tasks.start_soon(anyio.sleep_forever)
            await res.write("begun")
            await anyio.sleep_forever()

    async with Client(app, raise_app_errors=False) as client, client.stream("GET", "/") as response:
        await waiting.wait()
        await anext(response)
        tick_once(app)
        await response.disconnect()
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.exc_info[0] for record in errors] == [KeyError]
