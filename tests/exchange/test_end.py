"""R2 and R3: one final message, never after a failure past the head, and nothing after it."""

from __future__ import annotations

import logging
from contextlib import suppress

import anyio
import pytest

from nardis import Nardis
from nardis.errors import ResponseAborted, ResponseAlreadyEnded, ResponseAlreadyStarted
from tests.peers.driver import Gate, Server, rest
from tests.peers.handlers import fails_half_way

pytestmark = pytest.mark.anyio

START, BODY = "http.response.start", "http.response.body"


async def test_returning_ends_the_response():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.write("all of it")

    async with Server(app) as server:
        call = await server.finished("/")

    assert call.final
    assert call.error is None


@pytest.mark.parametrize("verb", ["write", "send", "json", "end", "flush"])
@pytest.mark.parametrize("ending", ["send", "end"])
async def test_nothing_leaves_after_the_final_message(ending, verb):
    app, refused = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        await getattr(res, ending)("once")
        with pytest.raises(ResponseAlreadyEnded) as caught:
            await (getattr(res, verb)() if verb == "flush" else getattr(res, verb)("twice"))
        refused.append(caught.value)

    async with Server(app) as server:
        call = await server.finished("/")

    assert (call.body, call.final, call.error) == (b"once", True, None)
    assert len(refused) == 1


@pytest.mark.parametrize("verb", ["send", "json"])
async def test_a_whole_body_after_a_piece_is_refused(verb):
    """`send` after `write` cannot keep its promise of one whole answer: the response is cut."""
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.write("a piece")
        await getattr(res, verb)("whole")

    async with Server(app) as server:
        call = await server.finished("/")

    assert call.aborted
    assert isinstance(call.error, ResponseAlreadyStarted)


async def test_a_handler_that_fails_after_the_head_never_ends_the_response(caplog):
    app = Nardis()

    app.get("/", fails_half_way)

    async with Server(app) as server:
        call = await server.finished("/")

    assert call.aborted
    assert call.body == b"half"
    assert isinstance(call.error, ZeroDivisionError)
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.truncated for record in records] == [True]


async def test_an_error_handler_is_not_asked_once_the_head_has_left():
    app, asked = Nardis(), []

    @app.error(ZeroDivisionError)
    async def answer(err, req, res):
        asked.append(err)
        await res.send("sorry")

    @app.get("/before")
    async def before(req, res):
        raise ZeroDivisionError

    app.get("/after", fails_half_way)

    async with Server(app) as server:
        answered = await server.finished("/before")
        cut = await server.finished("/after")

    assert (answered.status, answered.body, answered.final) == (500, b"sorry", True)
    assert cut.aborted
    assert len(asked) == 1


async def test_a_middleware_that_swallows_the_failure_cannot_end_the_response():
    """The bytes that the handler did not get to are missing."""
    app = Nardis()

    @app.use
    async def swallow(req, res, next):
        with suppress(ZeroDivisionError):
            await next()

    app.get("/", fails_half_way)

    async with Server(app) as server:
        call = await server.finished("/")

    assert call.aborted


@pytest.mark.parametrize("verb", ["write", "end"])
async def test_a_middleware_cannot_complete_what_the_handler_failed_to(verb):
    app = Nardis()

    @app.use
    async def apologise(req, res, next):
        try:
            await next()
        except ZeroDivisionError:
            await getattr(res, verb)("and so on")

    app.get("/", fails_half_way)

    async with Server(app) as server:
        call = await server.finished("/")

    assert call.aborted


async def test_a_handler_may_catch_its_own_failure_and_go_on():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.write("a")
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            await res.write("b")

    async with Server(app) as server:
        call = await server.finished("/")

    assert (call.body, call.final, call.error) == (b"ab", True, None)


async def test_a_failure_after_the_end_is_logged_and_changes_nothing(caplog):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.send("done")
        raise ZeroDivisionError

    async with Server(app) as server:
        call = await server.finished("/")

    assert (call.body, call.final, call.error) == (b"done", True, None)
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


async def test_the_final_message_waits_for_a_chunk_that_another_task_is_sending():
    app, gate = Nardis(), Gate()

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(res.write, "chunk")
            await rest()
            await res.end()

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(1)

        assert [held[0]["body"] for held in gate.held] == [b"chunk"]
        await gate.let(2)
        await call.wait()

    assert (call.body, call.final) == (b"chunk", True)


