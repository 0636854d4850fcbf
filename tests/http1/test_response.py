"""`Start`, `date_line` and `refusal`: the head of a response, and answers of the server itself."""

from __future__ import annotations

import re
import string
from contextlib import suppress
from http import HTTPStatus
from types import SimpleNamespace

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis.errors import FieldError
from nardis.server.http1 import response
from nardis.server.http1.response import CLOSE, CONTINUE, Start, date_line, refusal

TOKEN_CHARS = b"!#$%&'*+-.^_`|~" + (string.ascii_letters + string.digits).encode()
VALUE_CHARS = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))

Fields = list[tuple[bytes, bytes]]


def heard(data: bytes) -> tuple[h11.Response, bytes]:
    """Return the response in *data*, as h11 reads it, and its body."""
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(data)
    head = peer.next_event()
    assert isinstance(head, h11.Response)
    body = b""
    while isinstance(event := peer.next_event(), h11.Data):
        body += event.data
    assert event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.EndOfMessage)
    return head, body


# --- the status line ------------------------------------------------------------------------------


def test_a_known_status_has_its_phrase() -> None:
    for status in HTTPStatus:
        if status >= 200:
            assert Start(status, []).lines == b"HTTP/1.1 %d %b" % (status, status.phrase.encode())


@pytest.mark.parametrize("status", [299, 499, 600, 999])
def test_another_status_has_an_empty_phrase(status: int) -> None:
    """The blank before it stays (RFC 9112 §4)."""
    assert Start(status, []).lines == b"HTTP/1.1 %d " % status
    assert heard(Start(status, []).lines + b"\r\n\r\n")[0].status_code == status


@pytest.mark.parametrize(
    "status", [-1, 0, 99, 100, 101, 103, 199, 1000, 10**9, True, False, None, "200", b"200", 299.5]
)
def test_what_is_no_final_status_cannot_be_sent(status: object) -> None:
    with pytest.raises(FieldError, match="from 200 to 999"):
        Start(status, [])  # type: ignore[arg-type]


def test_204_and_304_have_no_body() -> None:
    assert {status for status in range(200, 1000) if Start(status, []).bodiless} == {204, 304}


# --- fields ---------------------------------------------------------------------------------------


def test_fields_stand_in_their_order_as_they_were_given() -> None:
    fields = [(b"x-b", b"1"), (b"X-A", b" 2 "), (b"x-b", b""), (b"set-cookie", b"a=\xe9")]

    start = Start(200, fields)

    assert start.lines == b"HTTP/1.1 200 OK\r\nx-b: 1\r\nX-A:  2 \r\nx-b: \r\nset-cookie: a=\xe9"
    assert Start(200, iter(fields)).lines == start.lines
    assert (start.length, start.closes, start.dated, start.bodiless) == (None, False, False, False)


def test_other_kinds_of_bytes_make_values() -> None:
    fields = [(b"a", bytearray(b"b")), (b"c", memoryview(b"d"))]
    assert Start(200, fields).lines == b"HTTP/1.1 200 OK\r\na: b\r\nc: d"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [b"a", b"x-response-known", b"content-length", b"date"])
def test_no_control_byte_but_a_tab_stands_in_a_value(name: bytes) -> None:
    for code in [*range(9), *range(10, 32), 127]:
        for value in (b"%c", b"%c1", b"1%c", b"1%c1", b"1%c1%c"):
            value %= (code,) * value.count(b"%c")
            with pytest.raises(FieldError):
                Start(200, [(b"a", b"b"), (name, value), (b"c", b"d")])


@pytest.mark.parametrize("value", [b"a\r\nSet-Cookie: b", b"a\r\n\r\n<html>", b"\r\n", b"\r\n b"])
def test_a_value_makes_no_line_of_its_own(value: bytes) -> None:
    with pytest.raises(FieldError, match="line break"):
        Start(200, [(b"location", value)])


def test_only_a_token_is_a_name() -> None:
    for code in set(range(256)) - set(TOKEN_CHARS):
        for name in (b"%c", b"%ca", b"a%c", b"a%ca"):
            with pytest.raises(FieldError, match="cannot be the name"):
                Start(200, [(name % code, b"b")])


def test_an_empty_name_is_none() -> None:
    with pytest.raises(FieldError, match="cannot be the name"):
        Start(200, [(b"", b"b")])


def test_an_error_shows_the_beginning_of_a_name() -> None:
    with pytest.raises(FieldError) as caught:
        Start(200, [(b"a b" * 10_000, b"c")])
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "line", [b"a b", b"connection x", b"date:", b"content-length ", b"transfer-encoding\r"]
)
def test_a_name_is_looked_at_each_time(line: bytes) -> None:
    """What was refused once is not remembered as good."""
    for _ in range(2):
        with pytest.raises(FieldError):
            Start(200, [(line, b"0")])


