"""`req.decode_content()`: bodies in gzip, deflate, br and zstd, of which nobody makes too much."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import random
import threading
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from nardis import ClientDisconnected, HTTPError, Limits, Nardis, shielded, wrap
from nardis._http.codings import Decoder
from nardis.body import Decoded
from nardis.errors import BodyAlreadyRead
from nardis.testing import Client
from tests.foreign.applications import Through
from tests.peers.asgi import body as last_message
from tests.peers.asgi import says, start
from tests.peers.driver import Server, part, rest

pytestmark = pytest.mark.anyio

brotli: Any = import_module("brotli")
zstandard: Any = import_module("zstandard")

Encode = Callable[[bytes], bytes]

ENCODERS: dict[str, Encode] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}

each_coding = pytest.mark.parametrize(("coding", "encode"), list(ENCODERS.items()))

TEXT = b"".join(b"line %d\n" % number for number in range(20_000))
CHUNKED = {"transfer-encoding": "chunked"}
GZIP = {"content-encoding": "gzip"}
ANY_RATIO = Limits(decoded_ratio=10**9)
MIB = 1024 * 1024


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def cut(coded: bytes, size: int) -> list[bytes]:
    return [coded[at : at + size] for at in range(0, len(coded), size)]


async def collected(req: Any) -> list[bytes]:
    return [chunk async for chunk in req.decode_content()]


async def gathered(req: Any) -> bytes:
    return cast(bytes, await req.decode_content().bytes())


async def undecoded(req: Any) -> bytes:
    return cast(bytes, await req.bytes())


async def received(req: Any) -> bytes:
    """Read it as an anyio stream, in pieces of the reader's size."""
    stream, chunks = req.decode_content().body, list[bytes]()
    while True:
        try:
            chunks.append(await stream.receive(1_000))
        except anyio.EndOfStream:
            return b"".join(chunks)


# --- what comes of it -----------------------------------------------------------------------------


@each_coding
@pytest.mark.parametrize(("size", "text"), [(7, TEXT[:10_000]), (65_536, TEXT)])
async def test_a_body_is_decoded_for_every_reader(
    ask: Any, coding: str, encode: Encode, size: int, text: bytes
) -> None:
    options = {"headers": {"content-encoding": coding}}
    coded = cut(encode(text), size)

    assert await ask(gathered, "POST", content=pieces(*coded), **options) == text
    assert await ask(received, "POST", content=pieces(*coded), **options) == text
    chunks = await ask(collected, "POST", content=pieces(*coded), **options)
    assert b"".join(chunks) == text
    assert all(0 < len(chunk) <= 64 * 1024 for chunk in chunks)


@each_coding
async def test_a_body_may_come_byte_by_byte(ask: Any, coding: str, encode: Encode) -> None:
    text = b"some text, " * 20
    options = {"headers": {"content-encoding": coding}}

    assert await ask(gathered, "POST", content=pieces(*cut(encode(text), 1)), **options) == text


@each_coding
async def test_json_and_text_are_decoded(ask: Any, coding: str, encode: Encode) -> None:
    value = {"a": ["€", 1]}
    coded = encode(json.dumps(value).encode())
    headers = {"content-encoding": coding, "content-type": "application/json"}

    async def both(req: Any) -> tuple[Any, str]:
        return await req.decode_content().json(), await req.text()

    assert await ask(both, "POST", content=coded, headers=headers) == (value, json.dumps(value))


async def test_without_it_a_coded_body_stays_as_it_is(ask: Any) -> None:
    coded = gzip.compress(b"text")

    assert await ask(undecoded, "POST", content=coded, headers=GZIP) == coded


URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=B"
FORM = b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--B--\r\n'

# What reads a body, and of which type.
READERS: dict[str, tuple[Callable[[Any], Any], str, bytes]] = {
    "json": (lambda req: req.json(), "application/json", b"[1]"),
    "text": (lambda req: req.text(), "text/plain", b"text"),
    "lines": (lambda req: anext(req.lines()), "text/plain", b"text"),
    "ndjson": (lambda req: anext(req.ndjson()), "application/x-ndjson", b"1"),
    "form": (lambda req: req.form(), URLENCODED, b"a=1"),
    "multipart": (lambda req: req.form(), MULTIPART, FORM),
    "parts": (lambda req: anext(req.parts()), MULTIPART, FORM),
}


