"""`ws.send()` and `ws.send_json()`: whole messages, in call order, at the pace of the server."""

from __future__ import annotations

import array

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import ClientDisconnected, Nardis, UsageError, shielded
from tests.peers.driver import Gate, rest
from tests.websocket.calls import VANISH, Sockets, bye, errors, text

pytestmark = pytest.mark.anyio


SENT = [
    ("send", "a", {"text": "a"}),
    ("send", "", {"text": ""}),
    ("send", "\u20ac \U0001f600", {"text": "\u20ac \U0001f600"}),
    ("send", b"b", {"bytes": b"b"}),
    ("send", b"", {"bytes": b""}),
    ("send", bytearray(b"b"), {"bytes": b"b"}),
    ("send", memoryview(b"abcd")[::2], {"bytes": b"ac"}),
    ("send", array.array("H", [0x4141]), {"bytes": b"AA"}),
    ("send_json", {"a": [1, "\u20ac"]}, {"text": '{"a":[1,"\u20ac"]}'}),
    ("send_json", None, {"text": "null"}),
]


async def test_text_and_bytes_and_json_arrive_as_such():
    """A message has one of both, which is what servers look for."""
    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        for method, said, _ in SENT:
            await getattr(ws, method)(said)

    async with Sockets(app) as server:
        socket = await server.talked()

    sent = [{"type": "websocket.send", **said} for _, _, said in SENT]
    assert socket.begun[1:-1] == sent
    assert {type(value) for each in socket.begun[1:-1] for value in each.values()} == {str, bytes}


WRONG = [
    ("send", 7, UsageError),
    ("send", None, UsageError),
    ("send", ["a"], UsageError),
    ("send", {"a": 1}, UsageError),
    ("send", "half \ud800", UnicodeEncodeError),
    ("send_json", object(), TypeError),
    ("send_json", float("nan"), ValueError),
]


async def test_what_is_no_message_is_refused_and_the_conversation_goes_on():
    app, refused = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        for method, said, error in WRONG:
            with pytest.raises(error):
                await getattr(ws, method)(said)
            refused.append(ws.state)
        await ws.send("next")

    async with Sockets(app) as server:
        socket = await server.talked()

    assert refused == ["connecting"] * len(WRONG)
    assert (socket.said, socket.closed) == (["next"], (1000, ""))


async def test_several_tasks_send_in_call_order():
    app, order, gate = Nardis(), [], Gate()

    @app.websocket("/")
    async def handler(req, ws):
        async def sends(said):
            await ws.send(said)
            order.append(said)

        async with anyio.create_task_group() as group:
            for said in "abc":
                group.start_soon(sends, said)
                await checkpoint()
                await checkpoint()
            await app.state.go.wait()
            await ws.close()

    app.state.go = anyio.Event()
    async with Sockets(app) as server:
        socket = await server.opened("/", on_send=gate)
        await gate.let()
        await gate.reached()
        assert (socket.said, order) == ([], [])
        await gate.let()
        await rest()
        assert (socket.said, order) == (["a"], ["a"])
        app.state.go.set()
        await rest()
        gate.open()
        await socket.wait()

    assert socket.said == order == ["a", "b", "c"]
    assert socket.closed == (1000, "")


async def test_it_returns_when_the_server_took_the_message():
    app, sent, gate = Nardis(), [], Gate()

    @app.websocket("/")
    async def handler(req, ws):
        for number in range(10):
            await ws.send(str(number))
            sent.append(number)

    async with Sockets(app) as server:
        socket = await server.opened("/", on_send=gate)
        await gate.let(4)
        await gate.reached()
        assert len(sent) == 3
        gate.open()
        await socket.wait()

    assert socket.said == [str(number) for number in range(10)]


async def test_a_loop_of_sends_lets_other_tasks_run():
    """A server's send may return without suspending."""
    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        async with anyio.create_task_group() as group:
            ran = anyio.Event()
            await ws.send("first")

            async def runs():
                ran.set()

            group.start_soon(runs)
            while not ran.is_set():
                await ws.send("again")

    async with Sockets(app) as server:
        server.step = 0.0005
        socket = await server.talked()

    assert 2 <= len(socket.said) <= 10


async def test_one_that_is_cancelled_before_its_turn_leaves_no_trace():
    """Wherever it waits in the line; the others go on."""
    app, gate, scopes = Nardis(), Gate(), {}

    @app.websocket("/")
    async def handler(req, ws):
        async def sends(said):
            with anyio.CancelScope() as scopes[said]:
                await ws.send(said)

        await ws.accept()
        async with anyio.create_task_group() as group:
            for said in "abcd":
                group.start_soon(sends, said)
                await checkpoint()
                await checkpoint()
        with anyio.CancelScope() as due:
            due.cancel()
            with pytest.raises(anyio.get_cancelled_exc_class()):
                await checkpoint()
            await ws.send("due")

    async with Sockets(app) as server:
        socket = await server.opened("/", on_send=gate)
        await gate.let()
        await gate.reached()
        scopes["b"].cancel()
        scopes["d"].cancel()
        await rest()
        gate.open()
        await socket.wait()

    assert socket.kinds == ["accept", "send", "send", "close"]
    assert socket.said == ["a", "c"]


async def test_one_whose_turn_comes_as_it_is_cancelled_passes_it_on():
    app, gate, scopes = Nardis(), Gate(), {}

    @app.websocket("/")
    async def handler(req, ws):
        async def sends(said):
            with anyio.CancelScope() as scopes[said]:
                await ws.send(said)

        await ws.accept()
        async with anyio.create_task_group() as group:
            for said in "abc":
                group.start_soon(sends, said)
                await checkpoint()
                await checkpoint()

    async with Sockets(app) as server:
        socket = await server.opened("/", on_send=gate)
        await gate.let()
        await gate.reached()
        gate.open()
        scopes["b"].cancel()
        await socket.wait()

    assert socket.said in (["a", "c"], ["a", "b", "c"])
    assert socket.closed == (1000, "")


