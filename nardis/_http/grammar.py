"""
The grammar that fields share: tokens, quoted strings, lists, and the memory for values read before.

Source: RFC 9110 §5.5 (field values) and §5.6 (lists, tokens, quoted strings, parameters).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar

__all__ = [
    "CACHED_VALUES",
    "CACHED_VALUE_CHARS",
    "CONTROL",
    "MAX_MEMBERS",
    "QUOTED_TEXT",
    "TOKEN",
    "TOKEN_TEXT",
    "UNQUOTED_TEXT",
    "Known",
    "remembered",
    "split",
    "unescape",
]

# Members of a list and parameters of a member that are looked at, empty ones included; the rest is
# ignored. Rack's CVE-2024-26146 and CVE-2026-34230 came from lists without an end; browsers send
# fewer than 20.
MAX_MEMBERS: Final = 100

# A value longer than this is parsed anew each time. So each cache holds 512 values of 4 KiB at
# most, whatever clients send.
CACHED_VALUE_CHARS: Final = 4096
CACHED_VALUES: Final = 512

# token = 1*tchar, RFC 9110 §5.6.2: as text for larger patterns, and as a pattern of its own.
TOKEN_TEXT: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
TOKEN: Final = re.compile(TOKEN_TEXT)

# RFC 9110 §5.5: a sender must not send CTL other than HTAB, although only CR, LF and NUL are
# certain to do harm.
_CONTROLS = r"\x00-\x08\x0a-\x1f\x7f"
CONTROL: Final = re.compile(rf"[{_CONTROLS}]")

# The two forms of a parameter's value, RFC 9110 §5.6.6. An unquoted value may hold `/ : = ? ( ) @`
# beside token characters: RFC 2046 §5.1.1 lets boundaries have most of them, and clients forget to
# quote. A comma or blank never.
UNQUOTED_TEXT: Final = r"[!#-+\--:=?-\[\]-~]+"
QUOTED_TEXT: Final = rf'[^"\\{_CONTROLS}]*(?:\\[^{_CONTROLS}][^"\\{_CONTROLS}]*)*'

# A whole quoted-string, closed or running to the end, or one separator. The first branch cannot
# fail once it has begun. So nothing is ever scanned twice, whatever quotes and backslashes come.
_QUOTED_OR_SEPARATOR = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[,;]', re.DOTALL)

K = TypeVar("K")
T = TypeVar("T")


def split(text: str, separator: str) -> list[str]:
    """
    Split at separators outside of quoted strings, into `MAX_MEMBERS` pieces at most; drop the rest.

    Args:
        text: A field value, or a member of one.
        separator: `","` between the members of a list, `";"` between parameters.

    Source: RFC 9110 §5.6.1 and §5.6.6.
    >>> split('a;b="1,2", c', ",")
    ['a;b="1,2"', ' c']
    """
    if '"' not in text:
        return text.split(separator, MAX_MEMBERS)[:MAX_MEMBERS]
    pieces: list[str] = []
    start = 0
    for found in _QUOTED_OR_SEPARATOR.finditer(text):
        if found[0] == separator:
            pieces.append(text[start : found.start()])
            start = found.end()
            if len(pieces) == MAX_MEMBERS:
                return pieces
    pieces.append(text[start:])
    return pieces


def unescape(text: str) -> str:
    r"""
    Undo the quoted-pairs of a quoted-string, without a step for each: there may be thousands.

    Source: RFC 9110 §5.6.4.
    >>> unescape(r"a\"b\\c")
    'a"b\\c'
    """
    return "\\".join(piece.replace("\\", "") for piece in text.split("\\\\"))


class Known(dict[K, T]):
    """
    What a function of one argument returned, by that argument; all is forgotten when it is much.

    For what each request asks: it costs a third of an `lru_cache`, which makes a tuple of bytes
    that it is asked for, and writes down the order of the questions.

    >>> squares = Known(lambda number: number**2, most=2)
    >>> squares[2], squares[3], list(squares), squares[4], list(squares)
    (4, 9, [2, 3], 16, [4])
    """

    __slots__ = ("_function", "_most")

    def __init__(self, function: Callable[[K], T], most: int = CACHED_VALUES) -> None:
        super().__init__()
        self._function = function
        self._most = most

    def __missing__(self, key: K) -> T:
        value = self._function(key)
        if len(self) >= self._most:
            self.clear()
        self[key] = value
        return value


def remembered(answer: Callable[[str, tuple[str, ...]], T]) -> Callable[[str, tuple[str, ...]], T]:
    """Cache what follows from a field value and the application's wishes, unless it is long."""
    cached = lru_cache(CACHED_VALUES)(answer)

    def cached_if_short(value: str, wishes: tuple[str, ...]) -> T:
        return cached(value, wishes) if len(value) <= CACHED_VALUE_CHARS else answer(value, wishes)

    return cached_if_short
