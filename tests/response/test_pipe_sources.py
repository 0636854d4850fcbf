"""`res.pipe()` sends streams, channels and files of asyncio, trio and anyio, and closes them."""

import asyncio
import socket

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from nardis import Nardis
from nardis.testing import Client

on_asyncio = pytest.mark.parametrize(
    "anyio_backend",
    [
        pytest.param(("asyncio", {}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ],
)
on_trio = pytest.mark.parametrize("anyio_backend", [pytest.param(("trio", {}), id="trio")])

pytestmark = pytest.mark.anyio

# Lines that a reading by lines would give one by one.
LINES = b"".join(b"%d\n" % n for n in range(10_000))


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(LINES)
    return path


async def pieces_of(source):
    """Pipe *source*, and return the pieces that its client got of a whole response."""
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.pipe(source)

    async with Client(app) as client, client.stream("GET", "/") as response:
        pieces = [piece async for piece in response]
        assert response.complete
    return pieces


@on_trio
async def test_a_channel_of_trio_is_piped_to_its_end_and_closed():
    """Its end is `trio.EndOfChannel`, which only its iteration knows."""
    send, receive = trio.open_memory_channel(3)
    async with send:
        for piece in (b"a", "ß", bytearray(b"c")):
            await send.send(piece)

    assert await pieces_of(receive) == [b"a", "ß".encode(), b"c"]
    with pytest.raises(trio.ClosedResourceError):
        receive.receive_nowait()


@on_trio
async def test_a_socket_stream_of_trio_is_piped_to_its_end_and_closed():
    ours, theirs = trio.socket.socketpair()
    source = trio.SocketStream(theirs)
    async with trio.SocketStream(ours) as stream:
        await stream.send_all(LINES)

    pieces = await pieces_of(source)

    assert b"".join(pieces) == LINES
    assert len(pieces) < 100
    assert theirs.fileno() == -1


@on_trio
async def test_a_file_of_trio_is_read_in_chunks_and_closed(lines):
    file = await trio.open_file(lines, "rb")

    assert await pieces_of(file) == [LINES]
    assert file.wrapped.closed


@on_asyncio
async def test_a_stream_reader_of_asyncio_is_read_in_chunks():
    """It can be iterated, by lines; what it has not got yet is waited for."""
    reader = asyncio.StreamReader()
    reader.feed_data(LINES)
    asyncio.get_running_loop().call_soon(reader.feed_data, b"more")
    asyncio.get_running_loop().call_soon(reader.feed_eof)

    pieces = await pieces_of(reader)

    assert b"".join(pieces) == LINES + b"more"
    assert len(pieces) <= 2


async def test_a_file_of_anyio_is_read_in_chunks_and_closed(lines):
    file = await anyio.open_file(lines, "rb")

    assert await pieces_of(file) == [LINES]
    assert file.wrapped.closed


async def test_an_object_stream_of_anyio_is_piped_to_its_end_and_closed():
    send, receive = anyio.create_memory_object_stream[bytes](2)
    async with send:
        await send.send(b"a")
        await send.send(b"b")

    assert await pieces_of(receive) == [b"a", b"b"]
    with pytest.raises(anyio.ClosedResourceError):
        receive.receive_nowait()


async def test_a_byte_stream_of_anyio_is_piped_to_its_end_and_closed():
    """It has `receive`, and its iteration calls that."""
    ours, theirs = socket.socketpair()
    stream = await anyio.abc.SocketStream.from_socket(theirs)
    with ours:
        ours.sendall(LINES)

    pieces = await pieces_of(stream)

    assert b"".join(pieces) == LINES
    assert len(pieces) < 100
    with pytest.raises(anyio.ClosedResourceError):
        await stream.receive()


@pytest.mark.parametrize("verb", ["receive", "read"])
async def test_only_its_own_end_is_the_end_of_a_source(verb):
    """StopAsyncIteration may come from anywhere inside: the response must not look whole."""

    class Source:
        async def fails(self, size=0):
            raise StopAsyncIteration

    setattr(Source, verb, Source.fails)
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.pipe(Source())

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/")

    assert response.status_code == 500


class Upstream:
    """A stream that reads, receives and iterates: the response of some HTTP client."""

    def __init__(self):
        self.pieces = [b"a", b"b"]
        self.closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.pieces:
            raise StopAsyncIteration
        return self.pieces.pop(0)

    async def receive(self):
        raise NotImplementedError  # pragma: no cover: it is iterated

    async def read(self, size):
        raise NotImplementedError  # pragma: no cover: it is iterated

    async def aclose(self):
        self.closed = True


async def test_a_stream_that_can_be_iterated_is_even_where_it_reads_and_receives():
    source = Upstream()

    assert await pieces_of(source) == [b"a", b"b"]
    assert source.closed


@pytest.mark.parametrize("iterable", [False, True])
async def test_a_read_that_gives_an_awaitable_is_awaited(iterable):
    """Such as one that hands on what another object reads."""
    pieces, closed = [b"a", b"b", b""], []

    class Inner:
        async def read(self, size):
            await checkpoint()
            return pieces.pop(0)

    class Wrapper:
        def read(self, size):
            return Inner().read(size)

        def close(self):
            closed.append(True)

    class IterableWrapper(Wrapper):
        def __aiter__(self):
            raise NotImplementedError  # pragma: no cover: that would be by lines

    assert await pieces_of(IterableWrapper() if iterable else Wrapper()) == [b"a", b"b"]
    assert closed == [True]


async def test_a_source_is_closed_although_all_worker_threads_are_taken():
    """A close waits for nobody."""

    class Closed:
        closed = False

        def __aiter__(self):
            return Upstream()

        def close(self):
            self.closed = True

    source = Closed()
    limiter = anyio.to_thread.current_default_thread_limiter()
    borrowers = [object() for _ in range(int(limiter.total_tokens))]
    for each in borrowers:
        limiter.acquire_on_behalf_of_nowait(each)

    assert await pieces_of(source) == [b"a", b"b"]

    for each in borrowers:
        limiter.release_on_behalf_of(each)
    assert source.closed
