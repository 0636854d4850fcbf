"""The pairs of a query, read into a type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from ..errors import UsageError
from .convert import read_with
from .faults import Misfit, Walk, pairs_refused
from .foreign import Model, shown
from .plans import reader_of
from .readers import Reader
from .structures import Array, Object, Table

__all__ = ["convert_pairs"]

# As many types as a program has for its queries; see `plans`.
CACHED_TYPES: Final = 1024


def convert_pairs(pairs: Iterable[tuple[str, str]], type: Any) -> Any:
    """
    Turn the pairs of a query into an object of *type*.

    A name that comes several times is a list where the type has one, and a fault where not. A name
    that does not come takes its default. An empty value is None where the type has that and no
    text: so a form sends a number that was left out. Names that the type does not know are left
    out.

    Args:
        pairs: Names and values, in order.
        type: A dataclass, TypedDict, Struct or model, or a dict.

    Raises:
        HTTPError: 422, with each fault and the name of its parameter.
        UsageError: *type* has no names, or a member that no text can be.

    >>> convert_pairs([("limit", "10"), ("limit", "20")], dict[str, list[int]])
    {'limit': [10, 20]}
    """
    reader, known, others = _readers(type)
    values: dict[str, list[str]] = {}
    for name, text in pairs:
        values.setdefault(name, []).append(text)
    given = {
        name: texts if len(texts) > 1 or _is_list(known.get(name, others)) else texts[0]
        for name, texts in values.items()
    }
    try:
        return read_with(reader, given, Walk(several="several values"))
    except Misfit as exc:
        raise pairs_refused(exc) from exc


def _is_list(reader: Reader | None) -> bool:
    """Whether one text alone is still a list."""
    return reader is not None and list in reader.kinds and str not in reader.kinds


@lru_cache(CACHED_TYPES)
def _readers(type: Any) -> tuple[Reader, Mapping[str, Reader], Reader | None]:
    """Return the reader of the whole, those of known names, and that of all other names."""
    reader = reader_of(type, texts=True)
    if isinstance(reader, Object):
        known = {field.key: field.reader for field in reader.fields}
        for name, member in known.items():
            _check(f"{name!r} of {shown(type)}", member)
        return reader, known, None
    if isinstance(reader, Table):
        _check(f"a value of {shown(type)}", reader.value)
        return reader, {}, reader.value
    if isinstance(reader, Model):
        return reader, dict(_members_of_model(type)), None
    raise UsageError(f"a query has names, and {shown(type)} has none: use a dataclass")


def _check(what: str, reader: Reader) -> None:
    one = reader.item if isinstance(reader, Array) else reader
    if one.kinds.isdisjoint({str, list}) or (one is not reader and str not in one.kinds):
        raise UsageError(f"a query has texts, and {what} can be none: {one.expected} is expected")


def _members_of_model(model: Any) -> Iterable[tuple[str, Reader]]:
    """Go through the members of a pydantic model whose types we can tell."""
    for name, member in getattr(model, "model_fields", {}).items():
        try:
            yield member.alias or name, reader_of(member.annotation, texts=True)
        except UsageError:  # pydantic has types of its own
            continue
