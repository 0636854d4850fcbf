r"""
Compile, match and build paths: the pattern syntax of Express 5 (path-to-regexp 8).

    /users/:id            one capture: at least one character, never a `/` of the path
    /:"user id"           a capture whose name is no identifier
    /files/*rest          a wildcard: one or more segments, given as a list
    /:file{.:ext}         what stands in braces is optional; braces nest
    /a\:b                 a backslash takes the next character as it is; `( ) [ ] + ? ! < >` always need one

A path is a list of segments, each percent-decoded once (RFC 3986 §2.4: split first, decode afterwards), so an encoded `/`
stays inside its segment. Text in patterns is decoded as well: `/a%20b` and `/a b` are the same pattern. All captures are
greedy, earlier ones first, exactly as in the regular expression `^/([^/]+)-([^/]+)$`, but nothing here backtracks: every match
takes time linear in the path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias, cast
from urllib.parse import quote

from ._dialects import parameter_at, translated
from .errors import HTTPError, PatternError, UsageError

__all__ = ["Capture", "Params", "Pattern", "PatternSegment", "Segments", "Shape", "compile_pattern", "fold", "split_path"]

Segments: TypeAlias = list[str | None]
Params: TypeAlias = dict[str, str | list[str]]


@dataclass(frozen=True, slots=True)
class Capture:
    """A named hole in a pattern; a wild one may span segments."""

    name: str
    wild: bool = False

    def __str__(self) -> str:
        return ("*" if self.wild else ":") + self.name


# None is a `/` between segments, as opposed to a `%2F` in a text.
Token: TypeAlias = str | Capture | None
Form: TypeAlias = list[Token]
Part: TypeAlias = str | Capture
PatternSegment: TypeAlias = str | Capture | tuple[Part, ...]

# Each optional group can double the number of forms; path-to-regexp stops at the same number.
MAX_FORMS = 256

# A lone surrogate never comes out of UTF-8 and is refused in patterns, so it equals no text: it stands for a broken segment.
OPAQUE = "\udfff"

_HEX = "0123456789abcdefABCDEF"
_OCTETS = {(first + second).encode(): bytes.fromhex(first + second) for first in _HEX for second in _HEX}

_RESERVED = {
    "(": "regular expressions are no part of a path: write `:id` and check the value in the handler, or `\\(` for itself",
    ")": "write `\\)` for the character",
    "[": "write `\\[` for the character",
    "]": "write `\\]` for the character",
    "+": "write `*name` for one or more segments, or `\\+` for the character",
    "?": "write `{/:name}` for an optional part, or `\\?` for the character",
    "!": "write `\\!` for the character",
    # Neither stands in a path as received (RFC 3986 §3.3).
    "<": "write `\\<` for the character",
    ">": "write `\\>` for the character",
}
_STRUCTURE = frozenset("/{}:*").union(_RESERVED)

# What encodeURIComponent leaves alone, for captures; for texts all of pchar (RFC 3986 §3.3).
_CAPTURE_SAFE = "!~*'()"
_TEXT_SAFE = "!$&'()*+,;=:@"


def split_path(raw: bytes) -> Segments:
    """
    Split a path, as received and without its query, into decoded segments.

    A segment with a broken escape, or that is not UTF-8, is None. Bytes beyond ASCII count as if they were percent-encoded.

    >>> split_path(b"/a%2Fb/caf%C3%A9/%zz/"), split_path(b"/")
    (['a/b', 'café', None, ''], [''])
    """
    if raw[:1] == b"/":
        raw = raw[1:]
    if b"%" not in raw and raw.isascii():
        return raw.decode("ascii").split("/")  # type: ignore[return-value]  # list is invariant; nobody else holds this one
    return [_decoded(segment) for segment in raw.split(b"/")]


def _decoded(segment: bytes) -> str | None:
    """Percent-decode one segment once."""
    head, *escapes = segment.split(b"%")
    try:
        return b"".join([head, *(_OCTETS[escape[:2]] + escape[2:] for escape in escapes)]).decode()
    except (KeyError, UnicodeDecodeError):
        return None


def fold(text: str) -> str:
    """
    Take the case out of a text and keep its length, so that offsets still fit.

    >>> fold("ÀB"), len(fold("İ"))
    ('àb', 1)
    """
    if text.isascii():
        return text.lower()
    return "".join(lower if len(lower := char.lower()) == 1 else char for char in text)


def _folded(segments: Segments) -> Segments:
    return [segment and fold(segment) for segment in segments]


# --- Parsing ---------------------------------------------------------------------------------------------------------------


def _error(source: str, what: str) -> PatternError:
    return PatternError(f"path pattern {source!r}: {what}")


def parse(source: str) -> tuple[list[Form], int]:
    """
    Read a pattern into its forms: one for each choice of optional groups, those with more groups first.

    Returns:
        The forms, and how many slashes end all of them outside of any group: those that only `strict` looks at.

    Raises:
        PatternError: The pattern cannot be read; the message says what to write instead.

    >>> parse("/a{/:b}/")
    ([[None, 'a', None, Capture(name='b', wild=False), None], [None, 'a', None]], 1)
    """
    try:
        return _forms(source)
    except PatternError as exc:
        ours = translated(source)
        if ours == source or not _is_readable(ours):
            raise
        raise PatternError(f"{exc}. In Nardis this pattern is `{ours}`") from None


def _is_readable(source: str) -> bool:
    try:
        _forms(source)
    except PatternError:
        return False
    return True


def _forms(source: str) -> tuple[list[Form], int]:
    """Do what `parse` does, with a message that speaks of the place of the fault alone."""
    forms: list[Form] = [[]]
    enclosing: list[list[Form]] = []
    names: set[str] = set()
    index = trailing = 0
    while index < len(source):
        char = source[index]
        token: Token = None
        if char in "{<":
            _check_parameter(source, index)
        if char == "{":
            enclosing.append(forms)
            forms, trailing, index = [list[Token]()], 0, index + 1
            continue
        if char == "}":
            forms, trailing, index = _close(source, enclosing, forms), 0, index + 1
            continue
        if char == "/" or source.startswith("\\/", index):
            index += 1 if char == "/" else 2
        elif char in ":*":
            token, index = _capture(source, index, names)
        elif char == "^" and index == 0:
            raise _error(source, "regular expressions are no part of a path: leave out the `^`, or write `\\^` for the character")
        elif char in _RESERVED:
            raise _error(source, f"`{char}` at index {index} is reserved: {_RESERVED[char]}")
        else:
            token, index = _text(source, index)
        trailing = trailing + 1 if token is None else 0
        for form in forms:
            form.append(token)
    if enclosing:
        raise _error(source, "a `{` is never closed: add a `}`, or write `\\{` for the character")
    for form in forms:
        _check_neighbours(source, form)
    return forms, trailing


def _check_parameter(source: str, index: int) -> None:
    """
    Refuse what is a parameter in other frameworks; here `/{id}` is an optional text, and `<id>` mere text.

    The line: `{id}` and `{id:int}` are refused where they are a whole segment. As a part of one they stay an optional group, as
    in `/colo{u}r`, and an optional segment has its slash inside: `{/id}`.
    """
    found = parameter_at(source, index)
    if found is not None:
        theirs, ours = found
        other = f"`{{/{theirs[1:]}` for an optional segment" if theirs[0] == "{" else "`\\<` for the character"
        raise _error(source, f"`{theirs}` at index {index} is how others write a parameter: write `{ours}`, or {other}")


def _close(source: str, enclosing: list[list[Form]], inner: list[Form]) -> list[Form]:
    """Join the forms before a group with those inside it, and with none of them."""
    if not enclosing:
        raise _error(source, "a `}` has no `{` before it: remove it, or write `\\}` for the character")
    before = enclosing.pop()
    if len(before) * (len(inner) + 1) > MAX_FORMS:
        raise _error(source, f"the optional groups have more than {MAX_FORMS} combinations: register several patterns instead")
    return [left + right for left in before for right in (*inner, [])]


def _capture(source: str, index: int, names: set[str]) -> tuple[Capture, int]:
    """Read `:name`, `:"quoted name"` or their `*` kin, from the sign on."""
    sign = source[index]
    start = index + 1
    name, index = _quoted_name(source, start) if source.startswith('"', start) else _plain_name(source, start)
    if not name:
        example = "*rest" if sign == "*" else ":id"
        raise _error(source, f"`{sign}` at index {start - 1} has no name: write `{example}`, or `\\{sign}` for the character")
    if name in names:
        raise _error(source, f"the name {name!r} stands for two captures: give each its own name")
    names.add(name)
    return Capture(name, sign == "*"), index


def _plain_name(source: str, start: int) -> tuple[str, int]:
    """Read a name as JavaScript has it: an identifier that may also hold `$`."""
    end = start
    while end < len(source) and (f"{'' if end == start else '_'}{source[end]}".isidentifier() or source[end] == "$"):
        end += 1
    return source[start:end], end


def _quoted_name(source: str, start: int) -> tuple[str, int]:
    """Read a name in double quotes; a backslash takes the next character as it is."""
    name, index = "", start + 1
    while index < len(source) and source[index] != '"':
        index += source[index] == "\\"
        name += source[index : index + 1]
        index += 1
    if index >= len(source):
        raise _error(source, f'the name at index {start} is never closed: add a `"`')
    return name, index + 1


def _text(source: str, index: int) -> tuple[str, int]:
    """Read text up to whatever has a meaning of its own, and decode it."""
    octets = bytearray()
    try:
        while index < len(source) and (char := source[index]) not in _STRUCTURE and not source.startswith("\\/", index):
            if char == "%":
                octets += _OCTETS[source[index + 1 : index + 3].encode()]
                index += 3
                continue
            if char == "\\":
                index += 1
                if index == len(source):
                    raise _error(source, "a `\\` ends it: write `\\\\` for the character")
            octets += source[index].encode()
            index += 1
        return octets.decode(), index
    except KeyError:
        raise _error(source, f"`%` at index {index} begins no escape: write `%25` for the character") from None
    except UnicodeError as exc:
        raise _error(source, "its text is not UTF-8: write the characters themselves, or escapes such as `caf%C3%A9`") from exc


def _check_neighbours(source: str, form: Form) -> None:
    """Refuse two captures without text between them: nobody could say where the first one ends."""
    for left, right in pairwise(form):
        if isinstance(left, Capture) and isinstance(right, Capture):
            raise _error(source, f"`{left}` and `{right}` touch: put text between them, such as `{left}-{right}`")


def _segmented(form: Form, *, case_sensitive: bool) -> tuple[PatternSegment, ...]:
    """Cut a form into segments; a form without a leading slash is read as if it had one."""
    segments: list[PatternSegment] = []
    parts: list[Part] = []
    for token in [*(form[1:] if form[:1] == [None] else form), None]:
        if token is None:
            segments.append("" if not parts else parts[0] if len(parts) == 1 else tuple(parts))
            parts = []
        elif isinstance(token, Capture):
            parts.append(token)
        else:
            text = token if case_sensitive else fold(token)
            before = parts[-1] if parts else None
            if isinstance(before, str):
                parts[-1] = before + text
            else:
                parts.append(text)
    return tuple(segments)


# --- Matching --------------------------------------------------------------------------------------------------------------


class Shape(ABC):
    """
    One form of a pattern, ready to match.

    `folded` is what texts are compared with and `segments` what captures take: the same list in case-sensitive patterns.
    """

    __slots__ = ("loose", "segments")

    def __init__(self, segments: tuple[PatternSegment, ...], *, loose: bool) -> None:
        self.segments = segments
        self.loose = loose

    def match(self, segments: Segments, folded: Segments) -> Params | None:
        """Match the whole path; a loose shape forgives one slash too many at its end."""
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


def _broken() -> HTTPError:
    return HTTPError(400, "The path is not percent-encoded UTF-8.")


class Straight(Shape):
    """A shape in which each segment knows its place: at most one wildcard, which is a segment of its own."""

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
            # Behind the wildcard places count from the end.
            index = place if self.wild is None else place - len(segments)
            if isinstance(segment, str):
                texts.append((index, segment))
            elif isinstance(segment, tuple):
                mixed.append((index, Mixed(segment)))
            elif segment.wild:
                self.wild, self.wild_start, self.wild_end = segment.name, place, len(segments) - place - 1
            else:
                captures.append((index, segment.name))
        self.texts, self.captures, self.mixed = tuple(texts), tuple(captures), tuple(mixed)
        # Filled in another order than written, so put in order at the end; None when there is nothing to do.
        self.order = _names(segments) if mixed or self.wild_end else None

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
        return None if params is None else (params, self.size if self.wild is None else len(segments))

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
        self.pairs = tuple((text, capture.name) for text, capture in zip(texts[-2:0:-1], captures[:0:-1], strict=True))

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


def _names(segments: Iterable[PatternSegment]) -> tuple[str, ...]:
    parts = [part for segment in segments for part in (segment if isinstance(segment, tuple) else (segment,))]
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


class Winding(Shape):
    """
    A shape with several wildcards, or with one inside a segment.

    What stands between two captures is a list of lines: one for each segment it touches. From right to left, each capture
    learns how far it can reach in each segment so that everything behind it still fits; then, from left to right, each takes
    all it can reach. That is what a greedy regular expression finds, in one walk over the path for each capture.
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

    def _search(self, segments: Segments, folded: Segments, *, whole: bool) -> tuple[Params, int] | None:
        path = [OPAQUE if line is None else line for line in folded]
        head = self.texts[0]
        row, column = len(head) - 1, len(head[-1])
        if len(path) <= row or path[:row] != head[:-1] or not path[row].startswith(head[-1]):
            return None
        values = [OPAQUE if segment is None else segment for segment in segments]
        params: Params = {}
        for capture, text, reach in zip(self.captures, self.texts[1:], self._reaches(path, whole=whole), strict=True):
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
        Find, for each capture and segment, the last column at which it may end there; -1 where it may not.

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


