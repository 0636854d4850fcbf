"""The handshake: accepted by `ws.accept()` or by the first message, or denied."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import ClientDisconnected, HTTPError, Limits, Nardis, UsageError, WebSocket
from nardis.errors import FieldError
from nardis.testing import Client
from tests.peers.driver import Gate, rest
from tests.websocket.calls import (
    DENIALS,
    VANISH,
    Peer,
    Sockets,
    bye,
    errors,
    text,
)

pytestmark = pytest.mark.anyio


async def accept(ws):
    await ws.accept()


async def send(ws):
    await ws.send("x")


async def send_json(ws):
    await ws.send_json([1])


async def receive(ws):
    await ws.receive()


async def receive_json(ws):
    await ws.receive_json()


async def iterate(ws):
    await anext(aiter(ws))


FIRST = [accept, send, send_json, receive, receive_json, iterate]


@pytest.mark.parametrize("first", FIRST, ids=lambda first: first.__name__)
async def test_the_first_message_either_way_accepts(first):
    app, states = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        states.append((ws.state, ws.subprotocol, ws.close_code, ws.close_reason))
        await first(ws)
        states.append((ws.state, ws.subprotocol, ws.close_code, ws.close_reason))
        with pytest.raises(UsageError, match="called twice, or after a message"):
            await ws.accept()

    async with Sockets(app) as server:
        socket = await server.talked("/", text("[2]"))

    assert states == [("connecting", None, None, ""), ("open", None, None, "")]
    assert socket.kinds[0] == "accept"
    assert socket.closed == (1000, "")


async def slow(message):
    await checkpoint()


@pytest.mark.parametrize("on_send", [None, slow], ids=["fast", "slow"])
async def test_several_tasks_may_begin(on_send):
    """The first one accepts, the others wait for that; messages go out in call order."""
    app, heard = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        async def reads():
            heard.extend([message async for message in ws])

        async with anyio.create_task_group() as group:
            group.start_soon(reads)
            await checkpoint()
            verbs = [ws.send(f"{number}") for number in range(3)]
            for verb in verbs:
                group.start_soon(lambda verb=verb: verb)
                await checkpoint()
                await checkpoint()  # trio runs those that are ready in any order

    async with Sockets(app) as server:
        socket = await server.opened("/", text("hello"), on_send=on_send)
        socket.push(bye())
        await socket.wait()

    assert (heard, socket.said) == (["hello"], ["0", "1", "2"])
    assert socket.kinds == ["accept", "send", "send", "send"]


async def test_messages_keep_their_order_over_the_accept():
    """Those who wait for it stand in the line already, in front of who comes later."""
    app, gate, said = Nardis(), Gate(), [str(number) for number in range(8)]

    @app.websocket("/")
    async def handler(req, ws):
        async with anyio.create_task_group() as group:
            app.state.late = lambda: group.start_soon(ws.send, said[-1])
            for each in said[:-1]:
                group.start_soon(ws.send, each)
                await checkpoint()
                await checkpoint()

    async with Sockets(app) as server:
        socket = await server.opened("/", on_send=gate)
        gate.open()
        app.state.late()
        await socket.wait()

    assert socket.said == said


async def test_what_is_asked_for_before_the_accept_may_be_awaited_behind_it():
    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        message, verb = aiter(ws).__anext__(), ws.send("sent")
        await ws.accept()
        await verb
        await ws.send(await message)

    async with Sockets(app) as server:
        socket = await server.talked("/", text("received"))

    assert (socket.said, socket.closed) == (["sent", "received"], (1000, ""))


async def test_a_request_opens_no_websocket():
    app = Nardis()

    @app.get("/")
    async def page(req, res):
        with pytest.raises(UsageError, match="opens no WebSocket"):
            WebSocket(req, res)
        await res.send("page")

    async with Client(app) as client:
        assert (await client.get("/")).text == "page"


async def test_what_was_set_goes_out_with_the_accept():
    """By middlewares, hooks and the handler; nothing of a body, of which it has none."""
    app = Nardis()

    @app.use
    async def around(req, res, next):
        res.set("x-a", "1").type("text").set("content-language", "en").cookie("c", "1", path="/p")
        res.on_head(lambda: res.append("x-hook", "2"))
        res.vary("accept").etag("e")
        await next()

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept(headers={"X-A": "3", "Set-Cookie": "d=2", "Vary": "cookie, Accept"})

    async with Sockets(app) as server:
        socket = await server.talked("/")

    fields = socket.begun[0]["headers"]
    assert [value for name, value in fields if name == b"x-a"] == [b"3"]
    assert (b"x-hook", b"2") in fields
    assert [value for name, value in fields if name == b"vary"] == [b"accept, cookie"]
    cookies = [value.partition(b";")[0] for name, value in fields if name == b"set-cookie"]
    assert cookies == [b"c=1", b"d=2"]
    assert not [name for name, _ in fields if name.startswith(b"content-")]
    assert socket.begun[0]["subprotocol"] is None


OWN_FIELDS = {
    "Connection": "close",
    "upgrade": "h2c",
    "Sec-WebSocket-Protocol": "v1",
    "sec-websocket-extensions": "x",
}


async def test_fields_of_the_handshake_itself_are_refused(caplog):
    """
    Given to the accept, or set before it, by a middleware or by its hook.

    What a hook says of the connection is for any answer, and is dropped here.
    """
    app = Nardis()

    async def sets(req, res, next):
        res.set(req.query["name"], OWN_FIELDS[req.query["name"]])
        await next()

    async def hooks(req, res, next):
        res.on_head(lambda: res.set(req.query["name"], OWN_FIELDS[req.query["name"]]))
        await next()

    async def accepts(req, ws):
        await ws.accept()

    async def gives(req, ws):
        await ws.accept(headers={req.query["name"]: OWN_FIELDS[req.query["name"]]})

    app.websocket("/given", gives)
    app.websocket("/set", sets, accepts)
    app.websocket("/hook", hooks, accepts)

    async with Sockets(app) as server:
        for name in OWN_FIELDS:
            for path in ("/given", "/set", "/hook"):
                socket = await server.talked(path, query_string=f"name={name}".encode())
                if path == "/hook" and not name.lower().startswith("sec-"):
                    assert socket.begun[0]["headers"] == []
                    continue
                assert (socket.denied, socket.error) == (500, None), path
                (said,) = errors(caplog)
                assert "belongs to the handshake itself" in said
                caplog.clear()


async def test_a_field_that_http_does_not_allow_is_refused():
    """Nor one of the handshake's own; none of these stays behind, and another accept works."""
    app, refused = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        for name, value in [("x y", "1"), ("x", "a\nb"), *OWN_FIELDS.items()]:
            with pytest.raises(UsageError if name in OWN_FIELDS else FieldError):
                await ws.accept(headers={name: value})
            refused.append(name)
        await ws.accept()

    async with Sockets(app) as server:
        socket = await server.talked("/")

    assert refused == ["x y", "x", *OWN_FIELDS]
    assert socket.closed == (1000, "")


