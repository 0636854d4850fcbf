"""
The dates of Date, Last-Modified, Expires and the preconditions: written in one form, read in three.

Source: RFC 9110 §5.6.7.
"""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, date, datetime, timedelta

from ..errors import UsageError

__all__ = ["format_date", "parse_date"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LONG_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_DAY_S = 24 * 60 * 60

_DAY_TEXT = rf"(?:{'|'.join(_DAYS)})"
_LONG_DAY_TEXT = rf"(?:{'|'.join(_LONG_DAYS)})"
_MONTH_TEXT = rf"(?P<month>{'|'.join(_MONTHS)})"
_CLOCK_TEXT = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"

# IMF-fixdate, which every sender must write; then the forms of RFC 850 and of asctime. Not
# email.utils.parsedate, which takes any order, other zones, and days that no month has. Dates are
# case-sensitive, but caches should ignore the case (RFC 9111 §4.2), and no harm comes of it
# elsewhere.
_FORMS = [
    re.compile(form, re.ASCII | re.IGNORECASE)
    for form in (
        rf"{_DAY_TEXT}, (?P<day>\d\d) {_MONTH_TEXT} (?P<year>\d{{4}}) {_CLOCK_TEXT} GMT",
        rf"{_LONG_DAY_TEXT}, (?P<day>\d\d)-{_MONTH_TEXT}-(?P<year>\d\d) {_CLOCK_TEXT} GMT",
        rf"{_DAY_TEXT} {_MONTH_TEXT} (?P<day>[ \d]\d) {_CLOCK_TEXT} (?P<year>\d{{4}})",
    )
]


def format_date(when: datetime | float) -> str:
    """
    Write a moment as the date of a field: in GMT, rounded down to a whole second.

    Args:
        when: A datetime with a timezone, or unix seconds.

    Raises:
        UsageError: *when* is neither, or has no timezone, or lies outside of the years 1 to 9999.

    Source: RFC 9110 §5.6.7, IMF-fixdate.
    >>> format_date(784111777.9)
    'Sun, 06 Nov 1994 08:49:37 GMT'
    """
    try:
        if not isinstance(when, datetime):
            moment = _EPOCH + timedelta(seconds=math.floor(when))
        elif when.utcoffset() is not None:
            moment = when.astimezone(UTC)
        else:
            raise UsageError(
                "this datetime has no timezone, and HTTP dates are in GMT: make it with "
                "datetime.now(UTC), or call .astimezone() if it is local time"
            )
    except TypeError as exc:  # a str, or a date without a time
        raise UsageError(
            "an HTTP date is made of a datetime with a timezone, or of unix seconds, "
            f"not of {type(when).__name__}"
        ) from exc
    except (OverflowError, ValueError) as exc:  # a ValueError is one of `nan`
        raise UsageError(
            "an HTTP date lies within the years 1 to 9999: give seconds since 1970, no milliseconds"
        ) from exc
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    return f"{day}, {moment.day:02} {month} {moment.year:04} {moment:%H:%M:%S} GMT"


def parse_date(value: str, *, now: float | None = None) -> int | None:
    """
    Read the date of a field, in any of the three forms that HTTP has had.

    Case is ignored. The day of the week need not be that of the date, since other servers do not
    look at it either. A second 60 is only the leap second before midnight.

    Args:
        value: The field value as received.
        now: The present, in unix seconds; the clock's if `None`. A year of two digits is the latest
            such year that is not more than 50 years ahead.

    Returns:
        Unix seconds; `None` for anything else, a list of dates included.

    Source: RFC 9110 §5.6.7.
    >>> parse_date("Sun, 06 Nov 1994 08:49:37 GMT"), parse_date("Sun Nov  6 08:49:37 1994")
    (784111777, 784111777)
    >>> parse_date("Wed, 30 Feb 1994 08:49:37 GMT")
    """
    text = value.strip(" \t")
    for form in _FORMS:
        if found := form.fullmatch(text):
            return _seconds(found, now)
    return None


def _seconds(found: re.Match[str], now: float | None) -> int | None:
    month = _MONTH_NUMBERS[found["month"].lower()]
    day, hour, minute, second = map(int, found.group("day", "hour", "minute", "second"))
    year = int(found["year"])
    if len(found["year"]) == 2:
        year = _full_year((year, month, day, hour, minute, second), now)
    if hour > 23 or minute > 59 or (second > 59 and (hour, minute, second) != (23, 59, 60)):
        return None
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:  # the year 0, or a day that the month does not have
        return None
    return days * _DAY_S + hour * 3600 + minute * 60 + second


def _full_year(moment: tuple[int, int, int, int, int, int], now: float | None) -> int:
    """Give a year of two digits its century."""
    today = time.gmtime(now)
    year, *rest = moment
    year += today.tm_year // 100 * 100 + 100
    while [year, *rest] > [today.tm_year + 50, *today[1:6]]:
        year -= 100
    return year
