"""
The straight way of a request: middlewares around everything, and behind them a lone handler.

It takes no walk: the request itself counts the layers, and each `next()` is one coroutine. Whatever
needs more (a prefix, a converter, HEAD, another pair, an error) begins the walk where the count
stands, and goes on with it.

All requests share the functions behind `next()`, one for each place on the way. So a `next` is the
request, bound to the function of its place, and nothing else is made for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from sys import exception
from types import MethodType
from typing import Any, Final, TypeAlias

from .._exchange.exchange import ENDED, Exchange
from .._failures import failure_of, is_skip
from .._paths.segments import Segments
from ..request import Request
from ..types import Next
from .layer import Layer, Match, Plan
from .walk import Root, advance, answer_error, look_back

__all__ = ["first_next", "is_alone", "layer_at", "match_lone"]

PassOn: TypeAlias = Callable[[Request], Awaitable[None]]


def first_next(req: Request) -> Next:
    """Return the `next()` of the first middleware on the way of a request."""
    return MethodType(_FIRST, req)  # a method costs less than a partial


def layer_at(req: Request) -> int:
    """Return the layer that is next on the way of a request, straight so far or not."""
    trail: Root | None = req.way
    return req.at if trail is None else trail.ticket


def is_alone(plan: Plan | None, exchange: Exchange) -> bool:
    """
    Whether nothing but its server ends a handler that opted out of disconnects.

    That is so where it stands alone at a known path, and answers in one piece, as far as was seen;
    and where there are neither a deadline nor a runner's shutdown.
    """
    if plan is None or not plan[0]:
        return False
    layer = plan[0][0][0]
    if layer.only is None or layer.streams or layer.method != exchange.scope["method"]:
        return False
    return not exchange.sweeper.has_runner and exchange.limits.handler_s is None


def match_lone(layer: Layer, segments: Segments) -> Match | None:
    """Match the route of a lone handler; where that fails, the walk does it again, and is told."""
    try:
        return layer.match(segments)
    except BaseException as exc:
        failure_of(exc)  # lets Ctrl-C go on
        return None


def _place(at: int) -> PassOn:
    """Make the function that runs the layer *at* of a request."""
    behind = at + 1
    following: PassOn | None = None

    async def pass_on(req: Request) -> None:
        """Run one layer, look whether it has answered, and answer its errors."""
        nonlocal following
        # What is in flight in an `except` block around it is for `advance` to note.
        if req.at != at or exception() is not None:
            return await advance(_walk(req), at, at)
        plan: Plan = req.found[1]
        handler = plan[2][at]
        is_last = handler is None
        if handler is None:
            handler = _arrive(req, at)
            if handler is None:
                return await advance(_walk(req), at, at)
        exchange = req.exchange
        res: Any = exchange.head
        req.at = behind
        try:
            if is_last:
                value = await handler(req, res)
            else:
                if following is None:
                    following = _place(behind)
                value = await handler(req, res, MethodType(following, req))
            if res.unawaited is None and exchange.state == ENDED:
                return
            return look_back(req, res, handler, value, layer_at(req) == behind)
        except BaseException as exc:
            exchange.cut_short(exc)
            error = None if is_skip(exc) else failure_of(exc)
        if error is None:
            if layer_at(req) == behind:  # else it was after its next(): the rest has run
                await advance(_walk(req), behind, behind)
            return
        try:
            await answer_error(_walk(req), error)
        finally:
            del error  # a circle: its traceback has this frame

    pass_on.__qualname__ = "next"  # in Python's warning about one that nobody awaited
    return pass_on


def _walk(req: Request) -> Root:
    """Return the walk of a request, which begins where the straight way ends."""
    trail: Any = req.trail
    root: Root = trail
    return root


def _arrive(req: Request, at: int) -> Callable[..., Awaitable[object]] | None:
    """Note that a request has come to the lone handler in the layer *at*; None if it has not."""
    raw: bytes = req.found[0]
    plan: Plan = req.found[1]
    layers, segments, _ = plan
    if at == len(layers):
        return None
    layer, match = layers[at]
    if layer.only is None or layer.method != req.method:
        return None
    match = match or match_lone(layer, segments)
    if match is None:
        return None
    req.found = raw, plan, layer, match[0] or {}
    return layer.only


# The others are made when a way first comes to them.
_FIRST: Final = _place(1)
