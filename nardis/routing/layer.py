"""One line of a router's table: a registration of `use`, or a route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeAlias, TypedDict

from .._http.grammar import TOKEN
from .._paths.pattern import Pattern
from .._paths.segments import Segments
from ..errors import UsageError
from ..handlers import F, Step, Where, step_of
from ..limits import Limits, check_limits
from .converters import Converter

__all__ = [
    "WEBSOCKET",
    "Layer",
    "Match",
    "Path",
    "Plan",
    "Route",
    "RouteOptions",
    "Through",
    "WebSocketOptions",
    "check_options",
    "checked_method",
]

# Stands for a method where routes are listed.
WEBSOCKET: Final = "WEBSOCKET"

Path: TypeAlias = str | Sequence[str]

# What a matching layer captured, and how many segments its prefix took off.
Match: TypeAlias = tuple[dict[str, Any], int]

# The functions of the layers in front that need no more than a call; None is behind the last one.
Through: TypeAlias = list[Callable[..., Awaitable[object]] | None]


class RouteOptions(TypedDict, total=False):
    """
    What every route takes beside method, path and handlers.

    Attributes:
        limits: Instead of the application's, for this route.
        cancel_on_disconnect: False: the handler must finish, and goes on when the client leaves.
        name: For `url_for`. The name of the last handler unless given.
    """

    limits: Limits | None
    cancel_on_disconnect: bool | None
    name: str | None


class WebSocketOptions(RouteOptions, total=False):
    """
    What the route of a WebSocket takes beside path and handlers.

    Attributes:
        subprotocols: Those that the handler speaks, the best first. The first that the client
            offers is chosen, unless `ws.accept` names another.
        origins: The pages that may open it, beside those of the same origin, instead of the
            application's `websocket_origins`: a list, or `"*"`.
    """

    subprotocols: Sequence[str]
    origins: str | Iterable[str] | None


def check_options(options: RouteOptions, kind: type[RouteOptions] = RouteOptions) -> None:
    """Raise a TypeError for an option that no such route has, and for limits that are none."""
    known = kind.__annotations__
    for name in options:
        if name not in known:
            raise TypeError(
                f"a route got an unexpected keyword argument {name!r}; "
                f"its options are {', '.join(known)}"
            )
    check_limits(options.get("limits"))


def checked_method(method: object) -> str:
    """Return a method in capitals, or raise a UsageError for what no request can have as one."""
    if not isinstance(method, str) or TOKEN.fullmatch(method) is None:
        raise UsageError(
            f'a method is a word such as "PROPFIND", and the path comes behind it; not {method!r}'
        )
    return method.upper()


class Layer:
    """
    One registration of `use`: middlewares, or a router, behind a prefix.

    Attributes:
        path: The pattern as written.
        steps: The functions to run, each with whether it takes `next`.
        method: Of a route; None for any.
        always: It matches every path, so `match` need not be called.
        straight: Its steps need no more than a call.
        through: Of one middleware around everything: that, if calling it is all there is to do.
        streams: Its handler opted out of disconnects, and was seen to read or to stream.
        only: Of a route for one method: its handler, if calling that is all there is to do.
        converters: What converts its captures, by their names; None where nothing does.
        heads: Of a route for GET: whether it answers HEAD as well.
        chain: Of a route that shares its path with others by `route()`: the same for all of them.
        is_websocket: It is the route of a WebSocket, which no request matches.
    """

    is_websocket: ClassVar[bool] = False

    __slots__ = (
        "always",
        "cancels",
        "chain",
        "converters",
        "heads",
        "is_route",
        "limits",
        "method",
        "only",
        "path",
        "pattern",
        "steps",
        "straight",
        "streams",
        "through",
    )

    def __init__(self, pattern: Pattern, steps: Sequence[Step] = ()) -> None:
        self.is_route: bool = False
        self.method: str | None = None
        self.limits: Limits | None = None
        self.cancels: bool | None = None
        self.pattern: Pattern = pattern
        self.path: str = pattern.source
        self.always: bool = pattern.literals == ("",)
        self.straight: bool = self.always
        self.steps: list[Step] = list(steps)
        self.only: Callable[..., Awaitable[object]] | None = None
        self.streams: bool = False
        self.converters: Mapping[str, Converter] | None = None
        self.chain: object = None
        self.heads: bool = True
        self.through: Callable[..., Awaitable[object]] | None = None
        if self.straight and len(self.steps) == 1:
            self.through = self.steps[0][0]

    def match(self, segments: Segments) -> Match | None:
        """Match the beginning of a path; return the captures and the number of segments taken."""
        return self.pattern.match_prefix(segments)

    @property
    def captures(self) -> Collection[str] | None:
        """The names that it may capture; None where that is not known beforehand."""
        return self.pattern.names

    def convert_by(self, converters: Mapping[str, Converter]) -> None:
        """Let those of the *converters* that are for its captures convert them."""
        names = self.captures
        if names is not None:
            converters = {name: converters[name] for name in names if name in converters}
        if converters:
            self.converters = converters
            self.only = None
            if any(converter.loads for converter in converters.values()):
                self.straight = False


# The layers that may match a path, with their captures where those are known beforehand; the path
# in segments; and how those layers begin.
Plan: TypeAlias = tuple[list[tuple[Layer, Match | None]], Segments, Through]


class Route(Layer):
    """
    One route. Calling it with a function adds a next handler, so that it serves as a decorator.

    Attributes:
        path: The pattern as written; for logs and metrics, which a path itself would flood.
        name: For `url_for`; the name of the last handler unless given.
        changed: For Nardis itself: called when a handler is added to a route of a table.
        where: For Nardis itself: what it is registered by, for messages.
    """

    where: ClassVar[Where] = "a route"

    __slots__ = ("_name", "changed")

    def __init__(self, pattern: Pattern, method: str | None, options: RouteOptions) -> None:
        super().__init__(pattern)
        self.is_route = True
        self.method = method
        self.limits: Limits | None = options.get("limits")
        self.cancels: bool | None = options.get("cancel_on_disconnect")
        self.always = False
        self.straight: bool = self.limits is None and self.cancels is None
        self._name = options.get("name")
        self.changed: Callable[[], None] | None = None

    @property
    def name(self) -> str | None:
        """What `url_for` finds the route by."""
        if self._name is None and self.steps:
            return getattr(self.steps[-1][0], "__name__", None)
        return self._name

    def __call__(self, handler: F) -> F:
        """Add a handler; it is returned, so that a route decorates."""
        self.steps.append(step_of(handler, self.where))
        first, takes_next = self.steps[0]
        is_only = len(self.steps) == 1 and self.straight and not takes_next
        # A handler for HEAD has a scope of its own, as GET's has for HEAD.
        self.only: Callable[..., Awaitable[object]] | None = (
            first if is_only and self.method not in (None, "HEAD") else None
        )
        if self.changed is not None:
            self.changed()
        return handler

    def __repr__(self) -> str:
        return f"<Route {self.method or 'ALL'} {self.path}>"

    def match(self, segments: Segments) -> Match | None:
        """Match a whole path; return the captures. A route without handlers matches nothing."""
        params = self.pattern.match(segments) if self.steps else None
        return None if params is None else (params, 0)
