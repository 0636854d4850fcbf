"""`Chunks`: a body in chunks, in whatever pieces it comes (RFC 9112 §7.1)."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis.server.http1.request import END_OF_HEAD, FRAMING_BYTES, Chunks, Refused

MOST_BYTES = 64 * 1024

TOKEN_CHARS = "!#$%&'*+-.^_`|~" + string.ascii_letters + string.digits
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
OBS_TEXT = "".join(map(chr, range(0x80, 0x100)))

# The body read, and what comes after its end; None for one that has no end yet.
Read = tuple[bytes, bytes | None]


def read(pieces: Iterable[bytes], most: int = MOST_BYTES) -> Read:
    """Read *pieces* to the end of the body."""
    chunks, body, pieces = Chunks(most), b"", iter(pieces)
    for data in pieces:
        assert not chunks.complete
        piece, rest = chunks.feed(data)
        body += piece
        if chunks.complete:
            return body, rest + b"".join(pieces)
        assert rest == b""
    return body, None


def one_by_one(data: bytes) -> Iterator[bytes]:
    """Give each byte of *data* as a piece of its own."""
    return (data[at : at + 1] for at in range(len(data)))


def outcome(pieces: Iterable[bytes], most: int = MOST_BYTES) -> Read | int:
    """Read *pieces*, or return the status that they are refused with."""
    try:
        return read(pieces, most)
    except Refused as exc:
        return exc.status


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "body", "rest"),
    [
        (b"0\r\n\r\n", b"", b""),
        (b"000\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"", b"GET / HTTP/1.1\r\n\r\n"),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc", b""),
        (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n\r\n", b"abcde", b"\r\n"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
        (b"0000000000000000000000003\r\nabc\r\n0\r\n\r\n", b"abc", b""),
        (b"4\r\n\r\n\r\n\r\n0\r\n\r\n\r\n\r\nx", b"\r\n\r\n", b"\r\n\r\nx"),
        (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n0\r\n\r\n", b"0\r\n\r\n", b"0\r\n\r\n"),
        (b"3;a\r\nabc\r\n0;b\r\n\r\n", b"abc", b""),
        (b'3;a=b;c="d;\\" ,e";f=1\r\nabc\r\n0\r\n\r\n', b"abc", b""),
        (b'3;a="\t\xff\\\\"\r\nabc\r\n0\r\n\r\n', b"abc", b""),
        (b"3\r\nabc\r\n0\r\nA: b\r\n\r\nrest", b"abc", b"rest"),
        (b"0\r\nA: b\r\nC:\r\nD: \t e \t\r\n\r\n", b"", b""),
        (b"0\r\nConnection: close\r\n\r\nrest", b"", b"rest"),
        (b"0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nrest", b"", b"rest"),
    ],
)
def test_a_body_in_chunks_is_read_to_its_end(data: bytes, body: bytes, rest: bytes) -> None:
    """Trailers are dropped; what comes after is left alone."""
    assert read([data]) == (body, rest)
    assert read(one_by_one(data)) == (body, rest)


@pytest.mark.parametrize("rest", [b"GET / HTTP/1.1\r\n\r\n", b"\r\n0\r\n\r\n", b"?"])
@pytest.mark.parametrize("last", [b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"0;a=b\r\n\r\n"])
def test_the_end_is_found_wherever_the_pieces_are_cut(last: bytes, rest: bytes) -> None:
    """Nothing behind it is taken, in three pieces of any size."""
    data = b"4\r\n\r\n\r\n\r\n" + last + rest
    for second in range(1, len(data)):
        for first in range(1, second + 1):
            pieces = filter(None, [data[:first], data[first:second], data[second:]])
            assert read(pieces) == (b"\r\n\r\n", rest), (first, second)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"3",
        b"3;a=b",
        b"3\r\nab",
        b"3\r\nabc\r\n",
        b"0\r\n",
        b"0\r\n\r",
        b"0\r\nA: b\r\n",
        b"ffffffffffffffff\r\nabc",
    ],
)
def test_a_body_that_stops_early_is_not_complete(data: bytes) -> None:
    for pieces in ([data], one_by_one(data)):
        assert read(pieces)[1] is None


@pytest.mark.parametrize(
    "line",
    [
        b"3;",
        b"3 ",
        b"3\t",
        b" 3",
        b"\t3",
        b"",
        b"3 ;a",
        b"3; a",
        b"3;a ",
        b"3;a =b",
        b"3;a= b",
        b"3;a=b ",
        b"3;a=b c",
        b'3;a="b',
        b'3;a="b"c',
        b'3;"a"',
        b"3;a=\x00",
        b"3;a\x7f",
        b'3;a="\x07"',
        b'3;a="\\\x00"',
        b"3;\xff",
        b"0x3",
        b"+3",
        b"-3",
        b"_3",
        b"3_0",
        b"3,3",
        b"3.0",
        b"3h",
        b"g",
        b"\xb2",
        b'"3"',
        b"3\x00",
        b"\x003",
        b"3\r",
        b"3\rx",
        b"3\n",
        b"\n3",
        b"3;a\r",
        b"3;a\rb",
        b"3;a\nb",
        b"3;a=\n",
        b'3;a="\n"',
        b'3;a="\r"',
        b'3;a="\\\n"',
        b"1" + b"0" * 16,
        b"f" * 1_000,
    ],
)
def test_a_malformed_line_of_a_chunk_is_400(line: bytes) -> None:
    for data in (line + b"\r\nabc\r\n0\r\n\r\n", b"1\r\nx\r\n" + line + b"\r\nabc\r\n0\r\n\r\n"):
        assert outcome([data]) == outcome(one_by_one(data)) == 400


@pytest.mark.parametrize(
    "data",
    [
        b"3\nabc\r\n0\r\n\r\n",
        b"3;a\nabc\r\n0\r\n\r\n",
        b"3;a=b\nabc\r\n0\r\n\r\n",
        b"3\rabc\r\n0\r\n\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3\r\nabc\r0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabc \r\n0\r\n\r\n",
        b"3\r\nab\r\n0\r\n\r\n",
        b"3\r\nabc\r\n\r\n0\r\n\r\n",
        b"0\n\r\n",
        b"0\r\n\n",
        b"0\n\n",
        b"0\r\n\rX",
        b"0\r\nA: b\n\r\n",
        b"0\r\nA: b\r\n\n",
        b"0\r\nA: b\n\n",
        b"0\r\nA: b\r\r\n",
        b"0\r\nA: b\rC: d\r\n\r\n",
        b"0\r\nA: \x00\r\n\r\n",
        b"0\r\nA: b\x7f\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\n A: b\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\nA\r\n\r\n",
        b"0\r\n: b\r\n\r\n",
        b"0\r\nGET / HTTP/1.1\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_malformed_end_of_a_line_chunk_or_trailer_is_400(data: bytes) -> None:
    assert outcome([data]) == outcome(one_by_one(data)) == 400


def test_only_a_digit_or_the_end_of_the_size_stands_behind_a_digit() -> None:
    digits = set(string.hexdigits.encode())
    for code in range(256):
        taken = outcome([b"1%c" % code]) == (b"", None)
        assert taken is (code in digits or code in b";\r"), code


# --- limits ---------------------------------------------------------------------------------------


def endless(begin: bytes, piece: bytes, most: int) -> int:
    """Return how many bytes are taken of *begin* and an endless *piece* before they are refused."""
    chunks = Chunks(most)
    chunks.feed(begin)
    fed = len(begin)
    with pytest.raises(Refused) as caught:
        while True:
            assert fed < 10 * most
            chunks.feed(piece)
            fed += len(piece)
    assert caught.value.status == 400
    return fed


@pytest.mark.parametrize("size", [1, 2, 100])
def test_many_tiny_chunks_pass(size: int) -> None:
    """A chunk of one byte has five bytes around it, and pays for more."""
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
    for pieces in (repeat(chunk, 20_000), [chunk * 20_000]):
        body, rest = read((*pieces, b"0\r\n\r\n"), 10)
        assert (len(body), rest) == (20_000 * size, b"")


def test_tiny_chunks_with_short_extensions_pass() -> None:
    chunk = b"1;a=%b\r\nx\r\n" % (b"b" * (FRAMING_BYTES - len(b"1;a=\r\n\r\n")))
    assert len(read([*repeat(chunk, 5_000), b"0\r\n\r\n"], 10)[0]) == 5_000


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"", b"0"),
        (b"1;a", b"a"),
        (b"1;a=b", b"bbb"),
        (b'1;a="', b"\\\\"),
        (b"1", b";a=b"),
        (b"0;a", b"a" * 10),
        (b"0\r\n", b"A: b\r\n"),
        (b"0\r\nA", b"a"),
        (b"0\r\nA:", b" "),
        (b"0\r\nA: ", b"b" * 100),
        (b"", b"1;a=%b\r\nx\r\n" % (b"b" * 90)),
    ],
)
def test_endless_bytes_around_the_chunks_do_not_pass(begin: bytes, piece: bytes) -> None:
    """Go's CVE-2023-39326 had no limit for extensions."""
    for most in (1_000, 10_000):
        assert endless(begin, piece, most) <= most * 5 // 4


