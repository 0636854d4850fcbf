"""`content_length` and `declared_length`: digits and nothing else (RFC 9110 §8.6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.fields import content_length, declared_length
from nardis.errors import HTTPError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (b"0", 0),
        (b"000", 0),
        (b"42", 42),
        (b"0042", 42),
        (b"9" * 18, 10**18 - 1),
        (b"0" * 100_000 + b"1", 1),
    ],
)
def test_digits_are_a_length(value: bytes | None, expected: int | None) -> None:
    assert content_length(value) == declared_length(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"+1",
        b"-1",
        b" 1",
        b"1 ",
        b"1,1",
        b"1, 1",
        b"0x1",
        b"1_0",
        b"1.0",
        b"1e3",
        b"\xb2",
        b"1" + b"0" * 18,
        b"9" * 100_000,
    ],
)
def test_anything_else_is_400_or_none(value: bytes) -> None:
    with pytest.raises(HTTPError) as caught:
        content_length(value)
    assert caught.value.status == 400
    assert declared_length(value) is None


@given(st.integers(0, 10**18 - 1))
def test_every_length_is_read_back(length: int) -> None:
    assert content_length(b"%d" % length) == length


@given(st.binary())
def test_any_bytes_are_a_length_or_400(value: bytes) -> None:
    try:
        assert content_length(value) == int(value)
    except HTTPError:
        assert not (value.isdigit() and len(value) <= 18)
