"""`await res.write()`: one piece of the body, taken by the client before it returns."""

import array
import mmap

import anyio
import pytest

from nardis import ClientDisconnected, Nardis, UsageError, shielded
from nardis.errors import ContentLengthMismatch, ResponseAborted, ResponseAlreadyEnded
from nardis.testing import AppError, Client

pytestmark = pytest.mark.anyio


async def test_each_write_is_a_chunk():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.write("ä")
        await res.write(b"b")
        await res.write(bytearray(b"c"))
        await res.write(memoryview(b"dxex")[::2])

    async with Client(app) as client, client.stream("GET", "/") as response:
        chunks = [chunk async for chunk in response]
        assert response.complete

    assert chunks == ["ä".encode(), b"b", b"c", b"de"]


def mapped():
    pages = mmap.mmap(-1, 3)
    pages.write(b"abc")
    return pages


@pytest.mark.parametrize("make", [lambda: array.array("B", b"abc"), mapped], ids=["array", "mmap"])
async def test_anything_with_a_buffer_is_bytes_like(serve, make):
    async def handler(req, res):
        await res.write(make())

    assert (await serve(handler)).content == b"abc"


async def test_a_buffer_may_be_reused_after_the_write(serve):
    async def handler(req, res):
        buffer = bytearray(b"aaa")
        await res.write(buffer)
        buffer[:] = b"bbb"
        await res.write(buffer)

    assert (await serve(handler)).content == b"aaabbb"


async def test_write_sets_neither_type_nor_length(serve):
    async def handler(req, res):
        await res.write("x")

    assert (await serve(handler)).headers.pairs() == []


async def test_an_empty_write_sends_the_head():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.status(201).write(b"")
        await anyio.sleep_forever()

    async with Client(app) as client, client.stream("GET", "/") as response:
        assert response.status_code == 201


async def test_empty_writes_in_between_are_nothing(serve):
    async def handler(req, res):
        for piece in ("a", "", "b", b""):
            await res.write(piece)

    assert (await serve(handler)).content == b"ab"


async def test_write_waits_for_a_slow_reader():
    """A handler never runs more than one chunk ahead of its peer."""
    app, written = Nardis(), []

    @app.get("/feed")
    async def feed(req, res):
        for n in range(100):
            await res.write(b"%d\n" % n)
            written.append(n)

    async with Client(app) as client, client.stream("GET", "/feed") as response:
        await anext(aiter(response))
        await anyio.wait_all_tasks_blocked()

        assert len(written) <= 2


async def test_a_write_loop_lets_other_tasks_run():
    """A server's send may return without suspending; here nobody waits for the reader."""
    app, turns = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        async def count():
            while True:
                turns.append(1)
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tg:
            tg.start_soon(count)
            until = anyio.current_time() + 20
            while len(turns) <= 5 and anyio.current_time() < until:
                await res.write(b"x")
            tg.cancel_scope.cancel()

    async def server(scope, receive, send):
        async def drop(message):
            pass

        await app(scope, receive, drop)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async with Client(server, lifespan=False) as client:
        await client.get("/")

    assert len(turns) > 5


async def test_several_tasks_write_whole_chunks_in_the_order_of_the_calls():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        async with anyio.create_task_group() as tg:
            for n in range(5):
                tg.start_soon(res.write, b"%d" % n * 1000)
                await anyio.lowlevel.checkpoint()

    async with Client(app) as client, client.stream("GET", "/") as response:
        chunks = [chunk async for chunk in response]

    assert sorted(chunks) == [b"%d" % n * 1000 for n in range(5)]


REFUSED = [
    ({"a": 1}, "dict", "res.json()"),
    ([1], "list", "res.json()"),
    (5, "int", "str or a bytes-like"),
    (iter(()), "tuple_iterator", "res.pipe()"),
]


@pytest.mark.parametrize(
    ("verb", "data", "kind", "hint"),
    [
        *(("write", *row) for row in REFUSED),
        ("write", None, "NoneType", "str or a bytes-like"),  # to end() it is no piece
        *(("end", *row) for row in REFUSED),
    ],
)
async def test_what_is_neither_text_nor_bytes_is_refused_with_the_right_verb(
    failure, verb, data, kind, hint
):
    async def handler(req, res):
        await getattr(res, verb)(data)

    error = await failure(handler)

    assert isinstance(error, UsageError)
    assert f"{verb}()" in str(error)
    assert f"not {kind}" in str(error)
    assert hint in str(error)


@pytest.mark.parametrize(
    "finish",
    [lambda res: res.end(), lambda res: res.send("x"), lambda res: res.json({})],
    ids=["end", "send", "json"],
)
async def test_a_write_after_the_end_is_refused(failure, finish):
    async def handler(req, res):
        await finish(res)
        await res.write("y")

    error = await failure(handler)

    assert isinstance(error, ResponseAlreadyEnded)
    assert "cannot write" in str(error)
    assert "already ended" in str(error)


# --- the declared length --------------------------------------------------------------------------


async def test_a_declared_length_is_kept(serve):
    async def handler(req, res):
        res.set("content-length", 4)
        await res.write("ab")
        await res.write("cd")

    response = await serve(handler)

    assert (response.content, response.headers["content-length"], response.complete) == (
        b"abcd",
        "4",
        True,
    )


async def test_a_first_write_beyond_the_length_sends_nothing_and_is_a_500(failure, seen_by_client):
    async def handler(req, res):
        await res.set("content-length", 3).write("abcd")

    error = await failure(handler)
    response = await seen_by_client(handler)

    assert isinstance(error, ContentLengthMismatch)
    assert "4 bytes" in str(error)
    assert "Content-Length of 3" in str(error)
    assert (response.status_code, response.complete) == (500, True)
    assert b"abcd" not in response.content


