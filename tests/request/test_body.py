"""The body as it arrives: `async for chunk in req`, and `req.body`, an anyio byte stream."""

import anyio
import pytest
from anyio.abc import ByteReceiveStream
from anyio.streams.buffered import BufferedByteReceiveStream

from nardis import ClientDisconnected, HTTPError, Limits, Nardis, shielded
from nardis.testing import Client

pytestmark = pytest.mark.anyio


def pieces(*chunks):
    async def upload():
        for chunk in chunks:
            yield chunk

    return upload()


async def collected(req):
    return [chunk async for chunk in req]


async def test_chunks_come_as_they_were_sent_and_never_empty(ask):
    assert await ask(collected, "POST", content=pieces(b"a", b"", b"bc", b"d" * 100_000)) == [
        b"a",
        b"bc",
        b"d" * 100_000,
    ]


async def test_a_request_without_a_body_has_no_chunks(ask):
    assert await ask(collected) == []


async def test_an_empty_body_may_be_read_twice(ask):
    """There is nothing that could have been lost."""

    async def twice(req):
        return await collected(req) + await collected(req)

    assert await ask(twice, "POST", content=b"") == []


async def test_a_reader_takes_no_more_than_it_asked_for():
    app, go = Nardis(), anyio.Event()

    @app.post("/")
    async def handler(req, res):
        chunks = aiter(req)
        await anext(chunks)
        await go.wait()
        await res.send(await anext(chunks))

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.send(b"one")
        async with anyio.create_task_group() as tg:
            sent = anyio.Event()

            async def send_two():
                await response.send(b"two")
                sent.set()

            tg.start_soon(send_two)
            await anyio.wait_all_tasks_blocked()
            taken_early = sent.is_set()
            go.set()
        assert await response.read() == b"two"

    assert not taken_early


async def test_iteration_that_was_left_goes_on_where_it_was(ask):
    async def in_two_parts(req):
        first = await anext(aiter(req))
        return first, await collected(req)

    assert await ask(in_two_parts, "POST", content=pieces(b"a", b"b", b"c")) == (b"a", [b"b", b"c"])


async def test_body_is_an_anyio_byte_stream(ask):
    assert isinstance(await ask(lambda req: req.body), ByteReceiveStream)


async def test_body_is_one_stream_for_all_who_ask(ask):
    assert await ask(lambda req: req.body is req.body)


async def test_receive_gives_at_most_max_bytes_and_keeps_the_rest(ask):
    async def read(req):
        return [await req.body.receive(n) for n in (2, 2, 2, 100)]

    assert await ask(read, "POST", content=pieces(b"abcde", b"fg")) == [b"ab", b"cd", b"e", b"fg"]


async def test_receive_says_end_of_stream_for_ever(ask):
    async def read(req):
        await req.body.receive()
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await req.body.receive()

    await ask(read, "POST", content=b"x")


async def test_what_receive_left_over_is_the_next_chunk(ask):
    async def read(req):
        return await req.body.receive(1), await collected(req)

    assert await ask(read, "POST", content=pieces(b"abc", b"d")) == (b"a", [b"bc", b"d"])


async def test_what_receive_left_over_of_the_last_chunk_is_not_lost(ask):
    async def read(req):
        return await req.body.receive(1), await collected(req)

    assert await ask(read, "POST", content=b"abc") == (b"a", [b"bc"])


async def test_an_anyio_wrapper_reads_from_body(ask):
    """Such as one that splits lines."""

    async def read(req):
        stream = BufferedByteReceiveStream(req.body)
        return [await stream.receive_until(b"\n", 100), await stream.receive_exactly(2)]

    assert await ask(read, "POST", content=pieces(b"one\nt", b"wo")) == [b"one", b"tw"]


async def test_a_closed_body_gives_nothing_more(ask):
    async def read(req):
        await req.body.receive(1)
        await req.body.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await req.body.receive()
        return await collected(req)

    assert await ask(read, "POST", content=pieces(b"abc", b"d")) == []


