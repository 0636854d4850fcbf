"""`async for message in ws`, `ws.receive()` and what decodes: what the client says, at our pace."""

from __future__ import annotations

import json
from dataclasses import dataclass

import anyio
import pytest

from nardis import ClientDisconnected, HTTPError, Limits, Nardis, UsageError
from tests.peers.driver import rest
from tests.websocket.calls import VANISH, Peer, Sockets, binary, bye, errors, text

pytestmark = pytest.mark.anyio

# How servers write a message, and what it is.
WRITTEN = [
    ({"type": "websocket.receive", "text": "a"}, "a"),
    ({"type": "websocket.receive", "text": "a", "bytes": None}, "a"),
    ({"type": "websocket.receive", "bytes": b"b", "text": None}, b"b"),
    ({"type": "websocket.receive", "bytes": b"b"}, b"b"),
    (text(""), ""),
    (binary(b""), b""),
    (text("\0 \u20ac \U0001f600"), "\0 \u20ac \U0001f600"),
    (binary(b"\xff\0"), b"\xff\0"),
]


@pytest.mark.parametrize("early", [True, False], ids=["taken ahead", "as they come"])
async def test_iteration_gives_each_message_as_the_client_sent_it(early):
    """Those before the Close too, which ends it for good."""
    app, heard = Nardis(), []
    go = anyio.Event()

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        if early:
            await go.wait()
        heard.extend([message async for message in ws])
        assert [message async for message in ws] == []
        for _ in range(2):
            with pytest.raises(ClientDisconnected, match="has ended, with 4000") as gone:
                await ws.receive()
            heard.append(gone.value.code)
        heard.append((ws.state, ws.close_code, ws.close_reason))

    async with Sockets(app) as server:
        socket = await server.opened()
        await server.watched()
        socket.push(*(message for message, _ in WRITTEN), bye(4000, "enough"))
        await rest()
        go.set()
        await socket.wait()

    assert heard == [*(said for _, said in WRITTEN), 4000, 4000, ("closed", 4000, "enough")]
    assert socket.kinds == ["accept"]


@dataclass
class Point:
    x: int


WANTED = [
    # The method, the type, the message, and what comes of it: a value, or a status and a code.
    ("receive", None, text("a"), "a"),
    ("receive_text", None, text("a"), "a"),
    ("receive_text", None, binary(b"a"), (415, 1003)),
    ("receive_bytes", None, binary(b"a"), b"a"),
    ("receive_bytes", None, text("a"), (415, 1003)),
    ("receive_json", None, text('{"x": [1]}'), {"x": [1]}),
    ("receive_json", None, binary('"\u20ac"'.encode()), "\u20ac"),
    ("receive_json", Point, text('{"x": 1}'), Point(1)),
    ("receive_json", Point, text('{"x": "1"}'), (422, 1007)),
    ("receive_json", None, text("{"), (400, 1007)),
    ("receive_json", None, text(""), (400, 1007)),
    ("receive_json", None, text("NaN"), (400, 1007)),
    ("receive_json", None, binary(b'"\xff"'), (400, 1007)),
    ("receive_json", None, text("[" * 300 + "]" * 300), (400, 1007)),
]


async def test_what_is_not_wanted_closes_or_is_handled(caplog):
    """It is an HTTPError: handled, the conversation goes on; else the client is told."""
    app = Nardis()
    async with Sockets(app) as server:
        for number, (method, kind, message, result) in enumerate(WANTED):

            async def receives(ws, method=method, kind=kind):
                return await getattr(ws, method)(*[] if kind is None else [kind])

            async def handles(req, ws, receives=receives, result=result):
                if isinstance(result, tuple):
                    with pytest.raises(HTTPError) as caught:
                        await receives(ws)
                    assert caught.value.status == result[0]
                else:
                    assert await receives(ws) == result
                await ws.send("handled")

            async def leaves_it(req, ws, receives=receives):
                await receives(ws)

            app.websocket(f"/{number}/handled", handles)
            app.websocket(f"/{number}/unhandled", leaves_it)
            socket = await server.talked(f"/{number}/handled", message)
            assert (socket.said, socket.closed) == (["handled"], (1000, "")), number
            socket = await server.talked(f"/{number}/unhandled", message)
            code = result[1] if isinstance(result, tuple) else 1000
            assert socket.closed[0] == code, number
            assert bool(socket.closed[1]) is (code != 1000)
            assert socket.error is None
    assert len(errors(caplog)) == sum(isinstance(row[3], tuple) for row in WANTED)


async def test_the_codec_of_the_application_decodes():
    class Shouting:
        def decode(self, data):
            return json.loads(data).upper()

        def encode(self, obj):
            return json.dumps(obj + "!").encode()

    app = Nardis(json=Shouting())

    @app.websocket("/")
    async def handler(req, ws):
        await ws.send_json(await ws.receive_json())

    async with Sockets(app) as server:
        assert (await server.talked("/", text('"a"'))).said == ['"A!"']


