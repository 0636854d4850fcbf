"""
The programs on our pages, as files for a type checker.

    python -m tests.typing.snippets FOLDER && pyright --project FOLDER

Each `python` block that imports nardis is one: a reader copies it, so it has to pass pyright's
strict rules. Its file has the number of its line for a folder, and its lines have the numbers that
they have on the page.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.test_docs import PAGES, ROOT, blocks

# Programs of 2018, as they were written.
AS_THEY_WERE = [ROOT / "docs" / "classic.md"]

CONFIG = {
    "include": ["."],
    "exclude": [],
    "pythonVersion": "3.11",
    "typeCheckingMode": "strict",
    "reportMissingTypeStubs": False,
}


class Program(NamedTuple):
    """A block of a page, its file below the folder of all of them, and what it imports there."""

    path: Path
    text: str
    saved: dict[str, str]


def programs(page: Path) -> Iterator[Program]:
    """Go through the blocks of *page* that are programs, each with the files saved before it."""
    saved: dict[str, str] = {}
    for block in blocks(page.read_text()):
        if block.language != "python":
            continue
        name = re.match(r"# ([\w/]+\.py)\n", block.text)
        file = name[1] if name else "program.py"
        if re.search(r"^(?:from|import) nardis\b", block.text, re.MULTILINE):
            path = page.relative_to(ROOT).with_suffix("") / str(block.line) / file
            text = wrapped("\n" * block.line + block.text)
            yield Program(path, text, {each: saved[each] for each in imported(block.text, saved)})
        if name:
            saved[file] = block.text


def imported(text: str, saved: Iterable[str]) -> list[str]:
    """Return those of the *saved* files that a program imports."""
    return [
        file
        for file in saved
        if re.search(rf"^(?:from|import) {file.removesuffix('.py')}\b", text, re.MULTILINE)
    ]


def wrapped(text: str) -> str:
    """
    Put all from the first `await` at the top into a function: only notebooks may have it.

    The function begins in the place of a blank line, so that the lines keep their numbers.
    """
    try:
        compile(text, "a page", "exec", dont_inherit=True)
    except SyntaxError:
        lines = text.splitlines(keepends=True)
        first = next(node.lineno for node in ast.parse(text).body if awaits(node)) - 1
        while lines[first - 1].strip():
            first -= 1
        before = "".join(lines[: first - 1])
        inside = "".join(f"    {line}" for line in lines[first:])
        return f"{before}async def program() -> None:\n{inside}"
    return text


def awaits(node: ast.stmt) -> bool:
    """Whether a statement waits outside of a function."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    waiting = (ast.Await, ast.AsyncFor, ast.AsyncWith)
    return any(isinstance(each, waiting) for each in ast.walk(node))


def write(folder: Path) -> None:
    """Write the programs of all pages into *folder*, and a configuration of pyright."""
    for page in PAGES:
        if page in AS_THEY_WERE:
            continue
        for program in programs(page):
            for name, text in {**program.saved, program.path.name: program.text}.items():
                path = folder / program.path.parent / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    (folder / "pyrightconfig.json").write_text(json.dumps(CONFIG))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
