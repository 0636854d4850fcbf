"""
A raw path as decoded segments.

Source: RFC 3986 §2.1 (percent-encoding), §2.4 (when to decode) and §3.3 (segments).
"""

from __future__ import annotations

from typing import Final, TypeAlias

__all__ = ["OCTETS", "Segments", "fold", "folded", "split_path"]

# A segment that cannot be decoded is None.
Segments: TypeAlias = list[str | None]

_PERCENT: Final = ord("%")

_HEX = "0123456789abcdefABCDEF"

# The two digits of an escape, and the byte that they stand for.
OCTETS: Final = {
    (first + second).encode(): bytes.fromhex(first + second) for first in _HEX for second in _HEX
}


def split_path(raw: bytes) -> Segments:
    """
    Split a path, as received and without its query, into decoded segments.

    A segment with a broken escape, or that is not UTF-8, is None. Bytes beyond ASCII count as if
    they were percent-encoded.

    >>> split_path(b"/a%2Fb/caf%C3%A9/%zz/"), split_path(b"/")
    (['a/b', 'café', None, ''], [''])
    """
    if raw.isascii() and _PERCENT not in raw:
        segments = raw.decode("ascii").removeprefix("/").split("/")
        return segments  # type: ignore[return-value]  # list is invariant; nobody else holds this one
    return [_decoded(segment) for segment in raw.removeprefix(b"/").split(b"/")]


def fold(text: str) -> str:
    """
    Take the case out of a text and keep its length, so that offsets still fit.

    >>> fold("ÀB"), len(fold("İ"))
    ('àb', 1)
    """
    if text.isascii():
        return text.lower()
    return "".join(lower if len(lower := char.lower()) == 1 else char for char in text)


def folded(segments: Segments) -> Segments:
    """
    Take the case out of a path.

    >>> folded(["Users", None])
    ['users', None]
    """
    return [segment and fold(segment) for segment in segments]


def _decoded(segment: bytes) -> str | None:
    """Percent-decode one segment once."""
    head, *escapes = segment.split(b"%")
    try:
        return b"".join([head, *(OCTETS[escape[:2]] + escape[2:] for escape in escapes)]).decode()
    except (KeyError, UnicodeDecodeError):
        return None
