"""`type_is`: which of some types a Content-Type is, as Express's `req.is` says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.media_types import type_is

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "type_is_vectors.json").read_text())[
    "vectors"
]

# Whether there is a body is the request's question, not the field's.
WITH_BODY = [row for row in VECTORS if row["body"] != "content-length:abc"]


@pytest.mark.parametrize(
    "row", WITH_BODY, ids=lambda row: f"{row['content_type']} is {row['types']}"
)
def test_express_agrees(row: dict[str, Any]) -> None:
    assert type_is(row["content_type"], row["types"] or ()) == (row["result"] or None)


@pytest.mark.parametrize(
    ("content_type", "types", "expected"),
    [
        (None, ["json"], None),
        (None, [], None),
        ("garbage", [], None),
        ("text/html, text/plain", ["html"], None),
        ("text/html", ["TEXT/HTML"], "TEXT/HTML"),
        ("application/x-www-form-urlencoded", ["json", "urlencoded"], "urlencoded"),
        ("application/ld+json", ["application/*+json"], "application/ld+json"),
        ("application/ld+json", ["text/*+json"], None),
        ("application/json", ["bogus", "*/*"], "application/json"),
        ("application/json", [""], None),
        # RFC 6838 §4.2: no type can be registered under such a name.
        ("text/*", ["text/*", "html"], None),
        ("*/*", [], None),
        ("application/+json", ["+json", "application/*"], None),
        (f"text/{'x' * 128}", ["text/*"], None),
    ],
)
def test_the_first_entry_that_matches_is_the_answer(
    content_type: str | None, types: list[str], expected: str | None
) -> None:
    assert type_is(content_type, types) == expected


def test_a_long_value_costs_the_same_few_calls(count_calls: Callable[..., int]) -> None:
    short = count_calls(type_is, "text/html;" + "a" * 10_000, ("html",))
    assert count_calls(type_is, "text/html;" + ";a=b," * 1_000_000, ("html",)) == short


@given(st.text(), st.lists(st.text()))
def test_any_text_matches_or_does_not(content_type: str, types: list[str]) -> None:
    result = type_is(content_type, types)
    assert (
        result is None
        or result in types
        or result == content_type.partition(";")[0].strip(" \t").lower()
    )
