"""`await res.abort()`: a cut on purpose."""

import pytest

from nardis import ClientDisconnected, Nardis, shielded
from nardis.errors import ResponseAborted
from nardis.testing import AppError, Client

pytestmark = pytest.mark.anyio


async def test_after_the_head_the_response_is_cut(failure, seen_by_client):
    async def handler(req, res):
        await res.write("half")
        await res.abort()

    assert isinstance(await failure(handler), ResponseAborted)
    response = await seen_by_client(handler)
    assert (response.status_code, response.content, response.complete) == (200, b"half", False)


async def test_before_the_head_it_is_an_empty_500_with_close(serve):
    async def handler(req, res):
        await res.status(201).set("x-one", "1").abort()

    response = await serve(handler)

    assert (response.status_code, response.content) == (500, b"")
    assert response.headers.pairs() == [("content-length", "0"), ("connection", "close")]


async def test_on_http2_there_is_no_connection_to_close(serve):
    async def handler(req, res):
        await res.abort()

    assert (await serve(handler, client={"http_version": "2"})).headers.pairs() == [
        ("content-length", "0")
    ]


@pytest.mark.parametrize("started", [False, True])
async def test_abort_never_returns(started):
    """Not even into an `except Exception`: nothing can make the response whole again."""
    app, steps = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        if started:
            await res.flush()
        try:
            await res.abort()
            steps.append("returned")  # pragma: no cover: it never does
        except Exception:  # pragma: no cover: cancellation is no Exception
            steps.append("caught")
        finally:
            steps.append("finally")

    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/")).complete is not started

    assert steps == ["finally"]


async def test_it_ends_a_handler_that_no_disconnect_cancels():
    app, steps = Nardis(cancel_on_disconnect=False), []

    @app.get("/")
    async def handler(req, res):
        await res.write("half")
        try:
            await res.abort()
        finally:
            with shielded(1), pytest.raises(ClientDisconnected):
                await res.write("more")
            steps.append("refused")

    async with Client(app) as client:
        with pytest.raises(AppError):
            async with client.stream("GET", "/") as response:
                assert await response.read(4) == b"half"
                await response.read()
        assert not response.complete

    assert steps == ["refused"]


async def test_after_the_end_there_is_nothing_to_cut(serve):
    async def handler(req, res):
        await res.send("whole")
        await res.abort()

    response = await serve(handler)

    assert (response.content, response.complete) == (b"whole", True)


async def test_middlewares_around_cannot_end_it_cleanly():
    app = Nardis()

    @app.use
    async def around(req, res, next):
        try:
            await next()
        finally:
            await res.end("fine")

    @app.get("/")
    async def handler(req, res):
        await res.write("half")
        await res.abort()

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/")

    assert (response.content, response.complete) == (b"half", False)
