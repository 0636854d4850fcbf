"""`encode_json`: what a type can be read from is what it is written as."""

from __future__ import annotations

import json
import json.encoder
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from importlib import reload
from types import MappingProxyType
from typing import Any
from uuid import UUID

import attrs
import msgspec
import pytest

from nardis._models import encode, encode_json
from nardis._models.plain import plain

from .models import (
    Cat,
    Colour,
    Item,
    Level,
    Line,
    Mixed,
    Model,
    Point,
    Range,
    Rights,
    Size,
    User,
    Wrapped,
)


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


@dataclass
class Late:
    """Has members that are not set, or set to what msgspec calls that."""

    a: int = field(init=False, repr=False)
    b: Any = msgspec.UNSET
    c: int = 1


@attrs.define
class Point3:
    x: int
    when: date


ALL: list[tuple[Any, str]] = [
    ({"a": [1, 2.5, None, True, "é"]}, '{"a":[1,2.5,null,true,"é"]}'),
    (datetime(2026, 11, 30, 12, 30), '"2026-11-30T12:30:00"'),
    (datetime(2026, 11, 30, 12, 30, 0, 5, UTC), '"2026-11-30T12:30:00.000005Z"'),
    (datetime(2026, 11, 30, tzinfo=timezone(timedelta(hours=-1))), '"2026-11-30T00:00:00-01:00"'),
    (datetime(2026, 11, 30, 1, tzinfo=timezone(timedelta(seconds=30))), '"2026-11-30T00:59:30Z"'),
    (date(26, 1, 2), '"0026-01-02"'),
    (time(12, 30), '"12:30:00"'),
    (time(12, 30, 0, 250_000, UTC), '"12:30:00.250000Z"'),
    (timedelta(days=1, seconds=5), '"P1DT5S"'),
    (timedelta(seconds=-1), '"-PT1S"'),
    (timedelta(microseconds=1_500_000), '"PT1.5S"'),
    (UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
    (Decimal("1.10"), '"1.10"'),
    (b"hi", '"aGk="'),
    (bytearray(b"hi"), '"aGk="'),
    (memoryview(b"hi")[::-1], '"aWg="'),
    (Colour.RED, '"red"'),
    (Level.HIGH, "2"),
    (Size.SMALL, '"s"'),
    (Rights.READ | Rights.WRITE, "3"),
    (Mixed.DAY, '"2026-11-30"'),
    ({1}, "[1]"),
    (frozenset({"a"}), '["a"]'),
    ((1, {2}), "[1,[2]]"),
    (deque([1, b"hi"]), '[1,"aGk="]'),
    ({"a": 1}.keys(), '["a"]'),
    (OrderedDict(a={1}), '{"a":[1]}'),
    (defaultdict(set, a={1}), '{"a":[1]}'),
    (MappingProxyType({"a": 1}), '{"a":1}'),
    (Point(1, 2), "[1,2]"),
    (Item("tea", until=date(2026, 11, 30)), '{"name":"tea","count":1,"until":"2026-11-30"}'),
    (Range(1, 3), '{"low":1,"high":3,"width":2}'),
    (Late(), '{"c":1}'),
    (Point3(1, date(2026, 11, 30)), '{"x":1,"when":"2026-11-30"}'),
    (User("ada"), '{"fullName":"ada","age":0,"tags":[]}'),
    (Cat(9), '{"type":"cat","lives":9}'),
    (Line(1), "[1,0]"),
    (
        Wrapped([Item("tea"), Decimal("1.5"), deque([1]), Model(a=1), Text("x"), Whole(3), {1: 2}]),
        '{"content":[{"name":"tea","count":1,"until":null},"1.5",[1],{"a":1},"x",3,{"1":2}]}',
    ),
    (Model(limit=1, day="x"), '{"limit":1,"day":"x"}'),
    # keys that are no texts
    ({UUID(int=7): {Colour.RED: date(1, 1, 1)}}, (
        '{"00000000-0000-0000-0000-000000000007":{"red":"0001-01-01"}}'
    )),
    ({"a": Item("tea"), date(2026, 11, 30): [{1}, (2,)]}, (
        '{"a":{"name":"tea","count":1,"until":null},"2026-11-30":[[1],[2]]}'
    )),
    ({b"hi": 1, Level.HIGH: 2, None: 3, True: 4, 1.5: 5, 7: 6}, (
        '{"aGk=":1,"2":2,"null":3,"true":4,"1.5":5,"7":6}'
    )),
]  # fmt: skip


@pytest.mark.parametrize(("obj", "expected"), ALL)
def test_an_object_is_written(obj: object, expected: str) -> None:
    assert encode_json(obj) == expected.encode()


@pytest.mark.parametrize(("obj", "expected"), ALL)
def test_plain_is_what_is_written(obj: object, expected: str) -> None:
    assert plain(obj) == json.loads(expected)


@pytest.mark.parametrize("obj", [Wrapped([datetime(1, 1, 1), {b"x"}]), Late(), Level.LOW, Cat(1)])
def test_it_is_what_msgspec_writes(obj: object) -> None:
    assert encode_json(obj) == msgspec.json.encode(obj)


@pytest.mark.parametrize(
    "obj",
    [object(), [1j], {"a": range(3)}, {(1, 2): 3}, {object(): 1}, {"a": Item}, Wrapped([object()])],
)
def test_an_object_that_nothing_stands_for_is_a_type_error(obj: object) -> None:
    with pytest.raises(TypeError):
        encode_json(obj)


def test_the_type_error_stands_alone() -> None:
    """The ways that were tried before are no news to anybody."""
    with pytest.raises(TypeError, match="Object of type object is not JSON") as caught:
        encode_json({"a": [object()]})
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "obj",
    [
        float("nan"),
        {float("nan"): 1},
        Decimal("NaN"),
        [Decimal("-Infinity")],
        Wrapped(Decimal("NaN")),
        Wrapped(float("inf")),
        {UUID(int=1): float("inf")},
        time(1, tzinfo=timezone(timedelta(seconds=1))),
    ],
)
def test_what_json_cannot_say_is_a_value_error(obj: object) -> None:
    with pytest.raises(ValueError, match="JSON compliant|cannot be written"):
        encode_json(obj)


