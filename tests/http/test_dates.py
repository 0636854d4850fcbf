"""`format_date` and `parse_date`: the dates of fields (RFC 9110 §5.6.7)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.dates import format_date, parse_date
from nardis.errors import UsageError

EXAMPLE = 784_111_777  # the RFC's own
NOON_OF_2026 = 1_782_907_200  # Wed, 01 Jul 2026 12:00:00 GMT
DAY_S = 86_400

# Not the first and the last days, which in some zones lie outside of the four digits.
MOMENTS = st.datetimes(
    datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.timezones() | st.just(UTC)
)
LONG_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


# --- format_date ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (EXAMPLE, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (EXAMPLE + 0.999, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (-1, "Wed, 31 Dec 1969 23:59:59 GMT"),
        (-0.5, "Wed, 31 Dec 1969 23:59:59 GMT"),
        (datetime(1994, 11, 6, 8, 49, 37, 999_999, UTC), "Sun, 06 Nov 1994 08:49:37 GMT"),
        (
            datetime(1994, 11, 6, 0, 49, 37, tzinfo=timezone(timedelta(hours=-8))),
            "Sun, 06 Nov 1994 08:49:37 GMT",
        ),
        (datetime(1969, 12, 31, 23, 59, 59, 1, UTC), "Wed, 31 Dec 1969 23:59:59 GMT"),
        (datetime(1, 1, 1, tzinfo=UTC), "Mon, 01 Jan 0001 00:00:00 GMT"),
        (datetime.max.replace(tzinfo=UTC), "Fri, 31 Dec 9999 23:59:59 GMT"),
    ],
)
def test_a_moment_is_written_in_gmt_rounded_down(when: datetime | float, expected: str) -> None:
    assert format_date(when) == expected


def test_a_datetime_without_a_timezone_is_refused_with_a_hint() -> None:
    with pytest.raises(UsageError, match=r"no timezone.*datetime\.now\(UTC\).*astimezone\(\)"):
        format_date(datetime(1994, 11, 6, 8, 49, 37))


@pytest.mark.parametrize(
    "when",
    [
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        253_402_300_800,  # the year 10000
        EXAMPLE * 1000,
        -1e300,
        10**400,
        float("inf"),
        float("nan"),
    ],
    ids=repr,
)
def test_a_moment_outside_of_the_years_of_four_digits_is_refused(when: datetime | float) -> None:
    with pytest.raises(UsageError, match="within the years 1 to 9999"):
        format_date(when)


@pytest.mark.parametrize("when", [None, "Sun, 06 Nov 1994 08:49:37 GMT", date(1994, 11, 6), []])
def test_anything_else_is_refused_by_its_type(when: Any) -> None:
    with pytest.raises(UsageError, match=f"not of {type(when).__name__}"):
        format_date(when)


@given(st.datetimes(timezones=st.just(UTC)))
def test_the_standard_library_writes_the_same(when: datetime) -> None:
    assert format_date(when) == format_datetime(when, usegmt=True)


# --- parse_date -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", EXAMPLE),
        ("Sunday, 06-Nov-94 08:49:37 GMT", EXAMPLE),
        ("Sun Nov  6 08:49:37 1994", EXAMPLE),
        ("Sun Nov 06 08:49:37 1994", EXAMPLE),
        (" \tSun, 06 Nov 1994 08:49:37 GMT\t ", EXAMPLE),
        # The case, and the day of the week, that nobody looks at.
        ("sun, 06 NOV 1994 08:49:37 gmt", EXAMPLE),
        ("sunday, 06-nov-94 08:49:37 gmt", EXAMPLE),
        ("SUN NOV  6 08:49:37 1994", EXAMPLE),
        ("Mon, 06 Nov 1994 08:49:37 GMT", EXAMPLE),
        # The ends of each number.
        ("Thu, 29 Feb 2024 00:00:00 GMT", at("2024-02-29")),
        ("Wed, 31 Dec 1969 23:59:59 GMT", -1),
        ("Mon, 01 Jan 0001 00:00:00 GMT", at("0001-01-01")),
        ("Fri, 31 Dec 9999 23:59:59 GMT", at("9999-12-31T23:59:59")),
        ("Sat, 31 Dec 2016 23:59:60 GMT", at("2017-01-01")),
    ],
)
def test_each_of_the_three_forms_is_read(value: str, expected: int) -> None:
    assert parse_date(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "foo",
        "0",
        "784111777",
        "1994-11-06T08:49:37Z",
        # No such moment.
        "Wed, 30 Feb 1994 08:49:37 GMT",
        "Wed, 29 Feb 2023 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:60 GMT",
        "Sun, 06 Nov 1994 08:59:60 GMT",
        "Sun, 06 Nov 1994 23:59:61 GMT",
        "Wednesday, 30-Feb-94 08:49:37 GMT",
        "Sun Nov  0 08:49:37 1994",
        # Almost the form.
        "Wed, 01 Jan 99999 00:00:00 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun,  6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT",
        "Sun, 06 Nov 1994 08:49 GMT",
        "Sun, 06  Nov 1994 08:49:37 GMT",
        "Sun, 06\tNov 1994 08:49:37 GMT",
        "Sun, +6 Nov 1994 08:49:37 GMT",
        "Sun, 06 November 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Foo, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06-Nov-94 08:49:37 GMT",
        "Sun Nov 6 08:49:37 1994",
        "Sun Nov  6 08:49:37 1994 GMT",
        "06 Nov 1994 08:49:37 GMT",
        # Another zone, or none.
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 EST",
        # More than a date.
        "Sun, 06 Nov 1994 08:49:37 GMT; length=1",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        '"Sun, 06 Nov 1994 08:49:37 GMT"',
        "Sun, 06 Nov 1994 08:49:37 GMT\n",
        "\xa0Sun, 06 Nov 1994 08:49:37 GMT",
        # What Unicode calls a digit, or a small letter of S.
        "Sun, 0٦ Nov 1994 08:49:37 GMT",
        "\u017fun, 06 Nov 1994 08:49:37 GMT",
    ],
)
def test_anything_else_is_no_date(value: str) -> None:
    assert parse_date(value) is None


@pytest.mark.parametrize(
    ("value", "now", "expected"),
    [
        ("01-Jan-26 00:00:00", NOON_OF_2026, "2026-01-01"),
        ("31-Dec-75 23:59:59", NOON_OF_2026, "2075-12-31T23:59:59"),
        ("01-Jul-76 12:00:00", NOON_OF_2026, "2076-07-01T12:00"),
        ("01-Jul-76 12:00:01", NOON_OF_2026, "1976-07-01T12:00:01"),
        ("31-Dec-99 23:59:59", NOON_OF_2026, "1999-12-31T23:59:59"),
        ("01-Jan-00 00:00:00", NOON_OF_2026, "2000-01-01"),
        ("29-Feb-00 00:00:00", NOON_OF_2026, "2000-02-29"),
        ("01-Jan-01 00:00:00", at("2099-12-31"), "2101-01-01"),
        ("01-Jan-50 00:00:00", at("2000-01-01"), "2050-01-01"),
        ("02-Jan-50 00:00:00", at("2000-01-01"), "1950-01-02"),
        # Its fiftieth year has no such day, and its present one has.
        ("28-Feb-78 00:00:00", at("2028-02-29"), "2078-02-28"),
        ("01-Mar-78 00:00:00", at("2028-02-29"), "1978-03-01"),
    ],
)
def test_a_year_of_two_digits_is_at_most_fifty_years_ahead(
    value: str, now: int, expected: str
) -> None:
    assert parse_date(f"Monday, {value} GMT", now=now) == at(expected)


def test_the_clock_says_which_century_it_is() -> None:
    today = datetime.now(UTC)
    for year in (today.year - 49, today.year + 49):
        value = f"Monday, 01-Jan-{year % 100:02} 00:00:00 GMT"
        assert parse_date(value) == at(f"{year}-01-01")


@given(MOMENTS)
def test_what_was_written_is_read(when: datetime) -> None:
    expected = (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    assert parse_date(format_date(when)) == expected
    assert format_date(expected) == format_date(when)


@given(st.integers(at("0001-01-01"), at("9999-12-31T23:59:59")))
def test_asctime_is_read(seconds: int) -> None:
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    assert parse_date(when.ctime()) == seconds


@given(st.integers(-49 * 365, 49 * 365), st.integers(0, DAY_S - 1))
def test_rfc_850_is_read_within_fifty_years_of_today(days: int, second: int) -> None:
    seconds = (NOON_OF_2026 // DAY_S + days) * DAY_S + second
    when = datetime.fromtimestamp(seconds, UTC)
    value = f"{LONG_DAYS[when.weekday()]}, {when:%d-%b-%y %H:%M:%S} GMT"
    assert parse_date(value, now=NOON_OF_2026) == seconds


@given(
    st.text()
    | st.binary().map(lambda value: value.decode("latin-1"))
    | st.from_regex(
        r"\A(Sun, \d\d Nov \d{4}|Sunday, \d\d-Feb-\d\d) \d\d:\d\d:\d\d GMT\Z|"
        r"\ASun Feb [ \d]\d \d\d:\d\d:\d\d \d{4}\Z"
    )
)
def test_any_text_is_a_date_or_none(value: str) -> None:
    seconds = parse_date(value)
    assert seconds is None or format_date(seconds - 1)


@pytest.mark.parametrize("hostile", ["Sun, ", "0", " ", "\t", ",", "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_a_long_value_makes_no_more_work(hostile: str, count_calls: Callable[..., int]) -> None:
    short = count_calls(parse_date, hostile * 2)
    assert count_calls(parse_date, hostile * 1_000_000) == short
