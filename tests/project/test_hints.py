"""What tools see at run time: `typing.get_type_hints` of everything that nardis has."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any, get_type_hints

import nardis

# Their names are imported where they are first used: a program without decimals does not pay for
# them. They are for Nardis itself, so that no tool of a user's meets them.
LATE = {
    "nardis._http.strict_json._exact",
    "nardis._models.leaves.parse_decimal",
    "nardis._models.leaves.parse_uuid",
    "nardis._models.leaves.to_decimal",
    "nardis._models.leaves.to_float",
    "nardis._models.leaves.write_decimal",
}

# Where a property, a class method or static method, and a cached property keep their function.
WITHIN = ("fget", "__func__", "func")


def annotated() -> Iterator[Any]:
    """Go through the functions and classes of each module, and the methods of those classes."""
    for found in pkgutil.walk_packages(nardis.__path__, "nardis."):
        if not found.name.endswith("__main__"):
            module = importlib.import_module(found.name)
            yield from members(module, found.name)


def members(owner: Any, module: str) -> Iterator[Any]:
    for member in vars(owner).values():
        if inspect.isclass(member) and member.__module__ == module:
            yield member
            yield from members(member, module)
        for name in WITHIN:
            member = getattr(member, name, member)
        if inspect.isfunction(member) and member.__module__ == module:
            yield member


def is_blind(thing: Any) -> bool:
    """Whether an annotation of *thing* cannot be looked up from where it stands."""
    try:
        get_type_hints(thing)
    except (NameError, TypeError):  # a name for type checkers alone; an alias that is a string
        return True
    return False


def test_type_hints_can_be_had_at_run_time() -> None:
    """Libraries that read annotations read ours as well: dependency injection, documentation."""
    blind = {f"{each.__module__}.{each.__qualname__}" for each in annotated() if is_blind(each)}

    assert blind == LATE
