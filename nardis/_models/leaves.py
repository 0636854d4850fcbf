"""
Texts that stand for something else: numbers, times, identifiers, bytes.

Times are read and written as RFC 3339 and ISO 8601 have them, in the forms that msgspec takes and
makes, so that an answer is the same with it and without. Each `parse_` function raises a ValueError
whose text is a sentence for the client, and never holds what was sent.

Source: RFC 3339 §5.6; ISO 8601 (durations); RFC 9562 §4 (UUIDs); RFC 4648 §4 (base64); RFC 8259 §6
(numbers).
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from math import isinf
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from decimal import Decimal
    from uuid import UUID

__all__ = [
    "MAX_DIGITS",
    "parse_bool",
    "parse_bytes",
    "parse_date",
    "parse_datetime",
    "parse_decimal",
    "parse_duration",
    "parse_float",
    "parse_int",
    "parse_time",
    "parse_uuid",
    "to_decimal",
    "to_float",
    "write_bytes",
    "write_datetime",
    "write_decimal",
    "write_duration",
    "write_time",
]

# Python's own limit for int(), whose time grows with the square of the digits.
MAX_DIGITS: Final = 4300

# int(Decimal("1e999999999")) takes minutes and 400 MB; no double is greater than 1.8e308.
MAX_EXPONENT: Final = 999

_INT: Final = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}")
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")

_DAY: Final = r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
_CLOCK: Final = r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:?[0-9]{2})?"
_DATE: Final = re.compile(_DAY)
_TIME: Final = re.compile(_CLOCK)
_DATETIME: Final = re.compile(f"{_DAY}[Tt ]{_CLOCK}")
_DURATION: Final = re.compile(
    r"([+-]?)P(?:([0-9]+(?:\.[0-9]+)?)D)?"
    r"(T(?:([0-9]+(?:\.[0-9]+)?)H)?(?:([0-9]+(?:\.[0-9]+)?)M)?(?:([0-9]+(?:\.[0-9]+)?)S)?)?",
    re.IGNORECASE | re.ASCII,
)
_UUID: Final = re.compile(
    r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    re.IGNORECASE | re.ASCII,
)


# --- numbers --------------------------------------------------------------------------------------


def parse_bool(text: str) -> bool:
    """
    Read `true`, `false`, `1` or `0`.

    >>> parse_bool("true"), parse_bool("0")
    (True, False)
    """
    if text in ("true", "1"):
        return True
    if text in ("false", "0"):
        return False
    raise ValueError("not a boolean: true, false, 1 or 0")


def parse_int(text: str) -> int:
    """
    Read ASCII digits, with a minus or without; no plus, no blank, no underscore.

    >>> parse_int("-42"), parse_int("007")
    (-42, 7)
    """
    if not _INT.fullmatch(text):
        raise ValueError("not an integer, such as 42")
    return int(text)


def parse_float(text: str) -> float:
    """
    Read a number as JSON writes it; leading zeros do no harm.

    >>> parse_float("1.5e3")
    1500.0
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number, such as 4.2")
    return to_float(text)


def parse_decimal(text: str) -> Decimal:
    """
    Read a number as JSON writes it, exactly.

    >>> parse_decimal("0.10")
    Decimal('0.10')
    """
    if not _NUMBER.fullmatch(text):
        raise ValueError("not a number, such as 4.2")
    return to_decimal(text)


def to_float(number: int | str | Decimal) -> float:
    """
    Return a finite float.

    >>> to_float(3)
    3.0
    """
    try:
        found = float(number)
    except OverflowError:  # from an int, where a text becomes infinity
        found = float("inf")
    if isinf(found):
        raise ValueError("a number too great: at most about 1.8e308 is taken")
    return found


