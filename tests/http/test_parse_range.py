"""`parse_range` and `content_range`: which bytes are asked for, and sent (RFC 9110 §14)."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.ranges import MAX_RANGES, content_range, parse_range
from nardis.errors import FieldError, RangeNotSatisfiable

FOLDER = Path(__file__).parents[1] / "vectors"
VECTORS = json.loads((FOLDER / "range_vectors.json").read_text())["vectors"]
REQUESTS = json.loads((FOLDER / "range_requests.json").read_text())["cases"]

Outcome = list[range] | int | None

# On purpose: RFC 9110 §14.1.2 gives a suffix that is too long the whole representation, and §14.2
# lets a server ignore a unit that it does not know, which "" cannot even be.
DEVIATIONS: dict[str, Outcome] = {"bytes=-1001": [range(1000)], "=0-5": None}

SIZES = {"/r100.bin": 100, "/empty.bin": 0, "/one.bin": 1}

# Of the requests to a file server, those that no precondition decides; two lines of a field are
# joined by a comma (RFC 9110 §5.3).
RANGES_OF_REQUESTS = [
    row for row in REQUESTS if "Range" in row["headers"] and len(row["headers"]) == 1
]

RANGE_SPECS = st.builds(
    "{}-{}".format, st.integers(0, 60) | st.just(""), st.integers(0, 60) | st.just("")
)


def outcome(value: str, size: int, **options: Any) -> Outcome:
    """Return what came of a field, with the status of an error instead of the error."""
    try:
        return parse_range(value, size, **options)
    except RangeNotSatisfiable as error:
        return error.status


def expected_of(row: dict[str, Any]) -> Outcome:
    result = row["result"]
    if row["header"] in DEVIATIONS:
        return DEVIATIONS[row["header"]]
    if isinstance(result, int):
        return {-1: 416, -2: None}[result]
    return [range(first, last + 1) for first, last in result["ranges"]]


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: f"{row['header']} of {row['size']}")
def test_express_agrees_but_for_the_unit_and_long_suffixes(row: dict[str, Any]) -> None:
    combine = row.get("combine", False)
    assert outcome(row["header"], row["size"], combine=combine) == expected_of(row)


def test_each_deviation_is_a_row() -> None:
    assert DEVIATIONS.keys() <= {row["header"] for row in VECTORS}


@pytest.mark.parametrize("combine", [False, True], ids=["apart", "combined"])
@pytest.mark.parametrize("row", RANGES_OF_REQUESTS, ids=lambda row: row["id"])
def test_a_file_server_would_answer_as_it_may(row: dict[str, Any], *, combine: bool) -> None:
    lines = row["headers"]["Range"]
    value = lines if isinstance(lines, str) else ", ".join(lines)
    size = SIZES[row["path"]]
    result = outcome(value, size, combine=combine)
    answers = row["expect"].get("one_of", [row["expect"]])
    assert any(fits(result, size, answer) for answer in answers)


def fits(result: Outcome, size: int, answer: dict[str, Any]) -> bool:
    """Whether an answer that the vectors allow is the one that would follow from the result."""
    if not isinstance(result, list):
        return (result or 200) in answer["status"]
    if len(result) > 1:
        pairs = [[span.start, span.stop - 1] for span in result]
        return pairs == answer.get("multipart_byteranges")
    start, stop = answer.get("body_slice", [0, 0])
    return result == [range(start, stop)] and answer["content_range"] == content_range(
        result[0], size
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # RFC 9110 §14.1.2, the examples, of a representation of 10,000 bytes.
        ("bytes=0-499", [range(500)]),
        ("bytes=500-999", [range(500, 1000)]),
        ("bytes=-500", [range(9500, 10_000)]),
        ("bytes=9500-", [range(9500, 10_000)]),
        ("bytes=0-0,-1", [range(1), range(9999, 10_000)]),
        ("bytes= 0-999, 4500-5499, -1000", [range(1000), range(4500, 5500), range(9000, 10_000)]),
        ("bytes=500-600,601-999", [range(500, 601), range(601, 1000)]),
        ("bytes=500-700,601-999", [range(500, 701), range(601, 1000)]),
        # The unit is a token in any case, and stands right before the `=`.
        (" ByteS=0-0\t", [range(1)]),
        ("bytes =0-0", None),
        ("byte=0-0", None),
        ("items=0-0", None),
        ("", None),
        # A member without bytes is left out, unless there is no other.
        ("bytes=-0", 416),
        ("bytes=-0,0-0", [range(1)]),
        ("bytes=5-4,0-0", [range(1)]),
        ("bytes=10000-,0-0", [range(1)]),
        ("bytes=9999-", [range(9999, 10_000)]),
        ("bytes=9999-10000", [range(9999, 10_000)]),
        # What is malformed spoils the field, whatever else it asks for.
        ("bytes=20000-,x", None),
        ("bytes=0-0,-", None),
        ("bytes=0-0,,1-1", None),
        ("bytes=,0-0", None),
        ("bytes=0 -0", None),
        ("bytes=0- 0", None),
        ("bytes=0-0\xa0", None),
        ("bytes=0-0-0", None),
        ("bytes=0x0-1", None),
        ("bytes=1_0-20", None),
        ("bytes=-+5", None),
        ("bytes=²-³", None),
        ("bytes=\u0661-\u0662", None),
        ("bytes=0-0\n", None),
        ('bytes="0-0"', None),
    ],
)
def test_only_digits_and_hyphens_ask_for_bytes(value: str, expected: Outcome) -> None:
    assert outcome(value, 10_000) == expected


def test_an_unsatisfiable_range_says_how_much_there_is() -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_range("bytes=1234-", 1234)
    assert caught.value.headers == {"content-range": "bytes */1234"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=50-60,0-10,5-20,61-70", [range(50, 71), range(21)]),
        ("bytes=80-,0-1,70-79", [range(70, 100), range(2)]),
        ("bytes=10-20,0-5,5-10", [range(21)]),
        ("bytes=0-50,5-6,10-20,60-", [range(51), range(60, 100)]),
        ("bytes=0-1,3-4", [range(2), range(3, 5)]),
        ("bytes=-1,0-", [range(100)]),
        ("bytes=0-0,0-0", [range(1)]),
        ("bytes=200-,5-5", [range(5, 6)]),
    ],
)
def test_a_combined_range_stands_where_its_first_member_stood(
    value: str, expected: Outcome
) -> None:
    assert outcome(value, 100, combine=True) == expected


def test_ranges_longer_together_than_the_whole_are_ignored() -> None:
    """RFC 9110 §17.15; Starlette CVE-2025-62727 and Rack CVE-2024-26141 had no such bound."""
    assert outcome("bytes=0-49,0-49", 100) == [range(50)] * 2
    assert outcome("bytes=0-49,0-50", 100) is None
    assert outcome("bytes=0-49,0-50", 100, combine=True) == [range(51)]


@pytest.mark.parametrize("combine", [False, True])
def test_more_ranges_than_allowed_are_ignored(*, combine: bool) -> None:
    """Those without bytes count, and no number of them is 416."""
    members = [f"{n}-{n}" for n in range(0, 100, 2)]
    most = parse_range("bytes=" + ",".join(members[:MAX_RANGES]), 100, combine=combine)
    assert most == [range(n, n + 1) for n in range(0, 2 * MAX_RANGES, 2)]
    assert outcome("bytes=" + ",".join(members[: MAX_RANGES + 1]), 100, combine=combine) is None
    assert outcome("bytes=" + ",".join(["200-"] * (MAX_RANGES + 1)), 100, combine=combine) is None
    assert outcome("bytes=0-1,3-4", 100, combine=combine, most=1) is None
    assert outcome("bytes=3-4", 100, combine=combine, most=1) == [range(3, 5)]
    assert outcome("bytes=3-4", 100, combine=combine, most=0) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes=" + "9" * 1_000_000 + "-", 416),
        ("bytes=0-" + "9" * 1_000_000, [range(100)]),
        ("bytes=-" + "9" * 1_000_000, [range(100)]),
        ("bytes=" + "9" * 1_000_000 + "-" + "9" * 1_000_000, 416),
        ("bytes=" + "0" * 1_000_000 + "-" + "0" * 1_000_000 + "9", [range(10)]),
        ("bytes=-" + "0" * 1_000_000, 416),
        ("bytes=-" + "0" * 1_000_000 + "1", [range(99, 100)]),
        ("bytes=" + "9" * 1_000_000, None),
        ("bytes=" + "-" * 1_000_000, None),
        ("bytes=" + "0-," * 1_000_000, None),
        ("bytes=" + "," * 1_000_000, None),
        ("bytes=" + " " * 1_000_000 + "0-0" + "\t" * 1_000_000, [range(1)]),
        ("bytes=" + " ," * 15 + " " * 1_000_000 + "x", None),
        ("=" * 1_000_000, None),
        ("b" * 1_000_000, None),
    ],
    ids=range(15),
)
def test_megabytes_are_read_in_one_pass(value: str, expected: Outcome) -> None:
    """Were a number converted whole, `int()` would refuse it, or take quadratic time."""
    assert outcome(value, 100) == expected


@pytest.mark.parametrize("combine", [False, True])
@pytest.mark.parametrize("member", ["0-99,", "5-,", "200-,", "-,", ","])
def test_a_longer_field_makes_no_more_work(
    member: str, count_calls: Callable[..., int], *, combine: bool
) -> None:
    def parse(times: int) -> None:
        assert outcome("bytes=" + member * times, 100, combine=combine) is None

    short = count_calls(parse, 1_000)
    assert count_calls(parse, 100_000) <= short < 100


def test_the_work_grows_as_the_number_of_ranges_does(count_calls: Callable[..., int]) -> None:
    def parse(ranges: int) -> None:
        fields = ",".join(f"{n}-{n}" for n in reversed(range(ranges)))
        assert outcome(f"bytes={fields}", ranges, combine=True, most=ranges) == [range(ranges)]

    assert count_calls(parse, 4_000) <= 2.6 * count_calls(parse, 2_000)


@given(
    st.text() | st.text("bytes=0123456789-, \t") | st.lists(RANGE_SPECS).map(",".join),
    st.integers(0, 50) | st.integers(0, 2**63 - 1),
    st.booleans(),
)
def test_any_text_asks_for_bytes_that_are_there(text: str, size: int, combine: bool) -> None:
    for value in (text, f"bytes={text}"):
        result = outcome(value, size, combine=combine)
        if not isinstance(result, list):
            assert result in (None, 416)
            continue
        assert 0 < len(result) <= MAX_RANGES
        assert all(0 <= span.start < span.stop <= size for span in result)
        assert sum(map(len, result)) <= size


@given(st.lists(RANGE_SPECS, min_size=1, max_size=MAX_RANGES), st.integers(0, 50))
def test_combined_ranges_are_the_same_bytes_and_never_touch(specs: list[str], size: int) -> None:
    value = "bytes=" + ",".join(specs)
    result = outcome(value, size, combine=True)
    if not isinstance(result, list):
        return
    single = [outcome(f"bytes={spec}", size) for spec in specs]
    asked = [spans[0] for spans in single if isinstance(spans, list)]
    assert {place for span in result for place in span} == {n for span in asked for n in span}
    ordered = sorted(result, key=lambda span: span.start)
    assert all(one.stop < other.start for one, other in pairwise(ordered))
    places = [min(n for n, span in enumerate(asked) if span[0] in wide) for wide in result]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("span", "size", "expected"),
    [
        (range(1), 1, "bytes 0-0/1"),
        (range(500), 1234, "bytes 0-499/1234"),
        (range(734, 1234), 1234, "bytes 734-1233/1234"),
    ],
)
def test_content_range_names_the_last_byte_and_not_the_one_behind(
    span: range, size: int, expected: str
) -> None:
    assert content_range(span, size) == expected


@pytest.mark.parametrize(
    ("span", "size"),
    [(range(0), 0), (range(5, 5), 10), (range(5, 4), 10), (range(11), 10), (range(-1, 5), 10)],
)
def test_what_no_content_range_can_say_is_refused(span: range, size: int) -> None:
    """RFC 9110 §14.4: a client must not recombine it."""
    with pytest.raises(FieldError, match="cannot be a Content-Range"):
        content_range(span, size)
