"""Q2 for an unread body: its bytes are discarded after the answer, or the connection closes."""

from __future__ import annotations

import anyio
import pytest

from nardis import Nardis
from nardis._exchange.intake import DRAIN_BYTES
from tests.peers.driver import Gate, Server, part, rest

pytestmark = pytest.mark.anyio

CHUNKED = {"transfer-encoding": "chunked"}
LARGE = {"content-length": "10000000"}
SMALL = {"content-length": "1000"}
BLOCK = b"x" * 65536


@pytest.fixture
def refusing():
    app = Nardis()

    @app.post("/send")
    async def send(req, res):
        await res.status(403).send("no")

    @app.post("/error")
    async def error(req, res):
        raise KeyError

    @app.error(KeyError)
    async def answer(err, req, res):
        await res.status(403).send("no")

    @app.post("/end")
    async def end(req, res):
        await res.status(403).end("no")

    return app


@pytest.mark.parametrize("path", ["/send", "/error", "/end"])
@pytest.mark.parametrize(
    ("version", "headers", "closes"),
    [
        ("1.1", LARGE, True),
        ("1.1", CHUNKED, True),
        ("1.0", LARGE, True),
        ("1.1", SMALL, False),
        ("1.1", {"content-length": "0"}, False),
        ("1.1", {}, False),
        ("2", LARGE, False),
        ("2", {}, False),
        ("3", LARGE, False),
    ],
)
async def test_a_large_or_unknown_rest_costs_an_http_1_connection(
    refusing, path, version, headers, closes
):
    async with Server(refusing) as server:
        call = await server.finished(
            path, part(b"x"), method="POST", headers=headers, http_version=version
        )

    assert (call.status, call.body, call.final) == (403, b"no", True)
    assert call.headers.get(b"connection") == (b"close" if closes else None)


async def test_a_404_for_a_large_upload_closes_too(refusing):
    async with Server(refusing) as server:
        call = await server.finished("/nowhere", method="POST", headers=LARGE)

    assert (call.status, call.headers[b"connection"]) == (404, b"close")


@pytest.mark.parametrize(("declared", "closes"), [(65_536 + 100, False), (65_536 + 101, True)])
async def test_only_the_rest_that_was_not_read_counts(declared, closes):
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        await anext(req.body)
        await res.send("enough")

    async with Server(app) as server:
        call = await server.finished(
            "/", part(b"x" * 100), method="POST", headers={"content-length": str(declared)}
        )

    assert (b"connection" in call.headers) == closes


async def test_a_body_that_was_read_to_its_end_keeps_the_connection():
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        await req.bytes()
        await res.send("thanks")

    async with Server(app) as server:
        call = await server.finished(
            "/", part(b"x"), part(b"y", more=False), method="POST", headers=CHUNKED
        )

    assert b"connection" not in call.headers


async def test_a_body_that_the_watcher_has_taken_whole_keeps_the_connection():
    app, go = Nardis(), anyio.Event()

    @app.post("/")
    async def handler(req, res):
        await go.wait()
        await res.send("not interested")

    async with Server(app) as server:
        call = server.call("/", part(b"x", more=False), method="POST", headers=CHUNKED)
        await server.tick()
        assert len(call.received) == 1
        go.set()
        await call.wait()

    assert b"connection" not in call.headers


async def test_what_the_watcher_has_taken_counts_as_here():
    app, go = Nardis(), anyio.Event()

    @app.post("/")
    async def handler(req, res):
        await go.wait()
        await res.send("not interested")

    async with Server(app) as server:
        call = server.call("/", part(BLOCK), method="POST", headers={"content-length": "100000"})
        await server.tick()
        go.set()
        await call.wait()

    assert b"connection" not in call.headers


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_http_2_gets_no_connection_specific_fields_from_any_source(version):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        res.set({"connection": "close", "keep-alive": "timeout=5", "x-a": "1"})
        await res.send("x")

    async with Server(app) as server:
        call = await server.finished("/", http_version=version)

    assert (b"connection" in call.headers, b"keep-alive" in call.headers) == (
        (True, True) if version == "1.1" else (False, False)
    )
    assert call.headers[b"x-a"] == b"1"


class Bounded:
    """
    A server whose last send waits until its queue of 10 messages has room, as hypercorn's does.

    The bytes of the client stand behind the queue: each message taken from it lets one in.
    """

    def __init__(self, blocks):
        self.call, self.blocks = None, blocks
        self.done = anyio.Event()

    async def __call__(self, message):
        if message["type"] == "http.response.body" and not message["more_body"]:
            while len(self.call.inbox) >= 10 or self.blocks:
                await self.call.taken.wait()
                while self.blocks and len(self.call.inbox) < 10:
                    self.blocks -= 1
                    self.call.push(part(BLOCK, more=self.blocks > 0))


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("streamed", [False, True], ids=["in one piece", "streamed"])
async def test_the_rest_is_drained_beside_the_last_send(version, streamed):
    """
    A server may hold the last send until its queue has room (measured on hypercorn).

    Nobody else makes room.
    """
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        if streamed:
            await res.write("no, ")
        await res.end("thanks")

    async with Server(app) as server:
        bounded = Bounded(blocks=30)
        call = bounded.call = server.call(
            "/",
            *[part(BLOCK) for _ in range(10)],
            method="POST",
            headers=LARGE,
            http_version=version,
            on_send=bounded,
        )
        await call.wait()
        await rest()

        assert call.receiving == 0

    assert call.body == (b"no, thanks" if streamed else b"thanks")
    assert call.final
    assert bounded.blocks == 0


async def test_nothing_is_drained_before_the_last_send():
    app, go = Nardis(), anyio.Event()

    @app.post("/")
    async def handler(req, res):
        await res.write("a")
        await go.wait()

    async with Server(app) as server:
        call = server.call("/", *[part(BLOCK) for _ in range(20)], method="POST", headers=LARGE)
        await rest()
        assert call.receives == 0
        go.set()
        await call.wait()


async def test_draining_has_a_bound():
    """An endless upload is not read for ever, even if the server never ends its last send."""
    app, gate = Nardis(), Gate()

    @app.post("/")
    async def handler(req, res):
        await res.send("no")

    async with Server(app) as server:
        call = server.call(
            "/", *[part(BLOCK) for _ in range(200)], method="POST", headers=CHUNKED, on_send=gate
        )
        await gate.let(1)
        for _ in range(3):
            await server.tick()
        taken = sum(len(message["body"]) for message in call.received)
        assert DRAIN_BYTES <= taken <= DRAIN_BYTES + len(BLOCK)
        await gate.let(1)
        await call.wait()

    assert call.final


async def test_a_body_that_was_not_announced_is_drained_after_a_tick():
    """A last send that takes longer than a tick may be waiting for us, whatever the fields say."""
    app, gate = Nardis(), Gate()

    @app.get("/")
    async def handler(req, res):
        await res.send("hello")

    async with Server(app) as server:
        call = server.call("/", part(b"x"), part(b"y", more=False), on_send=gate)
        await gate.let(1)
        await server.tick()
        assert len(call.received) == 2
        await gate.let(1)
        await call.wait()

    assert call.body == b"hello"


async def test_a_client_that_leaves_while_its_body_is_drained_changes_nothing():
    app, gate, log = Nardis(), Gate(), []

    @app.post("/")
    async def handler(req, res):
        await res.send("no")
        log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/", part(BLOCK), method="POST", headers=LARGE, on_send=gate)
        await gate.let(1)
        call.disconnect()
        await gate.let(1)
        await call.wait()

    assert log == [None]
    assert call.final
    assert call.error is None
