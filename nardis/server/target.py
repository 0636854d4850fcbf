"""Finding the application that a command line names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, cast

from ..errors import UsageError
from ..types import ASGIApp

__all__ = ["load"]


def load(target: str) -> ASGIApp:
    """
    Import an application by name: `module:app`, or `path/to/file.py:app`; `app` is the default.

    Raises:
        UsageError: There is no such module or attribute.
    """
    place, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    if not place or (place.startswith(".") and not place.endswith(".py")):
        raise UsageError(
            f"cannot serve {target!r}: name a module or a file, and the application in it: "
            "module:app"
        )
    path = Path(place)
    if path.suffix == ".py":
        sys.path.insert(0, str(path.resolve().parent))
        place = path.stem
    try:
        app: Any = importlib.import_module(place)
    except ModuleNotFoundError as exc:
        if exc.name is not None and not f"{place}.".startswith(f"{exc.name}."):
            raise  # the module is there; one that it imports is not
        raise UsageError(f"cannot serve {target!r}: there is no module {place!r} here") from exc
    for part in (name or "app").split("."):
        if not hasattr(app, part):
            raise UsageError(
                f"cannot serve {target!r}: {place!r} has no {part!r}; name the application: "
                f"{place}:NAME"
            )
        app = getattr(app, part)
    if not callable(app):
        raise UsageError(
            f"cannot serve {target!r}: it is no application but {type(app).__name__!r}"
        )
    return cast(ASGIApp, app)
