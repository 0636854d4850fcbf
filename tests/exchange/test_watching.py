"""Q1 to Q3 and C3 for the watcher: it notices that the client left, and is in nobody's way."""

from __future__ import annotations

import logging

import anyio
import pytest

from nardis import Nardis
from nardis._exchange.exchange import WATCHED_BYTES
from nardis._exchange.intake import AHEAD_UNREAD
from nardis._exchange.sweeper import TICK_S
from tests.peers.driver import Server, part, rest

pytestmark = pytest.mark.anyio

CHUNKED = {"transfer-encoding": "chunked"}


class Parking:
    """An application whose handler waits before it reads."""

    def __init__(self):
        self.app, self.go, self.taken, self.reasons = Nardis(), anyio.Event(), [], []

        @self.app.post("/")
        async def handler(req, res):
            try:
                await self.go.wait()
                self.taken.extend([chunk async for chunk in req])
                await res.send()
            finally:
                self.reasons.append(req.close_reason)


def watchers():
    return [task for task in anyio.get_running_tasks() if task.name == "nardis.watcher"]


async def test_a_quick_exchange_gets_no_watcher():
    parking = Parking()

    async with Server(parking.app) as server:
        call = server.call("/", part(b"a"), method="POST", headers=CHUNKED)
        await server.tick(TICK_S / 2)

        assert call.receives == 0


async def test_the_watcher_notices_a_client_that_leaves_a_busy_handler():
    parking = Parking()

    async with Server(parking.app) as server:
        call = server.call("/", part(b"", more=False), method="POST", headers=CHUNKED)
        await server.tick()  # takes the body
        await server.tick()  # parks for what comes behind it
        assert not call.ended.is_set()
        call.disconnect()
        await call.wait()

    assert parking.reasons == ["gone"]
    assert call.untouched
    assert call.error is None


async def test_the_watcher_takes_one_message_ahead():
    parking = Parking()

    async with Server(parking.app) as server:
        call = server.call(
            "/", *[part(b"%d" % n) for n in range(20)], method="POST", headers=CHUNKED
        )
        await server.tick()

        assert len(call.received) == 1


async def test_what_lay_unread_for_a_tick_lets_the_watcher_look_behind_it():
    """A server bounds its own queue: a disconnect behind a small body would stay unseen."""
    parking = Parking()

    async with Server(parking.app) as server:
        call = server.call(
            "/", *[part(b"%d," % n) for n in range(20)], method="POST", headers=CHUNKED
        )
        await server.tick()
        await server.tick()
        assert len(call.received) == AHEAD_UNREAD == 13
        await server.tick()
        assert len(call.received) == AHEAD_UNREAD
        call.push(part(b"end", more=False))
        parking.go.set()
        await call.wait()

    assert parking.taken == [*(b"%d," % n for n in range(20)), b"end"]


async def test_the_larger_bound_stays():
    app, go, taken = Nardis(), anyio.Event(), []

    @app.post("/")
    async def handler(req, res):
        await go.wait()
        taken.extend([await anext(req.body) for _ in range(13)])
        await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call(
            "/", *[part(b"%d" % n) for n in range(50)], method="POST", headers=CHUNKED
        )
        await server.tick()
        await server.tick()
        go.set()
        await server.tick()

        assert (len(taken), len(call.received)) == (13, 26)


async def test_a_disconnect_behind_a_small_unread_body_is_noticed():
    parking = Parking()

    async with Server(parking.app) as server:
        call = server.call("/", part(b"a"), part(b"b", more=False), method="POST", headers=CHUNKED)
        call.disconnect()
        await server.tick()
        await server.tick()
        await call.wait()

    assert parking.reasons == ["gone"]