async def test_a_hook_that_fails_is_a_500(caplog):
    """Nothing has left by then."""
    app = Nardis()

    @app.use
    async def hooks(req, res, next):
        res.on_head(lambda: 1 / (res.status_code - 200))
        await next()

    @app.websocket("/")
    async def accepts(req, ws):
        await ws.accept()

    async with Sockets(app) as server:
        socket = await server.talked("/")

    assert (socket.denied, socket.error) == (500, None)
    assert len(errors(caplog)) == 1


CHOSEN = [
    # Of the route, of the client, given to the accept, and chosen.
    ((), [], None, None),
    ((), ["v1"], None, None),
    (("v2", "v1"), [], None, None),
    (("v2", "v1"), None, None, None),
    (("v2", "v1"), ["v1", "v2"], None, "v2"),
    (("v2", "v1"), ["v3", "v1"], None, "v1"),
    (["v2"], ["V2"], None, None),
    (("v2", "v1"), ["v1", "v2"], "v1", "v1"),
    ((), ["other"], "other", "other"),
]


async def test_the_first_of_ours_that_is_offered_is_chosen():
    found = []
    for ours, offered, given, _ in CHOSEN:
        app = Nardis()

        @app.websocket("/", subprotocols=ours)
        async def handler(req, ws, given=given, offered=offered):
            assert ws.subprotocols == (offered or [])
            await ws.accept(given)
            await ws.send(str(ws.subprotocol))

        async with Sockets(app) as server:
            socket = await server.talked("/", subprotocols=offered)
        chosen = socket.begun[0]["subprotocol"]
        assert socket.said == [str(chosen)]
        found.append((ours, offered, given, chosen))
    assert found == CHOSEN


async def test_a_subprotocol_that_was_not_offered_is_refused():
    """The client would end the connection."""
    app, refused = Nardis(), []

    @app.websocket("/", subprotocols=["v2"])
    async def handler(req, ws):
        with pytest.raises(UsageError, match=r"'v2', only \['v1'\]"):
            await ws.accept("v2")
        refused.append(ws.state)
        await ws.send(str(ws.subprotocol))

    async with Sockets(app) as server:
        socket = await server.talked("/", subprotocols=["v1"])

    assert refused == ["connecting"]
    assert socket.said == ["None"]


