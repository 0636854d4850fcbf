"""examples/arrow.py: what pyarrow reads of a stream while it is made, and what it can upload."""

from __future__ import annotations

import http.client
import io
import json
import re
import threading
from contextlib import closing
from urllib.request import ProxyHandler, build_opener

import anyio
import pytest
from anyio import to_thread

from tests.examples.beside import serving

pa = pytest.importorskip("pyarrow", reason="there is no pyarrow for this Python")

from examples import arrow  # noqa: E402  (it imports pyarrow)

pytestmark = pytest.mark.anyio

SOON_S = 20
KIB = 1024
open_url = build_opener(ProxyHandler({})).open


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
async def url(anyio_backend_name):
    async with serving(arrow.app, anyio_backend_name) as url:
        yield url


@pytest.fixture
def source(monkeypatch):
    """Have the example send what a test's generator makes."""
    return lambda make: monkeypatch.setattr(arrow, "make_squares", make)


def batch(*numbers):
    return pa.record_batch([numbers, [n * n for n in numbers]], schema=arrow.SQUARES)


def stream(*batches, schema=arrow.SQUARES, **options):
    """Return a whole stream of Arrow, as pyarrow writes it."""
    file = io.BytesIO()
    with pa.ipc.new_stream(file, schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for each in batches:
            writer.write_batch(each)
    return file.getvalue()


async def put(url, pieces):
    """Upload *pieces* in chunks; give the status, and what the answer says."""

    def upload():
        client = http.client.HTTPConnection(url.removeprefix("http://"), timeout=SOON_S)
        with closing(client):
            client.request("PUT", "/sums", iter(pieces), encode_chunked=True)
            with client.getresponse() as answer:
                body = answer.read()
        return answer.status, json.loads(body) if answer.status == 200 else body.decode()

    return await to_thread.run_sync(upload)


async def test_a_batch_is_read_before_the_next_is_made(url, source):
    """Nothing is gathered on the way, here or in pyarrow's reader."""
    may_go_on = threading.Event()

    def make():
        yield batch(1, 2)
        assert may_go_on.wait(SOON_S)
        yield batch(3)

    def read():
        with open_url(f"{url}/squares", timeout=SOON_S) as answer:
            assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
            assert answer.headers["content-disposition"] == "attachment; filename=squares.arrows"
            reader = pa.ipc.open_stream(answer)
            first = reader.read_next_batch()
            may_go_on.set()
            return [first, *reader]

    source(make)

    assert await to_thread.run_sync(read) == [batch(1, 2), batch(3)]


async def test_a_table_without_rows_has_its_columns(url, source):
    source(lambda: iter(()))

    with await to_thread.run_sync(open_url, f"{url}/squares") as answer:
        table = await to_thread.run_sync(lambda: pa.ipc.open_stream(answer).read_all())

    assert table == arrow.SQUARES.empty_table()


async def test_batches_that_cannot_be_made_cut_the_answer(url, source, caplog):
    """What arrived is a good stream to Arrow, but HTTP says that there is more."""

    def make():
        yield batch(1)
        raise OSError("a disk broke")

    def read():
        with open_url(f"{url}/squares", timeout=SOON_S) as answer:
            reader = pa.ipc.open_stream(answer)
            assert reader.read_next_batch() == batch(1)
            reader.read_next_batch()

    source(make)
    with pytest.raises(http.client.IncompleteRead):
        await to_thread.run_sync(read)

    assert "a disk broke" in caplog.text


async def test_a_client_that_leaves_ends_the_making(url, source, curl):
    ended = threading.Event()

    def make():
        try:
            while True:
                yield batch(*range(1000))
        finally:
            ended.set()

    source(make)
    client = curl(f"{url}/squares")
    await to_thread.run_sync(client.stdout.read, 64 * KIB)
    client.kill()

    assert await to_thread.run_sync(ended.wait, SOON_S)


async def test_head_makes_nothing(url, source, curl):
    made = []

    def make():
        made.append(True)  # pragma: no cover
        yield batch(1)  # pragma: no cover

    source(make)
    client = curl("--head", f"{url}/squares")
    head, _ = await to_thread.run_sync(client.communicate)

    assert b"application/vnd.apache.arrow.stream" in head
    assert made == []


@pytest.mark.parametrize("size", [1, 7, 64 * KIB])
async def test_an_upload_may_be_cut_anywhere(url, size):
    data = stream(batch(1, 2), batch(), batch(-3))
    pieces = [data[at : at + size] for at in range(0, len(data), size)]

    assert await put(url, pieces) == (200, {"rows": 3, "sum": 14})


async def test_a_batch_is_taken_before_the_next_is_sent(url, monkeypatch):
    taken = threading.Semaphore(0)
    read = arrow.read

    def noting(reader):
        found = read(reader)
        taken.release()
        return found

    def pieces():
        whole = stream(batch(1), batch(2))
        first = len(stream(batch(1))) - 8  # without its end
        yield whole[:first]
        assert taken.acquire(timeout=SOON_S)
        yield whole[first:]

    monkeypatch.setattr(arrow, "read", noting)

    assert await put(url, pieces()) == (200, {"rows": 2, "sum": 5})


WORDS = pa.record_batch({"word": pa.array(["a"]).dictionary_encode()})
# A dictionary behind the columns of a table of squares, which has none.
DICTIONARY = (
    stream()[:-8] + stream(WORDS, schema=WORDS.schema)[len(stream(schema=WORDS.schema)) - 8 :]
)


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"", 400, "no stream of Arrow"),
        (b"id,name\n1,a\n" * 9, 413, "if this is Arrow at all"),
        (stream(batch(*range(100)))[:-100], 400, "Expected to be able to read"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f", 413, "bytes are too much"),
        (stream(batch(1), batch(2))[:-8], 400, "is it whole?"),
        (stream(batch(1)) + b"a", 400, "is it whole?"),
        (stream(batch(*[0] * 10_000), compression="zstd"), 415, "must not be compressed"),
        (stream(batch(1), metadata_version=pa.ipc.MetadataVersion.V4), 415, "compressed"),
        (stream(batch(1))[len(stream()) - 8 :], 400, "no stream of Arrow"),
        (DICTIONARY, 400, "has no dictionary"),
        (stream(pa.record_batch({"n": [1]}), schema=pa.schema({"n": pa.int64()})), 422, "columns"),
    ],
    ids=[
        "empty",
        "csv",
        "cut",
        "huge",
        "no end",
        "more",
        "bomb",
        "old",
        "no columns",
        "dictionary",
        "columns",
    ],
)
async def test_what_is_no_table_of_squares_is_refused(url, body, status, word):
    found, text = await put(url, [body] if body else [])

    assert found == status
    assert word in text


