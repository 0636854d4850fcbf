"""The public surface: what `nardis` offers, and what importing it costs."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import nardis

PUBLIC = [
    "ClientDisconnected",
    "ErrorHandler",
    "HTTPError",
    "Handler",
    "Limits",
    "Middleware",
    "Nardis",
    "Next",
    "Request",
    "Response",
    "Router",
    "SkipRoute",
    "UsageError",
    "WebSocket",
    "WebSocketHandler",
    "delete",
    "get",
    "head",
    "main",
    "options",
    "patch",
    "post",
    "put",
    "shielded",
    "static",
    "wrap",
]

MODULES = sorted(
    {
        module.name
        for module in pkgutil.walk_packages(nardis.__path__, "nardis.")
        if not module.name.endswith("__main__")
    }
    | {"nardis", "nardis.__main__"}
)

# What the open folders offer at their door.
FACES = {
    "nardis.middleware": [
        "OriginCheck",
        "RequestIDFilter",
        "compression",
        "cors",
        "current_request_id",
        "request_id",
    ],
    "nardis.routing": [
        "BaseHTTPMatcher",
        "Delete",
        "Get",
        "Head",
        "Layer",
        "Options",
        "Patch",
        "PathMatcher",
        "Post",
        "Put",
        "RegexPattern",
        "Route",
        "Router",
        "RouterRoute",
        "default_404",
        "default_500",
    ],
    "nardis.server": ["Config", "load", "run", "serve"],
    "nardis.testing": [
        "ASGIViolation",
        "AppError",
        "Client",
        "NotAnEventStream",
        "RequestOptions",
        "StreamedEvents",
        "StreamedResponse",
        "TestResponse",
        "TestWebSocket",
        "WebSocketClosed",
        "WebSocketDenied",
    ],
}

# What users may import from. Of the server, the test client and the middlewares that is the folder
# itself.
FOLDERS = ("nardis.middleware.", "nardis.server.", "nardis.testing.")
OPEN = [name for name in MODULES if "._" not in name and not name.startswith(FOLDERS)]


def test_the_public_names_are_these() -> None:
    """A new one is a decision: with documentation, a typing test and a line in the changelog."""
    assert nardis.__all__ == PUBLIC
    assert all(hasattr(nardis, name) for name in PUBLIC)


@pytest.mark.parametrize("name", FACES)
def test_a_folder_offers_these_names(name: str) -> None:
    assert importlib.import_module(name).__all__ == FACES[name]


def test_no_public_name_is_that_of_a_module() -> None:
    """`from nardis import x` must not depend on what was imported before."""
    modules = {module.name for module in pkgutil.iter_modules(nardis.__path__)}

    assert modules & set(nardis.__all__) == set()


@pytest.mark.parametrize("name", MODULES)
def test_a_module_lists_what_it_offers_and_says_what_it_is(name: str) -> None:
    """It has a docstring, and an `__all__` sorted as by ruff: constants, classes, functions."""
    module = importlib.import_module(name)

    assert module.__doc__, name
    assert module.__all__ == sorted(
        module.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    assert [public for public in module.__all__ if not hasattr(module, public)] == []


def offered(module: ModuleType) -> list[tuple[str, object]]:
    """Return the classes and functions of *module*, and the public members of those classes."""
    found: list[tuple[str, object]] = []
    for name in module.__all__:
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        found.append((name, thing))
        if inspect.isclass(thing) and thing.__module__ == module.__name__:
            members = [
                (key, member) for key, member in vars(thing).items() if not key.startswith("_")
            ]
            found += [(f"{name}.{key}", member) for key, member in members if is_described(member)]
    return found


def is_described(member: object) -> bool:
    """Whether a member of a class is something that has a docstring."""
    return (
        inspect.isroutine(member)
        or isinstance(member, property)
        or type(member).__name__ == "cached_property"
    )


@pytest.mark.parametrize("name", OPEN)
def test_everything_public_has_a_docstring(name: str) -> None:
    """One that inherits from another class may inherit its words as well."""
    bare = [
        label
        for label, thing in offered(importlib.import_module(name))
        if not inspect.getdoc(thing)
    ]

    assert bare == []


@pytest.mark.parametrize("name", OPEN)
def test_every_docstring_begins_with_a_sentence(name: str) -> None:
    """It is what `help()` and editors show."""
    firsts = {
        label: (inspect.getdoc(thing) or "").split("\n\n")[0]
        for label, thing in offered(importlib.import_module(name))
    }

    assert {
        label: text for label, text in firsts.items() if not text.rstrip().endswith((".", ":"))
    } == {}


def loaded_by(statement: str) -> set[str]:
    """Run *statement* in a fresh interpreter and return the modules that it loaded."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "statement", ["import nardis", "import nardis; nardis.Nardis()", "import nardis.testing.client"]
)
def test_importing_nardis_loads_no_server_and_no_event_loop(statement: str) -> None:
    """Nor an optional dependency: a program pays for what it uses."""
    loaded = loaded_by(statement)

    assert (
        loaded
        & {
            "hypercorn",
            "trio",
            "uvloop",
            "uvicorn",
            "asyncio",
            "msgspec",
            "jinja2",
            "brotli",
            "zstandard",
        }
        == set()
    )
    assert loaded & {"nardis.server", "nardis._cli", "nardis._demo"} == set()
    assert "nardis" in loaded


def test_importing_the_server_loads_no_worker() -> None:
    """The event loop that is not used stays unloaded."""
    loaded = loaded_by("import nardis.server")

    assert "hypercorn" in loaded
    assert loaded & {"trio", "uvloop"} == set()


def test_nardis_is_typed() -> None:
    assert (Path(nardis.__file__).parent / "py.typed").exists()
