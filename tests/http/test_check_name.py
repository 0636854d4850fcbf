"""`check_name`: a field name is a token, and leaves in lower case (RFC 9110 §5.1)."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http import fields
from nardis._http.fields import check_name
from nardis.errors import FieldError, UsageError

TOKEN_CHARS = "!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Content-Type", b"content-type"),
        ("x_a", b"x_a"),
        ("ETag", b"etag"),
        ("!#$%&'*+-.^_`|~", b"!#$%&'*+-.^_`|~"),
    ],
)
def test_a_token_becomes_lower_case_bytes(name: str, expected: bytes) -> None:
    assert check_name(name) == expected
    assert check_name(name) == expected  # from the cache


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x a",
        " x",
        "x:",
        ":status",
        "x\r\ny",
        "x\n",
        "x\x00",
        "é",
        "\u212a",
        "x" * 100_000 + " ",
    ],
)
def test_what_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(FieldError, match="cannot be a header name"):
        check_name(name)


@pytest.mark.parametrize("name", [b"x-a", None, 1, ["x-a"]])
def test_what_is_no_str_is_refused_by_its_type(name: object) -> None:
    with pytest.raises(FieldError, match=f"not {type(name).__name__}"):
        check_name(name)  # type: ignore[arg-type]  # that is the point


def test_a_field_error_is_the_applications_fault_and_a_value_error() -> None:
    assert issubclass(FieldError, UsageError)
    assert issubclass(FieldError, ValueError)


def test_made_up_names_do_not_fill_the_memory() -> None:
    for number in range(fields.CACHED_NAMES * 2):
        check_name(f"x-{number}")
    check_name("x" * 100_000)
    assert len(fields._names) <= fields.CACHED_NAMES
    assert max(map(len, fields._names)) <= fields.CACHED_NAME_CHARS


@given(st.text(TOKEN_CHARS, min_size=1))
def test_every_token_passes(name: str) -> None:
    assert check_name(name) == name.lower().encode()


@given(st.text())
def test_any_text_passes_as_a_token_or_is_a_field_error(name: str) -> None:
    try:
        encoded = check_name(name)
    except FieldError:
        assert not name or set(name) - set(TOKEN_CHARS)
    else:
        assert set(encoded.decode()) <= set(TOKEN_CHARS)
