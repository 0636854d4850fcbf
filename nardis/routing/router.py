"""
Routers: what answers which method and path, in the order of registration.

A router is a list of layers. A route matches a whole path and a method; `use` matches a prefix, and
holds middlewares or another router. Order decides, as in Express; the index only spares looking at
layers that cannot match.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeGuard, TypeVar, Unpack, cast, overload

from .._asgi.adapt import ASGI2App
from .._foreign.mounted import Mounted
from .._paths.index import Index
from .._paths.pattern import Pattern, compile_pattern
from .._paths.segments import Segments, split_path
from ..errors import HTTPError, UsageError
from ..handlers import F, Step, flattened, step_of
from .layer import Layer, Path, Plan, Route, RouteOptions

if TYPE_CHECKING:
    from ..handlers import ErrorHandler, Handler, Middleware
    from ..types import ASGIApp

__all__ = ["Entrance", "Router", "RouterRoute"]

R = TypeVar("R", bound="Router")

# The plan for a path that is no route's as it stands.
_UNKNOWN: Final[Plan] = ([], [])


class Router:
    """
    A table of routes and middlewares, to be used at a prefix of an application or another router.

    Each verb (`get`, `post`, ...) takes path, handlers and options as `method` does.

    Args:
        case_sensitive: Whether `/Users` and `/users` differ.
        strict: Whether `/users` and `/users/` differ; otherwise one trailing slash more is allowed.
        merge_params: Whether handlers see the captures of the prefixes around this router as well;
            their own win.

    Attributes:
        layers: For Nardis itself: the table, in order of registration.
        error_handlers: For Nardis itself: what `error` registered.
        known: For Nardis itself: the paths of routes without captures, as received; with all that
            matches a path, once it was asked for.
    """

    def __init__(
        self, *, case_sensitive: bool = True, strict: bool = False, merge_params: bool = True
    ) -> None:
        self.case_sensitive = case_sensitive
        self.strict = strict
        self.merge_params = merge_params
        self.layers: list[Layer] = []
        self.error_handlers: dict[type[BaseException] | int, ErrorHandler] = {}
        self._index: Index | None = None
        self.known: dict[bytes, Plan | None] = {}

    # --- routes -----------------------------------------------------------------------------------

    def method(
        self,
        method: str,
        path: Path,
        *handlers: Handler | Middleware,
        **options: Unpack[RouteOptions],
    ) -> Route:
        """
        Answer *method* on *path*: middlewares first, a handler last.

        Without the last handler it is a decorator for that one.

        Args:
            method: Any method, `"PROPFIND"` as well.
            path: A pattern, or a list of them: static text, `:name`, `*rest`, `{optional}`.
            handlers: `async (req, res)`, and before it any number of `async (req, res, next)`.
            options: `limits`, `cancel_on_disconnect` and `name`: see `RouteOptions`.

        Raises:
            PatternError: The pattern cannot be compiled.
            TypeError: A handler is not an async function of two or three parameters, or there is
                no such option.
        """
        return self._route(method.upper(), path, handlers, options)

    def _route(
        self,
        method: str | None,
        path: Path,
        handlers: Sequence[Handler | Middleware | Sequence[Any]],
        options: RouteOptions,
    ) -> Route:
        route = Route(self._pattern(path), method, options)
        for handler in flattened(handlers):
            route(handler)
        self.add(route)
        return route

    def get(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer GET on *path*, and HEAD unless a `head` route stands before."""
        return self._route("GET", path, handlers, options)

    def post(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer POST on *path*."""
        return self._route("POST", path, handlers, options)

    def put(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer PUT on *path*."""
        return self._route("PUT", path, handlers, options)

    def patch(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer PATCH on *path*."""
        return self._route("PATCH", path, handlers, options)

    def delete(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer DELETE on *path*."""
        return self._route("DELETE", path, handlers, options)

    def head(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer HEAD on *path*, where GET's handler would not do; register it before that."""
        return self._route("HEAD", path, handlers, options)

    def options(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer OPTIONS on *path*, instead of the default answer, a list of the methods."""
        return self._route("OPTIONS", path, handlers, options)

    def all(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer any method on *path*."""
        return self._route(None, path, handlers, options)

    def route(self, path: Path) -> RouterRoute:
        """Name a path once for several methods: `app.route("/x").get(show).post(change)`."""
        return RouterRoute(self, path)

    # --- middlewares and routers ------------------------------------------------------------------

    @overload
    def use(self, router: R, /) -> R: ...
    @overload
    def use(self, middleware: F, /) -> F: ...
    @overload
    def use(self, prefix: Path, /) -> Callable[[F], F]: ...
    @overload
    def use(
        self,
        first: Path | Middleware | Router,
        second: Middleware | Router,
        /,
        *rest: Middleware | Router,
    ) -> None: ...
    def use(self, first: Any, /, *rest: Any) -> Any:
        """
        Run middlewares, or enter routers, for every path below a prefix.

        As in `use(middleware)` and `use("/api", guard, router)`; it is a decorator too, `@app.use`
        or `@app.use("/api")`. The prefix matches on a segment border and is taken off `req.path`
        and `req.url` inside.

        Raises:
            TypeError: Something is neither a middleware `async (req, res, next)` nor a Router.
        """
        if not _is_path(first):
            self._use("/", [first, *rest])
            return first if not rest else None
        if rest:
            self._use(first, rest)
            return None

        def register(middleware: F) -> F:
            self._use(first, [middleware])
            return middleware

        return register

    def _use(self, prefix: Path, things: Sequence[Any]) -> None:
        pattern = self._pattern(prefix)
        layers: list[Layer] = []
        for thing in flattened(things):
            if not isinstance(thing, Router):
                layers.append(Layer(pattern, [step_of(thing, "use()")]))
            elif self in thing.below():
                raise UsageError("a router cannot be used inside itself")
            else:
                layers.append(Entrance(pattern, thing))
        for layer in layers:
            self.add(layer)

    def mount(self, prefix: Path, asgi_app: ASGIApp | ASGI2App, /) -> None:
        """
        Let a foreign ASGI application answer everything below *prefix*, its 404 included.

        It is a handler like any other: middlewares stand around it, hooks and filters see its
        answer, and it is cancelled when the client leaves. It sees the prefix as `root_path`. Its
        lifespan runs inside the application's, and its `state` is its own.

        Raises:
            TypeError: This is no ASGI application, of version 3 or 2.
        """
        self.add(Layer(self._pattern(prefix), [(Mounted(asgi_app), True)]))

    def add(self, layer: Layer) -> None:
        """For Nardis itself: append a layer to the table."""
        self.layers.append(layer)
        self._forget_index()
        if isinstance(layer, Route):
            layer.changed = self._forget_index  # a route without handlers matches nothing

    def below(self) -> list[Router]:
        """For Nardis itself: list this router and all inside it, from the outside in."""
        found: list[Router] = [self]
        for router in found:
            found.extend(
                layer.router
                for layer in router.layers
                if isinstance(layer, Entrance) and layer.router not in found
            )
        return found

    def mounts(self) -> list[Mounted]:
        """For Nardis itself: list the foreign applications here and in the routers inside."""
        return [
            handler
            for router in self.below()
            for layer in router.layers
            for handler, _ in layer.steps
            if isinstance(handler, Mounted)
        ]

    def error(self, *kinds: type[BaseException] | int) -> Callable[[F], F]:
        """
        Register `async (err, req, res)` for exception types, or for statuses of HTTPError.

        Types are found by method resolution order. The handler answers inside the middlewares
        around the place where the error arose, as long as the head was not sent. It may raise: the
        router around this one is asked next.
        """
        if not kinds:
            raise UsageError(
                "error() takes exception types or statuses: @app.error(KeyError), @app.error(404)"
            )
        for kind in cast("tuple[Any, ...]", kinds):
            is_status = isinstance(kind, int) and 400 <= kind <= 599
            # KeyboardInterrupt and GeneratorExit are no failures of a handler.
            is_type = (
                isinstance(kind, type)
                and issubclass(kind, BaseException)
                and kind not in (KeyboardInterrupt, GeneratorExit)
            )
            if not (is_status or is_type):
                raise UsageError(
                    f"error() takes exception types or statuses from 400 to 599, not {kind!r}"
                )

        def register(handler: F) -> F:
            step_of(handler, "error()")
            for kind in kinds:
                self.error_handlers[kind] = handler
            return handler

        return register

    def error_handler(self, error: BaseException) -> ErrorHandler | None:
        """Find the handler for *error*: by its status if it is an HTTPError, then by its types."""
        handlers = self.error_handlers
        if not handlers:
            return None
        if isinstance(error, HTTPError) and error.status in handlers:
            return handlers[error.status]
        return next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)

    # --- looking up -------------------------------------------------------------------------------

    def plan(self, raw: bytes, segments: Segments | None) -> Plan:
        """For Nardis itself: list the layers that may match a path, in order; see `Plan`."""
        index = self._index
        if index is None:
            index = self._compile()
        plan = self.known.get(raw, _UNKNOWN)
        if plan is not None and plan is not _UNKNOWN:
            return plan
        if segments is None:
            segments = split_path(raw)
        layers = self.layers
        candidates = index.candidates(segments)
        if plan is _UNKNOWN:
            if len(candidates) == 1:  # the short ways: a comprehension is a call
                return [(layers[candidates[0]], None)], segments
            if not candidates:
                return [], segments
            return [(layers[at], None) for at in candidates], segments
        # Captures of prefixes are matched anew for each request, which may change its own.
        matching = [
            (layers[at], None if match[0] else match)
            for at in candidates
            if (match := layers[at].match(segments)) is not None
        ]
        self.known[raw] = plan = (matching, segments)
        return plan

    def _compile(self) -> Index:
        index = Index(case_sensitive=self.case_sensitive)
        for at, layer in enumerate(self.layers):
            index.add(at, layer.pattern, prefix=not layer.is_route)
            literals = layer.pattern.literals
            if layer.is_route and literals is not None:
                raw = "/".join(["", *literals]).encode()
                if b"%" in raw or b"?" in raw:
                    continue  # as received, it would be another path
                if not self.strict and literals != ("",):
                    self.known[raw + b"/"] = None
                self.known[raw] = None
        self._index = index
        return index

    def _pattern(self, path: Path) -> Pattern:
        return compile_pattern(path, case_sensitive=self.case_sensitive, strict=self.strict)

    def _forget_index(self) -> None:
        self._index = None
        self.known = {}  # a new one: a request that is under way may have the old one

    def routes(self) -> list[tuple[str | None, str, str | None]]:
        """
        List method (None: any), pattern and name of every route, in order.

        The routes of the routers inside are included.
        """
        found: list[tuple[str | None, str, str | None]] = []
        for layer in self.layers:
            if isinstance(layer, Route):
                found.append((layer.method, layer.path, layer.name))
            elif isinstance(layer, Entrance):
                base = "" if layer.path == "/" else layer.path
                found.extend(
                    (method, base + path, name) for method, path, name in layer.router.routes()
                )
        return found

    def url_for(self, name: str, /, **params: object) -> str:
        """
        Build the path of the first route of that name, percent-encoded.

        Raises:
            UsageError: No route has that name, or a parameter is missing.
        """
        path = self._url_for(name, params)
        if path is None:
            names = sorted({known for _, _, known in self.routes() if known})
            raise UsageError(f"no route is named {name!r}; there are: {', '.join(names) or 'none'}")
        return path

    def _url_for(self, name: str, params: Mapping[str, object]) -> str | None:
        for layer in self.layers:
            if isinstance(layer, Route):
                if layer.name == name:
                    return layer.pattern.build(params)
            elif (
                isinstance(layer, Entrance)
                and (path := layer.router._url_for(name, params)) is not None
            ):
                base = layer.pattern.build(params)
                return path if base == "/" else base.rstrip("/") + path
        return None


class Entrance(Layer):
    """
    One registration of a router by `use`, behind a prefix.

    Attributes:
        router: The router. It stands for its own step, but nobody calls it: `walk` enters it.
    """

    __slots__ = ("router",)

    def __init__(self, pattern: Pattern, router: Router) -> None:
        super().__init__(pattern, [cast("Step", (router, True))])
        self.straight: bool = False
        self.through: Callable[..., Awaitable[None]] | None = None
        self.router: Router = router


class RouterRoute:
    """A path that is named once: each verb registers a route on it and returns this object."""

    def __init__(self, router: Router, path: Path) -> None:
        self._router = router
        self._path = path

    def get(self, *handlers: Handler | Middleware) -> RouterRoute:
        """Answer GET."""
        return self.method("GET", *handlers)

    def post(self, *handlers: Handler | Middleware) -> RouterRoute:
        """Answer POST."""
        return self.method("POST", *handlers)

    def put(self, *handlers: Handler | Middleware) -> RouterRoute:
        """Answer PUT."""
        return self.method("PUT", *handlers)

    def patch(self, *handlers: Handler | Middleware) -> RouterRoute:
        """Answer PATCH."""
        return self.method("PATCH", *handlers)

    def delete(self, *handlers: Handler | Middleware) -> RouterRoute:
        """Answer DELETE."""
        return self.method("DELETE", *handlers)

    def head(self, *handlers: Handler | Middleware) -> RouterRoute:
        """Answer HEAD."""
        return self.method("HEAD", *handlers)

    def options(self, *handlers: Handler | Middleware) -> RouterRoute:
        """Answer OPTIONS."""
        return self.method("OPTIONS", *handlers)

    def all(self, *handlers: Handler | Middleware) -> RouterRoute:
        """Answer any method."""
        self._router.all(self._path, *handlers)
        return self

    def method(self, method: str, *handlers: Handler | Middleware) -> RouterRoute:
        """Answer *method*."""
        self._router.method(method, self._path, *handlers)
        return self


def _is_path(thing: Any) -> TypeGuard[Path]:
    """Whether *thing* is a pattern, or a list of patterns: no middleware and no router."""
    return isinstance(thing, str) or (
        isinstance(thing, (list, tuple))
        and all(isinstance(each, str) for each in cast("Sequence[Any]", thing))
    )
