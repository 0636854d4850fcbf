"""`check_preconditions`: the order and the meaning of the preconditions (RFC 9110 §13.2.2)."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.conditional import check_preconditions, is_fresh
from nardis._http.dates import format_date, parse_date

DATA = json.loads((Path(__file__).parents[1] / "vectors" / "conditional_requests.json").read_text())
RESOURCES = DATA["contract"]["resources"]
CASES = DATA["cases"]

NOW = 1_735_689_600
EARLIER, SAME, LATER = (format_date(NOW + step).encode() for step in (-1, 0, 1))


def encoded(fields: dict[str, str]) -> dict[bytes, bytes]:
    return {name.lower().encode(): value.encode("latin-1") for name, value in fields.items()}


def statuses(case: dict[str, Any]) -> list[int]:
    expect = case["expect"]
    return [status for one in expect.get("one_of", [expect]) for status in one["status"]]


def last_modified(resource: dict[str, str]) -> int | None:
    return parse_date(resource.get("Last-Modified", ""))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_each_request_gets_its_status(case: dict[str, Any]) -> None:
    resource = RESOURCES[case["path"]]
    method, fields = case["method"], encoded(case["headers"])
    status = check_preconditions(method, fields, resource.get("ETag"), last_modified(resource))
    assert (status or (200 if method in ("GET", "HEAD") else 204)) in statuses(case)


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in CASES
        if case["method"] in ("GET", "HEAD")
        and not {"If-Match", "If-Unmodified-Since"} & case["headers"].keys()
    ],
    ids=lambda case: case["id"],
)
def test_an_ordinary_answer_gets_the_same(case: dict[str, Any]) -> None:
    """By `is_fresh`, which `send` asks; the other two conditions are for `check_preconditions`."""
    answer = encoded(RESOURCES[case["path"]])
    fresh = is_fresh(encoded(case["headers"]), answer.get(b"etag"), answer.get(b"last-modified"))
    assert (304 if fresh else 200) in statuses(case)


# Each field absent, true and false, for the tag "a" and the time NOW.
IF_MATCH = [None, b'"b", "a"', b'"b"']
IF_UNMODIFIED_SINCE = [None, SAME, EARLIER]
IF_NONE_MATCH = [None, b'"b"', b'"b", W/"a"']
IF_MODIFIED_SINCE = [None, EARLIER, SAME]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "get"])
def test_all_combinations_are_evaluated_in_the_order_of_the_rfc(method: str) -> None:
    reads = method in ("GET", "HEAD")
    for im, ius, inm, ims in product(range(3), repeat=4):
        values = {
            b"if-match": IF_MATCH[im],
            b"if-unmodified-since": IF_UNMODIFIED_SINCE[ius],
            b"if-none-match": IF_NONE_MATCH[inm],
            b"if-modified-since": IF_MODIFIED_SINCE[ims],
        }
        fields = {name: value for name, value in values.items() if value is not None}
        steps = [
            (im == 2, 412),
            (im == 0 and ius == 2, 412),
            (inm == 2, 304 if reads else 412),
            (reads and inm == 0 and ims == 2, 304),
            (True, None),
        ]
        expected = next(status for applies, status in steps if applies)
        assert check_preconditions(method, fields, '"a"', NOW) == expected, fields


@pytest.mark.parametrize(
    ("value", "etag", "passes"),
    [
        (b'"a"', '"a"', True),
        (b'"b", "a"', '"a"', True),
        (b"*", '"a"', True),
        (b" * ", 'W/"a"', True),
        (b'"b"', '"a"', False),
        (b'W/"a"', '"a"', False),
        (b'"a"', 'W/"a"', False),
        (b'W/"a"', 'W/"a"', False),
        (b"a", '"a"', False),
        (b"", '"a"', False),
        (b'*, "b"', '"a"', False),
        (b"\xff", '"a"', False),
        (b'"\xe9,\xe9"', '"é,é"', True),
    ],
)
def test_if_match_compares_strongly(value: bytes, etag: str, passes: bool) -> None:
    expected = None if passes else 412
    for method in ("GET", "PUT"):
        assert check_preconditions(method, {b"if-match": value}, etag, None) == expected


@pytest.mark.parametrize(
    ("value", "etag", "passes"),
    [
        (b'"b"', '"a"', True),
        (b'"a"', '"a"', False),
        (b'W/"a"', '"a"', False),
        (b'"b", "a"', 'W/"a"', False),
        (b"*", '"a"', False),
        (b"a", '"a"', True),
        (b"", '"a"', True),
        (b'*, "b"', '"a"', True),
    ],
)
def test_if_none_match_compares_weakly(value: bytes, etag: str, passes: bool) -> None:
    fields = {b"if-none-match": value}
    assert check_preconditions("GET", fields, etag, NOW) == (None if passes else 304)
    assert check_preconditions("PUT", fields, etag, NOW) == (None if passes else 412)


@pytest.mark.parametrize(
    ("value", "unmodified", "modified"),
    [
        (EARLIER, 412, None),
        (SAME, None, 304),
        (LATER, None, 304),
        # No date, and so no condition.
        (b"", None, None),
        (b"foo", None, None),
        (b"Wed, 01 Jan 99999 00:00:00 GMT", None, None),
        (b"Wed, 30 Feb 2022 00:00:00 GMT", None, None),
        (EARLIER + b", " + EARLIER, None, None),
        (b"\xff", None, None),
    ],
)
def test_dates_are_compared_by_the_second(
    value: bytes, unmodified: int | None, modified: int | None
) -> None:
    for etag in (None, '"a"'):
        unmodified_since, modified_since = (
            {name: value} for name in (b"if-unmodified-since", b"if-modified-since")
        )
        for method in ("GET", "PUT"):
            assert check_preconditions(method, unmodified_since, etag, NOW) == unmodified
            assert check_preconditions(method, unmodified_since, '"a"', None) is None
        assert check_preconditions("GET", modified_since, etag, NOW) == modified
        assert check_preconditions("GET", modified_since, '"a"', None) is None
        assert check_preconditions("PUT", modified_since, etag, NOW) is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({b"if-none-match": b"*"}, None),
        ({b"if-none-match": b'"a"'}, None),
        ({b"if-match": b"*"}, 412),
        ({b"if-match": b'"a"'}, 412),
        ({b"if-match": b"*", b"if-none-match": b"*"}, 412),
        ({b"if-unmodified-since": EARLIER}, None),
        ({b"if-modified-since": LATER}, None),
        ({}, None),
    ],
)
def test_without_a_representation_nothing_matches(
    fields: dict[bytes, bytes], expected: int | None
) -> None:
    for method in ("GET", "PUT"):
        assert check_preconditions(method, fields, None, None) == expected


def test_a_date_alone_shows_that_there_is_a_representation() -> None:
    assert check_preconditions("PUT", {b"if-match": b"*"}, None, NOW) is None
    assert check_preconditions("PUT", {b"if-match": b'"a"'}, None, NOW) == 412
    assert check_preconditions("PUT", {b"if-none-match": b"*"}, None, NOW) == 412
    assert check_preconditions("GET", {b"if-none-match": b"*"}, None, NOW) == 304
    assert check_preconditions("GET", {b"if-none-match": b'"a"'}, None, NOW) is None


@pytest.mark.parametrize("method", ["CONNECT", "OPTIONS", "TRACE"])
def test_a_method_that_selects_nothing_has_no_preconditions(method: str) -> None:
    fields = {b"if-match": b'"b"', b"if-unmodified-since": EARLIER, b"if-none-match": b"*"}
    assert check_preconditions(method, fields, '"a"', NOW) is None


VALUES = st.binary() | st.sampled_from([b"*", b'"a"', b'W/"a"', b'"b"', EARLIER, SAME, LATER])
FIELDS = st.dictionaries(
    st.sampled_from([b"if-match", b"if-unmodified-since", b"if-none-match", b"if-modified-since"]),
    VALUES,
)


@given(
    st.sampled_from(["GET", "HEAD", "PUT", "OPTIONS", "x"]),
    FIELDS,
    st.sampled_from([None, "", '"a"', 'W/"a"']) | st.text(),
    st.none() | st.integers(),
)
def test_any_bytes_are_answered(
    method: str, fields: dict[bytes, bytes], etag: str | None, modified: int | None
) -> None:
    status = check_preconditions(method, fields, etag, modified)
    assert status in ([None, 304, 412] if method in ("GET", "HEAD") else [None, 412])
    assert status is None or fields


@given(st.none() | VALUES, st.none() | VALUES, st.sampled_from([None, '"a"', 'W/"a"']))
def test_a_freshness_check_says_the_same_for_reads(
    known: bytes | None, since: bytes | None, etag: str | None
) -> None:
    values = {b"if-none-match": known, b"if-modified-since": since}
    fields = {name: value for name, value in values.items() if value is not None}
    fresh = is_fresh(fields, etag.encode() if etag else None, SAME)
    assert check_preconditions("GET", fields, etag, NOW) == (304 if fresh else None)


@pytest.mark.parametrize("name", [b"if-match", b"if-none-match"])
@pytest.mark.parametrize("piece", [b'"b",', b"b,", b'"', b",", b'W/"b'])
def test_a_longer_list_makes_no_more_work(
    name: bytes, piece: bytes, count_calls: Callable[..., int]
) -> None:
    def ask(repeated: int) -> int:
        return count_calls(check_preconditions, "GET", {name: piece * repeated}, '"a"', NOW)

    assert ask(50_000) <= ask(5_000) < 1_000