@pytest.mark.parametrize("reader", READERS)
async def test_where_a_coding_makes_no_sense_it_is_a_415(refusal: Any, reader: str) -> None:
    """The client learns that none is taken, and the developer what to call."""
    read, kind, text = READERS[reader]
    headers = {"content-encoding": "GZIP", "content-type": kind}

    response = await refusal(read, "POST", content=gzip.compress(text), headers=headers)

    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "identity"
    assert "in the coding 'gzip'" in response.text
    assert "req.decode_content()" in response.text


@pytest.mark.parametrize("reader", ["json", "form", "parts"])
async def test_what_makes_sense_as_it_is_is_read(ask: Any, reader: str) -> None:
    """Some clients give a charset as the coding."""
    read, kind, text = READERS[reader]
    headers = {"content-encoding": "utf-8", "content-type": kind}

    assert await ask(read, "POST", content=text, headers=headers)


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_what_is_in_no_coding_or_was_decoded_stays_a_400(refusal: Any, coding: str) -> None:
    async def text(req: Any) -> str:
        return cast(str, await (req.decode_content() if coding == "gzip" else req).text())

    content = gzip.compress(b"\xff") if coding == "gzip" else b"\xff"
    response = await refusal(text, "POST", content=content, headers={"content-encoding": coding})

    assert response.status_code == 400


async def test_half_a_character_in_a_form_is_no_coding(ask: Any) -> None:
    headers = {"content-encoding": "identity", "content-type": URLENCODED}
    form = await ask(lambda req: req.form(), "POST", content=b"a=%C3", headers=headers)

    assert form["a"] == "\ufffd"


@pytest.mark.parametrize("headers", [{}, {"content-encoding": "identity"}])
async def test_a_body_without_a_coding_is_read_as_it_is(ask: Any, headers: dict[str, str]) -> None:
    coded = gzip.compress(b"text")

    assert await ask(gathered, "POST", content=coded, headers=headers) == coded
    assert await ask(collected, "POST", content=pieces(b"a", b"bc"), headers=headers) == [
        b"a",
        b"bc",
    ]


async def test_it_returns_the_request_and_may_be_called_again(ask: Any) -> None:
    async def again(req: Any) -> list[bytes]:
        assert req.decode_content() is req
        read = [await req.decode_content().bytes()]
        return [*read, await req.decode_content().bytes()]

    for headers, content in ((GZIP, gzip.compress(b"text")), ({}, b"text")):
        assert await ask(again, "POST", content=content, headers=headers) == [b"text", b"text"]


async def test_a_stream_that_was_asked_for_before_is_decoded_too(ask: Any) -> None:
    async def read(req: Any) -> bytes:
        stream = req.body
        assert req.decode_content().body is stream
        return cast(bytes, await stream.receive())

    assert await ask(read, "POST", content=gzip.compress(b"text"), headers=GZIP) == b"text"


async def test_the_fields_stay_those_of_the_client(ask: Any) -> None:
    coded = gzip.compress(b"text")

    async def fields(req: Any) -> tuple[Any, ...]:
        await req.decode_content().bytes()
        return req.get("content-encoding"), req.content_length

    assert await ask(fields, "POST", content=coded, headers=GZIP) == ("gzip", len(coded))


async def test_a_stacked_bomb_is_decoded_once(ask: Any) -> None:
    """One coding is named, so what comes of it is data, however it looks."""
    inner = gzip.compress(bytes(10 * 1024 * 1024))

    assert await ask(gathered, "POST", content=gzip.compress(inner), headers=GZIP) == inner


@pytest.mark.parametrize("coding", ["gzip", "br", "nonsense"])
async def test_a_request_without_a_body_has_nothing_to_decode(ask: Any, coding: str) -> None:
    """Some clients name a coding in every request."""
    headers = {"content-encoding": coding}

    assert await ask(gathered, "GET", headers=headers) == b""
    assert await ask(collected, "GET", headers=headers) == []


@each_coding
async def test_an_empty_body_is_empty_in_every_coding(
    ask: Any, coding: str, encode: Encode
) -> None:
    headers = {"content-encoding": coding}

    for content in (b"", encode(b"")):
        assert await ask(gathered, "POST", content=content, headers=headers) == b""
        assert await ask(collected, "POST", content=pieces(content), headers=headers) == []


