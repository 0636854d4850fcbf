"""
Links between our pages lead somewhere, and what the pages show is so.

Each page is run, from its top to its end.

- A block marked `python` is executed, as the program that was started. If its first line is a
  comment with a file's name, `# notes.py`, it is saved under that name first, so that later blocks
  can import it.
- A block marked `console` has commands after `$ `, and under each its output; `...` stands for
  anything. The commands run in a shell, with curl as it behaves in a terminal. Beside them a server
  on port 3000 (which is another port in truth) serves the last `app` above. A console block that
  only the tests need to see stands in a comment: `<!-- console` on a line, then its lines, then
  `-->`.
- A block marked `py` belongs to another framework, and only has to be Python. A block marked `sh`
  is for the reader alone.

The tables of settings and limits are read, and compared with the code.
"""

from __future__ import annotations

import ast
import builtins
import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields
from inspect import CO_COROUTINE
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Literal, NamedTuple, TypeAlias

import anyio
import pytest

from nardis import Limits, Nardis
from nardis.server import Config, serve
from nardis.server.config import Setting, settings

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^([ \t]*)```(\w*)[^\n]*\n(.*?)^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)
HIDDEN = re.compile(r"^<!-- console\n(.*?)^-->$", re.MULTILINE | re.DOTALL)
# Inline links and images, and reference definitions; `scheme:` links are somebody else's pages.
LINK = re.compile(
    r"\]\(<?(?![a-z]+:)([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]: +(?![a-z]+:)(\S+)",
    re.MULTILINE,
)

# The cells of a table's row, and the places whose lines are written by programs.
CELL = re.compile(r"(?<!\\)\|")
WRITTEN = re.compile(
    r"^<!-- (?:benchmarks: begin|nox -s servers writes)"
    r".*?^<!-- (?:benchmarks: end|nox -s servers wrote)",
    re.MULTILINE | re.DOTALL,
)
COLUMNS = 100

Backend: TypeAlias = Literal["trio", "asyncio"]

SHOWN_URL = "http://127.0.0.1:3000"
# In a terminal curl shows no progress meter beside a body, and each piece at once. No snippet takes
# longer than these seconds.
SHELL = 'curl() {{ command curl -sSN --max-time 30 "$@"; }}; {}'

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
    """
    Go through the commands of a console block, each with its output.

    A backslash goes on in the next line.
    """
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command = re.match(r"(?:.*\\\n)*.*", part)
        assert command
        yield command[0], part[command.end() :].strip()


def links(text: str) -> list[str]:
    """Return the relative links of a page, but not those in code."""
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))
    return [inline or reference for inline, reference in LINK.findall(prose)]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ +(.*?)[ #]*$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(page: Path) -> list[list[str]]:
    """Return the rows of a page's tables, each a list of its cells."""
    return [
        [cell.strip() for cell in CELL.split(line)[1:-1]]
        for line in page.read_text().splitlines()
        if line.startswith("|")
    ]


def wide_lines(text: str) -> list[str]:
    """Return the lines of prose that are too wide; tables, links and written places may be."""
    prose = WRITTEN.sub("", FENCE.sub("", text))
    wide = [line for line in prose.splitlines() if len(line) > COLUMNS]
    return [line for line in wide if not line.startswith("|") and "](" not in line]


def shown(setting: Setting) -> str:
    """Return a setting's default as the page shows it: a dash for nothing and for a switch."""
    default = setting.default
    if default in (None, "") or (setting.switch is not None and default is not setting.switch):
        return "–"
    if setting.many:
        return f"`{','.join(default)}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def dead_links(page: Path) -> list[str]:
    """Return the links of a page that lead to no file, or to no heading of it."""
    dead: list[str] = []
    for link in links(page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())
        ):
            dead.append(link)
    return dead


async def differences(page: Path, folder: Path, backend: Backend) -> list[str]:
    """Run a page in *folder*; return each output that is not as the page says."""
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
    """
    Execute a python block, and return the names that it made.

    `await` may stand at the top, as in a notebook.
    """
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
    module.__dict__["__builtins__"] = builtins  # for names at its top, from Python 3.12 on
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
async def serving(app: Nardis, backend: Backend) -> AsyncGenerator[str, None]:
    """Serve *app* on a free port, beside the block."""
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        (url,) = await group.start(_serve, app, Config(bind=["127.0.0.1:0"], backend=backend), stop)
        yield url
        stop.set()


