"""`encode_event` and its like, and `EventDecoder`: WHATWG HTML §9.2.5 and §9.2.6."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nardis._http.events import (
    Event,
    EventDecoder,
    EventTooLong,
    encode_comment,
    encode_event,
    encode_retry,
)
from nardis.errors import FieldError, HTTPError, UsageError
from tests.fuzz.events import check, whole

BOM = b"\xef\xbb\xbf"

# --- reading --------------------------------------------------------------------------------------


# What web-platform-tests (eventsource/format-*) and the standard's own examples show.
@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [Event("YHOO\n+2\n10")]),
        (b"data:1\n\ndata: 1\n\ndata:  1\n\ndata:\t1\n\n", [*map(Event, ("1", "1", " 1", "\t1"))]),
        (b"data\n\ndata\ndata\n\ndata:", [Event(""), Event("\n")]),
        (b"data:\n\n", [Event("")]),
        (BOM + b"data:1\n\n" + BOM + b"data:2\n\n", [Event("1")]),
        (BOM * 2 + b"data:1\n\ndata:2\n\n", [Event("2")]),
        (b"data:1\r:\0\n:\r\ndata:2\n:x\rdata:3\n:data:no\r:\ndata:4\n\n", [Event("1\n2\n3\n4")]),
        (b"data:1\r\n\r\ndata:2\r\rdata:3\n\r\n", [Event("1"), Event("2"), Event("3")]),
        (b"data:x\n\ndata:y\n", [Event("x")]),
        (b"data\0:no\ndata:yes\n Data:no\nDATA:no\ndata :no\n\n", [Event("yes")]),
        (b"data:a\0b\x0b\x1c\xc2\x85\xe2\x80\xa8c\n\n", [Event("a\0b\v\x1c\x85\u2028c")]),
        (b"data:ok\xe2\x80\xa6\ndata:\xe2\x80\ndata:\xff\n\n", [Event("ok…\n\ufffd\n\ufffd")]),
        (b"event: add\ndata:1\n\ndata:2\n\n", [Event("1", "add"), Event("2")]),
        (b"event: add\nevent:\ndata:1\n\nevent\ndata:2\n\n", [Event("1"), Event("2")]),
        (b"event: add\n\ndata:1\n\n", [Event("1")]),
        (b"id: 1\ndata:a\n\ndata:b\n\n", [Event("a", id="1"), Event("b", id="1")]),
        (b"id: 1\n\ndata:a\n\nid\ndata:b\n\n", [Event("a", id="1"), Event("b")]),
        (b"id: 1\nid: 2\0\ndata:a\n\n", [Event("a", id="1")]),
        (b"retry:2000\nretry:1000x\ndata:a\n\n", [Event("a", retry=2.0)]),
        (b"data:a\n\nretry: 030\n\ndata:b\n\n", [Event("a"), Event("b", retry=0.03)]),
        (b"retry:-1\nretry:1.5\nretry: \nretry:\xd9\xa3\nretry:1_0\ndata:a\n\n", [Event("a")]),
        (b"retry:" + b"9" * 5000 + b"\ndata:a\n\n", [Event("a")]),
    ],
    ids=lambda value: repr(value)[2:32] if isinstance(value, bytes) else "",
)
def test_a_stream_is_read_as_browsers_read_it(stream: bytes, expected: list[Event]) -> None:
    assert EventDecoder().feed(stream) == expected


FRAGMENTS = [
    *(b"data", b"event", b"id", b"retry", b":", b": ", b"\n", b"\r", b"\r\n", b"\n\n", b"\0"),
    *(b"x", b"12", BOM, "é🎉".encode(), b"\xff", b"\xf0\x9f"),
]


@given(st.binary() | st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join))
@example(b"\x07" + BOM + b"data: 1\n")
def test_any_bytes_in_any_pieces_are_what_the_steps_of_the_standard_give(data: bytes) -> None:
    """The first byte is a limit; `check` is that of the fuzz target."""
    check(data)


def test_an_event_does_not_wait_for_the_rest_of_its_crlf() -> None:
    decoder = EventDecoder()

    assert decoder.feed(b"data: 1\r\n\r") == [Event("1")]
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\ndata: 2\r") == []
    assert decoder.feed(b"\r") == [Event("2")]


def test_an_id_counts_from_its_blank_line_on() -> None:
    """A stream that is cut before it was not read so far, and the client asks for that again."""
    decoder = EventDecoder(last_event_id="1")

    assert decoder.feed(b"data: a\n\nid: 2\ndata: b\n") == [Event("a", id="1")]
    assert decoder.last_event_id == "1"
    assert decoder.feed(b"\n") == [Event("b", id="2")]
    assert decoder.last_event_id == "2"


def test_a_time_to_wait_counts_at_once_and_comments_are_counted() -> None:
    decoder = EventDecoder()

    assert decoder.feed(b": a\n:b\n\nretry: 250\n") == []
    assert (decoder.retry, decoder.comments) == (0.25, 2)


@pytest.mark.parametrize(
    ("stream", "is_read"),
    [
        (b"data: 78\n\n", True),
        (b"data: 789", False),
        (b"data: 789\n\n", False),
        (b"id: 1\ndata\n\n", False),
        (b"id:1\ndata\n\n" * 2, True),
        (b":234567\ndata: 78\n\n", True),
        (b"data\n:2345\n\n", False),
        (b"unknown\na\n\n", True),
        (b"unknown\nab\n\n", False),
    ],
)
def test_the_lines_of_an_event_count_together_and_comments_alone(
    stream: bytes, is_read: bool
) -> None:
    decoder = EventDecoder(event_bytes=8)
    if is_read:
        decoder.feed(stream)
        return
    for _ in range(2):
        with pytest.raises(EventTooLong, match="longer than the 8 bytes"):
            decoder.feed(stream)


def test_an_event_that_is_too_long_takes_none_with_it_that_came_before() -> None:
    """Nobody catches it in a relay: then it is the fault of the service behind it."""
    decoder = EventDecoder(event_bytes=8)
    with pytest.raises(HTTPError) as caught:
        decoder.feed(b"data: 1\n\ndata: 23456\n\n")

    assert (caught.value.status, caught.value.extensions) == (502, {"limit": 8})
    assert isinstance(caught.value, EventTooLong)
    assert caught.value.events == [Event("1")]


def feed_all(pieces: list[bytes], decoder: EventDecoder) -> None:
    for piece in pieces:
        decoder.feed(piece)


def test_an_endless_line_is_refused_before_it_is_in_memory() -> None:
    decoder, piece = EventDecoder(event_bytes=64 * 1024), b"data" * 4096
    tracemalloc.start()
    try:
        with pytest.raises(EventTooLong):
            feed_all([piece] * 64, decoder)
        assert tracemalloc.get_traced_memory()[1] < 256 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "stream",
    [b"x" * 2_000, b"data\n" * 400, b"\r\n" * 1_000, b": " * 1_000, b"data: 1\n\n" * 222],
    ids=["line", "lines", "ends", "comment", "events"],
)
def test_single_bytes_cost_no_more_the_more_there_are(
    stream: bytes, count_calls: Callable[..., int]
) -> None:
    once, twice = (
        count_calls(feed_all, [data[at : at + 1] for at in range(len(data))], EventDecoder())
        for data in (stream, stream * 2)
    )

    assert twice <= 2.1 * once
    assert count_calls(feed_all, [stream * 2], EventDecoder()) <= twice


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (encode_event("a"), b"data: a\n\n"),
        (encode_event(""), b"data: \n\n"),
        (encode_event(" é"), b"data:  \xc3\xa9\n\n"),
        (
            encode_event("a\nb\rc\r\nd\n\n"),
            b"data: a\ndata: b\ndata: c\ndata: d\ndata: \ndata: \n\n",
        ),
        (encode_event("a", event="add"), b"event: add\ndata: a\n\n"),
        (encode_event("a", id=""), b"id: \ndata: a\n\n"),
        (encode_event("\ud83c", event="\ud83c\udf89"), "event: 🎉\ndata: \ufffd\n\n".encode()),
        (encode_comment(""), b": \n\n"),
        (encode_comment("a\r\nid: 1"), b": a\n: id: 1\n\n"),
        (encode_retry(0), b"retry: 0\n\n"),
        (encode_retry(0.0306), b"retry: 31\n\n"),
    ],
    ids=lambda value: repr(value)[2:24],
)
def test_events_are_written_so(written: bytes, expected: bytes) -> None:
    assert written == expected


LINE = st.text().filter(lambda text: "\n" not in text and "\r" not in text)


@given(
    st.text(st.characters(categories=None)),
    st.none() | LINE,
    st.none() | LINE.filter(lambda text: "\0" not in text),
)
def test_what_is_written_is_read_again(data: str, event: str | None, id: str | None) -> None:
    """Only that each line end has become LF, and half of a surrogate pair U+FFFD."""
    text = whole(data).replace("\r\n", "\n").replace("\r", "\n")

    assert EventDecoder().feed(encode_event(data, event=event, id=id)) == [
        Event(text, event or "message", id or "")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event": "a\nb"}, "the event of an event stands on one line"),
        ({"event": "a\r"}, "send such text as data"),
        ({"id": "1\r\ndata: 2"}, "the id of an event stands on one line"),
        ({"id": "1\0"}, "browsers ignore such an id"),
    ],
)
def test_what_would_be_another_event_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(FieldError, match=message):
        encode_event("x", **options)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data": {"a": 1}}, r"json\.dumps"),
        ({"data": b"a"}, "is text, not bytes"),
        ({"data": "a", "id": 7}, r"the id of an event is text, not int: write id=str\("),
        ({"data": "a", "event": 7}, r"write event=str\("),
    ],
)
def test_what_is_no_text_is_not_sent_as_its_repr(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        encode_event(**fields)


def test_a_decoder_takes_bytes() -> None:
    decoder = EventDecoder()
    text: Any = "data: a\n\n"
    with pytest.raises(UsageError, match="takes bytes, not str"):
        decoder.feed(text)

    assert decoder.feed(bytearray(b"data: a\n\n")) == [Event("a")]


@pytest.mark.parametrize("seconds", [-0.001, float("inf"), float("nan")])
def test_a_time_that_nobody_can_wait_is_refused(seconds: float) -> None:
    with pytest.raises(FieldError, match="0 or more"):
        encode_retry(seconds)
