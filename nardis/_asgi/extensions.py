"""
What `nardis.*` in the extensions of an ASGI scope means to runner, test client and application.

A middleware passes a scope on, or a copy of it, so what stands there is found whatever is wrapped
around an application. Absent and None are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from ..types import Scope

__all__ = [
    "ACCESS",
    "CLIENT",
    "EARLY_HINT",
    "ERRORS",
    "FILE",
    "ORIGIN",
    "PATH",
    "RUNNER",
    "TRAILERS",
    "Cancels",
    "Client",
    "Listener",
    "Runner",
    "extension",
]

# Of a lifespan: the runner, which wants to tell the application of a shutdown.
RUNNER: Final = "nardis.runner"

# Of a request: what the runner knows of its client.
CLIENT: Final = "nardis.client"

# Of a request: a dict in which the application notes for the access log why the exchange was
# closed.
ACCESS: Final = "nardis.access"

# Of a request: the client that the proxies in front name, where the runner was told to trust them.
ORIGIN: Final = "nardis.origin"

# Of a request: a list that takes the errors which were answered by a 500. Of a lifespan: one that
# takes the error which a message about a failure tells of.
ERRORS: Final = "nardis.errors"

# Of ASGI itself: a server that offers one takes the message of the same name.
EARLY_HINT: Final = "http.response.early_hint"
TRAILERS: Final = "http.response.trailers"
FILE: Final = "http.response.zerocopysend"
PATH: Final = "http.response.pathsend"


class Listener(Protocol):
    """Who wants to know at once what happens to a client: the exchange."""

    def left(self) -> None:
        """Hear that the client is gone."""
        ...

    def stalled(self) -> None:
        """Hear that the client took nothing for too long, and that its connection is being cut."""
        ...

    def closed(self, code: int, reason: str) -> None:
        """
        Hear how a WebSocket ended.

        It comes when the end is known, also where unread messages lie before the
        `websocket.disconnect` that says the same.
        """
        ...


class Cancels(Protocol):
    """What cancels a call: a cancel scope, its own or one that is lent to it."""

    @property
    def cancel_called(self) -> bool:
        """Whether it was cancelled."""
        ...

    def cancel(self) -> object:
        """Cancel it."""
        ...


class Client(Protocol):
    """
    What a runner knows of the client of one request.

    Attributes:
        progressed: When the client last took a byte of the response, by `time.monotonic`; 0.0 is
            never.
        listener: Who is told at once.
        claimed: There is one, or was: it looks after the limits of its request, and has logged what
            it raises.
        scope: Around the call, and lent to it for the call's time: see `Runner.lend_to`. None is
            none.
        message_bytes: The largest message of a WebSocket that the call takes, set before it
            accepts: the runner refuses a larger one (1009) before it is in memory. None leaves the
            bound to the runner.
    """

    progressed: float
    listener: Listener | None
    claimed: bool
    scope: Cancels | None
    message_bytes: int | None

    def has_left(self) -> bool:
        """Whether the client is gone, also where an unread body lies before the news of it."""
        ...

    def answered(self) -> None:
        """Hear that the response has ended and the call goes on: its client need not wait."""
        ...


class Runner(Protocol):
    """What a runner offers to an application that can be told of a shutdown."""

    def tell(self, drain: Callable[[float], object], interrupt: Callable[[], object], /) -> None:
        """
        Call *drain* when the shutdown begins, and *interrupt* when the time for what runs is over.

        *drain* gets the seconds in between.
        """
        ...

    def lend_to(self, borrower: object, /) -> None:
        """
        Lend the cancel scope of a connection's own task to each call of *borrower*.

        Only if that is the very thing that the runner calls, with nothing around it. A scope of its
        own costs about as much as all the rest of a plain request (on trio). The borrower may
        cancel the scope. Then it takes the cancellation for its own, cleans up behind a shield,
        and returns; the runner goes on in another scope.
        """
        ...

    def stop(self) -> None:
        """Hear that the application cannot go on: begin the shutdown."""
        ...


def extension(scope: Scope, name: str) -> Any:
    """
    Return an extension of *scope*, None if there is none.

    >>> extension({"extensions": None}, RUNNER), extension({}, RUNNER)
    (None, None)
    >>> extension({"extensions": {RUNNER: 1}}, RUNNER)
    1
    """
    extensions = scope.get("extensions")
    return extensions.get(name) if extensions else None
