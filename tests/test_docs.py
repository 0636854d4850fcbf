"""Links between our pages lead somewhere, and the Python on them is Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(r"^([ \t]*)```(\w*)[^\n]*\n(.*?)^[ \t]*```[ \t]*$", re.MULTILINE | re.DOTALL)
# Inline links and images, and reference definitions; `scheme:` links are somebody else's pages.
LINK = re.compile(r"\]\(<?(?![a-z]+:)([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)|^\[[^\]]+\]: +(?![a-z]+:)(\S+)", re.MULTILINE)


def snippets(text):
    """Return line number and text of each ```python block."""
    return [
        (text.count("\n", 0, match.start()) + 1, re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE))
        for match in FENCE.finditer(text)
        if match[2] == "python"
    ]


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
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """A relative link names a file of ours, and after `#` one of its headings."""
    assert dead_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_snippets_compile(page):
    """A reader can paste what we show; `await` may stand at the top, as in a notebook."""
    for line, snippet in snippets(page.read_text()):
        compile("\n" * line + snippet, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_this_checker_finds_what_is_broken(tmp_path):
    """A check that can not fail checks nothing."""
    page = tmp_path / "page.md"
    page.write_text(
        "# One & only\n[a](#one--only) [b](#two) [c](gone.md) [d](page.md#one--only) [e](https://example.org) `[f](code.md)`\n"
        "[g]: also-gone.md\n```python\n[h](x)(\n```\n"
    )

    assert dead_links(page) == ["#two", "gone.md", "also-gone.md"]
    assert snippets(page.read_text()) == [(4, "[h](x)(\n")]
