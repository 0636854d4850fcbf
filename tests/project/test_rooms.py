"""The house: no module of nardis imports upwards, and none is too large to read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "nardis"

# The rooms, from the ground up. A room is a module at the root, or a folder. It may import rooms of
# lower levels and itself, nothing else: not for types, and not inside a function.
LEVELS = [
    ["errors", "limits", "_version"],
    [
        "_failures",
        "_files",
        "_http",
        "_later",
        "_parameters",
        "_paths",
        "_sources",
        "_turns",
        "draining",
    ],
    ["_models"],
    ["datastructures", "tasks"],
    ["types"],
    ["_asgi"],
    ["_exchange", "server", "testing"],
    ["body"],
    ["forms"],
    ["_receiving"],
    ["request"],
    ["_reports", "_sending"],
    ["events", "response"],
    ["_untagged", "websocket"],
    ["handlers"],
    ["_foreign", "middleware", "static_files"],
    ["routing"],
    ["_serving", "lifespan"],
    ["app"],
    ["asgi"],
    ["__init__"],
    ["_demo"],
    ["_cli"],
    ["__main__"],
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

# More than this is two concepts in one module, or two duties in one function.
MOST_LINES = 500
MOST_FUNCTION_LINES = 60

FILES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")
}
MODULES = sorted(FILES)


def room_of(module: str) -> str:
    return module.split("/")[0]


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text())


def imports_of(module: str) -> Iterator[str]:
    """Go through the modules of the package that *module* imports, anywhere and for types too."""
    folder = module.split("/")[:-1]
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (found(words[1:], "") for words in words_of(node) if words[0] == "nardis")
        elif isinstance(node, ast.ImportFrom):
            words = (node.module or "").split(".")
            base = folder[: len(folder) - node.level + 1] if node.level else words[:1]
            if node.level or base == ["nardis"]:
                place = [*base, *filter(None, words)] if node.level else words[1:]
                yield from {found(place, alias.name) for alias in node.names}


def words_of(node: ast.Import) -> list[list[str]]:
    return [alias.name.split(".") for alias in node.names]


def found(place: list[str], name: str) -> str:
    """Name the module that an import of *name* from *place* gets."""
    inside, face = "/".join([*place, name]), "/".join([*place, "__init__"])
    candidates = [inside, f"{inside}/__init__", "/".join(place), face]
    return next(each for each in candidates if each in FILES)


def test_every_room_has_a_level() -> None:
    assert {room_of(module) for module in MODULES} == LEVEL.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    """
    No module needs one of a higher level, or of another room of its own level; type-only imports
    count.
    """
    here = room_of(module)
    upwards = {
        name
        for name in imports_of(module)
        if room_of(name) != here and LEVEL[room_of(name)] >= LEVEL[here]
    }

    assert upwards == set()


def test_no_modules_import_each_other() -> None:
    graph = {module: set(imports_of(module)) - {module} for module in MODULES}
    TopologicalSorter(graph).prepare()  # a CycleError names the circle


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_short(module: str) -> None:
    assert len(FILES[module].read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("module", MODULES)
def test_a_function_is_short(module: str) -> None:
    """Its docstring does not count."""
    long = {node.name: lines for node, lines in functions_of(module) if lines > MOST_FUNCTION_LINES}

    assert long == {}


def functions_of(module: str) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            words = ast.get_docstring(node, clean=False) or ""
            yield node, (node.end_lineno or 0) - node.lineno + 1 - len(words.splitlines())


def test_the_map_shows_each_room_with_its_level() -> None:
    """`CONTRIBUTING.md` is where a newcomer finds the place for a line."""
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text()
    shown = re.findall(r"^[├└]── (\w+)(?:\.py|/) +(\d+)  \w", text, re.MULTILINE)

    assert {room: int(level) for room, level in shown} == LEVEL
