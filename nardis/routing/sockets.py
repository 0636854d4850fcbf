"""Routes of WebSockets: which pages may open them, and in which subprotocol they talk."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from .._http.fields import check_name
from .._http.listing import listed
from .._http.origins import ANY, check_origins, is_same_origin
from .._paths.pattern import Pattern
from ..errors import HTTPError
from ..handlers import Where
from ..request import Request
from ..response import Response
from ..websocket import WebSocket
from .layer import Route, WebSocketOptions, check_options

__all__ = ["WebSocketRoute"]


class WebSocketRoute(Route):
    """
    The route of a WebSocket: its middlewares get `res`, its handler a `WebSocket`.

    Attributes:
        subprotocols: Those that the handler speaks, the best first.
        origins: The pages that may open it, beside those of the same origin; None is what the
            application says.
    """

    where: ClassVar[Where] = "websocket()"
    is_websocket: ClassVar[bool] = True

    __slots__ = ("origins", "subprotocols")

    def __init__(self, pattern: Pattern, options: WebSocketOptions) -> None:
        check_options(options, WebSocketOptions)
        super().__init__(pattern, None, options)
        self.straight: bool = False
        self.subprotocols: tuple[str, ...] = tuple(
            listed("websocket(subprotocols=...)", options.get("subprotocols") or ())
        )
        for each in self.subprotocols:
            check_name(each)  # a token, too (RFC 6455 §4.1)
        origins = options.get("origins")
        self.origins: frozenset[str] | None = (
            None if origins is None else check_origins("websocket(origins=...)", origins)
        )

    def __repr__(self) -> str:
        return f"<Route WEBSOCKET {self.path}>"

    def check_origin(self, req: Request) -> None:
        """
        Refuse a page of another origin, which has the cookies of its visitor (RFC 6455 §10.2).

        What is no browser sends no Origin, and may say there what it likes.
        """
        origin = req.get("origin")
        if origin is None or is_same_origin(origin, req.protocol, req.host):
            return
        allowed = req.app.websocket_origins if self.origins is None else self.origins
        if origin not in allowed and ANY not in allowed:
            raise HTTPError(
                403,
                "pages of this origin may not open this WebSocket: see websocket(origins=[...]), "
                "and trust_proxy where a proxy changes the Host",
            )

    async def talk(
        self, handler: Callable[..., Awaitable[object]], req: Request, res: Response
    ) -> None:
        """Run the last handler."""
        ws = WebSocket(req, res, self.subprotocols)
        with ws.talking():
            await handler(req, ws)
