"""A raw path as decoded segments."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["Segments", "fold", "split_path"]

Segments: TypeAlias = list[str | None]
_HEX = "0123456789abcdefABCDEF"
_OCTETS = {
    (first + second).encode(): bytes.fromhex(first + second) for first in _HEX for second in _HEX
}


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
