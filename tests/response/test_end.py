"""`await res.end()`: the final message, unless the handler fails."""

import pytest

from nardis import Nardis
from nardis.errors import ContentLengthMismatch, ResponseAlreadyEnded
from nardis.testing import Client

pytestmark = pytest.mark.anyio


async def test_end_alone_is_an_empty_answer(serve):
    async def handler(req, res):
        await res.status(201).end()

    response = await serve(handler)

    assert (response.status_code, response.content, response.headers.pairs()) == (
        201,
        b"",
        [("content-length", "0")],
    )


@pytest.mark.parametrize("data", ["last", b"last", bytearray(b"last"), memoryview(b"last")])
async def test_end_takes_a_last_piece(serve, data):
    async def handler(req, res):
        await res.write("first, ")
        await res.end(data)

    assert (await serve(handler)).content == b"first, last"


@pytest.mark.parametrize("started", [True, False])
async def test_end_with_none_is_end_alone(serve, started):
    """`None` is no piece, so that what may be missing can be handed on."""

    async def handler(req, res):
        if started:
            await res.write("all")
        await res.end(None)

    response = await serve(handler)

    assert (response.status_code, response.text) == (200, "all" if started else "")
    assert response.complete


async def test_end_with_the_whole_body_declares_its_length(serve):
    async def handler(req, res):
        await res.end("whole")

    assert (await serve(handler)).headers["content-length"] == "5"


async def test_the_client_has_the_end_before_the_handler_returned():
    app, steps = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        await res.write("x")
        await res.end()
        steps.append((res.finished, res.started))

    async with Client(app) as client, client.stream("GET", "/") as response:
        assert await response.read() == b"x"
        assert response.complete

    assert steps == [(True, True)]


async def test_returning_is_an_end_as_well(serve):
    async def handler(req, res):
        await res.write("x")

    assert (await serve(handler)).complete


async def test_ending_twice_is_refused(failure):
    async def handler(req, res):
        await res.end("x")
        await res.end()

    error = await failure(handler)

    assert isinstance(error, ResponseAlreadyEnded)
    assert "cannot end" in str(error)


async def test_a_last_piece_beyond_the_length_is_refused(seen_by_client, failure):
    async def handler(req, res):
        await res.set("content-length", 3).write("ab")
        await res.end("cd")

    assert isinstance(await failure(handler), ContentLengthMismatch)
    assert not (await seen_by_client(handler)).complete


async def test_an_end_short_of_the_length_cuts_the_response(seen_by_client, failure):
    async def handler(req, res):
        await res.set("content-length", 3).write("ab")
        await res.end()

    assert isinstance(await failure(handler), ContentLengthMismatch)
    response = await seen_by_client(handler)
    assert (response.content, response.complete) == (b"ab", False)


async def test_an_end_in_a_finally_does_not_whitewash_a_failure(seen_by_client):
    async def handler(req, res):
        try:
            await res.write("half")
            raise KeyError("half-way")
        finally:
            await res.end("the end")

    response = await seen_by_client(handler)

    assert (response.content, response.complete) == (b"half", False)


async def test_an_end_in_a_finally_before_the_head_leaves_room_for_the_500(seen_by_client):
    async def handler(req, res):
        try:
            raise KeyError("early")
        finally:
            await res.end("all is well")

    response = await seen_by_client(handler)

    assert (response.status_code, response.complete) == (500, True)
    assert b"all is well" not in response.content


async def test_an_end_in_an_except_counts_when_the_handler_returns(serve):
    async def handler(req, res):
        try:
            await res.write("half")
            raise KeyError("half-way")
        except KeyError:
            await res.end(", and the reason")

    response = await serve(handler)

    assert (response.content, response.complete) == (b"half, and the reason", True)


async def test_a_whole_answer_by_end_in_an_except_is_sent_when_the_handler_returns(serve):
    async def handler(req, res):
        try:
            raise KeyError("early")
        except KeyError:
            await res.status(503).end("later, please")

    response = await serve(handler)

    assert (response.status_code, response.content, response.complete) == (
        503,
        b"later, please",
        True,
    )


async def test_a_write_after_an_end_in_an_except_is_refused(failure):
    async def handler(req, res):
        try:
            raise KeyError("early")
        except KeyError:
            await res.end("x")
        await res.write("y")

    assert isinstance(await failure(handler), ResponseAlreadyEnded)


async def test_an_exception_that_was_handled_before_does_not_count(serve):
    async def handler(req, res):
        await res.write("a")
        try:
            raise KeyError("handled")
        except KeyError:
            pass
        await res.end("b")
        assert res.finished

    assert (await serve(handler)).content == b"ab"


async def test_an_error_handler_may_end():
    """It runs outside of the `except` block: nothing is in flight there."""
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        raise KeyError("x")

    @app.error(KeyError)
    async def missing(err, req, res):
        await res.status(404).end("missing")
        assert res.finished

    async with Client(app) as client:
        response = await client.get("/")

    assert (response.status_code, response.text) == (404, "missing")
