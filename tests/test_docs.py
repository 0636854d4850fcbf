"""
Links between our pages lead somewhere, and what the pages show is so: each page is run, from its top to its end.

- A block marked `python` is executed, as the program that was started. If its first line is a comment with a file's name,
  `# notes.py`, it is saved under that name first, so that later blocks can import it.
- A block marked `console` has commands after `$ `, and under each what it prints; `...` stands for anything. They run in a shell,
  with curl as it behaves in a terminal, beside a server on port 3000 (which is another one in truth) of the last `app` above.
  A console block that only the tests need to see stands in a comment: `<!-- console` on a line, then its lines, then `-->`.
- A block marked `py` belongs to another framework, and only has to be Python. One marked `sh` is for the reader alone.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from inspect import CO_COROUTINE
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Literal, NamedTuple, TypeAlias

import anyio
import pytest

from nardis import Nardis
from nardis.server import Config, serve

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^([ \t]*)```(\w*)[^\n]*\n(.*?)^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)
HIDDEN = re.compile(r"^<!-- console\n(.*?)^-->$", re.MULTILINE | re.DOTALL)
# Inline links and images, and reference definitions; `scheme:` links are somebody else's pages.
LINK = re.compile(
    r"\]\(<?(?![a-z]+:)([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]: +(?![a-z]+:)(\S+)",
    re.MULTILINE,
)

Backend: TypeAlias = Literal["trio", "asyncio"]

SHOWN_URL = "http://127.0.0.1:3000"
# In a terminal curl shows no progress meter beside a body, and each piece at once. Nobody waits longer than this for a snippet.
SHELL = 'curl() {{ command curl -sSN --max-time 10 "$@"; }}; {}'

ids = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


class Block(NamedTuple):
    """A block of code, and the line of the page that it follows."""

    line: int
    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page, and the hidden ones, in their order."""
    found = [
        (match.start(), match[2], re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE))
        for match in FENCE.finditer(text)
    ]
    found += [(match.start(), "console", match[1]) for match in HIDDEN.finditer(text)]
    return [
        Block(text.count("\n", 0, start) + 1, language, body)
        for start, language, body in sorted(found)
    ]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Go through the commands of a console block, each with what it prints; a backslash goes on in the next line."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command = re.match(r"(?:.*\\\n)*.*", part)
        assert command
        yield command[0], part[command.end() :].strip()


def links(text):
    """Return the relative links of a page, leaving out what stands in code."""
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))
    return [inline or reference for inline, reference in LINK.findall(prose)]


def anchors(text):
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ +(.*?)[ #]*$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page):
    """Return the links of a page that lead to no file, or to no heading of it."""
    dead = []
    for link in links(page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())
        ):
            dead.append(link)
    return dead


async def differences(page: Path, folder: Path, backend: Backend) -> list[str]:
    """Run a page in *folder*; return what its commands print otherwise than it says."""
    found: list[str] = []
    app: Nardis | None = None
    url = SHOWN_URL
    async with AsyncExitStack() as server:
        for block in blocks(await anyio.Path(page).read_text()):
            if block.language == "python":
                await server.aclose()
                url = SHOWN_URL
                app = (await executed(block, page, folder)).get("app")
            elif block.language == "console":
                if url == SHOWN_URL and app is not None:
                    url = await server.enter_async_context(serving(app, backend))
                for command, expected in commands(block.text):
                    if backend != "trio" and SHOWN_URL not in command:
                        continue  # it talks to nobody: once is enough
                    printed = await output(command.replace(SHOWN_URL, url), folder)
                    if not re.fullmatch(
                        re.escape(expected).replace(r"\.\.\.", ".*"), printed, re.DOTALL
                    ):
                        found.append(f"{page.name}:{block.line}: {command}\n{printed}")
    forget(folder)
    return found


async def executed(block: Block, page: Path, folder: Path) -> dict[str, Any]:
    """Execute a python block, whose `await` may stand at the top, as in a notebook; return the names it made."""
    file_name = re.match(r"# ([\w/]+\.py)\n", block.text)
    if file_name:
        (folder / file_name[1]).write_text(block.text)
    forget(folder)  # an earlier step of the page may have saved another text under this name
    code = compile(
        "\n" * block.line + block.text,
        str(page),
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    module = ModuleType("__main__")
    result = FunctionType(code, module.__dict__)()
    if code.co_flags & CO_COROUTINE:
        await result
    return module.__dict__


def forget(folder: Path) -> None:
    """Let the modules of *folder* be imported anew."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(f"{folder}{os.sep}"):
            del sys.modules[name]


@asynccontextmanager
async def serving(app: Nardis, backend: Backend) -> AsyncIterator[str]:
    """Serve *app* on a free port, beside the block."""
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        (url,) = await group.start(_serve, app, Config(bind=["127.0.0.1:0"], backend=backend), stop)
        yield url
        stop.set()


async def _serve(app: Nardis, config: Config, stop: anyio.Event, *, task_status: Any) -> None:
    await serve(app, config, shutdown=stop.wait, task_status=task_status)


async def output(command: str, folder: Path) -> str:
    """Return what a shell prints for *command*, with the words and line ends that a terminal would show."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_ADDOPTS": "-p no:hypothesispytest",  # half the time of a small run
    }
    done = await anyio.run_process(
        ["bash", "-c", SHELL.format(command)],
        cwd=folder,
        env=environment,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.stdout.decode().replace("\r", "").strip()


@ids
def test_links_lead_somewhere(page):
    """A relative link names a file of ours, and after `#` one of its headings."""
    assert dead_links(page) == []


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@ids
def test_a_page_does_what_it_says(page, backend, tmp_path, monkeypatch):
    """A reader can paste what we show, and sees what we say."""
    monkeypatch.setattr(
        Nardis, "listen", lambda app, *args, **options: None
    )  # it would block; and the server here is ours
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    assert anyio.run(differences, page, tmp_path, backend, backend=backend) == []


@ids
def test_the_code_of_others_is_python(page):
    """What we show of other frameworks at least compiles; we do not install them all."""
    for block in blocks(page.read_text()):
        if block.language == "py":
            compile(
                "\n" * block.line + block.text,
                str(page),
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            )


def test_the_link_checker_finds_what_is_broken(tmp_path):
    """A check that can not fail checks nothing."""
    page = tmp_path / "page.md"
    page.write_text(
        "# One & only\n[a](#one--only) [b](#two) [c](gone.md) [d](page.md#one--only) [e](https://example.org) `[f](code.md)`\n"
        "[g]: also-gone.md\n```python\n[h](x)(\n```\n"
    )

    assert dead_links(page) == ["#two", "gone.md", "also-gone.md"]


def test_the_runner_finds_what_is_not_so(tmp_path, monkeypatch):
    """A difference is reported with its place, and with what was printed instead."""
    monkeypatch.syspath_prepend(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```python\n# one.py\nnumber = 1\n```\n```python\nfrom one import number\nimport anyio\nawait anyio.sleep(0)\n"
        "assert number == 1\n```\n```console\n$ cat one.py\n# one.py\n...\n$ echo a \\\n  b\na c\n```\n"
        "<!-- console\n$ echo hidden\n-->\n"
    )

    assert anyio.run(differences, page, tmp_path, "trio") == [
        "page.md:11: echo a \\\n  b\na b",
        "page.md:19: echo hidden\nhidden",
    ]
