"""`check_trailer`: what may stand behind a body (RFC 9110 §6.5.1)."""

from __future__ import annotations

import pytest

from nardis._http.fields import NO_TRAILERS, check_trailer
from nardis.errors import FieldError


def test_a_name_and_a_value_come_as_bytes() -> None:
    assert check_trailer("X-Sum", 42) == (b"x-sum", b"42")


@pytest.mark.parametrize("name", sorted(NO_TRAILERS))
def test_what_a_client_needs_before_the_body_is_refused(name: bytes) -> None:
    with pytest.raises(FieldError, match=r"res\.set"):
        check_trailer(name.decode().title(), "x")


@pytest.mark.parametrize(("name", "value"), [("a b", "x"), ("a", "x\r\nb: c"), ("", "x")])
def test_what_is_no_field_at_all_is_refused(name: str, value: str) -> None:
    with pytest.raises(FieldError):
        check_trailer(name, value)
