"""`await res.pipe()`: everything a source has, and the source closed whatever happens."""

import threading

import anyio
import pytest

from nardis import Nardis, UsageError
from nardis.testing import Client
from tests.peers.driver import tick_once

pytestmark = pytest.mark.anyio


class Source:
    """An async iterator that remembers what was done with it."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)
        self.steps = []

    def __aiter__(self):
        self.steps.append("iter")
        return self

    async def __anext__(self):
        await anyio.lowlevel.checkpoint()
        if not self.pieces:
            raise StopAsyncIteration
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self):
        await anyio.lowlevel.checkpoint()
        self.steps.append("closed")


class Iterable:
    """Async iterable, and no iterator itself: what it hands out needs closing as well."""

    def __init__(self, *pieces):
        self.source = Source(*pieces)
        self.closed = False

    def __aiter__(self):
        return self.source

    async def aclose(self):
        self.closed = True


class ByteStream:
    """An anyio byte stream without iteration, as wrapped ones are."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)
        self.closed = False

    async def receive(self, max_bytes=65536):
        await anyio.lowlevel.checkpoint()
        if not self.pieces:
            raise anyio.EndOfStream
        return self.pieces.pop(0)

    async def aclose(self):
        self.closed = True


async def pieces(*given):
    for piece in given:
        yield piece


def sync_pieces(*given):
    yield from given


def memory_stream(*given):
    send, receive = anyio.create_memory_object_stream(10)
    with send:
        for piece in given:
            send.send_nowait(piece)
    return receive


@pytest.mark.parametrize(
    "make",
    [
        pieces,
        sync_pieces,
        memory_stream,
        Source,
        Iterable,
        ByteStream,
        lambda *given: list(given),
        lambda *given: given,
    ],
    ids=[
        "async generator",
        "generator",
        "memory stream",
        "async iterator",
        "async iterable",
        "byte stream",
        "list",
        "tuple",
    ],
)
async def test_every_kind_of_source_is_sent_piece_by_piece(make):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.pipe(make(b"a", "ß", bytearray(b"c"), memoryview(b"d")))
        assert res.finished

    async with Client(app) as client, client.stream("GET", "/") as response:
        chunks = [chunk async for chunk in response]
        assert response.complete

    assert chunks == [b"a", "ß".encode(), b"c", b"d"]


@pytest.mark.parametrize(
    "make", [pieces, sync_pieces, ByteStream, list], ids=["async", "sync", "stream", "list"]
)
async def test_an_empty_source_is_an_empty_body(serve, make):
    async def handler(req, res):
        await res.type("text/plain").pipe(make())

    response = await serve(handler)

    assert (response.content, response.headers["content-length"]) == (b"", "0")


async def test_pipe_goes_on_after_a_write(serve):
    async def handler(req, res):
        await res.write("head ")
        await res.pipe([b"tail"])

    assert (await serve(handler)).text == "head tail"


async def test_a_declared_length_goes_out_with_it(serve):
    async def handler(req, res):
        await res.set("content-length", 2).pipe([b"a", b"b"])

    assert (await serve(handler)).headers["content-length"] == "2"


async def test_the_next_piece_is_asked_for_when_the_last_was_taken():
    app, made = Nardis(), []

    async def count():
        for n in range(100):
            made.append(n)
            yield b"%d" % n

    @app.get("/")
    async def handler(req, res):
        await res.pipe(count())

    async with Client(app) as client, client.stream("GET", "/") as response:
        await anext(aiter(response))
        await anyio.wait_all_tasks_blocked()
        assert len(made) <= 2


async def test_a_generator_is_stepped_and_closed_outside_of_the_event_loop():
    """It may wait for a file, a database, a lock."""
    app, threads = Nardis(), []

    def rows():
        try:
            for _ in range(2):
                threads.append(threading.get_ident())
                yield b"row"
        finally:
            threads.append(threading.get_ident())

    @app.get("/")
    async def handler(req, res):
        await res.pipe(rows())

    async with Client(app) as client:
        assert (await client.get("/")).content == b"rowrow"

    assert len(threads) == 3
    assert threading.get_ident() not in threads


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def binary(tmp_path):
    """A file larger than a piece, with no line end in it."""
    path = tmp_path / "binary"
    path.write_bytes(bytes(range(1, 9)) * 100_000)
    return path


