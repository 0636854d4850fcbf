"""R5: a chunk goes out whole, in the order of the calls, filtered or not."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import Nardis
from nardis.errors import ResponseAlreadyEnded
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


async def test_a_writer_that_waits_behind_a_plain_write_comes_next():
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