@given(
    body=st.binary(max_size=200),
    repeats=st.integers(1, 3_000),
    size=st.integers(1, 500),
    coding=st.sampled_from(["gzip", "deflate", "zstd"]),
)
def test_any_body_in_any_pieces_is_decoded(
    body: bytes, repeats: int, size: int, coding: str
) -> None:
    async def decode() -> bytes:
        app = Nardis()

        @app.post("/")
        async def handler(req: Any, res: Any) -> None:
            await res.send(b"".join(await collected(req)))

        coded = ENCODERS[coding](body * repeats)
        async with Client(app) as client:
            response = await client.post(
                "/", content=pieces(*cut(coded, size)), headers={"content-encoding": coding}
            )
        return response.content

    assert anyio.run(decode) == body * repeats


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["compress", "gzip, gzip", "br, gzip", "utf-8"])
async def test_another_coding_or_several_are_a_415(value: str) -> None:
    """It says what the client may send instead (RFC 9110 §15.5.16)."""
    app, seen = Nardis(), list[str]()

    async def upload() -> AsyncIterator[bytes]:
        seen.append("pulled")
        yield gzip.compress(gzip.compress(b"text"))

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        with pytest.raises(HTTPError):
            req.decode_content()
        seen.append("refused")
        req.decode_content()

    async with Client(app) as client:
        response = await client.post("/", content=upload(), headers={"content-encoding": value})

    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate, br, zstd"
    assert seen[0] == "refused"


@pytest.mark.parametrize("value", ["gzip, gzip", "gzip"])
async def test_a_body_that_waits_to_be_invited_is_not_invited_by_it(value: str) -> None:
    """With `Expect: 100-continue` the first `receive` asks for the body."""
    app = Nardis()

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        req.decode_content()
        raise HTTPError(403)

    async with Server(app) as server:
        call = await server.finished(
            "/",
            method="POST",
            headers={"content-length": "99", "expect": "100-continue", "content-encoding": value},
        )

    assert (call.status, call.receives) == (415 if "," in value else 403, 0)


async def streams(req: Any) -> None:
    await anext(req.body)


async def gathers(req: Any) -> None:
    await req.bytes()


@pytest.mark.parametrize("read", [streams, gathers])
@pytest.mark.parametrize("headers", [GZIP, {}])
async def test_after_reading_began_it_is_too_late(
    failure: Any, read: Callable[[Any], Any], headers: dict[str, str]
) -> None:
    """For a body without a coding too: the mistake is to show in the first test."""

    async def late(req: Any) -> None:
        await read(req)
        req.decode_content()

    error = await failure(late, "POST", content=gzip.compress(b"text"), headers=headers)

    assert isinstance(error, BodyAlreadyRead)
    assert "call decode_content() before" in str(error)


@pytest.mark.parametrize("headers", [GZIP, {}])
async def test_after_an_empty_body_was_gathered_it_is_too_late_as_well(
    failure: Any, headers: dict[str, str]
) -> None:
    async def late(req: Any) -> None:
        await req.bytes()
        req.decode_content()

    assert isinstance(await failure(late, "POST", content=b"", headers=headers), BodyAlreadyRead)


async def test_a_decoded_body_is_read_once(failure: Any) -> None:
    async def twice(req: Any) -> None:
        await collected(req)
        await collected(req)

    error = await failure(twice, "POST", content=gzip.compress(b"text"), headers=GZIP)

    assert isinstance(error, BodyAlreadyRead)


async def test_a_decoded_body_is_streamed_or_gathered(failure: Any) -> None:
    async def both(req: Any) -> None:
        await anext(req.decode_content().body)
        await req.bytes()

    error = await failure(both, "POST", content=gzip.compress(b"text"), headers=GZIP)

    assert isinstance(error, BodyAlreadyRead)


@each_coding
@pytest.mark.parametrize("read", [gathered, collected])
async def test_a_body_that_cannot_be_decoded_is_a_400(
    refusal: Any, coding: str, encode: Encode, read: Callable[[Any], Any]
) -> None:
    coded, headers = encode(b"text" * 100), {"content-encoding": coding}
    for content, why in (
        (coded[:-1], "cut short"),
        (coded[:1], "cut short"),
        (coded + b"more", ""),
        (b"not" + coded, "not valid"),
    ):
        response = await refusal(read, "POST", content=content, headers=headers)
        assert response.status_code == 400
        assert why in response.text


@each_coding
async def test_what_came_before_the_fault_is_given(ask: Any, coding: str, encode: Encode) -> None:
    """And after it every read fails as the first one did: there is no way to skip a gap."""

    async def read(req: Any) -> list[Any]:
        stream, seen = req.decode_content().body, list[Any]()
        for _ in range(5):
            try:
                seen.append(await stream.receive())
            except HTTPError as exc:
                seen.append((exc.status, exc.detail))
        return seen

    headers = {"content-encoding": coding}
    seen = await ask(
        read, "POST", content=pieces(encode(b"text"), b"more", b"and more"), headers=headers
    )

    assert seen[0] == b"text"
    assert seen[1][0] == 400
    assert seen[1:] == [seen[1]] * 4


