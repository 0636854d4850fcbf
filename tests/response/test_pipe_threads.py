"""A sync iterator that is piped has one thread for its whole life, and one context."""

import asyncio
import contextvars
import logging
import sqlite3
import threading
import traceback
from collections import deque
from types import SimpleNamespace

import anyio
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint

from nardis import Nardis, UsageError
from nardis._sending.sources import pump
from nardis._sources.closing import Closing
from nardis._sources.stepper import Stepper, steps_in_flight
from nardis.testing import Client
from tests.peers.driver import Gate, Server, rest

pytestmark = pytest.mark.anyio

on_asyncio = pytest.mark.parametrize(
    "anyio_backend",
    [
        pytest.param(("asyncio", {}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ],
)

WAIT_S = 20  # for what must happen: a thread waits so long only when it does not

colour = contextvars.ContextVar("colour", default="none")


def threads():
    """Return the threads of generators that there are now."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("nardis.pipe")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    """It is gone when `pipe()` returns, and not only later."""
    assert threads() == []
    yield
    assert threads() == []


class Rows:
    """A generator function that can wait in a given step, and notes the threads it was in."""

    def __init__(self, *, block_at=None, error=None, close_error=None):
        self.block_at = block_at
        self.error, self.close_error = error, close_error
        self.blocked, self.let_on = threading.Event(), threading.Event()
        self.threads = []
        self.closed = False

    def __call__(self):
        try:
            for n in range(3):
                self.threads.append(threading.current_thread())
                if n == self.block_at:
                    self.block()
                    if self.error is not None:
                        raise self.error
                yield b"%d" % n
        finally:
            self.threads.append(threading.current_thread())
            self.closed = True
            if self.close_error is not None:
                raise self.close_error

    def block(self):
        self.blocked.set()
        assert self.let_on.wait(WAIT_S)

    async def until_blocked(self):
        with anyio.fail_after(WAIT_S):
            while not self.blocked.is_set():
                await checkpoint()


class Pieces:
    """An iterator of *pieces* whose close calls a function."""

    def __init__(self, *pieces, on_close):
        self.pieces, self.on_close = list(pieces), on_close
        self.threads = []

    def __iter__(self):
        return self

    def __next__(self):
        self.threads.append(threading.current_thread())
        if not self.pieces:
            raise StopIteration
        return self.pieces.pop(0)

    def close(self):
        self.threads.append(threading.current_thread())
        self.on_close()


def raising(error):
    """Make a function that raises *error*."""

    def fail():
        raise error

    return fail


def piping(make):
    """Make an application that pipes what *make* gives, and a list of the errors of `pipe()`."""
    app, errors = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        try:
            await res.pipe(make())
        except BaseException as exc:
            errors.append(exc)
            if isinstance(exc, anyio.get_cancelled_exc_class()):
                raise
            await res.abort()

    return app, errors


async def test_rows_of_sqlite_are_piped_whole(tmp_path):
    """A connection of sqlite3 refuses every thread but the one that made it."""
    path = tmp_path / "rows.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE rows (n INTEGER, name TEXT)")
    connection.executemany("INSERT INTO rows VALUES (?, ?)", [(n, f"row {n}") for n in range(4)])
    connection.commit()
    connection.close()

    def rows():
        connection = sqlite3.connect(path)
        try:
            for n, name in connection.execute("SELECT n, name FROM rows ORDER BY n"):
                yield f"{n}: {name}\n"
        finally:
            connection.close()

    async def some_other_work():
        while True:
            await anyio.to_thread.run_sync(int)

    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as group:
            group.start_soon(some_other_work)
            await res.pipe(rows())
            group.cancel_scope.cancel()

    async with Client(app) as client:
        assert (await client.get("/")).text == "0: row 0\n1: row 1\n2: row 2\n3: row 3\n"


async def test_each_step_and_the_close_are_in_one_thread():
    rows, others = Rows(), Rows()
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as group:
            group.start_soon(res.pipe, rows())
            group.start_soon(others_too)

    async def others_too():
        assert (await client.get("/others")).content == b"012"

    @app.get("/others")
    async def other_handler(req, res):
        await res.pipe(others())

    async with Client(app) as client:
        assert (await client.get("/")).content == b"012"

    for each in (rows, others):
        assert len(each.threads) == 4
        assert len(set(each.threads)) == 1
    assert rows.threads[0] is not others.threads[0]
    assert threading.current_thread() not in rows.threads + others.threads


async def test_context_variables_last_from_step_to_step():
    """The generator begins with those of its handler, and what it sets stays its own."""
    seen = []

    def rows():
        seen.append(colour.get())
        colour.set("blue")
        yield b"x"
        seen.append(colour.get())
        colour.set("green")
        try:
            yield b"y"
        finally:
            seen.append(colour.get())

    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        colour.set("red")
        await res.pipe(rows())
        seen.append(colour.get())

    async with Client(app) as client:
        assert (await client.get("/")).content == b"xy"

    assert seen == ["red", "blue", "green", "red"]


class Table:
    """An iterable that is no iterator: rows, with a connection that belongs to its thread."""

    def __init__(self, last=b"c", close_error=None):
        self.last, self.close_error = last, close_error
        self.threads = []
        self.iterator_closed = False

    def __iter__(self):
        self.threads.append(threading.current_thread())
        try:
            yield b"a"
            yield b"b"
            yield self.last
        finally:
            self.iterator_closed = True
            self.threads.append(threading.current_thread())
            if self.close_error is not None:
                raise KeyError("iterator")

    def close(self):
        self.threads.append(threading.current_thread())
        if self.close_error is not None:
            raise self.close_error


@pytest.mark.parametrize("last", [b"c", 5], ids=["ends", "fails"])
async def test_iter_and_both_closes_of_an_iterable_are_in_that_thread(last):
    table = Table(last)
    app, errors = piping(lambda: table)

    async with Server(app) as server:
        call = await server.finished("/")

    assert call.body == (b"ab" if errors else b"abc")
    assert [type(error) for error in errors] == ([UsageError] if last == 5 else [])
    assert len(table.threads) == 3
    assert len(set(table.threads)) == 1


async def test_an_iterable_without_a_close_is_piped_as_well():
    class Letters:
        def __iter__(self):
            return map(str.encode, "ab")

    app, errors = piping(Letters)

    async with Server(app) as server:
        call = await server.finished("/")

    assert (call.body, errors) == (b"ab", [])


@pytest.mark.parametrize(
    "source", [[b"a"], (b"a",), {b"a"}, frozenset([b"a"]), {b"a": 1}, deque([b"a"])]
)
async def test_what_is_in_memory_needs_no_thread(serve, monkeypatch, source):
    async def handler(req, res):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", None)
            await res.pipe(source)

    assert (await serve(handler)).content == b"a"


async def test_head_closes_a_generator_and_gives_it_no_step(serve):
    rows, table = Rows(), Table()

    async def handler(req, res):
        await res.pipe(rows())

    async def table_handler(req, res):
        await res.pipe(table)

    assert (await serve(handler, "HEAD")).complete
    assert (await serve(table_handler, "HEAD")).complete
    assert rows.threads == []
    assert len(table.threads) == 1
    assert threading.current_thread() not in table.threads


@pytest.mark.parametrize("started", [False, True], ids=["HEAD", "GET"])
async def test_a_close_that_is_awaited_is_awaited_in_the_event_loop(serve, started):
    class Cursor:
        closed = None

        def __iter__(self):
            return iter([b"a"])

        async def aclose(self):
            await checkpoint()
            Cursor.closed = threading.current_thread()

    async def handler(req, res):
        await res.pipe(Cursor())

    assert (await serve(handler, "GET" if started else "HEAD")).content == (
        b"a" if started else b""
    )
    assert Cursor.closed is threading.current_thread()


# --- many of them ---------------------------------------------------------------------------------


async def test_sixty_generators_that_wait_do_not_delay_a_file(tmp_path):
    """Files have the worker threads for themselves: anyio has 40."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 4096)
    waiting = [Rows(block_at=1) for _ in range(60)]
    app = Nardis()

    @app.get("/rows/:n")
    async def rows(req, res):
        await res.pipe(waiting[int(req.params["n"])]())

    @app.get("/file")
    async def file(req, res):
        await res.pipe(path.open("rb"))

    async with Client(app) as client, anyio.create_task_group() as group:
        for n in range(60):
            group.start_soon(client.get, f"/rows/{n}")
        for each in waiting:
            await each.until_blocked()
        assert len(threads()) == 60

        assert len((await client.get("/file")).content) == 4096

        assert not any(each.closed for each in waiting)
        for each in waiting:
            each.let_on.set()

    assert all(each.closed for each in waiting)


async def test_beyond_the_bound_a_generator_waits_for_its_first_step(monkeypatch):
    """First come, first served. One that is cancelled while it waits lets the next one pass."""
    monkeypatch.setattr("nardis._sources.stepper.MOST_THREADS", 1)
    all_rows = [Rows(block_at=0), Rows(), Rows()]
    making = iter(all_rows)
    app, errors = piping(lambda: next(making)())

    async with Server(app) as server:
        first = server.call("/")
        await all_rows[0].until_blocked()
        second = server.call("/")
        await rest()
        third = server.call("/")
        await rest()
        assert len(threads()) == 1
        second.cancel_scope.cancel()
        await second.wait()
        assert not third.ended.is_set()
        all_rows[0].let_on.set()
        for call in (first, third):
            await call.wait()
            assert (call.body, call.final) == (b"012", True)

    assert [len(rows.threads) for rows in all_rows] == [4, 0, 4]
    assert [type(error) for error in errors] == [anyio.get_cancelled_exc_class()]


async def test_where_no_thread_can_be_made_it_is_an_error_and_the_next_one_has_its_chance(
    monkeypatch,
):
    monkeypatch.setattr("nardis._sources.stepper.MOST_THREADS", 1)
    start = threading.Thread.start

    def refuse(self):
        if self.name.startswith("nardis.pipe"):
            raise RuntimeError("can't start new thread")
        start(self)

    rows = [Rows(), Rows()]
    making = iter(rows)
    app, errors = piping(lambda: next(making)())

    async with Server(app) as server:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            await server.finished("/")
        call = await server.finished("/")

    assert [str(error) for error in errors] == ["can't start new thread"]
    assert call.body == b"012"


def failures(caplog):
    """Return the errors that were logged beside others, or because nobody waited for them."""
    return [
        record.exc_info[1]
        for record in caplog.records
        if record.exc_info and "truncated" not in record.getMessage()
    ]


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [KeyError("row"), SystemExit(3), KeyboardInterrupt(), BaseExceptionGroup("a", [SystemExit(3)])],
)
async def test_an_error_of_the_generator_arrives_with_its_traceback(error):
    rows = Rows(block_at=1, error=error)
    rows.let_on.set()
    app, errors = piping(rows)

    async with Server(app) as server:
        await server.finished("/")

    assert errors == [error]
    assert "raise self.error" in "".join(traceback.format_exception(errors[0]))
    assert len(set(rows.threads)) == 1


async def test_an_error_of_iter_is_that_of_the_first_step():
    class Closed:
        closed = 0

        def __iter__(self):
            raise ValueError("closed")

        def close(self):
            self.closed += 1

    source = Closed()
    app, errors = piping(lambda: source)

    async with Server(app) as server:
        await server.finished("/")

    assert [str(error) for error in errors] == ["closed"]
    assert source.closed == 1


@pytest.mark.parametrize("error", [StopAsyncIteration(), StopIteration()])
async def test_no_error_of_a_step_looks_like_the_end(error):
    """
    A generator cannot raise these two, other code can.

    StopIteration out of `iter()` is no end either.
    """

    class Iterator:
        def __iter__(self):
            if isinstance(error, StopIteration):
                raise error
            return self

        def __next__(self):
            raise error

    app, errors = piping(Iterator)

    async with Server(app) as server:
        await server.finished("/")

    assert [type(each) for each in errors] == [RuntimeError]
    assert errors[0].__cause__ is error


@pytest.mark.parametrize("error", [KeyError("close"), SystemExit(3)])
async def test_a_close_that_fails_alone_is_the_error(error):
    pieces = Pieces(b"a", on_close=raising(error))
    app, errors = piping(lambda: pieces)

    async with Server(app) as server:
        call = await server.finished("/")

    assert errors == [error]
    assert (call.body, call.final) == (b"a", True)
    assert len(set(pieces.threads)) == 1


async def test_an_error_in_the_close_beside_one_in_the_loop_is_logged(caplog):
    error = ValueError("close")
    app, errors = piping(lambda: Pieces(b"a", 5, on_close=raising(error)))

    async with Server(app) as server:
        await server.finished("/")

    assert [type(each) for each in errors] == [UsageError]
    assert failures(caplog) == [error]


async def test_iterator_and_source_are_closed_whatever_the_other_does(caplog):
    table = Table(5, ValueError("table"))
    app, errors = piping(lambda: table)

    async with Server(app) as server:
        await server.finished("/")

    assert table.iterator_closed
    assert len(table.threads) == 3
    assert sorted(map(str, failures(caplog))) == ["'iterator'", "table"]
    assert [type(error) for error in errors] == [UsageError]


# --- cancellation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [None, KeyError("row")], ids=["piece", "error"])
async def test_a_cancelled_step_is_waited_for_and_then_the_generator_is_closed_in_its_thread(
    caplog, error
):
    """What the step gives is lost, but no error is."""
    rows = Rows(block_at=1, error=error)
    app, errors = piping(rows)

    async with Server(app) as server:
        call = server.call("/")
        await rows.until_blocked()
        call.cancel_scope.cancel()
        await rest()
        assert not call.ended.is_set()
        rows.let_on.set()
        await call.wait()

    assert [type(each) for each in errors] == [anyio.get_cancelled_exc_class()]
    assert (call.body, call.final) == (b"0", False)
    assert rows.closed
    assert len(set(rows.threads)) == 1
    assert failures(caplog) == ([error] if error else [])


async def test_a_generator_whose_client_left_in_a_write_is_closed_in_its_thread(caplog):
    rows = Rows()
    app, errors = piping(rows)
    gate = Gate()

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.reached()
        await server.lose(call)
        await call.wait()

    assert [type(each) for each in errors] == [anyio.get_cancelled_exc_class()]
    assert rows.closed
    assert len(rows.threads) == 2
    assert len(set(rows.threads)) == 1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_cancelled_handler_makes_no_further_step():
    """The cancellation came with a piece, and no write has noticed it."""
    rows, scopes = Rows(), []
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        def cancelling():
            for row in rows():  # pragma: no branch: it is left in its first turn
                anyio.from_thread.run_sync(scopes[0].cancel, token=token)
                yield row

        token = anyio.lowlevel.current_token()
        await res.write("head")
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await res.pipe(cancelling())
        await res.abort()

    async with Server(app) as server:
        await server.finished("/")

    assert len(rows.threads) == 2  # one step and the close


async def test_a_close_is_waited_for_although_the_handler_is_cancelled():
    rows = Rows()
    pieces = Pieces(b"a", on_close=rows.block)
    app, _ = piping(lambda: pieces)

    async with Server(app) as server:
        call = server.call("/")
        await rows.until_blocked()
        call.cancel_scope.cancel()
        await rest()
        assert not call.ended.is_set()
        rows.let_on.set()
        await call.wait()

    assert len(set(pieces.threads)) == 1


@pytest.mark.parametrize("error", [None, KeyError("close")], ids=["closes", "fails"])
async def test_a_close_in_a_thread_that_takes_too_long_is_waited_for_and_logged(
    caplog, monkeypatch, error
):
    """A thread cannot be cut."""
    monkeypatch.setattr("nardis._sources.closing.CLOSE_S", 0.0)
    rows = Rows()

    def close():
        rows.block()
        if error is not None:
            raise error

    app, errors = piping(lambda: Pieces(b"a", on_close=close))

    async with Server(app) as server:
        call = server.call("/")
        await rows.until_blocked()
        await rest()
        assert not call.ended.is_set()
        rows.let_on.set()
        await call.wait()

    assert errors == []
    assert "closing Pieces took longer than 0.0 s" in caplog.text
    assert failures(caplog) == ([error] if error else [])


@on_asyncio
async def test_cancellations_of_asyncio_itself_wait_for_the_step_too():
    """However many they are: no shield keeps them off."""
    rows = Rows(block_at=1)
    app, outcome = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        task = asyncio.create_task(res.pipe(rows()))
        await rows.until_blocked()
        for _ in range(3):
            task.cancel()
            await rest()
            assert not task.done()
        rows.let_on.set()
        outcome.extend(await asyncio.gather(task, return_exceptions=True))
        await res.abort()

    async with Server(app) as server:
        await server.finished("/")

    assert [type(each) for each in outcome] == [asyncio.CancelledError]
    assert rows.closed


# --- the event loop ends --------------------------------------------------------------------------


def test_a_generator_is_closed_when_the_event_loop_ends(anyio_backend):
    """The main task is through, and what it leaves behind is cancelled."""
    rows = Rows(block_at=1)
    app, errors = piping(rows)

    async def main():
        async with Server(app) as server:
            server.call("/")
            await rows.until_blocked()
            threading.Timer(0.01, rows.let_on.set).start()

    anyio.run(main, backend=anyio_backend[0], backend_options=anyio_backend[1])

    assert rows.closed
    assert len(errors) == 1


@pytest.mark.parametrize("error", [None, KeyError("row")], ids=["piece", "error"])
@pytest.mark.parametrize("close_error", [None, ValueError("close")], ids=["closes", "fails"])
def test_a_generator_in_a_step_is_closed_when_its_event_loop_was_abandoned(
    caplog, error, close_error
):
    """Nobody cancels anything, and nobody waits for the step."""
    rows = Rows(block_at=1, error=error, close_error=close_error)

    abandon(piping_by_hand(rows), rows.until_blocked)
    (thread,) = threads()
    rows.let_on.set()
    thread.join(WAIT_S)

    assert rows.closed
    assert failures(caplog) == [each for each in (close_error or error,) if each]


@pytest.mark.parametrize("close_error", [None, ValueError("close")], ids=["closes", "fails"])
def test_a_generator_between_two_steps_is_closed_when_its_coroutine_is_thrown_away(
    caplog, close_error
):
    """With GeneratorExit in a coroutine nothing can be awaited, so nobody waits for the thread."""
    rows = Rows(close_error=close_error)

    async def until_idle():
        while not rows.threads or steps_in_flight():
            await checkpoint()

    coro = piping_by_hand(rows)
    abandon(coro, until_idle)
    (thread,) = threads()
    coro.close()
    thread.join(WAIT_S)

    assert rows.closed
    assert failures(caplog) == ([close_error] if close_error else [])


def test_a_generator_is_closed_when_its_coroutine_is_thrown_away_in_the_close():
    rows = Rows()

    async def close():
        stepper = Stepper(Pieces(b"a", on_close=rows.block))
        async with Closing(stepper):
            await stepper.step()

    coro = close()
    abandon(coro, rows.until_blocked)
    (thread,) = threads()
    with pytest.raises(GeneratorExit):
        coro.throw(GeneratorExit)
    rows.let_on.set()
    thread.join(WAIT_S)


def test_a_pipe_whose_event_loop_was_abandoned_is_thrown_away_without_an_error():
    """GeneratorExit at the source is none of the source's then."""
    asked = []

    async def pieces():
        asked.append(True)
        await anyio.sleep_forever()
        yield b"never"  # pragma: no cover  # it makes this a generator

    async def until_asked():
        while not asked:
            await checkpoint()

    source = pieces()
    coro = pump(SimpleNamespace(scope={"method": "GET"}), source, bytes)
    abandon(coro, until_asked)
    coro.close()


async def piping_by_hand(rows):
    """Do what `pipe()` does, as far as the generator is concerned."""
    stepper = Stepper(rows())
    async with Closing(stepper):
        await stepper.step()
        if rows.block_at is not None:
            await stepper.step()
        await anyio.sleep_forever()


def abandon(coro, condition):
    """Run *coro* in an event loop of asyncio until *condition* came, and close the loop."""

    async def main():
        asyncio.create_task(coro)  # noqa: RUF006 - it is to be lost
        await condition()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
