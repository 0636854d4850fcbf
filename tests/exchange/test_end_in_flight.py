"""R2: `res.end()` while an exception is in flight takes effect only if the handler returns."""

from __future__ import annotations

from contextlib import suppress

import anyio
import pytest

from nardis import Nardis, shielded
from nardis.errors import ResponseAlreadyEnded
from tests.peers.driver import Server, rest

pytestmark = pytest.mark.anyio


async def answered(app, **options):
    async with Server(app) as server:
        return await server.finished("/", **options)


async def test_in_a_finally_of_a_handler_that_fails_it_has_no_effect():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.write("half")
        try:
            raise ZeroDivisionError
        finally:
            await res.end("looks whole")

    call = await answered(app)

    assert call.aborted
    assert call.body == b"half"
    assert isinstance(call.error, ZeroDivisionError)


async def test_in_a_finally_of_a_handler_that_returns_it_ends_at_once():
    app, finished = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        try:
            await res.write("a")
        finally:
            await res.end("b")
            finished.append(res.finished)

    call = await answered(app)

    assert finished == [True]
    assert (call.body, call.final, call.error) == (b"ab", True, None)


@pytest.mark.parametrize("started", [False, True], ids=["before the head", "after the head"])
async def test_in_an_except_of_a_handler_that_returns_it_takes_effect(started):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        if started:
            await res.write("a")
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            await res.end("b")
            assert not res.finished

    call = await answered(app)

    assert (call.body, call.final, call.error) == (b"ab" if started else b"b", True, None)


async def test_before_the_head_the_error_is_answered_instead():
    app = Nardis()

    @app.error(ZeroDivisionError)
    async def answer(err, req, res):
        await res.status(400).send("no such number")

    @app.get("/")
    async def handler(req, res):
        try:
            raise ZeroDivisionError
        finally:
            await res.end("looks whole")

    call = await answered(app)

    assert (call.status, call.body, call.final) == (400, b"no such number", True)


async def test_before_the_head_an_unregistered_error_is_a_500():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        try:
            raise ZeroDivisionError
        finally:
            await res.end("looks whole")

    call = await answered(app)

    assert (call.status, call.final) == (500, True)
    assert b"looks whole" not in call.body


@pytest.mark.parametrize("verb", ["write", "end", "flush"])
async def test_after_it_nothing_more_is_taken(verb):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            await res.end("the end")
        with pytest.raises(ResponseAlreadyEnded):
            await getattr(res, verb)(*([] if verb == "flush" else ["more"]))

    call = await answered(app)

    assert (call.body, call.final) == (b"the end", True)


async def test_a_middleware_that_swallows_the_failure_does_not_make_it_take_effect():
    app = Nardis()

    @app.use
    async def swallow(req, res, next):
        with suppress(ZeroDivisionError):
            await next()

    @app.get("/")
    async def handler(req, res):
        await res.write("half")
        try:
            raise ZeroDivisionError
        finally:
            await res.end("looks whole")

    call = await answered(app)

    assert call.aborted


async def test_an_error_handler_ends_as_it_likes():
    """Error handlers run after the `except` block has been left: nothing is in flight for them."""
    app, finished = Nardis(), []

    @app.error(ZeroDivisionError)
    async def answer(err, req, res):
        await res.status(400).write("sorry")
        await res.end(".")
        finished.append(res.finished)

    @app.get("/")
    async def handler(req, res):
        raise ZeroDivisionError

    call = await answered(app)

    assert finished == [True]
    assert (call.status, call.body, call.final, call.error) == (400, b"sorry.", True, None)


@pytest.mark.parametrize("verb", ["end", "pipe"])
async def test_a_handler_below_an_except_of_a_middleware_ends_as_it_likes(verb):
    """What was in flight when the handler began is not its failure."""
    app = Nardis()

    @app.use
    async def middleware(req, res, next):
        try:
            raise KeyError
        except KeyError:
            await next()

    @app.get("/")
    async def handler(req, res):
        await getattr(res, verb)("fine" if verb == "end" else ["fi", "ne"])
        assert res.finished

    call = await answered(app)

    assert (call.body, call.final, call.error) == (b"fine", True, None)


async def test_an_error_handler_below_an_except_of_a_middleware_ends_as_it_likes():
    app = Nardis()

    @app.error(ZeroDivisionError)
    async def answer(err, req, res):
        await res.status(400).end("sorry")

    @app.use
    async def middleware(req, res, next):
        try:
            raise KeyError
        except KeyError:
            await next()

    @app.get("/")
    async def handler(req, res):
        raise ZeroDivisionError

    call = await answered(app)

    assert (call.status, call.body, call.final, call.error) == (400, b"sorry", True, None)


async def test_a_handler_below_an_except_that_fails_itself_is_cut():
    app = Nardis()

    @app.use
    async def middleware(req, res, next):
        try:
            raise KeyError
        except KeyError:
            await next()

    @app.get("/")
    async def handler(req, res):
        await res.write("half")
        try:
            raise ZeroDivisionError
        finally:
            await res.end("looks whole")

    call = await answered(app)

    assert call.aborted
    assert isinstance(call.error, ZeroDivisionError)


async def test_after_next_a_middleware_is_measured_by_its_own_beginning_again():
    app = Nardis()

    @app.use
    async def middleware(req, res, next):
        await next()
        try:
            raise KeyError
        except KeyError:
            await res.end(".")
        assert not res.finished

    @app.get("/")
    async def handler(req, res):
        await res.write("body")

    call = await answered(app)

    assert (call.body, call.final) == (b"body.", True)


async def test_an_application_called_in_an_except_of_its_server_ends_as_usual():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.end("fine")
        assert res.finished

    async def server_in_trouble(scope, receive, send):
        try:
            raise OSError
        except OSError:
            await app(scope, receive, send)

    async with Server(app) as server:
        server.app = server_in_trouble
        call = server.call("/")
        server.app = app
        await call.wait()

    assert (call.body, call.final, call.error) == (b"fine", True, None)


async def test_in_a_finally_of_a_time_limit_it_takes_effect_when_the_handler_returns():
    """The handler's own time limit is a way to end a stream, and no failure."""
    app, limit = Nardis(), anyio.CancelScope()

    @app.get("/")
    async def handler(req, res):
        await res.write("what there is")
        with limit:
            try:
                await anyio.sleep_forever()
            finally:
                with shielded(5):
                    await res.end(".")

    async with Server(app) as server:
        call = server.call("/")
        await rest()
        limit.cancel()
        await call.wait()

    assert (call.body, call.final, call.error) == (b"what there is.", True, None)


async def test_a_child_task_may_end_the_response():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(res.end, "from a child")

    call = await answered(app)

    assert (call.body, call.final, call.error) == (b"from a child", True, None)