# --- limits ---------------------------------------------------------------------------------------


@each_coding
async def test_the_limits_are_of_decoded_bytes(
    ask: Any, refusal: Any, coding: str, encode: Encode
) -> None:
    async def limited(req: Any) -> str:
        return cast(str, await req.decode_content().text(100_000))

    limits = Limits(streamed_body_bytes=100_000)
    for read in (collected, gathered, limited):
        options: dict[str, Any] = {"headers": {"content-encoding": coding}}
        app = Nardis() if read is limited else Nardis(limits=limits)
        content = encode(bytes(100_000))
        assert await ask(read, "POST", content=content, app=app, **options)

        app = Nardis() if read is limited else Nardis(limits=limits)
        content = encode(bytes(100_001))
        response = await refusal(read, "POST", content=content, app=app, **options)
        assert response.status_code == 413
        assert "100,000 bytes" in response.text


async def test_json_is_bounded_by_the_buffered_limit(refusal: Any) -> None:
    content = gzip.compress(b'"' + b"x" * (1024 * 1024) + b'"')

    async def read(req: Any) -> Any:
        return await req.decode_content().json()

    response = await refusal(read, "POST", content=content, headers=GZIP)

    assert response.status_code == 413


async def test_a_413_is_said_again_to_a_reader_that_goes_on(ask: Any) -> None:
    async def read(req: Any) -> list[Any]:
        seen = list[Any]()
        with pytest.raises(HTTPError):
            await req.decode_content().bytes(10)
        for _ in range(2):
            with pytest.raises(HTTPError) as caught:
                await anext(req.body)
            seen.append((caught.value.status, caught.value.extensions))
        return seen

    content = pieces(zlib.compress(bytes(11)))

    assert await ask(
        read, "POST", content=content, headers={"content-encoding": "deflate"}
    ) == [(413, {"limit": 10})] * 2  # fmt: skip


async def test_coded_bytes_are_bounded_too(ask: Any) -> None:
    """Members without content are many bytes, of which nothing comes."""
    app = Nardis(limits=Limits(streamed_body_bytes=1_000))

    async def read(req: Any) -> list[Any]:
        seen = list[Any]()
        for _ in range(3):
            with pytest.raises(HTTPError) as caught:
                await anext(req.decode_content().body)
            seen.append((caught.value.status, caught.value.extensions))
        return seen

    content = pieces(*[gzip.compress(b"")] * 51)

    assert await ask(
        read, "POST", content=content, headers=GZIP, app=app
    ) == [(413, {"limit": 1_000})] * 3  # fmt: skip


async def test_a_declared_length_over_the_limit_is_refused_before_reading() -> None:
    """And only that: what was refused to one reader is still there for the next."""
    app, pulled = Nardis(limits=Limits(buffered_body_bytes=10)), list[int]()
    coded = gzip.compress(b"text")

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        with pytest.raises(HTTPError, match="413"):
            await req.decode_content().bytes()
        before = len(pulled)
        await res.json([before, (await req.bytes(100)).decode()])

    async def upload() -> AsyncIterator[bytes]:
        pulled.append(1)
        yield coded

    headers = {**GZIP, "content-length": str(len(coded))}
    async with Client(app) as client:
        assert (await client.post("/", content=upload(), headers=headers)).json() == [0, "text"]


async def test_the_limits_of_a_route_hold_for_what_a_middleware_decoded() -> None:
    app = Nardis()

    @app.use
    async def middleware(req: Any, res: Any, next: Any) -> None:
        await anext(req.decode_content().body)
        await next()

    @app.post("/", limits=Limits(streamed_body_bytes=200_000))
    async def handler(req: Any, res: Any) -> None:
        await res.json(len(b"".join([chunk async for chunk in req])))

    async with Client(app) as client:
        for size, status in ((200_000, 200), (200_001, 413)):
            content = gzip.compress(bytes(size))
            assert (await client.post("/", content=content, headers=GZIP)).status_code == status


@each_coding
async def test_a_body_that_grows_too_much_is_a_413(ask: Any, coding: str, encode: Encode) -> None:
    """After a mebibyte, so that a small form full of blanks passes."""

    async def read(req: Any) -> tuple[int, int, dict[str, Any]]:
        size = 0
        with pytest.raises(HTTPError) as caught:
            async for chunk in req.decode_content():
                size += len(chunk)
        return size, caught.value.status, caught.value.extensions

    headers = {"content-encoding": coding}
    size, *refused = await ask(read, "POST", content=encode(bytes(10 * MIB)), headers=headers)
    assert MIB - 64 * 1024 < size <= MIB
    assert refused == [413, {"decoded_ratio": 100}]

    small = await ask(collected, "POST", content=encode(bytes(MIB)), headers=headers)
    assert sum(map(len, small)) == MIB