async def test_an_answer_that_another_task_is_sending_is_not_ended_again():
    """The handler returns meanwhile: there is one final message (R2)."""
    app, gate = Nardis(), Gate()

    @app.get("/")
    async def handler(req, res):
        elsewhere.start_soon(res.send, "whole")
        await rest()

    async with Server(app) as server, anyio.create_task_group() as elsewhere:
        call = server.call("/", on_send=gate)
        await gate.let(2)
        await call.wait()

    assert (call.body, call.final, call.error) == (b"whole", True, None)
    assert [message["type"] for message in call.sent].count("http.response.body") == 1


async def passes_on(req, res, next):
    await next()


def cancelling():
    """Make a middleware that cancels what follows it, and keeps quiet; and what has it do so."""
    scope = anyio.CancelScope()

    async def middleware(req, res, next):
        with scope:
            await next()

    return middleware, scope


@pytest.mark.parametrize("method", ["get", "all"], ids=["straight", "walk"])
@pytest.mark.parametrize("depth", [1, 2])
async def test_a_handler_that_a_middleware_cancels_half_way_never_looks_whole(
    caplog, method, depth
):
    """Its time was up, and nobody raises: what has left is cut, and that is logged."""
    app, (middleware, scope) = Nardis(), cancelling()
    app.use(middleware)
    for _ in range(depth - 1):
        app.use(passes_on)

    @getattr(app, method)("/")
    async def handler(req, res):
        await res.write("a part")
        scope.cancel()
        await anyio.sleep_forever()

    async with Server(app) as server:
        call = await server.finished("/")

    assert (call.body, call.final, call.aborted) == (b"a part", False, True)
    [record] = caplog.records
    assert (record.levelno, record.truncated) == (logging.WARNING, True)
    assert "a middleware cancelled the handler half-way" in record.getMessage()


async def test_a_middleware_does_not_end_what_it_has_cut():
    app, (middleware, scope), refused = Nardis(), cancelling(), []

    @app.use
    async def ends(req, res, next):
        await next()
        with pytest.raises(ResponseAborted) as caught:
            await res.end("and so on")
        refused.append(caught.value)

    app.use(middleware)

    @app.get("/")
    async def handler(req, res):
        await res.write("a part")
        scope.cancel()
        await anyio.sleep_forever()

    async with Server(app) as server:
        call = await server.finished("/")

    assert (call.body, call.aborted, len(refused)) == (b"a part", True, 1)


@pytest.mark.parametrize("verb", ["send", "end"])
async def test_a_handler_that_is_cancelled_behind_its_answer_cuts_nothing(caplog, verb):
    app, (middleware, scope) = Nardis(), cancelling()
    app.use(middleware)

    @app.get("/")
    async def handler(req, res):
        await getattr(res, verb)("whole")
        scope.cancel()
        await anyio.sleep_forever()

    async with Server(app) as server:
        call = await server.finished("/")

    assert (call.body, call.final, call.error, caplog.records) == (b"whole", True, None, [])


async def test_a_middleware_answers_for_a_handler_that_it_cancelled_before_the_head():
    app, (middleware, scope) = Nardis(), cancelling()

    @app.use
    async def answers(req, res, next):
        await next()
        await res.status(504).send("too late")

    app.use(middleware)

    @app.get("/")
    async def handler(req, res):
        scope.cancel()
        await anyio.sleep_forever()

    async with Server(app) as server:
        call = await server.finished("/")

    assert (call.status, call.body, call.final) == (504, b"too late", True)


async def test_a_handler_may_cancel_a_part_of_its_own_and_end():
    """It knows how far it came: that is no failure."""
    app = Nardis()
    app.use(passes_on)

    @app.get("/")
    async def handler(req, res):
        with anyio.CancelScope() as scope:
            await res.write("a part")
            scope.cancel()
            await anyio.sleep_forever()
        await res.write(", and its end")

    async with Server(app) as server:
        call = await server.finished("/")

    assert (call.body, call.final, call.error) == (b"a part, and its end", True, None)
