"""
Forms that match a path, in linear time.

A `Straight` shape compares each segment at its place; a `Winding` one has to find the places first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TypeAlias

from ..errors import HTTPError
from .segments import Segments
from .syntax import Capture, Part, PatternSegment

__all__ = [
    "OPAQUE",
    "Mixed",
    "Params",
    "Shape",
    "Straight",
    "Winding",
    "names_of",
    "shape_of",
]

Params: TypeAlias = dict[str, str | list[str]]

# It stands for a broken segment. A lone surrogate never comes out of UTF-8 and is refused in
# patterns, so it equals no text.
OPAQUE = "\udfff"


class Shape(ABC):
    """
    One form of a pattern, ready to match.

    Texts are compared with `folded`, and captures take from `segments`: the same list in
    case-sensitive patterns.

    Attributes:
        segments: The segments of the form.
        loose: Whether a path may have one slash more at its end.
    """

    __slots__ = ("loose", "segments")

    def __init__(self, segments: tuple[PatternSegment, ...], *, loose: bool) -> None:
        self.segments = segments
        self.loose = loose

    def match(self, segments: Segments, folded: Segments) -> Params | None:
        """Match the whole path, with a slash too many at its end if the shape is loose."""
        params = self.take(segments, folded)
        if params is None and self.loose and len(segments) > 1 and segments[-1] == "":
            params = self.take(segments[:-1], folded[:-1])
        return params

    @abstractmethod
    def take(self, segments: Segments, folded: Segments) -> Params | None:
        """Match the whole path, as it is."""

    @abstractmethod
    def take_prefix(self, segments: Segments, folded: Segments) -> tuple[Params, int] | None:
        """Match the beginning of the path, up to the end of a segment."""


class Straight(Shape):
    """A shape whose segments have known places: at most one wildcard, a segment of its own."""

    __slots__ = ("captures", "mixed", "order", "size", "texts", "wild", "wild_end", "wild_start")

    def __init__(self, segments: tuple[PatternSegment, ...], *, loose: bool) -> None:
        super().__init__(segments, loose=loose)
        self.wild: str | None = None
        self.wild_start = self.wild_end = 0
        self.size = len(segments)
        texts: list[tuple[int, str]] = []
        captures: list[tuple[int, str]] = []
        mixed: list[tuple[int, Mixed]] = []
        for place, segment in enumerate(segments):
            # Behind the wildcard, places count from the end.
            index = place if self.wild is None else place - len(segments)
            if isinstance(segment, str):
                texts.append((index, segment))
            elif isinstance(segment, tuple):
                mixed.append((index, Mixed(segment)))
            elif segment.wild:
                self.wild = segment.name
                self.wild_start, self.wild_end = place, len(segments) - place - 1
            else:
                captures.append((index, segment.name))
        self.texts, self.captures, self.mixed = tuple(texts), tuple(captures), tuple(mixed)
        # Captures are filled in another order than written, so they are put in order at the end.
        # None when there is nothing to do.
        self.order = names_of(segments) if mixed or self.wild_end else None

    def match(self, segments: Segments, folded: Segments) -> Params | None:
        if self.wild is not None:
            return super().match(segments, folded)
        count = len(segments)
        if count == self.size or (count == self.size + 1 and self.loose and segments[-1] == ""):
            return self._fill(segments, folded)
        return None

    def take(self, segments: Segments, folded: Segments) -> Params | None:
        return None if len(segments) < self.size else self._fill(segments, folded)

    def take_prefix(self, segments: Segments, folded: Segments) -> tuple[Params, int] | None:
        if len(segments) < self.size:
            return None
        params = self._fill(segments, folded)
        if params is None:
            return None
        return params, self.size if self.wild is None else len(segments)

    def _fill(self, segments: Segments, folded: Segments) -> Params | None:
        for index, text in self.texts:
            if folded[index] != text:
                return None
        params: Params = {}
        broken = False
        for index, name in self.captures:
            value = segments[index]
            if value:
                params[name] = value
            elif value is None:
                broken = True
            else:
                return None
        for index, mixed in self.mixed:
            value, line = segments[index], folded[index]
            if value is None or line is None:
                broken = True
            elif not mixed.take(value, line, params):
                return None
        if self.wild is not None:
            rest = segments[self.wild_start : len(segments) - self.wild_end]
            if rest == [""]:
                return None
            broken = broken or None in rest
            params[self.wild] = rest  # type: ignore[assignment]  # without None, or an error is raised now
        if broken:
            raise _broken()
        return params if self.order is None else {name: params[name] for name in self.order}


class Mixed:
    """A segment of texts and captures, matched from its right end."""

    __slots__ = ("first", "last", "lead", "pairs")

    def __init__(self, parts: tuple[Part, ...]) -> None:
        texts, captures = _alternating(parts)
        self.lead, self.last = texts[0], texts[-1]
        self.first = captures[0].name
        self.pairs = tuple(
            (text, capture.name)
            for text, capture in zip(texts[-2:0:-1], captures[:0:-1], strict=True)
        )

    def take(self, segment: str, folded: str, params: Params) -> bool:
        """Add the captures to *params*; False when the segment does not fit."""
        if not (folded.startswith(self.lead) and folded.endswith(self.last)):
            return False
        floor = len(self.lead)
        end = len(segment) - len(self.last)
        for text, name in self.pairs:
            # The text as far right as leaves one character for the capture behind it.
            start = folded.rfind(text, floor, max(end - 1, 0))
            if start < 0:
                return False
            params[name] = segment[start + len(text) : end]
            end = start
        params[self.first] = segment[floor:end]
        return end > floor


class Winding(Shape):
    """
    A shape with several wildcards, or with one inside a segment.

    The text between two captures is a list of lines, one for each segment that it touches. From
    right to left, each capture learns how far it can reach in each segment so that everything
    behind it still fits. Then, from left to right, each takes all that it can reach. A greedy
    regular expression finds the same; this is one walk over the path for each capture.
    """

    __slots__ = ("captures", "texts")

    def __init__(self, segments: tuple[PatternSegment, ...], *, loose: bool) -> None:
        super().__init__(segments, loose=loose)
        self.texts: list[list[str]] = [[]]
        self.captures: list[Capture] = []
        for segment in segments:
            texts, captures = _alternating(segment if isinstance(segment, tuple) else (segment,))
            self.texts[-1].append(texts[0])
            self.texts += [[text] for text in texts[1:]]
            self.captures += captures

    def take(self, segments: Segments, folded: Segments) -> Params | None:
        found = self._search(segments, folded, whole=True)
        return found and found[0]

    def take_prefix(self, segments: Segments, folded: Segments) -> tuple[Params, int] | None:
        return self._search(segments, folded, whole=False)

    def _search(
        self, segments: Segments, folded: Segments, *, whole: bool
    ) -> tuple[Params, int] | None:
        path = [OPAQUE if line is None else line for line in folded]
        head = self.texts[0]
        row, column = len(head) - 1, len(head[-1])
        if len(path) <= row or path[:row] != head[:-1] or not path[row].startswith(head[-1]):
            return None
        values = [OPAQUE if segment is None else segment for segment in segments]
        params: Params = {}
        for capture, text, reach in zip(
            self.captures, self.texts[1:], self._reaches(path, whole=whole), strict=True
        ):
            end = _furthest(reach) if capture.wild else (row, reach[row])
            if end <= (row, column):
                return None
            taken = values[row : end[0] + 1]
            taken[-1] = taken[-1][: end[1]]
            taken[0] = taken[0][column:]
            if OPAQUE in taken:
                raise _broken()
            params[capture.name] = taken if capture.wild else taken[0]
            row, column = end[0] + len(text) - 1, len(text[-1]) + (end[1] if len(text) == 1 else 0)
        return params, row + 1

    def _reaches(self, path: list[str], *, whole: bool) -> list[list[int]]:
        """
        Find, for each capture and segment, the last column at which it may end, or -1.

        Of a wildcard only the last such place matters: earlier ones are left at -1.
        """
        tail = self.texts[-1]
        reach = [-1] * len(path)
        for row in range(len(path) - len(tail), -1, -1):
            if path[row].endswith(tail[0]) and path[row + 1 : row + len(tail)] == tail[1:]:
                reach[row] = len(path[row]) - len(tail[0])
            if whole or (self.captures[-1].wild and reach[row] >= 0):
                break
        reaches = [reach]
        for place in range(len(self.captures) - 2, -1, -1):
            starts = _starts(path, reach, wild=self.captures[place + 1].wild)
            reach = [-1] * len(path)
            for row in range(len(path) - 1, -1, -1):
                reach[row] = _last_fit(path, row, self.texts[place + 1], starts)
                if reach[row] >= 0 and self.captures[place].wild:
                    break
            reaches.append(reach)
        return reaches[::-1]


def shape_of(
    segments: tuple[PatternSegment, ...], *, loose: bool = False, prefix: bool = False
) -> Shape:
    """Make the shape that matches these segments the quickest way."""
    parts = [part for segment in segments if isinstance(segment, tuple) for part in segment]
    wild_inside = any(isinstance(part, Capture) and part.wild for part in parts)
    places = [
        place
        for place, segment in enumerate(segments)
        if isinstance(segment, Capture) and segment.wild
    ]
    # A prefix has no known end, so nothing behind a wildcard has a known place.
    if wild_inside or len(places) > 1 or (prefix and places and places[0] < len(segments) - 1):
        return Winding(segments, loose=loose)
    return Straight(segments, loose=loose)


def names_of(segments: Iterable[PatternSegment]) -> tuple[str, ...]:
    """
    List the names of all captures, in order.

    >>> names_of(("users", Capture("id"), (Capture("file"), ".", Capture("ext"))))
    ('id', 'file', 'ext')
    """
    parts = [
        part
        for segment in segments
        for part in (segment if isinstance(segment, tuple) else (segment,))
    ]
    return tuple(part.name for part in parts if isinstance(part, Capture))


def _alternating(parts: Iterable[Part]) -> tuple[list[str], list[Capture]]:
    """
    Sort parts into the texts and the captures between them.

    >>> _alternating(("v", Capture("major"), ".", Capture("minor")))
    (['v', '.', ''], [Capture(name='major', wild=False), Capture(name='minor', wild=False)])
    """
    texts, captures = [""], list[Capture]()
    for part in parts:
        if isinstance(part, Capture):
            captures.append(part)
            texts.append("")
        else:
            texts[-1] += part
    return texts, captures


def _furthest(reach: list[int]) -> tuple[int, int]:
    """Return the last place, as row and column, in a table of reaches; row -1 if there is none."""
    row = len(reach) - 1
    while row >= 0 and reach[row] < 0:
        row -= 1
    return row, reach[row]


def _starts(path: list[str], reach: list[int], *, wild: bool) -> list[int]:
    """Return the last column of each segment where a capture may start, by where it may end."""
    if not wild:
        return [end - 1 for end in reach]
    last, column = _furthest(reach)
    return [
        len(line) if row < last else column - 1 if row == last else -1
        for row, line in enumerate(path)
    ]


def _last_fit(path: list[str], row: int, text: list[str], starts: list[int]) -> int:
    """
    Find the last column of *row* where *text* fits, or -1.

    The next capture must be able to start behind it, as *starts* says.
    """
    if len(text) == 1:
        return path[row].rfind(text[0], 0, starts[row]) if starts[row] >= 0 else -1
    last = row + len(text) - 1
    if (
        last < len(path)
        and starts[last] >= len(text[-1])
        and path[row].endswith(text[0])
        and path[row + 1 : last] == text[1:-1]
        and path[last].startswith(text[-1])
    ):
        return len(path[row]) - len(text[0])
    return -1


def _broken() -> HTTPError:
    return HTTPError(400, "The path is not percent-encoded UTF-8.")
