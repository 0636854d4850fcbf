"""The ASGI 2 form of an application."""

import pytest

from nardis import Nardis, get
from nardis.asgi import asgi2, main, wrap
from nardis.testing import Client

pytestmark = pytest.mark.anyio


async def index(req, res):
    await res.send("index")


async def test_a_server_of_asgi_2_calls_it_twice():
    sent = []

    async def send(message):
        sent.append(message)

    double = asgi2(main([get("/", index)]))
    single = double(
        {"type": "http", "http_version": "1.1", "method": "GET", "path": "/", "headers": []}
    )
    await single(None, send)
    assert [message.get("body") for message in sent] == [None, b"index"]


async def test_it_can_be_mounted_again():
    """Lifespan included."""
    app, log = Nardis(), []
    inner = main([get("/", index)])

    @inner.lifespan
    async def lifespan(app):
        log.append("up")
        yield

    app.mount("/two", asgi2(inner))
    async with Client(app) as client:
        assert (await client.get("/two")).text == "index"
    assert log == ["up"]


async def test_wrap_is_here_too():
    import nardis

    assert wrap is nardis.wrap
