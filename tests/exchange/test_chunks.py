"""R5: a chunk goes out whole, in the order of the calls; what was interrupted half-way tears the response."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import Nardis
from nardis.errors import ResponseAborted, ResponseAlreadyEnded
from tests.peers.driver import Gate, Identity, Server, part, rest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("filtered", [False, True], ids=["plain", "filtered"])
async def test_chunks_of_several_tasks_leave_whole_and_in_the_order_of_the_calls(filtered):
    app, called = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        if filtered:
            res.filter(Identity())

        async def writer(name):
            for n in range(5):
                piece = f"{name}{n}".encode()
                called.append(piece)
                await res.write(piece)

        async with anyio.create_task_group() as tasks:
            for name in "ABC":
                tasks.start_soon(writer, name)

    async def slowly(message):
        for _ in range(3):
            await checkpoint()

    async with Server(app) as server:
        call = await server.finished("/", on_send=slowly)

    assert call.chunks == [*called, b""]
    assert len(called) == 15
    assert call.final


@pytest.mark.parametrize("verb", ["write", "flush", "end"])
async def test_a_writer_cancelled_while_it_waits_leaves_no_trace(verb):
    app, gate, waiting = Nardis(), Gate(), anyio.CancelScope()

    @app.get("/")
    async def handler(req, res):
        async def waiter():
            with waiting:
                await getattr(res, verb)(*([] if verb == "flush" else [b"never"]))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(res.write, b"first")
            await rest()
            tasks.start_soon(waiter)
            await rest()
            tasks.start_soon(res.write, b"second")

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(1)  # the head; the first chunk is being sent, the others wait
        waiting.cancel()
        await gate.let(3)
        await call.wait()

    assert call.chunks == [b"first", b"second", b""]
    assert call.error is None


async def test_a_writer_cancelled_at_the_very_moment_of_its_turn_passes_the_turn_on():
    app, gate, waiting = Nardis(), Gate(), anyio.CancelScope()

    @app.get("/")
    async def handler(req, res):
        async def waiter():
            with waiting:
                await res.write(b"never")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(res.write, b"first")
            await rest()
            tasks.start_soon(waiter)
            await rest()
            tasks.start_soon(res.write, b"second")

    async def cancel_with_the_turn(message):
        await gate(message)
        if message.get("body") == b"first":
            waiting.cancel()  # and at once, in the same step, the turn goes on to the one who was cancelled

    async with Server(app) as server:
        call = server.call("/", on_send=cancel_with_the_turn)
        await gate.let(2)
        await gate.let(2)
        await call.wait()

    assert call.chunks in ([b"first", b"second", b""], [b"first", b"never", b"second", b""])
    assert call.error is None


@pytest.mark.parametrize("what", ["head", "chunk", "final"])
async def test_an_interrupted_message_tears_the_response(what):
    """Nobody knows how much of it is on the wire: nothing may follow, and it must not look whole."""
    app, gate, hurry, refused = Nardis(), Gate(), anyio.CancelScope(), []

    @app.get("/")
    async def handler(req, res):
        with hurry:
            await (res.end("only") if what == "final" else res.write("chunk"))
        for verb in (res.write, res.end, res.send):
            with pytest.raises(ResponseAborted):
                await verb("more")
            refused.append(verb)

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(0 if what == "head" else 1)
        await rest()
        hurry.cancel()
        await call.wait()

    assert len(refused) == 3
    assert not call.final
    assert len(call.sent) == (0 if what == "head" else 1)
    assert isinstance(call.error, ResponseAborted)


async def test_a_torn_response_is_aborted_when_the_handler_just_returns():
    app, gate, hurry = Nardis(), Gate(), anyio.CancelScope()

    @app.get("/")
    async def handler(req, res):
        await res.write("one")
        with hurry:
            await res.write("two")

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)
        hurry.cancel()
        await call.wait()

    assert call.aborted
    assert call.chunks == [b"one"]
    assert isinstance(call.error, ResponseAborted)


async def test_those_who_waited_behind_a_torn_chunk_are_refused():
    app, gate, hurry, refused = Nardis(), Gate(), anyio.CancelScope(), []

    @app.get("/")
    async def handler(req, res):
        async def first():
            with hurry:
                await res.write("one")

        async def second():
            with pytest.raises(ResponseAborted):
                await res.write("two")
            refused.append("two")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await rest()
            tasks.start_soon(second)

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(1)
        hurry.cancel()
        await call.wait()

    assert refused == ["two"]
    assert call.aborted
    assert call.chunks == []


@pytest.mark.parametrize("verb", ["write", "end", "flush", "send"])
async def test_a_writer_behind_a_whole_answer_is_refused(verb):
    """It waits for its turn while the answer is being sent, and learns then that there is none."""
    app, gate, refused = Nardis(), Gate(), []

    @app.get("/")
    async def handler(req, res):
        async def late():
            with pytest.raises(ResponseAlreadyEnded):
                await getattr(res, verb)(*([] if verb == "flush" else [b"late"]))
            refused.append(verb)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(res.send, b"whole")
            await rest()
            tasks.start_soon(late)

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)
        await call.wait()

    assert refused == [verb]
    assert (call.body, call.final, call.error) == (b"whole", True, None)


async def test_one_who_waits_behind_a_plain_write_comes_next():
    app, gate, waiting = Nardis(), Gate(), anyio.Event()

    @app.get("/")
    async def handler(req, res):
        async def second():
            await waiting.wait()
            await res.write(b"2")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second)
            await res.write(b"0")
            await res.write(b"1")
            await res.write(b"3")

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)
        waiting.set()
        await gate.let(4)
        await call.wait()

    assert call.chunks == [b"0", b"1", b"2", b"3", b""]


async def test_flush_sends_what_filters_hold_back():
    class Holding(Identity):
        held = b""

        def feed(self, data):
            self.held += data
            return b""

        def flush(self):
            held, self.held = self.held, b""
            return held

        finish = flush

    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        res.filter(Holding()).filter(Holding())
        await res.write("a")
        await res.write("b")
        await res.flush()
        await res.write("c")

    async with Server(app) as server:
        call = await server.finished("/")

    assert call.chunks == [b"ab", b"c"]
    assert call.final


@pytest.mark.parametrize("verb", ["send", "end"])
@pytest.mark.parametrize("announced", [False, True], ids=["without a request body", "with one"])
async def test_a_whole_answer_passes_its_filters(verb, announced):
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        await getattr(res.filter(Identity()), verb)("whole")

    async with Server(app) as server:
        headers = {"content-length": "1"} if announced else {}
        call = await server.finished("/", part(b"x", more=False), method="POST", headers=headers)

    assert (call.chunks, call.final) == ([b"whole"], True)
    assert b"content-length" not in call.headers
