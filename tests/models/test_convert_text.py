"""`convert_text`: a text of a path or a query, read into a type."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._models.convert import convert_text
from nardis.errors import UsageError

from .models import Colour, Item, Level, Mixed, Rights, UserId

ID = "6f1b7d1e-33d6-4b0a-9d9c-0a0f0c2d1f11"


@pytest.mark.parametrize(
    ("text", "type_", "value"),
    [
        ("", str, ""),
        ("42", str, "42"),
        ("42", Any, "42"),
        ("0", int, 0),
        ("-0", int, 0),
        ("007", int, 7),
        ("-42", int, -42),
        ("9" * 4300, int, int("9" * 4300)),
        ("42", UserId, 42),
        ("1", float, 1.0),
        ("-1.5e-3", float, -0.0015),
        ("1e-999", float, 0.0),
        ("1.10", Decimal, Decimal("1.10")),
        ("true", bool, True),
        ("1", bool, True),
        ("false", bool, False),
        ("0", bool, False),
        ("aGk=", bytes, b"hi"),
        ("2026-11-30", date, date(2026, 11, 30)),
        ("2026-11-30T12:00:00", datetime, datetime(2026, 11, 30, 12)),
        ("PT1M", timedelta, timedelta(minutes=1)),
        (ID, UUID, UUID(ID)),
        ("red", Colour, Colour.RED),
        ("2", Level, Level.HIGH),
        ("3", Rights, Rights.READ | Rights.WRITE),
        ("1", Mixed, Mixed.ONE),
        ("0.5", Mixed, Mixed.HALF),
        ("false", Mixed, Mixed.NO),
        ("null", Mixed, Mixed.NOTHING),
        ("a", Literal["a", 1], "a"),
        ("1", Literal["a", 1], 1),
        ("1", Literal[1, "1"], "1"),
        ("", int | None, None),
        ("", str | None, ""),
        ("5", int | str, 5),
        ("five", int | str, "five"),
        ("1", int | bool, 1),
        ("true", int | bool, True),
        ("1.5", int | float, 1.5),
        ("3", Annotated[int, msgspec.Meta(ge=1)], 3),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_text_becomes_a_value(text: str, type_: Any, value: object) -> None:
    found = convert_text(text, type_)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("type_", "texts", "said"),
    [
        (
            int,
            ["", " 1", "1 ", "+1", "1_000", "\u0661", "1.0", "0x1", "--1", "-", "1\n", "9" * 4301],
            "not an integer, such as 42",
        ),
        (
            float,
            ["", "nan", "inf", "-Infinity", ".5", "5.", "1_0", " 1", "1e", "\u0663.\u0665"],
            "not a number, such as 4.2",
        ),
        (float, ["1e999", "-" + "9" * 400], "a number too great: at most about 1.8e308 is taken"),
        (Decimal, ["", "NaN", "Infinity", "1_0", "+1"], "not a number, such as 4.2"),
        (Decimal, ["1e1000"], "a number whose exponent is beyond 999"),
        (bool, ["", "True", "yes", "on", "2"], "not a boolean: true, false, 1 or 0"),
        (date, ["", "30.11.2026", "2026-02-30"], "not a date, such as 2026-11-30"),
        (int | None, ["x"], "not an integer or nothing"),
        (Colour, ["green", ""], 'expected "red" or "blue"'),
        (Rights, ["4", "x"], "expected 1 or 2"),
        (Annotated[int, msgspec.Meta(ge=1)], ["0"], "expected int >= 1"),
    ],
)
def test_another_text_is_a_value_error(type_: Any, texts: list[str], said: str) -> None:
    for text in texts:
        with pytest.raises(ValueError, match=re.escape(said) + r"\Z"):
            convert_text(text, type_)


@pytest.mark.parametrize("type_", [list[int], dict, Item, complex])
def test_a_type_that_no_text_is_is_a_usage_error(type_: Any) -> None:
    with pytest.raises(UsageError):
        convert_text("1", type_)


@given(st.text("-+_ 0123456789.e\u0661", max_size=5) | st.text(max_size=5))
def test_only_ascii_digits_are_an_integer(text: str) -> None:
    digits = text.removeprefix("-")
    try:
        found = convert_text(text, int)
    except ValueError:
        found = None

    assert found == (int(text) if digits.isascii() and digits.isdigit() else None)


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_as_python_writes_it(number: float) -> None:
    assert convert_text(repr(number), type(number)) == number
