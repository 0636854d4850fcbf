"""`MultipartReader`: the parts of a form, however its body is cut into pieces (RFC 7578)."""

from __future__ import annotations

import gc
import re
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nardis._http.grammar import MAX_MEMBERS
from nardis._http.multipart import MultipartReader, PartHead
from nardis.datastructures import Headers
from nardis.errors import HTTPError
from nardis.limits import Limits

FORM = "multipart/form-data; boundary=B"
A = b'Content-Disposition: form-data; name="a"'
FILE = A + b'; filename="f"'
KIB, MIB = 2**10, 2**20

DEFAULT = Limits()

# Small enough that random forms reach all of them.
SMALL = Limits(
    form_parts=3,
    form_field_bytes=6,
    form_fields_bytes=9,
    file_bytes=7,
    part_header_bytes=64,
    part_headers=2,
)


class Result(NamedTuple):
    """What came of a body: its parts, whether the last one had an end, and the final status."""

    parts: list[tuple[PartHead, bytes]]
    ended: bool
    status: int


def taken(reader: MultipartReader, piece: bytes) -> Iterator[PartHead | bytes | None]:
    """Read the next piece as a program does, which asks first whether all of it is content."""
    return iter((piece,)) if piece and reader.passes(piece) else reader.feed(piece)


def result(pieces: Iterable[bytes], limits: Limits = DEFAULT, form: str = FORM) -> Result:
    parts: list[tuple[PartHead, bytes]] = []
    ended = True
    reader = MultipartReader(form, limits)
    try:
        for piece in pieces:
            for event in taken(reader, piece):
                if isinstance(event, PartHead):
                    assert ended
                    parts.append((event, b""))
                    ended = False
                elif event is None:
                    assert not ended
                    ended = True
                else:
                    assert event
                    assert not ended
                    parts[-1] = (parts[-1][0], parts[-1][1] + event)
        reader.finish()
    except HTTPError as exc:
        return Result(parts, ended, exc.status)
    return Result(parts, ended, 200)


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def form(*parts: tuple[bytes, bytes]) -> bytes:
    """Write a form of parts, each a head without its blank line and a content."""
    return b"".join(b"--B\r\n%b\r\n\r\n%b\r\n" % part for part in parts) + b"--B--\r\n"


def consume(pieces: list[bytes], limits: Limits) -> None:
    reader = MultipartReader(FORM, limits)
    for piece in pieces:
        for _ in taken(reader, piece):
            pass


def refusal(body: bytes, limits: Limits = DEFAULT) -> HTTPError:
    """Return why a body is refused, which is one reason, whole or byte by byte."""
    reasons: list[HTTPError] = []
    for pieces in [body], cut(body, 1):
        with pytest.raises(HTTPError) as caught:
            consume(pieces, limits)
        reasons.append(caught.value)
    assert str(reasons[0]) == str(reasons[1])
    return reasons[0]


# --- the Content-Type of the request --------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "garbage",
        "application/x-www-form-urlencoded; boundary=B; boundary=C",
        "multipart/mixed; boundary=B",
        "multipart/form-datax; boundary=B",
        "multipart/form-data, multipart/form-data; boundary=B",
    ],
)
def test_another_type_is_415(content_type: str | None) -> None:
    with pytest.raises(HTTPError) as caught:
        MultipartReader(content_type, Limits())
    assert caught.value.status == 415


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        ";",
        "; boundary",
        "; boundary=",
        '; boundary=""',
        '; boundary=" "',
        '; boundary="B "',
        "; boundary=B C",
        '; boundary="B',
        '; boundary="B\nC"',
        '; boundary="é"',
        "; boundary*=utf-8''B",
        "; boundary=B; boundary=C",
        "; boundary=B; Boundary=B",
        "; boundary=B, multipart/form-data; boundary=C",
        "; boundary=" + 71 * "B",
        '; boundary="' + 100_000 * "\\\\" + '"',
        '; boundary="' + 100_001 * "\\",
    ],
)
def test_a_bad_boundary_is_400(parameters: str) -> None:
    """Rack CVE-2026-26961 is the one of two; python-multipart CVE-2024-24762 the backslashes."""
    with pytest.raises(HTTPError) as caught:
        MultipartReader("multipart/form-data" + parameters, Limits())
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("Multipart/Form-Data;BOUNDARY=B;charset=utf-8", b"B"),
        (' multipart/form-data ; boundary="a b:c?d=e";', b"a b:c?d=e"),
        ("multipart/form-data; boundary=" + 70 * "B", 70 * b"B"),
        ("multipart/form-data; boundary=*****", b"*****"),
        ('multipart/form-data; boundary="\\"\\\\"', b'"\\'),
        ("multipart/form-data; boundary=--", b"--"),
    ],
)
def test_a_boundary_is_any_printable_text(content_type: str, boundary: bytes) -> None:
    body = form((A, b"1")).replace(b"--B", b"--" + boundary)
    for pieces in [body], cut(body, 1):
        (_, content), *others = result(pieces, form=content_type).parts
        assert (content, others) == (b"1", [])


