"""
One request's way through routers, middlewares and handlers, and an error's way back.

A `Walk` goes through the layers of one router in the order of their registration. Each `next()` is
one step further: it runs the rest and returns. A router whose layers are exhausted falls through to
the router around it; the outermost one raises 404 or 405.

An error is answered where it arises, inside the middlewares around it: by the innermost router that
has a handler for it, or by default if it is an `HTTPError`. Other errors pass outward as
exceptions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from sys import exception
from typing import Any, Final, Protocol

from .._exchange.exchange import ABORTED, IDLE, Exchange
from .._failures import failure_of, is_skip, name_of
from .._paths.segments import Segments
from .._paths.trail import Place
from ..errors import (
    ClientDisconnected,
    ForgottenAwait,
    HTTPError,
    NextCalledTwice,
    NoResponse,
    NotModified,
)
from ..handlers import ErrorHandler, silence_of
from ..request import Request
from ..response import Response
from ..types import Next
from .chain import without_chain
from .converters import Conversions
from .fallbacks import answer_not_modified, answer_options, answer_problem, unmatched
from .layer import WEBSOCKET, Layer, Match, Plan
from .sockets import WebSocketRoute
from .table import Entrance

__all__ = [
    "OVER",
    "Root",
    "Table",
    "Walk",
    "advance",
    "answer_error",
    "end_trail",
    "look_back",
    "run_error_handler",
]

# The ticket of a walk that has ended: no `next()` has it.
OVER: Final = -1

_NONE: Final[frozenset[str]] = frozenset()

_STALE: Final = (
    "next() was called twice: each next() runs the rest of the chain once, and only while its "
    "middleware runs"
)


class Table(Protocol):
    """
    What a walk goes through: a router.

    Attributes:
        merge_params: Whether handlers see the captures of the prefixes around it as well.
    """

    merge_params: bool

    def plan(self, raw: bytes, segments: Segments | None, /) -> Plan:
        """Return the layers that may match a path, and the path in segments."""
        ...

    def error_handler(self, error: BaseException, /) -> ErrorHandler | None:
        """Find the handler for *error*."""
        ...


class Walk:
    """
    One request's walk through one router.

    Attributes:
        trail: The outermost walk, which knows the pair that the next step is given.
        raw: The path below this router, as received.
        layers: Those that may match, in order of registration, with what they captured where that
            is known beforehand.
        stands: Where in the URL this router stands; None for the application.
        captured: What the prefixes around this router captured; None if they are not merged.
        conversions: What converters made of captures; None before one was asked.
        parent: The walk through the router around this one.
        onward: Goes on there, behind this router.
        taken: How many segments the prefix of the current layer took off.
        ticket: Counts the steps, so that a `next()` can tell that it is used twice; OVER when the
            walk has ended.
    """

    __slots__ = (
        "captured",
        "conversions",
        "layers",
        "onward",
        "parent",
        "raw",
        "router",
        "segments",
        "stands",
        "taken",
        "ticket",
        "trail",
    )

    def __init__(
        self, router: Table, outer: Walk, onward: Next, raw: bytes, segments: Segments | None
    ) -> None:
        self.router: Table = router
        self.trail: Root = outer.trail
        self.raw: bytes = raw
        self.layers: list[tuple[Layer, Match | None]]
        self.segments: Segments
        self.layers, self.segments, _ = router.plan(raw, segments)
        self.stands: Place | None = outer.trail.place
        self.captured: dict[str, Any] | None = outer.trail.params if router.merge_params else None
        self.conversions: Conversions | None = None
        self.parent: Walk | None = outer
        self.onward: Next | None = onward
        self.taken: int = 0
        self.ticket: int = 0


class Root(Walk):
    """
    The outermost walk, through the application's own table; it is the request's `Trail`.

    Attributes:
        walk: Through the innermost router entered so far; None when it is over.
        offered: An error on its way outward: every error handler was asked.
    """

    __slots__ = (
        "allowed",
        "offered",
        "params",
        "place",
        "req",
        "res",
        "route",
        "served",
        "silent",
        "walk",
    )

    # All in one: a call of another constructor would cost one percent of a plain request.
    def __init__(self, router: Table, req: Request, raw: bytes, plan: Plan) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.trail: Root = self
        self.router: Table = router
        self.req: Request = req
        self.res: Response = req.exchange.head  # type: ignore[assignment]  # what else composes heads is foreign
        self.raw: bytes = raw
        self.layers: list[tuple[Layer, Match | None]]
        self.segments: Segments
        self.layers, self.segments, _ = plan
        self.stands: Place | None = None
        self.captured: dict[str, Any] | None = None
        self.conversions: Conversions | None = None
        self.parent: Walk | None = None
        self.onward: Next | None = None
        self.taken: int = 0
        self.ticket: int = 0
        self.place: Place | None = None
        self.params: dict[str, Any] = {}
        self.route: Layer | None = None
        self.allowed: frozenset[str] = _NONE
        self.served: bool = False
        self.silent: tuple[str, ...] | None = None
        self.offered: BaseException | None = None
        self.walk: Walk | None = self

    @contextmanager
    def at(self, place: Place | None) -> Generator[None, None, None]:
        """Be at another place for the length of the block."""
        before, self.place = self.place, place
        try:
            yield
        finally:
            self.place = before


def look_back(
    req: Request, res: Response, handler: Callable[..., object], value: object, ended: bool
) -> None:
    """
    See whether *handler*, which returned *value*, has answered and awaited what it called.

    *ended* is False where what follows it has run, and is not its affair.

    Raises:
        ForgottenAwait: It did not await the last verb that it called.
    """
    verb = res.unawaited
    if verb is not None:
        if (res.earlier or verb.cr_frame) and (name := res.forgotten()):
            raise ForgottenAwait(name, name_of(handler))
        if verb.cr_frame is None and not res.earlier:
            res.unawaited = None  # those around need not ask it again
    if ended and req.exchange.state == IDLE:
        req.trail.silent = silence_of(handler, value)


def end_trail(trail: Root) -> None:
    """Open the circles of a trail that is over; a late `next()` is refused."""
    trail.req = trail.res = trail.trail = None  # type: ignore[assignment]
    trail.walk = trail.onward = trail.offered = None
    trail.ticket = OVER


async def advance(walk: Walk, ticket: int = 0, at: int = 0, step: int = 0) -> None:
    """Run step *step* of the layer *at*, or of the next one that matches; answer its errors."""
    if walk.ticket != ticket:
        raise NextCalledTwice(_STALE)
    trail = walk.trail
    req, res = trail.req, trail.res
    exchange = req.exchange
    if exception() is not exchange.entry_exception:
        return await _advance_in_except(walk, ticket, at, step)
    layers = walk.layers
    while True:
        walk.ticket = ticket = ticket + 1
        try:
            if step == 0:
                handler = layers[at][0].through if at < len(layers) else None
                if handler is not None:  # the short way
                    if trail.params:
                        trail.params = dict(walk.captured or {})
                    value = await handler(req, res, partial(advance, walk, ticket, at + 1))
                    if exchange.state == IDLE or res.unawaited is not None:
                        look_back(req, res, handler, value, walk.ticket == ticket)
                    return
                at = _next_match(walk, at)
                if at == len(layers):
                    if walk.onward is not None:
                        return await walk.onward()
                    missing = unmatched(req)
                    if missing is None:
                        return await answer_options(req, res)
                    error: BaseException = missing  # not raised: that would cost two percent
                    break
            layer = layers[at][0]
            handler, takes_next = layer.steps[step]
            if takes_next:
                behind = (at, step + 1) if step + 1 < len(layer.steps) else (at + 1, 0)
                following = partial(advance, walk, ticket, *behind)
                if layer.straight:
                    value = await handler(req, res, following)
                else:
                    value = await _detour(walk, layer, handler, req, res, following)
            elif layer.straight and req.method != "HEAD":
                value = await handler(req, res)
            else:
                value = await _detour(walk, layer, handler, req, res)
            # A router that was entered has noted by itself who was silent.
            is_last = walk.ticket == ticket and not isinstance(layer, Entrance)
            return look_back(req, res, handler, value, is_last)
        except BaseException as exc:
            exchange.cut_short(exc)
            if at == len(layers) or not is_skip(exc):  # behind them no route is left to skip
                error = failure_of(exc)
                break
            if walk.ticket != ticket:
                return  # after its next(): the rest has run
            walk.layers = layers = without_chain(layers, at)
            at, step = at + 1, 0
    try:
        await answer_error(walk, error)
    finally:
        del error  # a circle: its traceback has this frame


advance.__qualname__ = "next"  # in Python's warning about one that nobody awaited


async def _advance_in_except(walk: Walk, ticket: int, at: int, step: int) -> None:
    """
    Run the rest from inside an `except` block.

    What is in flight there does not keep the rest from ending the response.
    """
    exchange = walk.trail.req.exchange
    before, exchange.entry_exception = exchange.entry_exception, exception()
    try:
        await advance(walk, ticket, at, step)
    finally:
        exchange.entry_exception = before


def _next_match(walk: Walk, at: int) -> int:
    """Find the next layer that matches, from *at* on, and set the trail up for it."""
    layers, trail = walk.layers, walk.trail
    while at < len(layers):
        layer, match = layers[at]
        if layer.always:
            if trail.params:
                trail.params = dict(walk.captured or {})
            break
        if _arrive(walk, layer, match):
            break
        at += 1
    return at


def _arrive(walk: Walk, layer: Layer, match: Match | None) -> bool:
    """
    Set the trail up for a layer, and return True; or return False, because it does not match.

    Where only the method does not, that is noted, for a 405.
    """
    if match is None:
        match = layer.match(walk.segments)
        if match is None:
            return False
    trail = walk.trail
    params = match[0]
    if layer.converters is not None:
        if walk.conversions is None:
            walk.conversions = Conversions()
        converted = walk.conversions.check(layer.converters, params)
        if converted is None:
            return False
        params = converted
    if layer.is_route:
        wanted = layer.method
        if wanted is not None:
            method = trail.req.method
            if wanted != method and not (wanted == "GET" and method == "HEAD" and layer.heads):
                trail.allowed |= {wanted}
                return False
        if (trail.req.scope["type"] == "websocket") is not layer.is_websocket:
            if layer.is_websocket:
                trail.allowed |= {WEBSOCKET}
            return False
        trail.route = layer
        trail.served |= wanted is not None
    if walk.captured:
        trail.params = {**walk.captured, **params}
    elif params or trail.params:
        trail.params = dict(params)
    walk.taken = match[1]
    return True


async def _detour(
    walk: Walk, layer: Layer, handler: Callable[..., Awaitable[object]], *args: Any
) -> object:
    """Run a step that needs more than a call: captures to load, a prefix, HEAD, or options."""
    exchange = walk.trail.req.exchange
    if isinstance(layer, WebSocketRoute) and handler is layer.steps[0][0]:
        layer.check_origin(walk.trail.req)
    if layer.converters is not None and walk.conversions is not None:
        await walk.conversions.load(walk.trail.req, walk.trail.params)
    if not layer.is_route:
        return await _behind(walk, layer, handler, args[2])
    if isinstance(layer, WebSocketRoute) and len(args) == 2:
        handler = partial(layer.talk, handler)
    if layer.limits is not None:
        exchange.set_limits(layer.limits)
    cancels_around = exchange.cancels
    if layer.cancels is not None:
        exchange.set_cancels(layer.cancels)
    if len(args) == 2 and walk.trail.req.method == "HEAD":
        handler = partial(_in_head_scope, exchange, handler)
    value: object = None  # of one that is cancelled
    if layer.cancels and not cancels_around:
        with exchange.own_scope():  # what stands around it opted out
            value = await handler(*args)
    else:
        value = await handler(*args)
    return value


async def _in_head_scope(
    exchange: Exchange, handler: Callable[..., Awaitable[object]], *args: Any
) -> object:
    """Run a route's handler for HEAD, in a scope of its own that its first write leaves."""
    try:
        with exchange.sweeper.new_scope() as exchange.head_scope:
            return await handler(*args)
    finally:
        exchange.head_scope = None
    return None


