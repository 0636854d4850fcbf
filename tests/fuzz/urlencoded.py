"""
`parse_urlencoded`: as many pairs as there are pieces, and the text that urllib reads.

Input: how many pairs may come, as one byte; then the query.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl, urlencode

from nardis._http import urlencoded
from nardis.errors import HTTPError

__all__ = ["check", "seeds"]


def check(data: bytes) -> None:
    most, raw = (data[0], data[1:]) if data else (0, b"")
    expected = len([piece for piece in raw.split(b"&") if piece])
    try:
        pairs = urlencoded.parse_urlencoded(raw, most)
    except HTTPError as error:
        if error.status != 400 or expected <= most:
            raise
        return
    assert len(pairs) == expected <= most
    # A byte never becomes more than one character.
    assert sum(len(name) + len(value) for name, value in pairs) <= len(raw)
    assert urlencoded.parse_urlencoded(urlencode(pairs).encode(), most) == pairs
    try:
        text = raw.decode()
    except UnicodeDecodeError:  # urllib reads text only
        return
    assert pairs == parse_qsl(text, keep_blank_values=True)


def seeds() -> Iterator[bytes]:
    yield from (
        b"\x64a=1&b=two+words&a=2",
        b"\x03&&a&=b&c=&=",
        b"\x02a=1&b=2&c=3",
        b"\x64caf%C3%A9=%E2%82%AC&%f0%9f%98%80=%zz%4&%c3=%ff%e2%82",
        "dé=é%c3é&a=%e2%82é".encode(),
        b"\x64a[b][]=c;d=e&f==g=",
        b"\x64%26=%3D%2B%00%0d%0a",
    )
