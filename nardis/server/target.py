"""Finding the application that a command line names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from .._parameters import parameters_of
from ..errors import UsageError
from ..types import ASGIApp

__all__ = ["load"]


def load(target: str) -> ASGIApp:
    """
    Import an application by name: `module:app`, or `path/to/file.py:app`; `app` is the default.

    Raises:
        UsageError: There is no such module or attribute, or it can be no application.
    """
    place, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    if not place or (place.startswith(".") and not place.endswith(".py")):
        raise UsageError(
            f"cannot serve {target!r}: name a module or a file, and the application in it: "
            "module:app"
        )
    path = Path(place)
    if path.suffix == ".py":
        if not path.exists():
            raise UsageError(f"cannot serve {target!r}: there is no file {place}")
        sys.path.insert(0, str(path.resolve().parent))
        place = path.stem
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as exc:
        if exc.name is not None and not f"{place}.".startswith(f"{exc.name}."):
            raise  # the module is there; one that it imports is not
        raise UsageError(f"cannot serve {target!r}: there is no module {place!r} here") from exc
    if path.suffix == ".py" and not _is_from(module, path):
        raise UsageError(
            f"cannot serve {target!r}: Python has another module {place!r}: give the file a name "
            "of its own"
        )
    app: Any = module
    found, end = place, ":"
    for part in (name or "app").split("."):
        if not hasattr(app, part):
            raise UsageError(
                f"cannot serve {target!r}: {found!r} has no {part!r}; name the application: "
                f"{place}:NAME"
            )
        app = getattr(app, part)
        found, end = f"{found}{end}{part}", "."
    if not callable(app):
        raise UsageError(
            f"cannot serve {target!r}: it is no application but {type(app).__name__!r}"
        )
    if not _takes_arguments(app):
        raise UsageError(
            f"cannot serve {target!r}: it takes no arguments, and an application is called with "
            "three; if it makes one, call it in the module: app = make_app()"
        )
    return cast(ASGIApp, app)


def _is_from(module: ModuleType, path: Path) -> bool:
    """Whether a module came of that file, and not of another place with the same name."""
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path.resolve()


def _takes_arguments(app: Callable[..., Any]) -> bool:
    try:
        kinds = {each.kind for each in parameters_of(app)}
    except (TypeError, ValueError):  # some do not say, as functions in C
        return True
    return not kinds <= {Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD}
