"""`res.filter()`: codecs between the handler and the wire."""

import zlib

import anyio
import pytest

from nardis import Limits, Nardis
from nardis.errors import ContentLengthMismatch, ResponseAborted
from nardis.testing import Client
from tests.peers.driver import Identity, Server

pytestmark = pytest.mark.anyio


class Deflate:
    """What a compression is: it holds back, and it has an end."""

    def __init__(self):
        self._codec = zlib.compressobj()
        self.calls = []

    def feed(self, data):
        self.calls.append("feed")
        return self._codec.compress(data)

    def flush(self):
        self.calls.append("flush")
        return self._codec.flush(zlib.Z_SYNC_FLUSH)

    def finish(self):
        self.calls.append("finish")
        return self._codec.flush()


class Wrap:
    """Show the order of codecs: brackets around each piece, and a mark at flush and finish."""

    def __init__(self, name):
        self.name = name

    def feed(self, data):
        return self.name + b"(" + data + b")"

    def flush(self):
        return self.name + b"~"

    def finish(self):
        return self.name + b"."


async def write_two(res):
    await res.write("hello, ")
    await res.write("world")


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (lambda res: res.send("hello"), b"hello"),
        (lambda res: res.json({"a": 1}), b'{"a":1}'),
        (lambda res: res.send(), b""),
        (lambda res: res.end("x"), b"x"),
        (write_two, b"hello, world"),
        (lambda res: res.pipe([b"a", b"b"]), b"ab"),
        (lambda res: res.send(b"x" * 1_000_000), b"x" * 1_000_000),
    ],
    ids=["send", "json", "nothing", "end", "write", "pipe", "large"],
)
async def test_the_body_passes_through_the_codec(serve, answer, content):
    codecs = []

    async def handler(req, res):
        codecs.append(Deflate())
        assert res.filter(codecs[0]) is res
        await answer(res)

    response = await serve(handler)

    assert zlib.decompress(response.content) == content
    assert response.complete
    assert codecs[0].calls.count("finish") == 1
    assert codecs[0].calls[-1] == "finish"


async def test_the_length_goes_and_the_etag_becomes_weak(serve):
    async def handler(req, res):
        await res.set("content-length", 5).set("etag", '"1"').filter(Deflate()).write("hello")

    headers = (await serve(handler)).headers

    assert "content-length" not in headers
    assert headers["etag"] == 'W/"1"'


async def test_a_weak_etag_stays_as_it_is(serve):
    async def handler(req, res):
        await res.set("etag", 'W/"1"').filter(Deflate()).send("hello")

    assert (await serve(handler)).headers["etag"] == 'W/"1"'


async def test_the_first_added_comes_first(serve):
    async def handler(req, res):
        res.filter(Wrap(b"a")).filter(Wrap(b"b"))
        await res.write("1")
        await res.flush()
        await res.end("2")

    # The end of the first goes through the second, as everything of it does.
    assert (await serve(handler)).content == b"b(a(1))b(a~)b~b(a(2)a.)b."


async def test_what_a_codec_holds_back_waits_for_flush():
    app, go = Nardis(), anyio.Event()

    @app.get("/")
    async def handler(req, res):
        res.filter(Deflate())
        await res.write("hello")
        await go.wait()
        await res.flush()
        await anyio.sleep_forever()

    async with Client(app) as client, client.stream("GET", "/") as response:
        codec = zlib.decompressobj()
        held = codec.decompress(await response.read(2))
        go.set()
        text = codec.decompress(await anext(response))

    assert held == b""
    assert text == b"hello"


async def test_a_flush_before_anything_was_written_is_decodable(serve):
    async def handler(req, res):
        await res.filter(Deflate()).flush()
        await res.write("hello")

    assert zlib.decompress((await serve(handler)).content) == b"hello"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
@pytest.mark.parametrize(
    "answer",
    [lambda res: res.send("x"), lambda res: res.write("x"), lambda res: res.flush()],
    ids=["send", "write", "flush"],
)
async def test_where_there_is_no_body_the_codec_is_not_touched(serve, answer, method, status):
    codec = Deflate()

    async def handler(req, res):
        await answer(res.status(status).set("etag", '"1"').filter(codec))

    response = await serve(handler, method)

    assert codec.calls == []
    assert (response.status_code, response.content, response.complete) == (status, b"", True)
    assert response.headers["etag"] == 'W/"1"'
    assert "content-length" not in response.headers


async def test_finish_is_never_called_after_a_failure(seen_by_client):
    """It would make half a stream look whole."""
    codec = Deflate()

    async def handler(req, res):
        await res.filter(codec).write("x" * 1000)
        raise KeyError("half-way")

    response = await seen_by_client(handler)

    assert not response.complete
    assert codec.calls == ["feed"]


async def test_finish_is_never_called_for_a_client_that_left():
    app, codec = Nardis(), Deflate()

    @app.post("/")
    async def handler(req, res):
        await res.filter(codec).flush()
        await req.bytes()

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.disconnect()

    assert codec.calls == ["flush"]


async def test_finish_is_never_called_after_abort(seen_by_client):
    codec = Deflate()

    async def handler(req, res):
        await res.filter(codec).write("x")
        await res.abort()

    assert not (await seen_by_client(handler)).complete
    assert "finish" not in codec.calls


async def test_the_answer_to_an_error_is_not_filtered(seen_by_client):
    codec = Deflate()

    async def handler(req, res):
        res.set("content-encoding", "deflate").filter(codec)
        raise KeyError("early")

    response = await seen_by_client(handler)

    assert response.text.startswith("500")
    assert "content-encoding" not in response.headers
    assert codec.calls == []


