"""R4: with a declared Content-Length the body is exactly as long, or the exchange is aborted."""

from __future__ import annotations

import pytest

from nardis import Nardis
from nardis.errors import ContentLengthMismatch
from tests.peers.driver import Identity, Server

pytestmark = pytest.mark.anyio


async def answered(handler, **options):
    app = Nardis()
    app.get("/")(handler)
    async with Server(app) as server:
        return await server.finished("/", **options)


async def test_a_body_of_the_declared_length_is_whole():
    async def handler(req, res):
        res.set("content-length", 6)
        await res.write("abc")
        await res.write("def")

    call = await answered(handler)

    assert (call.body, call.final, call.error) == (b"abcdef", True, None)
    assert call.headers[b"content-length"] == b"6"


async def test_a_first_write_beyond_the_length_sends_nothing_and_is_a_500():
    async def handler(req, res):
        res.set("content-length", 2)
        await res.write("abc")

    call = await answered(handler)

    assert (call.status, call.final) == (500, True)
    assert b"abc" not in call.body


async def test_a_later_write_beyond_the_length_sends_nothing_and_cuts_the_response():
    async def handler(req, res):
        res.set("content-length", 4)
        await res.write("abc")
        await res.write("de")

    call = await answered(handler)

    assert call.aborted
    assert call.chunks == [b"abc"]
    assert isinstance(call.error, ContentLengthMismatch)


async def test_a_refused_write_counts_nothing():
    """A handler that catches the refusal can still write what was declared."""

    async def handler(req, res):
        res.set("content-length", 4)
        await res.write("abc")
        with pytest.raises(ContentLengthMismatch):
            await res.write("de")
        assert res.bytes_sent == 3
        await res.write("d")

    call = await answered(handler)

    assert (call.body, call.final, call.error) == (b"abcd", True, None)


@pytest.mark.parametrize("ending", ["return", "end", "pipe", "in pieces"])
async def test_ending_short_aborts(ending):
    async def handler(req, res):
        res.set("content-length", 10)
        if ending == "pipe":
            await res.pipe([b"abc", b"def"])
        else:
            await res.write("abc")
            if ending == "end":
                await res.end("def")

    call = await answered(handler)

    assert call.aborted
    assert isinstance(call.error, ContentLengthMismatch)


async def test_a_last_piece_beyond_the_length_aborts():
    async def handler(req, res):
        res.set("content-length", 4)
        await res.write("abc")
        await res.end("def")

    call = await answered(handler)

    assert call.aborted
    assert call.chunks == [b"abc"]


async def test_a_whole_answer_declares_its_own_length():
    async def handler(req, res):
        res.set("content-length", 99)
        await res.send("ü")

    call = await answered(handler)

    assert (call.headers[b"content-length"], call.body, call.final) == (b"2", "ü".encode(), True)


@pytest.mark.parametrize(
    ("verb", "given"),
    [
        ("end", ()),
        ("end", (b"abc",)),
        ("end", (b"abcde",)),
        ("pipe", ([],)),
        ("ndjson", ([],)),
        ("json_array", ([],)),
    ],
    ids=["nothing", "short", "long", "pipe", "lines", "array"],
)
async def test_a_body_that_ends_before_it_began_has_the_declared_length_or_is_a_500(verb, given):
    """A source that broke off before its first byte looks like one that is empty."""

    async def handler(req, res):
        await getattr(res.set("content-length", 4), verb)(*given)

    call = await answered(handler)

    assert (call.status, call.final, call.error) == (500, True, None)
    assert call.headers[b"content-length"] == b"%d" % len(call.body)


@pytest.mark.parametrize(
    ("method", "status", "length"), [("GET", 304, None), ("HEAD", 200, b"4"), ("GET", 200, b"4")]
)
async def test_an_end_keeps_the_declared_length_where_it_is_right_or_no_body_is_due(
    method, status, length
):
    async def handler(req, res):
        await res.status(status).set("content-length", 4).end(b"abcd" if length else b"")

    call = await answered(handler, method=method)

    assert (call.status, call.final, call.error) == (status, True, None)
    assert call.headers.get(b"content-length") == length


async def test_an_end_under_a_filter_keeps_to_the_length_as_well():
    async def handler(req, res):
        await res.set("content-length", 4).filter(Doubling()).end(b"abc")

    assert (await answered(handler)).status == 500


class Doubling(Identity):
    """A codec whose output is twice as long as its input."""

    def feed(self, data):
        return data * 2


@pytest.mark.parametrize(
    ("pieces", "whole"), [(["abc", "d"], True), (["abc"], False), (["abc", "de"], False)]
)
async def test_the_length_is_counted_before_the_filters(pieces, whole):
    async def handler(req, res):
        res.set("content-length", 4).filter(Doubling())
        for piece in pieces:
            await res.write(piece)

    call = await answered(handler)

    assert b"content-length" not in call.headers
    assert (call.final, call.aborted) == (whole, not whole)


async def test_head_may_declare_a_length_that_it_does_not_send():
    async def handler(req, res):
        res.set("content-length", 10)
        await res.flush()

    call = await answered(handler, method="HEAD")

    assert (call.headers[b"content-length"], call.body, call.final, call.error) == (
        b"10",
        b"",
        True,
        None,
    )
