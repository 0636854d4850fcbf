"""`check_value`: a field value is one line of Latin-1 without controls (RFC 9110 §5.5)."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.fields import check_value
from nardis.errors import FieldError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text/html", b"text/html"),
        ("", b""),
        (" a b ", b"a b"),
        ("\ta\tb\t ", b"a\tb"),
        ("café", b"caf\xe9"),
        ("\x85 \xa0", b"\x85 \xa0"),
        (0, b"0"),
        (-1, b"-1"),
        (HTTPStatus.OK, b"200"),
    ],
)
def test_text_and_ints_become_bytes_without_blanks_around(
    value: str | int, expected: bytes
) -> None:
    assert check_value("x-a", value) == expected


def test_a_subclass_of_str_is_a_str() -> None:
    class Name(str):
        pass

    assert check_value("x-a", Name(" a ")) == b"a"


@pytest.mark.parametrize("value", ["v\r\nX: 1", "\n", "v\r", "a\x00b", "a\x0bb", "\x7f", "\x1b[0m"])
def test_control_characters_are_refused_with_their_position(value: str) -> None:
    """A header injection fails where it is written, before anything is sent."""
    with pytest.raises(FieldError, match=r"control character .* at position"):
        check_value("x-a", value)


@pytest.mark.parametrize("value", ["€", "\u560a\u560d", "\ud800", "/日本"])
def test_what_latin_1_lacks_is_refused_with_the_way_out(value: str) -> None:
    """U+560A must not be cut down to LF, as Node once did (CVE-2016-2216)."""
    with pytest.raises(FieldError, match=r"percent-encode.*RFC 8187"):
        check_value("x-a", value)


@pytest.mark.parametrize("value", [b"x", None, 1.5, True, ["a"], {"a": 1}])
def test_other_types_are_refused_by_name(value: object) -> None:
    with pytest.raises(FieldError, match=f"'x-a' is a str or an int, not {type(value).__name__}"):
        check_value("x-a", value)  # type: ignore[arg-type]  # that is the point


def test_an_int_with_too_many_digits_is_a_field_error() -> None:
    with pytest.raises(FieldError, match="too many digits"):
        check_value("x-a", 10**5000)


def test_the_error_does_not_tell_the_value() -> None:
    with pytest.raises(FieldError) as caught:
        check_value("authorization", "Bearer hunter2\n")
    assert "hunter2" not in str(caught.value)


@given(st.text() | st.text(st.characters(max_codepoint=0xFF)) | st.integers())
def test_a_value_never_holds_cr_lf_or_nul(value: str | int) -> None:
    try:
        encoded = check_value("x-a", value)
    except FieldError:
        return
    assert not set(encoded) & {*range(0x09), *range(0x0A, 0x20), 0x7F}
    assert encoded == encoded.strip(b" \t")
    assert encoded.decode("latin-1") == str(value).strip(" \t")
