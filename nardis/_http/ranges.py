"""
Ranges: which bytes of a representation a client asks for, and whether it may have them.

Source: RFC 9110 §14 (Range, Content-Range), §13.1.5 (If-Range) and §17.15 (attacks by ranges).
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import Final

from ..errors import FieldError, RangeNotSatisfiable
from .conditional import strong_match
from .dates import parse_date

__all__ = ["MAX_RANGES", "content_range", "if_range_allows", "parse_range"]

# Each range costs a seek and a head of its own. A PDF reader asks for fewer; Apache's CVE-2011-3192
# and Rack's CVE-2024-26141 came from ranges without an end.
MAX_RANGES: Final = 16

# int-range = first-pos "-" [ last-pos ], suffix-range = "-" suffix-length, RFC 9110 §14.1.1. ASCII
# digits only, for which `\d` is too wide.
_RANGE_SPEC = re.compile(r"([0-9]*)-([0-9]*)")


def parse_range(
    value: str, size: int, *, combine: bool = False, most: int = MAX_RANGES
) -> list[range] | None:
    """
    Resolve a Range field against a representation of *size* bytes.

    A suffix longer than the representation is the whole of it. A range that begins behind the end,
    that ends before it begins, or that is the suffix `-0` has no bytes: it is left out beside
    others. A malformed member, an empty one too, makes the whole field malformed.

    Args:
        value: The field value as received, e.g. `"bytes=0-499"`.
        size: Length of the whole representation, in bytes.
        combine: Whether to join ranges that overlap or touch. A joined range stands where the first
            of its members stood.
        most: How many ranges may be asked for, those without bytes included.

    Returns:
        Half-open ranges in the order asked for, none of them empty, *size* bytes together at most.
        `None` when the field is to be ignored, so that everything is served: the unit is not
        `bytes`, the field is malformed, it has more than *most* ranges, or they overlap so much
        that the whole is shorter.

    Raises:
        RangeNotSatisfiable: Nothing asked for overlaps the representation.

    Source: RFC 9110 §14.1.1, §14.1.2 and §14.2; the package `range-parser` 1.3, but the unit is
        checked, and long suffixes are served.
    >>> parse_range("bytes=-500", 1200), parse_range("bytes=0-9, 10-19", 1200, combine=True)
    ([range(700, 1200)], [range(0, 20)])
    """
    unit, _, text = value.strip(" \t").partition("=")
    if unit.lower() != "bytes" or text.count(",") >= most:
        return None
    spans: list[range] = []
    for spec in text.split(","):
        match = _RANGE_SPEC.fullmatch(spec.strip(" \t"))
        if match is None or match[0] == "-":
            return None
        if span := _overlap(match[1], match[2], size):
            spans.append(span)
    if not spans:
        raise RangeNotSatisfiable(size)
    if combine:
        spans = _combined(spans)
    # RFC 9110 §17.15: a few bytes of a request must not buy many times the representation.
    return spans if sum(map(len, spans)) <= size else None


def if_range_allows(value: str, etag: str | None, last_modified: int | None) -> bool:
    """
    Whether an If-Range field lets the Range field count; if not, everything is served.

    Entity-tags are compared strongly, so that a weak one never allows anything. A date allows when
    it is the very second of *last_modified*, in any of the three forms; a later one does not.

    Args:
        value: The field value as received: one entity-tag or one date.
        etag: The current entity-tag, with its quotes; `None` if there is none.
        last_modified: When it was last changed, in unix seconds. `None` if that is unknown, or if
            it may have changed again within that second, which makes the date a weak validator
            (RFC 9110 §8.8.2.2): a file changed less than a second ago, for example.

    Source: RFC 9110 §13.1.5.
    >>> if_range_allows('"1"', '"1"', None), if_range_allows('W/"1"', 'W/"1"', None)
    (True, False)
    >>> if_range_allows("Sun, 06 Nov 1994 08:49:37 GMT", '"1"', 784111777)
    True
    """
    value = value.strip(" \t")
    if etag is not None and strong_match(value, etag):
        return True
    return last_modified is not None and parse_date(value) == last_modified


def content_range(span: range, size: int) -> str:
    """
    Write the Content-Range of a 206, or of one part of it.

    Args:
        span: A half-open range, as `parse_range` returns it.
        size: Length of the whole representation, in bytes.

    Raises:
        FieldError: The range is empty, or lies outside of the representation.

    Source: RFC 9110 §14.4.
    >>> content_range(range(0, 500), 1234)
    'bytes 0-499/1234'
    """
    if not 0 <= span.start < span.stop <= size:
        raise FieldError(
            f"{span} cannot be a Content-Range of {size} bytes: it is empty or lies outside of them"
        )
    return f"bytes {span.start}-{span.stop - 1}/{size}"


# --- positions ------------------------------------------------------------------------------------


def _overlap(first: str, last: str, size: int) -> range:
    """Cut a range-spec to the representation; the result is empty when there is no overlap."""
    if not first:
        return range(max(size - _position(last, size), 0), size)
    stop = min(_position(last, size) + 1, size) if last else size
    return range(_position(first, size), stop)


def _position(digits: str, size: int) -> int:
    # A number with more digits than *size* is larger, and how much larger does not matter. So int()
    # never meets a long one, for which it takes quadratic time and which it refuses from 4,301
    # digits on.
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= len(str(size)) else size


def _combined(spans: list[range]) -> list[range]:
    """Join ranges that overlap or touch, each in the place of its first member."""
    joined: list[tuple[int, range]] = []
    for place, span in sorted(enumerate(spans), key=lambda numbered: numbered[1].start):
        if joined and span.start <= joined[-1][1].stop:
            earlier, wide = joined.pop()
            place = min(earlier, place)
            span = range(wide.start, max(wide.stop, span.stop))
        joined.append((place, span))
    return [span for _, span in sorted(joined, key=itemgetter(0))]
