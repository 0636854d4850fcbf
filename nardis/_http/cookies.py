"""
The Cookie field, read as servers must: forgiving, piece by piece, in linear time.

Source: RFC 6265 §5.4; RFC 6265bis §5.8.3.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from ..errors import HTTPError

__all__ = ["MAX_COOKIES", "parse_cookies"]

# As many as browsers keep for one site, more or less: RFC 6265 §6.1 asks for 50 or more.
MAX_COOKIES: Final = 100

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def parse_cookies(value: str, max_cookies: int = MAX_COOKIES) -> list[tuple[str, str]]:
    """
    Read a Cookie field into its pairs, in the order sent, duplicates included.

    A piece without `=` or without a name is skipped and never costs the others (a nameless
    `=__Host-sid=x` must not become a name). Only SP and HTAB are trimmed. Double quotes belong to
    the value and stay, as in RFC 6265bis §4.1.1 and in Express's `cookie` since 1.0 (its 0.7 strips
    them); nothing is decoded octally. Values are percent-decoded as UTF-8; one with an invalid
    escape stays as sent. Names are never decoded.

    Args:
        value: The combined field value; several lines are joined by `"; "` (RFC 9113 §8.2.3).
        max_cookies: How many pairs may come.

    Raises:
        HTTPError: 431, there are more than *max_cookies* pairs.

    Source: RFC 6265 §5.4; RFC 6265bis §4.1.1 and §5.8.3; RFC 6585 §5.
    >>> parse_cookies('a=1; foo; sid="x y"; c=%20; a=2')
    [('a', '1'), ('sid', '"x y"'), ('c', ' '), ('a', '2')]
    """
    pairs: list[tuple[str, str]] = []
    for piece in value.split(";"):
        name, equals, text = piece.partition("=")
        if equals and (name := name.strip(" \t")):
            if len(pairs) >= max_cookies:
                raise HTTPError(431, f"more than {max_cookies} cookies")
            pairs.append((name, _decode(text.strip(" \t"))))
    return pairs


def _decode(text: str) -> str:
    """Percent-decode a value; what ECMAScript's decodeURIComponent refuses stays as it is."""
    if "%" not in text or _BAD_ESCAPE.search(text):
        return text
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text
