"""How a conversation ends: what the client hears, what the handler has time for, what is logged."""

from __future__ import annotations

from itertools import product

import anyio
import pytest

from nardis import ClientDisconnected, HTTPError, Limits, Nardis, shielded
from nardis._exchange import socket as socket_of_ours
from nardis.testing import Client, WebSocketClosed
from tests.peers.driver import Gate, rest
from tests.websocket.calls import VANISH, Peer, Sockets, bye, errors, text

pytestmark = pytest.mark.anyio


class LikeABomb(BaseException):
    """Nothing that a handler should raise."""


def group_of(*errors):
    return BaseExceptionGroup("several", errors)


# What a handler raises, the Close that its client gets, and what is logged.
RAISED = [
    (KeyError("secret"), (1011, ""), "ERROR"),
    (HTTPError(400, "no JSON"), (1007, "no JSON"), "WARNING"),
    (HTTPError(422, "no point"), (1007, "no point"), "WARNING"),
    (HTTPError(413, "x" * 200), (1009, "x" * 123), "WARNING"),
    (HTTPError(415, "\u20ac" * 50), (1003, "\u20ac" * 41), "WARNING"),
    (HTTPError(403), (1008, ""), "WARNING"),
    (HTTPError(429, "half \ud800"), (1008, "half ?"), "WARNING"),
    (HTTPError(500, "secret"), (1011, ""), "ERROR"),
    (HTTPError(503), (1011, ""), "ERROR"),
    (SystemExit(2), (1011, ""), "ERROR"),
    (LikeABomb(), (1011, ""), "ERROR"),
    (GeneratorExit(), (1011, ""), "ERROR"),
    (StopAsyncIteration(), (1011, ""), "ERROR"),
    (ClientDisconnected("another one left"), (1011, ""), "ERROR"),
    (group_of(KeyError("a"), ValueError("b")), (1011, ""), "ERROR"),
    (group_of(HTTPError(415, "text")), (1003, "text"), "WARNING"),
    (group_of(ClientDisconnected("one"), KeyError("k")), (1011, ""), "ERROR"),
    (group_of(group_of(ClientDisconnected("another one left"))), (1011, ""), "ERROR"),
    (group_of(LikeABomb()), (1011, ""), "ERROR"),
]


async def test_what_a_handler_raises_is_told_and_logged_once(caplog):
    """No error handler is asked: nothing can be answered any more. It reaches nobody else."""
    app = Nardis()

    @app.error(500)
    @app.error(Exception)
    async def answers(err, req, res):
        raise AssertionError("it was asked")  # pragma: no cover - must not happen

    @app.websocket("/:number")
    async def handler(req, ws):
        await ws.send("hello")
        raise RAISED[int(req.params["number"])][0]

    async with Sockets(app) as server:
        for number, (_, closed, level) in enumerate(RAISED):
            socket = await server.talked(f"/{number}")
            assert (socket.closed, socket.error) == (closed, None), number
            (record,) = caplog.records
            assert (record.levelname, number) == (level, number)
            assert f"/{number}" in record.getMessage()
            caplog.clear()
        assert not server.exchanges


async def test_a_handler_that_returns_closes_with_1000(caplog):
    app, closed = Nardis(), []

    @app.use
    async def around(req, res, next):
        await next()
        closed.append(req.close_reason)

    @app.websocket("/")
    async def handler(req, ws):
        app.state.ws = ws
        await ws.send("all")

    async with Sockets(app) as server:
        socket = await server.talked()
        with pytest.raises(ClientDisconnected):
            await app.state.ws.send("late")
        with pytest.raises(ClientDisconnected):
            await app.state.ws.receive()
        assert not server.exchanges

    assert (socket.closed, socket.error) == ((1000, ""), None)
    assert (closed, errors(caplog)) == ([None], [])
    assert (app.state.ws.state, app.state.ws.close_code) == ("closed", 1000)


async def test_a_detail_that_fails_to_say_more_closes_all_the_same(caplog):
    class Detail(str):
        __slots__ = ()

        def __str__(self):
            raise KeyError("detail")

    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        raise HTTPError(415, Detail("x"))

    async with Sockets(app) as server:
        socket = await server.talked()

    assert socket.closed[0] == 1003
    assert socket.error is None


