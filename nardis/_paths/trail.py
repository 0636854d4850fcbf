"""Where in the URL a router stands: what its prefix took off the path, and what is left."""

from __future__ import annotations

from urllib.parse import unquote

__all__ = ["Place"]


class Place:
    """
    A path behind a prefix of *taken* segments.

    Attributes:
        base_url: What was taken off, still percent-encoded: `/api/v1`.
        raw: The rest as received, from its slash on.
        path: The rest, decoded.

    >>> place = Place(Place(None, b"/api/v1/a%20b/", 1), b"/v1/a%20b/", 1)
    >>> place.base_url, place.raw, place.path
    ('/api/v1', b'/a%20b/', '/a b/')
    """

    __slots__ = ("base_url", "path", "raw")

    base_url: str
    raw: bytes
    path: str

    def __init__(self, outer: Place | None, raw: bytes, taken: int) -> None:
        parts = raw.split(b"/")
        base = b"/".join(parts[: taken + 1]).decode("latin-1")
        self.base_url = base if outer is None else outer.base_url + base
        self.raw = b"/" + b"/".join(parts[taken + 1 :])
        self.path = unquote(self.raw.decode("latin-1"), errors="replace")
