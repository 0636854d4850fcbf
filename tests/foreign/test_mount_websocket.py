"""
WebSockets of mounted applications: the chain runs for the handshake, and who is mounted gets the
connection.
"""

import pytest

from nardis import HTTPError, Nardis, wrap
from nardis.testing import Client
from tests.peers.asgi import websocket

pytestmark = pytest.mark.anyio

DENIALS = {"websocket.http.response": {}}


async def echo(scope, receive, send):
    assert "method" not in scope
    await receive()
    await send({"type": "websocket.accept", "headers": [(b"x-root", scope["root_path"].encode())]})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def kinds(socket):
    return [message["type"] for message in socket.sent]


@pytest.mark.parametrize("lifespan", [True, False])
async def test_it_gets_the_connection(lifespan):
    app = Nardis()
    app.mount("/chat", echo)
    async with Client(app, lifespan=lifespan), websocket(app, "/chat/room") as socket:
        socket.say("hello")
        socket.leave()
        await socket.ended.wait()
    assert socket.sent == [
        {"type": "websocket.accept", "headers": [(b"x-root", b"/chat")]},
        {"type": "websocket.send", "text": "hello"},
    ]
    assert socket.error is None


async def test_middlewares_stand_around_it_and_their_fields_go_out_with_accept():
    app, log = Nardis(), []

    @app.use
    async def around(req, res, next):
        res.on_head(lambda: res.append("set-cookie", "a=1"))
        log.append((req.method, req.path, await req.bytes()))
        await next()
        log.append(res.started)

    app.mount("/chat", echo)
    async with websocket(app, "/chat") as socket:
        socket.leave()
    assert socket.sent[0]["headers"] == [(b"x-root", b"/chat"), (b"set-cookie", b"a=1")]
    assert log == [("GET", "/chat", b""), True]


async def says_more(scope, receive, send):
    await receive()
    fields = [(b"X-Id", b"inner"), (b"set-cookie", b"b=2"), (b"vary", b"cookie, accept")]
    await send({"type": "websocket.accept", "headers": [*fields, (b"connection", b"close")]})
    await send({"type": "websocket.close"})


@pytest.mark.parametrize("place", ["mounted", "wrapped"])
async def test_its_fields_go_into_the_head_as_those_of_any_answer(place):
    """Replaced by name; cookies and names of Vary are added, and hooks see all of them."""
    app, seen = Nardis(), []

    @app.use
    async def around(req, res, next):
        res.set("x-id", "outer").append("set-cookie", "a=1").vary("accept")
        res.on_head(lambda: seen.append(res.get("x-id")))
        await next()

    if place == "mounted":
        app.mount("/", says_more)
    else:
        app.use(wrap(lambda inner: says_more))
    async with websocket(app, "/") as socket:
        await socket.ended.wait()
    assert sorted(socket.sent[0]["headers"]) == [
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"vary", b"accept, cookie"),
        (b"x-id", b"inner"),
    ]
    assert seen == ["inner"]


@pytest.mark.parametrize("large", [False, True])
async def test_a_guard_refuses_the_handshake(large):
    """With its own response where the server can send one, else with a close, which is a 403."""
    app = Nardis()

    @app.use
    async def guard(req, res, next):
        if large:
            await res.status(401).send("x" * 100_000)
        raise HTTPError(401)

    app.mount("/chat", echo)
    async with websocket(app, "/chat") as socket:
        pass
    assert kinds(socket) == ["websocket.close"]
    async with websocket(app, "/chat", extensions=DENIALS) as socket:
        pass
    assert kinds(socket)[:2] == ["websocket.http.response.start", "websocket.http.response.body"]
    assert socket.sent[0]["status"] == 401
    assert sum(len(each["body"]) for each in socket.sent[1:]) >= 100_000 * large


async def test_routes_never_match_one():
    """Not even those of any method; without a mount it is a 404."""
    app = Nardis()

    @app.get("/chat")
    @app.post("/chat")
    @app.all("/chat")
    async def http(req, res):
        """Never run."""

    async with websocket(app, "/chat", extensions=DENIALS) as socket:
        pass
    assert socket.sent[0]["status"] in (404, 405)


async def test_an_error_past_the_accept_goes_to_the_server():
    app, log = Nardis(), []

    async def cleans():
        log.append("deferred")

    @app.use
    async def around(req, res, next):
        req.defer(cleans)
        await next()

    async def fails(scope, receive, send):
        await send({"type": "websocket.accept"})
        raise KeyError("k")

    app.mount("/chat", fails)
    async with websocket(app, "/chat") as socket:
        pass
    assert isinstance(socket.error, KeyError)
    assert log == ["deferred"]


@pytest.mark.parametrize("hears", [False, True])
async def test_an_error_before_the_accept_is_answered(hears, caplog):
    """By the handlers of errors that stand around it."""
    app = Nardis()

    @app.error(LookupError)
    async def missing(err, req, res):
        await res.status(404).send(f"{err} is missing")

    async def fails(scope, receive, send):
        if hears:
            await receive()
        raise KeyError("k")

    app.mount("/chat", fails)
    async with websocket(app, "/chat", extensions=DENIALS) as socket:
        pass
    assert [socket.sent[0]["status"], socket.sent[1]["body"]] == [404, b"'k' is missing"]
    assert socket.error is None


async def test_its_denial_has_the_fields_that_stand_around_it():
    """Also a plain close before the accept, which is a 403."""
    app = Nardis()

    @app.use
    async def around(req, res, next):
        res.on_head(lambda: res.set("x-around", "1"))
        await next()

    async def denies(scope, receive, send):
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"a", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"b"})

    async def closes(scope, receive, send):
        await send({"type": "websocket.close"})

    app.mount("/denies", denies)
    app.mount("/closes", closes)
    for path, status, body in (("/denies", 401, b"ab"), ("/closes", 403, b"")):
        async with websocket(app, path, extensions=DENIALS) as socket:
            pass
        assert socket.sent[0]["status"] == status
        assert (b"x-around", b"1") in socket.sent[0]["headers"]
        assert b"".join(each["body"] for each in socket.sent[1:]) == body


async def test_an_error_before_it_denies_it(caplog):
    app = Nardis()

    @app.use
    async def fails(req, res, next):
        raise KeyError("k")

    async with websocket(app, "/chat", extensions=DENIALS) as socket:
        pass
    assert socket.sent[0]["status"] == 500


async def test_an_opening_that_nobody_answers_is_denied(caplog):
    """It is a fault of the program, and named in the log, as for a request."""
    app = Nardis()

    @app.use
    async def forgetful(req, res, next):
        pass

    async with websocket(app, "/chat", extensions=DENIALS) as socket:
        pass
    assert (kinds(socket)[0], socket.sent[0]["status"]) == ("websocket.http.response.start", 500)
    assert "forgetful" in caplog.text


async def test_a_middleware_that_begins_a_denial_ends_it_by_returning():
    app = Nardis()

    @app.use
    async def begins(req, res, next):
        await res.status(403).write("no")

    async with websocket(app, "/chat", extensions=DENIALS) as socket:
        pass
    assert [message.get("body") for message in socket.sent[1:]] == [b"no", b""]
