"""`res.pipe()` closes its source inside the source's own scopes, and loses no error."""

import asyncio
import logging

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import Nardis, UsageError
from tests.peers.driver import Gate, Server, rest

pytestmark = pytest.mark.anyio

on_asyncio = pytest.mark.parametrize(
    "anyio_backend",
    [
        pytest.param(("asyncio", {}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ],
)


class Source:
    """An async iterator of two pieces, which then fails if it has an error; so does its close."""

    def __init__(self, error=None, close_error=None):
        self.error, self.close_error = error, close_error
        self.given = 0
        self.closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        await checkpoint()
        self.given += 1
        if self.given <= 2:
            return b"x"
        raise self.error or StopAsyncIteration

    async def aclose(self):
        await checkpoint()
        self.closed = True
        if self.close_error is not None:
            raise self.close_error


class Slow(Source):
    """A source whose close does not end by itself."""

    async def aclose(self):
        self.closed = True
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await checkpoint()


class Iterable:
    """What hands out an iterator that needs closing as well."""

    def __init__(self, iterator, close_error=None):
        self.iterator, self.close_error = iterator, close_error
        self.closed = False

    def __aiter__(self):
        return self.iterator

    async def aclose(self):
        await checkpoint()
        self.closed = True
        if self.close_error is not None:
            raise self.close_error


class Piping:
    """An application whose handler pipes a source, and notes the error that comes out."""

    def __init__(self, source):
        self.source = source
        self.error = None
        self.app = Nardis()
        self.app.get("/", self.handler)

    async def handler(self, req, res):
        try:
            await res.pipe(self.source)
        except BaseException as exc:
            self.error = exc
            if isinstance(exc, anyio.get_cancelled_exc_class()):
                raise
            res.set("x-error", "1") if not res.started else None
            await (res.abort() if res.started else res.send())

    async def run(self):
        """Serve one request, and return the error of `pipe()`."""
        async with Server(self.app) as server:
            self.call = await server.finished("/")
        return self.error


def logged(caplog):
    """
    Return the errors that were logged with their tracebacks.

    A cut response, which the application logs, is not one of them.
    """
    return [
        record.exc_info[1]
        for record in caplog.records
        if record.exc_info and "truncated=True" not in record.getMessage()
    ]


# --- scopes inside of the source ------------------------------------------------------------------


class Grouped:
    """
    A generator function with a task group.

    A task in it lives as long as the generator, or until it fails.
    """

    def __init__(self, *, waits=False):
        self.waits = waits
        self.begun = anyio.Event()
        self.failing = anyio.Event()
        self.log = []

    async def task(self):
        try:
            await self.failing.wait()
            raise KeyError("task")
        finally:
            self.log.append("task")

    async def __call__(self):
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self.task)
                yield b"first"
                self.begun.set()
                if self.waits:
                    await anyio.sleep_forever()
                yield b"second"
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await checkpoint()
            self.log.append("generator")


async def test_a_generator_with_a_task_group_is_piped_to_its_end(caplog):
    grouped = Grouped()
    piping = Piping(grouped())

    assert await piping.run() is None
    assert (piping.call.body, piping.call.final) == (b"firstsecond", True)
    assert grouped.log == ["task", "generator"]
    assert caplog.records == []


@pytest.mark.parametrize("phase", ["generator waits", "write waits"])
@pytest.mark.parametrize("how", ["the server cancels", "the client leaves"])
async def test_a_cancelled_handler_closes_a_generator_with_a_task_group_and_stays_cancelled(
    caplog, phase, how
):
    """
    On trio it said "Cancel scope stack corrupted".

    The group of GeneratorExit that `aclose()` raises is no error.
    """
    grouped = Grouped(waits=phase == "generator waits")
    piping = Piping(grouped())
    gate = Gate()

    async with Server(piping.app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2 if grouped.waits else 1)
        assert grouped.begun.is_set() is grouped.waits
        assert len(gate.held) == (0 if grouped.waits else 1)
        if how == "the server cancels":
            call.cancel_scope.cancel()
        else:
            await server.lose(call)
        await call.wait()

    assert isinstance(piping.error, anyio.get_cancelled_exc_class())
    assert not call.final_begun
    assert grouped.log == ["task", "generator"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_task_of_the_generator_that_fails_while_a_piece_is_sent_is_the_error(caplog):
    """Its group cancels the write, which runs inside it, and not the handler."""
    grouped = Grouped()
    piping = Piping(grouped())
    gate = Gate()

    async with Server(piping.app) as server:
        call = server.call("/", on_send=gate)
        await gate.let()
        grouped.failing.set()
        await call.wait()

    assert isinstance(piping.error, ExceptionGroup)
    assert [type(error) for error in piping.error.exceptions] == [KeyError]
    assert not call.final_begun
    assert not isinstance(call.error, anyio.get_cancelled_exc_class())
    assert grouped.log == ["task", "generator"]
    assert logged(caplog) == []


async def test_an_error_in_the_loop_beside_a_task_group_is_the_error(caplog):
    async def numbers():
        async with anyio.create_task_group():
            yield 5

    assert isinstance(await Piping(numbers()).run(), UsageError)
    assert logged(caplog) == []


async def test_errors_of_a_task_group_beside_one_in_the_loop_are_logged_without_generator_exits(
    caplog,
):
    async def numbers():
        async with anyio.create_task_group() as group:
            try:
                yield 5
            finally:
                group.start_soon(fail)

    async def fail():
        raise KeyError("task")

    assert isinstance(await Piping(numbers()).run(), UsageError)
    (error,) = logged(caplog)
    assert [type(each) for each in error.exceptions] == [KeyError]


class Scoped:
    """A generator function with a cancel scope around its `yield`."""

    async def __call__(self):
        with anyio.CancelScope() as self.scope:
            yield b"x"
        raise NotImplementedError  # pragma: no cover: it is closed at its `yield`


async def test_a_scope_of_the_source_that_cuts_a_write_is_a_mistake_of_the_source():
    """The piece is half sent, and no scope of the handler is cancelled."""
    scoped = Scoped()
    piping = Piping(scoped())
    gate = Gate()

    async with Server(piping.app) as server:
        call = server.call("/", on_send=gate)
        await gate.let()
        scoped.scope.cancel()
        await call.wait()

    assert isinstance(piping.error, UsageError)
    assert "a cancel scope inside of Scoped.__call__" in str(piping.error)
    assert not call.final_begun


async def test_cancelled_scopes_of_the_source_and_the_handler_let_the_cancellation_go_on(
    caplog,
):
    scoped = Scoped()
    piping = Piping(scoped())
    gate = Gate()

    async with Server(piping.app) as server:
        call = server.call("/", on_send=gate)
        await gate.let()
        scoped.scope.cancel()
        call.cancel_scope.cancel()
        await call.wait()

    assert isinstance(piping.error, anyio.get_cancelled_exc_class())
    assert logged(caplog) == []


async def test_a_timeout_around_pipe_is_caught_outside_of_it():
    grouped, outcome = Grouped(waits=True), []
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(res.pipe, grouped())
                await grouped.begun.wait()
                scope.cancel()
        outcome.append(scope.cancelled_caught)
        await res.abort()

    async with Server(app) as server:
        await server.finished("/")

    assert outcome == [True]
    assert grouped.log == ["task", "generator"]


# --- errors of the close --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("loop"), SystemExit(3), BaseExceptionGroup("loop", [SystemExit(3)])]
)
async def test_an_error_of_the_source_is_the_error_of_pipe(caplog, error):
    source = Source(error)
    piping = Piping(source)

    raised = await piping.run()

    assert raised is error
    assert source.closed
    assert (piping.call.body, piping.call.final) == (b"xx", False)
    assert logged(caplog) == []


@pytest.mark.parametrize(
    "error", [KeyError("close"), SystemExit(3), BaseExceptionGroup("close", [SystemExit(3)])]
)
async def test_a_close_that_fails_alone_is_the_error(caplog, error):
    piping = Piping(Source(close_error=error))

    raised = await piping.run()

    assert raised is error or raised.exceptions == error.exceptions
    assert piping.call.final
    assert logged(caplog) == []


@pytest.mark.parametrize(
    "close_error", [KeyError("close"), SystemExit(3), ExceptionGroup("close", [KeyError()])]
)
async def test_the_first_error_wins_and_the_failing_close_is_logged(caplog, close_error):
    error = ValueError("loop")

    assert await Piping(Source(error, close_error)).run() is error
    (found,) = logged(caplog)
    assert found is close_error or found.exceptions == close_error.exceptions
    assert "closing Source failed" in caplog.text


async def test_a_group_of_nothing_but_generator_exit_is_no_error(caplog):
    group = BaseExceptionGroup("a", [GeneratorExit(), BaseExceptionGroup("b", [GeneratorExit()])])

    assert await Piping(Source(close_error=group)).run() is None
    assert caplog.records == []


async def test_a_close_that_fails_beside_a_cancellation_is_logged_and_the_cancellation_goes_on(
    caplog,
):
    error = KeyError("close")
    piping = Piping(Source(close_error=error))
    gate = Gate()

    async with Server(piping.app) as server:
        call = server.call("/", on_send=gate)
        await gate.let()
        call.cancel_scope.cancel()
        await call.wait()

    assert isinstance(piping.error, anyio.get_cancelled_exc_class())
    assert logged(caplog) == [error]


async def test_iterator_and_source_are_closed_whatever_the_other_does(caplog):
    iterator = Source(close_error=KeyError("iterator"))
    source = Iterable(iterator, ValueError("source"))

    piping = Piping(source)

    assert await piping.run() is iterator.close_error
    assert piping.call.final
    assert iterator.closed
    assert source.closed
    assert logged(caplog) == [source.close_error]


@on_asyncio
async def test_a_cancellation_of_asyncio_itself_goes_on(caplog):
    """As `asyncio.timeout` and `asyncio.TaskGroup` make it: no cancel scope knows of it."""
    grouped = Grouped(waits=True)
    app, outcome = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        task = asyncio.create_task(res.pipe(grouped()))
        await grouped.begun.wait()
        task.cancel()
        outcome.extend(await asyncio.gather(task, return_exceptions=True))
        await res.abort()

    async with Server(app) as server:
        await server.finished("/")

    assert [type(each) for each in outcome] == [asyncio.CancelledError]
    assert grouped.log == ["task", "generator"]
    assert logged(caplog) == []


@on_asyncio
@pytest.mark.parametrize("error", [None, ValueError("loop")])
async def test_a_cancellation_of_asyncio_itself_takes_the_place_of_an_error_which_is_logged(
    caplog, error
):
    """No shield keeps it off a close."""
    source = Slow(error)
    app, outcome = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        task = asyncio.create_task(res.pipe(source))
        await rest()
        assert source.closed
        task.cancel()
        outcome.extend(await asyncio.gather(task, return_exceptions=True))
        await res.abort()

    async with Server(app) as server:
        await server.finished("/")

    assert [type(each) for each in outcome] == [asyncio.CancelledError]
    assert logged(caplog) == ([error] if error else [])


@on_asyncio
async def test_two_cancellations_are_one(caplog):
    """The second comes from asyncio itself, while the first one closes the source."""
    source = Slow()
    piping = Piping(source)
    gate = Gate()
    tasks = []

    async def on_send(message):
        tasks[:] = [asyncio.current_task()]
        await gate(message)

    async with Server(piping.app) as server:
        call = server.call("/", on_send=on_send)
        await gate.let()
        call.cancel_scope.cancel()
        await rest()
        assert source.closed
        assert not call.ended.is_set()
        tasks[0].cancel()
        await call.wait()

    assert isinstance(piping.error, asyncio.CancelledError)
    assert logged(caplog) == []


@on_asyncio
async def test_a_cancellation_in_a_group_of_the_close_goes_on(caplog):
    """Some other code than anyio's may make such a group."""
    source = Source(
        ValueError("loop"), BaseExceptionGroup("close", [asyncio.CancelledError(), KeyError()])
    )

    raised = await Piping(source).run()

    assert isinstance(raised, BaseExceptionGroup)
    assert logged(caplog) == [source.error]


# --- the time of a close --------------------------------------------------------------------------


@pytest.fixture
def no_time(monkeypatch):
    monkeypatch.setattr("nardis._sources.closing.CLOSE_S", 0.0)


async def test_a_close_that_takes_too_long_is_cut_and_logged(caplog, no_time):
    source = Slow()
    piping = Piping(source)

    assert await piping.run() is None
    assert source.closed
    assert piping.call.final
    assert [record.getMessage() for record in caplog.records] == [
        "closing Slow took longer than 0.0 s"
    ]


async def test_an_error_outlives_a_close_that_is_cut(caplog, no_time):
    error = ValueError("loop")

    assert await Piping(Slow(error)).run() is error
    assert "closing Slow took longer" in caplog.text


async def test_a_cancellation_outlives_a_close_that_is_cut(caplog, no_time):
    piping = Piping(Slow())
    gate = Gate()

    async with Server(piping.app) as server:
        call = server.call("/", on_send=gate)
        await gate.let()
        call.cancel_scope.cancel()
        await call.wait()

    assert isinstance(piping.error, anyio.get_cancelled_exc_class())
    assert "closing Slow took longer" in caplog.text


async def test_the_source_has_its_own_time_when_its_iterator_took_all(caplog, monkeypatch):
    class Impatient(Iterable):
        def __aiter__(self):
            monkeypatch.setattr("nardis._sources.closing.CLOSE_S", 0.0)
            return super().__aiter__()

    source = Impatient(Slow())

    assert await Piping(source).run() is None
    assert source.iterator.closed
    assert source.closed
    assert [record.getMessage() for record in caplog.records] == [
        "closing Slow took longer than 0.0 s"
    ]


@pytest.mark.parametrize("verb", ["pipe", "ndjson"])
async def test_a_source_that_raises_generator_exit_is_closed(verb):
    """It is an error of the source, and not the end of whoever waits for it."""
    source, app = Source(GeneratorExit()), Nardis()

    @app.get("/")
    async def handler(req, res):
        await (res.pipe(source) if verb == "pipe" else res.ndjson(map_to_text(source)))

    async def map_to_text(given):
        try:
            async for piece in given:
                yield piece.decode()
        finally:
            await given.aclose()

    async with Server(app) as server:
        call = await server.finished("/")

    assert source.closed
    assert call.aborted