def _furthest(reach: list[int]) -> tuple[int, int]:
    """Find the last place, as row and column, in a table of reaches; row -1 when there is none."""
    row = len(reach) - 1
    while row >= 0 and reach[row] < 0:
        row -= 1
    return row, reach[row]


def _starts(path: list[str], reach: list[int], *, wild: bool) -> list[int]:
    """Turn where a capture may end into the last column of each segment at which it may start."""
    if not wild:
        return [end - 1 for end in reach]
    last, column = _furthest(reach)
    return [len(line) if row < last else column - 1 if row == last else -1 for row, line in enumerate(path)]


def _last_fit(path: list[str], row: int, text: list[str], starts: list[int]) -> int:
    """Find the last column of *row* where *text* fits and the next capture may start behind it, or -1."""
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


def _shape(segments: tuple[PatternSegment, ...], *, loose: bool = False, prefix: bool = False) -> Shape:
    """Choose the quickest way to match these segments."""
    parts = [part for segment in segments if isinstance(segment, tuple) for part in segment]
    wild_inside = any(isinstance(part, Capture) and part.wild for part in parts)
    places = [place for place, segment in enumerate(segments) if isinstance(segment, Capture) and segment.wild]
    # A prefix has no known end, so nothing behind a wildcard has a known place.
    if wild_inside or len(places) > 1 or (prefix and places and places[0] < len(segments) - 1):
        return Winding(segments, loose=loose)
    return Straight(segments, loose=loose)