@pytest.mark.parametrize("watched", [False, True])
async def test_a_second_reader_is_told_so(watched):
    app, heard = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        await anyio.lowlevel.checkpoint()
        if watched:
            await app.state.go.wait()

        async def reads():
            heard.append(await ws.receive())

        async with anyio.create_task_group() as group:
            group.start_soon(reads)
            await rest()
            for second in (ws.receive, ws.receive_json, aiter(ws).__anext__):
                with pytest.raises(UsageError, match="one reader"):
                    await second()
            app.state.refused.set()

    app.state.go, app.state.refused = anyio.Event(), anyio.Event()
    async with Sockets(app) as server:
        socket = await server.opened()
        await server.watched()
        app.state.go.set()
        await app.state.refused.wait()
        socket.push(text("for the first"))
        await socket.wait()

    assert heard == ["for the first"]


@pytest.mark.parametrize("watched", [False, True])
async def test_a_cancelled_receive_loses_nothing(watched):
    app, heard = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        await app.state.go.wait()
        for due in (False, True):
            with anyio.CancelScope() as scope:
                app.state.scope = scope
                if due:
                    scope.cancel()
                await ws.receive()
                pytest.fail("nothing came")  # pragma: no cover - must not happen
        heard.append(await ws.receive())

    app.state.go = anyio.Event()
    async with Sockets(app) as server:
        socket = await server.opened()
        if watched:
            await server.watched()
        app.state.go.set()
        await rest()
        app.state.scope.cancel()
        await rest()
        socket.push(text("here"))
        await socket.wait()

    assert heard == ["here"]


SIZES = [
    (text("x" * 1000), True),
    (text("x" * 1001), False),
    (text("\u20ac" * 333), True),
    (text("\u20ac" * 334), False),
    (binary(b"x" * 1000), True),
    (binary(b"x" * 1001), False),
    (text("\u00e9" * 251), True),
]


@pytest.mark.parametrize("watched", [False, True])
async def test_a_larger_message_than_the_limit_closes(watched):
    """On a server that was not told of the limit it is in memory by then, and nobody reads it."""
    limits = Limits(websocket_message_bytes=1000)
    app, heard = Nardis(), []

    @app.websocket("/", limits=limits)
    async def handler(req, ws):
        await ws.accept()
        await app.state.go.wait()
        heard.extend([len(message) async for message in ws])
        heard.append(ws.close_code)
        with pytest.raises(ClientDisconnected, match="closed here, with 1009") as over:
            await ws.receive()
        assert over.value.code == 1009

    async with Sockets(app) as server:
        for message, fits in SIZES:
            app.state.go = anyio.Event()
            socket = await server.opened()
            if watched:
                await server.watched()
            socket.push(message, binary(b"x" * 1001), text("more"))
            await rest()
            app.state.go.set()
            await socket.wait()
            (said,) = message.keys() - {"type"}
            assert heard == [len(message[said])] * fits + [1009]
            assert socket.closed == (1009, "a message is larger than 1000")
            heard.clear()


async def test_our_runner_is_told_of_the_limit_at_the_accept():
    """Of the application, or of the route."""
    app = Nardis(limits=Limits(websocket_message_bytes=10))

    async def handler(req, ws):
        await ws.accept()

    app.websocket("/app", handler)
    app.websocket("/route", handler, limits=Limits(websocket_message_bytes=20))
    async with Sockets(app) as server:
        for path, limit in (("/app", 10), ("/route", 20)):
            peer = Peer()
            await server.talked(path, peer=peer)
            assert peer.message_bytes == limit


async def test_what_is_not_read_is_not_taken():
    """The watcher takes 64 KiB ahead, about; behind our runner, which tells of the end, nothing."""
    app, heard = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        await app.state.go.wait()
        heard.extend([len(message) async for message in ws])

    for peer, size, most in [(None, 1024, 54), (None, 0, 260), (Peer(), 1024, 1)]:
        app.state.go = anyio.Event()
        async with Sockets(app) as server:
            socket = await server.opened("/", *[binary(b"x" * size)] * 2000, peer=peer)
            for _ in range(3):
                await server.tick()
            assert most // 2 <= len(socket.received) <= most
            app.state.go.set()
            await rest()
            socket.push(VANISH)
            await socket.wait()
        assert heard == [size] * 2000
        heard.clear()


async def test_a_reader_that_waits_gets_what_the_watcher_hears():
    app, heard = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        await app.state.go.wait()
        heard.extend([message async for message in ws])

    app.state.go = anyio.Event()
    async with Sockets(app) as server:
        socket = await server.opened()
        await server.watched()
        app.state.go.set()
        await rest()
        for said in "ab":
            socket.push(text(said))
            await rest()
            assert heard == []
            await server.tick()
        socket.push(bye())
        await socket.wait()

    assert heard == ["a", "b"]


async def test_a_burst_of_messages_lets_other_tasks_run():
    """A server's receive may return without suspending, as long as something lies there."""
    app, heard = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.receive()
        async with anyio.create_task_group() as group:
            ran = anyio.Event()

            async def runs():
                ran.set()

            group.start_soon(runs)
            while not ran.is_set():
                heard.append(await ws.receive())

    async with Sockets(app) as server:
        server.step = 0.000005
        await server.talked("/", *[text("x")] * 400)

    assert 1 <= len(heard) < 399  # else it would wait for more