async def test_an_accept_can_be_cancelled_while_the_server_is_silent():
    app, log = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        with anyio.CancelScope() as scope:
            log.append(scope)
            await ws.accept()
        await ws.send(ws.state)

    async with Sockets(app) as server:
        socket = await server.opened("/", connect=False)
        log[0].cancel()
        await rest()
        socket.push({"type": "websocket.connect"})
        await socket.wait()

    assert socket.said == ["connecting"]


@pytest.mark.parametrize("again", [False, True], ids=["returns", "tries again"])
async def test_an_accept_that_was_cancelled_half_way_is_nothing_to_go_on_with(again):
    """The server may have it or not: only its call can fail."""
    app, scopes, gate = Nardis(), [], Gate()

    @app.websocket("/")
    async def handler(req, ws):
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await ws.accept()
        if again:
            await ws.accept()

    async with Sockets(app) as server:
        socket = await server.opened("/", text("x"), on_send=gate)
        scopes[0].cancel()
        await rest()
        gate.open()
        await socket.wait()

        assert socket.kinds == ["accept"]
        assert socket.error is not None
        assert not server.exchanges


@pytest.mark.parametrize("cancels", [True, False])
@pytest.mark.parametrize("told", ["by the server", "by our runner"])
async def test_a_client_that_leaves_before_the_accept(told, cancels):
    """Its handler is cancelled, or told at the accept if it opted out; nothing is sent."""
    app, log = Nardis(cancel_on_disconnect=cancels), []
    go = anyio.Event()

    @app.use
    async def around(req, res, next):
        try:
            await next()
        finally:
            log.append(req.close_reason)

    @app.websocket("/")
    async def handler(req, ws):
        try:
            await go.wait()
        except anyio.get_cancelled_exc_class():
            log.append("cancelled")
            raise
        try:
            await ws.accept()
        except ClientDisconnected:
            log.append(ws.state)
            raise

    peer = Peer() if told == "by our runner" else None
    async with Sockets(app) as server:
        socket = await server.opened("/", peer=peer)
        await server.watched()
        socket.push(VANISH)
        if peer is not None:
            peer.away = True
            peer.listener.closed(1006, "")
        await rest()
        assert socket.ended.is_set() is cancels
        go.set()
        await socket.wait()
        assert not server.exchanges

    assert log == ["cancelled" if cancels else "closed", "gone"]
    assert socket.begun == []
    assert socket.error is None


async def test_a_client_that_our_runner_has_lost_is_looked_for():
    """It may be gone, and the news of it not."""
    app, peer = Nardis(), Peer()

    @app.websocket("/")
    async def handler(req, ws):
        await anyio.sleep_forever()

    async with Sockets(app) as server:
        socket = await server.opened("/", peer=peer)
        await server.tick()
        assert not socket.ended.is_set()
        peer.away = True
        await server.tick()
        assert socket.ended.is_set()
        assert not server.exchanges

    assert (socket.begun, socket.error) == ([], None)


@pytest.mark.parametrize("peer", [None, Peer()], ids=["server", "runner"])
async def test_a_denial_that_has_begun_to_end_is_sent_to_its_end(peer):
    """The client need not stay for it, and may leave as soon as it has all."""
    app, gate = Nardis(), Gate()

    @app.websocket("/")
    async def handler(req, ws):
        raise HTTPError(403)

    async with Sockets(app) as server:
        socket = await server.opened("/", peer=peer, on_send=gate)
        await gate.let()
        await gate.reached()
        await server.tick()
        if peer is not None:
            peer.listener.closed(1006, "")
        await rest()
        gate.open()
        await socket.wait()

    assert socket.kinds == ["start", "body"]
    assert (socket.denied, socket.error) == (403, None)


async def test_a_client_that_leaves_while_it_is_accepted():
    """Our runner says so before the server's send returns: nothing follows the accept."""
    app, log, peer = Nardis(), [], Peer()

    @app.websocket("/")
    async def handler(req, ws):
        try:
            await ws.send("x")
        finally:
            log.append((req.close_reason, ws.state))

    async def leaves(message):
        peer.listener.closed(1006, "")

    async with Sockets(app) as server:
        socket = await server.talked("/", peer=peer, on_send=leaves)
        assert not server.exchanges

    assert socket.kinds == ["accept"]
    assert [reason for reason, _ in log] == ["gone"]


async def test_a_client_that_never_asked_is_nobody():
    """A disconnect may be the first thing that a server says."""
    app, log = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        try:
            await ws.receive()
        finally:
            log.append(req.close_reason)

    @app.websocket("/denies")
    async def denies(req, ws):
        raise HTTPError(403)

    async with Sockets(app) as server:
        for path in ("/", "/denies", "/nothing"):
            socket = await server.talked(path, VANISH, connect=False)
            assert (socket.begun, socket.error) == ([], None)

    assert log == ["gone"]


