"""What goes with a request: version, scheme, peers, scope, app, state and close_reason."""

import pytest

from nardis import Nardis
from nardis.testing import Client

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("version", ["1.0", "1.1", "2", "3"])
async def test_http_version_is_the_servers(ask, version):
    assert await ask(lambda req: req.http_version, client={"http_version": version}) == version


async def test_scheme_and_server_are_what_the_client_asked(ask):
    assert await ask(lambda req: (req.scheme, req.server), url="https://example.org/x") == (
        "https",
        ("example.org", 443),
    )


@pytest.mark.parametrize("peer", [("10.1.2.3", 1234), None])
async def test_client_is_the_peer_or_none(ask, peer):
    assert await ask(lambda req: req.client, client={"client": peer}) == peer


async def test_what_a_server_leaves_out_has_a_default():
    app, seen = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        seen.append((req.scheme, req.client, req.server))
        await res.send()

    async def server(scope, receive, send):
        left_out = ("scheme", "client", "server")
        await app(
            {name: value for name, value in scope.items() if name not in left_out}, receive, send
        )

    async with Client(server) as client:
        await client.get("/")

    assert seen == [("http", None, None)]


async def test_scope_and_app_are_at_hand():
    app, seen = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        seen.append((req.app, req.scope["type"], req.scope["method"]))
        await res.send()

    async with Client(app) as client:
        await client.get("/")

    assert seen == [(app, "http", "GET")]


async def test_state_goes_from_middleware_to_handler_and_no_further():
    app, seen = Nardis(), []

    @app.use
    async def authenticate(req, res, next):
        seen.append(vars(req.state).copy())
        req.state.user = "ada"
        await next()

    @app.get("/")
    async def handler(req, res):
        await res.send(req.state.user)

    async with Client(app) as client:
        texts = [(await client.get("/")).text for _ in range(2)]

    assert texts == ["ada", "ada"]
    assert seen == [{}, {}]


async def test_close_reason_is_none_while_nothing_happened(ask):
    assert await ask(lambda req: req.close_reason) is None


async def test_close_reason_is_gone_when_the_client_left():
    app, seen = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        try:
            seen.append(await req.body.receive())
            await req.body.receive()
        finally:
            seen.append(req.close_reason)

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.send(b"half")
        await response.disconnect()

    assert seen == [b"half", "gone"]