async def _behind(
    walk: Walk, layer: Layer, handler: Callable[..., Awaitable[object]], following: Next
) -> object:
    """Run a middleware or a router behind a prefix; what follows it sees the path as it was."""
    trail = walk.trail
    outside = walk.stands
    taken = 0 if layer.always else walk.taken
    inside = Place(outside, walk.raw, taken) if taken else outside

    # Not `trail.at()`: it would cost each of the two ways four percent of a small request.
    async def onward() -> None:
        trail.place, trail.walk = outside, walk
        try:
            await following()
        finally:
            trail.place = inside

    trail.place, trail.walk = inside, walk
    try:
        if not isinstance(layer, Entrance):
            return await handler(trail.req, trail.res, onward)
        return await _enter(layer, walk, onward)
    finally:
        trail.place = outside


async def _enter(entrance: Entrance, outer: Walk, onward: Next) -> object:
    """Walk through a router that is used inside another one: for that one it is a middleware."""
    trail, router = outer.trail, entrance.router
    place = trail.place
    if place is None or place is outer.stands:  # at "/": nothing was taken off
        walk = Walk(router, outer, onward, outer.raw, outer.segments)
    else:
        walk = Walk(router, outer, onward, place.raw, None)
    if entrance.labels and not router.merge_params:  # its own host is nothing around it
        walk.captured = {name: trail.params[name] for name in entrance.labels}
    trail.walk = walk
    try:
        await advance(walk)
    finally:
        walk.ticket = OVER
    return None  # a router returns nothing, whatever its handlers do


