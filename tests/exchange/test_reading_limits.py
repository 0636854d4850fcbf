"""Q2 up to a limit: reading a body over it is a 413, before the first byte where it is declared."""

from __future__ import annotations

import pytest

from nardis import HTTPError, Limits, Nardis
from tests.peers.driver import Server, part

pytestmark = pytest.mark.anyio

CHUNKED = {"transfer-encoding": "chunked"}
TIGHT = Limits(buffered_body_bytes=10, streamed_body_bytes=20)


async def gather(req, res):
    await res.send(await req.bytes())


async def stream(req, res):
    await res.send(b"".join([chunk async for chunk in req]))


@pytest.fixture(params=["app", "route"])
def limited(request):
    """Make an application with one handler, whose limits the application or the route has."""

    def make(handler):
        app = Nardis(limits=TIGHT) if request.param == "app" else Nardis()
        app.post("/", handler, limits=TIGHT if request.param == "route" else None)
        return app

    return make


@pytest.mark.parametrize(
    ("handler", "limit"), [(gather, 10), (stream, 20)], ids=["gathered", "streamed"]
)
async def test_a_declared_length_over_the_limit_is_refused_before_reading(limited, handler, limit):
    async with Server(limited(handler)) as server:
        fits = await server.finished(
            "/",
            part(b"x" * limit, more=False),
            method="POST",
            headers={"content-length": str(limit)},
        )
        call = await server.finished(
            "/",
            part(b"x" * (limit + 1), more=False),
            method="POST",
            headers={"content-length": str(limit + 1)},
        )

    assert (fits.status, len(fits.body)) == (200, limit)
    assert (call.status, call.final, call.error) == (413, True, None)


async def test_a_refusal_reads_nothing(limited):
    async with Server(limited(gather)) as server:
        call = await server.finished(
            "/", method="POST", headers={"content-length": "99", "expect": "100-continue"}
        )

    assert (call.status, call.receives) == (413, 0)


@pytest.mark.parametrize(
    ("handler", "limit"), [(gather, 10), (stream, 20)], ids=["gathered", "streamed"]
)
async def test_a_chunked_body_is_counted_while_it_streams(limited, handler, limit):
    pieces = [part(b"x") for _ in range(limit)]

    async with Server(limited(handler)) as server:
        fits = await server.finished(
            "/", *pieces, part(b"", more=False), method="POST", headers=CHUNKED
        )
        call = await server.finished("/", *pieces, part(b"x"), method="POST", headers=CHUNKED)

    assert (fits.status, len(fits.body)) == (200, limit)
    assert (call.status, call.final, call.error) == (413, True, None)


async def test_the_reader_can_handle_it():
    app, taken = Nardis(limits=TIGHT), []

    @app.post("/")
    async def handler(req, res):
        with pytest.raises(HTTPError) as caught:
            async for chunk in req:
                taken.append(chunk)  # noqa: PERF401 - what came before the error counts
        await res.send(f"{caught.value.status}: {len(taken)} bytes")

    async with Server(app) as server:
        call = await server.finished(
            "/", *[part(b"x") for _ in range(30)], method="POST", headers=CHUNKED
        )

    assert (call.status, call.body) == (200, b"413: 20 bytes")


async def test_a_reader_that_goes_on_is_refused_again():
    app = Nardis(limits=TIGHT)

    @app.post("/")
    async def handler(req, res):
        for _ in range(3):
            with pytest.raises(HTTPError, match="413"):
                await anext(req.body)
        await res.send("refused three times")

    async with Server(app) as server:
        call = await server.finished(
            "/", *[part(b"x" * 30) for _ in range(30)], method="POST", headers=CHUNKED
        )

    assert call.body == b"refused three times"


async def test_a_limit_that_is_passed_after_the_head_cuts_the_response():
    app = Nardis(limits=TIGHT)

    @app.post("/")
    async def echo(req, res):
        async for chunk in req:
            await res.write(chunk)

    async with Server(app) as server:
        call = await server.finished(
            "/", *[part(b"x" * 8) for _ in range(3)], method="POST", headers=CHUNKED
        )

    assert call.aborted
    assert call.body == b"x" * 16
    assert isinstance(call.error, HTTPError)


async def test_a_body_that_nobody_reads_has_no_limit():
    app = Nardis(limits=TIGHT)

    @app.post("/")
    async def handler(req, res):
        await res.send("not interested")

    async with Server(app) as server:
        call = await server.finished(
            "/", part(b"x" * 99, more=False), method="POST", headers={"content-length": "99"}
        )

    assert call.status == 200


async def test_the_limits_of_a_route_hold_for_what_a_middleware_read_before():
    app = Nardis()

    @app.use
    async def middleware(req, res, next):
        await anext(req.body)
        await next()

    app.post("/", stream, limits=TIGHT)

    async with Server(app) as server:
        call = await server.finished(
            "/", part(b"x" * 15), part(b"x" * 15), method="POST", headers=CHUNKED
        )

    assert (call.status, call.final) == (413, True)