async def test_a_middleware_that_catches_the_error_hides_it_from_nobody(caplog):
    """The client hears that the handler failed, and so does the log."""
    app = Nardis()

    @app.use
    async def catches(req, res, next):
        try:
            await next()
        except (KeyError, HTTPError):
            return

    @app.websocket("/:number")
    async def handler(req, ws):
        await ws.accept()
        raise RAISED[int(req.params["number"])][0]

    async with Sockets(app) as server:
        for number in (0, 1):
            socket = await server.talked(f"/{number}")
            assert (socket.closed, socket.error) == (RAISED[number][1], None)
            assert len(errors(caplog)) == 1
            caplog.clear()


async def test_what_fails_behind_the_conversation_is_a_failure_of_it(caplog):
    """A middleware's, when its `next()` has returned: nothing has been closed by then."""
    app = Nardis()

    @app.use
    async def fails(req, res, next):
        await next()
        await res.send("too late")

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()

    async with Sockets(app) as server:
        socket = await server.talked()

    assert (socket.closed, socket.error) == ((1011, ""), None)
    (said,) = errors(caplog)
    assert "already ended" in said


async def test_what_keeps_us_from_looking_after_it_is_a_failure_of_it(caplog):
    """And not of its neighbours, which are looked after in the same sweep."""

    async def sends(app):
        await app.state.ws.send("x")

    async def hangs(message):
        if message["type"] == "websocket.send":
            await anyio.sleep_forever()

    app, peer = leaving(sends, limits=Limits(write_stall_s=10)), Peer()
    async with Sockets(app) as server:
        sockets = [await server.opened(on_send=hangs, peer=each) for each in (peer, None)]
        peer.progressed = None
        await server.tick(11)
        for socket in sockets:
            await socket.wait()

    assert sockets[0].closed == (1011, "")
    assert sockets[1].kinds == ["accept", "send"]
    (said,) = errors(caplog)
    assert "NoneType" in said


async def parked(app):
    await app.state.go.wait()


async def reading(app):
    async for _ in app.state.ws:
        pytest.fail("there was nothing")  # pragma: no cover - must not happen
    app.state.log.append("iteration ended")
    await app.state.go.wait()


def leaving(does, **options):
    """Make an application whose handler *does* something when its client leaves."""
    app = Nardis(**options)
    app.state.log, app.state.go = [], anyio.Event()

    @app.use
    async def around(req, res, next):
        async def last():
            app.state.log.append("deferred")

        req.defer(last)
        try:
            await next()
        finally:
            app.state.log.append(req.close_reason)

    @app.websocket("/")
    @app.websocket("/out", cancel_on_disconnect=False)
    @app.websocket("/in", cancel_on_disconnect=True)
    async def handler(req, ws):
        app.state.ws = ws
        await ws.accept()
        try:
            await does(app)
        except anyio.get_cancelled_exc_class():
            app.state.log.append("cancelled")
            raise
        finally:
            app.state.log.append((ws.close_code, ws.close_reason))

    return app


# By whom the end is told first: the server's receive, or our runner before that.
TOLD = ["server", "runner"]


async def opened(server, path="/", by="server"):
    socket = await server.opened(path, peer=Peer() if by == "runner" else None)
    await server.watched()
    return socket


async def leave(socket, by, end):
    if by == "runner":
        peer = socket.scope["extensions"]["nardis.client"]
        peer.listener.closed(end["code"], end.get("reason", ""))
        peer.listener.left()  # in vain: the first end counts
    socket.push(end)
    await rest()


ENDS = pytest.mark.parametrize("end", [bye(4000, "bye"), VANISH], ids=["closes", "vanishes"])
BY = pytest.mark.parametrize("by", TOLD)


@BY
@ENDS
async def test_a_handler_that_was_not_reading_is_cancelled_at_once(end, by, caplog):
    app = leaving(parked)
    async with Sockets(app) as server:
        socket = await opened(server, "/", by)
        await leave(socket, by, end)
        assert socket.ended.is_set()
        assert not server.exchanges

    seen = (end["code"], end.get("reason", ""))
    assert app.state.log == ["cancelled", seen, "gone", "deferred"]
    assert (socket.kinds, socket.error, errors(caplog)) == (["accept"], None, [])


