"""`convert`: a decoded JSON value, read into a type."""

from __future__ import annotations

import typing
from collections import abc, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Final, Literal, Optional, TypedDict
from uuid import UUID

import attrs
import msgspec
import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st

from nardis._models.convert import convert
from nardis._models.faults import Misfit
from nardis.errors import UsageError

from .models import (
    Box,
    Cat,
    Closed,
    Colour,
    Dog,
    Fish,
    Item,
    Lenient,
    Level,
    Line,
    Mixed,
    Model,
    Node,
    Number,
    Page,
    Plain,
    Point,
    Range,
    Rights,
    Silent,
    Size,
    T,
    TaggedLine,
    User,
    UserId,
    Whole,
    WithInitVar,
)

ID = "6f1b7d1e-33d6-4b0a-9d9c-0a0f0c2d1f11"
Names = TypedDict("Names", {"class": int, "a-b": list["Names"]}, total=False)
# What `type ListOf[T] = list[T]` makes, from Python 3.12 on.
Numbers = typing_extensions.TypeAliasType("Numbers", list[int])
ListOf = typing_extensions.TypeAliasType("ListOf", list[T], type_params=(T,))


def faults(value: object, type: Any) -> list[tuple[str, str]]:
    with pytest.raises(Misfit) as caught:
        convert(value, type)
    assert not caught.value.more
    return [(fault.pointer, fault.detail) for fault in caught.value.faults]


