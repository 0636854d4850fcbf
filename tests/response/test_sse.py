"""`res.sse()`: server-sent events, one by one, and an end that is told from a cut."""

import json
import re

import anyio
import msgspec
import pytest
from anyio.lowlevel import checkpoint

from nardis import Limits, Nardis, UsageError, shielded
from nardis._exchange.sweeper import TICK_S, sweep
from nardis.errors import (
    FieldError,
    ForgottenAwait,
    HeadersAlreadySent,
    ResponseAborted,
    ResponseAlreadyEnded,
)
from nardis.events import EventDecoder
from nardis.testing import Client
from tests.peers.driver import Gate, Server, rest

pytestmark = pytest.mark.anyio


def events_of(body):
    return [(each.event, each.data, each.id) for each in EventDecoder().feed(body)]


class Text(str):
    """As an Enum of texts is."""


async def test_events_arrive_as_they_were_sent(serve):
    async def handler(req, res):
        async with res.sse() as events:
            await events.send("text")
            await events.send("two\nlines", event="note", id="7")
            await events.send(b"bytes \xc3\xa9")
            await events.send(memoryview(b"view"))
            await events.send({"a": [1, None]})
            await events.send(None)
            await events.send(Text("of a type"))
            await events.send("half \ud800")

    response = await serve(handler)

    assert response.status_code == 200
    assert events_of(response.content) == [
        ("message", "text", ""),
        ("note", "two\nlines", "7"),
        ("message", "bytes é", "7"),
        ("message", "view", "7"),
        ("message", '{"a":[1,null]}', "7"),
        ("message", "null", "7"),
        ("message", "of a type", "7"),
        ("message", "half \ufffd", "7"),
    ]
    assert response.complete


async def test_the_head_says_what_it_is_and_that_nobody_keeps_it(serve):
    async def handler(req, res):
        async with res.sse():
            pass

    response = await serve(handler)

    assert dict(response.headers) == {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
    }


async def test_fields_that_are_set_stay(serve):
    async def handler(req, res):
        res.status(202).type("text/event-stream").cache(private=True)
        async with res.sse():
            pass

    response = await serve(handler)

    assert response.status_code == 202
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "private"


async def test_entering_sends_the_head(serve):
    app, gate = Nardis(), Gate()

    @app.get("/")
    async def handler(req, res):
        async with res.sse():
            await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)

        assert call.status == 200


async def test_retry_is_in_seconds_here_and_in_milliseconds_on_the_wire(serve):
    async def handler(req, res):
        async with res.sse(retry=1.5):
            pass

    assert (await serve(handler)).content == b"retry: 1500\n\n"


async def test_a_comment_is_no_event(serve):
    async def handler(req, res):
        async with res.sse() as events:
            await events.comment("two\nlines")
            await events.comment()

    response = await serve(handler)

    assert re.fullmatch(rb"(:[^\n]*\n)+\n(:[^\n]*\n)+\n", response.content)
    assert events_of(response.content) == []


class Point(msgspec.Struct):
    x: int


class Loud:
    def dumps(self, obj):
        return json.dumps(obj, indent=1)

    loads = staticmethod(json.loads)


async def test_data_is_encoded_as_json_encodes_it(serve):
    async def handler(req, res):
        async with res.sse() as events:
            await events.send(Point(1))

    assert events_of((await serve(handler)).content) == [("message", '{"x":1}', "")]


async def test_a_codec_may_break_lines(serve):
    async def handler(req, res):
        async with res.sse() as events:
            await events.send({"a": 1})

    response = await serve(handler, app=Nardis(json=Loud()))

    assert json.loads(events_of(response.content)[0][1]) == {"a": 1}


@pytest.mark.parametrize(
    ("send", "error"),
    [
        (lambda events: events.send("x", event="a\nb"), FieldError),
        (lambda events: events.send("x", id="a\rb"), FieldError),
        (lambda events: events.send("x", id="a\0b"), FieldError),
        (lambda events: events.send(b"\xff"), UsageError),
        (lambda events: events.send(object()), TypeError),
    ],
    ids=["event", "id", "nul", "utf8", "json"],
)
async def test_what_cannot_be_an_event_is_refused_and_the_stream_goes_on(serve, send, error):
    async def handler(req, res):
        async with res.sse() as events:
            await events.send("before")
            with pytest.raises(error):
                await send(events)
            await events.send("behind")

    response = await serve(handler)

    assert [data for _, data, _ in events_of(response.content)] == ["before", "behind"]


@pytest.mark.parametrize(
    "change", [lambda res: res.type("html"), lambda res: res.status(204)], ids=["type", "status"]
)
async def test_what_a_browser_takes_for_no_events_is_refused(failure, change):
    """It would stop for good."""

    async def handler(req, res):
        change(res).sse()

    assert isinstance(await failure(handler), UsageError)


@pytest.mark.parametrize(
    "options", [{"ping": 0}, {"ping": -1}, {"ping": float("nan")}, {"retry": -1}, {"retry": 5000}]
)
async def test_times_that_are_none_are_refused(failure, options):
    async def handler(req, res):
        res.sse(**options)

    assert isinstance(await failure(handler), UsageError)


