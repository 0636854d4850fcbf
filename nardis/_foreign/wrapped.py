"""
Foreign ASGI middlewares at any place in the chain: `use(wrap(CORSMiddleware))`.

A wrapped middleware is a foreign application, mounted over an inner one: that makes a `req` and a
`res` of its own on the middleware's `receive` and `send`, and goes on with the chain. The inner
exchange composes heads, counts and orders as any does; the outermost one alone watches the client
and keeps the time. Two messages bypass the middleware, which might swallow them: a disconnect, on
its way in, and a failed handler, on its way out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from inspect import isclass
from typing import Any

from .._asgi.adapt import as_asgi3
from .._exchange.handshake import Handshake
from .._failures import name_of
from .._parameters import parameters_of
from ..errors import UsageError
from ..handlers import Middleware
from ..request import Request
from ..response import Response
from ..types import ASGIApp, Next, Receive, Scope, Send
from .crossing import KEY, HTTPCrossing, LifespanCrossing, WebSocketCrossing
from .doorway import Doorway
from .mounted import carried

__all__ = ["Wrapped", "wrap"]


def wrap(asgi_middleware: Callable[..., Any], /, *args: Any, **options: Any) -> Middleware:
    """
    Make an ASGI middleware one of ours: for an application, a router, or the handlers of one route.

        app.use(wrap(CORSMiddleware, allow_origins=["*"]))

    It is made once, as `asgi_middleware(inner, *args, **options)`. What is behind it sees the
    request as it passed it on, and a `res` of its own; `req.state` and `req.params` are shared.
    Streams pass through as it lets them.

    Raises:
        TypeError: What it makes is no ASGI application; or it is one, made already.
    """
    if _is_made(asgi_middleware):
        name = getattr(asgi_middleware, "__name__", type(asgi_middleware).__name__)
        raise TypeError(
            "wrap() takes the class of a middleware and its options, and makes it: "
            f"wrap({name}, ...). An ASGI application goes to app.mount(prefix, asgi_app)."
        )
    return Wrapped(
        as_asgi3(asgi_middleware(_inner, *args, **options)),
        getattr(asgi_middleware, "__name__", "?"),
    )


def _is_made(thing: Callable[..., Any]) -> bool:
    """Whether *thing* is what a middleware becomes: an ASGI application."""
    with suppress(TypeError, ValueError):  # of what does not say what it takes
        names = [each.name for each in parameters_of(thing)]
        return names[:3] == ["scope", "receive", "send"] and not isclass(thing)
    return False


async def _inner(scope: Scope, receive: Receive, send: Send) -> None:
    crossing: HTTPCrossing | WebSocketCrossing | LifespanCrossing | None = scope.get(KEY)
    if crossing is None:
        raise UsageError(
            f"a wrapped middleware called its application with a scope of its own: it lacks {KEY!r}"
        )
    await crossing.cross(scope, receive, send)


class Wrapped:
    """A middleware of the chain that runs one of ASGI."""

    def __init__(self, call: ASGIApp, name: str) -> None:
        self.call: ASGIApp = call
        self.__qualname__ = f"wrap({name})"

    async def __call__(self, req: Request, res: Response, next: Next) -> None:
        scope = carried(req.scope)
        exchange = req.exchange
        if isinstance(exchange, Handshake):
            scope[KEY] = WebSocketCrossing(req, res, next)
            return await exchange.hand_over(self.call, scope, Doorway(req, res).send)
        doorway = Doorway(req, res)
        scope[KEY] = crossing = HTTPCrossing(req, res, next, doorway)
        try:
            await doorway.run(self.call, scope, name_of(self))
        finally:
            crossing.close()
