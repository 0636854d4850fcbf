r"""
Routes as data, for `main({"routes": [...]})`.

Such a list can be built, joined and looked at before there is an application.

`get("/hello/:name", hello)` has the paths of `app.get`. `Get(r"^/hello/(?P<name>\w+)$", hello)` has
those of Nardis 0.0.7.

The functions `get`, `post` and so on take path, handlers and options as the methods of a router do,
and a *pattern_cls* that reads the path in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, TypeAlias, Unpack

from .._paths.pattern import compile_pattern
from .._paths.segments import Segments
from ..errors import HTTPError
from ..handlers import Handler, Middleware, flattened
from ..limits import Limits
from ..request import Request
from ..response import Response
from .layer import Match, Route, RouteOptions, check_options
from .pattern import PathMatcher, RegexPattern
from .router import Router

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
        pattern_cls: Makes a `PathMatcher` of the text. None: the text is a path as `app.get` takes
            it.
        options: As of `app.get`: see `RouteOptions`. A name is for `url_for`, which finds it only
            where *pattern_cls* is None.

    Attributes:
        method: What it answers.
    """

    method: ClassVar[str]

    def __init__(
        self,
        pattern: str,
        action: Handler | Sequence[Handler | Middleware],
        pattern_cls: PatternClass | None = RegexPattern,
        **options: Unpack[RouteOptions],
    ) -> None:
        check_options(options)
        self.pattern: str = pattern
        self.action: Handler | Sequence[Handler | Middleware] = action
        self.pattern_cls: PatternClass | None = pattern_cls
        self.limits: Limits | None = options.get("limits")
        self.cancel_on_disconnect: bool | None = options.get("cancel_on_disconnect")
        self.name: str | None = options.get("name")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.pattern!r}, {self.action!r})"

    def add_to(self, router: Router) -> Route:
        """Register the route; in the list of a `main` that is done already."""
        options = RouteOptions(
            limits=self.limits, cancel_on_disconnect=self.cancel_on_disconnect, name=self.name
        )
        handlers = flattened(self.action)
        if self.pattern_cls is None:
            return router.method(self.method, self.pattern, *handlers, **options)
        matcher = self.pattern_cls(self.pattern)
        route = _MatchedRoute(self.method, self.pattern, matcher, options)
        for handler in handlers:
            route(handler)
        router.add(route)
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
    **options: Unpack[RouteOptions],
) -> Get:
    """Make a route for GET, and HEAD: `get("/hello/:name", middleware, handler)`."""
    return Get(path, handlers, pattern_cls, **options)


def post(
    path: str,
    *handlers: Handler | Middleware,
    pattern_cls: PatternClass | None = None,
    **options: Unpack[RouteOptions],
) -> Post:
    """Make a route for POST."""
    return Post(path, handlers, pattern_cls, **options)


def put(
    path: str,
    *handlers: Handler | Middleware,
    pattern_cls: PatternClass | None = None,
    **options: Unpack[RouteOptions],
) -> Put:
    """Make a route for PUT."""
    return Put(path, handlers, pattern_cls, **options)


def patch(
    path: str,
    *handlers: Handler | Middleware,
    pattern_cls: PatternClass | None = None,
    **options: Unpack[RouteOptions],
) -> Patch:
    """Make a route for PATCH."""
    return Patch(path, handlers, pattern_cls, **options)


def delete(
    path: str,
    *handlers: Handler | Middleware,
    pattern_cls: PatternClass | None = None,
    **options: Unpack[RouteOptions],
) -> Delete:
    """Make a route for DELETE."""
    return Delete(path, handlers, pattern_cls, **options)


def head(
    path: str,
    *handlers: Handler | Middleware,
    pattern_cls: PatternClass | None = None,
    **options: Unpack[RouteOptions],
) -> Head:
    """Make a route for HEAD."""
    return Head(path, handlers, pattern_cls, **options)


def options(
    path: str,
    *handlers: Handler | Middleware,
    pattern_cls: PatternClass | None = None,
    **options: Unpack[RouteOptions],
) -> Options:
    """Make a route for OPTIONS."""
    return Options(path, handlers, pattern_cls, **options)


class _MatchedRoute(Route):
    """A route whose path a pattern of the user's own matches: the index lets it see every path."""

    __slots__ = ("_matcher",)

    def __init__(self, method: str, text: str, matcher: PathMatcher, options: RouteOptions) -> None:
        super().__init__(compile_pattern("/{*path}"), method, options)
        self.path = text
        self._matcher = matcher

    @property
    def name(self) -> None:
        """No name: a path cannot be built from such a pattern."""
        return None

    @property
    def captures(self) -> None:
        """Unknown: the pattern says it when it has matched."""
        return None

    def match(self, segments: Segments) -> Match | None:
        """Match the decoded path."""
        texts = [segment for segment in segments if segment is not None]
        if len(texts) < len(segments):
            raise HTTPError(400, "The path is not percent-encoded UTF-8.")
        path = "/" + "/".join(texts)
        if not self.steps or not self._matcher.match(path):
            return None
        return dict(self._matcher.parse(path) or {}), 0  # a handler may change it


async def default_404(req: Request, res: Response) -> None:
    """Answer a small page for a path that no route has."""
    await res.status(404).type("html").send(_page("404 Not Found"))


async def default_500(req: Request, res: Response) -> None:
    """Answer a small page for an exception."""
    await res.status(500).type("html").send(_page("500 Internal Server Error"))


def _page(title: str) -> str:
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{title}</title><h1>{title}</h1></html>\n"
    )
