"""
Types of others: msgspec's Structs and constraints, and models that validate themselves.

msgspec is never imported for a type that does not need it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, time
from typing import Annotated, Any, Final

from ..errors import UsageError
from .faults import BAD, Walk, Where, faults_of, in_msgspecs_words
from .readers import Choice, Leaf, Reader, Whatever
from .structures import Field, Object, Row, Tagged

__all__ = [
    "Constrained",
    "Known",
    "Model",
    "constrained",
    "known_to_msgspec",
    "shown",
    "struct",
    "tagged",
]

# What a constraint of msgspec can be about.
_CONSTRAINED: Final = frozenset(
    {int, float, str, bytes, list, set, frozenset, tuple, dict, datetime, time}
)


def _msgspec() -> Any:
    """Return msgspec, or None where it is not installed."""
    try:
        return importlib.import_module("msgspec")
    except ImportError:
        return None


# --- structs --------------------------------------------------------------------------------------


def struct(hint: Any, reader_of: Callable[[Any], Reader]) -> Reader:
    """
    Return the reader of a Struct.

    Args:
        hint: The Struct, or the Struct with its parameters.
        reader_of: Gives the reader of a member.
    """
    msgspec = _msgspec()
    cls = getattr(hint, "__origin__", hint)
    config = cls.__struct_config__

    def fields() -> list[Field]:
        return [
            Field(each.name, each.encode_name, reader_of(each.type), each.required)
            for each in msgspec.structs.fields(hint)
        ]

    if not config.array_like:
        tag = None if config.tag is None else (config.tag_field, config.tag)
        return Object(
            fields, lambda values: cls(**values), closed=config.forbid_unknown_fields, tag=tag
        )
    first: list[Reader] = [] if config.tag is None else [Choice([(config.tag, None)])]

    def make(values: list[Any]) -> Any:
        return cls(**dict(zip(cls.__struct_fields__, values[len(first) :], strict=False)))

    least = len(first) + len(cls.__struct_fields__) - len(cls.__struct_defaults__)
    return Row(
        lambda: [*first, *(each.reader for each in fields())],
        make,
        least,
        open=not config.forbid_unknown_fields,
    )


def tagged(readers: Sequence[Reader]) -> Reader | None:
    """Return one reader for Structs that a tag tells apart; None where it does not."""
    tags = [each.tag for each in readers if isinstance(each, Object) and each.tag is not None]
    if len(tags) < len(readers) or len({name for name, _ in tags}) > 1:
        return None
    return Tagged(tags[0][0], {tag: each for (_, tag), each in zip(tags, readers, strict=True)})


# --- constraints ----------------------------------------------------------------------------------


def constrained(inner: Reader, marks: Iterable[Any]) -> Reader:
    """Return the reader of an `Annotated` type; only msgspec's marks mean something."""
    metas = [mark for mark in marks if type(mark).__module__.partition(".")[0] == "msgspec"]
    return Constrained(inner, metas, _msgspec()) if metas else inner


class Constrained(Reader):
    """
    Takes what another reader does, within limits.

    Args:
        inner: The other reader.
        metas: Each a `msgspec.Meta`.
        msgspec: The module, which knows what they mean.
    """

    def __init__(self, inner: Reader, metas: Sequence[Any], msgspec: Any) -> None:
        self.inner: Reader = inner
        self.msgspec: Any = msgspec
        self.metas: Sequence[Any] = metas
        self.kinds: frozenset[type] = inner.kinds
        self.expected: str = inner.expected
        self.rank: int = inner.rank

    def parts(self) -> Iterable[Reader]:
        """Return the other reader."""
        return (self.inner,)

    def read(self, value: Any, walk: Walk, where: Where) -> Any:
        """Return what the other reader does of *value*, if it is within the limits."""
        found = self.inner.read(value, walk, where)
        if found is BAD or type(found) not in _CONSTRAINED:
            return found
        for meta in self.metas:
            try:
                # The kind alone: what stands in a list was looked at by its own reader.
                self.msgspec.convert(found, Annotated[type(found), meta])
            except self.msgspec.ValidationError as exc:
                return walk.fault(where, in_msgspecs_words(str(exc))[1])
            except TypeError:  # the constraint is about another member of a union
                continue
        return found


# --- the rest of what msgspec reads ---------------------------------------------------------------


def known_to_msgspec(hint: Any, texts: bool) -> Reader:
    """
    Return the reader of a type that msgspec knows, such as a class of attrs.

    Raises:
        UsageError: It is not installed, or does not know it either.
    """
    msgspec = _msgspec()
    if msgspec is None:
        raise UsageError(
            f"the standard library reads no {shown(hint)} from JSON or a query; msgspec may: "
            "pip install 'nardis[msgspec]'"
        )
    if hint is msgspec.UnsetType:  # what a member is that did not come
        return Leaf("nothing", ())
    inspect = importlib.import_module("msgspec.inspect")
    try:
        info = inspect.type_info(hint)
    except TypeError as exc:
        raise UsageError(str(exc)) from exc
    if isinstance(info, (inspect.CustomType, inspect.ExtType)):
        raise UsageError(
            f"nothing reads a {shown(hint)} from JSON or a query: use a dataclass, a TypedDict or "
            "a msgspec Struct, or give it model_validate() and model_validate_json()"
        )
    return Known(hint, strict=not texts)


def shown(hint: Any) -> str:
    """
    Return what a message calls a type.

    >>> shown(int), shown(int | None)
    ('int', 'int | None')
    """
    return hint.__qualname__ if isinstance(hint, type) else str(hint)


class Known(Whatever):
    """
    Takes what msgspec takes for a type, with one fault at most.

    Args:
        hint: The type.
        strict: Whether its values are JSON, not texts.
    """

    def __init__(self, hint: Any, *, strict: bool) -> None:
        self.hint: Any = hint
        self.strict: bool = strict

    def read(self, value: Any, walk: Walk, where: Where) -> Any:
        """Return what msgspec makes of *value*."""
        msgspec = _msgspec()
        try:
            return msgspec.convert(value, self.hint, strict=self.strict)
        except msgspec.ValidationError as exc:
            return walk.fault(*in_msgspecs_words(str(exc), where))


# --- models that validate themselves --------------------------------------------------------------


class Model(Whatever):
    """
    Takes what the `model_validate` of a class does.

    Args:
        cls: The class.
    """

    def __init__(self, cls: Any) -> None:
        self.cls: Any = cls

    def read(self, value: Any, walk: Walk, where: Where) -> Any:
        """Return what the model makes of *value*."""
        decoded = super().read(value, walk, where)
        try:
            return self.cls.model_validate(decoded)
        except ValueError as exc:
            return walk.take_over(faults_of(exc, decoded, where))
