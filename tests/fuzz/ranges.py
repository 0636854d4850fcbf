"""
`parse_range`, `ByteRanges` and `if_range_allows`: never a byte that is not there, never too many.

Input: the size of the representation in hexadecimal digits, its entity-tag and its date (both
optional), an If-Range field, and a Range field.
"""

from __future__ import annotations

from collections.abc import Iterator

from nardis._http import byteranges, conditional, dates, ranges
from nardis.errors import FieldError, RangeNotSatisfiable

from .inputs import join, optional, pieces, vectors

__all__ = ["check", "seeds"]

# The largest file that a system can name, in bytes.
MOST_SIZE = 2**63 - 1

BOUNDARY = "b"


def check(data: bytes) -> None:
    size, etag, modified, if_range, value = pieces(data, 5)
    check_range(value.decode("latin-1"), size_of(size))
    check_if_range(if_range.decode("latin-1"), optional(etag), optional(modified))


def size_of(digits: bytes) -> int:
    try:
        return min(int(digits[:16], 16), MOST_SIZE) if digits.isalnum() else len(digits)
    except ValueError:
        return len(digits)


def check_range(value: str, size: int) -> None:
    apart, combined = spans_of(value, size, combine=False), spans_of(value, size, combine=True)
    for spans in (apart, combined):
        check_spans(spans, size)
    if isinstance(apart, list):
        # Combined ranges are the same bytes.
        assert isinstance(combined, list)
        assert merged(apart) == merged(combined)
    if isinstance(combined, list):
        assert len(merged(combined)) == len(combined)
    assert (apart == 416) == (combined == 416)


def spans_of(value: str, size: int, *, combine: bool) -> list[range] | int | None:
    try:
        return ranges.parse_range(value, size, combine=combine)
    except RangeNotSatisfiable as error:
        if error.headers != {"content-range": f"bytes */{size}"}:
            raise
        return error.status


def check_spans(spans: list[range] | int | None, size: int) -> None:
    if not isinstance(spans, list):
        assert spans in (None, 416)
        return
    assert 0 < len(spans) <= ranges.MAX_RANGES
    assert all(0 <= span.start < span.stop <= size and span.step == 1 for span in spans)
    total = sum(map(len, spans))
    assert total <= size
    if len(spans) > 1:
        body = byteranges.ByteRanges(spans, size, "text/plain", BOUNDARY)
        framing = [head for head, _ in body] + [body.end]
        assert [span for _, span in body] == spans
        assert body.length == total + sum(map(len, framing))
        assert all(head.startswith(b"\r\n--" + BOUNDARY.encode()) for head in framing)


def merged(spans: list[range]) -> list[tuple[int, int]]:
    """Return the first byte and the one behind the last of each run of bytes, in their order."""
    runs: list[tuple[int, int]] = []
    for span in sorted(spans, key=lambda span: span.start):
        if runs and span.start <= runs[-1][1]:
            runs[-1] = runs[-1][0], max(runs[-1][1], span.stop)
        else:
            runs.append((span.start, span.stop))
    return runs


def check_if_range(value: str, opaque: bytes | None, date: bytes | None) -> None:
    modified = None if date is None else dates.parse_date(date.decode("latin-1"))
    try:
        etag = None if opaque is None else conditional.check_etag(opaque.decode("latin-1"))
    except FieldError:
        etag = None
    field = value.strip(" \t")
    by_tag = etag is not None and not etag.startswith("W/") and field == etag
    by_date = modified is not None and dates.parse_date(field) == modified
    assert ranges.if_range_allows(value, etag, modified) is (by_tag or by_date)
    assert not ranges.if_range_allows(value, None, None)


def seeds() -> Iterator[bytes]:
    tag, date = '"1"', "Sun, 06 Nov 1994 08:49:37 GMT"
    for row in vectors("range_vectors", "vectors"):
        yield seed(row["size"], None, None, "", row["header"])
    for row in vectors("range_requests", "cases"):
        value = row["headers"].get("Range", "")
        yield seed(100, tag, date, tag, value if isinstance(value, str) else ", ".join(value))
    for value in (tag, f"W/{tag}", date, "Sunday, 06-Nov-94 08:49:37 GMT", '"2"'):
        yield seed(9, tag, date, value, "bytes=1-2, 5-")
    yield seed(99, None, None, "", "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 80, 4)))
    yield b"xyz" + seed(0, None, None, "", "bytes=0-0, -1")
    yield seed(MOST_SIZE, 'W/"1"', None, '"1"', f"bytes=0-1,{MOST_SIZE - 2}-,-{'9' * 30}")


def seed(size: int, etag: str | None, date: str | None, if_range: str, value: str) -> bytes:
    return b"\0".join((b"%x" % size, join(etag, date), if_range.encode(), value.encode("latin-1")))