# --- boundaries -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        form((A, b"1")),
        form((A, b"1")).removesuffix(b"\r\n"),
        b"\r\n" + form((A, b"1")),
        b"preamble\r\n" + form((A, b"1")),
        b"x--B\r\n\r\n--Cx\n--B\r\n\r--B\r\n" + form((A, b"1")),
        form((A, b"1")) + b"epilogue\r\n" + form((FILE, b"2")),
        form((A, b"1")).removesuffix(b"\r\n") + b"x",
    ],
)
def test_what_stands_around_the_form_is_ignored(body: bytes) -> None:
    """RFC 2046 §5.1.1; a boundary in the middle of a line is none."""
    for size in 1, 2, 3, len(body):
        parts, _, status = result(cut(body, size))
        assert [(head.name, content) for head, content in parts] == [("a", b"1")]
        assert status == 200


@pytest.mark.parametrize("body", [b"--B--", b"--B--\r\n", b"\r\n--B--x", b"preamble\r\n--B--"])
def test_a_form_may_be_empty(body: bytes) -> None:
    """Chromium sends it for a FormData with nothing in it."""
    for size in 1, len(body):
        assert result(cut(body, size)) == ([], True, 200)


@pytest.mark.parametrize(
    "body",
    [
        form((A, b"1")).replace(b"\r\n", b"\n"),
        b"--Bx" + form((A, b"1")),
        b"preamble\r\n--B-\r\n" + form((A, b"1")),
        form((A, b"1\r\n--Bx")),
        form((A, b"1\r\n--B-")),
        form((A, b"1\r\n--B \t")),
        form((A, b"1")).replace(b"--B--", b"--B-"),
    ],
)
def test_behind_a_boundary_is_a_line_end_or_400(body: bytes) -> None:
    assert refusal(body).detail == "a boundary of the form is not followed by a line end"


@pytest.mark.parametrize(
    "content",
    [b"", b"\n--B\n", b"\r--B\r", b"--", b"--C", b"\r\n--", b"\r\n-B", b"\r\n\r\n", b"\r\n--C--"],
)
def test_content_is_whatever_holds_no_delimiter(content: bytes) -> None:
    for size in 1, 2, 7, 1000:
        (_, got), *others = result(cut(form((FILE, content)), size)).parts
        assert (got, others) == (content, [])


@pytest.mark.parametrize("limits", [DEFAULT, Limits(file_bytes=2)])
@pytest.mark.parametrize("content", [b"--B", b"--B\r\n" + A + b"\r\n\r\n1", b"--Bx", b"--B--"])
def test_content_that_begins_with_a_boundary_is_400(content: bytes, limits: Limits) -> None:
    """
    For Werkzeug and Django the next part begins there, and for Falcon it is content.

    RFC 2046 §5.1.1: no line of a body part may begin so.
    """
    assert refusal(form((FILE, content)), limits).detail == (
        "the content of a part begins with a boundary"
    )
    for size in 1, 2, 5, 1000:
        (_, got), *others = result(cut(form((FILE, content), (A, b"1")), size), limits).parts
        assert (got, others) == (b"", [])


def test_a_nested_multipart_is_one_content() -> None:
    """RFC 7578 §4.3 calls it deprecated."""
    inner = b"--C\r\nContent-Disposition: attachment; filename=x\r\n\r\n1\r\n--C--\r\n"
    head = A + b"\r\nContent-Type: multipart/mixed; boundary=C"
    assert [content for _, content in result([form((head, inner))]).parts] == [inner]


def test_a_form_that_is_cut_anywhere_is_400() -> None:
    """Starlette with python-multipart took what was there, and lost the file without a word."""
    body = b"preamble\r\n" + form((A, b"1"), (FILE, b"\r\n--2"))
    end = body.index(b"--B--") + len(b"--B--")
    for length in range(len(body) + 1):
        reader = MultipartReader(FORM, Limits())
        list(reader.feed(body[:length]))
        assert reader.complete == (length >= end)
        if length < end:
            with pytest.raises(HTTPError, match="cut short") as caught:
                reader.finish()
            assert caught.value.status == 400
        else:
            reader.finish()


