"""C2 and Q4: a disconnect cancels the handler, and the server is not called again."""

from __future__ import annotations

import anyio
import pytest

from nardis import ClientDisconnected, HTTPError, Nardis, SkipRoute, shielded
from tests.peers.driver import Gate, Server, part
from tests.peers.handlers import waits_and_notes

pytestmark = pytest.mark.anyio

CHUNKED = {"transfer-encoding": "chunked"}


def verbs(req, res):
    return [
        lambda: res.write("more"),
        lambda: res.flush(),
        lambda: res.end(),
        lambda: res.send("whole"),
        lambda: anext(req.body),
    ]


@pytest.mark.parametrize("started", [False, True], ids=["before the head", "after the head"])
async def test_behind_a_shield_every_verb_says_that_the_client_left(started):
    app, refused = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        if started:
            await res.write("x")
        try:
            await anyio.sleep_forever()
        finally:
            with shielded(5):
                for verb in verbs(req, res):
                    with pytest.raises(ClientDisconnected):
                        await verb()
                    refused.append(verb)

    async with Server(app) as server:
        call = server.call("/", method="POST", headers=CHUNKED)
        await server.lose(call)

    assert len(refused) == 5
    assert call.error is None
    assert len(call.begun) == (2 if started else 0)


@pytest.mark.parametrize("started", [False, True], ids=["before the head", "after the head"])
@pytest.mark.parametrize("index", range(5), ids=["write", "flush", "end", "send", "read"])
async def test_without_a_shield_the_cancellation_lands_in_the_next_verb(index, started):
    """A handler that awaited nothing at the disconnect is cancelled in its next await."""
    app, log = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        if started:
            await res.write("x")
        with shielded(5):
            await req.app.state.parked.wait()
        try:
            await verbs(req, res)[index]()
        except anyio.get_cancelled_exc_class():
            log.append("cancelled")
            raise

    app.state.parked = anyio.Event()
    async with Server(app) as server:
        call = server.call("/", method="POST", headers=CHUNKED)
        await server.lose(call)
        app.state.parked.set()
        await call.wait()

    assert log == ["cancelled"]
    assert len(call.begun) == (2 if started else 0)


async def test_returning_from_a_shield_after_the_client_left_sends_no_final_message():
    app, parked = Nardis(), anyio.Event()

    @app.get("/")
    async def handler(req, res):
        await res.write("x")
        with shielded(5):
            await parked.wait()

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)
        parked.set()
        await call.wait()

    assert call.aborted
    assert call.error is None


async def test_failing_after_the_client_left_sends_nothing_but_is_logged(caplog):
    """There is nobody to answer, so error handlers are not asked. The error is not lost."""
    app, asked = Nardis(), []

    @app.error(ZeroDivisionError)
    async def answer(err, req, res):
        asked.append(req.path)
        await res.send("sorry")

    @app.get("/here")
    async def here(req, res):
        raise ZeroDivisionError

    @app.get("/gone")
    async def gone(req, res):
        try:
            await anyio.sleep_forever()
        finally:
            raise ZeroDivisionError

    async with Server(app) as server:
        await server.finished("/here")
        assert not caplog.records
        call = server.call("/gone")
        await server.lose(call)

    assert call.untouched
    assert call.error is None
    assert asked == ["/here"]
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


async def test_a_disconnect_is_no_error_and_not_logged(caplog):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.write("x")
        await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)

    assert call.aborted
    assert call.error is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("failure", "logged"), [(BrokenPipeError(), 0), (ValueError("a bug of the server"), 1)]
)
@pytest.mark.parametrize("what", ["head", "chunk", "final"])
async def test_a_send_that_fails_is_a_client_that_left(what, failure, logged, caplog):
    """
    ASGI 2.4 servers raise OSError for it, and nobody is to blame; nothing is sent after it.

    Anything else is logged, except in the last send: hypercorn's trio worker fails there when its
    client closes meanwhile.
    """
    app, log = Nardis(), []
    fails_at = {"head": 1, "chunk": 2, "final": 3}[what]

    @app.get("/")
    async def handler(req, res):
        try:
            await res.write("one")
            await res.end("two")
        finally:
            log.append(req.close_reason)
            with shielded(5), pytest.raises(ClientDisconnected):
                await res.write("three")

    async def fail(message):
        if len(server.calls[0].begun) == fails_at:
            raise failure

    async with Server(app) as server:
        call = await server.finished("/", on_send=fail)

    assert len(call.begun) == fails_at
    assert not call.final
    assert call.error is None
    assert len(caplog.records) == (0 if what == "final" else logged)
    assert log == ["gone" if what != "final" else None]


