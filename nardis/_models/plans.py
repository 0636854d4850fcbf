"""
Which reader reads a type.

The types are those that msgspec reads, so that it makes no difference whether it is installed, and
some that it does not: an Enum of mixed values, a union of types that are all written as texts,
`deque`, models that validate themselves. What only msgspec knows is in `foreign`.
"""

from __future__ import annotations

import collections
import collections.abc as abc
import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from typing import Any, Final, cast

from ..errors import UsageError
from . import foreign, leaves
from .foreign import shown
from .plain import plain
from .readers import Choice, Leaf, Reader, Union, Whatever
from .structures import Array, Field, Object, Row, Table

__all__ = ["reader_of"]

# A program has as many types as its source names; one that makes types while it runs must not grow
# this cache without bound.
CACHED_TYPES: Final = 1024

_TEXT: Final = (str,)
_NUMBER: Final = (int, float, Decimal)
_A_DATE: Final = "a date"
_A_DATETIME: Final = "a date and time"
_IN_BASE64: Final = "a string in base64"

_WHATEVER: Final = Whatever()

# Those that are written as texts, in a query as well as in JSON.
_TEXTS: Final[dict[Any, Reader]] = {
    str: Leaf("a string", _TEXT, rank=6),
    bytes: Leaf(_IN_BASE64, _TEXT, leaves.parse_bytes),
    bytearray: Leaf(_IN_BASE64, _TEXT, lambda text: bytearray(leaves.parse_bytes(text))),
    memoryview: Leaf(_IN_BASE64, _TEXT, lambda text: memoryview(leaves.parse_bytes(text))),
    date: Leaf(_A_DATE, _TEXT, leaves.parse_date),
    datetime: Leaf(_A_DATETIME, _TEXT, leaves.parse_datetime),
    time: Leaf("a time", _TEXT, leaves.parse_time),
    timedelta: Leaf("a duration", _TEXT, leaves.parse_duration),
    Any: _WHATEVER,
    object: _WHATEVER,
}

_NULL: Final = Leaf("null", (types.NoneType,), rank=-1)
_IN_JSON: Final[dict[Any, Reader]] = _TEXTS | {
    None: _NULL,
    types.NoneType: _NULL,
    bool: Leaf("a boolean", (bool,)),
    int: Leaf("an integer", (int,), rank=2),
    float: Leaf("a number", _NUMBER, leaves.to_float, rank=3),
    Decimal: Leaf("a decimal number", (*_NUMBER, str), leaves.to_decimal, rank=4, decimal=True),
}


def _nothing(text: str) -> None:
    """Read the empty text, which a form sends for a number that was left out."""
    if text:
        raise ValueError("not empty")


_EMPTY: Final = Leaf("nothing", _TEXT, _nothing, rank=7)
_IN_TEXTS: Final[dict[Any, Reader]] = _TEXTS | {
    None: _EMPTY,
    types.NoneType: _EMPTY,
    bool: Leaf("a boolean", _TEXT, leaves.parse_bool, rank=3),
    int: Leaf("an integer", _TEXT, leaves.parse_int, rank=2),
    float: Leaf("a number", _TEXT, leaves.parse_float, rank=4),
    Decimal: Leaf("a decimal number", _TEXT, leaves.parse_decimal, rank=5),
}

_UUID: Final = Leaf("a UUID", _TEXT, leaves.parse_uuid)

_ARRAYS: Final[dict[Any, Callable[[list[Any]], Any]]] = {
    list: list,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Collection: list,
    abc.Iterable: list,
    set: set,
    abc.Set: set,
    abc.MutableSet: set,
    frozenset: frozenset,
    tuple: tuple,
    collections.deque: collections.deque,
}

_TABLES: Final = frozenset({dict, abc.Mapping, abc.MutableMapping})

_UNIONS: Final = (typing.Union, types.UnionType)
_MARKS: Final = ("Required", "NotRequired", "ReadOnly")


