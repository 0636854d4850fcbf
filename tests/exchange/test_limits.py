"""C2 for limits of time: an answer before the head, a cut after it."""

from __future__ import annotations

import anyio
import pytest

from nardis import Limits, Nardis, Router, shielded
from nardis.errors import ResponseAborted
from tests.peers.driver import Gate, Server, part
from tests.peers.handlers import waits, waits_and_notes

pytestmark = pytest.mark.anyio

CHUNKED = {"transfer-encoding": "chunked"}


async def test_a_body_that_stops_arriving_is_a_408():
    app, log = Nardis(limits=Limits(body_idle_s=30)), []

    @app.post("/")
    async def handler(req, res):
        try:
            await req.bytes()
        finally:
            log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/", part(b"half"), method="POST", headers=CHUNKED)
        await server.tick(29)
        assert not call.ended.is_set()
        await server.tick(2)
        await call.wait()

    assert log == ["stalled"]
    assert (call.status, call.final, call.error) == (408, True, None)
    assert b"stopped arriving" in call.body


async def test_the_time_of_a_body_counts_only_while_a_handler_waits_for_it():
    app, go = Nardis(limits=Limits(body_idle_s=30)), anyio.Event()

    @app.post("/")
    async def handler(req, res):
        await anext(req.body)
        await go.wait()
        await res.send(await anext(req.body))

    async with Server(app) as server:
        call = server.call("/", part(b"a"), method="POST", headers=CHUNKED)
        await server.tick(100)
        go.set()
        await server.tick(29)
        assert not call.ended.is_set()
        call.push(part(b"b", more=False))
        await call.wait()

    assert call.body == b"b"


async def test_each_piece_of_a_body_begins_the_time_anew():
    app = Nardis(limits=Limits(body_idle_s=30, body_min_rate=0))

    @app.post("/")
    async def handler(req, res):
        await res.send(await req.bytes())

    async with Server(app) as server:
        call = server.call("/", method="POST", headers=CHUNKED)
        for n in range(5):
            await server.tick(20)
            call.push(part(b"%d" % n, more=n < 4))
        await call.wait()

    assert call.body == b"01234"


@pytest.mark.parametrize("watched", [False, True], ids=["direct", "by way of the watcher"])
async def test_the_time_of_a_body_counts_however_it_is_read(watched):
    app, go = Nardis(limits=Limits(body_idle_s=30)), anyio.Event()

    @app.post("/")
    async def handler(req, res):
        await go.wait()
        await req.bytes()

    async with Server(app) as server:
        call = server.call("/", method="POST", headers=CHUNKED)
        await server.tick(0.3 if watched else 0.0)
        go.set()
        await server.tick(31)
        await call.wait()

    assert call.status == 408


@pytest.mark.parametrize("where", ["app", "route"])
async def test_a_handler_that_takes_too_long_is_a_503(where):
    limits, log = Limits(handler_s=10), []
    app = Nardis(limits=limits) if where == "app" else Nardis()

    app.get("/", waits_and_notes(log), limits=limits if where == "route" else None)

    async with Server(app) as server:
        call = server.call("/")
        await server.tick(9)
        assert not call.ended.is_set()
        await server.tick(2)
        await call.wait()

    assert log == ["deadline"]
    assert (call.status, call.final, call.error) == (503, True, None)


async def test_the_limits_of_another_route_do_not_hold():
    app, go = Nardis(limits=Limits(handler_s=10)), anyio.Event()

    @app.get("/long", limits=Limits(handler_s=None))
    async def handler(req, res):
        await go.wait()
        await res.send("at last")

    async with Server(app) as server:
        call = server.call("/long")
        await server.tick(1_000)
        go.set()
        await call.wait()

    assert call.body == b"at last"


@pytest.mark.parametrize("registered", ["app", "router"])
@pytest.mark.parametrize("status", [408, 503])
async def test_error_handlers_answer_in_a_fresh_scope(status, registered):
    """The handler's own scope is cancelled: in it no error handler could await anything."""
    app, router, log = Nardis(limits=Limits(body_idle_s=10, handler_s=20)), Router(), []

    @app.use
    async def middleware(req, res, next):
        try:
            await next()
        finally:
            log.append("the middleware has left")

    app.use("/api", router)

    @(app if registered == "app" else router).error(status)
    async def answer(err, req, res):
        log.append(err.status)
        await anyio.lowlevel.checkpoint()
        await res.send({"mine": err.status})

    @router.post("/")
    async def handler(req, res):
        if status == 408:
            await req.bytes()
        else:
            await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/api", method="POST", headers=CHUNKED)
        await server.tick(11 if status == 408 else 21)
        await call.wait()

    assert log == ["the middleware has left", status]
    assert (call.status, call.body, call.final, call.error) == (
        status,
        b'{"mine":%d}' % status,
        True,
        None,
    )