async def test_a_reader_takes_over_from_a_parked_watcher():
    """The first piece comes by way of the watcher; then the reader goes on alone."""
    app, go, taken = Nardis(), anyio.Event(), []

    @app.post("/")
    async def handler(req, res):
        await go.wait()
        async for chunk in req:
            taken.append(chunk)  # noqa: PERF401 - seen while it happens
        await res.send()

    async with Server(app) as server:
        call = server.call("/", method="POST", headers=CHUNKED)
        await server.tick()
        assert call.receiving == 1
        go.set()
        await rest()
        assert call.receiving == 1
        for n, piece in enumerate([b"a", b"b", b"c"], 1):
            call.push(part(piece))
            await rest()
            assert len(taken) == n
            assert call.receives == n + 1
        call.push(part(b"", more=False))
        await call.wait()

    assert taken == [b"a", b"b", b"c"]


async def test_bytes_taken_ahead_come_first():
    parking = Parking()

    async with Server(parking.app) as server:
        call = server.call("/", part(b"a"), part(b"b"), method="POST", headers=CHUNKED)
        await server.tick()
        await server.tick()
        assert len(call.received) == 2
        parking.go.set()
        call.push(part(b"c", more=False))
        await call.wait()

    assert parking.taken == [b"a", b"b", b"c"]


async def test_a_reader_that_waits_for_a_piece_is_told_when_the_client_leaves():
    app, go, log = Nardis(), anyio.Event(), []

    @app.post("/")
    async def handler(req, res):
        await go.wait()
        try:
            await anext(req.body)
        finally:
            log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/", method="POST", headers=CHUNKED)
        await server.tick()
        go.set()
        await rest()
        call.disconnect()
        await call.wait()

    assert log == ["gone"]
    assert call.untouched


async def test_with_expect_100_continue_and_an_unread_body_nobody_touches_receive():
    """The first receive() makes uvicorn say `100 Continue`; the handler may yet refuse the body."""
    parking = Parking()

    async with Server(parking.app) as server:
        call = server.call(
            "/",
            part(b"a", more=False),
            method="POST",
            headers={**CHUNKED, "expect": "100-continue"},
        )
        for _ in range(3):
            await server.tick()
        assert call.receives == 0
        parking.go.set()
        await call.wait()

    assert parking.taken == [b"a"]


async def test_with_expect_100_continue_a_body_that_was_asked_for_is_watched():
    app, reasons = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        await anext(req.body)
        try:
            await anyio.sleep_forever()
        finally:
            reasons.append(req.close_reason)

    async with Server(app) as server:
        call = server.call(
            "/", part(b"a"), method="POST", headers={**CHUNKED, "expect": "100-continue"}
        )
        await server.tick()
        call.disconnect()
        await call.wait()

    assert reasons == ["gone"]


async def test_an_answer_without_reading_does_not_ask_for_a_body_that_expects_100_continue():
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        await res.status(403).send("no")

    async with Server(app) as server:
        call = await server.finished(
            "/",
            part(b"a", more=False),
            method="POST",
            headers={"content-length": "9999999", "expect": "100-continue"},
        )

    assert (call.status, call.receives) == (403, 0)


@pytest.mark.parametrize(
    ("failure", "logged"), [(ConnectionResetError(), 0), (ValueError("a bug of the server"), 1)]
)
async def test_a_receive_that_fails_in_the_watcher_counts_as_gone(failure, logged, caplog):
    """It ends its own exchange and no other one."""
    parking = Parking()

    async with Server(parking.app) as server:
        call = server.call("/", failure, method="POST", headers=CHUNKED)
        other = server.call("/", method="POST", headers=CHUNKED)
        await server.tick()
        await call.wait()
        assert not other.ended.is_set()
        parking.go.set()
        other.push(part(b"b", more=False))
        await other.wait()

    assert parking.reasons == ["gone", None]
    assert call.untouched
    assert call.error is None
    assert other.status == 200
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == logged


