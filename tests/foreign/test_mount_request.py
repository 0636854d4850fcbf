"""What a mounted application receives: the body, and that its client left."""

import logging

import anyio
import pytest

from nardis import Limits, Nardis
from nardis.testing import Client
from tests.foreign.applications import mounted
from tests.peers.asgi import body, says, start
from tests.peers.driver import Server, part, rest

pytestmark = pytest.mark.anyio


async def test_the_request_body_comes_message_by_message():
    """
    The last one says so; after it `receive` waits, and then says that the client left, for ever.
    """
    seen = []

    async def reads(scope, receive, send):
        while True:
            message = await receive()
            seen.append((message.get("body"), message.get("more_body")))
            if not message["more_body"]:
                break
        await says(start(), body(b"ok"))(scope, receive, send)
        seen.extend([(await receive())["type"], (await receive())["type"]])

    async with Client(mounted(reads), lifespan=False) as client:

        async def chunks():
            yield b"a"
            yield b"b"

        assert (await client.post("/legacy", content=chunks())).text == "ok"
        assert (await client.post("/legacy", content=b"c")).text == "ok"
        assert (await client.get("/legacy")).text == "ok"
    gone = ["http.disconnect"] * 2
    assert seen == [
        (b"a", True),
        (b"b", True),
        (b"", False),
        *gone,
        (b"c", False),
        *gone,
        (b"", False),
        *gone,
    ]


async def test_what_was_read_before_is_given_once_more():
    """
    A middleware that has gathered the body, or taken a few bytes of it, leaves it whole for those
    behind.
    """
    app, seen = Nardis(), []

    @app.use("/gathered")
    async def gathers(req, res, next):
        await req.bytes()
        await next()

    @app.use("/peeked")
    async def peeks(req, res, next):
        seen.append(await req.body.receive(1))
        await next()

    async def echo(scope, receive, send):
        assert scope["type"] == "http"
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            seen.append(message["body"])
        await says(start(), body())(scope, receive, send)

    app.mount("/", echo)
    async with Client(app) as client:
        await client.post("/gathered", content=b"abc")
        await client.post("/peeked", content=b"abc")
    assert seen == [b"abc", b"a", b"bc"]


async def test_callers_of_receive_take_turns():
    """Two tasks of an application may wait for the next message; a server has one caller."""
    app, seen = Nardis(), []

    async def two(scope, receive, send):
        async def take():
            seen.append((await receive()).get("body"))

        async with anyio.create_task_group() as group:
            group.start_soon(take)
            group.start_soon(take)
        await says(start(), body())(scope, receive, send)

    app.mount("/", two)
    async with Server(app) as server:
        call = server.call("/", method="POST", headers={"transfer-encoding": "chunked"})
        await rest()
        call.push(part(b"a"), part(b"b", more=False))
        await call.wait()
    assert sorted(seen) == [b"a", b"b"]
    assert call.status == 200


async def test_both_directions_at_once():
    async def echo(scope, receive, send):
        await send(start())
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send(body(message["body"], True))
        await send(body())

    async with Client(mounted(echo)) as client, client.stream("POST", "/legacy") as response:
        for chunk in (b"one", b"two"):
            await response.send(chunk)
            assert await response.read(3) == chunk
        await response.end()
        assert await response.read() == b""
        assert response.complete


@pytest.mark.parametrize("cancels", [True, False])
async def test_it_learns_that_the_client_left(cancels):
    """
    One that waits for it is told, and ends by itself: it may have tasks that no cancellation of
    ours reaches.
    """
    app, seen = Nardis(cancel_on_disconnect=cancels), []

    async def waits(scope, receive, send):
        await receive()
        seen.append((await receive())["type"])
        await anyio.lowlevel.checkpoint()
        seen.append((await receive())["type"])

    app.mount("/", waits)
    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)
        await call.wait()
    assert seen == ["http.disconnect", "http.disconnect"]
    assert call.untouched


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("told", ["listens", "ignores", "busy"])
async def test_one_that_does_not_end_by_itself_is_cancelled(told, begun):
    """At once where it does not listen, else within a tick."""
    app, seen = Nardis(), []

    async def stays(scope, receive, send):
        await receive()
        if begun:
            await send(start())
            await send(body(b"half", True))
        try:
            if told == "busy":
                await anyio.sleep_forever()
            seen.append((await receive())["type"])
            if told == "ignores":
                await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            seen.append("cancelled")
            raise

    app.mount("/", stays)
    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)
        assert call.ended.is_set() == (told != "ignores")
        await server.tick()
        await call.wait()
    assert (
        seen
        == {
            "listens": ["http.disconnect"],
            "ignores": ["http.disconnect", "cancelled"],
            "busy": ["cancelled"],
        }[told]
    )
    assert call.error is None
    assert not call.final_begun


@pytest.mark.parametrize("begun", [False, True])
async def test_a_limit_tells_it_the_same(begun):
    """Before the head it is a 503 all the same, past it a cut."""
    app, seen = Nardis(limits=Limits(handler_s=3)), []

    async def listens(scope, receive, send):
        await receive()
        if begun:
            await send(start())
            await send(body(b"half", True))
        seen.append((await receive())["type"])

    app.mount("/", listens)
    async with Server(app) as server:
        call = server.call("/")
        await server.tick(4)
        await server.tick()
        call.disconnect()
        await call.wait()
    assert seen == ["http.disconnect"]
    assert call.aborted if begun else (call.status, call.final) == (503, True)


async def test_a_client_that_left_during_the_body_is_told_where_nothing_is_cancelled():
    app, seen = Nardis(cancel_on_disconnect=False), []

    async def waits(scope, receive, send):
        seen.extend(
            [(await receive())["type"], (await receive())["type"], (await receive())["type"]]
        )

    app.mount("/", waits)
    async with Server(app) as server:
        call = server.call("/", part(b"a"), {"type": "http.disconnect"}, method="POST")
        await call.wait()
    assert seen == ["http.request", "http.disconnect", "http.disconnect"]


async def test_one_that_is_entered_after_the_client_left_hears_that_first():
    app, seen = Nardis(cancel_on_disconnect=False), []

    @app.use
    async def reads(req, res, next):
        with pytest.raises(Exception, match="no longer served"):
            await req.bytes()
        await next()

    async def asks(scope, receive, send):
        seen.append((await receive())["type"])

    app.mount("/", asks)
    async with Server(app) as server:
        await server.finished("/", {"type": "http.disconnect"}, method="POST")
    assert seen == ["http.disconnect"]


async def test_limits_hold_for_it():
    async def reads(scope, receive, send):
        while (await receive())["more_body"]:
            pass  # pragma: no cover - the first one is too large

    async with Client(mounted(reads, limits=Limits(streamed_body_bytes=3))) as client:
        assert (await client.post("/legacy", content=b"four")).status_code == 413


async def test_a_stalled_body_ends_it():
    app = Nardis(limits=Limits(body_idle_s=3))

    async def reads(scope, receive, send):
        await receive()
        await receive()

    app.mount("/", reads)
    async with Server(app) as server:
        call = server.call("/", part(b"a"), method="POST")
        await server.tick(4)
        await call.wait()
    assert call.status == 408


async def test_the_logger_is_quiet_about_clients_that_leave(caplog):
    caplog.set_level(logging.INFO)

    async def floods(scope, receive, send):
        await send(start())
        while True:
            await send(body(bytes(1000), True))

    async with Client(mounted(floods)) as client, client.stream("GET", "/legacy") as response:
        await anext(response)
    assert "failed" not in caplog.text
