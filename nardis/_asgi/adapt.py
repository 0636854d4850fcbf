"""What is an ASGI application, and what is not; and one of version 2 as one of version 3."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

from .._parameters import parameters_of
from ..types import ASGIApp, Receive, Scope, Send

__all__ = ["ASGI2App", "as_asgi3"]


class ASGI2App(Protocol):
    """An application of ASGI 2: `app(scope)` returns a callable for `receive` and `send`."""

    def __call__(self, scope: Scope, /) -> Callable[[Receive, Send], Any]: ...


def as_asgi3(app: Any) -> ASGIApp:
    """
    Take an application of ASGI 3 or of ASGI 2.

    Raises:
        TypeError: It is neither.
    """
    function = app
    while isinstance(function, partial):
        function = function.func
    if callable(function):
        is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004
        )
        count = _parameters(app)
        if count == 3 and not inspect.isclass(function):
            return cast(ASGIApp, app)
        if count == 1 and (inspect.isclass(function) or not is_async):
            return _from_asgi2(app)
    raise TypeError(
        f"{app!r} is no ASGI application. mount() takes `async def app(scope, receive, send)` or "
        "ASGI 2's `app(scope)`, wrap() what makes one over another. A Router goes to use(), a "
        "handler to get() and the other verbs, a middleware to use()."
    )


def _parameters(app: Any) -> int:
    """Count the positional parameters without a default; `*args` stand for the three of ASGI 3."""
    try:
        parameters = parameters_of(app)
    except (TypeError, ValueError):
        return 3
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return 3
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is each.empty for each in parameters)


def _from_asgi2(app: ASGI2App) -> ASGIApp:
    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope)(receive, send)

    return call
