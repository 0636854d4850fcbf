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
from typing import TypeAlias

from .._exchange.exchange import ENDED
from .._failures import failure_of
from .._paths.segments import Segments
from ..errors import SkipRoute
from ..request import Request
from ..response import Response
from ..types import Next
from .layer import Layer, Match
from .walk import Root, advance, answer_error, look_back

__all__ = ["layer_at", "match_lone", "next_at", "pass_on"]

# The pair that a middleware was given, and the layer that its `next()` runs.
Here: TypeAlias = tuple[Request, Response, int]


def next_at(req: Request, res: Response, at: int) -> Next:
    """Return the `next()` that runs the layer *at*."""
    return MethodType(pass_on, (req, res, at))


def layer_at(req: Request) -> int:
    """Return the layer that is next on the way of a request, straight so far or not."""
    trail: Root | None = req.way
    return req.at if trail is None else trail.ticket


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
        return await advance(req.trail, at, at)
    layers = req.found[1][0]
    middleware = layers[at][0].through if at < len(layers) else None
    if middleware is None and (handler := _arrive(req, at)) is None:
        return await advance(req.trail, at, at)
    req.at = at = at + 1
    try:
        if middleware is None:
            await handler(req, res)
        else:
            # A method of a tuple costs two thirds of what a partial does.
            await middleware(req, res, MethodType(pass_on, (req, res, at)))
        verb = res.unawaited
        if exchange.state == ENDED:
            if verb is None:
                return
            if verb.cr_frame is None and not res.earlier:
                res.unawaited = None  # those around need not ask it again
                return
        return look_back(req, res, middleware or handler, layer_at(req) == at)
    except SkipRoute:
        if layer_at(req) != at:
            return  # after its next(): the rest has run
        error = None
    except BaseException as exc:
        error = failure_of(exc)
    if error is None:
        return await advance(req.trail, at, at)
    try:
        await answer_error(req.trail, error)
    finally:
        del error  # a circle: its traceback has this frame


def _arrive(req: Request, at: int) -> Callable[..., Awaitable[None]] | None:
    """Note that a request has arrived at the layer *at*, a lone handler; None if it has not."""
    raw, plan, _, _ = req.found
    if at == len(plan[0]):
        return None
    layer, match = plan[0][at]
    if layer.only is None or layer.method != req.method:
        return None
    match = match or match_lone(layer, plan[1])
    if match is None:
        return None
    req.found = raw, plan, layer, match[0] or {}
    return layer.only
