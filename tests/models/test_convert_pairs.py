"""`convert_pairs`: the pairs of a query, read into a type."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._models.pairs import convert_pairs
from nardis.errors import HTTPError, UsageError

from .models import Closed, Colour, Item, Model, ModelError, Order, Point, User


@dataclass
class Search:
    q: str
    limit: int = 10
    tags: list[str] = field(default_factory=list[str])
    days: set[date] = field(default_factory=set[date])
    exact: bool = False
    near: float | None = None
    colour: Colour = Colour.RED
    either: int | list[int] | None = None


class Total(TypedDict, total=False):
    limit: int
    tags: tuple[str, ...]


@dataclass
class Between:
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


def faults(pairs: list[tuple[str, str]], type: Any) -> list[tuple[str | None, str]]:
    with pytest.raises(HTTPError) as caught:
        convert_pairs(pairs, type)
    assert caught.value.status == 422
    return [(each.get("parameter"), each["detail"]) for each in caught.value.extensions["errors"]]


@pytest.mark.parametrize(
    ("pairs", "type_", "value"),
    [
        ([("q", "tea")], Search, Search("tea")),
        ([("q", ""), ("limit", "5"), ("exact", "1")], Search, Search("", 5, exact=True)),
        ([("q", "x"), ("tags", "a")], Search, Search("x", tags=["a"])),
        ([("tags", "a"), ("q", "x"), ("tags", "")], Search, Search("x", tags=["a", ""])),
        ([("q", "x"), ("near", "")], Search, Search("x", near=None)),
        ([("q", "x"), ("near", "1.5"), ("colour", "blue")], Search,
            Search("x", near=1.5, colour=Colour.BLUE)),
        ([("q", "x"), ("days", "2026-11-30"), ("days", "2026-11-30")], Search,
            Search("x", days={date(2026, 11, 30)})),
        ([("q", "x"), ("either", "1")], Search, Search("x", either=1)),
        ([("q", "x"), ("either", "1"), ("either", "2")], Search, Search("x", either=[1, 2])),
        ([("q", "x"), ("unknown", "1"), ("unknown", "2")], Search, Search("x")),
        ([], Total, {}),
        ([("low", "1"), ("high", "2")], Between, Between(1, 2)),
        ([("limit", "1"), ("tags", "a")], Total, {"limit": 1, "tags": ("a",)}),
        ([("fullName", "ada"), ("age", "3")], User, User("ada", 3)),
        ([("a", "1"), ("b", "2")], dict[str, int], {"a": 1, "b": 2}),
        ([("a", "1"), ("a", "2")], dict[str, list[int]], {"a": [1, 2]}),
        ([("a", "1"), ("b", "2"), ("a", "3")], dict, {"a": ["1", "3"], "b": "2"}),
        ([("1", "2")], dict[int, int], {1: 2}),
        ([("limit", "1"), ("tag", "2")], Model, Model(limit="1", tag=["2"])),
        ([("limit", "1"), ("odd", "2"), ("odd", "3")], Model, Model(limit="1", odd=["2", "3"])),
    ],
)  # fmt: skip
def test_pairs_become_an_object(pairs: list[tuple[str, str]], type_: Any, value: object) -> None:
    assert convert_pairs(pairs, type_) == value


@pytest.mark.parametrize(
    ("pairs", "type_", "expected"),
    [
        ([("limit", "+1"), ("exact", "yes"), ("near", "x")], Search, [
            ("q", "required and missing"),
            ("limit", "not an integer, such as 42"),
            ("exact", "not a boolean: true, false, 1 or 0"),
            ("near", "not a number or nothing"),
        ]),
        ([("q", "a"), ("q", "b")], Search, [("q", "expected a string, got several values")]),
        ([("q", "a"), ("limit", "1"), ("limit", "2")], Search, [
            ("limit", "expected an integer, got several values"),
        ]),
        ([("q", "a"), ("days", "2026-11-30"), ("days", "now")], Search, [
            ("days", "value 2: not a date, such as 2026-11-30"),
        ]),
        ([("low", "2"), ("high", "1")], Between, [(None, "low is above high")]),
        ([("value", "1"), ("a/b", "1"), ("~", "2")], Closed, [
            ("a/b", "not known here"),
            ("~", "not known here"),
        ]),
        ([("fullName", "x"), ("age", "-1")], User, [("age", "expected int >= 0")]),
        ([("a", "x")], dict[str, int], [("a", "not an integer, such as 42")]),
        ([("tag", "1"), ("tag", "-1")], Model, [
            ("tag", "value 2: not positive"),
            ("limit", "Field required"),
        ]),
        ([("limit", "odd")], Model, [("limit", "not even")]),
    ],
)  # fmt: skip
def test_each_fault_names_its_parameter(
    pairs: list[tuple[str, str]], type_: Any, expected: list[tuple[str | None, str]]
) -> None:
    assert faults(pairs, type_) == expected


@pytest.mark.parametrize(
    ("pairs", "type_", "detail"),
    [
        ([("q", "x"), ("limit", "y")], Search,
            "the query does not fit: 1 fault, at limit: not an integer, such as 42"),
        ([("limit", "y")], Search,
            "the query does not fit: 2 faults, the first at q: required and missing"),
        ([("low", "2"), ("high", "1")], Between,
            "the query does not fit: 1 fault: low is above high"),
    ],
)  # fmt: skip
def test_the_detail_shows_the_first_fault(
    pairs: list[tuple[str, str]], type_: Any, detail: str
) -> None:
    with pytest.raises(HTTPError) as caught:
        convert_pairs(pairs, type_)
    assert caught.value.detail == detail


def test_the_faults_of_a_query_are_bounded() -> None:
    found = faults([("days", "x")] * 1000, Search)

    assert len(found) == 100


@pytest.mark.parametrize(
    "type_",
    [int, list[int], Point, Order, dict[str, Item], dict[str, list[list[int]]], complex,
        Annotated[int, msgspec.Meta(ge=1)]],
)  # fmt: skip
def test_a_type_that_no_query_has_is_a_usage_error(type_: Any) -> None:
    """Before any client sends one, and not as a fault of the client."""
    with pytest.raises(UsageError):
        convert_pairs([], type_)


def test_a_bare_model_needs_no_fields() -> None:
    class Bare:
        @classmethod
        def model_validate(cls, value: Any) -> Any:
            if value:
                raise ModelError([])
            return value

    assert convert_pairs([], Bare) == {}
    assert faults([("a", "1")], Bare) == [(None, "not valid")]


@given(st.lists(st.tuples(st.sampled_from(["q", "limit", "tags", "near", "x"]), st.text())))
def test_any_pairs_fit_or_are_a_422(pairs: list[tuple[str, str]]) -> None:
    found: Any
    try:
        found = convert_pairs(pairs, Search)
    except HTTPError as exc:
        found = exc.status

    tags = [text for name, text in pairs if name == "tags"]
    assert found == 422 or (found.q, found.tags) == (dict(pairs)["q"], tags)
