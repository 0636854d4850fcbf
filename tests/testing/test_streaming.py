"""Bytes in motion: backpressure, duplex, partial reads, disconnects."""

import threading

import anyio
import anyio.to_thread
import pytest

from nardis import Nardis
from nardis.errors import UsageError
from nardis.testing import AppError, Client

pytestmark = pytest.mark.anyio

START, BODY = "http.response.start", "http.response.body"


class Source:
    """
    An application that sends numbered chunks of ten bytes until it has sent *count*, and notes what
    it did.
    """

    def __init__(self, count=100):
        self.count, self.sent, self.ended = count, 0, None

    async def __call__(self, scope, receive, send):
        self.ended = False
        await send({"type": START, "status": 200, "headers": [(b"x-source", b"1")]})
        for n in range(self.count):
            await send({"type": BODY, "body": b"chunk %03d\n" % n, "more_body": True})
            self.sent += 1
        await send({"type": BODY})
        self.ended = True


async def echo(scope, receive, send):
    await send({"type": START, "status": 200})
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send({"type": BODY, "body": message.get("body", b""), "more_body": more})


async def waits_for_disconnect(scope, receive, send):
    while (await receive())["type"] != "http.disconnect":
        pass


async def test_send_waits_for_the_reader():
    """A handler never runs more than one chunk ahead of its peer."""
    app = Source()
    async with Client(app, lifespan=False) as client, client.stream("GET", "/") as response:
        await anyio.wait_all_tasks_blocked()
        assert app.sent == 0
        for n in range(1, 5):
            assert await anext(aiter(response)) == b"chunk %03d\n" % (n - 1)
            await anyio.wait_all_tasks_blocked()
            assert app.sent == n


async def test_the_final_chunk_waits_as_well():
    """`complete` is not true before it was taken."""
    async with Client(Source(0), lifespan=False) as client, client.stream("GET", "/") as response:
        await anyio.wait_all_tasks_blocked()
        assert response.complete

    async def app(scope, receive, send):
        await send({"type": START, "status": 200})
        await send({"type": BODY, "body": b"x"})

    async with Client(app, lifespan=False) as client, client.stream("GET", "/") as response:
        await anyio.wait_all_tasks_blocked()
        assert not response.complete
        assert [chunk async for chunk in response] == [b"x"]
        assert response.complete


async def test_read_takes_exactly_as_many_bytes():
    """
    The rest of a chunk stays for the next read or iteration, and reading on takes no more chunks
    than needed.
    """
    app = Source(4)
    async with Client(app, lifespan=False) as client, client.stream("GET", "/") as response:
        assert await response.read(0) == b""
        assert await response.read(3) == b"chu"
        assert await response.read(7) == b"nk 000\n"
        await anyio.wait_all_tasks_blocked()
        assert app.sent == 1
        assert await response.read(12) == b"chunk 001\nch"
        assert await anext(aiter(response)) == b"unk 002\n"
        assert await response.read(99) == b"chunk 003\n"
        assert await response.read(1) == await response.read() == b""
        assert [chunk async for chunk in response] == []
        assert response.complete


async def test_a_cancelled_read_loses_nothing():
    """What it had taken is there for the next one."""
    go = anyio.Event()

    async def app(scope, receive, send):
        await send({"type": START, "status": 200})
        await send({"type": BODY, "body": b"first ", "more_body": True})
        await go.wait()
        await send({"type": BODY, "body": b"second"})

    async with Client(app, lifespan=False) as client, client.stream("GET", "/") as response:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(response.read)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        go.set()
        assert await response.read() == b"first second"


