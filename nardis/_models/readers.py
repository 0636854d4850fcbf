"""
How a decoded value becomes one of a type: what a reader is, and those of single values.

A reader knows which kinds of JSON it can take, and is asked for nothing else than `read`. It leaves
each fault with the walk, goes on where it can, and returns `BAD` for what cannot be used. Work and
memory grow linearly with the value: each part of it is read by one reader, and once. Only a text or
a number is tried by several, one after another, where a union leaves it open.

Readers of members are made when they are first needed, so a type may hold itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any, Final, cast

from .faults import Enough, Walk, Where

__all__ = ["Choice", "Leaf", "Reader", "Union", "Whatever", "choices"]

# How many values a fault offers instead of a wrong one.
MAX_CHOICES: Final = 10

_MISSING: Final = object()


class Reader:
    """
    Reads values of one type.

    Attributes:
        kinds: The types of what it can take: those of the decoder, or str alone for texts.
        expected: What it takes, as a fault says it: `"an integer"`.
        rank: Which reader of a union is asked first for a text or a number: the one with the lowest
            rank, since it takes the least.
        decimal: Whether it wants numbers exact.
    """

    kinds: frozenset[type]
    expected: str
    rank: int = 1
    decimal: bool = False

    def read(self, value: Any, walk: Walk, where: Where) -> Any:
        """
        Return *value* as one of the type, or `BAD` after leaving its faults with *walk*.

        Raises:
            Enough: *walk* has all the faults that it looks for.
        """
        raise NotImplementedError  # pragma: no cover: each reader has its own

    def parts(self) -> Iterable[Reader]:
        """Return the readers that this one hands parts of its values to."""
        return ()

    @cached_property
    def exact(self) -> bool:
        """
        Whether there is a `Decimal` in the type, anywhere.

        It looks at all of the type, so it also finds what cannot be read at all.
        """
        seen: dict[int, Reader] = {id(self): self}
        waiting: list[Reader] = [self]
        while waiting:
            for part in waiting.pop().parts():
                if id(part) not in seen:
                    seen[id(part)] = part
                    waiting.append(part)
        return any(reader.decimal for reader in seen.values())


class Whatever(Reader):
    """Takes anything as it is."""

    kinds = frozenset({type(None), bool, int, float, Decimal, str, list, dict})
    expected = "anything"

    def read(self, value: Any, walk: Walk, where: Where) -> Any:
        """Return *value*; its numbers are floats, also where they were kept exact for others."""
        return _with_floats(value) if walk.exact else value


def _with_floats(value: Any) -> Any:
    if type(value) is Decimal:
        return float(value)
    if isinstance(value, list):
        return [_with_floats(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        return {name: _with_floats(each) for name, each in members.items()}
    return value


class Leaf(Reader):
    """
    Takes a text, a number, a boolean or null.

    Args:
        expected: As for `Reader`.
        kinds: As for `Reader`.
        make: Makes the value, or raises a ValueError whose text is the fault. None keeps what came.
        rank: As for `Reader`.
        decimal: As for `Reader`.
    """

    def __init__(
        self,
        expected: str,
        kinds: Iterable[type],
        make: Callable[[Any], Any] | None = None,
        rank: int = 1,
        *,
        decimal: bool = False,
    ) -> None:
        self.expected: str = expected
        self.kinds: frozenset[type] = frozenset(kinds)
        self.make: Callable[[Any], Any] | None = make
        self.rank: int = rank
        self.decimal: bool = decimal

    def read(self, value: Any, walk: Walk, where: Where) -> Any:
        """Return what `make` does of *value*."""
        if type(value) not in self.kinds:
            return walk.unexpected(where, self.expected, value)
        if self.make is None:
            return value
        try:
            return self.make(value)
        except ValueError as exc:
            return walk.fault(where, str(exc))


class Choice(Reader):
    """
    Takes one of a few values: those of an Enum or of a Literal.

    Args:
        values: What stands for each value in JSON, with the value.
        texts: Whether all of them come as texts.
        other: Makes a value of anything else of the same kinds, or raises a ValueError.
    """

    rank = 0

    def __init__(
        self,
        values: Sequence[tuple[Any, Any]],
        *,
        texts: bool = False,
        other: Callable[[Any], Any] | None = None,
    ) -> None:
        # With its type, since True == 1 == 1.0. Of two that are written alike the first counts; a
        # text comes before a number that looks like it.
        self.values: dict[Any, Any] = {}
        for written, value in values:
            self.values.setdefault((type(written), written), value)
        if texts:
            for written, value in values:
                if not isinstance(written, str):
                    self.values.setdefault((str, json.dumps(written)), value)
        self.kinds: frozenset[type] = (
            frozenset({str}) if texts else frozenset(kind for kind, _ in self.values)
        )
        self.expected: str = choices(written for written, _ in values)
        self.other: Callable[[Any], Any] | None = other

    def read(self, value: Any, walk: Walk, where: Where) -> Any:
        """Return the value that *value* stands for."""
        if type(value) is Decimal:
            value = float(value)
        if type(value) in self.kinds:
            found = self.values.get((type(value), value), _MISSING)
            if found is not _MISSING:
                return found
            if self.other is not None:
                try:
                    return self.other(value)
                except ValueError:
                    pass
            return walk.fault(where, f"expected {self.expected}")
        return walk.unexpected(where, self.expected, value)


def choices(values: Iterable[Any]) -> str:
    """
    Name the values that may stand in a place.

    >>> choices(["a", 1]), choices([None])
    ('"a" or 1', 'null')
    """
    shown = [json.dumps(value, ensure_ascii=False) for value in values]
    if len(shown) > MAX_CHOICES:
        return f"one of {', '.join(shown[:MAX_CHOICES])} and {len(shown) - MAX_CHOICES} more"
    return " or ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


class Union(Reader):
    """
    Takes what one of several readers takes.

    Args:
        members: The readers; at most one of them takes arrays, and one objects.
    """

    def __init__(self, members: Sequence[Reader]) -> None:
        self.members: Sequence[Reader] = members
        self.kinds: frozenset[type] = frozenset().union(*(each.kinds for each in members))
        self.expected: str = " or ".join(dict.fromkeys(each.expected for each in members))
        self.rank: int = max(each.rank for each in members)
        ranked = sorted(members, key=lambda each: each.rank)
        self.by_kind: dict[Any, list[Reader]] = {
            kind: [each for each in ranked if kind in each.kinds] for kind in self.kinds
        }

    def parts(self) -> Iterable[Reader]:
        """Return the readers."""
        return self.members

    def read(self, value: Any, walk: Walk, where: Where) -> Any:
        """Return what the first reader that can does of *value*."""
        able = self.by_kind.get(type(value))
        if able is None:
            return walk.unexpected(where, self.expected, value)
        if len(able) == 1:
            return able[0].read(value, walk, where)
        for each in able:
            try:
                return each.read(value, Walk(0, exact=walk.exact), where)
            except Enough:
                continue
        return walk.fault(where, f"not {self.expected}")