FITTING: list[tuple[Any, Any, Any]] = [
    (None, None, None),
    (True, bool, True),
    (1, int, 1),
    (1, float, 1.0),
    (1.5, float, 1.5),
    ("a", str, "a"),
    ({"a": [1]}, Any, {"a": [1]}),
    ({"a": [1]}, object, {"a": [1]}),
    ("aGk=", bytes, b"hi"),
    ("aGk=", bytearray, bytearray(b"hi")),
    ("aGk=", memoryview, b"hi"),
    ("2026-11-30", date, date(2026, 11, 30)),
    ("12:30:00", time, time(12, 30)),
    ("2026-11-30T12:30:00Z", datetime, datetime(2026, 11, 30, 12, 30, tzinfo=UTC)),
    ("2026-11-30 12:30:00", datetime, datetime(2026, 11, 30, 12, 30)),
    (
        "2026-11-30T12:30:00.25-01:30",
        datetime,
        datetime(2026, 11, 30, 12, 30, 0, 250_000, timezone(timedelta(minutes=-90))),
    ),
    ("P1DT2H", timedelta, timedelta(days=1, hours=2)),
    (ID, UUID, UUID(ID)),
    ("1.10", Decimal, Decimal("1.10")),
    (1.1, Decimal, Decimal("1.1")),
    (2**70, Decimal, Decimal(2**70)),
    # arrays
    ([1, "a"], list, [1, "a"]),
    ([1, 2], list[int], [1, 2]),
    ([1], typing.List[int], [1]),  # noqa: UP006
    ([1], abc.Sequence[int], [1]),
    ([1], abc.Iterable[float], [1.0]),
    ([1], abc.Collection, [1]),
    ([1], abc.MutableSequence[int], [1]),
    ([1, 1], set[int], {1}),
    ([1, 1], abc.Set[int], {1}),
    ([1, 1], abc.MutableSet[int], {1}),
    (["a"], frozenset, frozenset({"a"})),
    ([1, "a"], tuple, (1, "a")),
    ([1, "a"], typing.Tuple, (1, "a")),  # noqa: UP006
    ([1, 2], tuple[int, ...], (1, 2)),
    ([1, "a"], tuple[int, str], (1, "a")),
    ([], tuple[()], ()),
    ([1], deque[int], deque([1])),
    ([[1], [2]], set[tuple[int, ...]], {(1,), (2,)}),
    # objects
    ({"a": 1}, dict, {"a": 1}),
    ({"a": 1}, dict[str, float], {"a": 1.0}),
    ({"1": [1]}, abc.Mapping[int, set[int]], {1: {1}}),
    ({"a": 1}, abc.MutableMapping[Any, int], {"a": 1}),
    ({"2026-11-30": 1}, dict[date, int], {date(2026, 11, 30): 1}),
    ({"2": 1, "1": 2}, dict[Level, int], {Level.HIGH: 1, Level.LOW: 2}),
    ({"name": "tea"}, Item, Item("tea")),
    ({"name": "tea", "until": "2026-11-30", "x": 1}, Item, Item("tea", 1, date(2026, 11, 30))),
    ({"low": 1, "high": 3, "width": 9}, Range, Range(1, 3)),
    ({"name": "a", "children": [{"name": "b"}], "x": 1}, Node, {
        "name": "a",
        "children": [{"name": "b"}],
    }),
    ({"number": 1}, Page, {"number": 1}),
    ({"class": 1, "a-b": [{}]}, Names, {"class": 1, "a-b": [{}]}),
    ([1], Point, Point(1)),
    ([1, 2], Point, Point(1, 2)),
    ([1, "x"], Plain, Plain(1, "x")),
    # choices
    ("red", Colour, Colour.RED),
    (2, Level, Level.HIGH),
    ("l", Size, Size.LARGE),
    (3, Rights, Rights.READ | Rights.WRITE),
    (False, Mixed, Mixed.NO),
    (1, Mixed, Mixed.ONE),
    ("2026-11-30", Mixed, Mixed.DAY),
    ("anything", Lenient, Lenient.OTHER),
    ("a", Literal["a", 1, None], "a"),
    (None, Literal["a", 1, None], None),
    ("blue", Literal[Colour.BLUE], Colour.BLUE),
    ("aGk=", Literal[b"hi"], b"hi"),
    # unions
    (None, Optional[int], None),  # noqa: UP045
    (1, int | None, 1),
    (1, float | int, 1),
    (1.5, float | int, 1.5),
    (1, bool | int, 1),
    (1.5, Decimal | int, Decimal("1.5")),
    ("x", str | date, "x"),
    ("2026-11-30", str | date, date(2026, 11, 30)),
    ([1], list[int] | dict[str, int] | None, [1]),
    ([1], Any | set[int], [1]),
    (1, Literal[1] | str, 1),
    # what stands for another type
    (1, UserId, 1),
    ([1], Numbers, [1]),
    ([1], ListOf[int], [1]),
    (1, Final[int], 1),
    (1, Annotated[int, "a note"], 1),
    (1, Annotated[int, ["not hashable"]], 1),
    ("a", T, "a"),
    (1.5, Number, 1.5),
    (2, Whole, 2),
    ({"content": "2026-11-30"}, Box[date], Box(date(2026, 11, 30))),
    ({"content": 1, "more": [2]}, Box, Box(1, [2])),
    # others
    ({"fullName": "ada", "age": 3}, User, User("ada", 3)),
    ({"fullName": "ada", "seen": "2026-11-30T00:00:00"}, User, User(
        "ada", seen=datetime(2026, 11, 30)
    )),
    ({"type": "dog", "barks": True}, Cat | Dog, Dog(True)),
    ({"lives": 9}, Cat, Cat(9)),
    (None, Cat | Dog | None, None),
    ([1], Line, Line(1)),
    ([1, 2, 3], Line, Line(1, 2)),
    (["line", 1], TaggedLine, TaggedLine(1)),
    ({"limit": 1}, Model, Model(limit=1)),
    ("x", Annotated[int | str, msgspec.Meta(ge=1)], "x"),
    ([1], Annotated[list[float], msgspec.Meta(min_length=1)], [1.0]),
    (1, msgspec.Raw | int, 1),
]  # fmt: skip


@pytest.mark.parametrize(("value", "type_", "expected"), FITTING)
def test_a_value_becomes_one_of_the_type(value: object, type_: Any, expected: object) -> None:
    found = convert(value, type_)

    assert found == expected
    assert type(found) is type(expected) or type_ is memoryview


