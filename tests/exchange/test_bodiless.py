"""R6: HEAD, 204 and 304 send no body byte."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from nardis import Nardis, shielded
from tests.peers.driver import Server, rest

pytestmark = pytest.mark.anyio


async def test_the_first_write_of_a_head_request_ends_it_and_its_handler():
    app, log = Nardis(), []

    @app.use
    async def middleware(req, res, next):
        await next()
        log.append(("next returned", res.finished))
        await anyio.lowlevel.checkpoint()
        log.append("not cancelled")

    @app.get("/")
    async def handler(req, res):
        res.set("x-a", "1")
        try:
            log.append(await res.write("body"))
        finally:
            log.append("left")

    async with Server(app) as server:
        call = await server.finished("/", method="HEAD")

    assert log == ["left", ("next returned", True), "not cancelled"]
    assert (call.status, call.headers[b"x-a"], call.body, call.final, call.error) == (
        200,
        b"1",
        b"",
        True,
        None,
    )


@pytest.mark.parametrize("verb", ["send", "json"])
async def test_whole_answers_to_head_cancel_nothing(verb):
    app, log = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        await getattr(res, verb)("body")
        await anyio.lowlevel.checkpoint()
        log.append("went on")

    async with Server(app) as server:
        get = await server.finished("/")
        head = await server.finished("/", method="HEAD")

    assert log == ["went on"] * 2
    assert head.headers == get.headers
    assert (head.body, head.final) == (b"", True)


async def test_pipe_never_starts_its_source_for_head():
    app, started, closed = Nardis(), [], []

    class Source:
        __aiter__ = partial(started.append, "iterating")

        async def aclose(self):
            closed.append("closed")

    @app.get("/")
    async def handler(req, res):
        await res.pipe(Source())

    async with Server(app) as server:
        call = await server.finished("/", method="HEAD")

    assert (started, closed) == ([], ["closed"])
    assert (call.status, call.body, call.final) == (200, b"", True)


async def test_a_child_task_that_writes_first_ends_the_head_handler_too():
    app, left = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(res.write, "from a child")
                await anyio.sleep_forever()
        finally:
            left.append(True)

    async with Server(app) as server:
        call = await server.finished("/", method="HEAD")

    assert left == [True]
    assert (call.body, call.final, call.error) == (b"", True, None)


async def test_what_a_head_handler_writes_behind_a_shield_is_dropped_quietly():
    app, log = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        try:
            await res.write("body")
        finally:
            with shielded(5):
                await res.write("trailer line")
                await res.flush()
                await res.end()
                log.append("cleaned up")

    async with Server(app) as server:
        call = await server.finished("/", method="HEAD")

    assert log == ["cleaned up"]
    assert (call.body, call.final, call.error) == (b"", True, None)


async def test_a_middleware_that_answers_head_itself_is_not_cancelled():
    app, log = Nardis(), []

    @app.use
    async def middleware(req, res, next):
        await res.write("from the middleware")
        await anyio.lowlevel.checkpoint()
        await res.write("more of it")
        log.append("went on")

    async with Server(app) as server:
        call = await server.finished("/", method="HEAD")

    assert log == ["went on"]
    assert (call.body, call.final) == (b"", True)


async def test_an_error_of_a_head_handler_before_its_head_is_answered_without_a_body():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        raise KeyError

    @app.error(KeyError)
    async def missing(err, req, res):
        await res.status(404).send("missing")

    async with Server(app) as server:
        call = await server.finished("/", method="HEAD")

    assert (call.status, call.headers[b"content-length"], call.body, call.final) == (
        404,
        b"7",
        b"",
        True,
    )


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("verb", ["send", "write", "end", "pipe"])
async def test_statuses_without_a_body_send_none(status, verb):
    app, log = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        res.status(status)
        await getattr(res, verb)([b"body"] if verb == "pipe" else b"body")
        log.append("went on")

    async with Server(app) as server:
        call = await server.finished("/")

    assert log == ["went on"]
    assert (call.status, call.body, call.final, call.error) == (status, b"", True, None)
    assert b"content-length" not in call.headers


async def test_a_head_request_ends_while_its_handler_still_cleans_up():
    """The client has all it will get: no need to wait for the handler's `finally`."""
    app, parked = Nardis(), anyio.Event()

    @app.get("/")
    async def handler(req, res):
        try:
            await res.write("body")
        finally:
            with shielded(5):
                await parked.wait()

    async with Server(app) as server:
        call = server.call("/", method="HEAD")
        await rest()

        assert call.final
        assert not call.ended.is_set()
        parked.set()
        await call.wait()


async def test_a_route_for_head_alone_ends_at_its_first_write_too():
    app, log = Nardis(), []

    @app.head("/")
    async def handler(req, res):
        while True:
            log.append("writes")
            await res.write("x")

    async with Server(app) as server:
        call = await server.finished("/", method="HEAD")

    assert log == ["writes"]
    assert (call.status, call.body, call.final, call.error) == (200, b"", True, None)
