"""The shapes of handlers, middlewares and error handlers."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol

from .types import Next

if TYPE_CHECKING:
    from .request import Request
    from .response import Response

__all__ = ["ErrorHandler", "Handler", "Middleware"]


class Handler(Protocol):
    """What answers a route: `async def handler(req, res)`."""

    def __call__(self, req: Request, res: Response, /) -> Awaitable[None]:
        """Answer, or pass on."""
        ...


class Middleware(Protocol):
    """What stands around a route: `async def middleware(req, res, next)`."""

    def __call__(self, req: Request, res: Response, next: Next, /) -> Awaitable[None]:
        """Answer, or pass on."""
        ...


class ErrorHandler(Protocol):
    """What answers an exception: `async def handler(err, req, res)`."""

    def __call__(self, err: Any, req: Request, res: Response, /) -> Awaitable[None]:
        """Answer, or pass on."""
        ...