FAULTS: list[tuple[Any, Any, str]] = [
    (True, int, "expected an integer, got a boolean"),
    (1, bool, "expected a boolean, got an integer"),
    (1.0, int, "expected an integer, got a number"),
    ("1", int, "expected an integer, got a string"),
    (True, float, "expected a number, got a boolean"),
    (10**400, float, "a number too great: at most about 1.8e308 is taken"),
    (0, None, "expected null, got an integer"),
    (None, str, "expected a string, got null"),
    ({}, list, "expected an array, got an object"),
    ([], dict, "expected an object, got an array"),
    ([], Item, "expected an object, got an array"),
    ({}, Point, "expected an array, got an object"),
    ([], Point, "expected an array of 1 to 2, got one of 0"),
    ([1], tuple[int, int], "expected an array of 2, got one of 1"),
    ([1], tuple[()], "expected an array of 0, got one of 1"),
    ([[]], set, "expected simple values: a set holds no arrays or objects"),
    ("aGk", bytes, "not base64, such as aGk="),
    ("green", Colour, 'expected "red" or "blue"'),
    (1, Colour, 'expected "red" or "blue", got an integer'),
    (True, Level, "expected 1 or 2, got a boolean"),
    (1.0, Level, "expected 1 or 2, got a number"),
    (4, Rights, "expected 1 or 2"),
    ("never", Lenient, 'expected "other" or "known"'),
    (True, Literal[1, "é"], 'expected 1 or "é", got a boolean'),
    (0, Literal[1], "expected 1"),
    (11, Literal[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, -1],
        "expected one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"),
    ("x", date | UUID, "not a date or a UUID"),
    (1, date | UUID, "expected a date or a UUID, got an integer"),
    ("x", int | None, "expected an integer or null, got a string"),
    ([], Cat | Dog, "expected an object, got an array"),
    ({"value": 1}, Silent, "its members do not fit together"),
    (-1, Annotated[int, msgspec.Meta(ge=0)], "expected int >= 0"),
    ("ab", Annotated[str, msgspec.Meta(pattern="^a$")], "expected str matching regex '^a$'"),
    ([], Annotated[list[int], msgspec.Meta(min_length=1)], "expected array of length >= 1"),
    (-1, Annotated[int | str, msgspec.Meta(ge=0)], "expected int >= 0"),
    (1, Model, "not an object"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "type_", "detail"), FAULTS)
def test_what_does_not_fit_is_a_fault(value: object, type_: Any, detail: str) -> None:
    assert faults(value, type_) == [("", detail)]


