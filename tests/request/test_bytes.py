"""`await req.bytes()`: the whole body, kept, within a limit."""

import tracemalloc

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis import HTTPError, Limits, Nardis
from nardis._exchange.pace import SMALL_BYTES
from nardis.body import gather
from nardis.testing import Client

pytestmark = pytest.mark.anyio


def pieces(*chunks, pulled=None):
    async def upload():
        for chunk in chunks:
            if pulled is not None:
                pulled.append(chunk)
            yield chunk

    return upload()


async def test_bytes_gathers_every_chunk(ask):
    assert await ask(lambda req: req.bytes(), "POST", content=pieces(b"a", b"", b"bc")) == b"abc"


class Pieces:
    """A source of pieces that are made as they are asked for."""

    def __init__(self, made):
        self.complete = False
        self.received = 0
        self.limit = None
        self._made = iter(made)

    async def next_chunk(self):
        for piece in self._made:
            self.received += len(piece)
            return piece
        self.complete = True
        raise StopAsyncIteration


SIZES = st.sampled_from([1, 2, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1, 3 * SMALL_BYTES])


@given(st.lists(SIZES))
async def test_pieces_of_any_sizes_are_gathered_in_order(sizes):
    made = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    body = await gather(Pieces(made), 2**30)

    assert type(body) is bytes
    assert body == b"".join(made)


@pytest.mark.parametrize("size", [1, SMALL_BYTES, 1024 * 1024])
async def test_a_body_of_one_piece_is_not_copied(size):
    piece = bytes(size)

    assert await gather(Pieces([piece]), size) is piece


@pytest.mark.parametrize("size", [1, 2, 100, SMALL_BYTES])
async def test_small_pieces_take_little_more_memory_than_their_bytes(size):
    """Twice, while the whole is made of them; as objects they would take 50 times as much."""
    total = 256 * 1024
    tracemalloc.start()
    try:
        body = await gather(Pieces(b"%d" % (n % 10) * size for n in range(total // size)), total)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(body) == total // size * size
    assert peak < 2.5 * total


async def test_large_pieces_are_copied_once():
    made = [bytes(64 * 1024) for _ in range(64)]
    tracemalloc.start()
    try:
        body = await gather(Pieces(made), 2**30)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 1.1 * len(body)


async def test_bytes_of_no_body_is_empty(ask):
    assert await ask(lambda req: req.bytes()) == b""


async def test_bytes_is_memoised(ask):
    async def twice(req):
        return await req.bytes() is await req.bytes()

    assert await ask(twice, "POST", content=pieces(b"a", b"bc"))


async def test_the_default_limit_is_one_mebibyte(ask, refusal):
    assert (
        len(await ask(lambda req: req.bytes(), "POST", content=bytes(1024 * 1024))) == 1024 * 1024
    )
    assert (
        await refusal(lambda req: req.bytes(), "POST", content=bytes(1024 * 1024 + 1))
    ).status_code == 413


@pytest.mark.parametrize(("size", "status"), [(10, 200), (11, 413)])
async def test_the_limit_of_the_application_is_exact(size, status):
    app = Nardis(limits=Limits(buffered_body_bytes=10))

    @app.post("/")
    async def handler(req, res):
        await res.send(await req.bytes())

    async with Client(app) as client:
        assert (await client.post("/", content=b"x" * size)).status_code == status
        assert (
            await client.post("/", content=pieces(b"x" * (size - 1), b"x"))
        ).status_code == status


async def test_a_limit_of_the_call_replaces_that_of_the_application(ask, refusal):
    app = Nardis(limits=Limits(buffered_body_bytes=2))

    assert await ask(lambda req: req.bytes(3), "POST", content=b"abc", app=app) == b"abc"
    assert (await refusal(lambda req: req.bytes(2), "POST", content=b"abc")).status_code == 413


async def test_a_limit_of_the_call_does_not_lift_the_streaming_limit(refusal):
    app = Nardis(limits=Limits(streamed_body_bytes=2))

    assert (
        await refusal(lambda req: req.bytes(100), "POST", content=pieces(b"ab", b"c"), app=app)
    ).status_code == 413


async def test_a_limit_of_nothing_refuses_any_byte_and_takes_an_empty_body(ask, refusal):
    assert await ask(lambda req: req.bytes(0), "POST", content=b"") == b""
    assert (
        await refusal(lambda req: req.bytes(0), "POST", content=pieces(b"x"))
    ).status_code == 413


async def test_a_kept_body_is_held_against_a_smaller_limit_too(refusal):
    async def twice(req):
        await req.bytes()
        await req.bytes(2)

    assert (await refusal(twice, "POST", content=b"abc")).status_code == 413


async def test_a_declared_body_over_the_limit_is_refused_before_reading():
    app, seen = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        with pytest.raises(HTTPError) as caught:
            await req.bytes(10)
        seen.append(list(pulled))
        raise caught.value

    pulled = []
    async with Client(app) as client:
        response = await client.post(
            "/", content=pieces(b"x" * 11, pulled=pulled), headers={"content-length": "11"}
        )

    assert response.status_code == 413
    assert seen == [[]]


async def test_a_chunked_body_over_the_limit_is_refused_while_streaming():
    """Not one chunk more is taken than it needs to know."""
    app, seen = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        with pytest.raises(HTTPError) as caught:
            await req.bytes(5)
        seen.append(len(pulled))
        raise caught.value

    pulled = []
    async with Client(app) as client:
        response = await client.post(
            "/", content=pieces(b"abc", b"def", b"ghi", b"jkl", pulled=pulled)
        )

    assert response.status_code == 413
    assert seen[0] <= 3  # the client has the next one in hand


async def test_the_413_tells_the_limit(refusal):
    response = await refusal(
        lambda req: req.bytes(1000),
        "POST",
        content=bytes(1001),
        headers={"accept": "application/json"},
    )

    assert response.json()["limit"] == 1000
    assert "1,000 bytes" in response.json()["detail"]


async def test_a_client_that_leaves_half_way_is_no_short_body():
    app, seen = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        try:
            seen.append(await req.bytes())
        except anyio.get_cancelled_exc_class():
            seen.append("cancelled")
            raise

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.send(b"half")
        await response.disconnect()

    assert seen == ["cancelled"]
