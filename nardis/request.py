"""
The request: what a handler reads. What reads the body is awaited.

Source: RFC 9110 (semantics), the ASGI HTTP specification (the scope and its events).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Self
from urllib.parse import unquote

from ._exchange.exchange import Exchange
from ._http.request_head import path_in, quoted
from ._paths.trail import Found, Trail
from ._receiving.body import RequestBody
from .body import Body
from .datastructures import Query
from .types import App, CloseReason, RouteLike, Scope

__all__ = ["Request"]


class Request(RequestBody):
    """
    One HTTP request.

    Attributes:
        method: In capitals, as received: `"GET"`.
        scope: The ASGI scope; treat it as read-only.
        app: The application that serves the request.
        exchange: For Nardis itself: the exchange that this request is a part of.
        way: For Nardis itself: its trail, where one was begun.
        found: For Nardis itself: what was `Found` of it without a trail; None with one.
        at: For Nardis itself: the layer that is next on its way, while it has no trail.
    """

    __slots__ = ("at", "found", "way")

    def begin(self, scope: Scope, exchange: Exchange, app: App, way: Trail | None = None) -> Self:
        """For Nardis itself: it is the constructor, for the reason that `Exchange` has."""
        self.scope: Scope = scope
        self.method: str = scope["method"]
        self.app: App = app
        self.exchange: Exchange = exchange
        self.way: Any = way
        self.found: Any = None
        self.at: int = 1
        self._gathered: bytes | None = None
        self._body: Body | None = None
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {self.original_url}>"

    @property
    def is_websocket(self) -> bool:
        """Whether it opens a WebSocket: the answer to it is an accept, or a denial."""
        return bool(self.scope["type"] == "websocket")

    # --- the target -----------------------------------------------------------------------------

    @property
    def params(self) -> dict[str, Any]:
        """What the path pattern captured: `str`, or `list[str]` for a wildcard."""
        found = self.found
        if self.way is None and found is not None and found[3] is not None:
            params: dict[str, Any] = found[3]
            return params
        return self.trail.params

    @property
    def route(self) -> RouteLike | None:
        """The route that matched, with its `path` pattern; None before one did."""
        if self.way is None and self.found is not None:
            known: RouteLike | None = self.found[2]
            return known
        route: RouteLike | None = self.trail.route
        return route

    @property
    def path(self) -> str:
        """The decoded path, relative to the prefix that the handler was registered under."""
        if self.way is None and self.found is not None:
            found: Found = self.found
            path = found[0].decode("latin-1")
        else:
            trail = self.trail
            if trail.place is not None:
                return trail.place.path
            path = trail.raw.decode("latin-1")
        return unquote(path, errors="replace") if "%" in path else path

    @property
    def raw_path(self) -> bytes:
        """
        The whole path as received: percent-encoded, without the query.

        Of a target that is a whole URL it is the path (RFC 9112 §3.2.2). It begins with `/`, or is
        the `*` of OPTIONS.
        """
        raw: bytes = self.scope.get("raw_path") or quoted(self.scope["path"])
        return path_in(raw, self.method)

    @property
    def query_string(self) -> bytes:
        """What follows the `?`, as received."""
        query: bytes = self.scope.get("query_string", b"")
        return query

    @property
    def url(self) -> str:
        """Path and query, relative to the current prefix: `/c?d=1`."""
        return self._with_query(
            self.trail.raw if self.trail.place is None else self.trail.place.raw
        )

    @property
    def base_url(self) -> str:
        """
        The part of the path before that of `url`, percent-encoded; `""` outside of any prefix.

        It begins with the `root_path`, where a proxy or an application around this one has put it:
        behind both the client's URL goes on as `url`. Links that are made of it work there, too.
        """
        root = self._root_path()
        return root if self.trail.place is None else root + self.trail.place.base_url

    def url_for(self, name: str, /, **params: object) -> str:
        """
        Build the path of a route as the client reaches it: see `app.url_for()`.

        What an application builds begins at its own `/`. Here the `root_path` of the request stands
        before that: where `--root-path`, or an application around this one, has put it.

        Raises:
            UsageError: No route has that name, or a parameter is missing.
        """
        return self._root_path() + self.app.url_for(name, **params)

    def _root_path(self) -> str:
        # One slash in front: with two of them, a reference names a host (RFC 3986 §4.2).
        root = str(self.scope.get("root_path", "")).strip("/")
        return f"/{quoted(root).decode()}" if root else ""

    @property
    def original_url(self) -> str:
        """Path and query as received: `/a/b/c?d=1`; never with a scheme and a host before it."""
        return self._with_query(self.raw_path)

    def _with_query(self, path: bytes) -> str:
        text = path.decode("latin-1")
        return f"{text}?{self.query_string.decode('latin-1')}" if self.query_string else text

    @cached_property
    def query(self) -> Query:
        """The pairs of the query string; more than `limits.query_pairs` of them are a 400."""
        return Query(self.query_string, max_pairs=self.exchange.limits.query_pairs)

    @cached_property
    def state(self) -> SimpleNamespace:
        """A place for what middlewares hand to handlers: `req.state.user = user`."""
        return SimpleNamespace()

    @property
    def close_reason(self) -> CloseReason | None:
        """Why the handler was ended: `gone`, `stalled`, `deadline`, `shutdown`, or None."""
        return self.exchange.close_reason

    def defer(self, async_fn: Callable[..., Awaitable[object]], *args: Any) -> None:
        """
        Run `await async_fn(*args)` after the handler and the final message, whatever happened.

        What was deferred last runs first.

        It finds the context variables as they are now, also where a middleware has reset them by
        then.

        Cancellation does not reach it; all deferred calls of a request have `limits.cleanup_s`
        together. One that fails is logged.

        Keyword arguments go with `functools.partial`.

        Raises:
            UsageError: It is no function, but what a call of it returned.
        """
        self.exchange.defer(async_fn, args, copy_context())

    # --- for Nardis itself ----------------------------------------------------------------------

    @property
    def trail(self) -> Trail:
        """Where it is on its way through the routers; begun when somebody asks for it."""
        trail: Trail = self.app.begin_trail(self) if self.way is None else self.way
        return trail
