"""WebSockets of another framework: the client knows none."""

import pytest
from starlette.applications import Starlette
from starlette.endpoints import WebSocketEndpoint
from starlette.responses import JSONResponse
from starlette.routing import WebSocketRoute

from nardis.testing import AppError, Client, WebSocketDenied

pytestmark = pytest.mark.anyio

closed = []


class Shout(WebSocketEndpoint):
    """An endpoint as Starlette's documentation has them."""

    encoding = "json"

    async def on_connect(self, websocket):
        await websocket.accept("v1" if "v1" in websocket.scope["subprotocols"] else None)

    async def on_receive(self, websocket, data):
        await websocket.send_json(
            {"loud": data["text"].upper(), "to": websocket.query_params["name"]}
        )

    async def on_disconnect(self, websocket, close_code):
        closed.append(close_code)


async def refuse(websocket):
    await websocket.send_denial_response(JSONResponse({"who": "you"}, 401))


async def leaves_it(websocket):
    """The error that says that the client left goes out of the endpoint."""
    await websocket.accept()
    await websocket.receive_text()


async def fail(websocket):
    await websocket.accept()
    raise KeyError("mine")


app = Starlette(
    routes=[
        WebSocketRoute("/shout", Shout),
        WebSocketRoute("/refuse", refuse),
        WebSocketRoute("/leaves", leaves_it),
        WebSocketRoute("/fail", fail),
    ]
)


async def test_a_conversation_with_starlette():
    """It keeps the rules, hears the code, and its errors are seen."""
    async with Client(app) as client:
        async with client.websocket("/shout", ["v1"], params={"name": "all"}) as ws:
            assert ws.subprotocol == "v1"
            await ws.send_json({"text": "hi"})
            assert await ws.receive_json() == {"loud": "HI", "to": "all"}
            await ws.close(4000)
        async with client.websocket("/leaves"):
            pass
        with pytest.raises(AppError, match="mine"):
            async with client.websocket("/fail") as ws:
                await ws.receive()

    assert closed.pop() == 4000


@pytest.mark.parametrize(("path", "status"), [("/refuse", 401), ("/nothing", 403)])
async def test_a_denial_of_starlette(path, status):
    """With an answer, and the one of a server where no route matches."""
    async with Client(app) as client:
        with pytest.raises(WebSocketDenied) as caught:
            async with client.websocket(path):
                pytest.fail("it was accepted")  # pragma: no cover - must not happen

    assert caught.value.response.status_code == status
    assert caught.value.response.text == ('{"who":"you"}' if status == 401 else "")
