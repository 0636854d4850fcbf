"""
What does not fit: each fault with its place, and the 422 that lists them.

Source: RFC 6901 (JSON pointers); RFC 9457 §3 (the member `errors` of its example).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast
from urllib.parse import quote

from .._http.strict_json import JSONRefused
from ..errors import HTTPError

__all__ = [
    "BAD",
    "MAX_FAULTS",
    "Enough",
    "Fault",
    "Misfit",
    "Walk",
    "Where",
    "body_refused",
    "faults_of",
    "in_msgspecs_words",
    "kind_of",
    "pairs_refused",
    "pointer_to",
]

# Nobody reads more than this, and a body of 10 MB may have a million.
MAX_FAULTS: Final = 100

# Pydantic makes an object of some 600 bytes for each fault, and has no way to ask for a few.
MAX_LISTED: Final = 1000

# The names of members are the client's, and they come back once for each fault. A pointer that
# would be longer ends at something that holds the fault.
MAX_POINTER_CHARS: Final = 512

# A sentence of a constructor, or of another library, may repeat what the client sent.
MAX_DETAIL_CHARS: Final = 300

# The place of a value: the place of what holds it, and its name or number there. None is the whole.
Where: TypeAlias = tuple["Where", str | int] | None

# What a fragment may have as it is, RFC 3986 §3.5.
_FRAGMENT: Final = "/?:@!$&'()*+,;=~"

# How msgspec writes a place: `$.items[3].name`; `[...]` is a member of a dict, whose name it does
# not keep.
_STEP: Final = re.compile(r"\.([^.\[]+)|\[([0-9]+)\]|(\[\.\.\.\])")

BAD: Final = object()  # what a reader returns for a value that has a fault


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One thing that does not fit.

    Args:
        pointer: A JSON pointer to it; `""` is the whole.
        detail: One sentence, without what was sent: that may be a secret.

    Source: RFC 6901 §3.
    """

    pointer: str
    detail: str


