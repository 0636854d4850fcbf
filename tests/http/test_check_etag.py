"""`check_etag`: an entity-tag that the application made (RFC 9110 §8.8.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nardis._http.conditional import check_etag, parse_etags
from nardis._http.fields import check_value
from nardis.errors import FieldError


@pytest.mark.parametrize(
    ("value", "strong", "weak"),
    [
        ("v1", '"v1"', 'W/"v1"'),
        ('"v1"', '"v1"', 'W/"v1"'),
        ('W/"v1"', 'W/"v1"', 'W/"v1"'),
        ("", '""', 'W/""'),
        ('""', '""', 'W/""'),
        ("W/v1", '"W/v1"', 'W/"W/v1"'),
        ('"W/v1"', '"W/v1"', 'W/"W/v1"'),
        ("*", '"*"', 'W/"*"'),
        ("a,b;c\\d!~", '"a,b;c\\d!~"', 'W/"a,b;c\\d!~"'),
        ("caf\xe9\x80\xff", '"caf\xe9\x80\xff"', 'W/"caf\xe9\x80\xff"'),
    ],
)
def test_a_tag_is_kept_and_other_text_is_quoted(value: str, strong: str, weak: str) -> None:
    assert check_etag(value) == strong
    assert check_etag(value, weak=True) == weak


@pytest.mark.parametrize(
    ("value", "bad"),
    [
        ("v 1", " "),
        ('"v 1"', " "),
        ('W/"v 1"', " "),
        (' "v1"', " "),
        ('"', '"'),
        ('"v1', '"'),
        ('v1"', '"'),
        ('v"1', '"'),
        ('w/"v1"', '"'),
        ('W/W/"v1"', '"'),
        ('"v1", "v2"', '"'),
        ("v1\r\nx: y", "\r"),
        ('"v1\n"', "\n"),
        ("v1\n", "\n"),
        ("\t", "\t"),
        ("\x00", "\x00"),
        ("\x7f", "\x7f"),
        ("€", "€"),
        ("\ud800", "\ud800"),
    ],
)
def test_a_character_that_no_tag_has_is_refused_with_a_hint(value: str, bad: str) -> None:
    for weak in (False, True):
        with pytest.raises(FieldError) as caught:
            check_etag(value, weak=weak)
        assert f"cannot have {bad!r}" in str(caught.value)
        assert "percent-encode the value, or hash it" in str(caught.value)


@pytest.mark.parametrize("value", [None, 1, b"v1", ["v1"]])
def test_only_a_str_is_taken(value: Any) -> None:
    with pytest.raises(FieldError, match=f"is a str, not {type(value).__name__}"):
        check_etag(value)


@given(st.text() | st.text('W/"ab \xff'), st.booleans())
@example("a", False)
@example(" ", False)
def test_the_answer_is_one_valid_field_value(value: str, weak: bool) -> None:
    try:
        etag = check_etag(value, weak=weak)
    except FieldError:
        return
    assert parse_etags(etag) == [etag]
    assert check_etag(etag, weak=weak) == etag
    assert check_value("etag", etag).decode("latin-1") == etag


@pytest.mark.parametrize("piece", ['"', 'W/"', "a", '"a", '])
def test_a_long_value_is_read_in_one_pass(piece: str, count_calls: Callable[..., int]) -> None:
    def check(value: str) -> None:
        try:
            check_etag(value)
        except FieldError:
            return

    assert count_calls(check, piece * 1_000_000) == count_calls(check, piece * 10)
