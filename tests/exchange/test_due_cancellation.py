"""A cancellation that is due comes before a piece and leaves no trace, so that what follows can still be whole."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import Nardis
from tests.peers.driver import Identity, Server

pytestmark = pytest.mark.anyio


async def pause(message):
    """Suspend in each send, as a server does whose client is slow."""
    await checkpoint()
    await checkpoint()


async def write(res):
    await res.write("lost")


async def filtered(res):
    await res.write("lost")


async def flush(res):
    await res.flush()


async def send(res):
    await res.send("lost")


async def end(res):
    await res.end("lost")


@pytest.mark.parametrize("started", [False, True], ids=["before the head", "after the head"])
@pytest.mark.parametrize(
    "verb", [write, filtered, flush, send, end], ids=lambda verb: verb.__name__
)
async def test_a_verb_in_a_cancelled_scope_sends_nothing_and_tears_nothing(verb, started):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        if verb is filtered:
            res.filter(Identity())
        if started:
            await res.write("begin ")
        with anyio.CancelScope() as scope:
            scope.cancel()
            with pytest.raises(anyio.get_cancelled_exc_class()):
                await checkpoint()
            await verb(res)
        assert res.started is started
        await res.write("end")

    async with Server(app) as server:
        call = await server.finished("/", on_send=pause)

    assert call.body == (b"begin end" if started else b"end")
    assert (call.final, call.error) == (True, None)


async def test_a_stream_with_a_deadline_ends_whole():
    """It is over when its time is, wherever that finds it."""
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        with anyio.move_on_after(0.05):
            while True:
                await res.write("tick ")
                await anyio.sleep(0.001)
        await res.write("tock")

    async with Server(app) as server:
        for _ in range(5):
            call = await server.finished("/")
            assert call.final
            assert call.body.endswith(b"tick tock")


async def test_an_answer_whose_time_is_over_can_be_another_one():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await checkpoint()
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await checkpoint()
            finally:
                await res.send("too late")
        await res.status(504).send("timeout")

    async with Server(app) as server:
        call = await server.finished("/", on_send=pause)

    assert (call.status, call.body) == (504, b"timeout")
