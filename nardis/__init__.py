"""
Nardis: a streaming-first web framework on asyncio and trio.

    from nardis import Nardis

    app = Nardis()

    @app.get("/")
    async def index(req, res):
        await res.send("<h1>Index</h1>")
"""

from ._exchange.lifetime import shielded
from ._foreign.wrapped import wrap
from .app import Nardis
from .asgi import main
from .errors import ClientDisconnected, HTTPError, SkipRoute, UsageError
from .handlers import ErrorHandler, Handler, Middleware, WebSocketHandler
from .limits import Limits
from .request import Request
from .response import Response
from .routing import Router
from .routing.matchers import delete, get, head, options, patch, post, put
from .static_files import static
from .types import Next
from .websocket import WebSocket

__all__ = [
    "ClientDisconnected",
    "ErrorHandler",
    "HTTPError",
    "Handler",
    "Limits",
    "Middleware",
    "Nardis",
    "Next",
    "Request",
    "Response",
    "Router",
    "SkipRoute",
    "UsageError",
    "WebSocket",
    "WebSocketHandler",
    "delete",
    "get",
    "head",
    "main",
    "options",
    "patch",
    "post",
    "put",
    "shielded",
    "static",
    "wrap",
]
