r"""
How other frameworks write a path parameter, and how Nardis writes the same, for error messages.

    {id}  {id:int}  {rest:path}  {rest...}      Starlette, FastAPI, aiohttp, Go
    <id>  <int:id>  <id:int>  <path:rest>       Flask, Quart, Django; Bottle and Sanic: name first
    [id]  [...rest]  [[id]]  [[...rest]]        Next.js
    :id?  :rest+  :id(\d+)  *                   Express 4, Sinatra
    :id(.:format)                               Rails
    ^users/(?P<id>\d+)/?$                       a regular expression, as Nardis 0.0.7 had it

Nothing here decides whether a pattern is valid. Braces and colons mean something to Nardis too, so
the parser asks about one place of a pattern, and only a pattern that is refused is translated. Most
programs have no such pattern, so the parser imports this module late.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from typing import Final, TypeAlias

__all__ = ["parameter_at", "translated"]

Found: TypeAlias = "re.Match[str]"

# Words that name a converter. `<int:id>` and `<id:int>` are both in use, and these words tell the
# name from the type. "slug" is missing: it names a parameter as often as a type.
_TYPES: Final = frozenset(
    {"alpha", "any", "bool", "float", "int", "path", "re", "str", "string", "uuid", "ymd"}
)
_WILD: Final = frozenset({"path", ".*", ".+", "re:.*", "re:.+", "..."})

_NAME: Final = r"([^\W\d]\w*)"
_INSIDE: Final = r"((?:[^()\\]|\\.)*)"  # of parentheses, without others in them

# A group that is a whole segment. One that is less is an optional text in all likelihood, as in
# `/colo{u}r`.
_BRACES: Final = re.compile(
    rf"""
    (?<![^/])
    \{{ {_NAME}
        # a type, or a regular expression such as `\d{{4}}`
        (?: : ( [^/{{}}"]+ (?: \{{[\d,]*\}} [^/{{}}]* )* )
          | (\.\.\.)
        )?
    \}}
    (?= \\?/ | \}} | \{{/ | \Z )
    """,
    re.VERBOSE,
)
_ANGLES: Final = re.compile(rf"<(?:{_NAME}(?:\([^()<>]*\))?:)?{_NAME}>|<{_NAME}:([^<>]+)>")


def parameter_at(source: str, index: int) -> tuple[str, str] | None:
    """
    Find a parameter as others write it, in braces or angle brackets, that begins at *index*.

    Returns:
        The parameter as it stands there, and as Nardis writes it; None when there is none.

    >>> parameter_at("/users/{id}", 7), parameter_at("/x/<path:rest>", 3)
    (('{id}', ':id'), ('<path:rest>', '*rest'))
    >>> parameter_at("/users{/:id}", 6)
    """
    found = _ANGLES.match(source, index)
    if found is not None:
        return found[0], _from_angles(found)
    found = _BRACES.match(source, index)
    # `/{v:major.:minor}` is an optional group with two captures, and `{id:\d+}` is refused for its
    # `:`.
    if found is None or not (found[2] is None or found[2].isidentifier()):
        return None
    return found[0], _from_braces(found)


def translated(source: str) -> str:
    r"""
    Write a pattern of another framework as Nardis does, as far as that can be told.

    >>> translated("/users/{id:int}/files/<path:file>"), translated("/:lang?/docs/*")
    ('/users/:id/files/*file', '{/:lang}/docs/*rest')
    >>> translated(r"^/hello/(?P<name>\w+)/?$")
    '/hello/:name'
    """
    text = source
    if text.startswith("^"):
        text = re.sub(r"(?:/\?)?\$\Z", "", text[1:])
    for written, ours in _RULES:
        text = written.sub(ours, text)
    rests = count(1)
    return _SPLAT.sub(lambda _: _rest(next(rests)), text) or "/"


def _capture(name: str, kind: str | None) -> str:
    return ("*" if kind in _WILD else ":") + name


def _rest(number: int) -> str:
    return "*rest" if number == 1 else f"*rest{number}"


def _from_angles(found: Found) -> str:
    kind, name, bottle_name, bottle_kind = found.groups()
    if bottle_name is not None:
        return _capture(bottle_name, bottle_kind)
    if kind is not None and name in _TYPES and kind not in _TYPES:
        kind, name = name, kind
    return _capture(name, kind)


def _from_braces(found: Found) -> str:
    name, kind, dots = found.groups()
    return _capture(name, dots or kind)


def _from_brackets(found: Found) -> str:
    dots, name = found.groups()
    return _capture(name, dots)


def _from_two_brackets(found: Found) -> str:
    return f"{{/{_from_brackets(found)}}}"


def _from_parentheses(found: Found) -> str:
    return _capture(found[1], found[2])


# In this order: a rule also sees what those before it wrote.
_RULES: Final[list[tuple[re.Pattern[str], str | Callable[[Found], str]]]] = [
    (re.compile(rf"\(\?P<{_NAME}>{_INSIDE}\)"), _from_parentheses),
    (_ANGLES, _from_angles),
    (_BRACES, _from_braces),
    (re.compile(rf"/\[\[(\.\.\.)?{_NAME}\]\](?=/|\Z)"), _from_two_brackets),
    (re.compile(rf"(?<![^/])\[(\.\.\.)?{_NAME}\](?=/|\Z)"), _from_brackets),
    (re.compile(r"(?<!\\)\(([/.][^()?*+\\]*)\)"), r"{\1}"),
    (re.compile(rf"(?<!\\):{_NAME}\({_INSIDE}\)"), _from_parentheses),
    (re.compile(rf"/:{_NAME}\?(?=/|\Z)"), r"{/:\1}"),
    (re.compile(rf"(?<!\\):{_NAME}[*+](?=/|\Z)"), r"*\1"),
    (re.compile(r"\(\.[*+]\)"), "*"),
    (re.compile(r"/\?\Z"), ""),
]
_SPLAT: Final = re.compile(r"(?<!\\)\*(?![\w\"$])")