def test_names_without_end_and_long_ones_are_not_all_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {b"content-length": b"content-length: "}
    monkeypatch.setattr(response, "_starts", known)
    long = b"x" * (response.KNOWN_NAME_BYTES + 1)

    for _ in range(2):
        assert Start(200, [(long, b"1")]).lines == b"HTTP/1.1 200 OK\r\n" + long + b": 1"
        assert long not in known
    for _ in range(2):
        for number in range(2 * response.KNOWN_NAMES):
            start = Start(200, [(b"x-%d" % number, b"1")])
            assert start.lines == b"HTTP/1.1 200 OK\r\nx-%d: 1" % number

    assert len(known) == response.KNOWN_NAMES


# --- special fields -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "length"), [(b"0", 0), (b"5", 5), (b"007", 7), (b"9" * 18, 10**18 - 1)]
)
@pytest.mark.parametrize("name", [b"content-length", b"Content-Length"])
def test_a_length_is_declared_in_digits(name: bytes, value: bytes, length: int) -> None:
    start = Start(200, [(b"a", b"b"), (name, value)])

    assert start.length == length
    assert start.lines == b"HTTP/1.1 200 OK\r\na: b\r\n" + name + b": " + value


@pytest.mark.parametrize(
    "value", [b"", b"+5", b"-5", b" 5", b"5 ", b"5, 5", b"0x5", b"5_0", b"\xb2", b"x", b"9" * 19]
)
@pytest.mark.parametrize("name", [b"content-length", b"Content-Length"])
@pytest.mark.parametrize("status", [200, 204, 304])
def test_another_length_cannot_be_sent(status: int, name: bytes, value: bytes) -> None:
    with pytest.raises(FieldError, match="Content-Length"):
        Start(status, [(name, value)])


@pytest.mark.parametrize("first", [b"content-length", b"Content-Length"])
@pytest.mark.parametrize("second", [b"content-length", b"CONTENT-LENGTH"])
def test_one_length_can_be_declared(first: bytes, second: bytes) -> None:
    with pytest.raises(FieldError, match="one Content-Length"):
        Start(200, [(first, b"5"), (second, b"5")])


def test_the_length_of_204_is_left_out_and_that_of_304_stays() -> None:
    """RFC 9110 §8.6."""
    length = (b"content-length", b"0")

    start = Start(204, [(b"a", b"b"), length, (b"c", b"d")])
    assert start.lines == b"HTTP/1.1 204 No Content\r\na: b\r\nc: d"
    assert Start(304, [length]).lines == b"HTTP/1.1 304 Not Modified\r\ncontent-length: 0"


@pytest.mark.parametrize(
    ("fields", "closes"),
    [
        ([(b"connection", b"close")], True),
        ([(b"Connection", b"CLOSE")], True),
        ([(b"CONNECTION", b"Keep-Alive,\tClose , x")], True),
        ([(b"connection", b"keep-alive"), (b"connection", b"close")], True),
        ([(b"connection", b"close"), (b"connection", b"keep-alive")], True),
        ([(b"connection", b"keep-alive")], False),
        ([(b"connection", b"closed")], False),
        ([(b"connection", b"")], False),
        ([(b"transfer-encoding", b"close")], False),
        ([(b"Transfer-Encoding", b"chunked")], False),
        ([(b"connection", bytearray(b"close"))], True),
    ],
)
def test_fields_of_the_connection_are_heard_and_left_to_the_server(
    fields: Fields, closes: bool
) -> None:
    start = Start(200, [*fields, (b"c", b"d")])

    assert start.closes is closes
    assert start.lines == b"HTTP/1.1 200 OK\r\nc: d"


def test_an_upgrade_is_named_among_the_fields_of_the_connection() -> None:
    """As whoever sends one has to (RFC 9110 §7.8); that says nothing of this connection."""
    start = Start(426, [(b"upgrade", b"websocket"), (b"Connection", b"Upgrade")])

    assert not start.closes
    assert start.lines == (
        b"HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\nConnection: Upgrade"
    )


@pytest.mark.parametrize("name", [b"connection", b"Transfer-Encoding"])
def test_a_line_break_in_a_field_of_the_connection_reaches_nobody(name: bytes) -> None:
    with suppress(FieldError):
        assert Start(200, [(name, b"x\r\nset-cookie: a\r\n\r\n")]).lines == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("name", [b"date", b"Date", b"DATE"])
def test_a_date_of_its_own_is_kept(name: bytes) -> None:
    for _ in range(2):
        start = Start(200, [(name, b"today")])
        assert (start.dated, start.lines) == (True, b"HTTP/1.1 200 OK\r\n" + name + b": today")


# --- properties -----------------------------------------------------------------------------------

tokens = st.text(TOKEN_CHARS.decode(), min_size=1, max_size=20).map(str.encode)
special = st.sampled_from([b"connection", b"transfer-encoding", b"content-length", b"Date"])
names = tokens.filter(
    lambda name: name.lower() not in (b"connection", b"transfer-encoding", b"content-length")
)
values = st.text(VALUE_CHARS.decode("latin-1"), max_size=30).map(
    lambda text: text.encode("latin-1").strip(b" \t")
)
statuses = st.sampled_from([200, 204, 304, 404, 500]) | st.integers(200, 999)


