"""
Fuzz targets: the parsers of `nardis._http`, each with what has to be true of it for any input.

    python -m tests.fuzz                         # each target for 60 seconds
    python -m tests.fuzz ranges --seconds 600

A target is a module. `check(data)` raises when the data shows a fault, an AssertionError or an
error that is none of the documented ones. `seeds()` gives inputs to begin with. The engine is
atheris, which the session `fuzz` installs; without it, `test_targets.py` tries some hundred inputs.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Final, Protocol, cast

__all__ = ["TARGETS", "Target", "target_of"]

TARGETS: Final = (
    "conditional",
    "disposition",
    "events",
    "multipart",
    "ndjson",
    "ranges",
    "urlencoded",
)


class Target(Protocol):
    """What a module of this folder has that is a target."""

    def check(self, data: bytes) -> None:
        """Raise if the parser does with *data* what it never must."""
        ...

    def seeds(self) -> Iterator[bytes]:
        """Go through inputs to begin with."""
        ...


def target_of(name: str) -> Target:
    """Import a target, and with it the parsers that it is for."""
    return cast(Target, importlib.import_module(f"tests.fuzz.{name}"))
