"""
The client behind proxies: its address and scheme in the scope, for any application and for the log.

Source: RFC 7239 (Forwarded); the rules are those of `nardis._http.forwarded`.
"""

from __future__ import annotations

from .._asgi.extensions import ORIGIN
from .._http.forwarded import Trust, peer_of, seen_through
from ..types import ASGIApp, Receive, Scope, Send

__all__ = ["behind_proxies"]

# By the scheme that the client used, and whether it is a WebSocket's.
_SCHEMES = {
    ("http", False): "http",
    ("https", False): "https",
    ("http", True): "ws",
    ("https", True): "wss",
}


def behind_proxies(app: ASGIApp, trust: Trust) -> ASGIApp:
    """
    Let *app* see the client that *trust* lets proxies name.

    A Nardis application finds the whole of it in the scope, and does not go the same way again: a
    second walk would believe one proxy more.
    """

    async def forwarded(scope: Scope, receive: Receive, send: Send) -> None:
        peer, scheme = peer_of(scope), scope.get("scheme", "http")
        host = dict(scope["headers"]).get(b"host")
        plain = "https" if scheme in ("https", "wss") else "http"
        origin = seen_through(
            trust, peer, scope["headers"], plain, None if host is None else host.decode("latin-1")
        )
        if origin.ip != peer and peer != "":
            # The port is not known. Nor is the address where proxies disagree: that of the proxy
            # would be taken for a client of this host.
            scope["client"] = (origin.ip or "", 0)
        scope["scheme"] = _SCHEMES[origin.scheme, scheme in ("ws", "wss")]
        scope["extensions"][ORIGIN] = origin
        await app(scope, receive, send)

    return forwarded
