"""The middlewares that come with Nardis use what any program can use: others can write the like."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import nardis.middleware
from nardis import Request, Response
from tests.project.test_reference import members_of

FOLDER = Path(nardis.__file__).parent / "middleware"
SOURCES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.py"))}

# Beside them what is pure: the rules of HTTP, which a program would have to write once more.
OPEN = {"_http", "errors", "handlers", "middleware", "request", "response", "types"}

# What `req` and `res` have, on the pages of the reference.
MEMBERS = {
    name: {member for each in kind.__mro__[:-1] for member in members_of(each)}
    for name, kind in {"req": Request, "res": Response}.items()
}


def closed(source: str) -> Iterator[str]:
    """Go through what *source* uses of Nardis and a program may not use."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            room = (node.module or "").split(".")[0] if node.level == 2 else "middleware"
            if room not in OPEN:
                yield f"import of {room}"
        elif isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if node.attr not in MEMBERS.get(owner, {node.attr}):
                yield f"{owner}.{node.attr}"


@pytest.mark.parametrize("name", SOURCES)
def test_a_middleware_uses_what_is_open(name: str) -> None:
    assert list(closed(SOURCES[name])) == []


def test_what_is_not_open_is_found() -> None:
    """A check that cannot fail checks nothing."""
    source = (
        "from .._exchange.exchange import X\nfrom ..types import Y\nreq.get, req.exchange, res.put"
    )

    assert set(closed(source)) == {"import of _exchange", "req.exchange", "res.put"}


def test_no_middleware_has_the_name_of_its_module() -> None:
    """Of two things at one path the reference shows one, and an import finds either."""
    assert SOURCES.keys() & set(nardis.middleware.__all__) == set()
