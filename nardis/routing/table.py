"""
The table behind a router: what was registered, in order, and how it is found again.

Order decides, as in Express; the index only spares looking at layers that cannot match.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any, Final, NamedTuple, Protocol, cast

from .._foreign.mounted import Mounted
from .._paths.index import Index
from .._paths.pattern import Pattern, compile_pattern
from .._paths.segments import Segments, split_path
from ..errors import HTTPError, UsageError
from ..handlers import ErrorHandler, Step
from ..request import Request
from ..response import Response
from ..types import Next
from .converters import Converter
from .hosts import Host, HostIndex, Labels
from .layer import WEBSOCKET, Layer, Match, Plan, Route, Through

__all__ = ["Entrance", "RouteInfo", "RouteTable"]

# The plan for a path that is no route's as it stands.
_UNKNOWN: Final[Plan] = ([], [], [None])


class _Row(NamedTuple):
    method: str | None
    path: str
    name: str | None


class RouteInfo(_Row):
    """
    A route as `routes()` lists it: a tuple of method, path and name, with more beside it.

    Attributes:
        method: What it answers; None for any method, and `WEBSOCKET` for the opening of one.
        path: Its pattern, behind the prefixes of the routers around it.
        name: What `url_for` finds it by.
        host: The host of the innermost router that is for one; None for any host.
        handlers: Its functions, in order.
    """

    host: str | None
    handlers: tuple[Callable[..., object], ...]

    @classmethod
    def of(cls, route: Route, base: str, host: str | None) -> RouteInfo:
        """Describe *route*, behind the prefixes *base*."""
        method = WEBSOCKET if route.is_websocket else route.method
        info = cls(method, base + route.path, route.name)
        info.host = host
        info.handlers = tuple(handler for handler, _ in route.steps)
        return info


class _Walking(Protocol):
    """The walk through a table, as its gate needs to see it."""

    layers: list[tuple[Layer, Match | None]]
    segments: Segments


class RouteTable:
    """
    The layers of a router, in order of registration, with what belongs to all of them.

    Args:
        case_sensitive: Whether `/Users` and `/users` differ.
        strict: Whether `/users` and `/users/` differ.
        merge_params: Whether handlers see the captures of the prefixes around it as well.
        host: The host that it is entered for; None for any.

    Attributes:
        layers: For Nardis itself: the table, in order of registration.
        converters: For Nardis itself: what `param` registered, by name.
        error_handlers: For Nardis itself: what `error` registered.
        given: For Nardis itself: the options of an application that are not the default ones; None
            of a router that is none.
        around: For Nardis itself: those of the applications that such a router was used in.
        known: For Nardis itself: the paths of routes without captures, as received; with all that
            matches a path, once it was asked for.
    """

    given: Mapping[str, object] | None = None

    def __init__(
        self, *, case_sensitive: bool, strict: bool, merge_params: bool, host: Host | None
    ) -> None:
        self.case_sensitive = case_sensitive
        self.strict = strict
        self.merge_params = merge_params
        self.host: Host | None = host
        self.layers: list[Layer] = []
        self.converters: dict[str, Converter] = {}
        self.error_handlers: dict[type[BaseException] | int, ErrorHandler] = {}
        self.around: list[Mapping[str, object]] = []
        self.known: dict[bytes, Plan | None] = {}
        self._index: Index | HostIndex | None = None
        self._indexed: list[Layer] = self.layers  # as the index counts them
        self._through: Through | None = None  # of all paths, if it is the same for all
        # The routes by name, and under None the routers inside.
        self._names: defaultdict[str | None, list[int]] | None = None

    def add(self, layer: Layer) -> None:
        """For Nardis itself: append a layer to the table."""
        self.layers.append(layer)
        self.forget()
        if isinstance(layer, Route):
            layer.changed = self.forget  # a route without handlers matches nothing

    def forget(self) -> None:
        """For Nardis itself: make the index anew when it is next asked for."""
        self._index = self._names = None
        self.known = {}  # a new one: a request that is under way may have the old one

    def below(self) -> list[RouteTable]:
        """For Nardis itself: list this router and all inside it, from the outside in."""
        found: list[RouteTable] = [self]
        seen: set[RouteTable] = {self}
        for table in found:
            for layer in table.layers:
                if isinstance(layer, Entrance) and layer.router not in seen:
                    seen.add(layer.router)
                    found.append(layer.router)
        return found

    def leads_to(self, table: RouteTable) -> bool:
        """For Nardis itself: whether *table* is this router, or inside it, used or mounted."""
        tops: list[RouteTable] = [self]  # and the applications of Nardis that are mounted
        for top in tops:
            if table in top.below():
                return True
            mounted = [each.app for each in top.mounts()]
            tops += [app for app in mounted if isinstance(app, RouteTable) and app not in tops]
        return False

    def mounts(self) -> list[Mounted]:
        """For Nardis itself: list the foreign applications here and in the routers inside."""
        return [
            handler
            for table in self.below()
            for layer in table.layers
            for handler, _ in layer.steps
            if isinstance(handler, Mounted)
        ]

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
        layers = self._indexed
        candidates = index.candidates(segments)
        if plan is _UNKNOWN:
            found: list[tuple[Layer, Match | None]] = []
            if len(candidates) == 1:  # the short ways: a comprehension is a call
                found.append((layers[candidates[0]], None))
            elif candidates:
                found = [(layers[at], None) for at in candidates]
            return found, segments, _through(found) if self._through is None else self._through
        # Captures of prefixes are matched anew for each request, which may change its own.
        matching = [
            (layers[at], None if match[0] else match)
            for at in candidates
            if (match := layers[at].match(segments)) is not None
        ]
        self.known[raw] = plan = (matching, segments, _through(matching))
        return plan

    def _compile(self) -> Index | HostIndex:
        index = Index(case_sensitive=self.case_sensitive)
        hosted: list[tuple[int, Host, Pattern]] = []
        for at, layer in enumerate(self.layers):
            if self.converters:
                layer.convert_by(self.converters)
            if isinstance(layer, Entrance) and layer.router.host is not None:
                hosted.append((at, layer.router.host, layer.pattern))
                continue
            index.add(at, layer.pattern, prefix=not layer.is_route)
            literals = layer.pattern.literals
            if layer.is_route and literals is not None:
                raw = "/".join(["", *literals]).encode()
                if b"%" in raw or b"?" in raw:
                    continue  # as received, it would be another path
                if not self.strict and literals != ("",):
                    self.known[raw + b"/"] = None
                self.known[raw] = None
        self._indexed = self.layers
        self._index = index if not hosted else self._with_gate(index, hosted)
        through = _through([(layer, None) for layer in self._indexed])
        is_first = sum(layer.through is not None for layer in self._indexed) == len(through) - 1
        self._through = through if is_first else None
        return self._index

    def _with_gate(self, index: Index, hosted: list[tuple[int, Host, Pattern]]) -> HostIndex:
        found = HostIndex(index, hosted, len(self.layers), case_sensitive=self.case_sensitive)
        gate = cast("Step", (partial(self._pass_gate, found), True))
        self._indexed = [*self.layers, Layer(compile_pattern("/"), [gate])]
        return found

    async def _pass_gate(self, found: HostIndex, req: Request, res: Response, next: Next) -> None:
        """Go on with the layers behind the first one for a host, now that a host is there."""
        walk: _Walking = cast("Any", req.trail).walk
        behind: list[tuple[Layer, Match | None]] = []
        for at, labels in found.behind(req.hostname, walk.segments):
            layer = self.layers[at]
            if labels and isinstance(layer, Entrance):
                layer = layer.for_host(labels)
            behind.append((layer, None))
        walk.layers = [*walk.layers, *behind]  # a new one: the old one may be that of others
        await next()

    # --- listing ----------------------------------------------------------------------------------

    def routes(self) -> list[RouteInfo]:
        """
        List method (None: any), pattern and name of every route, in order.

        The routes of the routers inside are included.
        """
        return [*self._listed("", None)]

    def _listed(self, base: str, around: str | None) -> Iterator[RouteInfo]:
        host = around if self.host is None else self.host.source
        for layer in self.layers:
            if isinstance(layer, Route):
                yield RouteInfo.of(layer, base, host)
            elif isinstance(layer, Entrance):
                yield from layer.router._listed(base + layer.path.rstrip("/"), host)

    def url_for(self, name: str, /, **params: object) -> str:
        """
        Build the path of a route, percent-encoded: of the first of that name that can be built.

        It begins below this router. As clients reach it, `req.url_for()` of a request builds it.

        Args:
            name: Of the route.
            params: The captures, those of the prefixes around it as well, as text or converted: an
                Enum stands for its value, a bool for `true` or `false`, the rest for its `str`.

        Raises:
            UsageError: No route has that name, or a parameter is missing.
        """
        path = self._url_for(name, {key: _written(value) for key, value in params.items()})
        if path is None:
            names = sorted({known for _, _, known in self.routes() if known})
            raise UsageError(f"no route is named {name!r}; there are: {', '.join(names) or 'none'}")
        return path

    def _url_for(self, name: str, params: Mapping[str, object]) -> str | None:
        lacking: UsageError | None = None
        for layer in self._named(name):
            try:
                path = self._built(layer, name, params)
            except UsageError as exc:
                lacking = lacking or exc  # another route of that name may need less
                continue
            if path is not None:
                return path
        if lacking is not None:
            raise lacking
        return None

    def _built(self, layer: Layer, name: str, params: Mapping[str, object]) -> str | None:
        if not isinstance(layer, Entrance):
            return layer.pattern.build(params)
        path = layer.router._url_for(name, params)
        return None if path is None else layer.pattern.build(params).rstrip("/") + path

    def _named(self, name: str) -> list[Layer]:
        """List the routes of that name, and the routers inside, in order."""
        if self._names is None:
            self._names = names = defaultdict[str | None, list[int]](list)
            for at, layer in enumerate(self.layers):
                if isinstance(layer, Entrance):
                    names[None].append(at)
                elif isinstance(layer, Route) and layer.name is not None:
                    names[layer.name].append(at)
        found = sorted([*self._names.get(name, ()), *self._names[None]])
        return [self.layers[at] for at in found]


class Entrance(Layer):
    """
    One registration of a router by `use`, behind a prefix.

    Attributes:
        router: The router. It stands for its own step, but nobody calls it: `walk` enters it.
        labels: What the host of one request captured, in a copy for that request.
    """

    __slots__ = ("labels", "router")

    def __init__(self, pattern: Pattern, router: RouteTable, labels: Labels | None = None) -> None:
        super().__init__(pattern, [cast("Step", (router, True))])
        self.straight: bool = False
        self.through: Callable[..., Awaitable[object]] | None = None
        self.router: RouteTable = router
        self.labels: Labels | None = labels
        if labels:
            self.always: bool = False

    def match(self, segments: Segments) -> Match | None:
        """Match the beginning of a path; what the host captured is seen beside its captures."""
        match = super().match(segments)
        if match is None or self.labels is None:
            return match
        return {**self.labels, **match[0]}, match[1]

    def for_host(self, labels: Labels) -> Entrance:
        """
        Return this for one request, whose host has captured *labels*.

        The router converts these itself, because its own pattern captured them.
        """
        entrance = Entrance(self.pattern, self.router, labels)
        own = self.router.converters
        found = {name: own[name] for name in labels if name in own}
        entrance.converters = {**found, **(self.converters or {})} or None
        return entrance


def _through(layers: Sequence[tuple[Layer, object]]) -> Through:
    """List the functions of the layers in front that need no more than a call, and None."""
    through: Through = []
    for layer, _ in layers:
        through.append(layer.through)
        if layer.through is None:
            return through
    return [*through, None]


def _written(value: object) -> object:
    """Return what converters read as *value*, where that is not its `str`."""
    plain: object = value.value if isinstance(value, Enum) else value
    return str(plain).lower() if isinstance(plain, bool) else plain
