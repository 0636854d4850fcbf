"""`accepts_types`, `_encodings`, `_charsets` and `_languages`: negotiation (RFC 9110 §12.5)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.negotiation import (
    accepts_charsets,
    accepts_encodings,
    accepts_languages,
    accepts_types,
    choose_coding,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "accept_vectors.json").read_text())[
    "vectors"
]

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "types": accepts_types,
    "encodings": accepts_encodings,
    "charsets": accepts_charsets,
    "languages": accepts_languages,
}

OFFERS = {
    "types": ["json", "text/html", "text/*", "bogus", "a/b;c=d"],
    "encodings": ["gzip", "br", "identity"],
    "charsets": ["utf-8", "iso-8859-1"],
    "languages": ["en", "en-GB", "de"],
}


@pytest.mark.parametrize(
    "row", VECTORS, ids=lambda row: f"{row['kind']}: {row['header']!r} offers {row['offers']}"
)
def test_express_agrees(row: dict[str, Any]) -> None:
    function = FUNCTIONS[row["kind"]]
    expected = None if row["result"] is False else row["result"]
    assert function(row["header"], row["offers"]) == expected
    assert function(row["header"], row["offers"]) == expected  # from the cache


@pytest.mark.parametrize(
    ("header", "offers", "expected"),
    [
        # RFC 9110 §12.5.1, the examples; Express reads `*` before a weight alone as no type.
        ("audio/*; q=0.2, audio/basic", ["audio/mpeg", "audio/basic"], "audio/basic"),
        (
            "text/plain; q=0.5, text/html, text/x-dvi; q=0.8, text/x-c",
            ["text/plain", "text/x-dvi"],
            "text/x-dvi",
        ),
        (
            "text/*, text/plain, text/plain;format=flowed, */*",
            ["image/png", "text/plain;format=flowed"],
            "text/plain;format=flowed",
        ),
        (
            "text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, */*;q=0.5",
            ["text/html", "image/jpeg"],
            "image/jpeg",
        ),
        ("text/html, image/gif, *; q=.2, */*; q=.2", ["json"], "json"),
        # The more precise member decides, even where it refuses.
        ("text/*, text/html;q=0", ["html"], None),
        ("text/html;q=0, text/html", ["html"], "html"),
        ("text/html;level=1", ["text/html"], None),
        ("text/html;level=*", ["text/html;level=2"], "text/html;level=2"),
        ('text/html;a="b\\"c, d;e"', ['text/html;a="B\\"C, D;E"'], 'text/html;a="B\\"C, D;E"'),
        ("text/html;level", ["html"], "html"),
        ("text/html; ;", ["html"], "html"),
        # RFC 9110 §12.5.1: `q` is the weight wherever it stands, the rest are parameters.
        ("text/html;q=0.5;level=1", ["html"], None),
        ("text/html;q=0.5;level=1", ["text/html;level=1"], "text/html;level=1"),
        ("text/html;q=0.1;level=1, text/html;q=0.2", ["text/html;level=1", "html"], "html"),
        ('text/html;q="0.5", text/plain;q=0.6', ["html", "text"], "text"),
        # Of two parameters with one name the first counts.
        ("text/html;q=0;q=1", ["html"], None),
        ("text/html;level=1;level=2", ["text/html;level=2"], None),
        # A weight without a value is none; one that is no number refuses.
        ("text/html;q", ["html"], "html"),
        ("text/html;q=, text/plain;q=0.9", ["text", "html"], "html"),
        ("text/html;q=x", ["html"], None),
        ("text/html;q=1e-1, text/plain;q=+.2", ["html", "text"], "text"),
        ("text/html;q=-1", ["html"], None),
        ("text/html;q=nan, text/plain", ["html", "text"], "text"),
        ("text/html;Q=0.1, text/plain;q=0.2", ["html", "text"], "text"),
        # Malformed members cost only themselves.
        (", ,text/html/x, te xt/html, /html, text/, text/plain", ["html", "text"], "text"),
        ("*/html", ["html"], "html"),
        ("application/*+json", ["application/ld+json"], None),
        ("TEXT/HTML", ["Text/Html"], "Text/Html"),
        ("*/*", ["bogus", "no type/x", "json"], "json"),
        (None, ["bogus"], "bogus"),
    ],
)
def test_types_are_chosen_by_weight_precision_and_order(
    header: str | None, offers: list[str], expected: str | None
) -> None:
    assert accepts_types(header, offers) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            "text/html;q=0.5, application/json;v=1, text/plain;q=0, */*;q=0.1",
            ["application/json", "text/html", "*/*"],
        ),
        ("", []),
        (None, ["*/*"]),
        ("Text/HTML", ["Text/HTML"]),
    ],
)
def test_without_offers_the_clients_list_comes_most_wanted_first(
    header: str | None, expected: list[str]
) -> None:
    assert accepts_types(header) == expected


@pytest.mark.parametrize(
    ("header", "offers", "expected"),
    [
        (None, ["gzip", "identity"], "identity"),
        (None, ["gzip"], None),
        ("", ["gzip", "identity"], "identity"),
        ("*", ["br"], "br"),
        ("*", ["identity"], "identity"),
        ("gzip;q=0", ["gzip"], None),
        ("gzip;q=0", ["gzip", "identity"], "identity"),
        ("gzip;q=0.1, br;q=0", ["identity", "gzip"], "gzip"),
        ("br;q=0, *", ["br", "gzip"], "gzip"),
        ("identity;q=0.5, *;q=0.1", ["gzip", "identity"], "identity"),
    ],
)
def test_identity_is_a_coding_like_another_and_wanted_least(
    header: str | None, offers: list[str], expected: str | None
) -> None:
    assert accepts_encodings(header, offers) == expected


@pytest.mark.parametrize(
    ("header", "offers", "expected"),
    [
        ("en", ["en-US"], "en-US"),
        ("en-GB", ["en-US"], None),
        ("en-GB, *;q=0.1", ["en-US"], "en-US"),
        ("en, en-GB", ["en-GB", "en"], "en"),
        ("de;q=0, *", ["de", "en"], "en"),
    ],
)
def test_languages_match_by_prefix_either_way(
    header: str, offers: list[str], expected: str | None
) -> None:
    assert accepts_languages(header, offers) == expected


@pytest.mark.parametrize(
    ("header", "expected"), [("*", "utf-8"), ("UTF-8", "utf-8"), ("", None), ("latin1", None)]
)
def test_charsets_match_by_name(header: str, expected: str | None) -> None:
    assert accepts_charsets(header, ["utf-8"]) == expected


def test_the_clients_list_is_the_callers_own() -> None:
    """What a handler does to it must not show in the next request with the same field."""
    for function in FUNCTIONS.values():
        function("a, b/c").clear()
        assert function("a, b/c")


@pytest.mark.parametrize("separator", [",", '"x",'], ids=["plain", "quoted"])
def test_the_member_after_a_hundred_is_ignored(separator: str) -> None:
    assert accepts_types(separator * 99 + "text/html", ["html"]) == "html"
    assert accepts_types(separator * 100 + "text/html", ["html"]) is None
    assert accepts_types(separator * 100 + "text/html") == []


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("member", [",", "a,", "a/b;q=0.5,", 'a/b;c="d",'])
def test_a_longer_list_makes_no_more_work(
    kind: str, member: str, count_calls: Callable[..., int]
) -> None:
    """Rack CVE-2026-34230: choosing an encoding was quadratic in the members of the list."""
    short = count_calls(FUNCTIONS[kind], member * 5_000, OFFERS[kind])
    assert count_calls(FUNCTIONS[kind], member * 50_000, OFFERS[kind]) <= short
    assert short < 20_000


@pytest.mark.parametrize(
    "hostile",
    [
        '"\\' * 1_000_000,
        '"' * 1_000_001,
        '"' + '\\"' * 1_000_000 + "\\",
        'a/b;c="' + "\\" * 1_000_001,
        "a/b" + ';c=";"' * 300_000,
        "a/b;q=" + "9" * 1_000_000,
        "a/b;q=." + "9" * 1_000_000,
        "a/b;" + " " * 1_000_000 + "q=0",
        "a" * 1_000_000,
        ";" * 1_000_000,
    ],
)
def test_a_hostile_member_is_read_in_one_pass(hostile: str) -> None:
    """Were anything scanned twice, one of these would take hours."""
    for kind, function in FUNCTIONS.items():
        assert function(hostile, OFFERS[kind]) in [None, *OFFERS[kind]]


@given(
    st.sampled_from(sorted(FUNCTIONS)),
    st.none() | st.text() | st.text('*/;,=q".1\\ a-'),
    st.integers(0, 5),
)
def test_any_text_is_answered_with_an_offer_or_none(
    kind: str, header: str | None, number: int
) -> None:
    offers = OFFERS[kind][:number]
    result = FUNCTIONS[kind](header, offers)
    assert isinstance(result, list) if not offers else result is None or result in offers


@pytest.mark.parametrize(
    ("header", "best"),
    [
        (None, "identity"),
        ("", "identity"),
        ("gzip, deflate, br, zstd", "br"),
        ("zstd, gzip", "zstd"),
        ("gzip;q=1.0, br;q=0.9", "gzip"),
        ("X-Gzip, br;q=0.9", "gzip"),
        ("*", "br"),
        ("*;q=0.5, gzip", "gzip"),
        ("br;q=0, *", "zstd"),
        ("identity, br;q=0.5", "identity"),
        ("br;q=0, gzip;q=0, zstd;q=0, identity;q=0", None),
        ("compress", "identity"),
    ],
)
def test_of_codings_wanted_equally_ours_comes_first(header, best):
    assert choose_coding(header, ["br", "zstd", "gzip", "identity"]) == best