async def test_an_error_handler_of_a_limit_has_its_limits_too():
    app = Nardis(limits=Limits(handler_s=10))

    @app.error(503)
    async def answer(err, req, res):
        await anyio.sleep_forever()

    app.get("/", waits)

    async with Server(app) as server:
        call = server.call("/")
        await server.tick(11)
        assert not call.ended.is_set()
        await server.tick(9)
        assert not call.ended.is_set()
        await server.tick(2)
        await call.wait()

    assert not call.begun
    assert isinstance(call.error, ResponseAborted)


async def test_an_error_handler_of_a_limit_that_fails_is_a_500(caplog):
    app = Nardis(limits=Limits(handler_s=10))

    @app.error(503)
    async def answer(err, req, res):
        raise ZeroDivisionError

    app.get("/", waits)

    async with Server(app) as server:
        call = server.call("/")
        await server.tick(11)
        await call.wait()

    assert (call.status, call.final) == (500, True)
    assert ZeroDivisionError in [record.exc_info[0] for record in caplog.records]


async def test_a_client_that_leaves_while_a_limit_is_answered_ends_that_too():
    app, log = Nardis(limits=Limits(handler_s=10)), []

    @app.error(503)
    async def answer(err, req, res):
        try:
            await anyio.sleep_forever()
        finally:
            log.append(req.close_reason)

    app.get("/", waits)

    async with Server(app) as server:
        call = server.call("/")
        await server.tick(11)
        await server.lose(call)

    assert log == ["deadline"]
    assert call.untouched
    assert call.error is None


@pytest.mark.parametrize("limit", ["body_idle_s", "handler_s"])
async def test_after_the_head_a_limit_cuts_the_response(limit):
    app, log = Nardis(limits=Limits(**{limit: 10})), []

    @app.post("/")
    async def handler(req, res):
        await res.write("half")
        try:
            await req.bytes()
        finally:
            log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/", method="POST", headers=CHUNKED)
        await server.tick(11)
        await call.wait()

    assert log == ["stalled" if limit == "body_idle_s" else "deadline"]
    assert call.aborted
    assert call.body == b"half"
    assert isinstance(call.error, ResponseAborted)


@pytest.mark.parametrize("what", ["head", "chunk", "final", "send"])
async def test_a_client_that_stops_reading_is_cut(what):
    app, gate, log = Nardis(limits=Limits(write_stall_s=10)), Gate(), []

    @app.get("/")
    async def handler(req, res):
        try:
            if what == "send":
                await res.send("whole")
            elif what == "final":
                await res.end("whole")
            else:
                await res.write("chunk")
        finally:
            log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(0 if what == "head" else 1)
        await server.tick(9)
        assert not call.ended.is_set()
        await server.tick(2)
        await call.wait()

    assert log == ["stalled"]
    assert len(call.sent) == (0 if what == "head" else 1)
    assert not call.final
    assert isinstance(call.error, ResponseAborted)


async def test_a_client_that_reads_slowly_is_not_cut():
    app, gate = Nardis(limits=Limits(write_stall_s=10)), Gate()

    @app.get("/")
    async def handler(req, res):
        for _ in range(5):
            await res.write("x")

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        for _ in range(7):
            await server.tick(9)
            await gate.let()
        await call.wait()

    assert (call.body, call.final, call.error) == (b"xxxxx", True, None)


async def test_a_handler_that_ends_its_work_behind_a_shield_may_still_answer_whole():
    """The deadline came and the work is done: a whole answer is honest, and so is the 503."""
    app, parked = Nardis(limits=Limits(handler_s=10)), anyio.Event()

    @app.get("/")
    async def handler(req, res):
        with shielded(50):
            await parked.wait()

    async with Server(app) as server:
        call = server.call("/")
        await server.tick(11)
        parked.set()
        await call.wait()

    assert (call.status, call.final, call.error) == (503, True, None)


async def test_after_a_limit_clean_up_cannot_add_to_the_response():
    """The client is still there, and yet nothing more is sent: the cut stays where it was made."""
    app, log = Nardis(limits=Limits(handler_s=10)), []

    @app.get("/")
    async def handler(req, res):
        await res.write("half")
        try:
            await anyio.sleep_forever()
        finally:
            with shielded(5):
                try:
                    await res.write("the other half")
                except Exception as exc:
                    log.append(type(exc).__name__)

    async with Server(app) as server:
        call = server.call("/")
        await server.tick(11)
        await call.wait()

    assert log == ["ClientDisconnected"]
    assert call.chunks == [b"half"]
    assert call.aborted


async def test_one_sweep_looks_at_every_exchange():
    app, log = Nardis(limits=Limits(handler_s=10)), []

    @app.get("/:name")
    async def handler(req, res):
        try:
            await anyio.sleep_forever()
        finally:
            log.append(req.params["name"])

    async with Server(app) as server:
        calls = [server.call(f"/{name}") for name in "abc"]
        await server.tick(6)
        late = server.call("/d")
        await server.tick(6)
        for call in calls:
            await call.wait()

        assert sorted(log) == ["a", "b", "c"]
        assert not late.ended.is_set()
        assert len(server.exchanges) == 1
