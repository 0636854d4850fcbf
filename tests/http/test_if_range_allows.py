"""`if_range_allows`: whether a Range counts (RFC 9110 §13.1.5)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.dates import format_date
from nardis._http.ranges import if_range_allows

ETAG = '"1"'
CHANGED = 1735689600
DATE = "Wed, 01 Jan 2025 00:00:00 GMT"

ROWS = [
    row
    for row in json.loads(
        (Path(__file__).parents[1] / "vectors" / "range_requests.json").read_text()
    )["cases"]
    if "If-Range" in row["headers"]
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_a_file_server_would_answer_as_it_may(row: dict[str, Any]) -> None:
    value = row["headers"]["If-Range"].replace("${ETAG}", ETAG).replace("${LAST_MODIFIED}", DATE)
    status = 206 if if_range_allows(value, ETAG, CHANGED) else 200
    answers = row["expect"].get("one_of", [row["expect"]])
    assert any(status in answer["status"] for answer in answers)


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        (ETAG, True),
        (f" {ETAG}\t", True),
        ('"2"', False),
        # Only strong tags are compared, and one tag at that.
        ('W/"1"', False),
        ('w/"1"', False),
        ("1", False),
        ('"1", "1"', False),
        ("*", False),
        ("", False),
        # A date is exact to the second, in any of the three forms.
        (DATE, True),
        (f"\t{DATE} ", True),
        ("Wednesday, 01-Jan-25 00:00:00 GMT", True),
        ("Wed Jan  1 00:00:00 2025", True),
        ("Wed, 01 Jan 2025 00:00:01 GMT", False),
        ("Tue, 31 Dec 2024 23:59:59 GMT", False),
        ("Wed, 01 Jan 2025 00:00:00 +0000", False),
        ("1735689600", False),
    ],
)
def test_a_validator_allows_if_it_is_strong_and_the_current_one(value: str, allowed: bool) -> None:
    assert if_range_allows(value, ETAG, CHANGED) is allowed


def test_a_representation_without_that_validator_allows_nothing() -> None:
    assert not if_range_allows(DATE, ETAG, None)
    assert not if_range_allows(ETAG, None, CHANGED)
    assert not if_range_allows("garbage", None, None)
    assert if_range_allows(DATE, None, CHANGED)
    assert if_range_allows(ETAG, ETAG, None)


def test_the_current_tag_allows_nothing_when_it_is_weak() -> None:
    assert not if_range_allows('W/"1"', 'W/"1"', None)
    assert not if_range_allows('"1"', 'W/"1"', None)


def test_the_second_zero_is_a_date_like_another() -> None:
    assert if_range_allows("Thu, 01 Jan 1970 00:00:00 GMT", None, 0)
    assert not if_range_allows("garbage", None, 0)


def test_megabytes_are_read() -> None:
    for value in ['"' * 1_000_000, " " * 1_000_000 + "x", DATE * 30_000]:
        assert not if_range_allows(value, ETAG, CHANGED)


@given(st.text() | st.text('W/"1, '), st.integers(0, 2**32))
def test_any_text_but_the_validators_allows_nothing(value: str, changed: int) -> None:
    assert if_range_allows(value, ETAG, changed) is (value.strip(" \t") == ETAG)
    assert if_range_allows(format_date(changed), ETAG, changed)
    assert not if_range_allows(format_date(changed + 1), ETAG, changed)