async def test_an_uploader_that_leaves_ends_the_reading(url, monkeypatch):
    """Its thread ends with it, and a batch that has not arrived is none."""
    ended = threading.Event()
    begun = threading.Event()
    read = arrow.read

    def noting(reader):
        begun.set()
        try:
            return read(reader)
        finally:
            ended.set()

    monkeypatch.setattr(arrow, "read", noting)
    host, port = url.removeprefix("http://").split(":")
    data = stream(batch(*range(1000)))[:4000]
    async with await anyio.connect_tcp(host, int(port)) as client:
        head = f"PUT /sums HTTP/1.1\r\nhost: a\r\ncontent-length: {10**6}\r\n\r\n"
        await client.send(head.encode() + data)
        assert await to_thread.run_sync(begun.wait, SOON_S)

    assert await to_thread.run_sync(ended.wait, SOON_S)


def test_it_is_served_as_it_says_and_a_long_table_is_never_held(serve, curl):
    """What curl gets it uploads again: 48 MB each way, in the memory of some batches."""

    def peak_kib():
        with open(f"/proc/{server.process.pid}/status") as file:
            return int(re.findall(r"^VmHWM:\s+(\d+) kB$", file.read(), re.MULTILINE)[0])

    rows = 3_000_000
    with serve("examples/arrow.py:app", ROWS=str(rows)) as server:
        client = curl(f"{server.url}/squares")
        client.stdout.read(KIB * KIB)
        before = peak_kib()
        client.kill()
        down = curl(f"{server.url}/squares")
        answer, _ = curl("-T", "-", f"{server.url}/sums", stdin=down.stdout).communicate()

        squares = (rows - 1) * rows * (2 * rows - 1) // 6
        assert json.loads(answer) == {"rows": rows, "sum": squares}
        assert down.wait() == 0
        assert peak_kib() - before < 24 * KIB