@BY
@ENDS
async def test_a_handler_that_was_reading_has_cleanup_s(end, by, caplog):
    """Iteration ends, and it may return; after that time it is cancelled."""
    seen = (end["code"], end.get("reason", ""))
    for returns in (True, False):
        app = leaving(reading, limits=Limits(cleanup_s=3))
        async with Sockets(app) as server:
            socket = await opened(server, "/", by)
            await leave(socket, by, end)
            assert app.state.log == ["iteration ended"]
            await server.tick(2)
            assert not socket.ended.is_set()
            if returns:
                app.state.go.set()
            await server.tick(2)
            assert socket.ended.is_set()
            assert not server.exchanges
        cancelled = [] if returns else ["cancelled"]
        assert app.state.log == ["iteration ended", *cancelled, seen, "gone", "deferred"]
        assert (socket.kinds, socket.error, errors(caplog)) == (["accept"], None, [])


async def test_the_deadline_ends_a_handler_in_its_cleanup_time_too():
    app = leaving(reading, limits=Limits(cleanup_s=30, handler_s=4))
    async with Sockets(app) as server:
        socket = await opened(server)
        await leave(socket, "server", bye())
        await server.tick(40)
        await server.tick(40)
        assert socket.ended.is_set()

    assert app.state.log == ["iteration ended", "cancelled", (1000, ""), "gone", "deferred"]


@BY
@pytest.mark.parametrize("end", [bye(), VANISH], ids=["closes", "vanishes"])
async def test_unread_messages_before_an_orderly_close_are_for_the_handler(end, by):
    """
    It has `cleanup_s` for them. Before a client that vanished it is cancelled at once, where that
    can be told: stock hypercorn says 1006 for each end.
    """

    async def reads_late(app):
        await app.state.go.wait()
        app.state.log.append([message async for message in app.state.ws])

    app = leaving(reads_late)
    async with Sockets(app) as server:
        socket = await opened(server, "/", by)
        if by == "runner":
            socket.scope["extensions"]["nardis.client"].unread = True
        socket.push(text("a"), text("b"))
        await rest()
        await leave(socket, by, end)
        is_cancelled = end is VANISH and by == "runner"
        assert socket.ended.is_set() is is_cancelled
        app.state.go.set()
        await rest()
        assert socket.ended.is_set()

    heard = "cancelled" if is_cancelled else ["a", "b"]
    assert app.state.log == [heard, (end["code"], ""), "gone", "deferred"]


# What the application says, the route, and whether a client that leaves then cancels.
OPTIONS = [(True, "/out", False), (False, "/", False), (False, "/in", True), (True, "/in", True)]


@BY
async def test_who_opted_out_goes_on(by):
    """The application or the route, and a route may opt in again. Only a shutdown ends it then."""
    for (of_app, path, cancels), does in product(OPTIONS, (parked, reading)):
        app = leaving(does, cancel_on_disconnect=of_app, limits=Limits(cleanup_s=3))
        async with Sockets(app) as server:
            socket = await opened(server, path, by)
            await leave(socket, by, bye(4000))
            await server.tick(2)
            await server.tick(2)
            assert socket.ended.is_set() is cancels
            server.shut_down()
            await rest()
            assert socket.ended.is_set()
            assert not server.exchanges
        ended = ["iteration ended"] if does is reading else []
        assert app.state.log == [*ended, "cancelled", (4000, ""), "gone", "deferred"]


async def test_a_middleware_around_a_route_that_opted_in_is_ended_by_the_shutdown():
    app = Nardis(cancel_on_disconnect=False)
    log = []

    @app.use
    async def around(req, res, next):
        await next()
        try:
            await anyio.sleep_forever()
        finally:
            log.append(req.close_reason)

    @app.websocket("/", cancel_on_disconnect=True)
    async def handler(req, ws):
        await ws.accept()

    async with Sockets(app) as server:
        socket = await server.opened()
        server.shut_down()
        await rest()
        assert socket.ended.is_set()

    assert log == ["shutdown"]


@pytest.mark.parametrize("does", [parked, reading], ids=["parked", "reading"])
async def test_a_deadline_closes_with_1011(does, caplog):
    app = leaving(does, limits=Limits(handler_s=3))
    async with Sockets(app) as server:
        socket = await opened(server)
        await server.tick(2)
        assert not socket.ended.is_set()
        await server.tick(2)
        await socket.wait()

    assert (socket.closed, socket.error) == ((1011, "the handler took too long"), None)
    assert app.state.log == ["cancelled", (None, ""), "deadline", "deferred"]
    (said,) = errors(caplog)
    assert "took too long" in said