async def test_duplex():
    """What goes up by hand comes down at once, while both bodies are open."""
    async with Client(echo, lifespan=False) as client, client.stream("POST", "/") as response:
        assert response.status_code == 200
        for n in range(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(response.send, b"%d" % n)
                assert await anext(aiter(response)) == b"%d" % n
        await response.end()
        assert await response.read() == b""
        assert response.complete


async def test_a_chunk_sent_by_hand_waits_for_receive():
    """Backpressure upward."""
    received, go = [], anyio.Event()

    async def app(scope, receive, send):
        await go.wait()
        while (message := await receive())["more_body"]:
            received.append(message["body"])
        await send({"type": START, "status": 200})
        await send({"type": BODY})

    async with Client(app, lifespan=False) as client, client.stream("PUT", "/") as response:
        sent = []

        async def upload():
            for n in range(3):
                await response.send(b"%d" % n)
                sent.append(n)
            await response.end()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upload)
            await anyio.wait_all_tasks_blocked()
            assert sent == []
            go.set()
        await response.head()
        assert response.status_code == 200

    assert received == [b"0", b"1", b"2"]


async def test_only_a_body_sent_by_hand_can_be_sent_by_hand():
    """Whatever was given as content, or not usual for the method, is not."""
    async with Client(echo, lifespan=False) as client:
        for method, options in [
            ("GET", {}),
            ("POST", {"content": b""}),
            ("PATCH", {"json": 1}),
            ("PUT", {"data": {}}),
        ]:
            async with client.stream(method, "/", **options) as response:
                with pytest.raises(UsageError, match="by hand"):
                    await response.send(b"x")
                with pytest.raises(UsageError, match="by hand"):
                    await response.end()


async def test_a_chunk_that_nobody_will_receive_is_refused():
    """After an early answer, after the end, and while it waits."""

    async def app(scope, receive, send):
        await send({"type": START, "status": 413})
        await send({"type": BODY, "body": b"too large"})

    async with Client(app, lifespan=False) as client:
        async with client.stream("POST", "/") as response:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(response.read)
                with pytest.raises(anyio.BrokenResourceError, match="nobody will receive"):
                    await response.send(b"x")
            await response.end()
        async with client.stream("POST", "/") as response:
            await response.end()
            with pytest.raises(anyio.BrokenResourceError, match="nobody will receive"):
                await response.send(b"x")


async def test_an_upload_is_cut_by_the_end_of_the_response():
    """receive() says http.disconnect instead of the rest."""
    seen = []

    async def app(scope, receive, send):
        async def watch():
            seen.append(await receive())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            await send({"type": START, "status": 200})
            await send({"type": BODY})

    async with Client(app, lifespan=False) as client, client.stream("POST", "/") as response:
        await response.read()

    assert seen == [{"type": "http.disconnect"}]


async def test_disconnect_at_a_byte():
    """The chunk was taken, the next one is not; from then on the application hears it."""
    seen = []

    async def app(scope, receive, send):
        await receive()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Source(1_000_000), scope, receive, send)
            seen.append(await receive())
            tasks.cancel_scope.cancel()

    async with Client(app, lifespan=False) as client, client.stream("GET", "/") as response:
        assert await response.read(15) == b"chunk 000\nchunk"
        await response.disconnect()
        await anyio.wait_all_tasks_blocked()
        assert seen == [{"type": "http.disconnect"}]
        assert await response.read() == b" 001\n"
        assert not response.complete


async def test_after_a_disconnect_send_does_nothing_at_once():
    """A waiting send returns, and so does every later one; the application may run to its end."""
    app = Source(5000)
    async with Client(app, lifespan=False) as client, client.stream("GET", "/") as response:
        await response.read(10)
        assert not app.ended
        await response.disconnect()
    assert app.ended
    assert app.sent == 5000


async def test_leaving_the_block_early_disconnects():
    """And waits for the application to end."""
    log = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": START, "status": 200})
        log.append((await receive())["type"])
        await anyio.wait_all_tasks_blocked()
        log.append("end")

    async with Client(app, lifespan=False) as client:
        async with client.stream("GET", "/"):
            pass
        assert log == ["http.disconnect", "end"]


