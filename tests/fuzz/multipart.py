"""
`MultipartReader`: the same form however its body is cut into pieces, and never beyond its limits.

Input: any byte for tight limits, or none; the sizes of the pieces, a byte each, which are gone
through again and again; the Content-Type; and the body.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import Any

from nardis._http import multipart
from nardis._http.media_types import parse_media_type
from nardis.errors import HTTPError
from nardis.limits import Limits

from .inputs import pieces, vectors

__all__ = ["check", "seeds"]

FORM = "multipart/form-data; boundary="

WIDE = Limits()
TIGHT = Limits(
    form_parts=2,
    form_field_bytes=8,
    form_fields_bytes=12,
    file_bytes=16,
    part_header_bytes=96,
    part_headers=2,
)

# How often a segment comes in a seed at most: short seeds are mutated sooner.
MOST_TIMES = 3


@dataclass
class Part:
    """What came of one part."""

    head: multipart.PartHead
    content: bytes = b""
    ended: bool = False


@dataclass
class Form:
    """What came of one body. Two forms are equal if an application cannot tell them apart."""

    parts: list[Part] = field(default_factory=list[Part])
    status: int | None = None

    def take(self, event: multipart.PartHead | bytes | None) -> None:
        """Take an event in; it must follow those before it."""
        is_inside = bool(self.parts) and not self.parts[-1].ended
        if isinstance(event, multipart.PartHead):
            assert not is_inside
            self.parts.append(Part(event))
        elif event is None:
            assert is_inside
            self.parts[-1].ended = True
        else:
            assert is_inside
            assert event
            self.parts[-1].content += event


def check(data: bytes) -> None:
    tight, sizes, type_bytes, body = pieces(data, 4)
    content_type, limits = type_bytes.decode("latin-1"), TIGHT if tight else WIDE
    form = read(content_type, limits, [body])
    assert form == read(content_type, limits, cut(body, sizes or b"\1"))
    check_form(form, len(body))
    check_limits(form, limits)
    if form.status is None:
        boundary = parse_media_type(content_type)[1]["boundary"].encode()
        assert b"--" + boundary + b"--" in body
        assert not any(b"\r\n--" + boundary in b"\r\n" + part.content for part in form.parts)
        assert form == rewritten(form, limits, b"\xff")
    # Any bytes can be content, and most text a name, unless it is too long.
    name = "".join(char for char in content_type[:1024] if is_plain(char))
    head = b'form-data; name="%b"' % name.encode()
    lone = Part(multipart.PartHead(name, None, None, ((b"content-disposition", head),)), body, True)
    assert Form([lone]) == rewritten(Form([lone]), WIDE, sizes or b"\1")


def cut(body: bytes, sizes: bytes) -> Iterator[bytes]:
    start, turns = 0, cycle(sizes)
    while start < len(body):
        size = next(turns)
        yield body[start : start + size]
        start += size


def read(content_type: str, limits: Limits, body: Iterable[bytes]) -> Form:
    form, reader = Form(), None
    try:
        reader = multipart.MultipartReader(content_type, limits)
        for piece in body:
            for event in (piece,) if reader.passes(piece) else reader.feed(piece):
                form.take(event)
        reader.finish()
    except HTTPError as error:
        form.status = error.status
    if reader is not None:
        # After its end a form takes anything, and after an error nothing.
        assert reader.complete == (form.status is None)
        for ask in (lambda: [*reader.feed(b"\r\n--")], reader.finish):
            assert outcome(ask) == (form.status or [])
    return form


def outcome(ask: Callable[[], object]) -> object:
    try:
        return ask() or []
    except HTTPError as error:
        return error.status


def check_form(form: Form, size: int) -> None:
    assert form.status in (None, 400, 413, 415, 431)
    assert all(part.ended for part in (form.parts[:-1] if form.status else form.parts))
    assert sum(len(part.content) for part in form.parts) <= size
    for head in (part.head for part in form.parts):
        assert not any(map(is_control, head.name + (head.filename or "")))
        kept = dict(head.headers)
        assert b"content-disposition" in kept
        assert head.content_type == (
            kept[b"content-type"].decode() if b"content-type" in kept else None
        )


def check_limits(form: Form, limits: Limits) -> None:
    assert len(form.parts) <= limits.form_parts
    fields = [part for part in form.parts if part.head.filename is None]
    files = [part for part in form.parts if part.head.filename is not None]
    assert all(len(part.content) <= limits.form_field_bytes for part in fields)
    sizes = [len(part.content) + len(part.head.name.encode()) for part in fields]
    assert sum(sizes) <= limits.form_fields_bytes
    if limits.file_bytes is not None:
        assert all(len(part.content) <= limits.file_bytes for part in files)
    for head in (part.head for part in form.parts):
        assert len(head.headers) <= limits.part_headers
        assert len(lines(head)) <= limits.part_header_bytes


def is_control(char: str) -> bool:
    return char < " " or "\x7f" <= char <= "\x9f"


def is_plain(char: str) -> bool:
    """Whether a character is written in a name as it is, and means nothing there."""
    return char not in '"%\\' and not is_control(char)


def rewritten(form: Form, limits: Limits, sizes: bytes) -> Form:
    """Write a form, with a boundary that its content lacks, and read it."""
    whole = b"".join(part.content for part in form.parts)
    boundary = next(text for text in map(str, count()) if f"--{text}".encode() not in whole)
    return read(FORM + boundary, limits, cut(written(form, boundary.encode()), sizes))


def lines(head: multipart.PartHead) -> bytes:
    """Write the header lines of a part as short as they can be."""
    return b"".join(name + b":" + value + b"\r\n" for name, value in head.headers)


def written(form: Form, boundary: bytes) -> bytes:
    parts = [lines(part.head) + b"\r\n" + part.content for part in form.parts]
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--" % boundary


def seeds() -> Iterator[bytes]:
    for row in vectors("multipart_cases", "cases"):
        yield seed(b"", b"\x07\x01", row["content_type"], body_of(row))
    yield seed(b"", b"\x10", FORM + "B", form_with(b"a", b"1") + b"--B--\r\nan epilogue")
    yield seed(b"t", b"", FORM + "B", form_with(b"a", b"1234567") + form_with(b"b", b"12345"))
    for content in (b"12345678", b"123456789"):
        yield seed(b"t", b"\x03", FORM + "B", form_with(b"a", content) + b"--B--")
    for content in (b"0123456789abcdef", b"0123456789abcdefg"):
        file = form_with(b'a"; filename="a%22\xc3\xa9', content)
        yield seed(b"t", b"\x02\x05", FORM + "B", file + b"--B--")
    for size in (95, 96, 97):
        head = b'Content-Disposition: form-data; name="a"; filename="%b"\r\n'
        padded = form_with(b'a"; filename="' + b"b" * (size - len(head % b"")), b"")
        yield seed(b"t", b"\x01", FORM + "B", padded + b"--B--")
    yield seed(b"t", b"\x01", FORM + "B", 3 * form_with(b"a", b"") + b"--B--")
    yield seed(b"t", b"\x09", FORM + "B", form_with(b"a" * 60, b"") + b"--B--")
    yield seed(b"t", b"\x09", FORM + "B", b"--B\r\na:\r\nb:\r\nc:\r\n\r\n\r\n--B--")


def body_of(row: dict[str, Any]) -> bytes:
    """Return the body of a row; of one whose segments come thousands of times, a short form."""
    segments = row.get("body_gen") or [{"b64": row["body_b64"]}]
    return b"".join(
        b64decode(each["b64"]) * min(each.get("repeat", 1), MOST_TIMES) for each in segments
    )


def form_with(name: bytes, content: bytes) -> bytes:
    """Write one part, as browsers do."""
    head = b'--B\r\nContent-Disposition: form-data; name="%b"\r\n\r\n' % name
    return head + content + b"\r\n"


def seed(tight: bytes, sizes: bytes, content_type: str, body: bytes) -> bytes:
    return b"\0".join((tight, sizes, content_type.encode("latin-1"), body))