# --- heads of parts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "name", "filename"),
    [
        (A, "a", None),
        (FILE, "a", "f"),
        (b'Content-Disposition: form-data; name=""', "", None),
        (b'Content-Disposition: form-data; name="a"; filename=""', "a", ""),
        (b'content-disposition:\tFORM-DATA \t;;  FileName="f" ; NAME=a;', "a", "f"),
        ('Content-Disposition: form-data; name="é 日本 🎉"'.encode(), "é 日本 🎉", None),
        (b'Content-Disposition: form-data; name="user[0][a;b,c=d]"', "user[0][a;b,c=d]", None),
        (b"Content-Disposition: form-data; name=a/b:c", "a/b:c", None),
        # Browsers escape quotes and line ends only, and those in percent: so they stay.
        (b'Content-Disposition: form-data; name="a%22b%0D%0Ac%20"', "a%22b%0D%0Ac%20", None),
        (b'Content-Disposition: form-data; name="a\\"; filename="b\\\\"', "a\\", "b\\\\"),
        (b'Content-Disposition: form-data; name="][%22\\" ; x=y', "][%22\\", None),
        (b'Content-Disposition: form-data; name="\\"', "\\", None),
        (b'Content-Disposition: form-data; name="a"; filename="C:\\x\\y.z"', "a", "C:\\x\\y.z"),
        # Others write backslashes.
        (b'Content-Disposition: form-data; name="a\\"b%22c\\\\d\\e"', 'a"b%22c\\\\d\\e', None),
        (b'Content-Disposition: form-data; name="\\"\\""; filename="\\\\\\"x"', '""', '\\\\"x'),
        (b'Content-Disposition: form-data; name="][\\"\\\\"', ']["\\\\', None),
        # RFC 7578 §4.2 forbids the form with the asterisk; RFC 2231 §3 has the one with numbers.
        (A + b"; name*=utf-8''role", "a", None),
        (b"Content-Disposition: form-data; name*=utf-8''role; name=\"a\"", "a", None),
        (A + b"; filename*=utf-8''evil.php", "a", None),
        (FILE + b"; filename*=utf-8''evil.php", "a", "f"),
        (A + b'; filename*0="ev"; filename*1="il.php"', "a", None),
        # A path is for whoever would use it as one.
        (A + b'; filename="../../x"', "a", "../../x"),
        # Empty parameters count too; what is in a name does not.
        (A + b";" * (MAX_MEMBERS - 1), "a", None),
        (A + b'; filename="' + b";" * 200 + b'"', "a", ";" * 200),
        (A + b"\r\nContent-Type: a/b" + b";" * MAX_MEMBERS, "a", None),
        # What a part says of its length, or its coding, does not count (RFC 7578 §4.7 and §4.8).
        (A + b"\r\nContent-Length: 1", "a", None),
        (A + b"\r\nContent-Length: -1\r\nContent-Length: x", "a", None),
        (b"X-Before:\r\nx.y!z: \xff\r\n".replace(b"\xff", b"\xc3\xbf") + A, "a", None),
    ],
)
def test_a_part_has_a_name_and_perhaps_a_file_name(
    head: bytes, name: str, filename: str | None
) -> None:
    for size in 1, 1000:
        (read, content), *others = result(cut(form((head, b"12")), size)).parts
        assert (read.name, read.filename) == (name, filename)
        assert (content, others) == (b"12", [])


def test_the_lines_of_a_head_are_kept() -> None:
    head = b"CONTENT-type: \tText/Plain; charset=UTF-8 \t\r\n" + A + b"\r\nX-A: 1\r\nx-a: \xc3\xa9"
    (read, _), *_ = result([form((head, b""))]).parts
    assert read.content_type == "Text/Plain; charset=UTF-8"
    assert read.headers == (
        (b"content-type", b"Text/Plain; charset=UTF-8"),
        (b"content-disposition", b'form-data; name="a"'),
        (b"x-a", b"1"),
        (b"x-a", b"\xc3\xa9"),
    )
    assert Headers(read.headers).get_all("X-A")[0] == "1"


