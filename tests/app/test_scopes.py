"""What the application does with other connections than HTTP."""

import pytest

from nardis import Nardis, UsageError

pytestmark = pytest.mark.anyio


async def test_a_websocket_is_refused_before_it_is_accepted():
    """The server answers the handshake with 403."""
    received, sent = [], []

    async def receive():
        received.append(1)
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    await Nardis()({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert len(received) == 1
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize("kind", ["", "mqtt", "http.request"])
async def test_an_unknown_scope_is_an_error_that_names_it(kind):
    """ASGI asks for an exception."""

    async def unused(*args):
        pytest.fail("nothing is received or sent")  # pragma: no cover - must not happen

    with pytest.raises(UsageError, match=repr(kind)):
        await Nardis()({"type": kind}, unused, unused)


async def test_a_request_without_a_lifespan_is_served_alone():
    """Under a server that sends no lifespan events; nothing is left behind."""
    app, sent = Nardis(), []

    @app.get("/")
    async def index(req, res):
        await res.send("ok")

    async def receive():
        return {"type": "http.request"}  # pragma: no cover - nobody reads

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/", "headers": []}
    await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert app.life.sweeper is None


async def test_an_error_of_a_request_without_a_lifespan_is_the_error_itself():
    """Not a group around it."""
    app = Nardis()

    @app.get("/")
    async def fails(req, res):
        await res.write("half")
        raise KeyError("k")

    async def receive():
        return {"type": "http.request"}  # pragma: no cover - nobody reads

    async def send(message):
        pass

    with pytest.raises(KeyError):
        await app(
            {"type": "http", "http_version": "1.1", "method": "GET", "path": "/", "headers": []},
            receive,
            send,
        )
