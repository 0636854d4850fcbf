"""
How arrays and objects become values of a type; `readers` says what a reader is.

Readers of elements and members are made when they are first needed, so a type may hold itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, cast

from .faults import BAD, Walk, Where
from .readers import Reader, choices

__all__ = ["Array", "Field", "Object", "Row", "Table", "Tagged"]

_MISSING: Final = object()


class Array(Reader):
    """
    Takes an array, whose elements are all of one type.

    Args:
        item: Gives the reader of an element.
        make: Makes the value of the elements: `list`, `set` and their like.
    """

    kinds = frozenset({list})
    expected = "an array"

    def __init__(self, item: Callable[[], Reader], make: Callable[[list[Any]], Any] = list) -> None:
        self.make: Callable[[list[Any]], Any] = make
        self._item: Callable[[], Reader] = item

    @cached_property
    def item(self) -> Reader:
        """The reader of an element."""
        return self._item()

    def parts(self) -> Iterable[Reader]:
        """Return the reader of an element."""
        return (self.item,)

    def read(self, value: Any, walk: Walk, where: Where) -> Any:
        """Return what `make` does of the elements."""
        if type(value) is not list:
            return walk.unexpected(where, self.expected, value)
        read, found, good = self.item.read, list[Any](), True
        for index, each in enumerate(cast("list[Any]", value)):
            made = read(each, walk, (where, index))
            if made is BAD:
                good = False
            found.append(made)
        if not good:
            return BAD
        try:
            return self.make(found)
        except TypeError:  # only a set minds what its elements are
            return walk.fault(where, "expected simple values: a set holds no arrays or objects")


class Row(Reader):
    """
    Takes an array whose elements have each a type of their own.

    Args:
        items: Gives the readers of the elements.
        make: Makes the value of those that are there.
        required: How many have to be there; all of them unless given.
        open: Whether more elements than there are readers are left out, not refused.
    """

    kinds = frozenset({list})
    expected = "an array"

    def __init__(
        self,
        items: Callable[[], Sequence[Reader]],
        make: Callable[[list[Any]], Any],
        required: int | None = None,
        *,
        open: bool = False,
    ) -> None:
        self._items: Callable[[], Sequence[Reader]] = items
        self.make: Callable[[list[Any]], Any] = make
        self.required: int | None = required
        self.open: bool = open

    @cached_property
    def items(self) -> Sequence[Reader]:
        """The readers of the elements."""
        return self._items()

    def parts(self) -> Iterable[Reader]:
        """Return the readers of the elements."""
        return self.items

    def read(self, value: Any, walk: Walk, where: Where) -> Any:
        """Return what `make` does of the elements."""
        if type(value) is not list:
            return walk.unexpected(where, self.expected, value)
        elements = cast("list[Any]", value)
        items = self.items
        least = len(items) if self.required is None else self.required
        if len(elements) < least or (len(elements) > len(items) and not self.open):
            many = str(least) if least == len(items) else f"{least} to {len(items)}"
            return walk.fault(where, f"expected an array of {many}, got one of {len(elements)}")
        found = [
            reader.read(each, walk, (where, index))
            for index, (reader, each) in enumerate(zip(items, elements, strict=False))
        ]
        good = all(each is not BAD for each in found)
        return _made(self.make, found, walk, where) if good else BAD


class Table(Reader):
    """
    Takes an object with any members, whose values are all of one type.

    Args:
        name: Gives the reader of the names, which are texts.
        value: Gives the reader of the values.
    """

    kinds = frozenset({dict})
    expected = "an object"

    def __init__(self, name: Callable[[], Reader], value: Callable[[], Reader]) -> None:
        self._name: Callable[[], Reader] = name
        self._value: Callable[[], Reader] = value

    @cached_property
    def name(self) -> Reader:
        """The reader of the names."""
        return self._name()

    @cached_property
    def value(self) -> Reader:
        """The reader of the values."""
        return self._value()

    def parts(self) -> Iterable[Reader]:
        """Return the readers of names and values."""
        return (self.name, self.value)

    def read(self, value: Any, walk: Walk, where: Where) -> Any:
        """Return a dict."""
        if type(value) is not dict:
            return walk.unexpected(where, self.expected, value)
        found: dict[Any, Any] = {}
        good = True
        read = self.value.read
        for name, each in cast("dict[str, Any]", value).items():
            place = (where, name)
            key, made = self._read_name(name, walk, place), read(each, walk, place)
            if key is BAD or made is BAD:
                good = False
            else:
                found[key] = made
        return found if good else BAD

    def _read_name(self, name: str, walk: Walk, place: Where) -> Any:
        names = Walk()
        key = self.name.read(name, names, None)
        return walk.fault(place, f"its name: {names.faults[0].detail}") if key is BAD else key


@dataclass(frozen=True, slots=True)
class Field:
    """
    A member of an object.

    Args:
        name: What it is called in Python.
        key: What it is called in JSON.
        reader: Reads its value.
        required: Whether it has to be there.
    """

    name: str
    key: str
    reader: Reader
    required: bool


class Object(Reader):
    """
    Takes an object with members that are known.

    Args:
        fields: Gives the members.
        make: Makes the value of those that are there, by their names in Python. A ValueError or
            TypeError of it is a fault.
        closed: Whether members that are not known are refused, not left out.
        tag: Name and value of a member that says of which type the object is. It may be missing.
    """

    kinds = frozenset({dict})
    expected = "an object"

    def __init__(
        self,
        fields: Callable[[], Sequence[Field]],
        make: Callable[[dict[str, Any]], Any],
        *,
        closed: bool = False,
        tag: tuple[str, Any] | None = None,
    ) -> None:
        self._fields: Callable[[], Sequence[Field]] = fields
        self.make: Callable[[dict[str, Any]], Any] = make
        self.closed: bool = closed
        self.tag: tuple[str, Any] | None = tag

    @cached_property
    def fields(self) -> Sequence[Field]:
        """The members."""
        return self._fields()

    @cached_property
    def known(self) -> frozenset[str]:
        """What members are called in JSON."""
        tag = () if self.tag is None else self.tag[:1]
        return frozenset((*tag, *(field.key for field in self.fields)))

    def parts(self) -> Iterable[Reader]:
        """Return the readers of the members."""
        return [field.reader for field in self.fields]

    def read(self, value: Any, walk: Walk, where: Where) -> Any:
        """Return what `make` does of the members."""
        if type(value) is not dict:
            return walk.unexpected(where, self.expected, value)
        members = cast("dict[str, Any]", value)
        found: dict[str, Any] = {}
        good = self._is_of_this_type(members, walk, where)
        for field in self.fields:
            each = members.get(field.key, _MISSING)
            if each is not _MISSING:
                made = field.reader.read(each, walk, (where, field.key))
                if made is BAD:
                    good = False
                found[field.name] = made
            elif field.required:
                walk.fault((where, field.key), "required and missing")
                good = False
        if self.closed and not members.keys() <= self.known:
            good = False
            for name in members:
                if name not in self.known:
                    walk.fault((where, name), "not known here")
        return _made(self.make, found, walk, where) if good else BAD

    def _is_of_this_type(self, members: Mapping[str, Any], walk: Walk, where: Where) -> bool:
        if self.tag is None:
            return True
        name, tag = self.tag
        written = members.get(name, tag)
        if type(written) is type(tag) and written == tag:
            return True
        walk.fault((where, name), f"expected {choices([tag])}")
        return False


def _made(make: Callable[[Any], Any], found: Any, walk: Walk, where: Where) -> Any:
    try:
        return make(found)
    except (TypeError, ValueError) as exc:
        return walk.fault(where, str(exc) or "its members do not fit together")


class Tagged(Reader):
    """
    Takes an object of one of several types, which one of its members tells apart.

    Args:
        key: What that member is called in JSON.
        readers: The reader of each type, by the value of that member.
    """

    kinds = frozenset({dict})
    expected = "an object"

    def __init__(self, key: str, readers: Mapping[Any, Reader]) -> None:
        self.key: str = key
        self.readers: Mapping[Any, Reader] = readers

    def parts(self) -> Iterable[Reader]:
        """Return the readers of the types."""
        return self.readers.values()

    def read(self, value: Any, walk: Walk, where: Where) -> Any:
        """Return what the reader of its type does of *value*."""
        members = cast("dict[str, Any]", value)  # the union that has this one looked at the kind
        tag = members.get(self.key, _MISSING)
        if tag is _MISSING:
            return walk.fault((where, self.key), "required and missing")
        for known, reader in self.readers.items():
            if type(known) is type(tag) and known == tag:
                return reader.read(value, walk, where)
        return walk.fault((where, self.key), f"expected {choices(self.readers)}")
