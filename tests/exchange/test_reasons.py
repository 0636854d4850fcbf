"""C1: `close_reason` is set once, and the first one stays."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import Limits, Nardis, shielded
from tests.peers.driver import Server, rest
from tests.peers.handlers import waits_and_notes

pytestmark = pytest.mark.anyio


async def test_the_first_reason_stays():
    """A client that leaves while the handler is being ended for a limit does not change why."""
    app, parked, log = Nardis(limits=Limits(handler_s=10)), anyio.Event(), []

    @app.get("/")
    async def handler(req, res):
        try:
            await anyio.sleep_forever()
        finally:
            with shielded(5):
                await parked.wait()
            log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/")
        await server.tick(11)
        await server.lose(call)
        parked.set()
        await call.wait()

    assert log == ["deadline"]
    assert call.untouched
    assert call.error is None


async def test_without_an_interruption_there_is_no_reason():
    app, log = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        req.defer(note, req)
        await res.send("fine")
        log.append(req.close_reason)

    async def note(req):
        log.append(req.close_reason)

    async with Server(app) as server:
        await server.finished("/")

    assert log == [None, None]


@pytest.mark.parametrize("opted_out", [False, True], ids=["cancelling", "opted out"])
@pytest.mark.parametrize("started", [False, True], ids=["before the head", "after the head"])
async def test_the_cancellation_of_the_server_is_shutdown(started, opted_out):
    app, log = Nardis(cancel_on_disconnect=not opted_out), []

    async def note(req):
        await checkpoint()
        log.append(req.close_reason)

    @app.get("/")
    async def handler(req, res):
        req.defer(note, req)
        if started:
            await res.write("x")
        try:
            await anyio.sleep_forever()
        finally:
            with shielded(5):
                await checkpoint()
                log.append("cleaned up")

    async with Server(app) as server:
        call = server.call("/")
        await rest()
        call.cancel_scope.cancel()
        await call.wait()
        await rest()

        assert not server.exchanges

    assert log == ["cleaned up", "shutdown"]
    assert isinstance(call.error, BaseException)
    assert not isinstance(call.error, Exception)
    assert len(call.begun) == (2 if started else 0)


async def test_an_exchange_that_is_interrupted_for_the_shutdown_is_answered_503():
    app, log = Nardis(), []

    app.get("/", waits_and_notes(log))

    async with Server(app) as server:
        call = server.call("/")
        await rest()
        server.shut_down()
        await call.wait()

    assert log == ["shutdown"]
    assert (call.status, call.final, call.error) == (503, True, None)
