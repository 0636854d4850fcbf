"""`ByteRanges`: several ranges in one body (RFC 9110 §14.6 and §15.3.7.2)."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.message import Message
from email.parser import BytesFeedParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.byteranges import ByteRanges
from nardis._http.media_types import parse_media_type
from nardis._http.ranges import content_range, parse_range
from nardis.errors import FieldError, UsageError

FOLDER = Path(__file__).parents[1] / "vectors"
REQUESTS = json.loads((FOLDER / "range_requests.json").read_text())["cases"]
HUNDRED_BYTES = bytes(range(100))

# Of the requests to a file server, those that it may answer with several parts. RFC 9110 §15.3.7.2
# allows a single part as well, where others were asked for and not there; we do without.
OF_SEVERAL_PARTS = [
    (row, answer)
    for row in REQUESTS
    for answer in row["expect"].get("one_of", [row["expect"]])
    if len(answer.get("multipart_byteranges", [])) > 1
]

# Line ends, delimiters without the boundary, and what a parser might take for the end of a head.
CONTENT = st.binary(min_size=2) | st.lists(
    st.sampled_from(
        [b"\r\n", b"\n", b"\r", b"--", b"\r\n--", b"\r\n\r\n", b"a: b", b"\x00", b"\xe9"]
    ),
    min_size=2,
).map(b"".join)
TYPES = st.sampled_from([None, "text/plain", "text/html; charset=utf-8", "application/pdf"])


def whole(body: ByteRanges, content: bytes) -> bytes:
    """Put the body together, as a server sends it."""
    return b"".join(head + content[span.start : span.stop] for head, span in body) + body.end


def read_back(content_type: str, sent: bytes) -> list[tuple[str | None, str, bytes]]:
    """Return Content-Type, Content-Range and bytes of each part, as the standard library reads."""
    parser = BytesFeedParser()
    parser.feed(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + sent)
    message = parser.close()
    assert message.get_content_type() == "multipart/byteranges"
    assert (message.defects, message.preamble, message.epilogue) == ([], "", "")
    return [read_part(part) for part in message.walk() if part is not message]


def read_part(part: Message) -> tuple[str | None, str, bytes]:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return part["Content-Type"], part["Content-Range"], payload


@st.composite
def spans_of(draw: st.DrawFn, content: bytes) -> list[range]:
    """Two ranges or more, in any order; they may overlap, as those that were not combined do."""
    ends = st.lists(st.integers(0, len(content)), min_size=2, max_size=2, unique=True).map(sorted)
    pairs = draw(st.lists(ends, min_size=2, max_size=5))
    return [range(start, stop) for start, stop in pairs]


def test_the_body_has_the_form_of_the_rfc() -> None:
    """The example of RFC 9110 §14.6, with another boundary; the bytes of the PDF are left out."""
    spans = [range(500, 1000), range(7000, 8000)]
    body = ByteRanges(spans, 8000, "application/pdf", "THIS_STRING_SEPARATES")
    assert body.content_type == "multipart/byteranges; boundary=THIS_STRING_SEPARATES"
    assert list(body) == [
        (
            b"\r\n--THIS_STRING_SEPARATES\r\n"
            b"Content-Type: application/pdf\r\n"
            b"Content-Range: bytes 500-999/8000\r\n"
            b"\r\n",
            range(500, 1000),
        ),
        (
            b"\r\n--THIS_STRING_SEPARATES\r\n"
            b"Content-Type: application/pdf\r\n"
            b"Content-Range: bytes 7000-7999/8000\r\n"
            b"\r\n",
            range(7000, 8000),
        ),
    ]
    assert body.end == b"\r\n--THIS_STRING_SEPARATES--\r\n"
    assert body.length == len(whole(body, bytes(8000)))


def test_the_parts_can_be_gone_through_again() -> None:
    body = ByteRanges([range(1), range(2, 3)], 3, None)
    assert list(body) == list(body) != []


def test_parts_of_a_representation_without_a_type_have_none() -> None:
    heads = [head for head, _ in ByteRanges([range(1), range(2, 3)], 3, None, "X")]
    assert heads == [
        b"\r\n--X\r\nContent-Range: bytes 0-0/3\r\n\r\n",
        b"\r\n--X\r\nContent-Range: bytes 2-2/3\r\n\r\n",
    ]


@pytest.mark.parametrize(
    ("row", "answer"), OF_SEVERAL_PARTS, ids=[row["id"] for row, _ in OF_SEVERAL_PARTS]
)
def test_a_file_server_may_send_each_of_them_so(
    row: dict[str, Any], answer: dict[str, Any]
) -> None:
    pairs = answer["multipart_byteranges"]
    spans = [range(first, last + 1) for first, last in pairs]
    body = ByteRanges(spans, 100, "application/octet-stream")
    parts = read_back(body.content_type, whole(body, HUNDRED_BYTES))
    assert [part[1:] for part in parts] == [
        (f"bytes {first}-{last}/100", HUNDRED_BYTES[first : last + 1]) for first, last in pairs
    ]


def test_some_request_of_a_file_server_asks_for_several_parts() -> None:
    assert len(OF_SEVERAL_PARTS) > 1


@given(CONTENT.flatmap(lambda content: st.tuples(st.just(content), spans_of(content))), TYPES)
def test_a_reader_gets_the_bytes_of_each_range(
    asked: tuple[bytes, list[range]], content_type: str | None
) -> None:
    content, spans = asked
    body = ByteRanges(spans, len(content), content_type)
    sent = whole(body, content)
    assert len(sent) == body.length
    assert read_back(body.content_type, sent) == [
        (content_type, content_range(span, len(content)), content[span.start : span.stop])
        for span in spans
    ]


@given(st.integers(4, 2**63 - 1), st.data())
def test_the_length_is_known_of_any_size(size: int, data: st.DataObject) -> None:
    """As of a file of 8 EiB, which nobody reads for it."""
    cut = data.draw(st.integers(1, size - 2))
    spans = parse_range(f"bytes=0-{cut - 1},{cut + 1}-", size)
    assert spans is not None
    body = ByteRanges(spans, size, "video/mp4")
    assert body.length == sum(len(head) for head, _ in body) + size - 1 + len(body.end)


def test_a_boundary_is_new_each_time_and_cannot_be_guessed() -> None:
    """A file that holds the boundary of its own response could forge a part of another range."""
    bodies = [ByteRanges([range(1), range(2, 3)], 3, None) for _ in range(100)]
    boundaries = {boundary_of(body) for body in bodies}
    assert len(boundaries) == 100
    assert {len(boundary) for boundary in boundaries} == {32}
    assert all(len({boundary[n] for boundary in boundaries}) > 4 for n in range(32))


def boundary_of(body: ByteRanges) -> str:
    media_type, parameters = parse_media_type(body.content_type)
    assert media_type == "multipart/byteranges"
    return parameters["boundary"]


@pytest.mark.parametrize("boundary", ["0", "Az09'+_.-", "b" * 70])
def test_a_boundary_of_ones_own_stands_everywhere(boundary: str) -> None:
    body = ByteRanges([range(1), range(2, 3)], 3, None, boundary)
    assert boundary_of(body) == boundary
    assert body.end == f"\r\n--{boundary}--\r\n".encode()
    assert all(head.startswith(f"\r\n--{boundary}\r\n".encode()) for head, _ in body)


@pytest.mark.parametrize(
    "boundary",
    [
        "",
        "b" * 71,
        "a b",
        "a ",
        "a\r\nb",
        "a\n",
        "a;b",
        'a"b',
        "a\\b",
        "a/b",
        "a:b",
        "a=b",
        "é",
        "²",
    ],
)
def test_a_boundary_that_would_need_quotes_is_refused(boundary: str) -> None:
    with pytest.raises(FieldError, match="cannot be a boundary"):
        ByteRanges([range(1), range(2, 3)], 3, None, boundary)


@pytest.mark.parametrize("spans", [[], [range(1)]], ids=["none", "one"])
def test_fewer_than_two_ranges_are_no_multipart(spans: list[range]) -> None:
    """RFC 9110 §15.3.7.2: a client that asked for one range need not understand parts."""
    with pytest.raises(UsageError, match=f"not {len(spans)}: send a single one as it is"):
        ByteRanges(spans, 3, "text/plain")


@pytest.mark.parametrize("span", [range(0), range(5, 5), range(5, 4), range(11), range(-1, 5)])
def test_a_range_outside_of_the_representation_is_refused(span: range) -> None:
    with pytest.raises(FieldError, match="cannot be a Content-Range"):
        ByteRanges([range(1), span], 10, "text/plain")


@pytest.mark.parametrize("content_type", ["text/plain\r\nX: y", "text/plain\n", "a\x00", "€"])
def test_a_type_that_would_break_a_head_is_refused(content_type: str) -> None:
    with pytest.raises(FieldError, match="content-type"):
        ByteRanges([range(1), range(2, 3)], 10, content_type)


def test_the_work_grows_as_the_number_of_ranges_does(count_calls: Callable[..., int]) -> None:
    def frame(parts: int) -> None:
        spans = [range(n, n + 1) for n in range(0, 2 * parts, 2)]
        assert len(list(ByteRanges(spans, 2 * parts, "text/plain"))) == parts

    assert count_calls(frame, 4_000) <= 2.6 * count_calls(frame, 2_000)
