"""
Applications from data, and ASGI in its other forms.

    from nardis import get, main

    app = main({"routes": [get("/", index), get("/hello/:name", hello)]})

`main` has been here since Nardis 0.0.7; the programs of that time run as they are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypedDict, cast

from ._foreign.wrapped import wrap
from .app import Nardis
from .errors import UsageError
from .handlers import ErrorHandler, Handler
from .request import Request
from .response import Response
from .routing.matchers import BaseHTTPMatcher, default_404, default_500
from .types import ASGIApp, Receive, Scope, Send

__all__ = ["Config", "asgi2", "main", "wrap"]

ASGI2Inner: TypeAlias = Callable[[Receive, Send], Awaitable[None]]


class Config(TypedDict, total=False):
    """
    What `main` takes.

    `routes` are looked at in order, and the first that matches answers. `action_404` and
    `action_500` answer, as `async (req, res)`, where none does, and where one failed.
    """

    routes: Iterable[BaseHTTPMatcher]
    action_404: Handler
    action_500: Handler


def main(config: Config | Iterable[BaseHTTPMatcher], /) -> Nardis:
    """
    Make an application from data: a list of routes, or a dict of `Config`'s members.

    Another method than those of its routes is a 404, as it was in 0.0.7.

    Raises:
        UsageError: The dict has a member that nobody knows.
        TypeError: A route is none, or an action is no async function of two parameters.
    """
    given: Mapping[str, Any] = (
        cast("Mapping[str, Any]", config) if isinstance(config, Mapping) else {"routes": config}
    )
    if unknown := given.keys() - Config.__annotations__.keys():
        raise UsageError(
            f"main() knows routes, action_404 and action_500, not {', '.join(sorted(unknown))}"
        )
    app = Nardis()
    app.method_not_allowed = False  # no option of the user's, that `use()` would miss
    for route in given.get("routes", ()):
        if not isinstance(route, BaseHTTPMatcher):
            raise TypeError(f"main() takes routes such as get('/', index), not {route!r}")
        route.add_to(app)
    app.error(404)(_on_error(given.get("action_404", default_404)))
    app.error(500)(_on_error(given.get("action_500", default_500)))
    return app


def _on_error(action: Handler) -> ErrorHandler:
    async def answer(err: Exception, req: Request, res: Response) -> None:
        await action(req, res)

    return answer


def asgi2(app: ASGIApp, /) -> Callable[[Scope], ASGI2Inner]:
    """Offer an ASGI 3 application, such as a Nardis one, to a server that wants one of ASGI 2."""

    def double(scope: Scope) -> ASGI2Inner:
        async def inner(receive: Receive, send: Send) -> None:
            await app(scope, receive, send)

        return inner

    return double
