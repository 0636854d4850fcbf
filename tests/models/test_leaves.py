"""Texts that stand for something else are read and written as msgspec does."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nardis._models import leaves

PARSERS: list[tuple[Any, Callable[[str], Any]]] = [
    (date, leaves.parse_date),
    (time, leaves.parse_time),
    (datetime, leaves.parse_datetime),
    (timedelta, leaves.parse_duration),
    (UUID, leaves.parse_uuid),
    (bytes, leaves.parse_bytes),
]
LIKELY = [
    st.from_regex(pattern, fullmatch=True)
    for pattern in (
        r"[0-9]{4}-[0-1][0-9]-[0-3][0-9]",
        r"[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,9})?([Zz]|[+-][0-2][0-9]:?[0-6][0-9])?",
        r"2[0-9]{3}-0[1-9]-0[1-9][Tt ]1[0-9]:0[0-9]:0[0-9](\.[0-9]{1,9})?(Z|[+-]0[0-9]:[0-5]0)?",
        r"[+-]?[Pp]([0-9]{1,4}(\.[0-9]{1,3})?D)?(T([0-9]{1,3}H)?([0-9]{1,3}M)?([0-9.]{1,9}S)?)?",
        r"[0-9a-fA-F]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}",
        r"[A-Za-z0-9+/]{0,8}={0,2}",
    )
]
# msgspec (0.22) takes a NUL behind the seconds for the end of the text.
TEXTS = st.one_of(*LIKELY, st.text(max_size=30)).filter(lambda text: "\0" not in text)


def read(parse: Callable[[str], Any], text: str) -> object:
    try:
        return parse(text)
    except ValueError as exc:
        return None if "such as" in str(exc) else exc


def msgspec_reads(text: str, type: Any) -> object:
    try:
        return msgspec.json.decode(json.dumps(text).encode(), type=type)
    except (ValueError, msgspec.DecodeError):  # before 0.21 it is no ValueError
        return None


@pytest.mark.parametrize(("type_", "parse"), PARSERS)
@given(text=TEXTS)
@example(text="9999-12-31T23:59:59.9999999Z")
@example(text="2026-12-31T23:59:59.9999995")
@example(text="23:59:59.9999999")
@example(text="0001-01-01T00:00:00+23:59")
@example(text="2026-01-01T00:00:00+24:00")
@example(text="2026-01-01T00:00:00-0090")
@example(text="2026-01-01T00:00:60Z")
@example(text="2026-02-29T00:00:00Z")
@example(text="2026-02-29")
@example(text="24:00:00")
@example(text="P999999999D")
@example(text="P1000000000D")
@example(text="P" + "9" * 4301 + "D")
@example(text="PT0.0000005S")
@example(text="P0.1D")
@example(text="P1DT")
@example(text="P")
@example(text="PT1.5H2M")
@example(text="aGk=")
@example(text="aG9k=")
@example(text="aGl=")
def test_a_text_is_read_as_msgspec_reads_it(
    type_: Any, parse: Callable[[str], Any], text: str
) -> None:
    found, expected = read(parse, text), msgspec_reads(text, type_)

    assert found == expected
    assert getattr(found, "tzinfo", None) == getattr(expected, "tzinfo", None)


@given(
    st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(minutes=-90))))
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.binary()
)
def test_a_value_is_written_as_msgspec_writes_it(value: Any) -> None:
    writers: dict[type, Callable[[Any], str]] = {
        datetime: leaves.write_datetime,
        date: date.isoformat,
        time: leaves.write_time,
        timedelta: leaves.write_duration,
        bytes: leaves.write_bytes,
    }

    assert writers[type(value)](value) == msgspec.to_builtins(value)


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)), st.integers(1, 59)
)
def test_an_offset_with_seconds_keeps_the_moment(naive: datetime, seconds: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(seconds=seconds)))

    assert leaves.parse_datetime(leaves.write_datetime(moment)) == moment


@pytest.mark.parametrize(
    ("parse", "long"),
    [
        (leaves.parse_int, "1" * 4000),
        (leaves.parse_float, "1." + "1" * 10_000),
        (leaves.parse_float, "1" * 10_000 + "x"),
        (leaves.parse_datetime, "2026-01-01T00:00:00." + "1" * 10_000),
        (leaves.parse_datetime, "2026-01-01T00:00:00." + "1" * 10_000 + "x"),
        (leaves.parse_duration, "PT1." + "1" * 10_000 + "S"),
        (leaves.parse_duration, "P" + "1" * 10_000 + "x"),
        (leaves.parse_duration, "P1." + "1" * 10_000 + "DT"),
        (leaves.parse_bytes, "=" * 10_000),
        (leaves.parse_uuid, "1" * 10_000),
    ],
)
def test_a_long_text_takes_no_more_steps(
    parse: Callable[[str], Any], long: str, count_calls: Callable[..., int]
) -> None:
    """What is called does not depend on the length; no pattern has two ways through a text."""
    read(parse, "1")
    assert count_calls(read, parse, long * 2) <= count_calls(read, parse, long) + 1