@given(status=statuses, fields=st.lists(st.tuples(names, values), max_size=10))
def test_h11_reads_back_the_fields_that_were_given(status: int, fields: Fields) -> None:
    head, body = heard(Start(status, fields).lines + b"\r\n\r\n")

    assert head.status_code == status
    assert list(head.headers) == [(name.lower(), value) for name, value in fields]
    assert body == b""


@given(length=st.integers(0, 1_000), fields=st.lists(st.tuples(names, values), max_size=3))
def test_h11_reads_a_body_of_the_length_that_was_declared(length: int, fields: Fields) -> None:
    start = Start(200, [*fields, (b"content-length", b"%d" % length)])

    assert start.length == length
    assert heard(start.lines + b"\r\n\r\n" + b"x" * (length + 7))[1] == b"x" * length


@given(
    before=st.lists(st.tuples(names, values), max_size=3),
    name=names,
    value=values,
    at=st.integers(0, 30),
    bad=st.sampled_from([b"\r", b"\n", b"\r\n", b"\x00", b"\r\n ", b"\r\nA: b", b"\r\n\r\n"]),
    is_name=st.booleans(),
    after=st.lists(st.tuples(names, values), max_size=3),
)
def test_a_field_with_a_line_break_or_nul_cannot_be_sent(
    before: Fields, name: bytes, value: bytes, at: int, bad: bytes, is_name: bool, after: Fields
) -> None:
    field = (name[:at] + bad + name[at:], value)
    if not is_name:
        field = (name, value[:at] + bad + value[at:])

    with pytest.raises(FieldError):
        Start(200, [*before, field, *after])


@given(
    status=st.integers(0, 1_100),
    fields=st.lists(
        st.tuples(special | names | st.binary(max_size=5), values | st.binary(max_size=5))
    ),
)
def test_any_fields_are_one_line_each_or_refused(status: int, fields: Fields) -> None:
    try:
        lines = Start(status, fields).lines.split(b"\r\n")
    except FieldError:
        return

    assert re.fullmatch(rb"HTTP/1\.1 [2-9][0-9]{2} [A-Za-z' -]*", lines[0])
    assert set(lines[1:]) <= {name + b": " + value for name, value in fields}
    assert len(lines) <= len(fields) + 1


# --- the server's own lines -----------------------------------------------------------------------


def test_a_date_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [784_111_777.25]
    monkeypatch.setattr(response, "time", SimpleNamespace(time=lambda: now[0]))

    first = date_line()
    assert first == b"\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT"  # the example of RFC 9110 §5.6.7
    now[0] += 0.5
    assert date_line() is first
    now[0] += 0.5
    assert date_line() == b"\r\ndate: Sun, 06 Nov 1994 08:49:38 GMT"
    now[0] -= 3_600
    assert date_line() == b"\r\ndate: Sun, 06 Nov 1994 07:49:38 GMT"


@pytest.mark.parametrize("status", [400, 408, 413, 431, 500, 501, 503, 505])
def test_a_refusal_is_a_whole_answer_that_closes(status: int) -> None:
    head, body = heard(refusal(status, "the reason"))

    assert (head.status_code, head.reason) == (status, HTTPStatus(status).phrase.encode())
    fields = dict(head.headers)
    assert re.fullmatch(rb"[A-Z][a-z]{2}, [0-9]{2} .{17} GMT", fields.pop(b"date"))
    assert fields == {
        b"content-type": b"text/plain; charset=utf-8",
        b"content-length": b"10",
        b"connection": b"close",
    }
    assert body == b"the reason"


def test_a_reason_is_sent_in_ascii() -> None:
    head, body = heard(refusal(400, "caf\xe9 \u20ac"))
    assert (dict(head.headers)[b"content-length"], body) == (b"6", b"caf? ?")


def test_the_other_lines_are_whole() -> None:
    assert CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"
    head, _ = heard(Start(200, []).lines + CLOSE + b"\r\n\r\n")
    assert list(head.headers) == [(b"connection", b"close")]


@pytest.mark.parametrize("name", [b"content-length", b"Content-Length"])
def test_204_has_no_length_however_its_name_is_written(name):
    start = Start(204, [(name, b"0")])
    assert (start.lines, start.length) == (b"HTTP/1.1 204 No Content", 0)


@pytest.mark.parametrize("kind", [bytearray, memoryview, bytes])
def test_names_and_values_may_be_any_bytes(kind):
    assert Start(200, [(kind(b"x-any"), kind(b"1"))]).lines == b"HTTP/1.1 200 OK\r\nx-any: 1"


@pytest.mark.parametrize("name", [b"connection", b"transfer-encoding"])
def test_a_line_break_is_an_error_in_a_field_that_is_left_out_too(name):
    with pytest.raises(FieldError, match="line break"):
        Start(200, [(name, b"a\r\nb: c")])