class Pattern:
    """
    A compiled path pattern, or a list of them of which the first that fits counts.

    Attributes:
        source: The pattern as written; those of a list joined by `, `.
        names: Names of all captures, in order of appearance.
        literals: The segments of a pattern that is one fixed text, such as `/api/v1`; None for any other.
        routes: The shapes for `match`, in order of preference; for the routing index.
        prefixes: The shapes for `match_prefix`, likewise.
    """

    __slots__ = ("_case_sensitive", "_forms", "literals", "names", "prefixes", "routes", "source")

    def __init__(self, sources: Sequence[str], *, case_sensitive: bool, strict: bool) -> None:
        self.source: str = ", ".join(sources)
        self._case_sensitive = case_sensitive
        self._forms: list[Form] = []
        routes: dict[tuple[PatternSegment, ...], Shape] = {}
        prefixes: dict[tuple[PatternSegment, ...], Shape] = {}
        for source in sources:
            forms, trailing = parse(source)
            for form in forms:
                # A path may have one slash more than the pattern, so that many can be built.
                self._forms.append(form if strict else form[: len(form) - max(trailing - 1, 0)])
                stem = form[: len(form) - trailing]
                segments = _segmented(form if strict else stem, case_sensitive=case_sensitive)
                routes.setdefault(segments, _shape(segments, loose=not strict))
                segments = _segmented(stem, case_sensitive=case_sensitive) if stem else ()
                prefixes.setdefault(segments, _shape(segments, prefix=True))
        self.routes: tuple[Shape, ...] = tuple(routes.values())
        self.prefixes: tuple[Shape, ...] = tuple(prefixes.values())
        self.names: tuple[str, ...] = tuple(dict.fromkeys(name for shape in routes.values() for name in _names(shape.segments)))
        texts = [segment for segment in self.routes[0].segments if isinstance(segment, str)]
        self.literals: tuple[str, ...] | None = (
            tuple(texts) if len(self.routes) == 1 and len(texts) == len(self.routes[0].segments) else None
        )

    def __repr__(self) -> str:
        return f"<Pattern {self.source}>"

    def match(self, segments: Segments) -> Params | None:
        """
        Match the whole path.

        Returns:
            The captures by name; None when the path does not fit. Names of optional groups left out are absent.

        Raises:
            HTTPError: 400, a capture would take (a part of) a broken segment. Against mere text that is no match.

        >>> compile_pattern("/:file{.:ext}").match(["archive.tar.gz"])
        {'file': 'archive.tar', 'ext': 'gz'}
        """
        folded = segments if self._case_sensitive else _folded(segments)
        for shape in self.routes:
            params = shape.match(segments, folded)
            if params is not None:
                return params
        return None

    def match_prefix(self, segments: Segments) -> tuple[Params, int] | None:
        """
        Match the beginning of the path, up to the end of a segment, as `use()` does; never strict.

        Returns:
            The captures and the number *n* of segments used; None when the path does not fit. The rest is `segments[n:]`,
            and an empty rest is the path `/`.

        Raises:
            HTTPError: 400, as `match`.

        >>> compile_pattern("/:tenant/api/").match_prefix(["acme", "api", "users", "7"])
        ({'tenant': 'acme'}, 2)
        """
        folded = segments if self._case_sensitive else _folded(segments)
        for shape in self.prefixes:
            found = shape.take_prefix(segments, folded)
            if found is not None:
                return found
        return None

    def build(self, params: Mapping[str, object]) -> str:
        """
        Build the path that has these captures, percent-encoded (RFC 3986 §2.1), with slashes as the pattern was written.

        Args:
            params: Values by name; None counts as absent, unknown names are ignored. A wildcard takes an iterable of
                segments, or one text in which `/` separates them; anything else is taken as `str` gives it.

        Raises:
            UsageError: A value is missing, or empty where the pattern asks for a character.

        >>> compile_pattern("/:owner/*path{.:ext}").build({"owner": "a/b", "path": ["docs", "über uns"]})
        '/a%2Fb/docs/%C3%BCber%20uns'
        """
        lacking: list[list[str]] = []
        for form in self._forms:
            missing = [token.name for token in form if isinstance(token, Capture) and params.get(token.name) is None]
            if not missing:
                path = "".join([self._encoded(token, params) for token in form])
                return path if form[:1] == [None] else f"/{path}"
            lacking.append(missing)
        names = ", ".join(repr(name) for name in min(lacking, key=len))
        raise UsageError(f"cannot build a path for {self.source!r} without {names}: pass a value for each")

    def _encoded(self, token: Token, params: Mapping[str, object]) -> str:
        if token is None:
            return "/"
        if isinstance(token, str):
            return quote(token, safe=_TEXT_SAFE)
        value = params[token.name]
        if token.wild and isinstance(value, Iterable) and not isinstance(value, str):
            segments = cast("Iterable[object]", value)
            text = "/".join([quote(str(segment), safe=_CAPTURE_SAFE) for segment in segments])
        else:
            text = quote(str(value), safe=_CAPTURE_SAFE + "/" if token.wild else _CAPTURE_SAFE)
        if not text:
            raise UsageError(f"cannot build a path for {self.source!r}: {token.name!r} is empty and takes at least one character")
        return text


def compile_pattern(source: str | Sequence[str], *, case_sensitive: bool = True, strict: bool = False) -> Pattern:
    """
    Compile a pattern, or a list of them.

    Args:
        source: The pattern; without a slash at its beginning it is read as if it had one. Each of a list has its own names.
        case_sensitive: Whether `/Users` and `/users` differ. Captures keep their case either way.
        strict: Whether `/users` and `/users/` differ. Otherwise the slashes at the end of the pattern do not count, and the
            path may have one more.

    Raises:
        PatternError: The pattern cannot be read; the message says what to write instead.

    >>> compile_pattern(["/users/:id", "/people/:id"]).match(["people", "7", ""])
    {'id': '7'}
    """
    return Pattern(_sources(source), case_sensitive=case_sensitive, strict=strict)


def _sources(source: object) -> list[str]:
    """Make a list of what was given as a pattern, and refuse what is none."""
    items = [source] if isinstance(source, str) else cast("Sequence[object]", source) if isinstance(source, Sequence) else []
    texts = [item for item in items if isinstance(item, str)]
    if not texts or len(texts) < len(items):
        raise PatternError(f"a path pattern is a str, or a list of at least one, not {source!r}")
    return texts