@pytest.mark.parametrize("odd", [False, True], ids=["plain", "dataclass"])
def test_a_circle_is_a_value_error(odd: bool) -> None:
    circle: list[Any] = []
    circle.append(Wrapped(circle) if odd else circle)
    loop = Item("tea")
    loop.name = loop  # type: ignore[assignment]  # a circle of dataclasses

    with pytest.raises((ValueError, RecursionError)):
        encode_json(circle)
    with pytest.raises(ValueError, match="Circular"):
        encode_json(loop)


def test_half_a_surrogate_pair_is_escaped_wherever_it_stands() -> None:
    assert encode_json({UUID(int=7): Item("\ud800é")}) == (
        rb'{"00000000-0000-0000-0000-000000000007":'
        rb'{"name":"\ud800\u00e9","count":1,"until":null}}'
    )


@pytest.mark.parametrize("change", ["gone", "another shape", "another answer"])
def test_where_python_has_another_encoder_the_answers_stay(
    monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The quick one is no documented name."""

    def another(*args: object) -> Callable[[object, int], list[str]]:
        if change == "another shape":
            raise TypeError
        return lambda obj, level: ["?"]

    monkeypatch.setattr(json.encoder, "c_make_encoder", None if change == "gone" else another)
    careful = reload(encode).encode_json
    monkeypatch.undo()
    found = [careful(obj) for obj, _ in ALL]
    reload(encode)

    assert found == [text.encode() for _, text in ALL]


def test_a_plain_object_needs_nothing_of_the_others(count_calls: Callable[..., int]) -> None:
    """It is what nearly every answer is."""
    assert count_calls(encode_json, {"id": "42", "items": [1, 2.5, None]}) <= 5