async def test_disconnect_before_the_head():
    """A handler that never answers does not hang the test, and there is no status to ask for."""
    async with (
        Client(waits_for_disconnect, lifespan=False) as client,
        client.stream("GET", "/") as response,
    ):
        with pytest.raises(UsageError, match="has not begun"):
            _ = response.status_code
        await response.disconnect()
        with pytest.raises(UsageError, match="none came"):
            _ = response.headers
        with pytest.raises(UsageError, match="none came"):
            await response.head()
        assert await response.read() == b""
        assert not response.complete


async def test_a_head_after_the_disconnect_is_not_seen():
    """Nothing reaches a client that left."""

    async def app(scope, receive, send):
        await waits_for_disconnect(scope, receive, send)
        await Source(1)(scope, receive, send)

    async with (
        Client(app, lifespan=False, strict=False) as client,
        client.stream("GET", "/") as response,
    ):
        await response.disconnect()
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(UsageError, match="no response head"):
            _ = response.status_code
        assert not response.complete


async def test_disconnect_wakes_a_reader():
    """A read in another task ends with what there is."""
    got = []

    async def app(scope, receive, send):
        await send({"type": START, "status": 200})
        await send({"type": BODY, "body": b"x", "more_body": True})
        await waits_for_disconnect(scope, receive, send)

    async with Client(app, lifespan=False) as client, client.stream("GET", "/") as response:

        async def read():
            got.append(await response.read())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await response.disconnect()

    assert got == [b"x"]


async def test_a_disconnect_during_a_body_sent_by_hand():
    """receive() says http.disconnect, not the end of the body."""
    seen = []

    async def app(scope, receive, send):
        seen.extend([await receive(), await receive()])

    async with Client(app, lifespan=False) as client, client.stream("POST", "/") as response:
        await response.send(b"x")
        await response.disconnect()
        with pytest.raises(anyio.BrokenResourceError):
            await response.send(b"y")

    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]


@pytest.mark.parametrize("asks", [1, 2], ids=["at its yield", "while it is pulled"])
async def test_a_disconnect_during_an_iterable_closes_it(asks):
    """The clean-up of a generator runs, wherever it stands, and may await."""
    closed = []

    async def chunks():
        try:
            yield b"x"
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            closed.append(True)

    async def app(scope, receive, send):
        await send({"type": START, "status": 200})
        for _ in range(asks):
            await receive()

    async with Client(app, lifespan=False) as client:
        async with client.stream("POST", "/", content=chunks()):
            await anyio.wait_all_tasks_blocked()
        assert closed == [True]


async def test_a_head_from_a_thread_is_waited_for():
    """Entering gives threads a while: a loop at rest does not mean that nothing happens."""
    event = threading.Event()

    async def app(scope, receive, send):
        await anyio.to_thread.run_sync(lambda: event.wait(0.2))
        await Source(1)(scope, receive, send)

    async with Client(app, lifespan=False) as client, client.stream("GET", "/") as response:
        assert response.status_code == 200
        assert response.headers["x-source"] == "1"


async def test_a_head_from_the_thread_of_a_generator_is_waited_for():
    """It is no worker thread of anyio's."""
    event, app = threading.Event(), Nardis()

    @app.get("/")
    async def handler(req, res):
        def pieces():
            event.wait(0.2)
            yield b"x"

        await res.pipe(pieces())

    async with Client(app) as client, client.stream("GET", "/") as response:
        assert response.status_code == 200


async def test_a_thread_that_does_not_end_is_not_waited_for():
    """The head may come later, and `head()` waits for it."""
    event = threading.Event()

    async def app(scope, receive, send):
        await anyio.to_thread.run_sync(event.wait)
        await Source(1)(scope, receive, send)

    async with Client(app, lifespan=False) as client, client.stream("GET", "/") as response:
        event.set()
        await response.head()
        assert response.status_code == 200


async def test_an_early_answer_closes_an_iterable_with_a_task_group_in_it():
    """
    Its scopes stay inside those of the client, and what its group says of the close is no error.
    """
    log = []

    async def chunks():
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                yield b"x"
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            log.append("closed")

    async def app(scope, receive, send):
        await receive()
        await Source(1)(scope, receive, send)

    async with Client(app, lifespan=False) as client:
        response = await client.post("/", content=chunks())

    assert response.status_code == 200
    assert log == ["closed"]


