"""
Find the few layers of a router that a path can belong to; the cost does not grow with their number.

A trie over segments: texts are looked up, whole captures share one branch, and segments that mix
text and captures are looked up by the text at their ends. The index only narrows down: the layer's
pattern says whether it fits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TypeAlias

from .pattern import Pattern
from .segments import Segments, folded
from .shapes import Shape
from .syntax import Capture, PatternSegment

__all__ = ["Index"]

Ordinals: TypeAlias = list[int]
_Affixes: TypeAlias = "dict[int, dict[str, dict[int, dict[str, _Node]]]]"


class _Node:
    """
    What is known after some segments of a path.

    Attributes:
        ends: Layers whose route ends here, or one slash later.
        open: Layers that fit whatever follows: prefixes that end here, and wildcards that begin
            here.
        tails: Likewise, of wildcard routes that end in a fixed segment, by that segment.
        texts: Where a fixed segment leads.
        capture: Where a capture of a whole segment leads.
        affixes: Where a mixed segment leads: by length and value of the text it begins with, then
            of the text it ends with.
        mixed: Layers with a mixed segment here. A broken segment, whose text is not known, can
            belong to any of them.
        is_plain: It has none of the last three, nor tails.
    """

    __slots__ = ("affixes", "capture", "ends", "is_plain", "mixed", "open", "tails", "texts")

    def __init__(self) -> None:
        self.ends: Ordinals = []
        self.open: Ordinals = []
        self.tails: dict[str | None, Ordinals] = {}
        self.texts: dict[str | None, _Node] = {}
        self.capture: _Node | None = None
        self.affixes: _Affixes = {}
        self.mixed: Ordinals = []
        self.is_plain: bool = True

    def affix(self, first: str, last: str) -> _Node:
        """Return where a segment leads that begins with *first* and ends with *last*."""
        self.is_plain = False
        by_last = self.affixes.setdefault(len(first), {}).setdefault(first, {})
        return by_last.setdefault(len(last), {}).setdefault(last, _Node())

    def with_affixes(self, segment: str) -> list[_Node]:
        """List all nodes to which mixed segments lead that *segment* can be."""
        nodes: list[_Node] = []
        for first_size, by_first in self.affixes.items():
            by_last_size = by_first.get(segment[:first_size])
            if by_last_size is not None:
                for last_size, by_last in by_last_size.items():
                    node = by_last.get(segment[len(segment) - last_size :])
                    if node is not None:
                        nodes.append(node)
        return nodes


class Index:
    """
    The layers of one router, by path.

    Args:
        case_sensitive: As the patterns were compiled.

    >>> from .pattern import compile_pattern
    >>> from .segments import split_path
    >>> index = Index()
    >>> for ordinal, source in enumerate(["/users/:id", "/users/me", "/files/*path"]):
    ...     index.add(ordinal, compile_pattern(source), prefix=False)
    >>> index.candidates(split_path(b"/users/me")), index.candidates(split_path(b"/nobody"))
    ([0, 1], ())
    """

    __slots__ = ("_case_sensitive", "_root")

    def __init__(self, *, case_sensitive: bool = True) -> None:
        self._case_sensitive = case_sensitive
        self._root = _Node()

    def add(self, ordinal: int, pattern: Pattern, *, prefix: bool) -> None:
        """
        Enter a layer.

        Args:
            ordinal: Its place in the order of registration.
            pattern: Its path.
            prefix: Whether it is one of `use`, and not a route.
        """
        for shape in pattern.prefixes if prefix else pattern.routes:
            self._add_shape(ordinal, shape, prefix=prefix)

    def _add_shape(self, ordinal: int, shape: Shape, *, prefix: bool) -> None:
        node = self._root
        for segment in shape.segments:
            if isinstance(segment, str):
                node = node.texts.setdefault(segment, _Node())
            elif isinstance(segment, Capture) and not segment.wild:
                node.capture = node = node.capture or _Node()
            elif isinstance(segment, tuple) and not _is_wild(segment):
                _insert(node.mixed, ordinal)
                node = node.affix(_text(segment[0]), _text(segment[-1]))
            else:
                # From here on it is not known where a segment of the pattern is in the path.
                _insert(_open_end(node, segment, shape.segments[-1], prefix=prefix), ordinal)
                return
        _insert(node.open if prefix else node.ends, ordinal)

    def candidates(self, segments: Segments) -> Sequence[int]:
        """
        List the layers that may fit, in order of registration: all that do, and few that do not.

        The list belongs to the index: read it, do not change it.
        """
        if not self._case_sensitive:
            segments = folded(segments)
        hits: list[Ordinals] = []
        node = self._root
        # Most paths lead along one branch, through nodes of texts, or of a capture alone.
        for segment in segments:
            if node.open:
                hits.append(node.open)
            child, capture = node.texts.get(segment), node.capture
            if not (node.is_plain and segment) or (child is not None and capture is not None):
                return self._search(segments)
            below = child or capture
            if below is None:
                return _merged(hits)
            node = below
        if node.open:
            hits.append(node.open)
        if node.ends:
            hits.append(node.ends)
        return _merged(hits)

    def _search(self, segments: Segments) -> Sequence[int]:
        """List the layers on all branches that a path may take."""
        hits: list[Ordinals] = []
        waiting: list[tuple[_Node, int]] = []
        count = len(segments)
        node, depth = self._root, 0
        # A tree: however many branches a path takes, it meets no node twice.
        while True:
            if node.open:
                hits.append(node.open)
            if depth == count:
                if node.ends:
                    hits.append(node.ends)
                child = None
            else:
                segment = segments[depth]
                depth += 1
                child = node.texts.get(segment)
                if segment == "":
                    if depth == count and node.ends:
                        hits.append(node.ends)
                elif node.capture is not None:
                    if child is None:
                        child = node.capture
                    else:
                        waiting.append((node.capture, depth))
                if node.tails and (tail := node.tails.get(_last_text(segments))):
                    hits.append(tail)
                if node.affixes:
                    if segment is not None:
                        waiting += [(below, depth) for below in node.with_affixes(segment)]
                    elif node.mixed:
                        hits.append(node.mixed)
            if child is not None:
                node = child
            elif waiting:
                node, depth = waiting.pop()
            else:
                return _merged(hits)


def _is_wild(segment: tuple[str | Capture, ...]) -> bool:
    return any(isinstance(part, Capture) and part.wild for part in segment)


def _text(part: str | Capture) -> str:
    return part if isinstance(part, str) else ""


def _open_end(
    node: _Node, segment: PatternSegment, last: PatternSegment, *, prefix: bool
) -> Ordinals:
    """
    Choose where to enter a shape from its first wildcard on.

    The place is the one that uses most of what is known of the segments that follow.
    """
    if isinstance(segment, tuple):
        first = _text(segment[0])
        return node.affix(first, "").open if first else node.open
    if isinstance(last, str) and last and not prefix:
        node.is_plain = False
        return node.tails.setdefault(last, [])
    return node.open


def _last_text(segments: Segments) -> str | None:
    """Return the last segment, not counting one slash at the end of the path."""
    return segments[-2] if segments[-1] == "" and len(segments) > 1 else segments[-1]


def _insert(ordinals: Ordinals, ordinal: int) -> None:
    """Insert *ordinal* in order, once: several shapes of a pattern may end at the same node."""
    place = bisect_left(ordinals, ordinal)
    if ordinals[place : place + 1] != [ordinal]:
        ordinals.insert(place, ordinal)


def _merged(hits: list[Ordinals]) -> Sequence[int]:
    """Join ascending lists, none of them empty, into one."""
    if not hits:
        return ()
    merged = hits[0]
    for ordinals in hits[1:]:
        if merged[-1] >= ordinals[0]:
            return sorted(set[int]().union(*hits))
        merged = merged + ordinals
    return merged
