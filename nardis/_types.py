"""The vocabulary of ASGI 3 and of handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from .request import Request
    from .response import Response

__all__ = ["ASGIApp", "ErrorHandler", "Handler", "Message", "Middleware", "Next", "Receive", "Scope", "Send"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Next: TypeAlias = Callable[[], Awaitable[None]]


class Handler(Protocol):
    """What answers a route: `async def handler(req, res)`."""

    def __call__(self, req: Request, res: Response, /) -> Awaitable[None]: ...


class Middleware(Protocol):
    """What stands around a route: `async def middleware(req, res, next)`."""

    def __call__(self, req: Request, res: Response, next: Next, /) -> Awaitable[None]: ...


class ErrorHandler(Protocol):
    """What answers an exception: `async def handler(err, req, res)`."""

    def __call__(self, err: Any, req: Request, res: Response, /) -> Awaitable[None]: ...