@pytest.mark.parametrize("extensions", [DENIALS, {}, None], ids=["answers", "closes", "absent"])
async def test_what_takes_too_long_is_denied(extensions, caplog):
    app = Nardis(limits=Limits(handler_s=3))

    @app.websocket("/")
    async def handler(req, ws):
        await anyio.sleep_forever()

    async with Sockets(app) as server:
        socket = await server.opened("/", extensions=extensions)
        await server.tick(2)
        assert not socket.ended.is_set()
        await server.tick(2)
        await socket.wait()

    assert socket.denied == (503 if extensions else 403)


async def test_an_accept_that_is_not_taken_is_a_stall(caplog):
    app, gate = Nardis(), Gate()

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()

    async with Sockets(app) as server:
        socket = await server.opened("/", on_send=gate)
        await server.tick(61)
        await socket.wait()

    assert socket.kinds == ["accept"]
    assert socket.error is not None


async def test_at_the_shutdown_a_handshake_is_denied():
    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        await anyio.sleep_forever()

    async with Sockets(app) as server:
        socket = await server.opened("/")
        server.shut_down()
        await socket.wait()

    assert socket.denied == 503


async def test_a_handler_that_never_accepts_is_named(caplog):
    app = Nardis()

    @app.websocket("/")
    async def forgetful(req, ws):
        """Return at once."""

    async with Sockets(app) as server:
        socket = await server.talked("/")

    assert socket.denied == 500
    (said,) = errors(caplog)
    assert "forgetful()" in said
    assert "ws.accept()" in said


async def test_what_has_begun_to_be_denied_is_not_accepted(caplog):
    """The answer that a middleware has begun is cut, as any that fails."""
    app = Nardis()

    @app.use
    async def wavers(req, res, next):
        await res.status(401).write("no")
        await next()

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()

    async with Sockets(app) as server:
        socket = await server.talked()

    assert socket.kinds == ["start", "body"]
    assert "cannot accept the WebSocket" in str(socket.error)
    (said,) = errors(caplog)
    assert "truncated=True" in said


async def test_a_close_before_the_accept_refuses():
    """With 403 and the reason; what the code would be nobody hears."""
    app, states = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.close(4001, "not you")
        states.append((ws.state, ws.close_code, ws.close_reason))
        await ws.close()
        with pytest.raises(UsageError, match="accept the WebSocket"):
            await ws.send("x")

    async with Sockets(app) as server:
        answered = await server.talked("/")
        closed = await server.talked("/", extensions={})

    assert (answered.denied, answered.talk.denial_body) == (403, b"not you")
    assert (closed.denied, closed.kinds) == (403, ["close"])
    assert states == [("closed", None, "")] * 2


async def test_a_denial_over_http2_never_looks_like_an_accept():
    """A 2xx would be one (RFC 8441 §5)."""
    app = Nardis()

    @app.use
    async def answers(req, res, next):
        await res.send("a page")

    async with Sockets(app) as server:
        socket = await server.talked("/", http_version="2")
        assert socket.denied is not None
        assert socket.denied >= 300
        assert (await server.talked("/")).denied == 200


async def test_a_handler_that_refuses_keeps_its_cookies(caplog):
    """A client of ours keeps them too."""
    app = Nardis()

    @app.use
    async def signs(req, res, next):
        res.cookie("seen", "1")
        await next()

    @app.websocket("/")
    async def handler(req, ws):
        if "seen" not in req.cookies:
            await ws.close()
        else:
            await ws.send("again")

    async with Client(app) as client:
        with pytest.raises(Exception, match="403"):
            await client.websocket("/").__aenter__()
        async with client.websocket("/") as ws:
            assert await ws.receive() == "again"


async def test_the_choice_is_known_before_it():
    app, seen = Nardis(), []

    @app.websocket("/", subprotocols=["v2", "v1"])
    async def handler(req, ws):
        seen.append(ws.subprotocol)
        await ws.accept("v1")
        seen.append(ws.subprotocol)

    async with Sockets(app) as server:
        for offer in (["v1", "v2"], ["v1"]):
            await server.talked("/", subprotocols=offer)

    assert seen == ["v2", "v1", "v1", "v1"]


async def test_a_handshake_that_is_aborted_is_a_500(caplog):
    app = Nardis()

    @app.use
    async def cuts(req, res, next):
        assert not req.exchange.has_started()
        await res.abort()

    async with Sockets(app) as server:
        socket = await server.talked()

    assert socket.denied == 500
    assert errors(caplog) == []


async def test_a_conversation_has_started_with_it():
    """What has started is cut where it fails, and never answered anew."""
    app, started = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        started.append(req.exchange.socket.has_started())

    async with Sockets(app) as server:
        await server.talked()

    assert started == [True]
