"""
Foreign ASGI middlewares at any place in the chain: `use(wrap(CORSMiddleware, allow_origins=["*"]))`.

A wrapped middleware is a foreign application, mounted over an inner one: that makes a `req` and a `res` of its own on the
middleware's `receive` and `send`, and goes on with the chain. The inner exchange composes heads, counts and orders as any does;
the outermost one alone watches the client and keeps the time. What must hold whatever the middleware does goes past it: the news
of a client that left inwards, the news of a handler that failed outwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._asgi.adapt import as_asgi3
from .._exchange.handshake import Handshake
from .._failures import name_of
from ..errors import UsageError
from ..handlers import Middleware
from ..request import Request
from ..response import Response
from ..types import ASGIApp, Next, Receive, Scope, Send
from .crossing import _KEY, LifespanCrossing, _HTTPCrossing, _WebSocketCrossing
from .doorway import Gate
from .mounted import carried

__all__ = ["Wrapped", "wrap"]


def wrap(asgi_middleware: Callable[..., Any], /, *args: Any, **options: Any) -> Middleware:
    """
    Make an ASGI middleware one of ours: for an application, a router, or the handlers of one route.

        app.use(wrap(CORSMiddleware, allow_origins=["*"]))

    It is made once, as `asgi_middleware(inner, *args, **options)`. What is behind it sees the request as it passed it on, and
    a `res` of its own; `req.state` and `req.params` are shared. Streams pass through as it lets them.

    Raises:
        TypeError: What it makes is no ASGI application.
    """
    return Wrapped(
        as_asgi3(asgi_middleware(_inner, *args, **options)),
        getattr(asgi_middleware, "__name__", "?"),
    )


async def _inner(scope: Scope, receive: Receive, send: Send) -> None:
    crossing: _HTTPCrossing | _WebSocketCrossing | LifespanCrossing | None = scope.get(_KEY)
    if crossing is None:
        raise UsageError(
            f"a wrapped middleware called its application with a scope of its own: it lacks {_KEY!r}"
        )
    await crossing.cross(scope, receive, send)


class Wrapped:
    """A middleware of the chain that runs one of ASGI."""

    def __init__(self, call: ASGIApp, name: str) -> None:
        self.call: ASGIApp = call
        self.__qualname__ = f"wrap({name})"

    async def __call__(self, req: Request, res: Response, next: Next) -> None:
        scope = carried(req.scope)
        exchange = req._exchange
        if isinstance(exchange, Handshake):
            scope[_KEY] = _WebSocketCrossing(req, res, next)
            return await exchange.hand_over(self.call, scope)
        gate = Gate(req, res)
        scope[_KEY] = crossing = _HTTPCrossing(req, res, next, gate)
        try:
            await gate.run(self.call, scope, name_of(self))
        finally:
            crossing.close()