@pytest.mark.parametrize("does", [parked, reading], ids=["parked", "reading"])
async def test_a_shutdown_closes_with_1012(does, caplog):
    """On a server that says nothing itself a reader is cancelled as well."""
    app = leaving(does)
    async with Sockets(app) as server:
        socket = await opened(server)
        server.shut_down()
        await socket.wait()

    assert (socket.closed, socket.error) == ((1012, "the server restarts"), None)
    assert app.state.log == ["cancelled", (None, ""), "shutdown", "deferred"]
    assert errors(caplog) == []


async def test_a_handler_that_is_ended_says_nothing_more():
    """Behind a shield it is told why. The Close says it to the client."""
    told = []

    async def says_goodbye(app):
        try:
            await app.state.go.wait()
        finally:
            with shielded(5), pytest.raises(ClientDisconnected, match="shutdown") as over:
                await app.state.ws.send("goodbye")
            told.append(over.value.code)

    app = leaving(says_goodbye)
    async with Sockets(app) as server:
        socket = await opened(server)
        server.shut_down()
        await socket.wait()

    assert told == [None]
    assert (socket.said, socket.closed) == ([], (1012, "the server restarts"))


async def test_what_a_neighbour_is_sending_holds_the_close_up_for_cleanup_s_at_most(caplog):
    """Nothing that it wants to send goes out behind the end of the call."""
    app, gate, members, refused = Nardis(limits=Limits(cleanup_s=0.01)), Gate(), [], []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        members.append(ws)
        await app.state.go.wait()

    async def sends():
        try:
            await members[0].send("x")
        except ClientDisconnected as over:
            refused.append(over.code)

    app.state.go = anyio.Event()
    async with Sockets(app) as server:
        socket = await server.opened(on_send=gate)
        await gate.let()
        await rest()
        for _ in range(2):
            server.group.start_soon(sends)
            await rest()
        app.state.go.set()
        await socket.wait()
        gate.open()
        await rest()

    assert socket.kinds == ["accept", "send"]
    assert refused == [1006]


async def test_at_a_shutdown_our_runner_tells_the_reader():
    """Its iteration ends, and it has `cleanup_s`, of which the first second counts."""
    app = leaving(reading, limits=Limits(cleanup_s=3))
    async with Sockets(app) as server:
        socket = await opened(server, "/", "runner")
        server.shut_down()
        await rest()
        assert app.state.log == []
        await leave(socket, "runner", bye(1012, "restart"))
        assert app.state.log == ["iteration ended"]
        await server.tick(4)
        assert socket.ended.is_set()

    assert app.state.log == [
        "iteration ended",
        "cancelled",
        (1012, "restart"),
        "shutdown",
        "deferred",
    ]


async def test_a_reader_whom_our_runner_does_not_tell_is_cancelled():
    app = leaving(reading, limits=Limits(cleanup_s=3))
    async with Sockets(app) as server:
        socket = await opened(server, "/", "runner")
        server.shut_down()
        await server.tick(4)
        await socket.wait()

    assert socket.closed == (1012, "the server restarts")
    assert app.state.log == ["cancelled", (None, ""), "shutdown", "deferred"]


async def test_a_client_that_takes_nothing_is_cut(caplog):
    """No Close would reach it; nobody sends or reads behind that."""

    async def sends(app):
        await app.state.ws.send("x")

    async def hangs(message):
        if message["type"] == "websocket.send":
            await anyio.sleep_forever()

    app = leaving(sends, limits=Limits(write_stall_s=10))
    async with Sockets(app) as server:
        socket = await server.opened(on_send=hangs)
        await server.tick(9)
        assert not socket.ended.is_set()
        await server.tick(2)
        await socket.wait()
        with pytest.raises(ClientDisconnected):
            await app.state.ws.send("late")
        with anyio.fail_after(20), pytest.raises(ClientDisconnected):
            await app.state.ws.receive()

    assert socket.kinds == ["accept", "send"]
    assert app.state.log == ["cancelled", (None, ""), "stalled", "deferred"]
    assert app.state.ws.state == "closed"
    assert socket.error is not None
    assert errors(caplog) == []