@pytest.mark.parametrize("failure", [ConnectionResetError(), ValueError("a bug of the server")])
async def test_a_receive_that_fails_in_the_watcher_wakes_the_reader(failure):
    app, go, reasons = Nardis(), anyio.Event(), []

    @app.post("/")
    async def handler(req, res):
        await go.wait()
        try:
            await anext(req.body)
        finally:
            reasons.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/", method="POST", headers=CHUNKED)
        await server.tick()
        go.set()
        await rest()
        call.push(failure)
        await call.wait()

    assert reasons == ["gone"]


async def test_the_watcher_ends_with_its_exchange():
    app, go = Nardis(), anyio.Event()

    @app.get("/")
    async def handler(req, res):
        await go.wait()
        await res.send("done")

    async with Server(app) as server:
        call = server.call("/")
        await server.tick()
        await server.tick()
        assert call.receiving == 1
        go.set()
        await call.wait()
        await rest()

        assert call.receiving == 0
        assert watchers() == []
        assert not server.exchanges


async def test_a_handler_that_waits_in_a_read_needs_no_watcher():
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        await res.send(await req.bytes())

    async with Server(app) as server:
        call = server.call("/", method="POST", headers=CHUNKED)
        for _ in range(3):
            await server.tick()
        assert watchers() == []
        call.push(part(b"a", more=False))
        await call.wait()

    assert call.body == b"a"


async def test_a_stream_that_has_come_far_is_watched_without_waiting_for_a_tick():
    """What it writes to a client that left is lost, and may stay in the server's memory."""
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        while True:
            await res.write(b"x" * 65536)
            await anyio.lowlevel.checkpoint()

    async with Server(app) as server:
        server.step = 0.001_1
        call = server.call("/", part(b"", more=False), {"type": "http.disconnect"})
        await call.wait()

    assert call.aborted
    assert WATCHED_BYTES <= len(call.body) < 2 * WATCHED_BYTES
    assert call.error is None


@pytest.mark.parametrize("verb", ["write", "end"])
async def test_the_watcher_does_not_begin_beside_a_reader(verb):
    """Q1: one task waits for the body while another writes far, or ends the response."""
    app, chunks, sent = Nardis(), [], anyio.Event()

    @app.post("/")
    async def handler(req, res):
        async def reader():
            chunks.extend([chunk async for chunk in req])

        async with anyio.create_task_group() as group:
            group.start_soon(reader)
            await rest()
            for _ in range(WATCHED_BYTES // 65536 + 2):
                await res.write(bytes(65536))
            if verb == "end":
                await res.end()
            sent.set()

    async with Server(app) as server:
        server.step = 0.01  # each write is a turn
        call = server.call("/", method="POST", headers=CHUNKED)
        await sent.wait()
        await rest()
        assert call.receiving == 1
        call.push(part(b"a"), part(b"b", more=False))
        await call.wait()

    assert chunks == [b"a", b"b"]
    assert call.final


@pytest.mark.parametrize(
    ("method", "headers", "watched"),
    [
        ("GET", {"expect": "100-continue"}, True),
        ("POST", {"expect": "100-continue", "content-length": "5"}, False),
        ("POST", {"expect": "100-continue", "transfer-encoding": "chunked"}, False),
    ],
    ids=["no body", "a length", "chunks"],
)
async def test_an_expectation_hides_a_client_only_until_the_head_has_left(method, headers, watched):
    """Until then a `receive` would invite a body that the handler may yet refuse."""
    app, started = Nardis(), anyio.Event()

    @app.all("/")
    async def handler(req, res):
        await started.wait()
        await res.write("x")
        await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call(
            "/",
            *([] if method == "POST" else [part(b"", more=False)]),
            method=method,
            headers=headers,
        )
        await server.tick()
        await server.tick()
        assert bool(call.receives) is watched

        started.set()
        await rest()
        await server.tick()
        assert call.receiving == 1
        call.disconnect()
        await call.wait()

    assert call.aborted
    assert call.error is None