class Broken(Deflate):
    def feed(self, data):
        raise KeyError("codec")


@pytest.mark.parametrize(
    "answer", [lambda res: res.send("x"), lambda res: res.end("x")], ids=["send", "end"]
)
async def test_a_codec_that_fails_before_anything_left_is_a_500(failure, seen_by_client, answer):
    async def handler(req, res):
        await answer(res.filter(Broken()))

    assert isinstance(await failure(handler), KeyError)
    response = await seen_by_client(handler)
    assert (response.status_code, response.complete) == (500, True)
    assert response.text.startswith("500")


async def test_a_codec_that_fails_half_way_cuts_the_response(failure, seen_by_client):
    async def handler(req, res):
        await res.filter(Broken()).flush()
        await res.write("x")

    assert isinstance(await failure(handler), KeyError)
    assert not (await seen_by_client(handler)).complete


# --- the ledger counts what the handler gave, whatever comes of it --------------------------------


async def test_a_declared_length_is_held_against_the_unfiltered_body(serve):
    async def handler(req, res):
        await res.set("content-length", 5).filter(Deflate()).write("hello")
        assert res.bytes_sent == 5

    assert zlib.decompress((await serve(handler)).content) == b"hello"


async def test_ending_short_of_it_cuts_the_response(failure, seen_by_client):
    async def handler(req, res):
        await res.set("content-length", 5).filter(Deflate()).write("hell")

    assert isinstance(await failure(handler), ContentLengthMismatch)
    assert not (await seen_by_client(handler)).complete


async def test_writing_beyond_it_is_refused(failure, seen_by_client):
    async def handler(req, res):
        await res.set("content-length", 5).filter(Deflate()).write("hello!")

    assert isinstance(await failure(handler), ContentLengthMismatch)
    assert (await seen_by_client(handler)).status_code == 500


class Awaited:
    """Marks each piece, somewhere else than in the event loop."""

    def __init__(self, failure=None):
        self.failure = failure
        self.began = anyio.Event()

    def feed(self, data):
        return self._later(b"(" + data + b")")

    def flush(self):
        return self._later(b"~")

    def finish(self):
        return self._later(b".")

    async def _later(self, data):
        self.began.set()
        if self.failure is not None:
            raise self.failure
        return await anyio.to_thread.run_sync(bytes, data)


async def write_and_flush(res):
    await res.write("a")
    await res.flush()
    await res.end("b")


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (lambda res: res.send("a"), b"(a)."),
        (write_and_flush, b"(a)~(b)."),
        (lambda res: res.send(b"x" * 100_000), b"(" + b"x" * 100_000 + b")."),
    ],
    ids=["send", "write", "large"],
)
async def test_a_codec_may_be_awaited(serve, answer, content):
    async def handler(req, res):
        res.filter(Awaited())
        await answer(res)

    response = await serve(handler)

    assert (response.content, response.complete) == (content, True)


@pytest.mark.parametrize("answer", [lambda res: res.send("a"), lambda res: res.write("a")])
async def test_a_codec_that_fails_where_it_is_awaited_fails_the_response(seen_by_client, answer):
    async def handler(req, res):
        res.filter(Awaited(ValueError("codec")))
        await answer(res)

    response = await seen_by_client(handler)

    assert response.status_code == 500 or not response.complete


async def test_pieces_of_several_tasks_go_through_a_codec_one_after_the_other(serve):
    async def handler(req, res):
        res.filter(Awaited())
        await res.flush()
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(res.write, name)

    response = await serve(handler)

    assert sorted(response.content[1:-1].strip(b"()").split(b")(")) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("verb", ["send", "write"])
async def test_a_write_that_was_cut_in_a_codec_cannot_be_followed(failure, verb):
    """What the codec was fed is lost: the client would see a gap."""

    async def handler(req, res):
        codec = Awaited()
        res.filter(codec)
        if verb == "write":
            await res.flush()
            codec.began = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(getattr(res, verb), "a")
            await codec.began.wait()
            tasks.cancel_scope.cancel()
        await getattr(res, verb)("b")

    error = await failure(handler)

    assert isinstance(error, ResponseAborted)


async def test_a_limit_that_ends_a_codec_is_answered(seen_by_client):
    class Slow(Awaited):
        async def _later(self, data):
            await anyio.sleep_forever()

    async def handler(req, res):
        res.filter(Slow())
        await res.send("a")

    app = Nardis(limits=Limits(handler_s=0.01))
    response = await seen_by_client(handler, app=app)

    assert (response.status_code, response.complete) == (503, True)


async def test_a_codec_of_a_client_that_left_sends_nothing():
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        res.filter(codec)
        with anyio.CancelScope(shield=True):
            await res.send("a")

    class Leaving(Awaited):
        async def _later(self, data):
            await server.lose(call)
            return data

    codec = Leaving()
    async with Server(app) as server:
        call = server.call("/")
        await call.wait()

    assert not call.begun


class Bad(Identity):
    def feed(self, data):
        raise ValueError("codec")


@pytest.mark.parametrize("answer", ["write", "send_file"])
async def test_an_error_answer_of_another_length_is_whole(serve, answer, tmp_path):
    """What the failed answer counted does not count against it."""
    app = Nardis()
    (tmp_path / "page").write_bytes(b"sorry")

    @app.error(ValueError)
    async def explain(err, req, res):
        res.status(503)
        if answer == "write":
            await res.set("content-length", 5).write("sorry")
        else:
            await res.send_file(tmp_path / "page")

    async def handler(req, res):
        res.filter(Bad())
        await res.send("x" * 1000)

    response = await serve(handler, app=app)

    assert (response.status_code, response.content, response.complete) == (503, b"sorry", True)