async def test_our_runner_knows_of_each_byte_that_is_taken():
    async def hangs(message):
        if message["type"] == "websocket.send":
            await anyio.sleep_forever()

    async def sends(app):
        await app.state.ws.send("x")

    app, peer = leaving(sends, limits=Limits(write_stall_s=10)), Peer()
    async with Sockets(app) as server:
        socket = await server.opened(on_send=hangs, peer=peer)
        await server.tick(9)
        peer.progressed = server.now
        await server.tick(9)
        assert not socket.ended.is_set()
        peer.listener.stalled()
        await socket.wait()

    assert app.state.log == ["cancelled", (None, ""), "stalled", "deferred"]


async def test_one_whose_end_our_runner_tells_rests_until_something_may_be_due(monkeypatch):
    """Ten thousand that are idle cost next to nothing, and no limit is met later for it."""
    app, peer, looks = leaving(parked, limits=Limits(write_stall_s=10, handler_s=25)), Peer(), []
    look = socket_of_ours.Socket.look

    def counted(watched, now):
        looks.append(round(now - watched.since))
        look(watched, now)

    monkeypatch.setattr(socket_of_ours.Socket, "look", counted)
    async with Sockets(app) as server:
        socket = await server.opened(peer=peer)
        while not socket.ended.is_set():
            await server.tick(1)

    assert looks[:5] == [1, 11, 21, 25, 26]
    assert app.state.log == ["cancelled", (None, ""), "deadline", "deferred"]


async def test_a_send_that_stalls_is_cut_at_its_time_where_it_began_in_a_rest():
    async def hangs(message):
        if message["type"] == "websocket.send":
            await anyio.sleep_forever()

    async def sends(app):
        await app.state.go.wait()
        await app.state.ws.send("x")

    app, peer = leaving(sends, limits=Limits(write_stall_s=10)), Peer()
    async with Sockets(app) as server:
        socket = await server.opened(on_send=hangs, peer=peer)
        await server.tick(1)
        app.state.go.set()
        await server.tick(9)
        assert not socket.ended.is_set()
        await server.tick(2)
        await socket.wait()

    assert app.state.log == ["cancelled", (None, ""), "stalled", "deferred"]


async def test_a_close_in_a_rest_ends_its_handler_after_its_cleanup_time():
    app, peer = leaving(reading, limits=Limits(cleanup_s=2)), Peer()
    async with Sockets(app) as server:
        socket = await server.opened(peer=peer)
        await server.tick(1)
        peer.listener.closed(1000, "")
        socket.push(bye())
        await server.tick(1)
        assert not socket.ended.is_set()
        await server.tick(2)
        await socket.wait()

    assert app.state.log == ["iteration ended", "cancelled", (1000, ""), "gone", "deferred"]


FAILURES = [OSError("reset"), RuntimeError("a bug")]


@pytest.mark.parametrize("opted_out", [False, True])
@pytest.mark.parametrize("error", FAILURES, ids=["OSError", "RuntimeError"])
@pytest.mark.parametrize("does", ["send", "receive", "wait"])
async def test_a_server_that_fails_counts_as_a_client_that_left(does, error, opted_out, caplog):
    """With 1006. What is no OSError is logged, once."""
    log = []

    async def fails(app):
        ws = app.state.ws
        try:
            if does == "send":
                await ws.send("x")
            elif does == "receive":
                await ws.receive()
            else:
                await app.state.go.wait()
                await ws.send("x")
        except ClientDisconnected as exc:
            log.append(exc.code)
            raise

    async def on_send(message):
        if message["type"] == "websocket.send":
            raise error

    app = leaving(fails)
    async with Sockets(app) as server:
        socket = await server.opened("/out" if opted_out else "/", on_send=on_send)
        if does == "wait":
            await server.watched()
        if does != "send":
            socket.push(error)
        await rest()
        app.state.go.set()
        await socket.wait()
        assert not server.exchanges

    assert log == ([1006] if opted_out or does == "receive" else [])
    assert app.state.log[-3:] == [(1006, ""), "gone", "deferred"]
    assert "close" not in socket.kinds
    assert socket.error is None
    assert len(errors(caplog)) == isinstance(error, RuntimeError)


@pytest.mark.parametrize("error", FAILURES, ids=["OSError", "RuntimeError"])
async def test_a_close_that_fails_is_nothing_to_say(error, caplog):
    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()

    async def on_send(message):
        if message["type"] == "websocket.close":
            raise error

    async with Sockets(app) as server:
        socket = await server.talked(on_send=on_send)

    assert socket.error is None
    assert errors(caplog) == []


