"""What the Autobahn testsuite wants of a server: each message comes back."""

from __future__ import annotations

from nardis import Limits, Nardis, Request, WebSocket

# The largest message of its cases.
app = Nardis(limits=Limits(websocket_message_bytes=16 * 2**20))


@app.websocket("/")
async def echo(req: Request, ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)
