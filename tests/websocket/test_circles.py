"""What a WebSocket has made is gone when it is over: nothing waits for the garbage collector."""

from __future__ import annotations

import anyio
import pytest

from nardis import HTTPError, Nardis, wrap
from tests.exchange.test_circles import collecting
from tests.websocket.calls import Sockets, bye, text
from tests.websocket.test_boundaries import PassThrough

pytestmark = pytest.mark.anyio

app = Nardis()


async def echo(req, ws):
    async for message in ws:
        await ws.send(message)


async def closes(req, ws):
    await ws.accept()
    await ws.close()


async def refuses(req, ws):
    raise HTTPError(403)


async def fails(req, ws):
    await ws.accept()
    raise KeyError("k")


async def fails_in_a_group(req, ws):
    await ws.accept()
    async with anyio.create_task_group():
        raise KeyError("k")


async def waits(req, ws):
    await ws.accept()
    await anyio.sleep_forever()


for handler in (echo, closes, refuses, fails, fails_in_a_group, waits):
    app.websocket(f"/{handler.__name__}", handler)
    app.websocket(f"/wrapped/{handler.__name__}", wrap(PassThrough), handler)

PATHS = [
    "echo",
    "closes",
    "refuses",
    "fails",
    "fails_in_a_group",
    "missing",
    "wrapped/echo",
    "wrapped/closes",
    "wrapped/refuses",
    "wrapped/fails",
    "wrapped/fails_in_a_group",
]


async def test_a_websocket_leaves_nothing_to_the_garbage_collector():
    for path in PATHS:
        async with Sockets(app) as server:
            await server.talked(f"/{path}", text("x"), bye())  # what is made once
            with collecting() as left:
                await server.talked(f"/{path}", text("x"), bye())
                server.calls.clear()
        assert left == [], path


@pytest.mark.parametrize("path", ["/waits", "/wrapped/waits"])
async def test_nor_does_one_whose_client_leaves_while_the_handler_waits_for_something_else(path):
    async with Sockets(app) as server:

        async def talked():
            call = server.open(path)
            await server.tick()  # from then on it is watched
            call.push(bye())
            await call.wait()
            server.calls.clear()

        await talked()
        with collecting() as left:
            await talked()

    assert left == []