@pytest.mark.parametrize(
    "end", [bye(4000, "x"), bye(1000), {"type": "websocket.disconnect"}, VANISH]
)
@pytest.mark.parametrize("opted_out", [True, False])
async def test_after_the_clients_end_it_raises_with_the_code(end, opted_out):
    """Where the handler is not cancelled for it, or is no longer."""
    app, refused = Nardis(), []

    @app.websocket("/", cancel_on_disconnect=not opted_out)
    async def handler(req, ws):
        await ws.accept()
        try:
            await app.state.go.wait()
        finally:
            with shielded(5):
                for verb in (ws.send("x"), ws.send_json("x"), ws.receive()):
                    with pytest.raises(ClientDisconnected, match="has ended") as over:
                        await verb
                    refused.append((over.value.code, ws.close_code, req.close_reason))
                await ws.close()

    app.state.go = anyio.Event()
    async with Sockets(app) as server:
        socket = await server.opened()
        await server.watched()
        socket.push(end)
        await rest()
        app.state.go.set()
        await socket.wait()

    code = end.get("code", 1005)
    assert refused == [(code, code, "gone")] * 3
    assert socket.kinds == ["accept"]
    assert socket.error is None


async def test_after_our_own_close_it_raises_with_our_code():
    app, refused = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        await ws.close(4001, "enough")
        for verb in (ws.send("x"), ws.send_json("x"), ws.receive()):
            with pytest.raises(ClientDisconnected, match="closed here, with 4001") as over:
                await verb
            refused.append(over.value.code)
        assert [message async for message in ws] == []

    async with Sockets(app) as server:
        socket = await server.talked("/", text("unread"))

    assert refused == [4001] * 3
    assert socket.closed == (4001, "enough")
    assert len(socket.received) == 1


@pytest.mark.parametrize("verb", ["ws.send", "ws.close"])
async def test_a_forgotten_await_is_named(verb, caplog):
    app = Nardis()

    @app.websocket("/")
    async def forgets(req, ws):
        await ws.accept()
        if verb == "ws.send":
            ws.send_json("lost")  # noqa: RUF100 - it is not awaited
        else:
            ws.close(4000)

    async with Sockets(app) as server:
        socket = await server.talked()

    assert socket.closed == (1011, "")
    (said,) = errors(caplog)
    assert "forgets() called" in said
    assert f"`await {verb}(...)`" in said


async def test_one_that_others_are_about_to_send_is_not_forgotten_by_the_handler(caplog):
    """A crowd is told by tasks of another handler, which begin after this one has returned."""
    app, members = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        members.append(ws)
        await app.state.go.wait()

    app.state.go = anyio.Event()
    async with Sockets(app) as server:
        socket = await server.opened()
        verb = members[0].send("about to")
        app.state.go.set()
        await socket.wait()
        with pytest.raises(ClientDisconnected):
            await verb

    assert socket.closed == (1000, "")
    assert errors(caplog) == []


async def test_an_endless_loop_of_forgotten_awaits_hears_of_it(caplog):
    """After a second: it has no end at which that could be seen."""
    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        while True:
            ws.send("lost")
            await checkpoint()
            app.state.server.now += 0.5

    async with Sockets(app) as server:
        app.state.server = server
        with anyio.fail_after(20):
            socket = await server.talked()

    assert socket.closed == (1011, "")
    assert "without awaiting it" in errors(caplog)[0]


@pytest.mark.parametrize("between", [False, True], ids=["the last", "in front of another"])
async def test_a_forgotten_await_is_told_of_while_messages_are_read(between, caplog):
    """A handler that reads for hours has no end either."""
    app = Nardis()

    @app.websocket("/")
    async def forgets(req, ws):
        await ws.accept()
        ws.send("lost")
        if between:
            await ws.send("said")
        async for _ in ws:
            app.state.server.now += 0.25

    async with Sockets(app) as server:
        app.state.server = server
        socket = await server.talked("/", *8 * [text("x")])

    assert socket.closed == (1011, "")
    (said,) = errors(caplog)
    assert "`await ws.send(...)`" in said


async def test_a_verb_that_another_task_is_about_to_await_is_not_forgotten_where_one_reads():
    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        async with anyio.create_task_group() as group:
            for message in "ab":
                verb = ws.send(message)
                assert await ws.receive() == "x"
                app.state.server.now += 2
                group.start_soon(awaits, verb)
                await rest()
            assert await ws.receive() == "x"

    async def awaits(verb):
        await verb

    async with Sockets(app) as server:
        app.state.server = server
        socket = await server.talked("/", *3 * [text("x")])

    assert (socket.said, socket.closed) == (["a", "b"], (1000, ""))


async def test_a_verb_whose_task_the_handler_keeps_from_its_turn_is_not_forgotten():
    """The messages are here already, so that between two of them nobody waits."""
    app = Nardis()

    @app.websocket("/")
    async def works(req, ws):
        await ws.receive()
        async with anyio.create_task_group() as group:
            group.start_soon(awaits, ws.send("said"))
            for _ in range(5):
                await ws.receive()
                app.state.server.now += 2  # work without an await

    async def awaits(verb):
        await verb

    async with Sockets(app) as server:
        app.state.server = server
        socket = await server.talked("/", *6 * [text("x")])

    assert (socket.said, socket.closed) == (["said"], (1000, ""))