def to_decimal(number: int | str | float | Decimal) -> Decimal:
    """
    Return a finite Decimal whose exponent has at most three digits, as safe to compute with as any.

    A text may be whatever `Decimal` takes, as for msgspec.

    >>> to_decimal("1e3")
    Decimal('1E+3')
    """
    from decimal import Decimal, DecimalException

    try:
        # The text of a float is what was written, give or take zeros; its value has 50 digits.
        found = Decimal(str(number) if isinstance(number, float) else number)
    except DecimalException:
        raise ValueError("not a number, such as 4.2") from None
    if not found.is_finite():
        raise ValueError("not a finite number")
    if abs(found.adjusted()) > MAX_EXPONENT:
        raise ValueError(f"a number whose exponent is beyond {MAX_EXPONENT}")
    return found


def write_decimal(number: Decimal) -> str:
    """
    Return the text of a Decimal, as msgspec writes it.

    Raises:
        ValueError: It is not finite, which JSON is not either.

    >>> from decimal import Decimal
    >>> write_decimal(Decimal("1.10"))
    '1.10'
    """
    if not number.is_finite():
        raise ValueError(f"Out of range decimal values are not JSON compliant: {number}")
    return str(number)


# --- times ----------------------------------------------------------------------------------------


def parse_date(text: str) -> date:
    """
    Read a full-date.

    Source: RFC 3339 §5.6.
    >>> parse_date("2026-11-30")
    datetime.date(2026, 11, 30)
    """
    if found := _DATE.fullmatch(text):
        try:
            return date(int(found[1]), int(found[2]), int(found[3]))
        except ValueError:
            pass
    raise ValueError("not a date, such as 2026-11-30")


def parse_time(text: str) -> time:
    """
    Read a partial-time, with an offset or without.

    Source: RFC 3339 §5.6.
    >>> parse_time("12:30:00.5Z")
    datetime.time(12, 30, 0, 500000, tzinfo=datetime.timezone.utc)
    """
    if found := _TIME.fullmatch(text):
        try:
            return _moment(date(2000, 1, 1), found.groups()).timetz()
        except (OverflowError, ValueError):
            pass
    raise ValueError("not a time, such as 12:30:00")


def parse_datetime(text: str) -> datetime:
    """
    Read a date-time; one without an offset is naive.

    Source: RFC 3339 §5.6.
    >>> parse_datetime("2026-11-30T12:30:00Z")
    datetime.datetime(2026, 11, 30, 12, 30, tzinfo=datetime.timezone.utc)
    """
    if found := _DATETIME.fullmatch(text):
        try:
            day = date(int(found[1]), int(found[2]), int(found[3]))
            return _moment(day, found.groups()[3:])
        except (OverflowError, ValueError):
            pass
    raise ValueError("not a date and time, such as 2026-11-30T12:30:00Z")


def parse_duration(text: str) -> timedelta:
    """
    Read days, hours, minutes and seconds; the last of them may have a fraction.

    Years and months have no certain length, and weeks are written as days, as for msgspec.

    Source: ISO 8601, durations.
    >>> parse_duration("-P1DT2.5H")
    datetime.timedelta(days=-2, seconds=77400)
    """
    found = _DURATION.fullmatch(text)
    parts = [part for part in found.group(2, 4, 5, 6) if part] if found else []
    if (
        found
        and parts
        and len(found[3] or "T?") > 1
        and not any("." in each for each in parts[:-1])
    ):
        days, hours, minutes, seconds = (part or "0" for part in found.group(2, 4, 5, 6))
        try:
            length = (
                _span(days, 86400) + _span(hours, 3600) + _span(minutes, 60) + _span(seconds, 1)
            )
            return -length if found[1] == "-" else length
        except (OverflowError, ValueError):  # too great for timedelta(), or for int()
            pass
    raise ValueError("not a duration of days, hours, minutes and seconds, such as P1DT2H30M")


def write_datetime(moment: datetime) -> str:
    """
    Return the text of a datetime: `Z` for UTC, and no offset where there is none.

    An offset that is no whole number of minutes, which RFC 3339 cannot write, becomes UTC.

    Source: RFC 3339 §5.6.
    >>> write_datetime(datetime(2026, 11, 30, 12, 30, tzinfo=UTC))
    '2026-11-30T12:30:00Z'
    """
    offset = moment.utcoffset()
    if offset is not None and offset % timedelta(minutes=1):
        moment = moment.astimezone(UTC)
    return _with_z(moment.isoformat())