def test_a_part_without_a_type_has_none() -> None:
    types = [head.content_type for head, _ in result([form((A, b""), (FILE, b""))]).parts]
    assert types == [None, None]


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (b"Content-Type: text/plain", "no Content-Disposition"),
        (A + b"\r\n" + A, "two lines"),
        (A + b'\r\ncontent-disposition: form-data; name="b"', "two lines"),
        (A + b"\r\nContent-Type: text/html\r\nContent-Type: text/plain", "two lines"),
        (b'Content-Disposition: attachment; name="a"', "not form-data"),
        (b'Content-Disposition: form-datax; name="a"', "not form-data"),
        (b'Content-Disposition: form-data, form-data; name="a"', "not form-data"),
        (b"Content-Disposition:", "not form-data"),
        (b"Content-Disposition: form-data", "no name"),
        (b'Content-Disposition: form-data; filename="f"', "no name"),
        (b"Content-Disposition: form-data; name*=utf-8''a", "no name"),
        (A + b'; name="b"', "twice"),
        (A + b'; Name="a"', "twice"),
        (FILE + b'; filename="g"', "twice"),
        (A + b"; x=1; x=1", "twice"),
        (b'Content-Disposition: form-data; name="a', "malformed"),
        (b'Content-Disposition: form-data; name="a\\"b', "malformed"),
        (b'Content-Disposition: form-data; name="a"b"', "malformed"),
        (b'Content-Disposition: form-data; name="a\\\\"b"', "malformed"),
        (b'Content-Disposition: form-data; name="a"; filename="b" c', "malformed"),
        (b'Content-Disposition: form-data; name="a\\";b"', "malformed"),
        (b'Content-Disposition: form-data; name= "a"', "malformed"),
        (b'Content-Disposition: form-data; name ="a"', "malformed"),
        (b"Content-Disposition: form-data; name=", "malformed"),
        (b"Content-Disposition: form-data; name=a b", "malformed"),
        (b"Content-Disposition: form-data; name=a\\", "malformed"),
        (b'Content-Disposition: form-data; name="a" filename="f"', "malformed"),
        (b"Content-Disposition: form-data; name", "malformed"),
        (A + b";" + b";".join(b"x%d=1" % n for n in range(MAX_MEMBERS)), "more than 100"),
        (A + b";" * MAX_MEMBERS, "more than 100"),
        (A + b"\r\nContent-Type: a/b" + b";" * (MAX_MEMBERS + 1), "more than 100"),
        (A + b"\r\n folded", "folded"),
        (b'Content-Disposition: form-data;\r\n\tname="a"', "folded"),
        (b" " + A, "folded"),
        (b"Content-Disposition : form-data; name=a", "no header"),
        (b"\x0b" + A, "no header"),
        (A + b"\r\nbad", "no header"),
        (A + b"\r\n: x", "no header"),
        (A + b"\r\n\xc3\xa9: x", "no header"),
        (A + b"\r\nX-A: \x00", "control"),
        (A + b"\r\nX-A: a\rb", "control"),
        (A + b"\r\nX-A: \x7f", "control"),
        (b'Content-Disposition: form-data; name="a\rb"', "control"),
        (b'Content-Disposition: form-data; name="a\x00"', "control"),
        (b'Content-Disposition: form-data; name="a\tb"', "control"),
        (b'Content-Disposition: form-data; name="a\xc2\x85b"', "control"),
        (A + b'; filename="f\t"', "control"),
        (A + b'; filename="f\xc2\x9f"', "control"),
        (b'Content-Disposition: form-data; name="a\nb"', "without CR"),
        (A + b"\n", "without CR"),
        (b'Content-Disposition: form-data; name="\xe9"', "UTF-8"),
        (b'Content-Disposition: form-data; name="\xed\xa0\x80"', "UTF-8"),
    ],
)
def test_a_malformed_head_is_400(head: bytes, why: str) -> None:
    """Each of two readers would believe something else, and a filter is one of them."""
    error = refusal(form((A, b"1"), (head, b"2")))
    assert error.status == 400
    assert why in error.detail


def test_a_head_without_any_line_is_400() -> None:
    error = refusal(b"--B\r\n\r\n1\r\n--B--\r\n")
    assert (error.status, error.detail) == (400, "a part of the form has no Content-Disposition")


def test_a_coding_is_never_undone() -> None:
    """RFC 7578 §4.7; Django CVE-2026-33033 was a base64 that was mostly blanks."""
    head = A + b"\r\nContent-Transfer-Encoding: base64"
    assert [content for _, content in result([form((head, b"MQ== \t "))]).parts] == [b"MQ== \t "]


