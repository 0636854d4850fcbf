"""C2 for `write_stall_s`: a response stalls when the client takes nothing more of it."""

from __future__ import annotations

import anyio
import pytest

from nardis import ClientDisconnected, Limits, Nardis
from nardis._asgi.extensions import CLIENT
from nardis._exchange.exchange import PIECE_BYTES
from nardis.errors import ResponseAborted
from tests.peers.driver import Gate, Identity, Server, rest

pytestmark = pytest.mark.anyio

CHUNKED = {"transfer-encoding": "chunked"}
BIG = bytes(range(256)) * (3 * PIECE_BYTES // 256) + b"end"


async def send(res):
    await res.send(BIG)


async def write(res):
    await res.write(BIG)


async def end(res):
    await res.end(BIG)


async def filtered(res):
    await res.filter(Identity()).send(BIG)


ways = pytest.mark.parametrize("way", [send, write, end, filtered], ids=lambda way: way.__name__)


@ways
async def test_a_large_body_goes_out_in_pieces(way):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await way(res)

    async with Server(app) as server:
        call = await server.finished("/")

    assert call.final
    assert call.body == BIG
    assert max(map(len, call.chunks)) == PIECE_BYTES


@pytest.mark.parametrize(
    "size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES]
)
async def test_a_whole_answer_of_any_size_is_whole(size):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.send(bytes(size))

    async with Server(app) as server:
        call = await server.finished("/")

    assert (len(call.body), call.final, call.headers[b"content-length"]) == (
        size,
        True,
        b"%d" % size,
    )
    assert len(call.chunks) == max(1, -(-size // PIECE_BYTES))


@ways
async def test_each_piece_that_is_taken_renews_the_time_and_a_client_that_takes_none_is_cut(way):
    app, gate = Nardis(limits=Limits(write_stall_s=10)), Gate()
    log = []

    @app.get("/")
    async def handler(req, res):
        try:
            await way(res)
        finally:
            log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        for _ in range(3):
            await server.tick(9)
            await gate.let()
        assert not log
        await server.tick(11)
        await call.wait()

    assert log == ["stalled"]
    assert not call.final


@pytest.mark.parametrize("taken", [2, 3])
@pytest.mark.parametrize("cancels", [True, False])
async def test_a_client_that_leaves_between_two_pieces_gets_no_more_of_them(cancels, taken):
    app, gate, log = Nardis(), Gate(), []

    @app.get("/", cancel_on_disconnect=cancels)
    async def handler(req, res):
        try:
            await res.send(BIG)
        except ClientDisconnected:
            log.append("told")

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await server.tick()
        await server.tick()
        await gate.let(taken)
        call.disconnect()
        await rest()
        if not cancels:
            await gate.let()
        await call.wait()

    assert len(call.sent) == taken + (not cancels)
    assert log == ([] if cancels else ["told"])
    assert call.error is None


class Client:
    """What our runner knows of a client."""

    def __init__(self):
        self.progressed = 0.0
        self.gone = self.claimed = False
        self.listener = None

    def has_left(self):
        return self.gone


def with_client(call):
    client = Client()
    call.scope["extensions"] = {CLIENT: client}
    return client


async def stream(req, res):
    while True:
        await res.write("x")


async def test_the_runner_has_the_better_clock():
    """It sees each byte of a piece that is being sent."""
    app, gate = Nardis(limits=Limits(write_stall_s=10)), Gate()
    app.get("/", stream)

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        client = with_client(call)
        for _ in range(5):
            await server.tick(9)
            client.progressed = server.now
        assert not call.ended.is_set()
        await server.tick(11)
        await call.wait()

    assert not call.final
    assert client.claimed
    assert client.listener is None


@pytest.mark.parametrize("cancels", [True, False])
@pytest.mark.parametrize(("what", "reason"), [("left", "gone"), ("stalled", "stalled")])
async def test_the_runner_tells_at_once_what_happens_to_a_client(what, reason, cancels):
    """
    Not at the next tick.

    A client that left cancels nothing where the route opted out; one that stalls always does.
    """
    app, log = Nardis(cancel_on_disconnect=cancels), []

    @app.get("/")
    async def handler(req, res):
        await res.write("x")
        try:
            await anyio.sleep(0.5)
        finally:
            log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/")
        client = with_client(call)
        await rest()
        getattr(client.listener, what)()
        await call.wait()

    assert log == [None if what == "left" and not cancels else reason]


async def test_the_end_of_a_response_is_not_taken_for_a_client_that_left():
    app, log = Nardis(), []
    ended = anyio.Event()

    @app.get("/")
    async def handler(req, res):
        await res.send("x")
        await ended.wait()
        log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/")
        client = with_client(call)
        await rest()
        client.listener.left()
        ended.set()
        await call.wait()

    assert log == [None]


async def test_a_runner_may_say_by_a_code_that_a_client_left():
    """It does so of what may become a WebSocket; for a request the code means nothing."""
    app, log = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        try:
            await anyio.sleep_forever()
        finally:
            log.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/")
        client = with_client(call)
        await rest()
        client.listener.closed(1006, "")
        await call.wait()

    assert log == ["gone"]


async def test_a_denial_that_nobody_takes_is_given_up():
    app = Nardis(limits=Limits(write_stall_s=10))

    @app.use
    async def guard(req, res, next):
        await res.status(403).send("x" * 100_000)

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        if message["type"].endswith(".body"):
            await anyio.sleep_forever()

    scope = {
        "type": "websocket",
        "path": "/",
        "query_string": b"",
        "headers": [],
        "extensions": {"websocket.http.response": {}},
    }
    ended = []

    async def run():
        try:
            await app(scope, receive, send)
        except ResponseAborted:
            ended.append(True)

    async with Server(app) as server:
        server.group.start_soon(run)
        await rest()
        assert not ended
        await server.tick(11)

    assert ended == [True]


async def test_a_client_that_the_runner_knows_to_have_left_ends_its_handler():
    """The sweep asks; the news may lie behind a body that nobody reads."""
    app, ended = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/")
        client = with_client(call)
        await server.tick(1)
        assert ended == []
        client.gone = True
        await server.tick(1)
        await call.wait()

    assert ended == ["gone"]
