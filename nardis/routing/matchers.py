r"""
Routes as data, for `main({"routes": [...]})`: a list that can be built, joined and looked at before there is an application.

`get("/hello/:name", hello)` has the paths of `app.get`; `Get(r"^/hello/(?P<name>\w+)$", hello)` those of Nardis 0.0.7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from .._paths.pattern import compile_pattern
from .._paths.segments import Segments
from ..errors import HTTPError
from .pattern import PathMatcher, RegexPattern
from .router import Route, Router, flattened

if TYPE_CHECKING:
    from ..handlers import Handler, Middleware
    from ..limits import Limits
    from ..request import Request
    from ..response import Response
    from .walk import Match

__all__ = [
    "BaseHTTPMatcher",
    "Delete",
    "Get",
    "Head",
    "Options",
    "Patch",
    "Post",
    "Put",
    "default_404",
    "default_500",
    "delete",
    "get",
    "head",
    "options",
    "patch",
    "post",
    "put",
]

PatternClass: TypeAlias = Callable[[str], PathMatcher]


class BaseHTTPMatcher:
    """
    A route as data: a pattern, an action, and in subclasses the method.

    Args:
        pattern: Text for *pattern_cls*.
        action: `async (req, res)`, or a list with middlewares before it.
        pattern_cls: Makes of the text what has `match(path) -> bool` and `parse(path) -> dict`, both of the decoded path. None:
            the text is a path as `app.get` takes it.
        limits: Instead of the application's, for this route.
        cancel_on_disconnect: False: the handler is not cancelled when the client leaves.
        name: For `url_for`, where *pattern_cls* is None.

    Attributes:
        method: What it answers.
    """

    method: ClassVar[str]

    def __init__(
        self,
        pattern: str,
        action: Handler | Sequence[Handler | Middleware],
        pattern_cls: PatternClass | None = RegexPattern,
        *,
        limits: Limits | None = None,
        cancel_on_disconnect: bool | None = None,
        name: str | None = None,
    ) -> None:
        self.pattern: str = pattern
        self.action: Handler | Sequence[Handler | Middleware] = action
        self.pattern_cls: PatternClass | None = pattern_cls
        self.limits: Limits | None = limits
        self.cancel_on_disconnect: bool | None = cancel_on_disconnect
        self.name: str | None = name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pattern!r}, {self.action!r})"

    def add_to(self, router: Router) -> Route:
        """Register the route; in the list of a `main` that is done already."""
        limits, cancels = self.limits, self.cancel_on_disconnect
        if self.pattern_cls is None:
            handlers = flattened(self.action)
            return router.method(
                self.method,
                self.pattern,
                *handlers,
                limits=limits,
                cancel_on_disconnect=cancels,
                name=self.name,
            )
        route = _MatchedRoute(
            router, self.method, self.pattern, self.pattern_cls(self.pattern), limits, cancels
        )
        for handler in flattened(self.action):
            route(handler)
        router._add(route)
        return route


class Get(BaseHTTPMatcher):
    """A route for GET, and for HEAD."""

    method = "GET"


class Post(BaseHTTPMatcher):
    """A route for POST."""

    method = "POST"


class Put(BaseHTTPMatcher):
    """A route for PUT."""

    method = "PUT"


class Patch(BaseHTTPMatcher):
    """A route for PATCH."""

    method = "PATCH"


class Delete(BaseHTTPMatcher):
    """A route for DELETE."""

    method = "DELETE"


class Head(BaseHTTPMatcher):
    """A route for HEAD, where GET's action would not do; it stands before that."""

    method = "HEAD"


class Options(BaseHTTPMatcher):
    """A route for OPTIONS, instead of the list of methods that is sent without one."""

    method = "OPTIONS"


def get(
    path: str,
    *handlers: Handler | Middleware,
    pattern_cls: PatternClass | None = None,
    limits: Limits | None = None,
    cancel_on_disconnect: bool | None = None,
    name: str | None = None,
) -> Get:
    """
    Make a route for GET, and HEAD: `get("/hello/:name", middleware, handler)`.

    Paths and handlers are those of `app.get`; a *pattern_cls* reads the path as it wants.
    """
    return Get(
        path,
        handlers,
        pattern_cls,
        limits=limits,
        cancel_on_disconnect=cancel_on_disconnect,
        name=name,
    )


