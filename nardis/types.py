"""
The words of ASGI 3, and the shapes that others fill in.

Source: the ASGI specification, "HTTP & WebSocket" and "Lifespan".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from types import SimpleNamespace
from typing import Any, Literal, Protocol, TypeAlias

from ._http.forwarded import Trust
from ._http.signing import Signer
from ._paths.trail import Trail
from .draining import Draining
from .limits import Limits
from .tasks import Tasks

__all__ = [
    "ASGIApp",
    "App",
    "CloseReason",
    "Composed",
    "Composes",
    "Filter",
    "JSONCodec",
    "Message",
    "Next",
    "Receive",
    "RouteLike",
    "Scope",
    "Send",
]

# What a server knows of a request, a WebSocket or a lifespan.
Scope: TypeAlias = MutableMapping[str, Any]
# What server and application say to each other.
Message: TypeAlias = MutableMapping[str, Any]
# Waits for the server's next message.
Receive: TypeAlias = Callable[[], Awaitable[Message]]
# Gives the server a message.
Send: TypeAlias = Callable[[Message], Awaitable[None]]
# An ASGI 3 application.
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# What a middleware awaits to run the rest of the chain.
Next: TypeAlias = Callable[[], Awaitable[None]]

# Why a handler was ended from outside.
CloseReason: TypeAlias = Literal["gone", "stalled", "deadline", "shutdown"]


class Filter(Protocol):
    """
    Changes the bytes of a response on their way out, such as a compression.

    Each method returns bytes, or an awaitable of bytes where it takes long: `anyio.to_thread`
    keeps that off the event loop. One call is made after the other. A filter that has an attribute
    `holds_back`, and it is False, gives all that it is fed at once, and need not be flushed.
    """

    def feed(self, data: bytes, /) -> bytes | Awaitable[bytes]:
        """Take some bytes, and return those that can go out already."""
        ...

    def flush(self) -> bytes | Awaitable[bytes]:
        """Return the bytes that were held back, so that the client has all that was fed."""
        ...

    def finish(self) -> bytes | Awaitable[bytes]:
        """Return the end of the body. Never called for a response that failed."""
        ...


# The start message, the declared length, whether a body may follow, and the filters it passes.
Composed: TypeAlias = tuple[Message, int | None, bool, tuple[Filter, ...]]


class Composes(Protocol):
    """What an exchange wants of a response: its head, once, and what stands behind its body."""

    @property
    def trailers(self) -> Message | None:
        """The message of the fields behind the body; None where none were announced."""
        ...

    def peek(self, name: bytes, /) -> bytes | None:
        """Return the first line of a field."""
        ...

    def merge(self, message: Message, /) -> None:
        """Take a status and fields, instead of and beside those that are set."""
        ...

    def switch(self) -> None:
        """Note that the head went out with a 101, which accepts a WebSocket."""
        ...

    def compose(self, size: int | None, http1: bool, close: bool, /) -> Composed:
        """
        Run the hooks, close the head to changes, and return it.

        Args:
            size: Length of the whole body where it is known.
            http1: Whether this is HTTP/1; later versions have no connection-specific fields.
            close: Ask for `connection: close`.
        """
        ...


class JSONCodec(Protocol):
    """Encodes and decodes JSON: the shape of the `json` module, which orjson and others share."""

    def dumps(self, obj: Any, /) -> str | bytes:
        """Encode."""
        ...

    def loads(self, data: bytes, /) -> Any:
        """Decode; anything that is not JSON is a ValueError."""
        ...


class RouteLike(Protocol):
    """
    The route that matched, as a handler sees it in `req.route`.

    Attributes:
        path: The pattern as written; for logs and metrics, which paths themselves would flood.
    """

    path: str

    @property
    def name(self) -> str | None:
        """What `url_for` finds the route by."""
        ...


class App(Protocol):
    """
    The application, as a handler sees it in `req.app`.

    Attributes:
        state: A place for what handlers share: `app.state.pool`.
        limits: Those of every route that has none of its own.
        debug: Whether answers to errors show tracebacks.
        errors: The form of answers to errors for clients that take any.
        json_codec: What encodes and decodes JSON; None is the standard library.
        signer: Signs cookies with `Nardis(secret_keys=...)`.
        trust: Which proxies are believed.
        method_not_allowed: Whether a path that only other methods match is a 405; otherwise a 404.
        websocket_origins: Pages of these may open WebSockets, beside those of the same origin.
    """

    state: SimpleNamespace
    limits: Limits
    debug: bool
    errors: Literal["auto", "problem"]
    json_codec: JSONCodec | None
    signer: Signer
    trust: Trust
    method_not_allowed: bool
    websocket_origins: frozenset[str]

    @property
    def tasks(self) -> Tasks:
        """Background tasks that end with the application."""
        ...

    @property
    def draining(self) -> Draining:
        """The notice that the server shuts down."""
        ...

    def url_for(self, name: str, /, **params: Any) -> str:
        """Build the path of a route."""
        ...

    def begin_trail(self, req: Any, /) -> Trail:
        """For Nardis itself: return the trail of a request, which begins with the first call."""
        ...
