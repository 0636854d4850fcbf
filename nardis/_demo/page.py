"""The page: one file, into which go the sources of the handlers and what the script has to know."""

from __future__ import annotations

import io
import json
import keyword
import textwrap
import tokenize
from collections.abc import Callable, Iterator
from functools import cache
from html import escape
from importlib import resources
from inspect import getsource
from typing import Any, Final

__all__ = ["highlighted", "render"]

# An f-string is one token up to Python 3.11, and several from 3.12 on.
_STRINGS: Final = ("STRING", "FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END")
_KINDS: Final = {
    tokenize.COMMENT: "comment",
    tokenize.NUMBER: "number",
    **{getattr(tokenize, name): "string" for name in _STRINGS if hasattr(tokenize, name)},
}


def render(facts: object, **handlers: Callable[..., Any]) -> str:
    """Fill the page: *facts* for its script, and the source of each handler by name."""
    # "<" cannot end the script element that holds it, written as JSON's escape.
    page = _template().replace("{{facts}}", json.dumps(facts).replace("<", "\\u003c"))
    for name, handler in handlers.items():
        page = page.replace(f"{{{{source:{name}}}}}", _source(handler))
    return page


@cache
def _template() -> str:
    return resources.files(__name__.rpartition(".")[0]).joinpath("page.html").read_text("utf-8")


@cache
def _source(handler: Callable[..., Any]) -> str:
    return highlighted(textwrap.dedent(getsource(handler)).rstrip())


def highlighted(source: str) -> str:
    """
    Mark up Python as HTML: keywords, strings, numbers, comments, decorators.

    >>> highlighted("await x('<')")
    '<b class="keyword">await</b> x(<b class="string">&#x27;&lt;&#x27;</b>)'
    >>> highlighted("x  # so")
    'x  <b class="comment"># so</b>'
    """
    return "".join(_marked_up(source))


def _marked_up(source: str) -> Iterator[str]:
    lines = source.splitlines(keepends=True)
    row, column, before = 1, 0, ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        (start_row, start_column), (end_row, end_column) = token.start, token.end
        if start_row > len(lines) or not token.string.strip():
            continue
        while row < start_row:
            yield escape(lines[row - 1][column:])
            row, column = row + 1, 0
        yield escape(lines[row - 1][column:start_column])
        yield _marked(token, before)
        row, column, before = end_row, end_column, token.string


def _marked(token: tokenize.TokenInfo, before: str) -> str:
    kind = _KINDS.get(token.type)
    if keyword.iskeyword(token.string):
        kind = "keyword"
    elif before == "@":
        kind = "decorator"
    elif before in ("def", "class"):
        kind = "name"
    text = escape(token.string)
    return text if kind is None else f'<b class="{kind}">{text}</b>'
