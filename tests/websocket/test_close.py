"""`ws.close()`: which codes, when it goes out, and what the handler sees of the end."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import ClientDisconnected, Limits, Nardis, UsageError
from tests.peers.driver import Gate, rest
from tests.websocket.calls import VANISH, Sockets, bye, errors, text

pytestmark = pytest.mark.anyio

ALLOWED = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}


async def test_codes_that_nobody_may_send_are_refused():
    """RFC 6455 §7.4: reserved ones, those that say that there was none, and no numbers at all."""
    app, refused = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        for code in [*range(-1, 5002), 1 << 16, None, "1000", 1000.0, True]:
            try:
                ws.close(code).close()
            except UsageError:
                refused.append(code)

    async with Sockets(app) as server:
        socket = await server.talked()

    assert socket.closed == (1000, "")
    assert {*range(-1, 5002)} - ALLOWED <= {*refused}
    assert not ALLOWED & {code for code in refused if type(code) is int}
    assert {1 << 16, None, "1000"} <= {*refused}
    assert [code for code in refused if type(code) in (float, bool)] == [1000.0, True]


async def test_code_and_reason_are_told():
    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        await ws.close(*app.state.said)

    async with Sockets(app) as server:
        for app.state.said in [
            (1000, ""),
            (1013, "try again later"),
            (4999, "x" * 123),
            (3000, "\u20ac" * 41),
        ]:
            socket = await server.talked()
            assert (socket.closed, socket.error) == (app.state.said, None)


async def test_a_reason_has_at_most_123_bytes_of_utf8():
    app, states = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        for reason in ("x" * 124, "\u20ac" * 42, "half \ud800", None, b"bytes"):
            with pytest.raises((UsageError, UnicodeEncodeError)):
                await ws.close(1000, reason)
            states.append(ws.state)

    async with Sockets(app) as server:
        socket = await server.talked()

    assert states == ["open"] * 5
    assert socket.closed == (1000, "")


async def test_the_first_close_counts_and_any_other_does_nothing():
    app, seen = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        seen.append((ws.state, ws.close_code, ws.close_reason))
        await ws.close(4000, "enough")
        seen.append((ws.state, ws.close_code, ws.close_reason))
        await ws.close(4001, "really")
        seen.append((ws.state, ws.close_code, ws.close_reason))
        seen.append(req.close_reason)

    async with Sockets(app) as server:
        socket = await server.talked()

    closed = ("closed", 4000, "enough")
    assert seen == [("open", None, ""), closed, closed, None]
    assert socket.kinds == ["accept", "close"]


@pytest.mark.parametrize(
    ("end", "code", "reason"),
    [
        (bye(4000, "bye"), 4000, "bye"),
        (VANISH, 1006, ""),
        ({"type": "websocket.disconnect"}, 1005, ""),
        ({"type": "websocket.disconnect", "code": None, "reason": None}, 1005, ""),
    ],
    ids=range(4),
)
async def test_how_the_client_ended_it_is_seen_and_a_close_after_that_does_nothing(
    end, code, reason
):
    app, seen = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        seen.extend([message async for message in ws])
        await ws.close(4001)
        seen.append((ws.state, ws.close_code, ws.close_reason, req.close_reason))

    async with Sockets(app) as server:
        socket = await server.talked("/", text("x"), end)

    assert seen == ["x", ("closed", code, reason, "gone")]
    assert socket.kinds == ["accept"]


async def test_it_goes_out_behind_what_is_being_sent():
    """What is sent after the call of it is refused, although it has not left."""
    app, gate, refused = Nardis(), Gate(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()

        async def late():
            try:
                await ws.send("late")
            except ClientDisconnected as over:
                refused.append(over.code)

        async with anyio.create_task_group() as group:
            for task in (lambda: ws.send("a"), lambda: ws.send("b"), lambda: ws.close(4000), late):
                group.start_soon(task)
                await checkpoint()
                await checkpoint()

    async with Sockets(app) as server:
        socket = await server.opened("/", on_send=gate)
        await gate.let()
        await gate.reached()
        gate.open()
        await socket.wait()

    assert socket.kinds == ["accept", "send", "send", "close"]
    assert (refused, socket.closed) == ([4000], (4000, ""))


async def test_cancelled_before_its_turn_it_has_not_closed():
    app, gate, states = Nardis(), Gate(), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        async with anyio.create_task_group() as group:
            group.start_soon(ws.send, "a")
            await checkpoint()
            await checkpoint()
            with anyio.CancelScope() as scope:
                app.state.scope = scope
                await ws.close(4000)
            states.append(ws.state)
        await ws.send("b")

    async with Sockets(app) as server:
        socket = await server.opened("/", on_send=gate)
        await gate.let()
        await gate.reached()
        app.state.scope.cancel()
        await rest()
        gate.open()
        await socket.wait()

    assert states == ["open"]
    assert (socket.said, socket.closed) == (["a", "b"], (1000, ""))


async def test_while_another_task_accepts_it_waits_for_that():
    app, gate, states = Nardis(), Gate(), []

    @app.websocket("/")
    async def handler(req, ws):
        async with anyio.create_task_group() as group:
            group.start_soon(ws.accept)
            await checkpoint()
            await checkpoint()
            await ws.close(4000)
            states.append(ws.state)

    async with Sockets(app) as server:
        socket = await server.opened("/", on_send=gate)
        gate.open()
        await socket.wait()

    assert states == ["closed"]
    assert (socket.kinds, socket.closed) == (["accept", "close"], (4000, ""))


@pytest.mark.parametrize("watched", [False, True])
async def test_it_ends_what_another_task_reads(watched):
    """Whether the server says something after a Close or not; no later than `cleanup_s`."""
    app, log = Nardis(limits=Limits(cleanup_s=3)), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()

        async def reads():
            try:
                log.append([message async for message in ws])
            except anyio.get_cancelled_exc_class():
                log.append("cancelled")
                raise

        async with anyio.create_task_group() as group:
            if watched:
                await app.state.go.wait()
            group.start_soon(reads)
            await app.state.close.wait()
            await ws.close(4000)

    app.state.go, app.state.close = anyio.Event(), anyio.Event()
    async with Sockets(app) as server:
        socket = await server.opened()
        await server.watched()
        app.state.go.set()
        await rest()
        app.state.close.set()
        await rest()
        await server.tick(4)
        await server.tick()
        await socket.wait()
        assert not server.exchanges

    assert log in ([[]], ["cancelled"])
    assert (socket.closed, socket.error) == ((4000, ""), None)


@pytest.mark.parametrize("end", ["shutdown", "deadline"])
async def test_a_handler_that_goes_on_after_it_is_ended_as_any(end, caplog):
    """By nothing that the client does: that answers our Close. What we said stays the code."""
    app, log = Nardis(limits=Limits(handler_s=30)), []

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        await ws.close(4000)
        try:
            await anyio.sleep_forever()
        finally:
            log.append((ws.close_code, ws.state, req.close_reason))

    async with Sockets(app) as server:
        socket = await server.opened()
        socket.push(bye(4001))
        await server.watched()
        await server.tick(10)
        assert not socket.ended.is_set()
        if end == "shutdown":
            server.shut_down()
        await server.tick(1 if end == "shutdown" else 21)
        await socket.wait()

    assert log == [(4000, "closed", end)]
    assert socket.kinds == ["accept", "close"]


async def test_one_that_is_not_taken_is_a_stall(caplog):
    app = Nardis()

    @app.websocket("/")
    async def handler(req, ws):
        await ws.accept()
        await ws.close()

    async def hangs(message):
        if message["type"] == "websocket.close":
            await anyio.sleep_forever()

    async with Sockets(app) as server:
        socket = await server.opened("/", on_send=hangs)
        await server.tick(59)
        assert not socket.ended.is_set()
        await server.tick(2)
        await socket.wait()

    assert errors(caplog) == []
    assert socket.error is not None


async def test_who_asks_on_and_on_after_it_lets_other_tasks_run():
    """A handler that takes no notice of the end must not keep the event loop."""
    app, turns = Nardis(), []

    @app.websocket("/")
    async def handler(req, ws):
        async def others():
            while True:
                turns.append(1)
                await checkpoint()

        await ws.close()
        async with anyio.create_task_group() as group:
            group.start_soon(others)
            for _ in range(100):
                with pytest.raises(ClientDisconnected):
                    await ws.receive()
                await ws.close()
            group.cancel_scope.cancel()

    async with Sockets(app) as server:
        app.websocket("/accepted", accepted(handler))
        socket = await server.talked("/accepted")

    assert socket.error is None
    assert len(turns) > 100


def accepted(handler):
    async def first(req, ws):
        await ws.accept()
        await handler(req, ws)

    return first


async def test_before_the_accept_it_is_the_end_for_all_who_have_begun(caplog):
    """Also for tasks whose messages wait: that is no failure of theirs, nor of the closer."""
    app, gate, ends = Nardis(), Gate(), []

    @app.websocket("/")
    async def handler(req, ws):
        async def sends(said):
            try:
                await ws.send(said)
            except ClientDisconnected:
                ends.append(said)

        async with anyio.create_task_group() as group:
            group.start_soon(ws.close, 4000, "<no>")
            await checkpoint()
            await checkpoint()
            group.start_soon(sends, "a")
            group.start_soon(sends, "b")

    async with Sockets(app) as server:
        socket = await server.opened(on_send=gate)
        await gate.let(2)
        await socket.wait()

    assert socket.denied == 403
    assert (socket.talk.denial.headers, socket.sent[-1]["body"]) == (
        [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"4")],
        b"<no>",
    )
    assert sorted(ends) == ["a", "b"]
    assert errors(caplog) == []