@given(st.text(), st.none() | st.text())
def test_no_name_has_a_control_character(name: str, filename: str | None) -> None:
    """Rack CVE-2026-26962 kept a CRLF in one."""
    head = f'Content-Disposition: form-data; name="{name}"'
    head += "" if filename is None else f'; filename="{filename}"'
    for read, _ in result([form((head.encode(), b""))]).parts:
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", read.name + (read.filename or ""))


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "body", "status"),
    [
        (Limits(form_parts=2), form((A, b""), (FILE, b"")), 200),
        (Limits(form_parts=2), form((A, b""), (FILE, b""), (A, b"")), 413),
        (Limits(form_parts=0), form(), 200),
        (Limits(form_parts=0), form((A, b"")), 413),
        (Limits(form_field_bytes=4), form((A, b"1234"), (FILE, b"12345")), 200),
        (Limits(form_field_bytes=4), form((A, b"12345")), 413),
        (Limits(form_fields_bytes=6), form((A, b"123"), (FILE, b"1234"), (A, b"4")), 200),
        (Limits(form_fields_bytes=6), form((A, b"123"), (FILE, b"1234"), (A, b"45")), 413),
        (Limits(form_fields_bytes=1), form((A, b""), (FILE, b"1")), 200),
        (Limits(form_fields_bytes=1), form((A, b""), (A, b"")), 413),
        (
            Limits(form_fields_bytes=2),
            form(('Content-Disposition: form-data; name="日"'.encode(), b"")),
            413,
        ),
        (Limits(file_bytes=4), form((FILE, b"1234"), (FILE, b"1234"), (A, b"12345")), 200),
        (Limits(file_bytes=4), form((FILE, b"12345")), 413),
        (Limits(file_bytes=0), form((A + b';filename=""', b"")), 200),
        (Limits(part_headers=2), form((A + b"\r\nX: y", b""), (A + b"\r\nX: y", b"")), 200),
        (Limits(part_headers=2), form((A + b"\r\nX: y\r\nX: y", b"")), 431),
        (Limits(part_header_bytes=49), form((A + b"\r\nX: 34", b""), (A, b"")), 200),
        (Limits(part_header_bytes=49), form((A + b"\r\nX: 345", b"")), 431),
        (Limits(part_header_bytes=49), form((A + b"\r\nX: 34" + b"5" * 50, b"")), 431),
    ],
)
def test_a_limit_is_the_most_that_passes(limits: Limits, body: bytes, status: int) -> None:
    """The head of 49 bytes is counted with its line ends."""
    assert len(A + b"\r\nX: 34\r\n") == 49
    for size in 1, 3, 1000:
        assert result(cut(body, size), limits).status == status


def test_what_may_pass_is_handed_over_before_the_error() -> None:
    for body, limits in [
        (form((FILE, b"12345")), Limits(file_bytes=4)),
        (form((A, b"12345")), Limits(form_field_bytes=4)),
        (form((A, b"12345")), Limits(form_fields_bytes=5)),
    ]:
        for size in 1, 3, 1000:
            parts, ended, status = result(cut(body, size), limits)
            assert [content for _, content in parts] == [b"1234"]
            assert (ended, status) == (False, 413)


@pytest.mark.parametrize(
    ("body", "limit", "what"),
    [
        (form(*[(A, b"")] * 4), 3, "more than 3 parts"),
        (form((A, b"1234567")), 6, "a field of the form"),
        (form((A, b"1234"), (A, b"1234")), 9, "the fields of the form together"),
        (form((A, b"1"), (A, b"1234567")), 6, "a field of the form"),
        (form((A, b"1234"), (A, b"123"), (A, b"")), 9, "the fields of the form together"),
        (form((FILE, b"12345678")), 7, "a file of the form"),
        (form((A + b"\r\nX: y\r\nX: y", b"")), 2, "more than 2 lines"),
        (form((A + b'; filename="0123456789"', b"")), 64, "the head of a part"),
    ],
)
def test_an_error_names_the_limit(body: bytes, limit: int, what: str) -> None:
    error = refusal(body, SMALL)
    assert what in error.detail
    assert error.extensions == {"limit": limit}


@pytest.mark.parametrize(
    ("start", "piece", "most", "status"),
    [
        (b"--B\r\n" + A + b"\r\n\r\n", bytes(64 * KIB), MIB, 413),
        (b"--B\r\n" + A + b"\r\nX: ", b"x" * 1000, 8 * KIB, 431),
        (b"--B\r\n" + A + b"\r\nX: ", b"\r", 8 * KIB, 431),
        (b"--B\r\n" + A, b"\r\nX: y", 32 * 6, 431),
        (b"--B\r\n", A + b"\r\n\r\n\r\n--B\r\n", 1000 * 55, 413),
        (b"--B\r\n", FILE + b"\r\n\r\n\r\n--B\r\n", 1000 * 75, 413),
        (b"--B\r\n", A + b"\r\n\r\n" + bytes(900_000) + b"\r\n--B\r\n", 8 * MIB, 413),
    ],
)
def test_what_has_no_end_is_refused_at_the_limit(
    start: bytes, piece: bytes, most: int, status: int
) -> None:
    """Starlette CVE-2024-47874, aiohttp CVE-2025-69228, Go CVE-2023-45290 and CVE-2023-24536."""
    fed = 0

    def counted() -> Iterator[bytes]:
        nonlocal fed
        yield start
        while True:
            fed += len(piece)
            yield piece

    assert result(counted()).status == status
    assert fed <= most + 2 * len(piece)


