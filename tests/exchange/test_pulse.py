"""What is sent while a handler is silent: what filters hold back, and the pings of events."""

import logging
import threading

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import Nardis, wrap
from nardis._exchange.sweeper import TICK_S
from tests.peers.driver import Gate, Server, rest

pytestmark = pytest.mark.anyio


class Holding:
    """Holds everything back until it is flushed, and counts its flushes."""

    def __init__(self, failure=None):
        self.failure = failure
        self.held = b""
        self.flushes = 0

    def feed(self, data):
        self.held += data
        return b""

    def flush(self):
        if self.failure is not None:
            raise self.failure
        self.flushes += 1
        held, self.held = self.held, b""
        return held

    def finish(self):
        return self.flush()


def passed_on(app):
    async def same(scope, receive, send):
        await app(scope, receive, send)

    return same


def filtering(codec, *pieces, wrapped=False, then=anyio.sleep_forever):
    """Make an application whose handler writes *pieces* through *codec*, and then waits."""
    app = Nardis()
    if wrapped:
        app.use(wrap(passed_on))

    @app.get("/")
    async def handler(req, res):
        res.filter(codec)
        for piece in pieces:
            await res.write(piece)
        await then()

    return app


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
async def test_what_a_filter_holds_back_leaves_within_two_ticks(wrapped):
    codec = Holding()
    async with Server(filtering(codec, "a", "b", wrapped=wrapped)) as server:
        call = server.call("/")
        await server.tick()
        assert call.body == b""
        await server.tick()
        assert call.body == b"ab"
        for _ in range(3):
            await server.tick()
        await server.lose(call)
        await call.wait()

    assert codec.flushes == 1  # and not each tick


async def test_a_steady_writer_is_flushed_too():
    """A filter may hold back what comes in drops for as long as it likes."""
    codec, more, app = Holding(), anyio.Event(), Nardis()

    @app.get("/")
    async def handler(req, res):
        nonlocal more
        res.filter(codec)
        while True:
            await res.write("x")
            more = anyio.Event()
            await more.wait()

    async with Server(app) as server:
        call = server.call("/")
        for ticks in range(1, 8):
            await server.tick()
            more.set()
            await rest()
            assert len(call.body) >= ticks - 1
        await server.lose(call)
        await call.wait()


async def test_a_filter_that_says_that_it_holds_nothing_back_is_left_alone():
    codec = Holding()
    codec.holds_back = False
    async with Server(filtering(codec, "a")) as server:
        call = server.call("/")
        for _ in range(4):
            await server.tick()

        assert (call.body, codec.flushes) == (b"", 0)


async def test_the_end_of_a_response_waits_for_a_flush_under_way():
    codec, gate, ready = Holding(), Gate(), anyio.Event()
    async with Server(filtering(codec, "a", then=ready.wait)) as server:
        call = server.call("/", on_send=gate)
        await gate.let(1)  # the head
        await server.tick()
        await server.tick()
        await gate.reached()  # the flush
        ready.set()
        await rest()
        assert not call.final_begun
        gate.open()
        await call.wait()

    assert (call.body, call.final, call.error) == (b"a", True, None)


@pytest.mark.parametrize("ending", ["leaves", "shutdown", "cancelled"])
async def test_a_flush_under_way_ends_with_its_exchange(ending):
    """Its client takes nothing, and then the handler is ended: no task is left."""
    gate = Gate()
    async with Server(filtering(Holding(), "a")) as server:
        call = server.call("/", on_send=gate)
        await gate.let(1)
        await server.tick()
        await server.tick()
        await gate.reached()
        if ending == "leaves":
            await server.lose(call)
        elif ending == "shutdown":
            server.shut_down()
        else:
            call.cancel_scope.cancel()
        await call.wait()
        await rest()
        assert not gate.held
        assert not server.exchanges

    assert not call.final


async def test_a_filter_that_fails_in_a_flush_cuts_its_own_response(caplog):
    other = Holding()
    app = filtering(Holding(ValueError("flush")), "a")

    @app.get("/other")
    async def handler(req, res):
        res.filter(other)
        await res.write("b")
        await anyio.sleep_forever()

    async with Server(app) as server:
        call, neighbour = server.call("/"), server.call("/other")
        for _ in range(3):
            await server.tick()
        await call.wait()
        assert neighbour.body == b"b"
        assert not neighbour.ended.is_set()

    assert call.aborted
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert [each.exc_info[1].args for each in errors] == [("flush",)]


async def test_a_server_that_fails_in_a_flush_is_a_client_that_left():
    async def failing(message):
        if message["type"] == "http.response.body":
            raise OSError("connection lost")

    reasons = []

    async def wait():
        try:
            await anyio.sleep_forever()
        finally:
            reasons.append("cancelled")

    async with Server(filtering(Holding(), "a", then=wait)) as server:
        call = server.call("/", on_send=failing)
        await server.tick()
        await server.tick()
        await call.wait()

    assert reasons == ["cancelled"]
    assert not call.final_begun