async def test_an_open_file_is_sent_and_closed(serve, binary):
    files = []

    async def handler(req, res):
        files.append(binary.open("rb"))
        await res.pipe(files[0])

    assert (await serve(handler)).content == binary.read_bytes()
    assert files[0].closed


async def test_a_text_file_is_sent_as_utf_8(serve, tmp_path):
    path = tmp_path / "text"
    path.write_bytes("ä\nö\n".encode("latin-1"))

    async def handler(req, res):
        await res.pipe(path.open(encoding="latin-1"))

    assert (await serve(handler)).text == "ä\nö\n"


async def test_an_anyio_file_is_sent_and_closed(serve, binary):
    files = []

    async def handler(req, res):
        files.append(await anyio.open_file(binary, "rb"))
        await res.pipe(files[0])

    assert (await serve(handler)).content == binary.read_bytes()
    assert files[0].wrapped.closed


@pytest.mark.parametrize("open_", [anyio.open_file, None], ids=["anyio", "open"])
async def test_a_file_is_read_in_pieces_of_bounded_size_and_not_by_lines(open_, binary, tmp_path):
    """A line of a binary file may be gigabytes, and a line of a text a few bytes."""
    lines = tmp_path / "lines"
    lines.write_bytes(b"1\n" * 10_000)
    app = Nardis()

    @app.get("/:name")
    async def handler(req, res):
        path = binary.parent / req.params["name"]
        await res.pipe(await open_(path, "rb") if open_ else path.open("rb"))

    sizes = {}
    async with Client(app) as client:
        for name in ("binary", "lines"):
            async with client.stream("GET", f"/{name}") as response:
                sizes[name] = [len(chunk) async for chunk in response]

    assert sum(sizes["binary"]) == 800_000
    assert max(sizes["binary"]) <= 256 * 1024
    assert sizes["lines"] == [20_000]


# --- the source is closed -------------------------------------------------------------------------


async def test_the_source_is_closed_at_the_end(serve):
    source = Source(b"a")

    async def handler(req, res):
        await res.pipe(source)

    await serve(handler)

    assert source.steps == ["iter", "closed"]


async def test_an_async_close_is_awaited(serve):
    """As that of a stream of some other library."""
    pieces, closed = [b"a", b"b", b""], []

    class Reader:
        async def read(self, size):
            return pieces.pop(0)

        async def close(self):
            await anyio.lowlevel.checkpoint()
            closed.append(True)

    async def handler(req, res):
        await res.pipe(Reader())

    assert (await serve(handler)).content == b"ab"
    assert closed == [True]


async def test_source_and_its_iterator_are_closed(serve):
    source = Iterable(b"a")

    async def handler(req, res):
        await res.pipe(source)

    await serve(handler)

    assert source.closed
    assert source.source.steps == ["closed"]


async def test_the_source_is_closed_when_it_fails(failure, seen_by_client):
    sources = []

    async def handler(req, res):
        sources.append(Source(b"a", KeyError("source")))
        await res.pipe(sources[-1])

    assert isinstance(await failure(handler), KeyError)
    response = await seen_by_client(handler)
    assert (response.content, response.complete) == (b"a", False)
    assert [source.steps for source in sources] == [["iter", "closed"]] * 2


async def test_a_source_that_fails_at_once_is_a_500(seen_by_client):
    async def handler(req, res):
        await res.pipe(Source(KeyError("source")))

    response = await seen_by_client(handler)

    assert (response.status_code, response.complete) == (500, True)


async def test_a_generator_that_fails_in_its_thread_cuts_the_response(failure, seen_by_client):
    def rows():
        yield b"a"
        raise KeyError("row")

    async def handler(req, res):
        await res.pipe(rows())

    assert isinstance(await failure(handler), KeyError)
    assert (await seen_by_client(handler)).complete is False