async def test_what_fails_in_the_clean_up_is_logged(caplog):
    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        try:
            await anyio.sleep_forever()
        finally:
            with shielded(1):
                await anyio.lowlevel.checkpoint()
            raise KeyError("clean-up")

    async with Sockets(app) as server:
        socket = await server.opened()
        await server.watched()
        socket.push(bye())
        await socket.wait()

    (said,) = errors(caplog)
    assert "clean-up" in said
    assert (socket.kinds, socket.error) == (["accept"], None)


async def test_a_server_that_cancels_the_call_shuts_down():
    """Nothing is said, then or later; what is deferred still runs."""
    app = leaving(parked)
    async with Sockets(app) as server:
        socket = await opened(server)
        socket.cancel_scope.cancel()
        await socket.wait()
        with pytest.raises(ClientDisconnected):
            await app.state.ws.send("late")
        with anyio.fail_after(20), pytest.raises(ClientDisconnected):
            await app.state.ws.receive()
        assert not server.exchanges

    assert app.state.log == ["cancelled", (None, ""), None, "deferred"]
    assert socket.kinds == ["accept"]


async def test_a_neighbour_that_left_is_not_our_client(caplog):
    """A handler that sends to a member who is gone fails loudly, unless it sees to that."""
    app, members = Nardis(cancel_on_disconnect=False), {}

    @app.websocket("/:name")
    async def handler(req, ws):
        await ws.accept()
        members[req.params["name"]] = ws
        async for _ in ws:
            await members["gone"].send("hello")

    async with Sockets(app) as server:
        gone = await server.opened("/gone", bye(4000))
        here = await server.opened("/here", text("x"))

    assert gone.kinds == ["accept"]
    assert here.closed == (1011, "")
    (said,) = errors(caplog)
    assert "with 4000" in said


async def test_a_test_sees_all_that():
    """Through the client of `nardis.testing`, with a lifespan and without."""
    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        async for message in ws:
            await ws.send(message)

    for lifespan in (True, False):
        async with Client(app, lifespan=lifespan) as client, client.websocket("/") as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
            await ws.close(4000)
            with pytest.raises(WebSocketClosed, match="4000"):
                await ws.receive()


async def test_a_handler_that_meets_the_end_it_was_given_is_no_failure(caplog):
    """It says goodbye where that cannot arrive any more."""
    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        try:
            await anyio.sleep_forever()
        finally:
            with shielded(1):
                await ws.send("bye")

    async with Sockets(app) as server:
        socket = await server.opened()
        server.shut_down()
        await socket.wait()

    assert socket.closed == (1012, "the server restarts")
    assert errors(caplog) == []


async def test_one_that_is_aborted_does_not_look_whole(caplog):
    """`res.abort()` of a middleware: 1011."""
    app = Nardis()

    @app.use
    async def cuts(req, res, next):
        async with anyio.create_task_group() as group:
            group.start_soon(next)
            await rest()
            await res.abort()

    @app.websocket("/")
    async def handler(req, ws):
        async for _ in ws:
            pass  # pragma: no cover - nothing is said

    async with Sockets(app) as server:
        socket = await server.talked()

    assert socket.closed == (1011, "")
    assert len(errors(caplog)) == 1


async def test_what_the_client_said_cannot_forge_a_line_of_the_log(caplog):
    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        raise HTTPError(422, f"no {await ws.receive()}")

    async with Sockets(app) as server:
        socket = await server.talked("/", text("point\nERROR forged"))

    assert socket.closed == (1007, "no point\nERROR forged")
    assert [each for each in errors(caplog) if "\n" in each] == []


async def test_a_handler_that_a_middleware_cancels_is_told_as_a_failure(caplog):
    """A middleware that keeps quiet about it does not make a good end of it (W4)."""
    app = Nardis()

    @app.use
    async def cancels(req, res, next):
        with anyio.CancelScope() as req.state.scope:
            await next()

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        if req.query.get("closed"):
            await ws.close()
        req.state.scope.cancel()
        await anyio.sleep_forever()

    async with Client(app) as client:
        for url, code in (("/", 1011), ("/?closed=1", 1000)):
            async with client.websocket(url) as ws:
                with pytest.raises(WebSocketClosed) as caught:
                    await ws.receive()
            assert caught.value.code == code

    [record] = caplog.records
    assert "a middleware cancelled the handler of a WebSocket half-way" in record.getMessage()
