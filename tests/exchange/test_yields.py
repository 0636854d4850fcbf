"""R5 and the event loop: it gets its turns, even where the server's `send` never suspends."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import Nardis
from nardis._exchange.sweeper import interrupt_all
from tests.peers.driver import Identity, Server

pytestmark = pytest.mark.anyio


async def turns_beside(app, server, **options):
    """Count the turns that another task gets while a request is served."""
    turns = 0
    call = server.call("/", **options)
    while not call.ended.is_set():
        turns += 1
        await checkpoint()
    return turns, call


@pytest.mark.parametrize("filtered", [False, True], ids=["plain", "filtered"])
async def test_a_write_loop_gives_the_event_loop_a_turn_at_least_once_a_millisecond(filtered):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        if filtered:
            res.filter(Identity())
        for _ in range(1_000):
            await res.write("x")

    async with Server(app) as server:
        server.step = 0.000_1  # each write looks at the clock once, so 1,000 of them take 100 ms
        turns, call = await turns_beside(app, server)

    assert len(call.body) == 1_000
    assert turns >= 90


async def test_a_quick_write_pays_for_no_turn():
    """A checkpoint costs as much as twenty writes."""
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        for _ in range(1_000):
            await res.write("x")

    async with Server(app) as server:
        server.step = 0.000_001
        turns, call = await turns_beside(app, server)

    assert len(call.body) == 1_000
    assert turns < 50


async def test_a_loop_of_writes_after_the_client_left_ends():
    """Even if nothing in it ever suspends, the cancellation lands."""
    app, written = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        while True:
            await res.write("x")
            written.append(1)
            assert len(written) < 600

    async with Server(app) as server:
        server.step = 0.000_1

        async def leave(message):
            if len(call.begun) == 500:
                interrupt_all(server.exchanges, "gone")

        call = server.call("/", on_send=leave)
        await call.wait()

    assert len(written) >= 499


async def test_two_writers_get_their_turns():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        async def writer(name):
            for _ in range(500):
                await res.write(name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer, "a")
            tasks.start_soon(writer, "b")

    async with Server(app) as server:
        server.step = 0.000_1
        call = await server.finished("/")

    changes = sum(a != b for a, b in zip(call.chunks, call.chunks[1:], strict=False))
    assert call.body.count(b"a") == call.body.count(b"b") == 500
    assert changes > 20