def write_time(moment: time) -> str:
    """
    Return the text of a time.

    Raises:
        ValueError: Its offset is no whole number of minutes.

    Source: RFC 3339 §5.6.
    >>> write_time(time(12, 30, tzinfo=UTC))
    '12:30:00Z'
    """
    offset = moment.utcoffset()
    if offset is not None and offset % timedelta(minutes=1):
        raise ValueError(f"{moment!r} cannot be written: its offset is no whole number of minutes")
    return _with_z(moment.isoformat())


def write_duration(length: timedelta) -> str:
    """
    Return the text of a timedelta, in days and seconds, as msgspec writes it.

    Source: ISO 8601, durations.
    >>> write_duration(timedelta(days=-1, microseconds=-5)), write_duration(timedelta(0))
    ('-P1DT0.000005S', 'P0D')
    """
    sign, length = ("-", -length) if length.days < 0 else ("", length)
    days = f"{length.days}D" if length.days or not length else ""
    seconds = str(length.seconds)
    if length.microseconds:
        seconds = f"{seconds}.{length.microseconds:06}".rstrip("0")
    return f"{sign}P{days}" + (f"T{seconds}S" if seconds != "0" else "")


def _moment(day: date, clock: tuple[str | Any, ...]) -> datetime:
    hour, minute, second, fraction, offset = clock
    zone = None if offset is None else _zone(offset)
    moment = datetime(
        day.year, day.month, day.day, int(hour), int(minute), int(second), tzinfo=zone
    )
    # Added, since what rounds up to a whole second moves the rest.
    return moment + timedelta(microseconds=_millionths(fraction)) if fraction else moment


def _zone(offset: str) -> tzinfo:
    if offset in "Zz":
        return UTC
    hours, minutes = int(offset[1:3]), int(offset[-2:])
    if minutes > 59:
        raise ValueError
    away = timedelta(hours=hours, minutes=minutes)
    return timezone(-away if offset[0] == "-" else away)


def _millionths(fraction: str) -> int:
    """Round half up, by the seventh digit alone."""
    return int(fraction[:6].ljust(6, "0")) + (fraction[6:7] >= "5")


def _span(number: str, seconds: int) -> timedelta:
    whole, _, fraction = number.partition(".")
    fraction = fraction[:18]  # of a day that is far below a microsecond
    unit: int = 10 ** len(fraction)
    part = (int(fraction or "0") * seconds * 2_000_000 + unit) // (2 * unit)  # half up
    return timedelta(seconds=int(whole) * seconds, microseconds=part)


def _with_z(text: str) -> str:
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


# --- identifiers and bytes ------------------------------------------------------------------------


def parse_uuid(text: str) -> UUID:
    """
    Read a UUID, with its hyphens or without any, in small or capital letters.

    Source: RFC 9562 §4.
    >>> str(parse_uuid("6F1B7D1E33D64B0A9D9C0A0F0C2D1F11"))
    '6f1b7d1e-33d6-4b0a-9d9c-0a0f0c2d1f11'
    """
    if not _UUID.fullmatch(text):
        raise ValueError("not a UUID, such as 6f1b7d1e-33d6-4b0a-9d9c-0a0f0c2d1f11")
    from uuid import UUID  # 7.6 ms, and for those who have one alone

    return UUID(text)


def parse_bytes(text: str) -> bytes:
    """
    Read base64, padded, without blanks.

    Source: RFC 4648 §4.
    >>> parse_bytes("aGk=")
    b'hi'
    """
    try:
        if len(text) % 4 == 0:  # which the strict mode of Python does not look at
            return a2b_base64(text, strict_mode=True)
    except ValueError:
        pass
    raise ValueError("not base64, such as aGk=")


def write_bytes(data: bytes | bytearray | memoryview) -> str:
    """
    Return base64.

    Source: RFC 4648 §4.
    >>> write_bytes(b"hi")
    'aGk='
    """
    return b2a_base64(bytes(data), newline=False).decode()
