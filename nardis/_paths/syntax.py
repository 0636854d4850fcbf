"""
The text of a pattern becomes forms, lists of text, captures and slashes; a form becomes segments.

The syntax is that of Express 5 (path-to-regexp 8), as the package's docstring shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

from ..errors import PatternError
from .segments import OCTETS, fold

__all__ = ["MAX_FORMS", "Capture", "Form", "Part", "PatternSegment", "Token", "parse", "segmented"]

# Each optional group can double the number of forms; path-to-regexp stops at the same number.
MAX_FORMS: Final = 256

_RESERVED = {
    "(": "regular expressions are no part of a path: "
    "write `:id` and check the value in the handler, or `\\(` for itself",
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

# A segment of one part is that part; one that mixes text and captures is a tuple.
Part: TypeAlias = str | Capture
PatternSegment: TypeAlias = str | Capture | tuple[Part, ...]


def parse(source: str) -> tuple[list[Form], int]:
    """
    Read a pattern into its forms.

    There is one for each choice of optional groups, those with more groups first.

    Returns:
        The forms, and how many slashes end all of them outside of any group. Only `strict` looks at
        these slashes.

    Raises:
        PatternError: The pattern cannot be read; the message says what to write instead.

    >>> parse("/a{/:b}/")
    ([[None, 'a', None, Capture(name='b', wild=False), None], [None, 'a', None]], 1)
    """
    try:
        return _forms(source)
    except PatternError as exc:
        from .dialects import translated

        ours = translated(source)
        if ours == source or not _is_readable(ours):
            raise
        raise PatternError(f"{exc}. In Nardis this pattern is `{ours}`") from None


def segmented(form: Form, *, case_sensitive: bool) -> tuple[PatternSegment, ...]:
    """
    Cut a form into segments; a form without a leading slash is read as if it had one.

    >>> segmented([None, "Users", None, Capture("id"), ".json"], case_sensitive=False)
    ('users', (Capture(name='id', wild=False), '.json'))
    """
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


def _is_readable(source: str) -> bool:
    try:
        _forms(source)
    except PatternError:
        return False
    return True


def _forms(source: str) -> tuple[list[Form], int]:
    """Do what `parse` does, with messages that speak only of the place of the fault."""
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
            raise _error(
                source,
                "regular expressions are no part of a path: "
                "leave out the `^`, or write `\\^` for the character",
            )
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
    Refuse a parameter of another framework: here `/{id}` is an optional text, and `<id>` mere text.

    The line: `{id}` and `{id:int}` are refused where they are a whole segment. As a part of one
    they stay an optional group, as in `/colo{u}r`, and an optional segment has its slash inside:
    `{/id}`.
    """
    from .dialects import parameter_at

    found = parameter_at(source, index)
    if found is not None:
        theirs, ours = found
        other = (
            f"`{{/{theirs[1:]}` for an optional segment"
            if theirs[0] == "{"
            else "`\\<` for the character"
        )
        raise _error(
            source,
            f"`{theirs}` at index {index} is how others write a parameter: "
            f"write `{ours}`, or {other}",
        )


def _close(source: str, enclosing: list[list[Form]], inner: list[Form]) -> list[Form]:
    """Join the forms before a group with those inside it, and with none of them."""
    if not enclosing:
        raise _error(
            source, "a `}` has no `{` before it: remove it, or write `\\}` for the character"
        )
    before = enclosing.pop()
    if len(before) * (len(inner) + 1) > MAX_FORMS:
        raise _error(
            source,
            f"the optional groups have more than {MAX_FORMS} combinations: "
            "register several patterns instead",
        )
    return [left + right for left in before for right in (*inner, [])]


def _capture(source: str, index: int, names: set[str]) -> tuple[Capture, int]:
    """Read `:name`, `:"quoted name"` or their `*` kin, from the sign on."""
    sign = source[index]
    start = index + 1
    name, index = (
        _quoted_name(source, start) if source.startswith('"', start) else _plain_name(source, start)
    )
    if not name:
        example = "*rest" if sign == "*" else ":id"
        raise _error(
            source,
            f"`{sign}` at index {start - 1} has no name: "
            f"write `{example}`, or `\\{sign}` for the character",
        )
    if name in names:
        raise _error(source, f"the name {name!r} stands for two captures: give each its own name")
    names.add(name)
    return Capture(name, sign == "*"), index


def _plain_name(source: str, start: int) -> tuple[str, int]:
    """Read a name as JavaScript has it: an identifier that may also hold `$`."""
    end = start
    while end < len(source) and (
        f"{'' if end == start else '_'}{source[end]}".isidentifier() or source[end] == "$"
    ):
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
    """Read text up to the next character with a meaning of its own, and decode it."""
    octets = bytearray()
    try:
        while (
            index < len(source)
            and (char := source[index]) not in _STRUCTURE
            and not source.startswith("\\/", index)
        ):
            if char == "%":
                octets += OCTETS[source[index + 1 : index + 3].encode()]
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
        raise _error(
            source, f"`%` at index {index} begins no escape: write `%25` for the character"
        ) from None
    except UnicodeError as exc:
        raise _error(
            source,
            "its text is not UTF-8: "
            "write the characters themselves, or escapes such as `caf%C3%A9`",
        ) from exc


def _check_neighbours(source: str, form: Form) -> None:
    """Refuse two captures without text between them: it is not known where the first one ends."""
    for left, right in pairwise(form):
        if isinstance(left, Capture) and isinstance(right, Capture):
            raise _error(
                source,
                f"`{left}` and `{right}` touch: put text between them, such as `{left}-{right}`",
            )


def _error(source: str, what: str) -> PatternError:
    return PatternError(f"path pattern {source!r}: {what}")
