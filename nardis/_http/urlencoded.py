"""
The pairs of a query, or of a form.

Source: WHATWG URL §5.1.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

from ..errors import HTTPError

__all__ = ["MAX_PAIRS", "parse_urlencoded"]

# A query line of 64 KiB holds 20,000 pairs; no form a person fills in has more than a few hundred.
MAX_PAIRS: Final = 1000


def parse_urlencoded(raw: bytes, max_pairs: int = MAX_PAIRS) -> list[tuple[str, str]]:
    """
    Read `application/x-www-form-urlencoded` bytes, a query or a form, into pairs in order.

    Any bytes can be read: invalid escapes stay as they are, invalid UTF-8 becomes U+FFFD, a piece
    without `=` is a name with an empty value, empty pieces are skipped.

    Raises:
        HTTPError: 400, there are more than *max_pairs* pairs.

    Source: WHATWG URL §5.1.
    >>> parse_urlencoded(b"a=1&b&=c&&d=%zz%ff")
    [('a', '1'), ('b', ''), ('', 'c'), ('d', '%zz\ufffd')]
    """
    pieces = [piece for piece in raw.replace(b"+", b" ").split(b"&") if piece]
    if len(pieces) > max_pairs:
        raise HTTPError(400, f"more than {max_pairs} pairs of names and values")
    pairs: list[tuple[str, str]] = []
    for piece in pieces:
        name, _, value = piece.partition(b"=")
        pairs.append((_decode(name), _decode(value)))
    return pairs


def _decode(text: bytes) -> str:
    return (unquote_to_bytes(text) if b"%" in text else text).decode("utf-8", "replace")
