"""
The grammar that fields share: tokens, quoted strings, lists, and the memory for values read before.

Source: RFC 9110 §5.5 and §5.6.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

__all__ = ["CACHED_VALUES", "CACHED_VALUE_CHARS", "MAX_MEMBERS", "T"]

T = TypeVar("T")

# Members of a list and parameters of a member that are looked at, empty ones included; the rest is ignored. Rack's
# CVE-2024-26146 and CVE-2026-34230 came from lists without an end; browsers send fewer than 20.
MAX_MEMBERS = 100

# Longer values are parsed anew each time: each cache below then holds 512 values of 4 KiB at most, whoever fills it.
CACHED_VALUE_CHARS = 4096
CACHED_VALUES = 512
_TOKEN_TEXT = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TOKEN = re.compile(_TOKEN_TEXT)

# RFC 9110 §5.5: a sender must not send CTL other than HTAB, although only CR, LF and NUL are certain to do harm.
_CONTROLS = r"\x00-\x08\x0a-\x1f\x7f"
_CONTROL = re.compile(rf"[{_CONTROLS}]")

# parameters = *( OWS ";" OWS [ parameter ] ), RFC 9110 §5.6.6. An unquoted value may hold `/ : = ? ( ) @` beside token
# characters: RFC 2046 §5.1.1 lets boundaries have most of them, and clients forget to quote. A comma or blank never.
_UNQUOTED_TEXT = r"[!#-+\--:=?-\[\]-~]+"
_QUOTED_TEXT = rf'[^"\\{_CONTROLS}]*(?:\\[^{_CONTROLS}][^"\\{_CONTROLS}]*)*'

# A whole quoted-string, closed or running to the end, or one separator. The first branch cannot fail once it has begun, so
# nothing is ever scanned twice, whatever quotes and backslashes come.
_QUOTED_OR_SEPARATOR = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[,;]', re.DOTALL)


def _remembered(answer: Callable[[str, tuple[str, ...]], T]) -> Callable[[str, tuple[str, ...]], T]:
    """Cache what follows from a field value and the application's wishes, unless the value is long."""
    cached = lru_cache(CACHED_VALUES)(answer)

    def remembered(value: str, wishes: tuple[str, ...]) -> T:
        return cached(value, wishes) if len(value) <= CACHED_VALUE_CHARS else answer(value, wishes)

    return remembered


def _unescape(text: str) -> str:
    """Undo the quoted-pairs of a quoted-string (RFC 9110 §5.6.4), without a step for each: there may be thousands."""
    return "\\".join(piece.replace("\\", "") for piece in text.split("\\\\"))


def _split(text: str, separator: str) -> list[str]:
    """Split at separators outside of quoted strings, into `MAX_MEMBERS` pieces at most; the rest is dropped."""
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
