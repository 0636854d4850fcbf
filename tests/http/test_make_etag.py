"""`make_etag`: the entity-tag of a body, as Express makes it (RFC 9110 §8.8.3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.conditional import check_etag, make_etag, parse_etags


@pytest.mark.parametrize(
    ("body", "opaque"),
    [
        # What the package `etag` 1.8.1 answers.
        (b"", "0-2jmj7l5rSw0yVb/vlWAYkK/YBwk"),
        (b'{"a":1}', "7-n4nHQM60bXQYySSnisV5QdXpZSA"),
        ("€".encode(), "3-g/yGem6nvxyhBa7JobgSNOCuxA4"),
        (b"x" * 1000, "3e8-w++mkPo/3S4lJoU+7WcFOOoSdjg"),
    ],
    ids=["empty", "json", "utf-8", "longer"],
)
def test_express_agrees(body: bytes, opaque: str) -> None:
    assert make_etag(body) == f'W/"{opaque}"'
    assert make_etag(body, weak=False) == f'"{opaque}"'


@given(st.binary(), st.booleans())
def test_it_is_one_entity_tag_with_the_length_and_27_characters(body: bytes, weak: bool) -> None:
    etag = make_etag(body, weak=weak)
    assert parse_etags(etag) == [etag]
    assert check_etag(etag) == etag
    assert etag.startswith("W/") == weak
    length, _, checksum = etag.removeprefix("W/").strip('"').partition("-")
    assert int(length, 16) == len(body)
    assert len(checksum) == 27


@given(st.binary(), st.binary())
def test_other_bytes_have_another_tag(a: bytes, b: bytes) -> None:
    assert (make_etag(a) == make_etag(b)) == (a == b)


def test_a_long_body_takes_as_many_steps(count_calls: Callable[..., int]) -> None:
    assert count_calls(make_etag, b"x" * 1_000_000) == count_calls(make_etag, b"x")