def test_a_file_has_no_bound_of_its_own() -> None:
    start = b"--B\r\n" + FILE + b"\r\n\r\n"
    reader = MultipartReader(FORM, Limits(form_field_bytes=10, form_fields_bytes=10))
    pieces = [list(reader.feed(piece)) for piece in [start, *[bytes(MIB)] * 20]]
    assert pieces[1:] == [[bytes(MIB)]] * 20


@pytest.mark.parametrize("start", [b"", form((A, b"1"))], ids=["preamble", "epilogue"])
@pytest.mark.parametrize("text", [b"x", b"\r\n", b"\r", b"\n", b"\r\n--", b"\r\n--C"])
def test_what_is_ignored_is_not_kept(start: bytes, text: bytes) -> None:
    """python-multipart CVE-2024-53981 and CVE-2026-40347, Rack CVE-2025-61770."""
    reader = MultipartReader(FORM, Limits())
    piece = text * (64 * KIB // len(text))
    tracemalloc.start()
    try:
        list(reader.feed(start + piece))
        kept, _ = tracemalloc.get_traced_memory()
        events = [event for _ in range(160) for event in reader.feed(piece)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert events == []
    assert kept < len(piece) / 2
    assert peak < 4 * len(piece)


# --- the events -----------------------------------------------------------------------------------


def test_events_come_as_they_are_asked_for() -> None:
    """A part is seen before a later one is found to be malformed."""
    events = MultipartReader(FORM, Limits()).feed(form((A, b"1"), (b"bad", b"2")))
    assert isinstance(next(events), PartHead)
    assert [next(events), next(events)] == [b"1", None]
    with pytest.raises(HTTPError):
        next(events)


def test_a_part_is_seen_before_the_next_was_sent() -> None:
    reader = MultipartReader(FORM, Limits())
    (head,) = reader.feed(b"--B\r\n" + A + b"\r\n\r\n")
    assert isinstance(head, PartHead)
    assert list(reader.feed(b"1")) == [b"1"]
    assert list(reader.feed(b"\r\n--B\r\n")) == [None]
    assert not reader.complete


def test_nothing_comes_of_nothing() -> None:
    """An empty piece is not the end of the body."""
    reader = MultipartReader(FORM, Limits())
    assert list(reader.feed(b"")) == []
    assert result([b"", *cut(form((A, b"1")), 1), b""]).status == 200


@pytest.mark.parametrize(
    "body", [form((b"bad", b"")), form((A, b"1234567")), form(*[(A, b"")] * 4), b"--B x"]
)
def test_the_first_error_is_the_last(body: bytes) -> None:
    """A handler that goes on reading hears of it again, and never of a form that looks whole."""
    reader = MultipartReader(FORM, SMALL)
    with pytest.raises(HTTPError) as first:
        list(reader.feed(body))
    for again in (lambda: reader.feed(form()), lambda: reader.feed(b""), reader.finish):
        with pytest.raises(HTTPError) as later:
            again()
        assert str(later.value) == str(first.value)
        assert later.value.extensions == first.value.extensions
    assert not reader.complete


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    "body",
    [
        form((A, b"1")),
        form((b"bad", b"")),
        form((A, b"1234567")),
        form(*[(A, b"")] * 4),
        form((A + b"\r\nX: " + b"x" * 60, b"")),
        b"--B x",
        b"--B\r\nX: y\nz",
        b"--B\r\nX: y",
    ],
)
def test_nothing_of_a_form_is_left_to_the_garbage_collector(body: bytes, size: int) -> None:
    """An error that was kept with its traceback kept the reader, and that the error."""

    def read() -> None:
        reader = MultipartReader(FORM, SMALL)
        with suppress(HTTPError):
            for piece in cut(body, size):
                for _ in taken(reader, piece):
                    pass
        with suppress(HTTPError):
            reader.finish()

    read()  # what is kept for all forms is made by the first
    gc.collect()
    gc.disable()
    try:
        read()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_after_the_end_of_a_cut_body_nothing_is_read() -> None:
    reader = MultipartReader(FORM, Limits())
    with pytest.raises(HTTPError) as first:
        reader.finish()
    with pytest.raises(HTTPError) as later:
        reader.feed(form())
    assert str(later.value) == str(first.value)


# --- pieces of nothing but content ----------------------------------------------------------------


def flowing(limits: Limits = DEFAULT) -> MultipartReader:
    """Return a reader that has had two bytes of a file."""
    reader = MultipartReader(FORM, limits)
    for piece in b"--B\r\n" + FILE + b"\r\n\r\n", b"xx":
        assert not reader.passes(piece)
        list(reader.feed(piece))
    return reader


@pytest.mark.parametrize(
    ("piece", "passes"),
    [
        (b"x", True),
        (b"\r\n-B--\n\r-", True),
        (999 * b"--B\r\n.", True),
        (b"x\r", False),
        (b"x\r\r\n--", False),
        (b"\r\n--B", False),
        (b"x\r\n--B\r\n" + A + b"\r\n\r\n", False),
    ],
)
def test_a_piece_passes_that_is_content_from_end_to_end(piece: bytes, passes: bool) -> None:
    reader = flowing()
    assert reader.passes(piece) == passes
    content = b"".join(event for event in reader.feed(b"..") if isinstance(event, bytes))
    assert (content, reader.flows) == (b"..", True)


def test_nothing_passes_outside_of_content() -> None:
    reader = MultipartReader(FORM, Limits())
    for piece in b"preamble", b"preamble", b"\r\n--B\r\n" + FILE, b"\r\n\r\nx", b"\r", b"\r":
        assert not reader.passes(piece)
        list(reader.feed(piece))
    for reader in flowing(), flowing():
        with suppress(HTTPError):
            list(reader.feed(b"\r\n--B--"))
            reader.finish()
        assert not reader.passes(b"x")


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 9])
@pytest.mark.parametrize("length", range(5))
def test_what_only_begins_like_a_delimiter_is_content(length: int, size: int) -> None:
    """Wherever it is cut; so is the delimiter behind it."""
    begun = b"\r\n--B"[:length]
    for before in range(8):
        content = before * b"x" + begun + b"\r" + begun + 7 * b"y" + begun
        (_, got), *others = result(cut(form((FILE, content)), size)).parts
        assert (got, others) == (content, [])


