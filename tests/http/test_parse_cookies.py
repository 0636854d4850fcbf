"""`parse_cookies`: the Cookie field, piece by piece (RFC 6265 §5.4)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.cookies import parse_cookies
from nardis.errors import HTTPError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "cookie_vectors.json").read_text())[
    "vectors"
]


@pytest.mark.parametrize(
    "row", [row for row in VECTORS if row["op"] == "parse"], ids=lambda row: row["header"]
)
def test_expresss_newer_parser_agrees(row: dict[str, Any]) -> None:
    """The rows' `result`; 0.7 differs in quotes, where RFC 6265bis §4.1.1 is with the newer one."""
    assert dict(parse_cookies(row["header"])) == row["result"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", []),
        ("a=1; foo; c=3", [("a", "1"), ("c", "3")]),
        ("=__Host-sid=evil; a=1", [("a", "1")]),
        ("  =x; \t=y", []),
        ("sid=good; sid=evil", [("sid", "good"), ("sid", "evil")]),
        ("a =\t1 ;b= 2", [("a", "1"), ("b", "2")]),
        ("\xa0__Host-a=1; \u2000b=2", [("\xa0__Host-a", "1"), ("\u2000b", "2")]),
        ('a="1\\0732"', [("a", '"1\\0732"')]),
        ('a="x; b=y"', [("a", '"x'), ("b", 'y"')]),
        ("a=%41%zz", [("a", "%41%zz")]),
        ("a=%ff", [("a", "%ff")]),
        ("a=%C3%A9", [("a", "é")]),
        ("a=%ED%A0%80", [("a", "%ED%A0%80")]),
        ("a=é%20", [("a", "é ")]),
        ("%61=%61", [("%61", "a")]),
        ("a=1+1", [("a", "1+1")]),
        ("a=b,c=d", [("a", "b,c=d")]),
    ],
)
def test_a_bad_piece_costs_only_itself(value: str, expected: list[tuple[str, str]]) -> None:
    """Only SP and HTAB are trimmed, a nameless cookie gets no name, no octal escape is decoded."""
    assert parse_cookies(value) == expected


def test_more_cookies_than_allowed_are_431() -> None:
    assert len(parse_cookies("a=1;" * 100)) == 100
    assert len(parse_cookies("a=1;" * 2 + "x;;" * 100, 2)) == 2
    for value, limit in [("a=1;" * 101, 100), ("a=1;b=2", 1)]:
        with pytest.raises(HTTPError) as caught:
            parse_cookies(value, limit)
        assert caught.value.status == 431


@pytest.mark.parametrize("piece", ['a="\\"', "a=%41", ";", "a", "a=%", '"\\', "a=é%41"])
def test_a_long_field_is_read_in_one_pass(piece: str, count_calls: Callable[..., int]) -> None:
    """CVE-2024-7592: unquoting a cookie was quadratic in its backslashes."""
    short = count_calls(parse_cookies, piece * 1_000)
    assert count_calls(parse_cookies, piece * 10_000) <= 10 * short


def test_a_megabyte_of_one_cookie_is_read() -> None:
    assert parse_cookies("a=" + '"\\' * 500_000) == [("a", '"\\' * 500_000)]
    assert parse_cookies("a=" + "%41" * 300_000) == [("a", "A" * 300_000)]


@given(st.text() | st.text('ab=;% "1\t\\'))
def test_any_text_is_read_and_no_name_is_empty(value: str) -> None:
    pairs = parse_cookies(value, 1_000_000)
    assert all(name and name == name.strip(" \t") and ";" not in name for name, _ in pairs)
    assert len(pairs) <= value.count("=")
