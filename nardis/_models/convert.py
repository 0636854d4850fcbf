"""
Decoded values, and texts, read into types.

Source: RFC 6901 (the pointers of faults).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ..errors import UsageError
from .faults import Enough, Misfit, Walk
from .foreign import shown
from .plans import reader_of
from .readers import Reader

__all__ = ["convert", "convert_text", "read_with"]


def convert(value: Any, type: Any, *, exact: bool = False) -> Any:
    """
    Turn a decoded JSON value into one of *type*.

    Args:
        value: Dicts, lists, texts, numbers, booleans, None.
        type: A dataclass, TypedDict, NamedTuple, Enum, Struct, model, or whatever else may stand in
            an annotation.
        exact: Whether the numbers of *value* that have a fraction are `Decimal`.

    Raises:
        Misfit: It does not fit; each fault is listed, up to a hundred.
        UsageError: Nothing reads such a type.

    >>> convert({"a": "2026-11-30"}, dict[str, __import__("datetime").date])
    {'a': datetime.date(2026, 11, 30)}
    """
    return read_with(reader_of(type), value, Walk(exact=exact))


def convert_text(text: str, type: Any) -> Any:
    """
    Turn a text of a path into a value of *type*.

    Args:
        text: What stands in the path, decoded.
        type: int, float, bool, Decimal, str, date, datetime, time, timedelta, UUID, bytes, an Enum,
            a Literal, or a union of them.

    Raises:
        ValueError: It does not fit; the text of the error is a sentence for the client.
        UsageError: No text is such a type.

    >>> convert_text("-42", int)
    -42
    """
    reader = reader_of(type, texts=True)
    if str not in reader.kinds:
        raise UsageError(f"a text is never a {shown(type)}")
    walk = Walk()
    made = reader.read(text, walk, None)
    if walk.faults:
        raise ValueError(walk.faults[0].detail)
    return made


def read_with(reader: Reader, value: Any, walk: Walk) -> Any:
    """
    Return what *reader* makes of *value*.

    Raises:
        Misfit: *walk* picked up faults.
    """
    made = None
    with suppress(Enough):
        made = reader.read(value, walk, None)
    if walk.faults:
        raise Misfit(walk.faults, walk.more)
    return made
