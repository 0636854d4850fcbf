"""
Where a request is on its way through the routers.

That is the path that is left, the prefix taken off, and what was seen on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

__all__ = ["Place", "Trail"]

Req = TypeVar("Req")
Res = TypeVar("Res")
Walk = TypeVar("Walk")


class Place:
    """
    A path behind a prefix of *taken* segments.

    Attributes:
        base_url: The part taken off, still percent-encoded: `/api/v1`.
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


class Trail(Generic[Req, Res, Walk]):
    """
    One request on its way.

    A foreign middleware has a `req` and a `res` of its own behind it. Both pairs share one trail,
    which knows the pair that the next step is given.

    Attributes:
        raw: The path below the server's root_path, as received; routes are matched on it.
        place: Where the current router or prefix stands; None outside of any prefix.
        params: What the patterns captured.
        route: The route that matched; None before one did.
        allowed: Methods of the routes that matched the path.
        served: A route of this very method matched.
        walk: Through the innermost router entered so far.
        silent: The last function that returned and had not answered.
        offered: An error on its way outward: every error handler was asked.
        req: The request that the next step is given.
        res: The response that the next step is given.
    """

    __slots__ = (
        "allowed",
        "offered",
        "params",
        "place",
        "raw",
        "req",
        "res",
        "route",
        "served",
        "silent",
        "walk",
    )

    req: Req
    res: Res

    def __init__(self) -> None:
        self.raw: bytes = b"/"
        self.place: Place | None = None
        self.params: dict[str, Any] = {}
        self.route: Any = None
        self.allowed: frozenset[str] = frozenset()
        self.served: bool = False
        self.walk: Walk | None = None
        self.silent: Callable[..., object] | None = None
        self.offered: BaseException | None = None

    @contextmanager
    def at(self, place: Place | None) -> Generator[None, None, None]:
        """Be at another place for the length of the block."""
        before, self.place = self.place, place
        try:
            yield
        finally:
            self.place = before

    def end(self) -> None:
        """Forget the pair and the walk: circles, which only the garbage collector would free."""
        del self.req, self.res
        self.walk = None