class Misfit(ValueError):
    """
    A value does not fit a type.

    Attributes:
        faults: Each of them, in the order of the value, or the first `MAX_FAULTS`.
        more: Whether there are more.
    """

    def __init__(self, faults: Sequence[Fault], more: bool = False) -> None:
        super().__init__("; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults))
        self.faults: Sequence[Fault] = faults
        self.more: bool = more


class Enough(Exception):
    """A walk has found as many faults as it looks for."""


class Walk:
    """
    One way through a value, on which faults are picked up.

    Args:
        most: How many faults are kept. The next one ends the walk.
        exact: Whether numbers with a fraction are `Decimal`.
        several: What a list is called; in a query there are no arrays.

    Attributes:
        faults: Those that were kept.
        more: Whether there was one more.
    """

    __slots__ = ("exact", "faults", "more", "most", "several")

    def __init__(
        self, most: int = MAX_FAULTS, *, exact: bool = False, several: str = "an array"
    ) -> None:
        self.most: int = most
        self.exact: bool = exact
        self.several: str = several
        self.faults: list[Fault] = []
        self.more: bool = False

    def unexpected(self, where: Where, expected: str, value: object) -> object:
        """
        Keep the fault that a value is of another kind; return `BAD`.

        Raises:
            Enough: There are *most* already.
        """
        got = self.several if type(value) is list else kind_of(value)
        return self.fault(where, f"expected {expected}, got {got}")

    def fault(self, where: Where, detail: str) -> object:
        """
        Keep a fault; return `BAD`, for the reader to return.

        Raises:
            Enough: There are *most* already.
        """
        if len(self.faults) == self.most:
            self.more = True
            raise Enough
        pointer, whole = pointer_to(where)
        self.faults.append(
            Fault(pointer, _shortened(detail if whole else f"somewhere in it: {detail}"))
        )
        return BAD

    def take_over(self, found: Iterable[tuple[Where, str]]) -> object:
        """
        Keep faults that somebody else found; return `BAD`.

        Raises:
            Enough: There are more than *most*.
        """
        for where, detail in found:
            self.fault(where, detail)
        return BAD


def pointer_to(where: Where) -> tuple[str, bool]:
    """
    Return the JSON pointer to a place, or to what holds it where that would be very long.

    Returns:
        The pointer, and whether it leads to the place itself.

    Source: RFC 6901 §3.
    >>> pointer_to((((None, "items"), 3), "a/b~c"))
    ('/items/3/a~1b~0c', True)
    """
    steps: list[str | int] = []
    while where is not None:
        where, step = where
        steps.append(step)
    pointer = ""
    for step in reversed(steps):
        # What is longer than all can be is not copied.
        name = step if isinstance(step, int) else step[: MAX_POINTER_CHARS + 1]
        longer = f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"
        if len(longer) > MAX_POINTER_CHARS:
            return pointer, False
        pointer = longer
    return pointer, True


_KINDS: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def kind_of(value: object) -> str:
    """
    Name what JSON calls a value.

    >>> kind_of(None), kind_of(1.5), kind_of([])
    ('null', 'a number', 'an array')
    """
    return _KINDS.get(type(value), "a number")  # a Decimal, where numbers are exact


# --- the answers ----------------------------------------------------------------------------------


def body_refused(misfit: Misfit) -> JSONRefused:
    """
    Return the 422 for a JSON body that does not fit; its problem details list the faults.

    Source: RFC 9457 §3; RFC 6901 §6 (a pointer as a fragment).
    >>> error = body_refused(Misfit([Fault("/é", "required and missing")]))
    >>> error.detail
    'the JSON body does not fit: 1 fault, at #/%C3%A9: required and missing'
    >>> error.extensions
    {'errors': [{'detail': 'required and missing', 'pointer': '#/%C3%A9'}]}
    """
    errors = [
        {"detail": fault.detail, "pointer": "#" + quote(fault.pointer, _FRAGMENT, errors="replace")}
        for fault in misfit.faults
    ]
    said = _said_of("JSON body", errors, "pointer", misfit.more)
    return JSONRefused(422, said, errors=errors)


def pairs_refused(misfit: Misfit) -> HTTPError:
    """
    Return the 422 for a query that does not fit; its faults name the parameter.

    >>> pairs_refused(Misfit([Fault("/limit", "not an integer, such as 42")])).extensions
    {'errors': [{'detail': 'not an integer, such as 42', 'parameter': 'limit'}]}
    """
    errors = [_of_parameter(fault) for fault in misfit.faults]
    said = _said_of("query", errors, "parameter", misfit.more)
    return HTTPError(422, said, errors=errors)


def _said_of(what: str, errors: list[dict[str, str]], place: str, more: bool) -> str:
    first, count = errors[0], len(errors)
    at = f" at {first[place]}" if place in first else ""  # else it is of all of them together
    if count == 1:
        said = f"1 fault,{at}" if at else "1 fault"
    else:
        said = f"{'more than ' if more else ''}{count} faults, the first{at}"
    return f"the {what} does not fit: {said}: {first['detail']}"


def _of_parameter(fault: Fault) -> dict[str, str]:
    name, _, rest = fault.pointer[1:].partition("/")
    if not fault.pointer:  # of the parameters together, such as what a constructor says
        return {"detail": fault.detail}
    detail = f"value {int(rest) + 1}: {fault.detail}" if rest.isdecimal() else fault.detail
    return {"detail": detail, "parameter": name.replace("~1", "/").replace("~0", "~")}


# --- the words of others --------------------------------------------------------------------------


def in_msgspecs_words(message: str, where: Where = None) -> tuple[Where, str]:
    """
    Return place and sentence of a message of msgspec, which knows one fault at a time.

    Args:
        message: The text of its `ValidationError`.
        where: The place of the value that it speaks of.

    >>> in_msgspecs_words("Expected `int`, got `str` - at `$.a[3]`")
    (((None, 'a'), 3), 'expected int, got str')
    """
    said, place = message, ""
    for mark in (" - at `$", " - at `key` in `$"):
        if mark in message:
            said, _, place = message.rpartition(mark)
    for name, number, lost in _STEP.findall(place.removesuffix("`")):
        if lost:
            break
        where = (where, int(number) if number else name)
    sentence = said.replace("`", "")
    return where, sentence[:1].lower() + sentence[1:] or "not valid"


def faults_of(error: ValueError, value: object, where: Where = None) -> list[tuple[Where, str]]:
    """
    Return what a model found wrong, in its own words.

    The errors of pydantic have a list. Their places name things that are not in the JSON as well,
    such as the member of a union that was tried; those are left out.

    Args:
        error: What the model raised; one without such a list is a single fault.
        value: What it was given, decoded.
        where: The place of that.
    """
    try:
        found = _listed(cast("Any", error), value, where)
    except (AttributeError, LookupError, TypeError):  # it has no list, or another kind of list
        found = []
    return found or [(where, str(error) or "not valid")]


def _listed(error: Any, value: object, where: Where) -> list[tuple[Where, str]]:
    many = error.error_count()
    if many > MAX_LISTED:
        return [(where, f"{many} faults, too many to list")]
    return [
        (_within(value, each["loc"], where, missing=each["type"] == "missing"), str(each["msg"]))
        for each in error.errors()
    ]


def _within(value: Any, steps: Sequence[Any], where: Where, *, missing: bool) -> Where:
    """Go the *steps* from *where*, as far as they are there; the last of them may be missing."""
    for step in steps[:-1] if missing else steps:
        if isinstance(value, (dict, list)):
            try:
                value = cast("Any", value)[step]
            except (LookupError, TypeError):
                continue
            where = (where, step)
    return (where, steps[-1]) if missing else where


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_DETAIL_CHARS else text[: MAX_DETAIL_CHARS - 3] + "..."