def reader_of(hint: Any, *, texts: bool = False) -> Reader:
    """
    Return the reader of a type; it is kept.

    Args:
        hint: The type: what may stand in an annotation, resolved.
        texts: Whether its values are texts of a query or a path, not JSON.

    Raises:
        UsageError: Nothing here reads such a type.
    """
    try:
        hash(hint)
    except TypeError:  # what stands in Annotated may be anything
        return _reader(hint, texts)
    return _kept_reader(hint, texts)


def _reader(hint: Any, texts: bool) -> Reader:
    known = _known(hint, texts)
    if known is not None:
        return known
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return foreign.constrained(reader_of(args[0], texts=texts), args[1:])
    if origin in _UNIONS:
        return _union(hint, args, texts)
    if origin is typing.Literal:
        return Choice([(_written(value), value) for value in args], texts=texts)
    if origin is typing.Final:
        return reader_of(args[0], texts=texts)
    if isinstance(hint, typing.NewType):
        return reader_of(hint.__supertype__, texts=texts)
    if isinstance(hint, typing.TypeVar):
        meant = hint.__constraints__ or (hint.__bound__ or Any,)
        return _union(hint, meant, texts)
    cls = hint if origin is None else origin
    if hasattr(cls, "__type_params__") and hasattr(cls, "__value__"):  # made by `type X = ...`
        return reader_of(_filled(cls.__value__, cls.__type_params__, args), texts=texts)
    if isinstance(cls, type):
        return _of_class(hint, cls, args, texts)
    if isinstance(hint, str):
        raise UsageError(f"{hint!r} is the name of a type: give the class itself")
    return foreign.known_to_msgspec(hint, texts)


_kept_reader = lru_cache(CACHED_TYPES)(_reader)


def _known(hint: Any, texts: bool) -> Reader | None:
    """Return the reader of a simple type, for which one is enough; None for any other."""
    try:
        known = (_IN_TEXTS if texts else _IN_JSON).get(hint)
    except TypeError:
        return None
    # Not by the class itself, which costs 7.6 ms to import.
    if known is None and getattr(hint, "__module__", "") == "uuid":
        return _UUID if hint.__qualname__ == "UUID" else None
    return known


def _of_class(hint: Any, cls: Any, args: tuple[Any, ...], texts: bool) -> Reader:
    """
    Return the reader of a class.

    Args:
        hint: The class, or the class with its parameters.
        cls: The class.
        args: Its parameters.
        texts: As for `reader_of`.
    """
    if _is_row(hint, cls, args):
        return Row(lambda: [reader_of(each, texts=texts) for each in args], tuple)
    if cls in _ARRAYS:
        return Array(partial(reader_of, args[0] if args else Any, texts=texts), _ARRAYS[cls])
    if cls in _TABLES:
        name, value = args or (Any, Any)
        # The name of a member is a text, whatever it stands for.
        return Table(partial(reader_of, name, texts=True), partial(reader_of, value, texts=texts))
    if issubclass(cls, Enum):
        return _enum(cls, texts)
    if hasattr(cls, "__required_keys__"):
        return Object(lambda: list(_typed_dict_fields(cls, args, texts)), dict)
    if hasattr(cls, "__struct_fields__"):
        return foreign.struct(hint, partial(reader_of, texts=texts))
    if hasattr(cls, "model_validate"):
        return foreign.Model(cls)
    if dataclasses.is_dataclass(cls):
        return _dataclass(cls, args, texts)
    if hasattr(cls, "_fields") and issubclass(cls, tuple):
        return _named_tuple(cls, args, texts)
    return foreign.known_to_msgspec(hint, texts)


def _is_row(hint: Any, cls: Any, args: tuple[Any, ...]) -> bool:
    """Whether it is a tuple of a certain length, be it 0."""
    whole = hint is tuple or str(hint) == "typing.Tuple"
    return cls is tuple and not whole and args[-1:] != (...,)


# --- enums and unions -----------------------------------------------------------------------------


def _written(value: Any) -> Any:
    """Return what stands in JSON for a value that is one of few."""
    written = plain(value)
    if isinstance(written, (list, dict)):
        raise UsageError(f"JSON has no simple value for {value!r}, so nothing can choose it")
    return written