async def answer_error(walk: Walk, error: BaseException) -> None:
    """
    Answer *error* by the innermost router that has a handler for it, or by default; else raise it.

    `NotModified` is no error: it is answered, and no handler is asked. Once the head has left
    nobody may answer any more: the error passes outward, and the response is aborted.
    """
    trail = walk.trail
    req, res = trail.req, trail.res
    exchange = req.exchange
    if res.unawaited is not None:
        res.forgotten()
    if trail.offered is error or isinstance(error, ClientDisconnected):
        try:
            raise error
        finally:
            del error  # a circle, as in advance()
    here: Walk | None = walk
    while here is not None and exchange.state == IDLE and not exchange.closing:
        handler = here.router.error_handler(error)
        if handler is not None and not isinstance(error, NotModified):
            with trail.at(here.stands):
                again = await run_error_handler(handler, error, req, res)
            if again is None:
                return
            error, again = again, None
        here = here.parent
    if exchange.state == IDLE:
        if isinstance(error, HTTPError) and not exchange.closing:
            return await answer_problem(error, req, res)
        if isinstance(error, NotModified):
            return None if exchange.closing else await answer_not_modified(error, res)
    exchange.fail(error)
    # Everyone was asked: on its way outward through the middlewares it is not offered again. Past
    # the head nobody was, and outside of a foreign middleware that keeps the head back they may be.
    if exchange.state != ABORTED:
        trail.offered = error
    try:
        raise error
    finally:
        del error  # a circle, as in advance()


async def run_error_handler(
    handler: Callable[..., Awaitable[object]], error: BaseException, req: Request, res: Response
) -> BaseException | None:
    """Let *handler* answer *error*; return what it raised, or that it did not answer."""
    res.reset(error)
    try:
        value = await handler(error, req, res)
    except BaseException as exc:
        return failure_of(exc)
    finally:
        del error  # a circle, as in advance()
    if (forgotten := res.forgotten()) is not None:
        return ForgottenAwait(forgotten, name_of(handler))
    return NoResponse(*silence_of(handler, value)) if not res.started else None