async def test_a_forgotten_send_is_named(failure):
    async def handler(req, res):
        async with res.sse() as events:
            events.send("x")

    error = await failure(handler)

    assert isinstance(error, ForgottenAwait)
    assert "await events.send(...)" in str(error)


async def test_events_are_sent_inside_of_the_block(failure):
    async def handler(req, res):
        await res.sse().send("x")

    assert isinstance(await failure(handler), UsageError)


async def test_the_block_is_entered_once(failure):
    async def handler(req, res):
        events = res.sse()
        async with events:
            await events.__aenter__()

    assert isinstance(await failure(handler), UsageError)


async def test_leaving_what_was_never_entered_is_nothing(serve):
    async def handler(req, res):
        assert await res.sse().__aexit__(None, None, None) is False
        await res.send("other")

    assert (await serve(handler)).text == "other"


async def test_the_response_ends_with_the_block(failure):
    app, gate, late = Nardis(), anyio.Event(), []

    @app.get("/")
    async def handler(req, res):
        async with res.sse() as events:
            await events.send("x")
        with pytest.raises(ResponseAlreadyEnded):
            await events.send("y")
        late.append("refused")
        await gate.wait()

    async with Server(app) as server:
        call = server.call("/")
        await rest()
        assert (call.final, late) == (True, ["refused"])
        gate.set()
        await call.wait()

    assert call.error is None


async def test_events_after_a_head_are_refused(failure):
    async def handler(req, res):
        await res.write("x")
        res.sse()

    assert isinstance(await failure(handler), HeadersAlreadySent)


async def test_a_producer_that_fails_cuts_the_stream(seen_by_client):
    """A browser comes back then, as it does where the network fails."""

    async def handler(req, res):
        async with res.sse() as events:
            await events.send("x")
            raise ValueError("producer")

    response = await seen_by_client(handler)

    assert (response.content, response.complete) == (b"data: x\n\n", False)


@pytest.mark.parametrize("goes_on", [False, True])
async def test_it_is_cut_also_where_the_handler_catches_what_failed(seen_by_client, goes_on):
    async def handler(req, res):
        with pytest.raises(ValueError, match="producer"):
            async with res.sse() as events:
                await events.send("x")
                raise ValueError("producer")
        if goes_on:
            with pytest.raises(ResponseAborted):
                await events.send("y")

    response = await seen_by_client(handler)

    assert (response.content, response.complete) == (b"data: x\n\n", False)


async def test_a_block_that_runs_out_of_time_ends_it_well(serve):
    async def handler(req, res):
        with anyio.move_on_after(60) as scope:
            async with res.sse() as events:
                await events.send("x")
                scope.deadline = anyio.current_time()
                await anyio.sleep_forever()

    response = await serve(handler)

    assert (response.content, response.complete) == (b"data: x\n\n", True)


async def test_several_tasks_send_whole_events(serve):
    async def handler(req, res):
        async with res.sse() as events, anyio.create_task_group() as tasks:
            for n in range(5):
                tasks.start_soon(events.send, f"{n}\n{n}")

    response = await serve(handler)

    assert sorted(data for _, data, _ in events_of(response.content)) == [
        f"{n}\n{n}" for n in range(5)
    ]


async def test_an_event_waits_for_its_client():
    app, gate, sent = Nardis(), Gate(), []

    @app.get("/")
    async def handler(req, res):
        async with res.sse() as events:
            for n in range(10):
                await events.send(str(n))
                sent.append(n)

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(4)  # head, start of the body, two events

        assert sent == [0, 1]
        gate.open()
        await call.wait()
    assert call.final


async def test_a_client_that_leaves_ends_the_handler():
    app, seen = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        try:
            async with res.sse() as events:
                await events.send("x")
                await anyio.sleep_forever()
        finally:
            seen.append(req.close_reason)

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)
        await call.wait()
        assert not server.exchanges

    assert seen == ["gone"]


async def test_head_sends_the_fields_and_leaves(serve):
    async def handler(req, res):
        async with res.sse(retry=2):
            pytest.fail("HEAD leaves at the entry")  # pragma: no cover  # as it says

    response = await serve(handler, "HEAD")

    assert (response.headers["content-type"], response.content) == ("text/event-stream", b"")


# --- the shutdown ---------------------------------------------------------------------------------


def returns(body):
    """When the client is to come back, in milliseconds: the last thing it hears."""
    return int(re.search(rb"retry: (\d+)\n\n$", body)[1])


async def parked(events):
    await anyio.sleep_forever()


async def sending(events):
    while True:
        await events.send("x")


async def in_a_group(events):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(parked, events)
        tasks.start_soon(sending, events)


