"""Handlers of WebSockets, for real clients, beside the other handlers of `app.py`."""

from __future__ import annotations

import anyio

from nardis import Request, WebSocket
from tests.wire.app import app, observed, record

__all__ = ["app"]


@app.websocket("/reads/:id")
async def reads(req: Request, ws: WebSocket) -> None:
    """Send back what comes, and record how it ended."""
    async with observed(req):
        async for message in ws:
            await ws.send(message)
            record(req.params["id"], f"answered {len(message)}")
        record(req.params["id"], "over", code=ws.close_code, reason=ws.close_reason)


@app.websocket("/sleeps/:id", subprotocols=["sleep"])
async def sleeps(req: Request, ws: WebSocket) -> None:
    """Read nothing."""
    async with observed(req):
        await ws.accept()
        await anyio.sleep_forever()


@app.websocket("/waits/:id")
async def waits(req: Request, ws: WebSocket) -> None:
    """Never accept."""
    async with observed(req):
        await anyio.sleep_forever()


@app.websocket("/pours/:id")
async def pours(req: Request, ws: WebSocket) -> None:
    """Send without end, and read nothing."""
    async with observed(req):
        while True:
            await ws.send("drop")
