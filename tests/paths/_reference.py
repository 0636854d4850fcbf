"""Random patterns, a slow matcher of their own made with `re`, and a way to count work."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from cProfile import Profile
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from hypothesis import strategies as st

from nardis._paths.pattern import compile_pattern
from nardis._paths.segments import Segments
from nardis.errors import HTTPError


@dataclass(frozen=True)
class Text:
    """Literal text; a `/` in it is written `%2F`."""

    value: str


@dataclass(frozen=True)
class Hole:
    """A capture."""

    name: str
    wild: bool


@dataclass(frozen=True)
class Group:
    """An optional part."""

    tree: tuple[Token, ...]


SLASH = Text("")
Token: TypeAlias = Text | Hole | Group
Tree: TypeAlias = tuple[Token, ...]
Outcome: TypeAlias = Any

# Both are lone surrogates, which no decoded path contains.
SEPARATOR = "\ud800"
BROKEN = "\udc00"

BAD_REQUEST = "400"


def source_of(tree: Tree) -> str:
    """Write a tree as a pattern."""
    return "".join(_source_of_token(token) for token in tree)


def _source_of_token(token: Token) -> str:
    if isinstance(token, Group):
        return "{" + source_of(token.tree) + "}"
    if isinstance(token, Hole):
        return f'{"*" if token.wild else ":"}"{token.name}"'
    return "/" if token == SLASH else token.value.replace("/", "%2F")


def expansions(tree: Tree) -> Iterator[tuple[Text | Hole, ...]]:
    """All choices of optional groups, those with more of the earlier ones first."""
    if not tree:
        yield ()
        return
    first, rest = tree[0], tree[1:]
    if not isinstance(first, Group):
        for behind in expansions(rest):
            yield (first, *behind)
        return
    for inside in expansions(first.tree):
        for behind in expansions(rest):
            yield (*inside, *behind)
    yield from expansions(rest)


def is_refused(tree: Tree) -> bool:
    """
    Whether a pattern is an error.

    It is if two captures touch in some expansion, if there are too many of those, or if a group
    looks like FastAPI's `/{id}`.
    """
    return (
        len(list(expansions(tree))) > 256
        or any(
            isinstance(left, Hole) and isinstance(right, Hole)
            for tokens in expansions(tree)
            for left, right in pairwise(tokens)
        )
        or re.search(r"(\A|/)\{[^\W\d]\w*\}(\Z|[/}]|\{/)", source_of(tree)) is not None
    )


def has_mixed_segment(tree: Tree) -> bool:
    """Whether some segment mixes text and captures."""
    return any(
        {type(token) for token in tokens} == {Text, Hole}
        for expansion in expansions(tree)
        for tokens in _segments(expansion)
    )


def _segments(expansion: tuple[Text | Hole, ...]) -> list[list[Text | Hole]]:
    segments: list[list[Text | Hole]] = [[]]
    for token in expansion:
        if token == SLASH:
            segments.append([])
        else:
            segments[-1].append(token)
    return segments


def reference(
    tree: Tree,
    path: Segments,
    *,
    case_sensitive: bool = True,
    strict: bool = False,
    prefix: bool = False,
) -> Outcome:
    """The right answer: None, BAD_REQUEST, params, or with *prefix* params and a count."""
    joined = "".join(SEPARATOR + (BROKEN if segment is None else segment) for segment in path)
    trailing = 0
    while trailing < len(tree) and tree[-1 - trailing] == SLASH and not (strict and not prefix):
        trailing += 1
    for tokens in expansions(tree):
        stem = tokens[: len(tokens) - trailing]
        if prefix and not stem:
            return {}, 0
        if stem[:1] != (SLASH,):
            stem = (SLASH, *stem)
        names = [token.name for token in stem if isinstance(token, Hole)]
        expression = "".join(_expression(token) for token in stem)
        expression += f"(?={SEPARATOR}|\\Z)" if prefix else "\\Z" if strict else f"{SEPARATOR}?\\Z"
        found = re.match(
            expression, joined, re.DOTALL if case_sensitive else re.DOTALL | re.IGNORECASE
        )
        if found is None:
            continue
        if BROKEN in found[0]:
            return BAD_REQUEST
        holes = [token for token in stem if isinstance(token, Hole)]
        values = [
            text.split(SEPARATOR) if hole.wild else text
            for hole, text in zip(holes, found.groups(), strict=True)
        ]
        params = dict(zip(names, values, strict=True))
        return (params, found[0].count(SEPARATOR)) if prefix else params
    return None


def _expression(token: Text | Hole) -> str:
    if isinstance(token, Hole):
        return "(.+)" if token.wild else f"([^{SEPARATOR}]+)"
    return SEPARATOR if token == SLASH else re.escape(token.value)


def actual(
    tree: Tree,
    path: Segments,
    *,
    case_sensitive: bool = True,
    strict: bool = False,
    prefix: bool = False,
) -> Outcome:
    """What the pattern does answer, in the terms of `reference`."""
    pattern = compile_pattern(source_of(tree), case_sensitive=case_sensitive, strict=strict)
    try:
        return pattern.match_prefix(path) if prefix else pattern.match(path)
    except HTTPError as exc:
        return str(exc.status)


_TEXTS = st.sampled_from(["a", "b", "A", "-", "-", "/", "é", "ab"]).map(Text)
_SEGMENT = st.text("abA-/é", max_size=4)
PATHS: st.SearchStrategy[Segments] = st.lists(
    _SEGMENT | st.just("") | st.none(), min_size=1, max_size=6
)


@st.composite
def trees(draw: st.DrawFn, groups: bool = True) -> Tree:
    """Patterns, half of them with optional groups, never with touching captures."""
    count = 0

    def items(depth: int) -> Tree:
        nonlocal count
        tokens: list[Token] = []
        for kind in draw(
            st.lists(st.sampled_from("///tth*g" if depth and groups else "///tth*"), max_size=7)
        ):
            if kind == "/":
                tokens.append(SLASH)
            elif kind == "t":
                tokens.append(draw(_TEXTS))
            elif kind == "g":
                tokens.append(Group(items(depth - 1)))
            else:
                if tokens and isinstance(tokens[-1], Hole):
                    tokens.append(Text("-"))
                count += 1
                tokens.append(Hole(f"c{count}", kind == "*"))
        return tuple(tokens)

    return draw(st.just(items(2)).filter(lambda tree: not is_refused(tree)))


@st.composite
def trees_and_paths(draw: st.DrawFn) -> tuple[Tree, Segments]:
    """A pattern and a path that is likely to fit it, or nearly."""
    tree = draw(trees())
    if draw(st.booleans()):
        return tree, draw(PATHS)
    joined = ""
    for token in draw(st.sampled_from(list(expansions(tree)))):
        if isinstance(token, Hole):
            joined += draw(
                st.text("ab-/" + SEPARATOR if token.wild else "ab-/", min_size=1, max_size=4)
            )
        else:
            joined += SEPARATOR if token == SLASH else token.value
    path: Segments = list(joined.removeprefix(SEPARATOR).split(SEPARATOR))
    change = draw(st.sampled_from(["none", "none", "slash", "insert", "break", "case"]))
    place = draw(st.integers(0, len(path) - 1))
    if change == "slash":
        path.append("")
    elif change == "insert":
        path.insert(place, draw(_SEGMENT))
    elif change == "break":
        path[place] = None
    elif change == "case":
        path = [segment and segment.swapcase() for segment in path]
    return tree, path


class CountingText(str):
    """A text that counts the characters its searches look at."""

    scanned = 0

    def rfind(self, sub: str, start: Any = 0, end: Any = None) -> int:
        """Search from the right, as `str` does."""
        stop = len(self) if end is None else end
        found = super().rfind(sub, start, stop)
        CountingText.scanned += stop - max(found, start)
        return found


def work(task: Callable[[], object]) -> int:
    """Count the calls, of Python and of C functions, and the characters searched: no clock."""
    CountingText.scanned = 0
    profile = Profile()
    profile.runcall(task)
    return sum(entry.callcount for entry in profile.getstats()) + CountingText.scanned