async def test_a_whole_answer_and_a_plain_stream_have_no_pulse():
    app, looked_at = Nardis(), []

    @app.get("/whole")
    async def whole(req, res):
        res.filter(Holding())
        await res.send("whole")
        looked_at.append(req.exchange.pulse)

    @app.get("/plain")
    async def plain(req, res):
        await res.write("plain")
        looked_at.append(req.exchange.pulse)

    async with Server(app) as server:
        await server.finished("/whole")
        await server.finished("/plain")

    assert looked_at == [None, None]


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
@pytest.mark.parametrize("ending", ["raises", "is cancelled"])
async def test_a_flush_in_a_thread_is_waited_for_before_what_was_deferred(ending, wrapped):
    """A clean-up may close what the filter uses."""
    began, go, done = threading.Event(), threading.Event(), []

    class InThread(Holding):
        def flush(self):
            return anyio.to_thread.run_sync(self.work)

        def work(self):
            began.set()
            assert go.wait(20)
            done.append("flushed")
            return b"late"

    app, fails = Nardis(), anyio.Event()
    if wrapped:
        app.use(wrap(passed_on))

    @app.get("/")
    async def handler(req, res):
        async def clean_up():
            done.append("deferred")

        req.defer(clean_up)
        res.filter(InThread())
        await res.write("x")
        await fails.wait()
        raise ValueError

    async with Server(app) as server:
        call = server.call("/")
        await server.tick()
        await server.tick()
        await anyio.to_thread.run_sync(began.wait)
        if ending == "raises":
            fails.set()
        else:
            call.cancel_scope.cancel()
        await rest()
        assert not call.ended.is_set()
        go.set()
        await call.wait()
        await rest()

    assert done == ["flushed", "deferred"]
    assert b"late" not in call.body


# --- pings ----------------------------------------------------------------------------------------


def silent(*, wrapped=False, **options):
    """Make an application of an event stream on which nothing happens."""
    app = Nardis()
    if wrapped:
        app.use(wrap(passed_on))

    @app.get("/")
    async def handler(req, res):
        async with res.sse(**options):
            await anyio.sleep_forever()

    return app


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "wrapped"])
async def test_a_silent_event_stream_pings(wrapped):
    async with Server(silent(ping=2, wrapped=wrapped)) as server:
        call = server.call("/")
        await server.tick(1)
        assert call.body == b""
        await server.tick(1.1)
        assert call.body == b": ping\n\n"
        await server.tick(1)
        assert call.body == b": ping\n\n"
        await server.tick(1.1)
        assert call.body == b": ping\n\n" * 2
        await server.lose(call)
        await call.wait()
        assert not server.exchanges


async def test_without_a_ping_it_is_silent():
    async with Server(silent(ping=None)) as server:
        call = server.call("/")
        await server.tick(3600)
        await server.tick(3600)

        assert call.body == b""


async def test_streams_that_fell_silent_together_do_not_ping_together():
    app = silent(ping=20)
    async with Server(app) as server:
        calls = [server.call("/") for _ in range(30)]
        await server.tick(14)
        pinged = []
        for _ in range(6):
            await server.tick(1)
            pinged.append(sum(1 for call in calls if call.body))

    assert pinged[-1] == 30
    assert len(set(pinged)) > 2


async def test_an_event_puts_the_ping_off():
    app, send = Nardis(), anyio.Event()

    @app.get("/")
    async def handler(req, res):
        async with res.sse(ping=2) as events:
            await send.wait()
            await events.send("now")
            await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        await server.tick(1.4)
        send.set()
        await server.tick(1.4)
        assert call.body == b"data: now\n\n"
        await server.tick(0.7)
        assert call.body == b"data: now\n\n: ping\n\n"


async def test_a_client_that_takes_nothing_gets_one_ping_at_most():
    gate = Gate()
    async with Server(silent(ping=1)) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)  # the head, and the empty piece that lets it go
        for _ in range(5):
            await server.tick(1.1)

        assert [message["body"] for message, _ in gate.held] == [b": ping\n\n"]
        for _ in range(60):
            await server.tick(1.1)
        gate.open()
        await call.wait()

    assert call.aborted  # stalled: a ping is a send as any other


async def test_pings_reach_the_client_through_filters():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        res.filter(Holding())
        async with res.sse(ping=1):
            await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        await server.tick(1.1)
        await server.tick(TICK_S)
        await server.tick(TICK_S)

        assert call.body == b": ping\n\n"


async def test_where_a_disconnect_cancels_nothing_there_are_pings_too():
    app = Nardis(cancel_on_disconnect=False)

    @app.get("/")
    async def handler(req, res):
        async with res.sse(ping=1):
            await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        await server.tick(1.1)

        assert call.body == b": ping\n\n"


async def test_a_pulse_is_not_told_of_the_shutdown_itself():
    """The exchange is; and a fault of the pulse is one of its exchange."""
    app, kept = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        async with res.sse():
            kept.append(req.exchange.pulse)
            await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        await rest()
        kept[0].interrupt("shutdown")
        await rest()
        assert not call.ended.is_set()
        kept[0].give_up(ValueError("a fault"))
        await call.wait()
        await checkpoint()

    assert call.aborted
