"""What pyright is given of our pages: each program, and nothing that it could not know."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.test_docs import PAGES, ROOT
from tests.typing import snippets

CHECKED = [page for page in PAGES if page not in snippets.AS_THEY_WERE]
PROGRAMS = [program for page in CHECKED for program in snippets.programs(page)]


def untyped(text: str) -> list[str]:
    """Return the functions of a program that lack a type, each with what it lacks."""
    return [
        f"{node.name}: {name}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for name in lacks(node)
    ]


def lacks(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the names of parameters without a type, and `return` for a result without one."""
    given = function.args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    bare = [each.arg for each in every if each is not None and each.annotation is None]
    wanting = [name for name in bare if name != "self"]
    return wanting if function.returns is not None else [*wanting, "return"]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: str(program.path.parent))
def test_a_program_on_a_page_has_types(program: snippets.Program) -> None:
    """A reader copies it: `nox -s types` has pyright look at it, and this says so sooner."""
    assert untyped(program.text) == []


def test_a_function_without_types_is_found() -> None:
    text = "class A:\n    def b(self, c: int) -> None: ...\nasync def d(e, *f, g: int): ...\n"

    assert untyped(text) == ["d: e", "d: f", "d: return"]


def test_each_page_has_its_programs_in_the_folder(tmp_path: Path) -> None:
    """README.md is one of them, and a block keeps the numbers of its lines."""
    snippets.write(tmp_path)

    assert [path for path in PROGRAMS if not (tmp_path / path.path).is_file()] == []
    first = next(program for program in PROGRAMS if program.path.parts[0] == "README")
    line = first.text[: first.text.index("app = Nardis()")].count("\n")
    assert (ROOT / "README.md").read_text().splitlines()[line] == "app = Nardis()"


def test_a_page_that_is_as_it_was_is_not_checked(tmp_path: Path) -> None:
    snippets.write(tmp_path)

    assert not (tmp_path / "docs" / "classic").exists()


def test_a_program_finds_the_files_that_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a reader has them: in the state in which an earlier step left them."""
    page = tmp_path / "page.md"
    monkeypatch.setattr(snippets, "ROOT", tmp_path)
    page.write_text(
        "```python\n# a.py\nfrom nardis import Nardis\n```\n"
        "```python\n# a.py\nX = 1\n```\n"
        "```python\n# b.py\nY = 1\n```\n"
        "```py\nimport nardis\n```\n"
        "```python\nfrom a import X\nimport nardis\n```\n"
    )

    assert [(program.path.as_posix(), program.saved) for program in snippets.programs(page)] == [
        ("page/1/a.py", {}),
        ("page/16/program.py", {"a.py": "# a.py\nX = 1\n"}),
    ]


def test_what_awaits_at_the_top_stands_in_a_function() -> None:
    """Where it stood, with what stands above it: the lines keep their numbers."""
    text = "import a\n\n\nasync def b() -> None:\n    await a.c()\n\n\n# C.\nawait b()\nd = 1\n"

    assert snippets.wrapped(text) == (
        "import a\n\n\nasync def b() -> None:\n    await a.c()\n\n"
        "async def program() -> None:\n    # C.\n    await b()\n    d = 1\n"
    )
    assert snippets.wrapped("import a\n") == "import a\n"
