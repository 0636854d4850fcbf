"""
What stands in JSON for an object that JSON has not: what is read into a type can be written again.

The forms are those of msgspec: RFC 3339 for times, texts for UUIDs and Decimals, base64 for bytes,
its value for a member of an Enum, an object for a dataclass.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import deque
from collections.abc import Callable, Mapping, Set
from datetime import date, datetime, time, timedelta
from enum import Enum
from functools import lru_cache
from typing import Any, Final, cast

from .leaves import write_bytes, write_datetime, write_decimal, write_duration, write_time

__all__ = ["plain", "simpler"]

# A program has as many types as its source names; one that makes types while it runs must not grow
# this cache without bound.
CACHED_TYPES: Final = 1024

Writer = Callable[[Any], Any]

# By name, so that none has to be imported: `uuid` takes 7.6 ms, `decimal` 1.2. Of a class and its
# bases the first counts, so a datetime is no date.
_WRITERS: Final[Mapping[str, Writer]] = {
    "datetime.datetime": write_datetime,
    "datetime.date": date.isoformat,
    "datetime.time": write_time,
    "datetime.timedelta": write_duration,
    "uuid.UUID": str,
    "decimal.Decimal": write_decimal,
    "builtins.bytes": write_bytes,
    "builtins.bytearray": write_bytes,
    "builtins.memoryview": write_bytes,
}


def simpler(obj: object) -> Any:
    """
    Return something simpler that stands for *obj* in JSON; its parts may be as complex as before.

    It is what the encoder of the standard library calls `default`, orjson too, and msgspec
    `enc_hook`.

    Raises:
        TypeError: Nothing stands for such an object.
        ValueError: It is a number that is not finite, or a time that cannot be written.

    >>> from datetime import date
    >>> simpler(date(2026, 11, 30)), simpler(b"hi")
    ('2026-11-30', 'aGk=')
    """
    kind: Any = type(obj)
    return _writer_of(kind)(obj)


def plain(obj: Any) -> Any:
    """
    Return what stands for *obj* in JSON, all through: also for the keys of its dicts.

    Raises:
        TypeError: Nothing stands for a part of it, or a key is no text and no number.
        ValueError: As from `simpler`.

    >>> from datetime import date
    >>> plain({date(2026, 11, 30): {(1, b"hi")}})
    {'2026-11-30': [[1, 'aGk=']]}
    """
    if isinstance(obj, Enum):
        return plain(obj.value)
    if obj is None or isinstance(obj, (str, int, float)):
        return obj
    if isinstance(obj, dict):
        members = cast("dict[Any, Any]", obj)
        return {_name(key): plain(value) for key, value in members.items()}
    if isinstance(obj, (list, tuple)):
        return [plain(each) for each in cast("list[Any]", obj)]
    return plain(simpler(obj))


def _name(key: Any) -> str:
    """Return the name of a member; what is no text is named as Python's encoder does."""
    name = plain(key)
    if isinstance(name, str):
        return name
    if name is None:
        return "null"
    if isinstance(name, bool):
        return "true" if name else "false"
    if isinstance(name, (int, float)):
        return repr(name)
    raise TypeError(f"a member of a JSON object has a text for its name, not {type(key).__name__}")


@lru_cache(CACHED_TYPES)
def _writer_of(cls: Any) -> Writer:
    if issubclass(cls, Enum):
        return _value
    for each in cls.__mro__:
        writer = _WRITERS.get(f"{each.__module__}.{each.__qualname__}")
        if writer is not None:
            return writer
    if hasattr(cls, "__struct_fields__"):
        return _struct
    if hasattr(cls, "model_dump"):
        # By alias, as it was read.
        return lambda model: model.model_dump(mode="json", by_alias=True)
    if dataclasses.is_dataclass(cls):
        return _members([field.name for field in dataclasses.fields(cls)])
    if hasattr(cls, "__attrs_attrs__"):
        return _members([field.name for field in cls.__attrs_attrs__])
    if issubclass(cls, (Set, deque, list, tuple)):
        return list
    if issubclass(cls, Mapping):
        return dict
    for base in (str, int, float):  # a class of its own, of which msgspec's encoder knows nothing
        if issubclass(cls, base):
            return base
    raise TypeError(f"Object of type {cls.__name__} is not JSON serializable")


def _value(member: Enum) -> Any:
    return member.value


def _struct(obj: Any) -> Any:
    # It knows names, tags, and what is left out. The rest is ours, so that it is the same
    # everywhere. It has imported decimal itself.
    ours = (bytes, bytearray, datetime, time, date, timedelta, sys.modules["decimal"].Decimal)
    return sys.modules["msgspec"].to_builtins(obj, builtin_types=ours, enc_hook=simpler)


def _members(names: list[str]) -> Writer:
    # What is not set is left out, and so is what msgspec calls that.
    unset = getattr(sys.modules.get("msgspec"), "UNSET", object())

    def write(obj: Any) -> dict[str, Any]:
        return {name: value for name in names if (value := getattr(obj, name, unset)) is not unset}

    return write
