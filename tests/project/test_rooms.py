"""The house: no module of nardis imports upwards, and none is too large to read."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "nardis"

# The rooms, from the ground up. A room is a module at the root, or a folder. It may import rooms of
# lower levels and itself, nothing else: not for types, and not inside a function.
LEVELS = [
    ["errors", "limits", "_version"],
    ["_failures", "_http", "_paths", "_sources", "draining"],
    ["datastructures", "tasks"],
    ["types"],
    ["_asgi"],
    ["_exchange", "server", "testing"],
    ["_sending", "body"],
    ["request"],
    ["response"],
    ["handlers"],
    ["_foreign"],
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
    """
    Go through the modules of the package that *module* imports: anywhere in it, and for types as
    well.
    """
    folder = module.split("/")[:-1]
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (
                found(alias.name.split(".")[1:], []) for alias in node.names if is_ours(alias.name)
            )
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = folder[: len(folder) - node.level + 1]
            elif is_ours(node.module or ""):
                base = []
            else:
                continue
            named = (
                (node.module or "").split(".") if node.level else (node.module or "").split(".")[1:]
            )
            place = [*base, *filter(None, named)]
            yield from {found(place, [alias.name]) for alias in node.names}


def is_ours(name: str) -> bool:
    return name == "nardis" or name.startswith("nardis.")


def found(place: list[str], name: list[str]) -> str:
    """Name the module that an import of *name* from *place* gets."""
    candidates = ["/".join([*place, *name]), "/".join([*place, *name, "__init__"]), "/".join(place)]
    return next((each for each in candidates if each in FILES), "/".join([*place, "__init__"]))


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
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


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
