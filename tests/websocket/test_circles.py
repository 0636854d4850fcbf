"""What a WebSocket has made is gone when it is over: nothing waits for the garbage collector."""

from __future__ import annotations

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


for handler in (echo, closes, refuses, fails):
    app.websocket(f"/{handler.__name__}", handler)
    app.websocket(f"/wrapped/{handler.__name__}", wrap(PassThrough), handler)

PATHS = [
    "echo",
    "closes",
    "refuses",
    "fails",
    "missing",
    "wrapped/echo",
    "wrapped/closes",
    "wrapped/refuses",
    "wrapped/fails",
]


async def test_a_websocket_leaves_nothing_to_the_garbage_collector():
    for path in PATHS:
        async with Sockets(app) as server:
            await server.talked(f"/{path}", text("x"), bye())  # what is made once
            with collecting() as left:
                await server.talked(f"/{path}", text("x"), bye())
                server.calls.clear()
        assert left == [], path