@pytest.mark.parametrize("block", [parked, sending, in_a_group])
async def test_it_ends_cleanly_when_the_server_begins_to_shut_down(block):
    app, seen = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        async with res.sse(retry=1) as events:
            await block(events)
        seen.append(req.close_reason)

    async def yields(message):
        await checkpoint()

    async with Server(app) as server:
        call = server.call("/", on_send=yields)
        await checkpoint()
        app.draining.set()
        with anyio.fail_after(20):
            while not call.ended.is_set():
                await server_turn(server)

    assert (call.final, call.error, seen) == (True, None, [None])
    assert 1_000 <= returns(call.body) <= 11_000


async def server_turn(server):
    """Let the sweeper look while tasks run that never wait for long."""
    server.now += TICK_S
    sweep(server.exchanges, server.now)
    for _ in range(20):
        await checkpoint()


async def test_clients_are_told_to_come_back_at_different_times():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        async with res.sse():
            await anyio.sleep_forever()

    async with Server(app) as server:
        calls = [server.call("/") for _ in range(50)]
        await rest()
        app.draining.set()
        await server.tick()
        for call in calls:
            await call.wait()

    times = sorted(returns(call.body) for call in calls)
    assert 3_000 <= times[0] < times[-1] <= 13_000
    assert len(set(times)) > 25


async def test_a_send_under_way_is_not_cut_by_the_shutdown():
    app, gate, sent = Nardis(), Gate(), []

    @app.get("/")
    async def handler(req, res):
        async with res.sse() as events:
            while True:
                await events.send(str(len(sent)))
                sent.append(len(sent))

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)
        await gate.reached()
        app.draining.set()
        await server.tick()
        await server.tick()
        assert not call.ended.is_set()
        gate.open()
        await call.wait()

    assert sent == [0]
    assert (call.final, call.error) == (True, None)
    assert events_of(call.body) == [("message", "0", "")]


async def test_clean_up_and_other_tasks_may_send_until_it_is_left():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as tasks, res.sse() as events:
            try:
                await anyio.sleep_forever()
            finally:
                with shielded(1):
                    done = anyio.Event()
                    tasks.start_soon(last, events, done)
                    await done.wait()
                    await events.send("bye")

    async def last(events, done):
        await events.send("outside")
        done.set()

    async with Server(app) as server:
        call = server.call("/")
        await rest()
        app.draining.set()
        await server.tick()
        await call.wait()

    assert [data for _, data, _ in events_of(call.body)] == ["outside", "bye"]
    assert call.final


async def test_a_stream_that_begins_during_the_shutdown_ends_at_once():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        async with res.sse() as events:
            await events.send("never")

    async with Server(app) as server:
        app.draining.set()
        call = await server.finished("/")

    assert call.final
    assert events_of(call.body) == []
    assert returns(call.body)


async def test_the_client_leaves_while_it_is_being_left():
    app, gate = Nardis(), Gate()

    @app.get("/")
    async def handler(req, res):
        async with res.sse():
            await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)
        app.draining.set()
        await server.tick()
        await gate.reached()  # the last words: what has begun to end is not cut any more
        await server.lose(call)
        gate.open()
        await call.wait()
        assert not server.exchanges


async def test_a_stream_that_goes_on_without_its_client_is_left_too():
    app = Nardis(cancel_on_disconnect=False)

    @app.get("/")
    async def handler(req, res):
        async with res.sse():
            await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        await server.lose(call)
        assert not call.ended.is_set()
        app.draining.set()
        await server.tick()
        await call.wait()


@pytest.mark.parametrize("deep", [False, True])
async def test_in_a_mounted_application_it_ends_at_the_shutdown_too(deep):
    inner, middle, app = Nardis(), Nardis(), Nardis()
    middle.mount("/deep", inner)
    app.mount("/in", middle if deep else inner)

    @inner.get("/")
    async def handler(req, res):
        async with res.sse():
            await anyio.sleep_forever()

    path = "/in/deep/" if deep else "/in/"
    async with Client(app) as client, client.stream("GET", path) as response:
        assert response.status_code == 200
        app.draining.set()
        assert inner.draining.is_set()
        assert returns(await response.read())
        assert response.complete


async def test_an_error_of_the_clean_up_at_the_shutdown_cuts_it():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        async with res.sse():
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("clean-up")

    async with Server(app) as server:
        call = server.call("/")
        await rest()
        app.draining.set()
        await server.tick()
        await call.wait()

    assert call.aborted


async def test_a_deadline_cuts_it():
    """A limit is no good end."""
    app = Nardis(limits=Limits(handler_s=1))

    @app.get("/")
    async def handler(req, res):
        async with res.sse() as events:
            await events.send("x")
            await anyio.sleep_forever()

    async with Server(app) as server:
        call = server.call("/")
        await server.tick(1.1)
        await call.wait()

    assert call.aborted


async def test_with_a_test_client_a_shutdown_is_seen():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        async with res.sse() as events:
            await events.send("x")
            await anyio.sleep_forever()

    async with Client(app) as client, client.stream("GET", "/") as response:
        assert await anext(aiter(response)) == b"data: x\n\n"
        app.draining.set()
        rest_of_it = await response.read()

    assert returns(rest_of_it)
    assert response.complete
