"""WebSockets behind foreign middlewares: `wrap()` changes nothing of what is promised."""

from __future__ import annotations

import anyio
import pytest
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware

from nardis import HTTPError, Limits, Nardis, wrap
from tests.peers.driver import rest
from tests.websocket.calls import Peer, Sockets, bye, errors, text

pytestmark = pytest.mark.anyio


class PassThrough:
    """A middleware with nothing to do."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


class Renames(PassThrough):
    """Changes the scope, and what goes through it."""

    async def __call__(self, scope, receive, send):
        async def shouts(message):
            if message["type"] == "websocket.send":
                message = {**message, "text": message["text"].upper()}
            if message["type"] == "websocket.accept":
                message = {**message, "headers": [*message["headers"], (b"x-between", b"1")]}
            await send(message)

        await self.app({**scope, "subprotocols": ["v9"]}, receive, shouts)


class Swallows(PassThrough):
    """Hides what fails behind it."""

    async def __call__(self, scope, receive, send):
        try:
            await super().__call__(scope, receive, send)
        except Exception:
            self.app = self.app


class TimesOut(PassThrough):
    """Ends what is behind it, and says nothing of that."""

    async def __call__(self, scope, receive, send):
        with anyio.CancelScope() as scope["state"]["scope"]:
            await self.app(scope, receive, send)


class Chatty(PassThrough):
    """Has the last word."""

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)
        await send({"type": "websocket.send", "text": "one more thing"})


class InATask(PassThrough):
    """Runs what is behind it in a task of its own."""

    async def __call__(self, scope, receive, send):
        async with anyio.create_task_group() as group:
            group.start_soon(self.app, scope, receive, send)


async def nothing(request, call_next):
    raise AssertionError("it is for requests")  # pragma: no cover - must not happen


MIDDLEWARES = {
    "raw": wrap(PassThrough),
    "two": [wrap(PassThrough), wrap(PassThrough)],
    "in a task": wrap(InATask),
    "swallows": wrap(Swallows),
    "Starlette's": wrap(BaseHTTPMiddleware, dispatch=nothing),
    "CORS": wrap(CORSMiddleware, allow_origins=["*"]),
}
BEHIND = pytest.mark.parametrize("middleware", MIDDLEWARES)


def behind(middleware, handler, **options):
    """Make an application with *handler* behind a middleware, and `log` around that."""
    app = Nardis(**options)
    app.state.log = []

    @app.use
    async def around(req, res, next):
        async def last():
            app.state.log.append("deferred")

        req.defer(last)
        res.set("x-outer", "1").set("x-both", "outer").append("set-cookie", "a=1")
        res.on_head(lambda: res.set("x-hook", "1"))
        try:
            await next()
        finally:
            app.state.log.append((req.close_reason, res.started))

    wrapped = MIDDLEWARES[middleware]
    app.use(*wrapped) if isinstance(wrapped, list) else app.use(wrapped)

    @app.use
    async def inside(req, res, next):
        res.set("x-inner", "1").set("x-both", "inner").append("set-cookie", "b=2")
        await next()

    if handler is not None:
        app.websocket("/", subprotocols=["v1"])(handler)
    return app


def values_of(socket):
    """Return the fields of its head, without those of a body."""
    fields = {}
    for name, value in socket.begun[0]["headers"]:
        fields.setdefault(name.decode(), []).append(value.decode())
    return {name: fields.get(name) for name in ("x-outer", "x-both", "x-inner", "x-hook")}


@BEHIND
async def test_a_conversation_passes_through(middleware, caplog):
    """The fields of all go out with the accept; the end is told, and its reason known outside."""

    async def echo(req, ws):
        async for message in ws:
            await ws.send(f"{message} {req.path} {ws.subprotocol}")

    app = behind(middleware, echo)
    async with Sockets(app) as server:
        socket = await server.opened("/", text("a"), subprotocols=["v1"])
        assert socket.said == ["a / v1"]
        assert socket.begun[0]["subprotocol"] == "v1"
        cookies = [value for name, value in socket.begun[0]["headers"] if name == b"set-cookie"]
        assert sorted(cookies) == [b"a=1", b"b=2"]
        assert {**values_of(socket), "x-both": None} == {
            "x-outer": ["1"],
            "x-inner": ["1"],
            "x-hook": ["1"],
            "x-both": None,
        }
        assert "inner" in values_of(socket)["x-both"]
        socket.push(bye(4000))
        await socket.wait()
        assert not server.exchanges

    assert app.state.log == [("gone", True), "deferred"]
    assert (socket.kinds, socket.error, errors(caplog)) == (["accept", "send"], None, [])


async def test_a_middleware_may_change_what_it_passes_on():
    app = Nardis()
    app.use(wrap(Renames))

    @app.websocket("/", subprotocols=["v1"])
    async def handler(req, ws):
        await ws.send(f"hello {ws.subprotocols} {ws.subprotocol}")

    async with Sockets(app) as server:
        socket = await server.talked("/", subprotocols=["v1", "v9"])

    assert socket.said == ["HELLO ['V9'] NONE"]
    assert (b"x-between", b"1") in socket.begun[0]["headers"]


# What a handler does past the accept, what its client hears, and how many lines are logged.
ENDED = {
    "returns": (None, (1000, ""), 0),
    "fails": (KeyError("k"), (1011, ""), 1),
    "refuses": (HTTPError(415, "text"), (1003, "text"), 1),
    "exits": (SystemExit(2), (1011, ""), 1),
}


@BEHIND
@pytest.mark.parametrize("end", ENDED)
async def test_the_end_of_the_handler_is_told_and_logged_once(middleware, end, caplog):
    """Also where a middleware swallows its error."""
    error, closed, lines = ENDED[end]

    async def handler(req, ws):
        await ws.accept()
        if error is not None:
            raise error

    app = behind(middleware, handler)
    async with Sockets(app) as server:
        for peer in (None, Peer()):
            socket = await server.talked("/", peer=peer)
            assert (socket.closed, socket.error) == (closed, None)
            assert len(errors(caplog)) == lines
            caplog.clear()
        assert not server.exchanges

    assert app.state.log == [(None, True), "deferred"] * 2


DENIED = {
    "refuses": (HTTPError(418, "no"), 418, 0),
    "fails": (KeyError("k"), 500, 1),
    "is silent": (None, 500, 1),
    "exits": (SystemExit(2), 500, 1),
}


@BEHIND
@pytest.mark.parametrize("end", DENIED)
async def test_a_denial_is_the_answer_of_both(middleware, end, caplog):
    """With the fields of what stands around the middleware, by whom they may be asked for."""
    error, status, lines = DENIED[end]

    async def handler(req, ws):
        if error is not None:
            raise error

    app = behind(middleware, handler)
    async with Sockets(app) as server:
        for peer in (None, Peer()):
            socket = await server.talked("/", peer=peer)
            assert (socket.denied, socket.error) == (status, None)
            assert values_of(socket)["x-outer"] == ["1"] or middleware == "swallows"
            assert len(errors(caplog)) == lines
            caplog.clear()
        assert not server.exchanges


@BEHIND
async def test_a_client_that_leaves_cancels_the_handler(middleware, caplog):
    """At once, whether the server or our runner tells it, before the accept and after."""
    log = []

    async def handler(req, ws):
        if req.query.get("accepts"):
            await ws.accept()
        try:
            await anyio.sleep_forever()
        finally:
            log.append(req.close_reason)

    app = behind(middleware, handler)
    async with Sockets(app) as server:
        for peer in (None, Peer()):
            for query in (b"", b"accepts=1"):
                socket = await server.opened("/", peer=peer, query_string=query)
                await server.watched()
                if peer is not None:
                    peer.listener.closed(1001, "")
                    await rest()
                    assert socket.ended.is_set()
                socket.push(bye(1001))
                await rest()
                assert socket.ended.is_set()
                assert socket.error is None
                assert log in (["gone"], [None])  # the handshake outside may hear of it first
                log.clear()
        assert not server.exchanges

    assert app.state.log == [("gone", False), "deferred", ("gone", True), "deferred"] * 2
    assert errors(caplog) == []


@BEHIND
async def test_limits_and_the_shutdown_reach_the_handler(middleware, caplog):
    async def handler(req, ws):
        await ws.accept()
        await anyio.sleep_forever()

    app = behind(middleware, handler, limits=Limits(handler_s=10))
    async with Sockets(app) as server:
        socket = await server.opened()
        server.shut_down()
        await socket.wait()
        assert socket.closed == (1012, "the server restarts")
        socket = await server.opened()
        await server.tick(11)
        await socket.wait()
        assert socket.closed == (1011, "the handler took too long")
        assert not server.exchanges

    assert app.state.log == [("shutdown", True), "deferred", ("deadline", True), "deferred"]


@BEHIND
async def test_the_options_of_the_route_count(middleware, caplog):
    """Its limits and its opting out, before the accept and after."""
    log = []

    async def handler(req, ws):
        if req.query.get("accepts"):
            await ws.accept()
        try:
            await anyio.sleep_forever()
        finally:
            log.append(req.close_reason)

    app = behind(middleware, None)
    app.websocket("/limits", handler, limits=Limits(handler_s=3))
    app.websocket("/out", handler, cancel_on_disconnect=False, limits=Limits(handler_s=30))
    async with Sockets(app) as server:
        for query in (b"", b"accepts=1"):
            socket = await server.opened("/limits", query_string=query)
            await server.tick(2)
            assert not socket.ended.is_set()
            await server.tick(2)
            await socket.wait()
            assert socket.denied == (None if query else 503)
            assert log == ["deadline"]
            log.clear()
        socket = await server.opened("/out", query_string=b"accepts=1")
        await server.watched()
        socket.push(bye())
        await server.tick(7)
        assert not socket.ended.is_set()
        await server.tick(30)
        await socket.wait()
        assert log == ["gone"]
        assert not server.exchanges


async def test_a_middleware_may_deny_or_accept_by_itself(caplog):
    class Denies(PassThrough):
        async def __call__(self, scope, receive, send):
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    class Answers(PassThrough):
        async def __call__(self, scope, receive, send):
            await receive()
            head = {"status": 401, "headers": [(b"x-foreign", b"1")]}
            await send({"type": "websocket.http.response.start", **head})
            await send({"type": "websocket.http.response.body", "body": b"who?"})

    class Accepts(PassThrough):
        async def __call__(self, scope, receive, send):
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 4000, "reason": ""})

    class Wavers(PassThrough):
        async def __call__(self, scope, receive, send):
            await receive()
            await send({"type": "websocket.http.response.start", "status": 401})
            await send({"type": "websocket.http.response.body", "body": b"x", "more_body": True})
            await send({"type": "websocket.accept"})

    async def handler(req, ws):
        """Never run."""

    app = Nardis()
    all_of_them = [("/d", Denies), ("/q", Answers), ("/a", Accepts), ("/w", Wavers)]
    for path, middleware in all_of_them:
        app.websocket(path, wrap(middleware), handler)
    async with Sockets(app) as server:
        assert (await server.talked("/d")).denied == 403
        answered = await server.talked("/q")
        assert (answered.denied, answered.talk.denial_body) == (401, b"who?")
        assert (b"x-foreign", b"1") in answered.begun[0]["headers"]
        assert (await server.talked("/q", extensions={})).denied == 403
        assert (await server.talked("/a")).closed == (4000, "")
        assert errors(caplog) == []
        wavering = await server.talked("/w")
        assert wavering.kinds == ["start", "body"]
        assert wavering.error is not None
        assert len(errors(caplog)) == 1
        assert not server.exchanges


async def test_one_that_ends_the_handler_half_way_is_a_failure(caplog):
    """Before the accept it is a denial, after it 1011."""
    scopes = {}

    async def handler(req, ws):
        if req.query.get("accepts"):
            await ws.accept()
        await anyio.sleep_forever()

    app = Nardis()
    app.use(wrap(TimesOut))
    app.websocket("/", handler)
    async with Sockets(app) as server:
        for query in (b"", b"accepts=1"):
            socket = await server.opened("/", query_string=query, state=scopes)
            scopes["scope"].cancel()
            await socket.wait()
            ended = socket.closed or socket.denied
            assert ended == ((1011, "") if query else 500)
            assert len(errors(caplog)) == 1
            caplog.clear()


async def test_an_error_that_one_swallows_before_the_accept_is_told(caplog):
    async def handler(req, ws):
        raise KeyError("k")

    app = Nardis()
    app.use(wrap(Swallows))
    app.websocket("/", handler)
    async with Sockets(app) as server:
        socket = await server.talked()

    assert socket.denied == 500
    assert [each.exc_info[0] for each in caplog.records] == [KeyError]


async def test_nothing_that_one_says_follows_the_close_of_the_handler():
    async def handler(req, ws):
        await ws.accept()
        await ws.close(4000)

    app = Nardis()
    app.use(wrap(Chatty))
    app.websocket("/", handler)
    async with Sockets(app) as server:
        socket = await server.talked()

    assert (socket.kinds, socket.closed) == (["accept", "close"], (4000, ""))