async def _serve(app: Nardis, config: Config, stop: anyio.Event, *, task_status: Any) -> None:
    await serve(app, config, shutdown=stop.wait, task_status=task_status)


async def output(command: str, folder: Path) -> str:
    """Return the output of a shell for *command*, as a terminal would show it."""
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
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file of ours, and after `#` one of its headings."""
    assert dead_links(page) == []


@pytest.mark.timeout(120)  # some run pytest, again and again
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
@ids
def test_a_page_does_what_it_says(
    page: Path, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader can paste what we show, and sees what we say."""

    def listen(*args: object, **options: object) -> None:
        """Return at once: the server here is ours."""

    monkeypatch.setattr(Nardis, "listen", listen)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    assert anyio.run(differences, page, tmp_path, backend, backend=backend) == []


@ids
def test_the_code_of_others_is_python(page: Path) -> None:
    """What we show of other frameworks at least compiles; we do not install them all."""
    for block in blocks(page.read_text()):
        if block.language == "py":
            compile(
                "\n" * block.line + block.text,
                str(page),
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            )


def test_each_setting_is_on_its_page() -> None:
    """The reference names each flag, its variable and its default, in the order of the help."""
    named = [row[:3] for row in rows(ROOT / "docs" / "settings.md") if row[0].startswith("`--")]

    assert named == [[f"`{each.flag}`", f"`{each.variable}`", shown(each)] for each in settings()]


def test_each_limit_is_on_its_page() -> None:
    """The reference names each field of `Limits` and its true default."""
    found = rows(ROOT / "docs" / "limits.md")
    named = {row[0].strip("`"): row[1].strip("`") for row in found if row[0].startswith("`")}

    assert {name: ast.literal_eval(default) for name, default in named.items()} == {
        each.name: each.default for each in fields(Limits)
    }


def test_each_page_is_on_the_first_one() -> None:
    """The first page leads to every other page of the documentation, and to the reference."""
    docs = ROOT / "docs"
    pages = {
        page.relative_to(docs).as_posix()
        for page in PAGES
        if page.is_relative_to(docs) and page.parent.name != "reference"
    }
    expected = {*pages, "reference/nardis.md"} - {"index.md"}

    assert set(links((docs / "index.md").read_text())) == expected


@ids
def test_prose_fits_into_a_hundred_columns(page: Path) -> None:
    """A page can be read in an editor."""
    assert wide_lines(page.read_text()) == []


def test_a_wide_line_is_found() -> None:
    """Tables, code, links and what programs write may be wide."""
    wide = "word " * 21
    written = f"<!-- benchmarks: begin -->\n{wide}\n<!-- benchmarks: end -->\n"

    assert wide_lines(f"```sh\n{wide}\n```\n| {wide} |\n{written}{wide}\n") == [wide]


def test_the_link_checker_finds_what_is_broken(tmp_path: Path) -> None:
    """A check that can not fail checks nothing."""
    page = tmp_path / "page.md"
    page.write_text(
        "# One & only\n[a](#one--only) [b](#two) [c](gone.md) [d](page.md#one--only) "
        "[e](https://example.org) `[f](code.md)`\n"
        "[g]: also-gone.md\n```python\n[h](x)(\n```\n"
    )

    assert dead_links(page) == ["#two", "gone.md", "also-gone.md"]


def test_the_runner_finds_what_is_not_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A difference is reported with its place, and with what was printed instead."""
    monkeypatch.syspath_prepend(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "```python\n# one.py\nnumber = 1\n```\n"
        "```python\nfrom one import number\nimport anyio\nawait anyio.sleep(0)\n"
        "assert number == 1\n```\n"
        "```console\n$ cat one.py\n# one.py\n...\n$ echo a \\\n  b\na c\n```\n"
        "<!-- console\n$ echo hidden\n-->\n"
    )

    assert anyio.run(differences, page, tmp_path, "trio") == [
        "page.md:11: echo a \\\n  b\na b",
        "page.md:19: echo hidden\nhidden",
    ]
