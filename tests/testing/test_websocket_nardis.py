"""WebSockets of our own applications: what their handlers see, and what the test sees of them."""

import pytest

from nardis import HTTPError, Nardis, shielded
from nardis.testing import AppError, Client, WebSocketClosed, WebSocketDenied

pytestmark = pytest.mark.anyio


async def test_members_of_a_room_hear_each_other():
    """One that leaves says so to those who stay, although the test waits for its handler."""
    app, members = Nardis(), []

    @app.websocket("/rooms/:name", subprotocols=("v2", "v1"))
    async def room(req, ws):
        members.append(ws)
        try:
            async for message in ws:
                for member in members:
                    await member.send(message)
        finally:
            members.remove(ws)
            with shielded(1):
                for member in members:
                    await member.send(f"{req.params['name']}: {ws.close_code}")

    async with Client(app) as client:
        async with client.websocket("/rooms/red", ["v1"]) as one:
            async with client.websocket("/rooms/red") as other:
                assert (one.subprotocol, other.subprotocol) == ("v1", None)
                await other.send(b"hi")
                assert [await one.receive(), await other.receive()] == [b"hi", b"hi"]
                await other.close(4000)
            async with client.websocket("/rooms/red") as third:
                await third.disconnect()
            assert [await one.receive(), await one.receive()] == ["red: 4000", "red: 1006"]


async def test_what_a_handler_refuses_or_fails_at_is_seen():
    """An HTTPError before the accept is a denial with its answer, any other is an AppError."""
    app = Nardis()

    @app.websocket("/who")
    async def who(req, ws):
        raise HTTPError(401, "who?")

    @app.websocket("/fails")
    async def fails(req, ws):
        await ws.accept()
        raise KeyError("mine")

    @app.websocket("/ends")
    async def ends(req, ws):
        await ws.send("all")

    async with Client(app) as client:
        for path, status in [("/who", 401), ("/nothing", 404)]:
            with pytest.raises(WebSocketDenied, match=f"got a {status}"):
                async with client.websocket(path):
                    pytest.fail("it was accepted")  # pragma: no cover - must not happen
        with pytest.raises(AppError, match="mine"):
            async with client.websocket("/fails") as ws:
                await ws.receive()
        async with client.websocket("/ends") as ws:
            assert await ws.receive() == "all"
            with pytest.raises(WebSocketClosed, match="1000"):
                await ws.receive()
