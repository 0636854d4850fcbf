"""`is_fresh`: whether a 200 can be a 304 (RFC 9110 §13.1.2 and §13.1.3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.conditional import is_fresh, make_etag

VECTORS = Path(__file__).parents[1] / "vectors"
ROWS = json.loads((VECTORS / "fresh_vectors.json").read_text())["vectors"]

EARLY = b"Sat, 01 Jan 2000 00:00:00 GMT"
LATE = b"Sat, 01 Jan 2000 01:00:00 GMT"


def encoded(fields: dict[str, str]) -> dict[bytes, bytes]:
    return {name.lower().encode(): value.encode("latin-1") for name, value in fields.items()}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['request']} {row['response']}")
def test_express_agrees(row: dict[str, Any]) -> None:
    """In each of the rows; where the RFC is against it, see the next test."""
    answer = encoded(row["response"])
    found = is_fresh(encoded(row["request"]), answer.get(b"etag"), answer.get(b"last-modified"))
    assert found == row["fresh"]


@pytest.mark.parametrize(
    ("fields", "etag", "expected"),
    [
        # A comma within a tag belongs to it (§8.8.3); Express splits there.
        ({"if-none-match": '"x", "a,b"'}, '"a,b"', True),
        ({"if-none-match": '"a,"b","c"'}, '"b"', False),
        # A field that is there and empty is there: If-Modified-Since is ignored (§13.1.3).
        ({"if-none-match": "", "if-modified-since": LATE.decode()}, '"a"', False),
        # A directive has no case (RFC 9111 §5.2), and none stands in quotes.
        ({"if-none-match": '"a"', "cache-control": "No-Cache"}, '"a"', False),
        ({"if-none-match": '"a"', "cache-control": 'x="1, no-cache, 2"'}, '"a"', True),
    ],
)
def test_express_differs_and_the_rfc_is_followed(
    fields: dict[str, str], etag: str, expected: bool
) -> None:
    assert is_fresh(encoded(fields), etag.encode(), EARLY) is expected


@pytest.mark.parametrize(
    ("known", "etag", "expected"),
    [
        (b"*", b'"a"', True),
        (b" * ", b'"a"', True),
        (b"*", None, True),
        (b'"a"', None, False),
        (b'"a"', b"", False),
        (b"", b'""', False),
        (b'""', b'""', True),
        (b'W/"a"', b'"a"', True),
        (b'"a"', b'W/"a"', True),
        (b'W/"a"', b'W/"a"', True),
        (b'"a"', b'"A"', False),
        (b'"b", W/"a"', b'"a"', True),
        (b'"b", W/"a"', b'W/"a"', True),
        (b'"b", "c"', b'"a"', False),
        (b'"b", a', b'"a"', False),
        (b"a", b'"a"', False),
        (b'"a"x', b'"a"', False),
        (b'"\xe9"', b'"\xe9"', True),
        (b'"\xff", "\xe9"', b'W/"\xe9"', True),
        # An ETag without quotes is none, but the client knows it by the same text.
        (b"\ta ", b"a", True),
        (b"b, a", b"a", False),
    ],
)
def test_if_none_match_compares_weakly(known: bytes, etag: bytes | None, expected: bool) -> None:
    """It is asked alone, whatever the dates say."""
    for dates in ({}, {b"if-modified-since": LATE}, {b"if-modified-since": EARLY}):
        assert is_fresh({b"if-none-match": known, **dates}, etag, None) is expected
        assert is_fresh({b"if-none-match": known, **dates}, etag, EARLY) is expected


@pytest.mark.parametrize(
    ("since", "last_modified", "expected"),
    [
        (LATE, EARLY, True),
        (EARLY, EARLY, True),
        (EARLY, LATE, False),
        (LATE, None, False),
        (LATE, b"", False),
        (LATE, b"foo", False),
        (b"foo", b"foo", False),
        (b"", EARLY, False),
        (b"Sat, 01 Jan 99999 00:00:00 GMT", EARLY, False),
        (LATE + b", " + LATE, EARLY, False),
        (b"Sat Jan  1 01:00:00 2000", EARLY, True),
        (b"Saturday, 01-Jan-00 01:00:00 GMT", EARLY, True),
        (b"\xff", EARLY, False),
    ],
)
def test_if_modified_since_compares_dates(
    since: bytes, last_modified: bytes | None, expected: bool
) -> None:
    for etag in (None, b'"a"'):
        assert is_fresh({b"if-modified-since": since}, etag, last_modified) is expected


@pytest.mark.parametrize(
    ("control", "expected"),
    [
        (b"no-cache", False),
        (b"max-age=0,\tNO-CACHE\t, x", False),
        (b"no-cache, no-cache", False),
        (b"", True),
        (b"max-age=0", True),
        (b"no-store", True),
        (b"x-no-cache, no-cache-x, no cache", True),
        (b"no-cache=x", True),
        (b'"no-cache"', True),
        (b"\xffno-cache", True),
    ],
)
def test_no_cache_asks_for_the_whole_answer(control: bytes, expected: bool) -> None:
    for fields in ({b"if-none-match": b"*"}, {b"if-modified-since": LATE}):
        assert is_fresh({b"cache-control": control, **fields}, b'"a"', EARLY) is expected


def test_without_a_condition_nothing_is_fresh() -> None:
    assert not is_fresh({}, b'"a"', EARLY)
    assert not is_fresh({b"if-match": b'"a"', b"if-unmodified-since": LATE}, b'"a"', EARLY)


@given(st.binary(), st.lists(st.binary(), max_size=99), st.booleans(), st.booleans())
def test_a_body_is_fresh_for_a_client_that_has_it(
    body: bytes, others: list[bytes], sent_weak: bool, weak: bool
) -> None:
    known = [make_etag(other) for other in others] + [make_etag(body, weak=sent_weak)]
    etag = make_etag(body, weak=weak).encode()
    assert is_fresh({b"if-none-match": ", ".join(known).encode()}, etag, None)
    without = {b"if-none-match": ", ".join(known[:-1]).encode()}
    assert is_fresh(without, etag, None) == (body in others)


VALUES = st.binary() | st.sampled_from([b"*", b'"a"', b'W/"a"', b"no-cache", EARLY, LATE])


@given(
    st.dictionaries(
        st.sampled_from([b"if-none-match", b"if-modified-since", b"cache-control"]), VALUES
    ),
    st.none() | VALUES,
    st.none() | VALUES,
)
def test_any_bytes_are_answered(
    fields: dict[bytes, bytes], etag: bytes | None, last_modified: bytes | None
) -> None:
    fresh = is_fresh(fields, etag, last_modified)
    assert not fresh or b"if-none-match" in fields or b"if-modified-since" in fields


@pytest.mark.parametrize("name", [b"if-none-match", b"if-modified-since", b"cache-control"])
@pytest.mark.parametrize("piece", [b'"b",', b"b,", b'"', b"no-cache-,", b'"no-cache",'])
def test_a_longer_field_makes_no_more_work(
    name: bytes, piece: bytes, count_calls: Callable[..., int]
) -> None:
    def ask(repeated: int) -> int:
        fields = {b"if-none-match": b'"b"', name: piece * repeated}
        return count_calls(is_fresh, fields, b'"a"', EARLY)

    assert ask(50_000) <= ask(5_000) < 1_000
