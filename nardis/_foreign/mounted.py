"""
Foreign ASGI applications: each is a handler of the `res` it was mounted under.

The gate gives it a `receive` and a `send` of the shape that a server's have. What it says of the
head is merged into `res`, its body goes the way of any body, so hooks, filters, the length and HEAD
apply as to any answer; and what it may not do to a client, such as ending a response whose handler
failed, it cannot.

Source: the ASGI specification, versions 2 and 3, "HTTP & WebSocket" and "Lifespan".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

from .._asgi.adapt import as_asgi3
from .._asgi.extensions import CLIENT
from .._exchange.handshake import Handshake
from .._failures import name_of
from .._http.request_head import quoted
from ..errors import HTTPError
from ..request import Request
from ..response import Response
from ..types import ASGIApp, Next, Scope
from .doorway import Doorway

__all__ = ["Mounted", "carried"]


def _foreign_scope(req: Request) -> dict[str, Any]:
    """Make the scope for an application behind a prefix: `root_path` has it, `path` stays whole."""
    scope = carried(req.scope)
    root = str(scope.get("root_path", "")).rstrip("/")
    raw = req.raw_path
    if scope["path"][:1] != "/":  # a whole URL, which some servers pass on as it came
        scope["path"] = unquote(raw.decode("latin-1"))
    if root and not f"{scope['path']}/".startswith(f"{root}/"):
        # This server leaves its own root path out of the path; an application that takes off the
        # whole needs the whole.
        scope["path"] = root + scope["path"]
        raw = quoted(root) + raw
    scope["raw_path"] = raw
    place = req.trail.place  # not `req.base_url`, where an odd root path is mended
    scope["root_path"] = root + ("" if place is None else unquote(place.base_url))
    return scope


def carried(given: Scope) -> dict[str, Any]:
    """
    Copy a scope without the client, and without what a doorway does not carry.

    That are the extensions that change what can be sent.
    """
    scope = dict(given)
    extensions = cast("dict[str, Any]", scope.get("extensions") or {})
    scope["extensions"] = {
        name: value
        for name, value in extensions.items()
        if name != CLIENT and not name.startswith("http.response.")
    }
    return scope


class Mounted:
    """
    A foreign application, as a layer of a router.

    Attributes:
        app: As given.
        state: What its lifespan put there; None while that is not running. Each request gets a
            copy.
    """

    def __init__(self, app: Any) -> None:
        self.app: Any = app
        self.call: ASGIApp = as_asgi3(app)
        self.state: dict[str, Any] | None = None
        self.__qualname__ = f"mount({getattr(app, '__name__', type(app).__name__)})"

    async def __call__(self, req: Request, res: Response, next: Next) -> None:
        """Let the application answer; it never passes on."""
        scope = self.scope(req)
        exchange = req.exchange
        if isinstance(exchange, Handshake):
            return await exchange.hand_over(self.call, scope, Doorway(req, res).send)
        doorway = Doorway(req, res)
        try:
            if req.method != "HEAD":
                return await doorway.run(self.call, scope, name_of(self))
            # As the handler of a route: what it would stream is not asked for.
            with exchange.sweeper.new_scope() as exchange.head_scope:
                await doorway.run(self.call, scope, name_of(self))
        except Exception as exc:
            wanted = _with_its_status(exc)
            if wanted is None:
                raise
            raise wanted from exc
        finally:
            exchange.head_scope = None

    def scope(self, req: Request) -> dict[str, Any]:
        """Make the scope of one request, or one handshake, for this application."""
        scope = _foreign_scope(req)
        scope.pop("state", None)  # of our own lifespan
        if self.state is not None:
            scope["state"] = self.state.copy()
        return scope


def _with_its_status(error: Exception) -> HTTPError | None:
    """Make an error of ours of one that names the status it wants, as Starlette's do."""
    status: object = getattr(error, "status_code", None)
    if not isinstance(status, int) or not 400 <= status <= 599:
        return None
    detail: object = getattr(error, "detail", None)
    headers: object = getattr(error, "headers", None)
    given: dict[str, str] = {}
    if isinstance(headers, Mapping):
        given = {
            str(name): str(value)
            for name, value in cast("Mapping[object, object]", headers).items()
        }
    return HTTPError(status, detail if isinstance(detail, str) else "", headers=given)
