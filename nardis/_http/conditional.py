"""
Entity tags: what becomes of one when the body it stands for is changed.

Source: RFC 9110 §8.8.
"""

from __future__ import annotations

__all__ = ["weakened"]


def weakened(line: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """
    Make the strong ETag of a header line weak; return any other line as it is.

    A filter changes the bytes that a strong ETag stands for.

    Source: RFC 9110 §8.8.1 and §8.8.3.
    >>> weakened((b"etag", b'"1"')), weakened((b"vary", b"accept"))
    ((b'etag', b'W/"1"'), (b'vary', b'accept'))
    """
    name, value = line
    return (name, b"W/" + value) if name == b"etag" and not value.startswith(b"W/") else line