def test_a_body_before_them_buys_no_endless_trailers() -> None:
    begin = b"a\r\n0123456789\r\n0\r\n"
    assert endless(begin, b"A: b\r\n", 1_000) <= 1_000 + len(begin) + FRAMING_BYTES * 10


def test_trailers_may_have_as_many_bytes_as_are_allowed() -> None:
    trailers = b"0\r\nA: %b\r\n\r\n" % (b"b" * 100)
    most = len(trailers)

    assert read([trailers], most) == read(one_by_one(trailers), most) == (b"", b"")
    assert outcome([trailers], most - 1) == outcome(one_by_one(trailers), most - 1) == 400


def test_what_comes_after_the_end_counts_for_nothing() -> None:
    assert read([b"0\r\n\r\n" + b"x" * 10_000], 5) == (b"", b"x" * 10_000)


# --- properties -----------------------------------------------------------------------------------

tokens = st.text(TOKEN_CHARS, min_size=1, max_size=5)
qdtext = st.sampled_from([char for char in "\t " + VISIBLE + OBS_TEXT if char not in '"\\'])
quoted_pairs = st.sampled_from("\t " + VISIBLE + OBS_TEXT).map("\\{}".format)
quoted = st.lists(qdtext | quoted_pairs, max_size=5).map(lambda each: f'"{"".join(each)}"')
extensions = st.lists(
    tokens.map(";{}".format) | st.builds(";{}={}".format, tokens, tokens | quoted), max_size=3
).map(lambda each: "".join(each).encode("latin-1"))

