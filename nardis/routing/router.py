"""
Routers: what answers which method and path, in the order of registration.

A router is a list of layers. A route matches a whole path and a method; `use` matches a prefix, and holds middlewares or another
router. Order decides, as in Express; the index only spares looking at layers that cannot match.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, TypeVar, cast, overload

from .._asgi.adapt import ASGI2App
from .._failures import name_of
from .._foreign.mounted import Mounted
from .._paths.index import Index
from .._paths.pattern import Pattern, compile_pattern
from .._paths.segments import Segments, split_path
from ..errors import HTTPError, UsageError
from ..limits import Limits
from .walk import Match, Step, enter

if TYPE_CHECKING:
    from ..handlers import ErrorHandler, Handler, Middleware
    from ..types import ASGIApp

__all__ = ["Layer", "Route", "Router", "RouterRoute", "flattened", "step_of"]

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R", bound="Router")

Path: TypeAlias = "str | Sequence[str]"

# Layers that may match a path, with what they captured where that is known beforehand; and the path in segments.
Plan: TypeAlias = "tuple[list[tuple[Layer, Match | None]], Segments]"


class Layer:
    """
    One registration of `use`: middlewares, or a router, behind a prefix.

    Attributes:
        path: The pattern as written.
        steps: The functions to run, each with whether it takes `next`.
        router: The router that is its only step, if it is one.
        method: Of a route; None for any.
        mounted: The foreign application that is its only step, if it is one.
        always: It matches every path, so nobody need ask.
        straight: Its steps need no more than a call.
    """

    __slots__ = (
        "always",
        "cancels",
        "is_route",
        "limits",
        "method",
        "mounted",
        "path",
        "pattern",
        "router",
        "steps",
        "straight",
    )

    def __init__(
        self, pattern: Pattern, steps: Sequence[Step] = (), router: Router | None = None
    ) -> None:
        self.is_route: bool = False
        self.method: str | None = None
        self.limits: Limits | None = None
        self.cancels: bool | None = None
        self.pattern: Pattern = pattern
        self.path: str = pattern.source
        self.always: bool = pattern.literals == ("",)
        self.straight: bool = self.always and router is None
        self.steps: list[Step] = list(steps) if router is None else [(partial(enter, router), True)]
        self.router: Router | None = router
        self.mounted: Mounted | None = None

    def match(self, segments: Segments) -> Match | None:
        """Match the beginning of a path; give the captures and the number of segments taken."""
        return self.pattern.match_prefix(segments)


class Route(Layer):
    """
    One route. Calling it with a function adds that as its next handler, so that it serves as a decorator.

    Attributes:
        path: The pattern as written; for logs and metrics, which a path itself would flood.
        name: For `url_for`; the name of the last handler unless given.
    """

    __slots__ = ("_name", "_owner")

    def __init__(
        self,
        owner: Router,
        pattern: Pattern,
        method: str | None,
        limits: Limits | None,
        cancels: bool | None,
        name: str | None,
    ) -> None:
        super().__init__(pattern)
        self._owner = owner
        self.is_route = True
        self.method = method
        self.limits = limits
        self.cancels = cancels
        self.always = False
        self.straight: bool = limits is None and cancels is None
        self._name = name

    @property
    def name(self) -> str | None:
        """What `url_for` finds the route by."""
        if self._name is None and self.steps:
            return getattr(self.steps[-1][0], "__name__", None)
        return self._name

    def __call__(self, handler: F) -> F:
        """Add a handler; it is given back, so that a route decorates."""
        self.steps.append(step_of(handler, "a route", 2, 3))
        self._owner._index = None  # a route without handlers matches nothing
        return handler

    def __repr__(self) -> str:
        return f"<Route {self.method or 'ALL'} {self.path}>"

    def match(self, segments: Segments) -> Match | None:
        """Match a whole path; give the captures."""
        params = self.pattern.match(segments) if self.steps else None
        return None if params is None else (params, 0)


class Router:
    """
    A table of routes and middlewares, to be used at a prefix of an application or of another router.

    Args:
        case_sensitive: Whether `/Users` and `/users` differ.
        strict: Whether `/users` and `/users/` differ; otherwise one trailing slash more is allowed.
        merge_params: Whether handlers see the captures of the prefixes around this router as well; their own win.
    """

    def __init__(
        self, *, case_sensitive: bool = True, strict: bool = False, merge_params: bool = True
    ) -> None:
        self.case_sensitive = case_sensitive
        self.strict = strict
        self.merge_params = merge_params
        self._layers: list[Layer] = []
        self._error_handlers: dict[type[BaseException] | int, ErrorHandler] = {}
        self._index: Index | None = None
        # The paths of routes without captures, as received, with all that matches them once one was asked for.
        self._fixed: dict[bytes, Plan | None] = {}

    # --- routes -------------------------------------------------------------------------------------------------------

    def method(
        self,
        method: str,
        path: Path,
        *handlers: Handler | Middleware,
        limits: Limits | None = None,
        cancel_on_disconnect: bool | None = None,
        name: str | None = None,
    ) -> Route:
        """
        Answer *method* on *path*: middlewares first, a handler last; or as a decorator for that last one.

        Args:
            method: Any method, `"PROPFIND"` as well.
            path: A pattern, or a list of them: static text, `:name`, `*rest`, `{optional}`.
            handlers: `async (req, res)`, and before it any number of `async (req, res, next)`.
            limits: Instead of the application's, for this route.
            cancel_on_disconnect: False: work that must finish is not cancelled when the client leaves.
            name: For `url_for`; the handler's own name unless given.

        Raises:
            PatternError: The pattern cannot be compiled.
            TypeError: A handler is not an async function of two or three parameters.
        """
        return self._route(method.upper(), path, handlers, limits, cancel_on_disconnect, name)

    def _route(
        self,
        method: str | None,
        path: Path,
        handlers: Sequence[Handler | Middleware | Sequence[Any]],
        limits: Limits | None,
        cancels: bool | None,
        name: str | None,
    ) -> Route:
        route = Route(self, self._pattern(path), method, limits, cancels, name)
        for handler in flattened(handlers):
            route(handler)
        self._add(route)
        return route

    def get(
        self,
        path: Path,
        *handlers: Handler | Middleware,
        limits: Limits | None = None,
        cancel_on_disconnect: bool | None = None,
        name: str | None = None,
    ) -> Route:
        """Answer GET on *path*, and HEAD unless a `head` route stands before; see `method`."""
        return self._route("GET", path, handlers, limits, cancel_on_disconnect, name)

    def post(
        self,
        path: Path,
        *handlers: Handler | Middleware,
        limits: Limits | None = None,
        cancel_on_disconnect: bool | None = None,
        name: str | None = None,
    ) -> Route:
        """Answer POST on *path*; see `method`."""
        return self._route("POST", path, handlers, limits, cancel_on_disconnect, name)

    def put(
        self,
        path: Path,
        *handlers: Handler | Middleware,
        limits: Limits | None = None,
        cancel_on_disconnect: bool | None = None,
        name: str | None = None,
    ) -> Route:
        """Answer PUT on *path*; see `method`."""
        return self._route("PUT", path, handlers, limits, cancel_on_disconnect, name)

    def patch(
        self,
        path: Path,
        *handlers: Handler | Middleware,
        limits: Limits | None = None,
        cancel_on_disconnect: bool | None = None,
        name: str | None = None,
    ) -> Route:
        """Answer PATCH on *path*; see `method`."""
        return self._route("PATCH", path, handlers, limits, cancel_on_disconnect, name)

    def delete(
        self,
        path: Path,
        *handlers: Handler | Middleware,
        limits: Limits | None = None,
        cancel_on_disconnect: bool | None = None,
        name: str | None = None,
    ) -> Route:
        """Answer DELETE on *path*; see `method`."""
        return self._route("DELETE", path, handlers, limits, cancel_on_disconnect, name)

    def head(
        self,
        path: Path,
        *handlers: Handler | Middleware,
        limits: Limits | None = None,
        cancel_on_disconnect: bool | None = None,
        name: str | None = None,
    ) -> Route:
        """Answer HEAD on *path*, where GET's handler would not do; register it before that. See `method`."""
        return self._route("HEAD", path, handlers, limits, cancel_on_disconnect, name)

    def options(
        self,
        path: Path,
        *handlers: Handler | Middleware,
        limits: Limits | None = None,
        cancel_on_disconnect: bool | None = None,
        name: str | None = None,
    ) -> Route:
        """Answer OPTIONS on *path*, instead of the list of methods that is sent without one; see `method`."""
        return self._route("OPTIONS", path, handlers, limits, cancel_on_disconnect, name)

    def all(
        self,
        path: Path,
        *handlers: Handler | Middleware,
        limits: Limits | None = None,
        cancel_on_disconnect: bool | None = None,
        name: str | None = None,
    ) -> Route:
        """Answer any method on *path*; see `method`."""
        return self._route(None, path, handlers, limits, cancel_on_disconnect, name)

    def route(self, path: Path) -> RouterRoute:
        """Name a path once for several methods: `app.route("/x").get(show).post(change)`."""
        return RouterRoute(self, path)

    # --- middlewares and routers --------------------------------------------------------------------------------------

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
        Run middlewares, or enter routers, for every path below a prefix: `use(middleware)`, `use("/api", guard, router)`.

        It is a decorator too, `@app.use` or `@app.use("/api")`. The prefix matches on a segment border and is taken off
        `req.path` and `req.url` inside.

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
                layers.append(Layer(pattern, [step_of(thing, "use()", 3, 3)]))
            elif self in thing._below():
                raise UsageError("a router cannot be used inside itself")
            else:
                layers.append(Layer(pattern, router=thing))
        for layer in layers:
            self._add(layer)

    def mount(self, prefix: Path, asgi_app: ASGIApp | ASGI2App, /) -> None:
        """
        Let a foreign ASGI application answer everything below *prefix*, its 404 included.

        It is a handler like any other: middlewares stand around it, hooks and filters see its answer, and it is cancelled when
        the client leaves. It sees the prefix as `root_path`. Its lifespan runs inside the application's, and its `state` is
        its own.

        Raises:
            TypeError: This is no ASGI application, of version 3 or 2.
        """
        mounted = Mounted(asgi_app)
        layer = Layer(self._pattern(prefix), [(mounted, True)])
        layer.mounted = mounted
        self._add(layer)

    def _mounts(self) -> list[Mounted]:
        """List the foreign applications of this router and of those inside it."""
        return [
            layer.mounted
            for router in self._below()
            for layer in router._layers
            if layer.mounted is not None
        ]

    def _below(self) -> list[Router]:
        """List this router and all that are used inside it, from the outside in."""
        found: list[Router] = [self]
        for router in found:
            found.extend(
                layer.router
                for layer in router._layers
                if layer.router is not None and layer.router not in found
            )
        return found

    def error(self, *kinds: type[BaseException] | int) -> Callable[[F], F]:
        """
        Register `async (err, req, res)` for exception types, found by method resolution order, or for statuses of HTTPError.

        It answers inside the middlewares around the place where the error arose, as long as the head was not sent. It may raise:
        the router around this one is asked next.
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
            step_of(handler, "error()", 3, 3)
            for kind in kinds:
                self._error_handlers[kind] = handler
            return handler

        return register

    def error_handler(self, error: BaseException) -> ErrorHandler | None:
        """Find the handler for *error*: by its status if it is an HTTPError, then by its types."""
        handlers = self._error_handlers
        if not handlers:
            return None
        if isinstance(error, HTTPError) and error.status in handlers:
            return handlers[error.status]
        return next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)

    # --- looking up ---------------------------------------------------------------------------------------------------

    def plan(self, raw: bytes, segments: Segments | None) -> Plan:
        """List the layers that may match a path, in order, with what they captured where that is known."""
        index = self._index
        if index is None:
            index = self._compile()
        plan = self._fixed.get(raw)
        if plan is not None:
            return plan
        if segments is None:
            segments = split_path(raw)
        layers = self._layers
        candidates = index.candidates(segments)
        if raw not in self._fixed:
            return [(layers[at], None) for at in candidates], segments
        # Captures of prefixes are matched anew for each request, which may change what it gets.
        matching = [
            (layers[at], None if match[0] else match)
            for at in candidates
            if (match := layers[at].match(segments)) is not None
        ]
        self._fixed[raw] = plan = (matching, segments)
        return plan

    def _compile(self) -> Index:
        index = Index(case_sensitive=self.case_sensitive)
        self._fixed = {}
        for at, layer in enumerate(self._layers):
            index.add(at, layer.pattern, prefix=not layer.is_route)
            literals = layer.pattern.literals
            if layer.is_route and literals is not None:
                raw = "/".join(["", *literals]).encode()
                if not self.strict and literals != ("",):
                    self._fixed[raw + b"/"] = None
                self._fixed[raw] = None
        self._index = index
        return index

    def _pattern(self, path: Path) -> Pattern:
        return compile_pattern(path, case_sensitive=self.case_sensitive, strict=self.strict)

    def _add(self, layer: Layer) -> None:
        self._layers.append(layer)
        self._index = None

    def routes(self) -> list[tuple[str | None, str, str | None]]:
        """List method (None: any), pattern and name of every route, those of the routers inside included, in order."""
        found: list[tuple[str | None, str, str | None]] = []
        for layer in self._layers:
            if isinstance(layer, Route):
                found.append((layer.method, layer.path, layer.name))
            elif layer.router is not None:
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
        for layer in self._layers:
            if isinstance(layer, Route):
                if layer.name == name:
                    return layer.pattern.build(params)
            elif (
                layer.router is not None
                and (path := layer.router._url_for(name, params)) is not None
            ):
                base = layer.pattern.build(params)
                return path if base == "/" else base.rstrip("/") + path
        return None


class RouterRoute:
    """A path that is named once: each verb registers a route on it and gives this object back."""

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


def flattened(things: Any) -> list[Any]:
    """List handlers that may come in lists, and in lists of those."""
    if not isinstance(things, (list, tuple)):
        return [things]
    return [each for thing in cast("Sequence[Any]", things) for each in flattened(thing)]


def _is_path(thing: Any) -> TypeGuard[Path]:
    """Tell a pattern, or a list of them, from middlewares and routers."""
    return isinstance(thing, str) or (
        isinstance(thing, (list, tuple))
        and all(isinstance(each, str) for each in cast("Sequence[Any]", thing))
    )


def step_of(handler: Any, where: str, least: int, most: int) -> Step:
    """
    Check a handler, and find out whether it takes `next`.

    Raises:
        TypeError: It is no async function, or takes another number of parameters.
    """
    wanted = {
        "error()": "async (err, req, res)",
        "use()": "a Router or async (req, res, next)",
    }.get(where, "async (req, res[, next])")
    hint = "An ASGI application goes to app.mount(prefix, asgi_app), an ASGI middleware to app.use(wrap(Middleware))."
    function = handler
    while isinstance(function, partial):
        function = function.func
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"{where} takes {wanted}, not {handler!r}. {hint}")
    if not (
        inspect.iscoroutinefunction(function)
        or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
    ):
        blocking = (
            "write `async def`, and give what blocks to `await anyio.to_thread.run_sync(...)`"
        )
        raise TypeError(
            f"{where} takes {wanted}, and {name_of(handler)} is not async: {blocking}. {hint}"
        )
    names = _positional(handler)
    if names[:3] == ["scope", "receive", "send"]:
        raise TypeError(
            f"{where} takes {wanted}, and {name_of(handler)} looks like an ASGI application. {hint}"
        )
    if not least <= len(names) <= most:
        raise TypeError(
            f"{where} takes {wanted}, and {name_of(handler)} takes {len(names)} parameters. {hint}"
        )
    return handler, len(names) == 3


def _positional(handler: Callable[..., Any]) -> list[str]:
    """List the positional parameters without a default, and a `next` with one; `*args` fills up to three."""
    names: list[str] = []
    for parameter in inspect.signature(handler).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return [*names, *["*"] * (3 - len(names))]
        is_positional = parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        )
        if is_positional and (
            parameter.default is parameter.empty or (len(names) == 2 and parameter.name == "next")
        ):
            names.append(parameter.name)
    return names
