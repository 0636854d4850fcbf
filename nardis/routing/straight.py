"""
The straight way of a request: middlewares around everything, and behind them a lone handler.

It takes no walk: the request itself counts the layers, and each `next()` is one coroutine. Whatever
needs more (a prefix, a converter, HEAD, another pair, an error) begins the walk where the count
stands, and goes on with it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from sys import exception
from types import MethodType
from typing import Any, TypeAlias

from .._exchange.exchange import ENDED, Exchange
from .._failures import failure_of, is_skip
from .._paths.segments import Segments
from ..request import Request
from ..response import Response
from ..types import Next
from .layer import Layer, Match, Plan
from .walk import Root, advance, answer_error, look_back

__all__ = ["is_alone", "layer_at", "match_lone", "next_at", "pass_on"]

# The pair that a middleware was given, and the layer that its `next()` runs.
Here: TypeAlias = tuple[Request, Response, int]


def next_at(req: Request, res: Response, at: int) -> Next:
    """Return the `next()` that runs the layer *at*: a method of a tuple, cheaper than a partial."""
    return MethodType(pass_on, (req, res, at))


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


async def pass_on(here: Here) -> None:
    """Run one layer, look whether it has answered, and answer its errors; see `next_at`."""
    req, res, at = here
    exchange = req.exchange
    if req.at != at or exception() is not exchange.entry_exception:
        return await advance(_walk(req), at, at)
    plan: Plan = req.found[1]
    layers = plan[0]
    handler = layers[at][0].through if at < len(layers) else None
    is_last = handler is None
    if handler is None:
        handler = _arrive(req, at)
        if handler is None:
            return await advance(_walk(req), at, at)
    req.at = at = at + 1
    try:
        if is_last:
            await handler(req, res)
        else:
            await handler(req, res, MethodType(pass_on, (req, res, at)))
        verb = res.unawaited
        if exchange.state == ENDED:
            if verb is None:
                return
            if verb.cr_frame is None and not res.earlier:
                res.unawaited = None  # those around need not ask it again
                return
        return look_back(req, res, handler, layer_at(req) == at)
    except BaseException as exc:
        error = None if is_skip(exc) else failure_of(exc)
    if error is None:
        if layer_at(req) == at:  # else it was after its next(): the rest has run
            await advance(_walk(req), at, at)
        return
    try:
        await answer_error(_walk(req), error)
    finally:
        del error  # a circle: its traceback has this frame


def _walk(req: Request) -> Root:
    """Return the walk of a request, which begins where the straight way ends."""
    trail: Any = req.trail
    root: Root = trail
    return root


def _arrive(req: Request, at: int) -> Callable[..., Awaitable[None]] | None:
    """Note that a request has come to the lone handler in the layer *at*; None if it has not."""
    raw: bytes = req.found[0]
    plan: Plan = req.found[1]
    layers, segments = plan
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
