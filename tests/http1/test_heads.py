"""Heads that are none, or too large: what is said of them, and when (RFC 9112 §2.2 and §3)."""

from __future__ import annotations

from itertools import pairwise

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http1.scripted import Wire, conversation, converse, undated

pytestmark = pytest.mark.anyio

HOST = b"Host: a\r\n"

# None of them has the empty line at its end, and none can become a head.
HOPELESS = {
    "lines end with LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "lines end with CR": (b"GET / HTTP/1.1\rHost: a\r\r", 400),
    "the last line ends with LF": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    "a field ends with LF": (b"GET / HTTP/1.1\r\nHost: a\nX: y", 400),
    "a field has CR in it": (b"GET / HTTP/1.1\r\nHost: a\rX", 400),
    "HTTP/0.9": (b"GET /\r\n", 400),
    "a version of others": (b"GET / HTTP/3.0\r\n", 505),
    "three words": (b"GET /a b HTTP/1.1\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "a blank first": (b" GET / HTTP/1.1", 400),
    "an LF first": (b"\nGET / HTTP/1.1", 400),
    "a tunnel": (b"CONNECT a:80 HTTP/1.1\r\n", 501),
    "HTTP/2 but for its preface": (b"PRI * HTTP/2.0\r\nHost: a\nX", 400),
}


async def unused(scope, receive, send):
    pytest.fail("a head that is none became a request")  # pragma: no cover - must not happen


async def answered_at_once(data: bytes) -> Wire:
    """Have a conversation with a client that sends *data* and then waits."""
    wire = Wire([data], ends=False)
    with anyio.fail_after(5):
        await conversation(unused, wire).attend()
    return wire


@pytest.mark.parametrize("case", sorted(HOPELESS))
async def test_what_cannot_become_a_head_is_refused_before_its_end(case):
    """A client that is mistaken learns it at once, and not that its time is over."""
    data, status = HOPELESS[case]
    wire = await answered_at_once(data)

    assert wire.statuses() == [status]
    assert wire.log == ["whole"]


SPOILED = [data for data, _ in HOPELESS.values()] + [
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nX: a\nb\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nX\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: a\nX: y\r\n\r\n",
    b"GET / HTTP/1.1\nX: y\r\nHost: a\r\n\r\n",
    b"GET /\x80 HTTP/1.1\r\nHost: a\n\r\n\r\n",
    b"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"ODD /\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n",
    b"PRI * HTTP/2.0\r\nHost: a\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + 90 * b"x" + b"\n" + 40 * b"x" + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + 130 * b"x" + b"\n\r\n\r\n",
    b"GET /" + 130 * b"x" + b"\n HTTP/1.1\r\n\r\n",
    128 * b"X" + b"\n\r\n\r\n",
]


@given(data=st.sampled_from(SPOILED), cuts=st.lists(st.integers(0, 180), max_size=8))
async def test_a_fault_is_the_same_one_in_whatever_pieces_it_comes(data, cuts):
    """It is the first one, also where a head is too large, or has another fault at its end."""
    ends = sorted({min(each, len(data)) for each in (0, *cuts, len(data))})
    whole = await converse(unused, [data], head_bytes=128)
    split = await converse(unused, [data[a:b] for a, b in pairwise(ends)], head_bytes=128)
    single = await converse(unused, [bytes([each]) for each in data], head_bytes=128)

    assert undated(split.sent) == undated(whole.sent) == undated(single.sent)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + 200 * b"x" + b" HTTP/1.1\r\n" + HOST, 414),
        (b"GET /" + 200 * b"x", 414),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + 200 * b"x", 431),
        (200 * b"X" + b" / HTTP/1.1\r\n" + HOST, 501),
        (200 * b"X", 501),
    ],
    ids=["target", "target without an end", "fields", "method", "method without an end"],
)
@pytest.mark.parametrize("end", [b"\r\n", b""], ids=["whole", "cut"])
async def test_what_is_too_large_of_a_head_is_named(head, status, end):
    """The target, the fields, or a method that is nobody's (RFC 9112 §3)."""
    wire = await converse(unused, [head + end], head_bytes=128)

    assert wire.statuses() == [status]
    assert wire.log == ["whole"]


@pytest.mark.parametrize(
    "head",
    [
        b"HEAD / HTTP/1.1\r\n\r\n",
        b"\r\nHEAD / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\nX",
        b"HEAD / HTTP/1.1\r\nX: " + 200 * b"x" + b"\r\n\r\n",
        b"HEAD /" + 200 * b"x",
        b"HEAD / HT",
    ],
    ids=["no host", "malformed", "LF", "too large", "too large without an end", "cut"],
)
async def test_a_refusal_of_head_has_no_body(head):
    """A client that asked for none would take it for the next answer (RFC 9110 §9.3.2)."""
    wire = await converse(unused, [head], head_bytes=128)

    [(_, fields, _)] = wire.answers("HEAD")
    assert int(fields[b"content-length"]) > 0
    assert wire.log == ["whole"]


@pytest.mark.parametrize("spoken", [True, False])
async def test_the_preface_of_http2_is_waited_for_in_pieces(spoken):
    """Its first line alone is a version of others (RFC 9113 §3.4)."""
    preface = b"PRI * HTTP/2.0\r\n\r\n"
    taken = []

    def hand_over(request, read):
        taken.append((request, read))

    pieces = [bytes([each]) for each in preface]
    wire = await converse(unused, pieces, hand_over=hand_over, http2=spoken)

    assert taken == ([(None, preface)] if spoken else [])
    assert wire.statuses() == ([] if spoken else [505])