@pytest.mark.parametrize(("ratio", "fits"), [(10, False), (50, True)])
async def test_the_ratio_is_the_applications(
    ask: Any, refusal: Any, ratio: int, fits: bool
) -> None:
    """It is of all that came so far: a part of the body may be above it."""
    body = random.Random(1).randbytes(60_000) + bytes(2 * MIB)
    app = Nardis(limits=Limits(decoded_ratio=ratio))
    options: dict[str, Any] = {"content": gzip.compress(body), "headers": GZIP, "app": app}

    if fits:
        assert b"".join(await ask(collected, "POST", **options)) == body
    else:
        assert (await refusal(collected, "POST", **options)).status_code == 413


# --- memory, and the event loop -------------------------------------------------------------------


def in_blocks(body: bytes) -> bytes:
    """Compress to deflate blocks of each type, with empty ones between them."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    flushes = [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_NO_FLUSH]
    coded = [
        compressor.compress(piece) + compressor.flush(flushes[at % 4])
        for at, piece in enumerate(cut(body, 10_000))
    ]
    return b"".join(coded) + compressor.flush()


BOMBS = [*ENCODERS.items(), ("gzip", in_blocks)]


@contextmanager
def traced() -> Generator[list[int]]:
    """Measure the largest amount of memory that a block has at a time."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("coding", "encode"), BOMBS)
async def test_a_bomb_costs_its_reader_a_few_pieces_of_memory(coding: str, encode: Encode) -> None:
    """10 MiB of zeros, and a handler that allows them."""
    app, coded = Nardis(limits=ANY_RATIO), encode(bytes(10 * MIB))

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        size = 0
        with traced() as peak:
            async for chunk in req.decode_content():
                size += len(chunk)
        await res.json([size, peak[0]])

    async with Client(app) as client:
        headers = {"content-encoding": coding}
        size, peak = (await client.post("/", content=coded, headers=headers)).json()

    assert size == 10 * MIB
    assert peak < 500_000


async def test_nothing_is_decoded_of_a_body_that_is_not_read() -> None:
    """Nor at the end of the request: aiohttp's CVE-2026-54278."""
    app = Nardis(limits=ANY_RATIO)
    coded = gzip.compress(bytes(10 * MIB))

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        await anext(req.decode_content().body)
        await res.send("enough")

    async with Client(app) as client:
        with traced() as peak:
            response = await client.post("/", content=coded, headers=GZIP)

    assert response.text == "enough"
    assert peak[0] < 1_000_000


async def turns_beside(app: Nardis, coded: bytes, coding: str, step: float) -> int:
    """Count the turns of another task while a body is decoded that has arrived already."""
    turns = 0
    async with Server(app) as server:
        server.step = step
        headers = {**CHUNKED, "content-encoding": coding}
        call = server.call("/", part(coded, more=False), method="POST", headers=headers)
        while not call.ended.is_set():
            turns += 1
            await checkpoint()
    assert call.status == 200
    return turns


def reading(limits: Limits) -> Nardis:
    app = Nardis(limits=limits)

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        size = 0
        async for chunk in req.decode_content():
            size += len(chunk)
        await res.json(size)

    return app


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_the_event_loop_gets_a_turn_at_least_once_a_millisecond(coding: str) -> None:
    coded = ENCODERS[coding](bytes(10 * MIB))

    assert await turns_beside(reading(ANY_RATIO), coded, coding, 0.000_5) >= 50


async def test_also_where_nothing_comes_of_many_bytes() -> None:
    coded = gzip.compress(b"") * 1_000

    assert await turns_beside(reading(ANY_RATIO), coded, "gzip", 0.000_5) >= 300


async def test_a_quick_step_pays_for_no_turn() -> None:
    coded = gzip.compress(bytes(10 * MIB))

    assert await turns_beside(reading(ANY_RATIO), coded, "gzip", 0.000_001) < 30


async def test_a_loop_of_reads_after_the_client_left_ends() -> None:
    """Even if nothing in it ever waits for the client, the cancellation lands."""
    app, read = Nardis(limits=ANY_RATIO), list[int]()

    async with Server(app) as server:

        @app.post("/")
        async def handler(req: Any, res: Any) -> None:
            async for chunk in req.decode_content():
                read.append(len(chunk))
                if len(read) == 10:
                    server.shut_down()

        server.step = 0.000_5
        coded = gzip.compress(bytes(10 * MIB))
        await server.finished("/", part(coded), method="POST", headers={**CHUNKED, **GZIP})

    assert 10 <= len(read) < 15