@pytest.mark.parametrize("most", [2, 3, 4, 5, 6])
def test_what_passes_counts(most: int) -> None:
    reader = flowing(Limits(file_bytes=most))
    assert [reader.passes(piece) for piece in (b"1", b"22")] == [most >= 3, most >= 5]


# --- linear time ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n--",
        b"\r\n--C",
        b"\r\n--B\r\n" + A + b"\r\n\r\n1",
        b"\r\n--B\r\n" + FILE + b"\r\nContent-Type: text/plain\r\n\r\n1",
    ],
)
@pytest.mark.parametrize("size", [7, 1000, 10**9])
def test_twice_the_body_is_twice_the_work(
    text: bytes, size: int, count_calls: Callable[..., int]
) -> None:
    """Werkzeug CVE-2023-46136: a run of CR or LF was searched again for each piece."""
    start = b"--B\r\n" + FILE + b"\r\n\r\n"
    limits = Limits(form_parts=10_000)
    small, large = (cut(start + text * count, size) for count in (1_000, 2_000))
    assert count_calls(consume, large, limits) <= 2.1 * count_calls(consume, small, limits)


@pytest.mark.parametrize(
    "text",
    [
        b'; a=";"',
        b';a="\\"',
        b'\\"',
        b"\\",
        b'"',
        b'" ',
        b'\\" ',
        b";",
        b"; ",
        b" ",
        b"\t;",
        b"=",
        b"a",
        b"%22",
        b"a=",
        b"a=b;",
        b";a=b c",
    ],
)
@pytest.mark.parametrize("start", [A, b'Content-Disposition: form-data; name="', A + b";x="])
def test_a_hostile_head_is_read_in_one_pass(
    start: bytes, text: bytes, count_calls: Callable[..., int]
) -> None:
    """Tornado CVE-2025-67726, Rack CVE-2026-34827; were anything scanned twice, it took hours."""
    limits = Limits(part_header_bytes=8 * MIB)
    for end in b"", b'"', b"x":
        small, large = ([form((start + text * n + end, b""))] for n in (50_000, 100_000))
        calls = [count_calls(result, body, limits) for body in (small, large)]
        assert calls[1] <= 2.1 * calls[0]


