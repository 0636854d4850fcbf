"""C3 without a lifespan: each request brings its sweeper and watcher, and takes them with it."""

from __future__ import annotations

import anyio
import pytest

from nardis import Nardis
from tests.peers.driver import Server, part, rest
from tests.peers.handlers import fails_half_way, waits_and_notes

pytestmark = pytest.mark.anyio


def tasks_of_nardis():
    return [
        task.name for task in anyio.get_running_tasks() if (task.name or "").startswith("nardis.")
    ]


async def test_a_request_is_answered_and_leaves_no_task():
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        assert tasks_of_nardis() == ["nardis.sweeper"]
        await res.send(await req.bytes())

    async with Server(app, sweeping=False) as server:
        call = await server.finished(
            "/", part(b"body", more=False), method="POST", headers={"content-length": "4"}
        )

    assert (call.body, call.final, call.error) == (b"body", True, None)
    assert tasks_of_nardis() == []


async def test_a_client_that_leaves_is_noticed():
    """In real time: the first tick takes the empty body, the second waits for what follows."""
    app, log = Nardis(), []

    app.get("/", waits_and_notes(log))

    async with Server(app, sweeping=False) as server:
        call = server.call("/")
        call.disconnect()
        await call.wait()

    assert log == ["gone"]
    assert call.untouched
    assert call.error is None
    assert tasks_of_nardis() == []


async def test_an_error_after_the_head_comes_out_as_it_is():
    """Not in an exception group: the server's log shows it."""
    app = Nardis()

    app.get("/", fails_half_way)

    async with Server(app, sweeping=False) as server:
        call = await server.finished("/")

    assert call.aborted
    assert type(call.error) is ZeroDivisionError


async def test_the_cancellation_of_the_server_is_shutdown():
    app, log = Nardis(), []

    async def note(req):
        log.append(req.close_reason)

    @app.get("/")
    async def handler(req, res):
        req.defer(note, req)
        await anyio.sleep_forever()

    async with Server(app, sweeping=False) as server:
        call = server.call("/")
        await rest()
        call.cancel_scope.cancel()
        await call.wait()

    assert log == ["shutdown"]
    assert call.untouched
    assert tasks_of_nardis() == []


async def test_requests_do_not_share_anything():
    app, go = Nardis(), anyio.Event()

    @app.get("/:name")
    async def handler(req, res):
        await go.wait()
        await res.send(req.params["name"])

    async with Server(app, sweeping=False) as server:
        calls = [server.call(f"/{name}") for name in "abc"]
        await rest()
        assert len(tasks_of_nardis()) == 3
        go.set()
        for call in calls:
            await call.wait()

    assert [call.body for call in calls] == [b"a", b"b", b"c"]