# --- the client -----------------------------------------------------------------------------------


def flushing(coding: str) -> Callable[[bytes], bytes]:
    """Make a function that compresses a piece and flushes it."""
    if coding == "br":
        brotlis = brotli.Compressor()
        return lambda piece: brotlis.process(piece) + brotlis.flush()
    if coding == "zstd":
        frame = zstandard.ZstdCompressor().compressobj()
        end = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        return lambda piece: frame.compress(piece) + frame.flush(end)
    stream = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    return lambda piece: stream.compress(piece) + stream.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize("coding", list(ENCODERS))
async def test_the_client_is_asked_only_when_nothing_is_left_to_decode(coding: str) -> None:
    """A piece that was flushed is given whole without another one."""
    app, text = Nardis(), TEXT[:200_000]
    flushed = flushing(coding)

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        async for chunk in req.decode_content():
            await res.write(chunk)

    async with Server(app) as server:
        headers = {**CHUNKED, "content-encoding": coding}
        call = server.call("/", part(flushed(text)), method="POST", headers=headers)
        with anyio.fail_after(20):
            while call.receives < 2:
                await checkpoint()
        early = call.body
        call.disconnect()
        await call.wait()

    assert early == text


async def test_reading_and_writing_take_turns() -> None:
    """Full duplex: each chunk is answered before the next one is sent."""
    app, flushed = Nardis(), flushing("gzip")

    @app.post("/echo")
    async def echo(req: Any, res: Any) -> None:
        async for chunk in req.decode_content():
            await res.write(chunk.upper())

    async with Client(app) as client, client.stream("POST", "/echo", headers=GZIP) as response:
        for chunk in (b"a", b"b", b"c"):
            await response.send(flushed(chunk))
            assert await response.read(1) == chunk.upper()
        await response.disconnect()


@each_coding
async def test_a_cancelled_read_loses_nothing(coding: str, encode: Encode) -> None:
    """It may wait for the client, for a thread, or for its turn."""
    app, cancelled = Nardis(), list[int]()

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        stream, read = req.decode_content().body, bytearray()
        with pytest.raises(anyio.EndOfStream):
            while True:
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    read += await stream.receive()
                cancelled.append(scope.cancelled_caught)
                read += await stream.receive()
        await res.send(bytes(read))

    async with Server(app) as server:
        server.step = 0.000_5
        headers = {**CHUNKED, "content-encoding": coding}
        call = server.call("/", method="POST", headers=headers)
        for piece in cut(encode(TEXT), 9_000):
            await rest()
            call.push(part(piece))
        call.push(part(b"", more=False))
        await call.wait()

    assert call.body == TEXT
    assert any(cancelled)


async def test_a_client_that_leaves_cancels_the_reader() -> None:
    app, seen = Nardis(), list[str]()

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        try:
            await gathered(req)
        except anyio.get_cancelled_exc_class():
            seen.append(req.close_reason)
            raise

    async with Client(app) as client, client.stream("POST", "/", headers=GZIP) as response:
        await response.send(gzip.compress(TEXT)[:1_000])
        await response.disconnect()

    assert seen == ["gone"]


async def test_a_shielded_reader_is_told_that_the_client_left() -> None:
    """After what came before: a body that was cut never looks whole, nor malformed."""
    app, seen = Nardis(), list[int]()

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        with shielded(5):
            for _ in range(2):
                with pytest.raises(ClientDisconnected):
                    async for chunk in req.decode_content():
                        seen.append(len(chunk))

    async with Client(app) as client, client.stream("POST", "/", headers=GZIP) as response:
        await response.send(gzip.compress(TEXT)[:20_000])
        await response.disconnect()

    assert seen


async def test_a_client_that_stops_sending_gets_a_408() -> None:
    app = reading(Limits(body_idle_s=30))
    async with Server(app) as server:
        headers = {**CHUNKED, **GZIP}
        call = server.call("/", part(gzip.compress(TEXT)[:100]), method="POST", headers=headers)
        await server.tick(20)
        assert not call.ended.is_set()
        await server.tick(20)
        await call.wait()

    assert call.status == 408


@pytest.mark.parametrize("read", [gathered, collected])
async def test_a_body_that_is_read_after_the_end_is_not_asked_for_again(
    read: Callable[[Any], Any],
) -> None:
    app, kept = Nardis(), list[Any]()

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        kept.append(req.decode_content())
        await res.send("x")

    async with Server(app) as server:
        message = part(gzip.compress(b"text"), more=False)
        await server.finished("/", message, method="POST", headers={**CHUNKED, **GZIP})
        with pytest.raises(ClientDisconnected):
            await read(kept[0])