def test_many_broken_parts_cost_as_much_as_one(count_calls: Callable[..., int]) -> None:
    """Tornado CVE-2025-47287 and aiohttp CVE-2025-69230 went on, with a log line for each."""

    def count(parts: int) -> int:
        return count_calls(result, [form(*[(b"bad", b"x")] * parts)])

    assert count(20_000) == count(1)


# --- properties -----------------------------------------------------------------------------------

FRAGMENTS = [
    *(b"--B", b"\r\n", b"--", b"\r", b"\n", b"-", b"B", b" ", b":", b'"', b"\\", b";", b"\x00"),
    *(b"\r\n--B\r\n", b"\r\n--B--", b"\r\n\r\n", b"x", b"123456", b"X: y\r\n", b"\xc3", b"\xa9"),
    *(A, FILE, A + b"\r\n\r\n", FILE + b"\r\n\r\n", b"--B\r\n" + A, b"Content-Type: text/plain"),
    form((A, b"1")),
]
BODIES = st.lists(st.sampled_from(FRAGMENTS), max_size=20).map(b"".join)
PREFIXED = st.tuples(
    st.sampled_from([b"", b"--B\r\n", b"--B\r\n" + A, b"--B\r\n" + FILE + b"\r\n\r\n"]), BODIES
).map(b"".join)


@given(PREFIXED, st.sampled_from([SMALL, Limits()]), st.data())
@example(b"preamble without end--B" + form((A, b"1")), Limits(), None)
@example(b"--B\r\nx\n" + b"x" * 100, SMALL, None)
@example(b"--B\r\n" + b"x" * 61 + b"\r\n\r\n", SMALL, None)
@example(b"--B\r\n" + b"x" * 63 + b"\n", SMALL, None)
@example(b"--B\r\n" + b"x" * 62 + b"\n", SMALL, None)
@example(b"--B\r\nX: y\r\nX: y\r\nX: " + b"x" * 60 + b"\n\r\n", SMALL, None)
def test_no_cut_changes_anything(body: bytes, limits: Limits, data: st.DataObject | None) -> None:
    """Werkzeug's parser gives a stray CR when a delimiter comes in two pieces."""
    whole = result([body], limits)
    assert result(cut(body, 1), limits) == whole
    assert result(cut(body, 3), limits) == whole
    assert result(cut(body, 7), limits) == whole
    if data is not None:
        places = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=5)))
        ends = zip([0, *places], [*places, len(body)], strict=True)
        assert result([body[start:end] for start, end in ends], limits) == whole


@given(st.binary() | BODIES, st.sampled_from([SMALL, Limits()]))
def test_any_bytes_are_a_form_or_refused(body: bytes, limits: Limits) -> None:
    """`result` would let any other error out."""
    for pieces in [body], cut(body, 1):
        parts, ended, status = result(pieces, limits)
        assert status in (200, 400, 413, 431)
        assert ended or status != 200
        assert len(parts) <= limits.form_parts


# Names as they are on the wire, where browsers have no quote.
PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters='"'))
CONTENTS = st.binary() | st.lists(st.sampled_from(FRAGMENTS)).map(b"".join)
PARTS = st.tuples(
    PRINTABLE,
    st.none() | PRINTABLE,
    st.sampled_from([None, "text/plain", "image/png; x=é"]),
    CONTENTS.filter(lambda content: b"\r\n--B" not in b"\r\n" + content),
)


@given(
    st.lists(PARTS, max_size=5),
    st.sampled_from([b"", b"\r\n", b"preamble\r\n"]),
    st.sampled_from([b"", b"\r\n", b"\r\nepilogue"]),
    st.sampled_from([1, 2, 7, 1000]),
)
def test_what_a_browser_writes_comes_back(
    parts: list[tuple[str, str | None, str | None, bytes]],
    before: bytes,
    after: bytes,
    size: int,
) -> None:
    """WHATWG HTML §4.10.21.8; a name that has a quote was given a `%22` before."""
    body = bytearray(before)
    for name, filename, content_type, content in parts:
        body += f'--B\r\nContent-Disposition: form-data; name="{name}"'.encode()
        body += b"" if filename is None else f'; filename="{filename}"'.encode()
        body += b"" if content_type is None else f"\r\nContent-Type: {content_type}".encode()
        body += b"\r\n\r\n" + content + b"\r\n"
    body += b"--B--" + after

    read, _, status = result(cut(bytes(body), size))

    assert status == 200
    assert parts == [
        (head.name, head.filename, head.content_type, content) for head, content in read
    ]