def post(
    path: str,
    *handlers: Handler | Middleware,
    pattern_cls: PatternClass | None = None,
    limits: Limits | None = None,
    cancel_on_disconnect: bool | None = None,
    name: str | None = None,
) -> Post:
    """Make a route for POST; see `get`."""
    return Post(
        path,
        handlers,
        pattern_cls,
        limits=limits,
        cancel_on_disconnect=cancel_on_disconnect,
        name=name,
    )


def put(
    path: str,
    *handlers: Handler | Middleware,
    pattern_cls: PatternClass | None = None,
    limits: Limits | None = None,
    cancel_on_disconnect: bool | None = None,
    name: str | None = None,
) -> Put:
    """Make a route for PUT; see `get`."""
    return Put(
        path,
        handlers,
        pattern_cls,
        limits=limits,
        cancel_on_disconnect=cancel_on_disconnect,
        name=name,
    )


def patch(
    path: str,
    *handlers: Handler | Middleware,
    pattern_cls: PatternClass | None = None,
    limits: Limits | None = None,
    cancel_on_disconnect: bool | None = None,
    name: str | None = None,
) -> Patch:
    """Make a route for PATCH; see `get`."""
    return Patch(
        path,
        handlers,
        pattern_cls,
        limits=limits,
        cancel_on_disconnect=cancel_on_disconnect,
        name=name,
    )


def delete(
    path: str,
    *handlers: Handler | Middleware,
    pattern_cls: PatternClass | None = None,
    limits: Limits | None = None,
    cancel_on_disconnect: bool | None = None,
    name: str | None = None,
) -> Delete:
    """Make a route for DELETE; see `get`."""
    return Delete(
        path,
        handlers,
        pattern_cls,
        limits=limits,
        cancel_on_disconnect=cancel_on_disconnect,
        name=name,
    )


def head(
    path: str,
    *handlers: Handler | Middleware,
    pattern_cls: PatternClass | None = None,
    limits: Limits | None = None,
    cancel_on_disconnect: bool | None = None,
    name: str | None = None,
) -> Head:
    """Make a route for HEAD; see `get`."""
    return Head(
        path,
        handlers,
        pattern_cls,
        limits=limits,
        cancel_on_disconnect=cancel_on_disconnect,
        name=name,
    )


def options(
    path: str,
    *handlers: Handler | Middleware,
    pattern_cls: PatternClass | None = None,
    limits: Limits | None = None,
    cancel_on_disconnect: bool | None = None,
    name: str | None = None,
) -> Options:
    """Make a route for OPTIONS; see `get`."""
    return Options(
        path,
        handlers,
        pattern_cls,
        limits=limits,
        cancel_on_disconnect=cancel_on_disconnect,
        name=name,
    )


class _MatchedRoute(Route):
    """A route whose path a pattern of the user's own matches: the index lets it see every path."""

    __slots__ = ("_matcher",)

    def __init__(
        self,
        owner: Router,
        method: str,
        text: str,
        matcher: PathMatcher,
        limits: Limits | None,
        cancels: bool | None,
    ) -> None:
        super().__init__(owner, compile_pattern("/{*path}"), method, limits, cancels, None)
        self.path = text
        self._matcher = matcher

    @property
    def name(self) -> None:
        """No name: nobody can build a path from such a pattern."""
        return None

    def match(self, segments: Segments) -> Match | None:
        """Match the decoded path."""
        texts = [segment for segment in segments if segment is not None]
        if len(texts) < len(segments):
            raise HTTPError(400, "The path is not percent-encoded UTF-8.")
        path = "/" + "/".join(texts)
        return (self._matcher.parse(path), 0) if self.steps and self._matcher.match(path) else None


async def default_404(req: Request, res: Response) -> None:
    """Answer for a path that nobody answers, by a small page."""
    await res.status(404).type("html").send(_page("404 Not Found"))


async def default_500(req: Request, res: Response) -> None:
    """Answer for an exception, by a small page."""
    await res.status(500).type("html").send(_page("500 Internal Server Error"))


def _page(title: str) -> str:
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><h1>{title}</h1></html>\n'