async def test_two_readers_at_once_are_told_so(failure: Any) -> None:
    async def read(req: Any) -> None:
        req.decode_content()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anext, req.body)
                tasks.start_soon(anext, req.body)
        except* BodyAlreadyRead as group:
            raise group.exceptions[0] from None

    async def never() -> AsyncIterator[bytes]:
        await anyio.sleep_forever()
        yield b""  # pragma: no cover: it is cancelled

    error = await failure(read, "POST", content=never(), headers=GZIP)

    assert isinstance(error, BodyAlreadyRead)
    assert "two tasks" in str(error)


# --- steps in a thread ----------------------------------------------------------------------------


class Slow(Decoder):
    """A decoder that changes nothing; its steps wait until the test lets them go on."""

    def __init__(self) -> None:
        super().__init__("slow", ValueError, is_slow=True)
        self.may_go = threading.Event()
        self.entered = threading.Event()
        self.threads: list[int] = []
        self.hung = False

    def _step(self) -> bytes:
        self.threads.append(threading.get_ident())
        self.entered.set()
        self.hung |= not self.may_go.wait(20)
        if (piece := self._take(1)) == b"!":
            raise ValueError
        return piece

    def _is_whole(self) -> bool:
        return True


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    """Return the decoder of the next request."""
    decoder = Slow()

    def found(content_encoding: str) -> Decoder:
        return decoder

    monkeypatch.setattr("nardis._receiving.body.decoder", found)
    return decoder


async def test_a_slow_step_is_made_in_a_thread(slow: Slow, ask: Any) -> None:
    """Meanwhile the event loop goes on."""

    async def read(req: Any) -> list[bytes]:
        result = list[bytes]()
        async with anyio.create_task_group() as tasks:

            async def gather() -> None:
                result.append(await gathered(req))

            tasks.start_soon(gather)
            while not slow.entered.is_set():
                await checkpoint()
            slow.may_go.set()
        return result

    assert await ask(read, "POST", content=b"abc", headers=GZIP) == [b"abc"]
    assert threading.get_ident() not in slow.threads


async def test_a_reader_that_is_cancelled_in_a_slow_step_loses_nothing(
    slow: Slow, ask: Any
) -> None:
    async def read(req: Any) -> bytes:
        stream, result = req.decode_content().body, list[bytes]()
        async with anyio.create_task_group() as tasks:

            async def receive() -> None:
                result.append(await stream.receive())

            tasks.start_soon(receive)
            while not slow.entered.is_set():
                await checkpoint()
            tasks.cancel_scope.cancel()
            slow.may_go.set()
        return b"".join([*result, *[chunk async for chunk in stream]])

    assert await ask(read, "POST", content=b"abc", headers=GZIP) == b"abc"


async def after_native_cancellation(req: Any, slow: Slow) -> bytes:
    """Cancel a reader in a step, which then takes another while, and read on."""
    stream = req.decode_content().body
    reader = asyncio.create_task(stream.receive())
    while not slow.entered.is_set():
        await checkpoint()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    asyncio.get_running_loop().call_later(0.01, slow.may_go.set)
    try:
        return b"".join([chunk async for chunk in stream])
    finally:
        assert not slow.hung


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_reader_that_asyncio_itself_cancels_loses_nothing(slow: Slow, ask: Any) -> None:
    """`asyncio.timeout` does not wait for a thread, whose step goes on."""

    async def read(req: Any) -> bytes:
        return await after_native_cancellation(req, slow)

    assert await ask(read, "POST", content=b"abc", headers=GZIP) == b"abc"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_fault_that_nobody_waited_for_is_found_by_the_next_read(
    slow: Slow, refusal: Any
) -> None:
    async def read(req: Any) -> bytes:
        return await after_native_cancellation(req, slow)

    response = await refusal(read, "POST", content=b"!bc", headers=GZIP)

    assert response.status_code == 400


# --- foreign applications -------------------------------------------------------------------------


CODED = gzip.compress(b"text")


def mounted(before: Callable[[Any], Any], seen: list[Any]) -> Nardis:
    """Make an application whose middleware calls *before*, and that mounts one of another kind."""
    app = Nardis()

    @app.use
    async def middleware(req: Any, res: Any, next: Any) -> None:
        result = before(req)
        if result is not req:
            await result
        await next()
        seen.append(("after", req))

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            seen.append(message["body"])
        seen.append(dict(scope["headers"]).get(b"content-encoding"))
        await says(start(), last_message(b"ok"))(scope, receive, send)

    app.mount("/", reads)
    return app