async def test_a_body_left_unread_does_not_disturb_the_answer(ask):
    async def read(req):
        async with req.body:
            return await req.body.receive(2)

    assert await ask(read, "POST", content=b"abcdef") == b"ab"


async def test_a_cancelled_read_loses_nothing():
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        async with anyio.create_task_group() as tg:
            tg.start_soon(req.body.receive)
            await anyio.wait_all_tasks_blocked()
            tg.cancel_scope.cancel()
        await res.flush()
        async for chunk in req:
            await res.write(chunk)

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.head()
        await response.send(b"all of ")
        await response.send(b"it")
        await response.end()
        assert await response.read() == b"all of it"


async def test_reading_and_writing_take_turns():
    """Full duplex: each chunk is answered before the next one is sent."""
    app = Nardis()

    @app.post("/echo")
    async def echo(req, res):
        async for chunk in req:
            await res.write(chunk.upper())

    async with Client(app) as client, client.stream("POST", "/echo") as response:
        for chunk in (b"a", b"b", b"c"):
            await response.send(chunk)
            assert await response.read(1) == chunk.upper()
        await response.end()
        assert await response.read() == b""


async def test_a_client_that_leaves_cancels_the_reader():
    app, seen = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        try:
            await req.body.receive()
        except anyio.get_cancelled_exc_class():
            seen.append("cancelled")
            raise

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.disconnect()

    assert seen == ["cancelled"]


async def test_a_shielded_reader_is_told_that_the_client_left():
    app, seen = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        with shielded(5):
            for _ in range(2):
                with pytest.raises(ClientDisconnected):
                    await req.body.receive()
                seen.append(req.close_reason)

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.disconnect()

    assert seen == ["gone", "gone"]


async def test_a_reader_that_opted_out_of_cancellation_is_told_as_well():
    app, seen = Nardis(cancel_on_disconnect=False), []

    @app.post("/")
    async def handler(req, res):
        with pytest.raises(ClientDisconnected):
            await req.bytes()
        await anyio.lowlevel.checkpoint()
        seen.append("still here")

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.send(b"half")
        await response.disconnect()

    assert seen == ["still here"]


async def test_a_declared_length_over_the_streaming_limit_is_refused_before_reading():
    app, pulled, seen = Nardis(limits=Limits(streamed_body_bytes=10)), [], []

    @app.post("/")
    async def handler(req, res):
        try:
            await collected(req)
        finally:
            seen.append(list(pulled))

    async def upload():
        pulled.append(1)
        yield b"x" * 11

    async with Client(app) as client:
        response = await client.post("/", content=upload(), headers={"content-length": "11"})

    assert response.status_code == 413
    assert seen == [[]]


async def test_a_chunked_body_over_the_streaming_limit_is_refused_while_streaming(refusal):
    """Up to there the handler has what came: a limit on a stream does not gather it."""
    seen = bytearray()

    async def read(req):
        async for chunk in req:
            seen.extend(chunk)

    app = Nardis(limits=Limits(streamed_body_bytes=5))
    response = await refusal(read, "POST", content=pieces(b"abc", b"de", b"f"), app=app)

    assert response.status_code == 413
    assert seen == b"abcde"


async def test_a_body_of_exactly_the_limit_passes(ask):
    app = Nardis(limits=Limits(streamed_body_bytes=5))

    assert await ask(collected, "POST", content=pieces(b"abc", b"de"), app=app) == [b"abc", b"de"]


async def test_the_limit_of_a_route_replaces_that_of_the_application():
    app = Nardis(limits=Limits(streamed_body_bytes=1))

    @app.post("/", limits=Limits(streamed_body_bytes=None))
    async def handler(req, res):
        await res.send(b"".join(await collected(req)))

    async with Client(app) as client:
        assert (await client.post("/", content=b"abc")).content == b"abc"


async def test_a_413_is_an_exception_that_code_can_handle(ask):
    async def read(req):
        with pytest.raises(HTTPError) as caught:
            await collected(req)
        return caught.value.status, caught.value.extensions

    app = Nardis(limits=Limits(streamed_body_bytes=2))
    assert await ask(read, "POST", content=pieces(b"abc"), app=app) == (413, {"limit": 2})