async def test_a_handler_that_is_writing_is_cancelled():
    app, gate, log = Nardis(), Gate(), []

    @app.get("/")
    async def handler(req, res):
        try:
            while True:
                await res.write("x")
        finally:
            log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(3)
        await server.lose(call)

    assert log == ["gone"]
    assert len(call.sent) == 3
    assert len(call.begun) == 4


async def test_once_the_final_message_has_begun_a_disconnect_cancels_nothing():
    """Cancelled, that send would lose the close: hypercorn's trio worker closes inside it."""
    app, gate, log = Nardis(), Gate(), []

    @app.get("/")
    async def handler(req, res):
        await res.send("all of it")
        await anyio.lowlevel.checkpoint()
        log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(1)
        await server.lose(call)
        assert not call.ended.is_set()
        await gate.let(1)
        await call.wait()

    assert (call.body, call.final, call.error) == (b"all of it", True, None)
    assert log == [None]


async def test_work_after_the_final_message_is_not_cancelled_by_the_disconnect():
    app, parked, log = Nardis(), anyio.Event(), []

    @app.get("/")
    async def handler(req, res):
        await res.send("thanks")
        await parked.wait()
        log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)
        await server.tick()
        assert not call.ended.is_set()
        parked.set()
        await call.wait()

    assert log == [None]
    assert call.final


async def test_a_client_that_left_before_the_handler_began_to_read():
    app, log = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        try:
            await req.bytes()
        finally:
            log.append(req.close_reason)

    async with Server(app) as server:
        call = await server.finished(
            "/", {"type": "http.disconnect"}, method="POST", headers=CHUNKED
        )

    assert log == ["gone"]
    assert call.untouched


async def test_a_client_that_leaves_half_way_through_its_body():
    app, taken = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        async for chunk in req.body:
            taken.append(chunk)  # noqa: PERF401 - what came before the client left counts

    async with Server(app) as server:
        call = await server.finished(
            "/", part(b"half"), {"type": "http.disconnect"}, method="POST", headers=CHUNKED
        )

    assert taken == [b"half"]
    assert call.untouched


async def test_a_client_that_leaves_while_the_head_of_a_whole_answer_is_sent():
    """The final message has not begun: it is not sent to somebody who left."""
    app, gate, log = Nardis(), Gate(), []

    @app.get("/")
    async def handler(req, res):
        try:
            await res.send("whole")
        finally:
            log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await server.lose(call)

    assert log == ["gone"]
    assert len(call.begun) == 1
    assert call.error is None


async def test_a_client_that_leaves_while_the_head_of_an_early_answer_is_sent():
    """Likewise where the request body is unread, and the server sends the head all the same."""
    app, left, log = Nardis(), anyio.Event(), []

    @app.post("/")
    async def handler(req, res):
        try:
            await res.send("whole")
        finally:
            log.append(req.close_reason)

    async def unhurried(message):
        with anyio.CancelScope(shield=True):
            await left.wait()

    async with Server(app) as server:
        call = server.call("/", method="POST", headers={"content-length": "100"}, on_send=unhurried)
        await server.lose(call)
        left.set()
        await call.wait()

    assert log == ["gone"]
    assert [message["type"] for message in call.begun] == ["http.response.start"]


async def test_a_client_that_leaves_during_a_500_is_no_further_error(caplog):
    app = Nardis(cancel_on_disconnect=False)

    @app.get("/")
    async def handler(req, res):
        raise ZeroDivisionError

    async def fail(message):
        raise BrokenPipeError

    async with Server(app) as server:
        call = await server.finished("/", on_send=fail)

    assert call.error is None
    assert not call.final
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


@pytest.mark.parametrize("raised", [SkipRoute, HTTPError(404)], ids=["SkipRoute", "HTTPError"])
async def test_what_a_handler_raised_is_not_told_of_when_its_successor_is_cancelled(raised, caplog):
    app, log = Nardis(), []

    @app.get("/")
    async def first(req, res):
        raise raised

    @app.get("/")
    async def second(req, res):
        await waits_and_notes(log)(req, res)

    @app.error(404)
    async def missing(err, req, res):
        await waits_and_notes(log)(req, res)

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)

    assert log == ["gone"]
    assert call.untouched
    assert call.error is None
    assert not caplog.records


async def test_a_body_that_is_read_after_the_end_is_not_asked_for_again():
    app, kept = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        async for _ in req:
            pass
        kept.append(req)
        await res.send("x")

    async with Server(app) as server:
        call = await server.finished(
            "/", part(b"body", more=False), part(b"of the next request"), method="POST"
        )
        with pytest.raises(ClientDisconnected):
            await kept[0].bytes()
        assert (call.body, call.final) == (b"x", True)
        assert not server.exchanges