async def test_a_later_write_beyond_the_length_cuts_the_response(failure, seen_by_client):
    async def handler(req, res):
        res.set("content-length", 3)
        await res.write("ab")
        await res.write("cd")

    assert isinstance(await failure(handler), ContentLengthMismatch)
    response = await seen_by_client(handler)
    assert (response.status_code, response.content, response.complete) == (200, b"ab", False)


async def test_a_refused_write_leaves_the_rest_of_the_response_possible(serve):
    async def handler(req, res):
        res.set("content-length", 3)
        await res.write("ab")
        with pytest.raises(ContentLengthMismatch):
            await res.write("cd")
        await res.write("c")

    response = await serve(handler)
    assert (response.content, response.complete) == (b"abc", True)


async def test_a_body_that_ends_short_is_cut(failure, seen_by_client):
    async def handler(req, res):
        await res.set("content-length", 5).write("ab")

    error = await failure(handler)

    assert isinstance(error, ContentLengthMismatch)
    assert "ended after 2" in str(error)
    response = await seen_by_client(handler)
    assert (response.content, response.complete) == (b"ab", False)


# --- endings --------------------------------------------------------------------------------------


async def test_a_handler_that_raises_half_way_never_looks_complete(failure, seen_by_client):
    async def handler(req, res):
        await res.write("half")
        raise KeyError("half-way")

    assert isinstance(await failure(handler), KeyError)
    response = await seen_by_client(handler)
    assert (response.status_code, response.content, response.complete) == (200, b"half", False)


async def test_a_failed_task_beside_the_writer_never_looks_complete(seen_by_client):
    async def handler(req, res):
        async def fail():
            raise KeyError("beside")

        async with anyio.create_task_group() as tg:
            await res.write("half")
            tg.start_soon(fail)

    response = await seen_by_client(handler)
    assert (response.content, response.complete) == (b"half", False)


async def test_a_write_that_was_cut_short_tears_the_response():
    """An unknown part of it is on the wire: what comes after would stand in the wrong place."""
    app, errors, refused = Nardis(), [], anyio.Event()

    @app.get("/")
    async def handler(req, res):
        await res.write("first")
        async with anyio.create_task_group() as tg:
            tg.start_soon(res.write, "second")
            await anyio.wait_all_tasks_blocked()
            tg.cancel_scope.cancel()
        with pytest.raises(ResponseAborted) as caught:
            await res.write("third")
        errors.append(str(caught.value))
        refused.set()

    async with Client(app) as client:
        with pytest.raises(AppError):
            async with client.stream("GET", "/") as response:
                await response.read(5)
                await refused.wait()
                assert await response.read() == b""
        assert not response.complete

    assert "interrupted" in errors[0]


# --- the client leaves ----------------------------------------------------------------------------


async def test_a_client_that_leaves_cancels_the_writer():
    app, seen = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        try:
            async for _ in req:
                await res.write("x")
        finally:
            seen.append(req.close_reason)

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.send(b"go")
        await response.read(1)
        await response.disconnect()

    assert seen == ["gone"]


async def test_a_shielded_writer_is_told_that_the_client_left():
    app, seen = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        await res.flush()
        try:
            await req.bytes()
        finally:
            with shielded(5):
                with pytest.raises(ClientDisconnected):
                    await res.write("too late")
                seen.append("told")

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.disconnect()

    assert seen == ["told"]


async def test_a_writer_that_opted_out_is_told_as_well():
    app, seen = Nardis(cancel_on_disconnect=False), []

    @app.post("/")
    async def handler(req, res):
        with pytest.raises(ClientDisconnected):
            await req.bytes()
        with pytest.raises(ClientDisconnected):
            await res.write("too late")
        seen.append("told")

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.disconnect()

    assert seen == ["told"]


# --- HEAD -----------------------------------------------------------------------------------------


async def test_on_head_the_first_write_ends_the_handler_quietly():
    app, steps = Nardis(), []

    @app.use
    async def around(req, res, next):
        await next()
        steps.append("after next")

    @app.get("/")
    async def handler(req, res):
        try:
            await res.set("x-one", "1").write("never sent")
            steps.append(
                "after write"
            )  # pragma: no cover: the scope around the handler is cancelled
        finally:
            steps.append("finally")

    async with Client(app) as client:
        response = await client.head("/")

    assert (
        response.status_code,
        response.headers["x-one"],
        response.content,
        response.complete,
    ) == (200, "1", b"", True)
    assert steps == ["finally", "after next"]


async def test_a_head_handler_behind_a_shield_writes_into_nothing(serve):
    steps = []

    async def handler(req, res):
        try:
            await res.write("a")
        finally:
            with shielded(5):
                await res.write("b")
                steps.append("still here")

    assert (await serve(handler, "HEAD")).content == b""
    assert steps == ["still here"]


async def test_head_keeps_the_length_that_a_stream_declares(serve):
    async def handler(req, res):
        await res.set("content-length", 1000).write("x")

    assert (await serve(handler, "HEAD")).headers["content-length"] == "1000"


@pytest.mark.parametrize("status", [204, 304])
async def test_204_and_304_write_nothing(serve, status):
    async def handler(req, res):
        await res.status(status).set("content-length", 1).write("x")
        await res.write("y")

    response = await serve(handler)

    assert (response.status_code, response.content, response.headers.pairs()) == (status, b"", [])
