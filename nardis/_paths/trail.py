"""
Where a request is on its way through the routers.

That is the path that is left, the prefix taken off, and what was seen on the way.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote

__all__ = ["Found", "Place", "Trail"]


class Place:
    """
    A path behind a prefix of *taken* segments.

    Attributes:
        base_url: The part taken off, still percent-encoded: `/api/v1`. What `raw` begins with is
            not in it: a wildcard may have taken the slash at the end.
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
        base = b"/".join(parts[: taken + 1]).removesuffix(b"/").decode("latin-1")
        self.base_url = base if outer is None else outer.base_url + base
        self.raw = b"/" + b"/".join(parts[taken + 1 :])
        self.path = unquote(self.raw.decode("latin-1"), errors="replace")


# What was found of a request without a trail: the path below the server's root_path as received,
# what may match it, and once it has arrived there the route and what its pattern captured.
Found: TypeAlias = tuple[bytes, Any, Any, dict[str, Any] | None]


class Trail(Protocol):
    """
    One request on its way, as `req` and `res` need to see it.

    A foreign middleware has a `req` and a `res` of its own behind it. Both pairs share one trail,
    which knows the pair that the next step is given.

    Attributes:
        raw: The path below the server's root_path, as received; routes are matched on it.
        place: Where the current router or prefix stands; None outside of any prefix.
        params: What the patterns captured.
        route: The route that matched; None before one did.
        allowed: Methods of the routes that matched the path; `WEBSOCKET` of one for those.
        served: A route of this very method matched.
        silent: What a `NoResponse` takes of the last function that returned and had not answered.
        req: The request that the next step is given.
        res: The response that the next step is given.
    """

    raw: bytes
    place: Place | None
    params: dict[str, Any]
    route: Any
    allowed: frozenset[str]
    served: bool
    silent: tuple[str, ...] | None
    req: Any
    res: Any