PLACES: list[tuple[Any, Any, list[tuple[str, str]]]] = [
    ([1, "a", 2, None], list[int], [
        ("/1", "expected an integer, got a string"),
        ("/3", "expected an integer, got null"),
    ]),
    ([1, 2], tuple[str, str], [
        ("/0", "expected a string, got an integer"),
        ("/1", "expected a string, got an integer"),
    ]),
    ({"a": 1, "1": "x"}, dict[int, int], [
        ("/a", "its name: not an integer, such as 42"),
        ("/1", "expected an integer, got a string"),
    ]),
    ({"a": "x"}, dict[Level, int], [
        ("/a", "its name: expected 1 or 2"),
        ("/a", "expected an integer, got a string"),
    ]),
    ({"count": "x", "until": 1}, Item, [
        ("/name", "required and missing"),
        ("/count", "expected an integer, got a string"),
        ("/until", "expected a date or null, got an integer"),
    ]),
    ({"children": [{}, {"name": "a", "children": [1]}]}, Node, [
        ("/name", "required and missing"),
        ("/children/0/name", "required and missing"),
        ("/children/1/children/0", "expected an object, got an integer"),
    ]),
    ({"note": None}, Page, [
        ("/number", "required and missing"),
        ("/note", "expected a string, got null"),
    ]),
    ([{"low": 2, "high": 1}, {"low": 1}], list[Range], [
        ("/0", "low is above high"),
        ("/1/high", "required and missing"),
    ]),
    ({"a": 1, "value": 1, "b": 2}, Closed, [
        ("/a", "not known here"),
        ("/b", "not known here"),
    ]),
    ({"type": "dog", "lives": 1}, Cat, [("/type", 'expected "cat"')]),
    ({"type": 1, "lives": None}, Cat, [
        ("/type", 'expected "cat"'),
        ("/lives", "expected an integer, got null"),
    ]),
    (["a", 1], TaggedLine, [("/0", 'expected "line"')]),
    ({"age": "x"}, User, [
        ("/fullName", "required and missing"),
        ("/age", "expected an integer, got a string"),
    ]),
    (["line", 1, 2, 3], TaggedLine, [("", "expected an array of 2 to 3, got one of 4")]),
    ({"more": ["x"]}, Box[int], [
        ("/content", "required and missing"),
        ("/more/0", "expected an integer, got a string"),
    ]),
    ([{"numbers": [-1]}, {}], list[Model], [
        ("/0/numbers/0", "not positive"),
        ("/0/limit", "Field required"),
        ("/1/limit", "Field required"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "type_", "expected"), PLACES)
def test_each_fault_has_its_place(
    value: object, type_: Any, expected: list[tuple[str, str]]
) -> None:
    assert faults(value, type_) == expected


@dataclass
class Unresolved:
    value: Missing  # type: ignore[name-defined]  # noqa: F821


class Coordinates(Enum):
    HOME = (1, 2)


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        (complex, "nothing reads a complex"),
        (WithInitVar, "WithInitVar has an InitVar, which is not read: 'seed'"),
        (Unresolved, "the annotations of Unresolved cannot be resolved: name 'Missing'"),
        (Coordinates, "no simple value for"),
        (list[int] | set[int], "nothing in list"),
        (Item | Range, "use msgspec Structs with a tag"),
        (Cat | Fish, "use msgspec Structs with a tag"),
        (Cat | User, "use msgspec Structs with a tag"),
        (typing.NoReturn, "NoReturn"),
        (Callable[[], int], "nothing reads a"),
    ],
)
def test_a_type_that_is_not_read_is_a_usage_error(type_: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        convert({"value": 1}, type_)


def test_a_class_of_attrs_is_read_by_msgspec() -> None:
    """So it has one fault at most."""
    assert convert({"x": 1}, Spot) == Spot(1)
    assert faults([{"x": "a"}], list[Spot]) == [("/0/x", "expected int, got str")]


@attrs.define
class Spot:
    x: int


def test_a_default_factory_makes_a_new_value_each_time() -> None:
    first, second = convert({"content": 1}, Box[int]), convert({"content": 1}, Box[int])

    assert first.more == []
    assert first.more is not second.more


def test_a_value_is_not_changed() -> None:
    value = {"a": [1, {"b": 2}]}
    found = convert(value, dict[str, list[Any]])
    found["a"].append(3)

    assert value == {"a": [1, {"b": 2}]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)
TYPES = [
    int, float, str, bytes, date, datetime, time, timedelta, UUID, Decimal, list[int], set,
    tuple[int, str], dict[str, int], dict[int, Any], Item, Node, Point, Colour, Mixed, Cat | Dog,
    Line, User, Model, int | str | None, Literal["a", 1], Box[float],
]  # fmt: skip


@given(JSON, st.sampled_from(TYPES))
def test_any_json_fits_or_has_faults(value: object, type_: Any) -> None:
    """And each pointer leads somewhere, or to a member that is missing."""
    try:
        convert(value, type_)
    except Misfit as exc:
        for fault in exc.faults:
            missing = fault.detail in ("required and missing", "Field required")
            assert found_at(value, fault.pointer) is not missing


def found_at(value: Any, pointer: str) -> bool:
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(name) if isinstance(value, list) else name]
        except LookupError:
            return False
    return True


@pytest.mark.parametrize(
    ("type_", "element"),
    [
        (list[int], 1),
        (list[Item], {"name": "a", "count": 1}),
        (dict[str, Any], None),
        (list[date | UUID | str], "x"),
        (list[Cat | Dog], {"type": "dog", "barks": False}),
        (Node, None),
    ],
    ids=str,
)
def test_the_work_grows_as_the_value_does(
    type_: Any, element: object, count_calls: Callable[..., int]
) -> None:
    def work(size: int) -> int:
        if type_ is Node:
            return count_calls(convert, {"name": "a", "children": [{"name": "b"}] * size}, type_)
        value: Any = [element] * size
        if element is None:
            value = {str(n): [n] for n in range(size)}
        return count_calls(convert, value, type_)

    work(10)
    assert work(2000) <= work(1000) * 2.6
