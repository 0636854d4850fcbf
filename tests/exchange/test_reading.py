"""Q1 to Q3 for the reader: every byte once and in order, and no more than asked for."""

from __future__ import annotations

import anyio
import pytest

from nardis import Nardis
from nardis.errors import BodyAlreadyRead
from tests.peers.driver import Server, part, rest

pytestmark = pytest.mark.anyio

CHUNKED = {"transfer-encoding": "chunked"}


async def test_the_reader_asks_for_no_more_than_it_takes():
    app, go, taken = Nardis(), anyio.Event(), []

    @app.post("/")
    async def handler(req, res):
        taken.append(await anext(req.body))
        await go.wait()
        taken.extend([chunk async for chunk in req])
        await res.send()

    async with Server(app) as server:
        call = server.call(
            "/", part(b"a"), part(b"b"), part(b"c", more=False), method="POST", headers=CHUNKED
        )
        await rest()

        assert (taken, call.receives) == ([b"a"], 1)
        go.set()
        await call.wait()

    assert (taken, call.receives) == ([b"a", b"b", b"c"], 3)


async def test_empty_messages_are_passed_over():
    app, taken = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        taken.extend([chunk async for chunk in req])
        await res.send()

    async with Server(app) as server:
        await server.finished(
            "/",
            part(b""),
            part(b"a"),
            part(b""),
            part(b"", more=False),
            method="POST",
            headers=CHUNKED,
        )

    assert taken == [b"a"]


async def test_nothing_is_asked_for_after_the_last_message():
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        body = [chunk async for chunk in req.body]
        with pytest.raises(anyio.EndOfStream):
            await req.body.receive()
        await res.send(b"".join(body))

    async with Server(app) as server:
        call = await server.finished(
            "/", part(b"all", more=False), method="POST", headers={"content-length": "3"}
        )

    assert (call.body, call.receives) == (b"all", 1)


@pytest.mark.parametrize("watched", [False, True], ids=["direct", "by way of the watcher"])
async def test_a_cancelled_read_loses_nothing(watched):
    app, hurry, parked, taken = Nardis(), anyio.CancelScope(), anyio.Event(), []

    @app.post("/")
    async def handler(req, res):
        taken.append(await anext(req.body))
        await parked.wait()
        with hurry:
            await anext(req.body)
        taken.append("cancelled")
        taken.extend([chunk async for chunk in req])
        await res.send()

    async with Server(app) as server:
        call = server.call("/", part(b"1"), method="POST", headers=CHUNKED)
        if watched:
            await server.tick()
            assert call.receiving == 1
        parked.set()
        await rest()
        assert call.receiving == 1
        hurry.cancel()
        call.push(part(b"2"), part(b"3", more=False))
        await call.wait()

    assert taken == [b"1", "cancelled", b"2", b"3"]


@pytest.mark.parametrize("watched", [False, True], ids=["direct", "by way of the watcher"])
async def test_a_read_cancelled_as_its_message_arrives_loses_nothing(watched):
    app, hurry, parked, taken = Nardis(), anyio.CancelScope(), anyio.Event(), []

    @app.post("/")
    async def handler(req, res):
        taken.append(await anext(req.body))
        await parked.wait()
        with hurry:
            taken.append(await anext(req.body))
        taken.extend([chunk async for chunk in req])
        await res.send()

    async with Server(app) as server:
        call = server.call("/", part(b"1"), method="POST", headers=CHUNKED)
        if watched:
            await server.tick()
        parked.set()
        await rest()
        call.push(part(b"2"), part(b"3", more=False))
        hurry.cancel()
        await call.wait()

    assert taken == [b"1", b"2", b"3"]


async def test_a_second_reader_at_the_same_time_is_refused():
    app, refused = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        async def second():
            with pytest.raises(BodyAlreadyRead):
                await anext(req.body)
            refused.append(True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second)
            await res.send(b"".join([chunk async for chunk in req]))

    async with Server(app) as server:
        call = server.call("/", method="POST", headers=CHUNKED)
        await rest()
        assert refused == [True]
        call.push(part(b"whole", more=False))
        await call.wait()

    assert call.body == b"whole"


async def test_readers_may_take_turns():
    app, taken = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        async def one():
            taken.append(await anext(req.body))

        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one)
        await res.send()

    async with Server(app) as server:
        call = await server.finished(
            "/", part(b"a"), part(b"b"), part(b"c"), method="POST", headers={"content-length": "3"}
        )

    assert taken == [b"a", b"b", b"c"]
    assert call.error is None


async def test_a_duplex_handler_answers_each_piece_before_it_asks_for_the_next():
    app = Nardis()

    @app.post("/")
    async def echo(req, res):
        async for chunk in req:
            await res.write(chunk)

    async with Server(app) as server:
        call = server.call("/", method="POST", headers=CHUNKED)
        for piece in (b"one", b"two"):
            call.push(part(piece))
            await rest()
            assert call.chunks[-1] == piece
        call.push(part(b"", more=False))
        await call.wait()

    assert (call.body, call.final) == (b"onetwo", True)


@pytest.mark.parametrize(
    ("failure", "logged"), [(ConnectionResetError(), 0), (ValueError("a bug of the server"), 1)]
)
async def test_a_receive_that_fails_is_a_client_that_left(failure, logged, caplog):
    """ASGI 2.4 servers raise OSError for it; anything else is logged. Neither is asked again."""
    app, reasons = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        try:
            await anext(req.body)
        finally:
            reasons.append(req.close_reason)

    async with Server(app) as server:
        call = await server.finished("/", failure, method="POST", headers=CHUNKED)

    assert reasons == ["gone"]
    assert call.untouched
    assert call.error is None
    assert call.receives == 1
    assert len(caplog.records) == logged