async def test_a_mounted_application_gets_what_was_sent() -> None:
    """It has the client's Content-Encoding, and may decode it itself."""
    seen = list[Any]()
    async with Client(mounted(lambda req: req.decode_content(), seen)) as client:
        response = await client.post("/", content=pieces(*cut(CODED, 10)), headers=GZIP)

    assert response.text == "ok"
    assert b"".join(seen[:-2]) == CODED
    assert seen[-2] == b"gzip"


async def peeked(req: Any) -> bytes:
    return cast(bytes, await anext(req.decode_content().body))


@pytest.mark.parametrize("read", [gathered, peeked])
async def test_a_mounted_application_gets_no_decoded_body(read: Callable[[Any], Any]) -> None:
    """Its Content-Encoding would be wrong: that is an error, and a loud one."""
    seen = list[Any]()
    app = mounted(read, seen)
    async with Client(app, raise_app_errors=False) as client:
        response = await client.post("/", content=CODED, headers=GZIP)
        assert (response.status_code, seen) == (500, [])

        # Nor one that nothing is left of, unless it was kept.
        plain = await client.post("/", content=b"text")
        assert (plain.status_code, seen[:1]) == (
            (200, [b"text"]) if read is gathered else (500, [])
        )


async def test_what_a_mounted_application_has_read_is_not_decoded_afterwards() -> None:
    app, seen, errors = Nardis(), list[Any](), list[str]()
    inner = mounted(lambda req: req.decode_content(), seen)

    @app.use
    async def outside(req: Any, res: Any, next: Any) -> None:
        req.decode_content()
        await next()
        for read in (req.bytes, req.body.receive):
            with pytest.raises(BodyAlreadyRead) as caught:
                await read()
            errors.append(str(caught.value))

    app.mount("/", inner)
    async with Client(app) as client:
        assert (await client.post("/", content=CODED, headers=GZIP)).text == "ok"

    assert len(errors) == 2
    assert all("as it was sent" in error for error in errors)


@pytest.mark.parametrize("outside", [True, False])
@pytest.mark.parametrize("inside", [True, False])
async def test_behind_a_foreign_middleware_the_request_decodes_for_itself(
    outside: bool, inside: bool
) -> None:
    """A body that was gathered there is had outside afterwards, but for one that differs."""
    app, seen = Nardis(), list[Any]()

    @app.use
    async def around(req: Any, res: Any, next: Any) -> None:
        if outside:
            req.decode_content()
        await next()
        try:
            seen.append(await req.bytes())
        except BodyAlreadyRead:
            seen.append("read already")

    app.use(wrap(Through))

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        seen.append(await (req.decode_content() if inside else req).bytes())
        await res.send("ok")

    async with Client(app) as client:
        assert (await client.post("/", content=CODED, headers=GZIP)).text == "ok"

    had = b"text" if inside else CODED
    assert seen == [had, "read already" if outside and not inside else had]


async def test_a_body_that_was_decoded_behind_a_middleware_is_mounted_nowhere() -> None:
    app, seen = Nardis(), list[Any]()

    @app.use
    async def around(req: Any, res: Any, next: Any) -> None:
        await next()
        assert req.decode_content() is req
        with pytest.raises(BodyAlreadyRead, match="it was decoded"):
            await req.take_body()
        seen.append(await req.bytes())

    app.use(wrap(Through))

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        await res.send(await gathered(req))

    async with Client(app) as client:
        assert (await client.post("/", content=CODED, headers=GZIP)).content == b"text"

    assert seen == [b"text"]


# --- what is left ---------------------------------------------------------------------------------


@each_coding
@pytest.mark.parametrize("fault", [False, True])
async def test_a_decoded_body_leaves_nothing_to_the_garbage_collector(
    coding: str, encode: Encode, fault: bool
) -> None:
    app = Nardis()

    @app.post("/")
    async def handler(req: Any, res: Any) -> None:
        await res.send(await gathered(req))

    coded = encode(b"text")[:-1] if fault else encode(b"text")
    async with Server(app) as server:

        async def answered() -> None:
            call = await server.finished(
                "/",
                part(coded, more=False),
                method="POST",
                headers={**CHUNKED, "content-encoding": coding},
            )
            assert call.status == (400 if fault else 200)
            server.calls.clear()

        await answered()  # what is kept for all requests is made by the first
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            await answered()
            gc.collect()
            left = [type(each) for each in gc.garbage if isinstance(each, (Decoded, Decoder))]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    assert left == []