sizes = st.sampled_from([b"%x", b"%X", b"0%x", b"00000000000000000%X"])
bodies = st.lists(st.binary(min_size=1, max_size=40) | st.just(END_OF_HEAD), max_size=6)

# RFC 9110 §6.5.1: the frame of a message is not for its trailers.
names = tokens.filter(lambda name: name.lower() not in ("content-length", "transfer-encoding"))
values = st.text("\t " + VISIBLE + OBS_TEXT, max_size=10)
trailers = st.lists(st.builds("{}:{}\r\n".format, names, values), max_size=3).map(
    lambda each: "".join(each).encode("latin-1")
)
rests = st.sampled_from([b"", b"\r\n", END_OF_HEAD, b"0\r\n\r\n"]) | st.binary(max_size=10)


@st.composite
def chunked(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Make a body, and the same in chunks."""
    pieces = draw(bodies)
    data = b""
    for piece in pieces:
        data += draw(sizes) % len(piece) + draw(extensions) + b"\r\n" + piece + b"\r\n"
    last = draw(st.sampled_from([b"0", b"00", b"0" * 20])) + draw(extensions) + b"\r\n"
    return b"".join(pieces), data + last + draw(trailers) + b"\r\n"


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut *data* into pieces; none of them is empty."""
    ends = sorted({min(each, len(data)) for each in (*cuts, len(data))} - {0})
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


@given(
    made=chunked(),
    rest=rests,
    cuts=st.lists(st.integers(0, 100) | st.integers(0, 400), max_size=12),
)
def test_any_split_of_any_chunks_gives_the_same_body_and_rest(
    made: tuple[bytes, bytes], rest: bytes, cuts: list[int]
) -> None:
    body, data = made
    data += rest

    assert read([data]) == (body, rest)
    assert read(split(data, cuts)) == (body, rest)
    assert read(one_by_one(data)) == (body, rest)


hostile = st.sampled_from(
    [
        *(b"0", b"1", b"2", b"3", b"a", b"\r\n", b"\r\n\r\n", b"\r", b"\n", b";", b"=", b'"'),
        *(b"\\", b" ", b"\t", b"\x00", b"\xff", b":", b"A: b", b"0\r\n", b"1\r\nx\r\n", b"x"),
        *(b"Content-Length: 1", b"Transfer-Encoding: chunked", b"GET / HTTP/1.1\r\n\r\n"),
        *(b"Connection: upgrade\r\n", b"Upgrade: x\r\n"),
    ]
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """Make chunks, with faults in a few places."""
    data = draw(chunked())[1]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(at + 2, len(data))))
        data = data[:at] + draw(hostile | st.binary(max_size=2)) + data[end:]
    return data


@given(st.binary() | spoiled() | st.lists(hostile, max_size=15).map(b"".join))
def test_any_bytes_are_chunks_or_refused_and_the_same_in_any_split(data: bytes) -> None:
    whole = outcome([data])

    assert whole == 400 or isinstance(whole, tuple)
    assert outcome(one_by_one(data)) == whole
