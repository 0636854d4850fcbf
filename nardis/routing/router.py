"""
Routers: what answers which method and path, in the order of registration.

A router is a list of layers. A route matches a whole path and a method; `use` matches a prefix, and
holds middlewares or another router.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard, TypeVar, Unpack, cast, overload

from .._asgi.adapt import ASGI2App
from .._foreign.mounted import Mounted
from .._paths.pattern import Pattern, compile_pattern
from ..errors import UsageError
from ..handlers import F, Handler, Middleware, WebSocketHandler, flattened, step_of
from ..types import ASGIApp
from .chain import RouterRoute
from .converters import C, Converter, check_capture
from .hosts import Host
from .layer import (
    Layer,
    Path,
    Route,
    RouteOptions,
    WebSocketOptions,
    check_options,
    checked_method,
)
from .sockets import WebSocketRoute
from .table import Entrance, RouteTable

__all__ = ["Router", "RouterRoute"]

R = TypeVar("R", bound="Router")


class Router(RouteTable):
    """
    A table of routes and middlewares, to be used at a prefix of an application or another router.

    Each verb (`get`, `post`, ...) takes path, handlers and options as `method` does.

    Args:
        case_sensitive: Whether `/Users` and `/users` differ.
        strict: Whether `/users` and `/users/` differ; otherwise one trailing slash more is allowed.
        merge_params: Whether handlers see the captures of the prefixes around this router as well;
            their own win.
        host: The host whose requests enter this router, or a list of them, without a port:
            `"api.example.com"`, `"*.example.com"` for every host below that one, or
            `":tenant.example.com"` for those one label below, with the label in `req.params`.
            Requests of other hosts pass it by, as if it were not there.

    Raises:
        UsageError: *host* is no host.
    """

    def __init__(
        self,
        *,
        case_sensitive: bool = True,
        strict: bool = False,
        merge_params: bool = True,
        host: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(
            case_sensitive=case_sensitive,
            strict=strict,
            merge_params=merge_params,
            host=None if host is None else Host(host),
        )

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
            UsageError: It is no method.
            PatternError: The pattern cannot be compiled.
            TypeError: A handler is not an async function of two or three parameters, or there is
                no such option.
        """
        return self.register(checked_method(method), path, handlers, options)

    def register(
        self,
        method: str | None,
        path: Path,
        handlers: Sequence[Handler | Middleware | Sequence[Any]],
        options: RouteOptions,
        /,
    ) -> Route:
        """For Nardis itself: do what `method` does; None is any method."""
        check_options(options)
        route = Route(self._pattern(path), method, options)
        for handler in flattened(handlers):
            route(handler)
        self.add(route)
        return route

    def get(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer GET on *path*, and HEAD unless a `head` route stands before."""
        return self.register("GET", path, handlers, options)

    def post(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer POST on *path*."""
        return self.register("POST", path, handlers, options)

    def put(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer PUT on *path*."""
        return self.register("PUT", path, handlers, options)

    def patch(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer PATCH on *path*."""
        return self.register("PATCH", path, handlers, options)

    def delete(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer DELETE on *path*."""
        return self.register("DELETE", path, handlers, options)

    def head(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer HEAD on *path*, where GET's handler would not do; register it before that."""
        return self.register("HEAD", path, handlers, options)

    def options(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer OPTIONS on *path*, instead of the default answer, a list of the methods."""
        return self.register("OPTIONS", path, handlers, options)

    def all(
        self, path: Path, *handlers: Handler | Middleware, **options: Unpack[RouteOptions]
    ) -> Route:
        """Answer any method on *path*."""
        return self.register(None, path, handlers, options)

    def websocket(
        self,
        path: Path,
        *handlers: WebSocketHandler | Middleware,
        **options: Unpack[WebSocketOptions],
    ) -> Route:
        """
        Talk to the WebSockets that are opened on *path*: middlewares first, a handler last.

        Without the last handler it is a decorator for that one. Requests never match it: one that
        no other route answers gets 426, "Upgrade Required" (RFC 9110 §15.5.22).

        A handshake by a page of another origin is refused with 403, because browsers send cookies
        with it: `origins` lets others in.

        Args:
            path: A pattern, or a list of them.
            handlers: `async (req, ws)`, and before it any number of `async (req, res, next)`, to
                which it is a GET: what they set goes out with the accept, and what they answer
                refuses it.
            options: `subprotocols`, `origins`, `limits`, `cancel_on_disconnect` and `name`: see
                `WebSocketOptions`.

        Raises:
            PatternError: The pattern cannot be compiled.
            TypeError: A handler is not an async function of two or three parameters, or there is
                no such option.
            UsageError: An origin that is none.
        """
        route = WebSocketRoute(self._pattern(path), options)
        for handler in flattened(handlers):
            route(handler)
        self.add(route)
        return route

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

        An application is a router, too. Its routes, its error handlers and its lifespan come along,
        and all requests go by the options of the outer application: see `mount()`.

        Raises:
            TypeError: Something is neither a middleware `async (req, res, next)` nor a Router.
            UsageError: A router is used inside itself, or inside what it uses or mounts; or an
                application has options that this one does not have.
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
            elif thing.leads_to(self):
                raise UsageError(
                    "a router cannot be used inside itself, nor inside what it uses or mounts"
                )
            else:
                self._check_options(thing)
                layers.append(Entrance(pattern, thing))
        for layer in layers:
            self.add(layer)

    def _check_options(self, inner: Router) -> None:
        """
        Refuse applications whose options would be lost: those of a request are the outermost's.

        A router that is no application goes by those of the applications around it, which it may
        come to know later.
        """
        outer = self.around if self.given is None else [self.given]
        tables = inner.below()
        for given in outer:
            for table in tables:
                _compare(given, table.given or {})
        for table in tables:
            if table.given is None:
                table.around += outer

    def mount(self, prefix: Path, asgi_app: ASGIApp | ASGI2App, /) -> None:
        """
        Let a foreign ASGI application answer everything below *prefix*, its 404 included.

        It is a handler like any other: middlewares stand around it, hooks and filters see its
        answer, and it is cancelled when the client leaves. It sees the prefix as `root_path`. Its
        lifespan runs inside the application's, and its `state` is its own. An application of Nardis
        keeps its options here.

        Raises:
            TypeError: This is no ASGI application, of version 3 or 2.
            UsageError: An application is mounted inside itself, or inside what it uses or mounts.
        """
        app: object = asgi_app
        if isinstance(app, Router) and app.leads_to(self):
            raise UsageError(
                "an application cannot be mounted inside itself, nor inside what it uses or mounts"
            )
        self.add(Layer(self._pattern(prefix), [(Mounted(asgi_app), True)]))

    @overload
    def param(self, name: str, /) -> Callable[[C], C]: ...
    @overload
    def param(self, name: str, converter: C, /) -> C: ...
    def param(self, name: str, converter: C | None = None, /) -> Callable[[C], C] | C:
        """
        Convert what the patterns of this router capture as *name*: what it returns replaces it.

        Each value is converted once in a pass through the router, for the routes and prefixes of
        this router alone: a router inside sees the result, and has converters of its own. Several
        for one name run in order, those of the value alone first. A wildcard's value is a list.

        It is a decorator without *converter*.

        Args:
            name: Of the capture: `"id"` for `/users/:id`.
            converter: A type such as `int`, or a function of the value: a ValueError or LookupError
                of it means that there is no such path, so other routes are tried. Or a function
                `(req, value)`, sync or async, that runs before the handlers: it may raise as they
                do, `HTTPError` or `SkipRoute` among others.

        Raises:
            TypeError: It takes other parameters.
            UsageError: The name is none.
        """
        check_capture(name)

        def register(function: C) -> C:
            converters = self.converters
            added = converters.get(name) or Converter()
            added.add(name, function)
            converters[name] = added
            self.forget()
            return function

        return register if converter is None else register(converter)

    def error(self, *kinds: type[BaseException] | int) -> Callable[[F], F]:
        """
        Register `async (err, req, res)` for exception types, or for statuses of HTTPError.

        Types are found by method resolution order. The handler answers inside the middlewares
        around the place where the error arose, as long as the head was not sent. It may raise: the
        router around this one is asked next.

        Of an exception group, as a task group raises it, clients that left are dropped. If one
        error remains, it stands for the group, which is its `__cause__`: `error(KeyError)` hears of
        a KeyError in a task, and an HTTPError there is answered with its status. Several are for
        `error(ExceptionGroup)`.
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

    def _pattern(self, path: Path) -> Pattern:
        return compile_pattern(path, case_sensitive=self.case_sensitive, strict=self.strict)


def _compare(outer: Mapping[str, object], inner: Mapping[str, object]) -> None:
    lost = [name for name in inner if name not in outer or outer[name] != inner[name]]
    if lost:
        raise UsageError(
            f"use() takes the routes of an application, and not its {', '.join(lost)}: give the "
            "outer application the same, or mount() the inner one, which keeps its options"
        )


def _is_path(thing: Any) -> TypeGuard[Path]:
    """Whether *thing* is a pattern, or a list of patterns: no middleware and no router."""
    return isinstance(thing, str) or (
        isinstance(thing, (list, tuple))
        and all(isinstance(each, str) for each in cast("Sequence[Any]", thing))
    )
