"""R5: a cancellation that is due leaves no trace; a sending it interrupts tears the response."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import Nardis
from nardis._exchange.sweeper import Sweeper
from nardis.errors import ResponseAborted
from tests.peers.driver import Gate, Identity, Server, rest

pytestmark = pytest.mark.anyio


async def pause(message):
    """Suspend in each send, as a server does whose client is slow."""
    await checkpoint()
    await checkpoint()


async def write(res):
    await res.write("lost")


async def filtered(res):
    await res.write("lost")


async def flush(res):
    await res.flush()


async def send(res):
    await res.send("lost")


async def end(res):
    await res.end("lost")


@pytest.mark.parametrize("started", [False, True], ids=["before the head", "after the head"])
@pytest.mark.parametrize(
    "verb", [write, filtered, flush, send, end], ids=lambda verb: verb.__name__
)
async def test_a_verb_in_a_cancelled_scope_sends_nothing_and_tears_nothing(verb, started):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        if verb is filtered:
            res.filter(Identity())
        if started:
            await res.write("begin ")
        with anyio.CancelScope() as scope:
            scope.cancel()
            with pytest.raises(anyio.get_cancelled_exc_class()):
                await checkpoint()
            await verb(res)
        assert res.started is started
        await res.write("end")

    async with Server(app) as server:
        call = await server.finished("/", on_send=pause)

    assert call.body == (b"begin end" if started else b"end")
    assert (call.final, call.error) == (True, None)


async def test_a_stream_with_a_deadline_ends_whole():
    """It is over when its time is, wherever that finds it."""
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        with anyio.move_on_after(0.05):
            while True:
                await res.write("tick ")
                await anyio.sleep(0.001)
        await res.write("tock")

    async with Server(app) as server:
        for _ in range(5):
            call = await server.finished("/")
            assert call.final
            assert call.body.endswith(b"tick tock")


async def test_an_answer_whose_time_is_over_can_be_another_one():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await checkpoint()
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await checkpoint()
            finally:
                await res.send("too late")
        await res.status(504).send("timeout")

    async with Server(app) as server:
        call = await server.finished("/", on_send=pause)

    assert (call.status, call.body) == (504, b"timeout")


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
            waiting.cancel()  # in the same step the turn goes on to the writer that was cancelled

    async with Server(app) as server:
        call = server.call("/", on_send=cancel_with_the_turn)
        await gate.let(2)
        await gate.let(2)
        await call.wait()

    assert call.chunks in ([b"first", b"second", b""], [b"first", b"never", b"second", b""])
    assert call.error is None


@pytest.mark.parametrize("what", ["head", "chunk", "final"])
async def test_an_interrupted_message_tears_the_response(what):
    """An unknown part of it is on the wire: nothing may follow, and it must not look whole."""
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


async def test_writers_behind_a_torn_chunk_are_refused():
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


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trio_is_asked_in_public_where_its_own_way_is_gone(monkeypatch):
    """A cancellation that is due is found without trio's private names, too."""
    monkeypatch.setattr("trio.lowlevel.current_task", object)
    is_cancelled = Sweeper(anyio.create_task_group()).is_cancelled
    monkeypatch.undo()

    assert not is_cancelled()
    with anyio.CancelScope() as scope:
        scope.cancel()
        assert is_cancelled()
        await checkpoint()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio_is_asked_in_public_where_its_own_way_is_gone(monkeypatch):
    """As of Python 3.14."""
    monkeypatch.setattr("asyncio.tasks._current_tasks", {}, raising=False)
    is_cancelled = Sweeper(anyio.create_task_group()).is_cancelled
    monkeypatch.undo()

    assert not is_cancelled()
    with anyio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises(anyio.get_cancelled_exc_class()):
            await checkpoint()
        assert is_cancelled()


async def test_those_that_leave_at_once_are_not_looked_for_among_all_that_wait(monkeypatch):
    """Each of ten thousand would be, in turn: a second for which everything else stands still."""

    class Turn:
        def __init__(self):
            self.event = Event()
            self.wait, self.set, self.is_set = self.event.wait, self.event.set, self.event.is_set

        def __eq__(self, other):
            raise AssertionError("it was looked for")  # pragma: no cover - must not happen

        __hash__ = object.__hash__

    Event = anyio.Event
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(res.write, "said")
            await gate.reached()
            monkeypatch.setattr("nardis._turns.anyio.Event", Turn)
            async with anyio.create_task_group() as many:
                for each in scopes:
                    many.start_soon(leaves, res, each)
                await rest()
                for each in reversed(scopes):
                    each.cancel()
            monkeypatch.undo()
            gate.open()

    async def leaves(res, scope):
        with scope:
            await res.write("lost")

    gate, scopes = Gate(), [anyio.CancelScope() for _ in range(50)]
    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await call.wait()

    assert (call.body, call.error) == (b"said", None)
