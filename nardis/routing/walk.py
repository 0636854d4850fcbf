"""
The chain: one request's way through routers, middlewares and handlers, and back.

A `Walk` goes through the layers of one router in the order of their registration. Each `next()` is one step further: it runs the
rest and returns. A router whose layers are exhausted falls through to the router around it; the outermost one raises 404 or 405.

An error is answered where it arises, inside the middlewares around it: by the innermost router that has a handler for it, else by
default if it is an `HTTPError`. What nobody registered passes outward as an exception.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .._exchange.exchange import IDLE, STARTED, Exchange
from .._failures import failure_of, name_of
from .._paths.segments import Segments
from .._paths.trail import Place
from ..errors import (
    ClientDisconnected,
    ForgottenAwait,
    HTTPError,
    NextCalledTwice,
    NoResponse,
    SkipRoute,
)
from .fallbacks import answer_problem

if TYPE_CHECKING:
    from ..request import Request
    from ..response import Response
    from ..types import Next
    from . import Layer, Router

__all__ = [
    "Match",
    "Step",
    "Walk",
    "advance",
    "answer_error",
    "enter",
    "is_open",
    "run_error_handler",
]

# A handler or middleware, and whether it takes `next`.
Step: TypeAlias = tuple[Callable[..., Awaitable[None]], bool]

# What a matching layer captured, and how many segments its prefix took off.
Match: TypeAlias = tuple[dict[str, Any], int]

_STALE: Final = "next() was called twice: each next() runs the rest of the chain once, and only while its middleware runs"


class Walk:
    """
    One request's walk through one router.

    Attributes:
        raw: The path below this router, as received.
        layers: Those that may match, in order of registration, with what they captured where that is known beforehand.
        place: Where in the URL this router stands; None for the application.
        params: What the prefixes around this router captured; None if they are not merged.
        parent: The walk through the router around this one.
        onward: Goes on there, behind this router.
        taken: How many segments the prefix of the current layer took off.
        ticket: Counts the steps, so that a `next()` can tell that it is used twice.
    """

    __slots__ = (
        "layers",
        "onward",
        "params",
        "parent",
        "place",
        "raw",
        "req",
        "res",
        "router",
        "segments",
        "taken",
        "ticket",
    )

    def __init__(
        self,
        router: Router,
        req: Request,
        res: Response,
        raw: bytes,
        segments: Segments | None = None,
    ) -> None:
        self.router = router
        self.req = req
        self.res = res
        self.raw = raw
        self.layers, self.segments = router.plan(raw, segments)
        req._walk = self
        self.place: Place | None = None
        self.params: dict[str, Any] | None = None
        self.parent: Walk | None = None
        self.onward: Next | None = None
        self.taken = 0
        self.ticket = 0


async def advance(walk: Walk, ticket: int = 0, at: int = 0, step: int = 0) -> None:
    """Run step *step* of the layer *at*, or of the next one that matches; an error that somebody registered is answered here."""
    if walk.ticket != ticket:
        raise NextCalledTwice(_STALE)
    req, res = walk.req, walk.res
    exchange = req._exchange
    if sys.exception() is not exchange.entry_exception:
        return await _advance_in_except(walk, ticket, at, step)
    layers = walk.layers
    while True:
        walk.ticket = ticket = ticket + 1
        try:
            if step == 0:
                while at < len(layers):
                    layer, match = layers[at]
                    if layer.always:
                        if req.params:
                            req.params = dict(walk.params or {})
                        break
                    if _fits(walk, layer, match):
                        break
                    at += 1
                if at == len(layers):
                    return await (_unmatched(req, res) if walk.onward is None else walk.onward())
            layer = layers[at][0]
            handler, takes_next = layer.steps[step]
            if takes_next:
                step += 1
                following = (
                    partial(advance, walk, ticket, at, step)
                    if step < len(layer.steps)
                    else partial(advance, walk, ticket, at + 1)
                )
                if layer.straight:
                    await handler(req, res, following)
                else:
                    await _detour(walk, layer, handler, req, res, following)
            elif layer.straight and req.method != "HEAD":
                await handler(req, res)
            else:
                await _detour(walk, layer, handler, req, res)
            verb = res._verb
            if (
                verb is not None
                and verb.cr_frame is not None
                and (forgotten := res.forgotten()) is not None
            ):
                raise ForgottenAwait(forgotten, name_of(handler))
            if exchange.state == IDLE and walk.ticket == ticket:
                exchange.silent = handler
            return
        except SkipRoute:
            if walk.ticket != ticket:
                return  # after its next(): the rest has run
            at, step = at + 1, 0
        except BaseException as exc:
            error = failure_of(exc)
            break
    await answer_error(walk, error)


async def _advance_in_except(walk: Walk, ticket: int, at: int, step: int) -> None:
    """Run the rest from inside an `except` block: what is in flight there does not keep it from ending the response."""
    exchange = walk.req._exchange
    before, exchange.entry_exception = exchange.entry_exception, sys.exception()
    try:
        await advance(walk, ticket, at, step)
    finally:
        exchange.entry_exception = before


def _fits(walk: Walk, layer: Layer, match: Match | None) -> bool:
    """Tell whether a layer matches, and set `req` up for it."""
    if match is None:
        match = layer.match(walk.segments)
        if match is None:
            return False
    req = walk.req
    wanted = layer.method
    if (
        wanted is not None
        and wanted != req.method
        and not (wanted == "GET" and req.method == "HEAD")
    ):
        req._allowed |= {wanted}
        return False
    params = match[0]
    if walk.params:
        req.params = {**walk.params, **params}
    elif params or req.params:
        req.params = dict(params)
    if layer.is_route:
        if req.scope["type"] == "websocket":
            return False
        req.route = layer
        req._served |= wanted is not None
    walk.taken = match[1]
    return True


async def _detour(
    walk: Walk, layer: Layer, handler: Callable[..., Awaitable[None]], *args: Any
) -> None:
    """Run a step that needs more than a call: behind a prefix, for HEAD, or of a route with options of its own."""
    req = walk.req
    exchange = req._exchange
    if not layer.is_route:
        return await _behind(walk, 0 if layer.always else walk.taken, handler, args[2])
    if layer.limits is not None:
        exchange.set_limits(layer.limits)
    cancels_around = exchange.cancels
    if layer.cancels is not None:
        exchange.set_cancels(layer.cancels)
    call = (
        partial(_in_head_scope, exchange, handler)
        if req.method == "HEAD" and len(args) == 2
        else handler
    )
    if layer.cancels and not cancels_around:
        with exchange.own_scope():  # what stands around it opted out
            await call(*args)
    else:
        await call(*args)


async def _in_head_scope(
    exchange: Exchange, handler: Callable[..., Awaitable[None]], *args: Any
) -> None:
    """Run the handler of a route that answers HEAD in a scope of its own, which its first write leaves."""
    try:
        with exchange.sweeper.new_scope() as exchange.head_scope:
            await handler(*args)
    finally:
        exchange.head_scope = None


async def _behind(
    walk: Walk, taken: int, handler: Callable[..., Awaitable[None]], following: Next
) -> None:
    """Run a middleware, or a whole router, behind a prefix; what follows it sees the path as it was."""
    req = walk.req
    outside = walk.place
    inside = Place(outside, walk.raw, taken) if taken else outside

    async def onward() -> None:
        req = walk.req  # behind a wrapped middleware it is another one
        req._place, req._walk = outside, walk
        try:
            await following()
        finally:
            req._place = inside

    req._place, req._walk = inside, walk
    try:
        await handler(req, walk.res, onward)
    finally:
        req._place = outside


async def enter(router: Router, req: Request, res: Response, next: Next) -> None:
    """Walk through a router that is used inside another one: for that one it is a middleware."""
    outer = req._walk
    assert outer is not None  # it is how we came here
    place = req._place
    if place is None or place is outer.place:  # at "/": nothing was taken off
        walk = Walk(router, req, res, outer.raw, outer.segments)
    else:
        walk = Walk(router, req, res, place.raw)
    walk.place = place
    walk.params = req.params if router.merge_params else None
    walk.parent = outer
    walk.onward = next
    await advance(walk)


def is_open(exchange: Exchange) -> bool:
    """Tell whether a chain that returned has left a response to end; raises `NoResponse` where nobody answered."""
    if exchange.state == IDLE and exchange.end_data is None:
        raise NoResponse(name_of(exchange.silent))
    return exchange.state == STARTED or exchange.end_data is not None


async def _unmatched(req: Request, res: Response) -> None:
    """Answer for a table that is exhausted: 404, or where other methods would have matched, 405 or the list of them."""
    wants_list = req.method == "OPTIONS"
    # Where a route of this very method passed on, the method is allowed and nothing was found.
    if not req._allowed or not (wants_list or (req.app.method_not_allowed and not req._served)):
        raise HTTPError(404, f"nothing here answers {req.method} {req.path}")
    allow = ", ".join(sorted(req._allowed | {"HEAD"} if "GET" in req._allowed else req._allowed))
    if not wants_list:
        raise HTTPError(
            405, f"{req.method} is not allowed here, only {allow}", headers={"allow": allow}
        )
    await res.status(204).set("allow", allow).send()


async def answer_error(walk: Walk, error: BaseException) -> None:
    """
    Answer *error* by the innermost router that has a handler for it, or by default; else raise it.

    Once the head has left nobody may answer any more: the error passes outward, and the response is aborted.
    """
    req, res = walk.req, walk.res
    exchange = req._exchange
    res.forgotten()
    if exchange.offered is error or isinstance(error, ClientDisconnected):
        raise error
    outside = req._place
    here: Walk | None = walk
    while here is not None and exchange.state == IDLE and not exchange.closing:
        handler = here.router.error_handler(error)
        if handler is not None:
            req._place = here.place
            again = await run_error_handler(handler, error, req, res)
            req._place = outside
            if again is None:
                return
            error = again
        here = here.parent
    if isinstance(error, HTTPError) and exchange.state == IDLE and not exchange.closing:
        return await answer_problem(error, req, res)
    exchange.fail(error)
    # Everyone was asked: on its way outward through the middlewares it is not offered again.
    exchange.offered = error
    raise error


async def run_error_handler(
    handler: Callable[..., Awaitable[None]], error: BaseException, req: Request, res: Response
) -> BaseException | None:
    """Let *handler* answer *error*; what it raises itself, or that it did not answer, is returned."""
    res.reset(error)
    try:
        await handler(error, req, res)
    except BaseException as exc:
        return failure_of(exc)
    if (forgotten := res.forgotten()) is not None:
        return ForgottenAwait(forgotten, name_of(handler))
    return NoResponse(name_of(handler)) if not res.started else None