async def test_cancelling_a_request_disconnects_it():
    """As a client with a timeout does; the application is heard out."""
    log = []

    async def app(scope, receive, send):
        await waits_for_disconnect(scope, receive, send)
        await anyio.lowlevel.checkpoint()
        log.append("cleaned up")

    async with Client(app, lifespan=False) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.get, "/")
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        assert log == ["cleaned up"]


async def test_an_exception_in_the_block_comes_out_as_it_is():
    """Not wrapped in a group, and the application is disconnected."""
    app = Source()
    with pytest.raises(LookupError, match="mine"):
        async with Client(app, lifespan=False) as client, client.stream("GET", "/"):
            raise LookupError("mine")
    assert app.ended


@pytest.mark.parametrize("leaves", [False, True])
async def test_concurrent_sends_are_whole_and_in_order(leaves):
    """
    The final message does not overtake a chunk that another task is sending, nor end a response
    that nobody took.
    """
    queued = anyio.Event()

    async def app(scope, receive, send):
        await send({"type": START, "status": 200})
        async with anyio.create_task_group() as tasks:
            for message in [
                {"body": b"a", "more_body": True},
                {"body": b"b", "more_body": True},
                {},
            ]:
                tasks.start_soon(send, {"type": BODY, **message})
                await anyio.wait_all_tasks_blocked()
            queued.set()

    async with Client(app, lifespan=False) as client, client.stream("GET", "/") as response:
        await queued.wait()
        assert not response.complete
        if leaves:
            await response.disconnect()
            await anyio.wait_all_tasks_blocked()
        assert [chunk async for chunk in response] == ([] if leaves else [b"a", b"b"])
        assert response.complete is not leaves


async def test_closing_the_client_disconnects_what_is_open():
    """Also streams of other tasks; their applications hear of it and are not just cancelled."""
    outcome = []

    async def reads(client, opened):
        async with client.stream("GET", "/") as response:
            opened.set()
            outcome.append(await response.read())

    async def app(scope, receive, send):
        await send({"type": START, "status": 200})
        await waits_for_disconnect(scope, receive, send)
        outcome.append("told")

    async with anyio.create_task_group() as tasks:
        async with Client(app, lifespan=False) as client:
            opened = anyio.Event()
            tasks.start_soon(reads, client, opened)
            await opened.wait()
    assert sorted(outcome, key=str) == [b"", "told"]


async def test_an_app_that_keeps_running_is_cancelled_and_reported():
    """The wait for it is bounded by `close_s`."""
    ended = []

    async def app(scope, receive, send):
        try:
            await send({"type": START, "status": 200})
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with Client(app, lifespan=False) as client:
        client.close_s = 0.01
        with pytest.raises(AppError, match=r"GET /slow: the app kept running 0\.01 s"):
            async with client.stream("GET", "/slow"):
                pass
        assert ended == [True]


async def test_an_endless_loop_of_sends_is_cancelled_and_reported():
    """
    `send` does not suspend once the client has left, but it lets a cancellation in now and then.
    """

    async def app(scope, receive, send):
        await send({"type": START, "status": 200})
        while True:
            await send({"type": BODY, "body": b"x", "more_body": True})

    async with Client(app, lifespan=False) as client:
        client.close_s = 0.01
        with pytest.raises(AppError, match="kept running"):
            async with client.stream("GET", "/") as response:
                await response.read(10)


async def test_an_app_that_keeps_running_is_not_hidden_by_a_timeout():
    """What nobody has seen is raised when the client closes."""

    async def app(scope, receive, send):
        await anyio.sleep_forever()

    client = Client(app, lifespan=False)
    client.close_s = 0.01
    with pytest.raises(AppError, match="kept running"):
        async with client:
            with anyio.move_on_after(0.01):
                await client.get("/")