def _enum(cls: type[Enum], texts: bool) -> Reader:
    values = [(_written(member), member) for member in cls.__members__.values()]
    # A Flag has combinations of its members, and an Enum may know values beside those it lists.
    more = cast("Any", cls)._missing_.__func__ is not cast("Any", Enum)._missing_.__func__
    numbers = all(type(written) is int for written, _ in values)

    def other(written: Any) -> Any:
        return cls(leaves.parse_int(written) if texts and numbers else written)

    return Choice(values, texts=texts, other=other if more else None)


def _union(hint: Any, args: Sequence[Any], texts: bool) -> Reader:
    members = [reader for each in args if (reader := reader_of(each, texts=texts)).kinds]
    if _WHATEVER in members:
        return _WHATEVER
    for kind in (list, dict):
        several = [n for n, each in enumerate(members) if kind in each.kinds]
        if len(several) > 1:
            one = foreign.tagged([members[n] for n in several]) if kind is dict else None
            if one is None:
                raise UsageError(
                    f"JSON tells nothing in {shown(hint)} apart: use msgspec Structs with a tag"
                )
            members = [each for n, each in enumerate(members) if n not in several] + [one]
    return Union(members)


# --- classes with members -------------------------------------------------------------------------


def _dataclass(cls: Any, args: tuple[Any, ...], texts: bool) -> Reader:
    fields = dataclasses.fields(cls)
    optional = {
        field.name: _default_of(field)
        for field in fields
        if not (field.default is field.default_factory is dataclasses.MISSING)
    }
    for name, each in cls.__dataclass_fields__.items():
        # One that is only told by this attribute: its annotation may be a text.
        if each._field_type.name == "_FIELD_INITVAR":
            raise UsageError(f"{shown(cls)} has an InitVar, which is not read: {name!r}")

    def make(values: dict[str, Any]) -> Any:
        # As msgspec does it: not by __init__(), which may be of another kind.
        made = cls.__new__(cls)
        for name, default in optional.items():
            if name not in values:
                values[name] = default()
        for name, value in values.items():
            object.__setattr__(made, name, value)
        if hasattr(cls, "__post_init__"):
            made.__post_init__()
        return made

    def members() -> list[Field]:
        hints = _hints(cls, args)
        return [
            Field(name, name, reader_of(hints[name], texts=texts), name not in optional)
            for name in [field.name for field in fields]
        ]

    return Object(members, make)


def _default_of(field: dataclasses.Field[Any]) -> Callable[[], Any]:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory
    return lambda: field.default


def _typed_dict_fields(cls: Any, args: tuple[Any, ...], texts: bool) -> Iterator[Field]:
    for name, hint in _hints(cls, args).items():
        required = name in cls.__required_keys__
        # The class itself cannot see the marks of annotations that are texts.
        while (mark := str(typing.get_origin(hint)).rpartition(".")[2]) in _MARKS:
            required = required if mark == "ReadOnly" else mark == "Required"
            hint = typing.get_args(hint)[0]
        yield Field(name, name, reader_of(hint, texts=texts), required)


def _named_tuple(cls: Any, args: tuple[Any, ...], texts: bool) -> Reader:
    def items() -> list[Reader]:
        hints = _hints(cls, args)
        return [reader_of(hints.get(name, Any), texts=texts) for name in cls._fields]

    least = len(cls._fields) - len(cls._field_defaults)
    return Row(items, lambda values: cls(*values), least)


def _hints(cls: Any, args: tuple[Any, ...]) -> Mapping[str, Any]:
    """Return the annotations of a class, with its parameters in the place of variables."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError) as exc:
        raise UsageError(f"the annotations of {shown(cls)} cannot be resolved: {exc}") from exc
    variables = getattr(cls, "__parameters__", ())
    return {name: _filled(hint, variables, args) for name, hint in hints.items()}


def _filled(hint: Any, variables: Sequence[Any], args: Sequence[Any]) -> Any:
    """Put *args* in the place of the type variables that *hint* has."""
    if not args:
        return hint
    given = dict(zip(variables, args, strict=False))
    if isinstance(hint, typing.TypeVar):
        return given.get(hint, hint)
    wanted = getattr(hint, "__parameters__", ())
    return hint[tuple(given.get(each, each) for each in wanted)] if wanted else hint