async def test_the_source_is_closed_when_the_client_leaves():
    """While it waits for the next piece: its own clean-up may await."""
    app, steps = Nardis(), []

    async def endless():
        try:
            while True:
                yield b"x"
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            steps.append("generator")

    source = Source(*[b"x"] * 1000)

    @app.get("/generator")
    async def generator(req, res):
        await res.pipe(endless())

    @app.get("/iterator")
    async def iterator(req, res):
        await res.pipe(source)

    async with Client(app) as client:
        for url in ("/generator", "/iterator"):
            async with client.stream("GET", url) as response:
                await response.read(3)
                await response.disconnect()
                tick_once(app)

    assert steps == ["generator"]
    assert source.steps == ["iter", "closed"]


async def test_the_source_is_closed_on_a_write_that_is_refused(failure):
    source = Source(b"abcd")

    async def handler(req, res):
        await res.set("content-length", 3).pipe(source)

    await failure(handler)

    assert source.steps == ["iter", "closed"]


@pytest.mark.parametrize("make", [Source, Iterable, ByteStream])
async def test_head_closes_the_source_and_never_starts_it(serve, make):
    source = make(b"a")

    async def handler(req, res):
        await res.set("content-length", 1).set("x-one", "1").pipe(source)

    response = await serve(handler, "HEAD")

    assert (response.headers["content-length"], response.headers["x-one"], response.content) == (
        "1",
        "1",
        b"",
    )
    assert source.steps == ["closed"] if make is Source else source.closed


async def test_a_middleware_that_pipes_goes_on_after_head(serve):
    """Only the handler of a route is left at its first write."""
    source, log = Source(b"a"), []

    async def handler(req, res, next):
        await res.pipe(source)
        log.append(res.finished)

    assert (await serve(handler, "HEAD")).complete
    assert source.steps == ["closed"]
    assert log == [True]


async def test_head_runs_no_line_of_a_generator(serve):
    started = []

    def rows():
        started.append("sync")  # pragma: no cover: it never starts
        yield b"a"  # pragma: no cover: it never starts

    async def async_rows():
        started.append("async")  # pragma: no cover: it never starts
        yield b"a"  # pragma: no cover: it never starts

    for make in (rows, async_rows):

        async def handler(req, res, make=make):
            await res.pipe(make())

        assert (await serve(handler, "HEAD")).complete

    assert started == []


# --- what is no source ----------------------------------------------------------------------------


@pytest.mark.parametrize("source", [b"abc", "abc", bytearray(b"abc"), memoryview(b"abc")])
async def test_one_piece_is_no_source(failure, source):
    """Iterated it would be numbers, or single letters."""

    async def handler(req, res):
        await res.pipe(source)

    error = await failure(handler)

    assert isinstance(error, UsageError)
    assert "res.send()" in str(error)


@pytest.mark.parametrize("source", [None, 5, object()])
async def test_what_cannot_be_iterated_is_no_source(failure, source):
    async def handler(req, res):
        await res.pipe(source)

    error = await failure(handler)

    assert isinstance(error, UsageError)
    assert f"not {type(source).__name__}" in str(error)
    assert "pipe()" in str(error)


@pytest.mark.parametrize(("piece", "kind"), [(5, "int"), ({"a": 1}, "dict"), (None, "NoneType")])
@pytest.mark.parametrize(
    "make",
    [pieces, sync_pieces, Source, lambda piece: [piece]],
    ids=["async", "sync", "iterator", "list"],
)
async def test_a_piece_of_another_type_is_refused(failure, make, piece, kind):
    async def handler(req, res):
        await res.pipe(make(piece))

    error = await failure(handler)

    assert isinstance(error, UsageError)
    assert "each piece given to pipe()" in str(error)
    assert f"not {kind}" in str(error)


async def test_a_response_without_a_body_ends_a_source_that_never_ends():
    """By its status (R6); a HEAD asks the source for nothing."""
    app, source = Nardis(), Source(*[b"x"] * 1000)

    @app.get("/")
    async def handler(req, res):
        await res.status(204).pipe(source)

    async with Client(app) as client:
        answer = await client.get("/")

    assert (answer.status_code, answer.content, answer.complete) == (204, b"", True)
    assert (len(source.pieces), source.steps) == (999, ["iter", "closed"])
