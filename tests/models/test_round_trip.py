"""What `encode_json` writes, `decode_typed` reads: with msgspec, and without it."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any, Literal, Optional, TypeAlias
from unittest import mock
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from nardis._models import decode_typed, encode_json
from nardis._models.convert import convert, convert_text
from nardis._models.plain import plain

from .models import Box, Cat, Colour, Dog, Item, Level, Mixed, Order, Point, Range, Rights, Size

# A type, with a strategy for its values.
Typed: TypeAlias = tuple[Any, st.SearchStrategy[Any]]

TEXT = st.text(max_size=5)
ZONES = st.none() | st.just(UTC) | st.integers(-1439, 1439).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)  # fmt: skip
DATETIMES = st.datetimes(timezones=ZONES)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False).filter(
    lambda number: abs(number.adjusted()) < 1000
)

# Those whose values are written as texts or numbers, and can be in a set.
SIMPLE: list[Typed] = [
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, TEXT),
    (bytes, st.binary(max_size=5)),
    (date, st.dates()),
    (datetime, DATETIMES),
    (time, st.times(timezones=ZONES)),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Decimal, DECIMALS),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Size, st.sampled_from(Size)),
    (Rights, st.sampled_from([Rights(0), *Rights, Rights.READ | Rights.WRITE])),
    (Literal["a", 7], st.sampled_from(["a", 7])),
]
# None and booleans are no keys in JSON that msgspec would read.
LEAVES: list[Typed] = [*SIMPLE, (None, st.none()), (bool, st.booleans())]

ITEMS = st.builds(Item, TEXT, st.integers(), st.none() | st.dates())
ORDERS = st.recursive(
    st.none(),
    lambda parents: st.builds(
        Order,
        id=st.uuids(),
        items=st.lists(ITEMS, max_size=2),
        price=DECIMALS,
        tags=st.sets(TEXT, max_size=2),
        colour=st.sampled_from(Colour),
        parent=parents,
    ),
    max_leaves=2,
)
WHOLE: list[Typed] = [
    (Item, ITEMS),
    (Order | None, ORDERS),
    (Range, st.integers(0, 9).map(lambda low: Range(low, 10))),
    (Point, st.builds(Point, st.integers(), st.integers())),
    (Box[date], st.builds(Box[date], st.dates(), st.lists(st.dates(), max_size=2))),
    (Cat | Dog, st.builds(Cat, st.integers()) | st.builds(Dog, st.booleans())),
    # Not its None: in a union that is None itself.
    (Mixed, st.sampled_from([member for member in Mixed if member.value is not None])),
    (date | UUID, st.dates() | st.uuids()),
]


def _around(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Draw a type that has another one, or others, inside."""
    simple = st.sampled_from(SIMPLE)

    def of(form: Any, values: Callable[..., Any], parts: st.SearchStrategy[Any]) -> Any:
        return parts.map(lambda one: (form[one[0]], values(one[1])))

    def pair_of(form: Any, values: Callable[..., Any], first: st.SearchStrategy[Any]) -> Any:
        return st.tuples(first, inner).map(
            lambda two: (form[two[0][0], two[1][0]], values(two[0][1], two[1][1]))
        )

    return st.one_of(
        of(list, few(st.lists), inner),
        of(deque, deques, inner),
        of(Optional, optional, inner),
        of(set, few(st.sets), simple),
        of(frozenset, few(st.frozensets), simple),
        pair_of(tuple, st.tuples, inner),
        pair_of(dict, few(st.dictionaries), simple),
    )


def deques(values: Any) -> st.SearchStrategy[Any]:
    return st.lists(values, max_size=3).map(lambda each: deque[Any](each))


def optional(values: Any) -> st.SearchStrategy[Any]:
    return st.none() | values  # type: ignore[no-any-return]  # of any strategy


def few(values: Any) -> Callable[..., Any]:
    return partial(values, max_size=3)


TYPED = st.recursive(st.sampled_from([*LEAVES, *WHOLE]), _around, max_leaves=4).flatmap(
    lambda each: st.tuples(st.just(each[0]), each[1])
)


@given(TYPED)
def test_what_is_written_is_read_again(typed: tuple[Any, Any]) -> None:
    type_, value = typed
    body = encode_json(value)

    assert decode_typed(body, type_, 200) == value
    with mock.patch.dict(sys.modules, msgspec=None):
        assert decode_typed(body, type_, 200) == value
    assert encode_json(decode_typed(body, type_, 200)) == body or "set" in str(type_) + str(value)


@given(TYPED)
def test_what_is_plain_is_read_again(typed: tuple[Any, Any]) -> None:
    type_, value = typed

    assert json.loads(encode_json(value)) == json.loads(json.dumps(plain(value)))
    assert convert(plain(value), type_) == value


@given(st.sampled_from(LEAVES[:-2]).flatmap(lambda each: st.tuples(st.just(each[0]), each[1])))
def test_a_text_of_a_simple_value_is_read_again(typed: tuple[Any, Any]) -> None:
    """So a query can be made of what a type was read from."""
    type_, value = typed
    written = plain(value)

    assert convert_text(written if isinstance(written, str) else repr(written), type_) == value


@given(TYPED, TYPED)
def test_both_ways_agree_about_what_does_not_fit(
    one: tuple[Any, Any], other: tuple[Any, Any]
) -> None:
    """The body of one type, read into another, is taken by both or by none."""
    body = encode_json(one[1])
    with mock.patch.dict(sys.modules, msgspec=None):
        alone = outcome(body, other[0])

    assert outcome(body, other[0]) == alone


def outcome(body: bytes, type: Any) -> object:
    try:
        return decode_typed(body, type, 200)
    except Exception as exc:
        return getattr(exc, "extensions", None) or repr(exc)
