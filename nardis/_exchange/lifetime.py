"""
Who ends the handler of a call, why, and what then still runs: rules C1 to C3.

A `Lifetime` is the base of whatever serves one call of the application. It knows nothing of
responses and bodies: it owns the handler's cancel scope, and hears of the client, of the limits and
of the shutdown.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, NoReturn, Protocol, TypeAlias, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from .._asgi.extensions import Cancels, Client
from .._failures import one_line, parted
from .._http.request_head import quoted
from .._later import begun, check_later
from ..errors import ClientDisconnected
from ..limits import Limits
from ..types import CloseReason, Message, Scope
from .sweeper import Sweeper

__all__ = ["Deferred", "Dependant", "Lifetime", "shielded"]

logger = logging.getLogger("nardis")

T = TypeVar("T")

# A call to make after the handler, in the context that it was deferred in.
Deferred: TypeAlias = tuple[Context, Callable[..., Awaitable[object]], tuple[Any, ...]]


def shielded(seconds: float) -> anyio.CancelScope:
    """
    Shield the awaits of a `with` block from cancellation, for at most *seconds*.

    It lets clean-up finish.

    The awaits of a cancelled handler fail at once, those in a `finally` too (level cancellation, on
    both backends). Inside this block they work. When the time is up the block is left quietly, and
    `cancelled_caught` of the scope is true.

        finally:
            with shielded(5):
                await connection.close()
    """
    return anyio.move_on_after(seconds, shield=True)


class Dependant(Protocol):
    """
    A foreign application that answers for the handler.

    It must hear of an end from outside, because cancellation alone may not reach it.

    Attributes:
        listening: How many of its tasks wait to be told. It then ends by itself, and is cancelled
            only when it has not ended within a tick: tasks of asyncio's own that it has made would
            outlive it.
    """

    listening: int

    def interrupt(self, reason: CloseReason, status: int, /) -> None:
        """Hear what `Lifetime.interrupt` is told."""
        ...

    def disconnected(self) -> None:
        """Hear that the client left."""
        ...


class Lifetime(ABC):
    """
    The handler of one call: the scope it runs in, and the reason for its end.

    Attributes:
        scope: The ASGI scope.
        limits: Those of the application, or of the route that matched.
        client: What our own runner knows of the client.
        since: When the handler began, by the sweeper's clock.
        close_reason: Why it was ended from outside (C1).
        closing: It is being cancelled, or its client is gone: nothing more is sent.
        gone: The client left.
        cancels: False where a disconnect cancels nothing (`cancel_on_disconnect=False`).
        cancel_scope: Around the handler.
        operations: Scopes of single reads and streamed writes, where the handler has none; None if
            it needed none.
        timeout_status: The status for a client that is still there, when a limit ended the handler
            before the head.
        failure: Of a handler that failed past the head, or could not be looked after.
        dependant: A foreign application that answers for the handler.
        deferred: What runs after the handler; None while there is nothing.
    """

    __slots__ = (
        "cancel_scope",
        "cancels",
        "client",
        "close_reason",
        "closing",
        "deferred",
        "dependant",
        "failure",
        "gone",
        "limits",
        "operations",
        "scope",
        "since",
        "sweeper",
        "timeout_status",
    )

    rests_until: float = 0.0  # on the class: what may rest has a slot for it

    # No constructor, here and below: a class without one makes its objects for a third less, which
    # is one percent of a plain request each time.
    def begin_life(self, scope: Scope, sweeper: Sweeper, limits: Limits) -> None:
        """Begin, where the handler begins."""
        self.scope: Scope = scope
        self.sweeper: Sweeper = sweeper
        self.limits: Limits = limits
        self.client: Client | None = None
        clock = sweeper.clock  # in a local: 3.11 is slow to call what an attribute holds
        self.since: float = clock()
        self.close_reason: CloseReason | None = None
        self.closing: bool = False
        self.gone: bool = False
        self.cancels: bool = True
        self.cancel_scope: Cancels | None = None
        self.timeout_status: int = 503
        self.failure: BaseException | None = None
        self.dependant: Dependant | None = None
        self.deferred: list[Deferred] | None = None
        self.operations: set[anyio.CancelScope] | None = None

    @abstractmethod
    def is_over(self) -> bool:
        """Whether the last message has begun: a client that leaves now cuts nothing short."""

    @abstractmethod
    def has_started(self) -> bool:
        """Whether something was sent."""

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """Note that the handler failed."""

    @abstractmethod
    def look(self, now: float) -> None:
        """Enforce the limits, and see to it that a client that left is noticed."""

    def set_cancels(self, cancels: bool) -> None:
        """Apply what the route that matched says of a disconnect (C2)."""
        self.cancels = cancels

    def inside(self, outer: Lifetime) -> None:
        """Belong to the call *outer*: what is deferred here runs there, last of all."""
        if outer.deferred is None:
            outer.deferred = []
        self.deferred = outer.deferred
        self.cancels = outer.cancels

    @contextmanager
    def own_scope(self, *, shield: bool = False) -> Generator[None, None, None]:
        """Let the handler run in a cancel scope of its own, inside the one that it has, if any."""
        around = self.cancel_scope
        self.sweeper.exchanges.add(self)
        try:
            with self.sweeper.new_scope(shield=shield) as self.cancel_scope:
                yield
        finally:
            self.cancel_scope = around
            if around is not None and self.close_reason not in (None, "gone"):
                around.cancel()

    # --- the client leaves, limits run out ------------------------------------------------------

    def interrupt(self, reason: CloseReason, status: int = 503) -> None:
        """
        End the handler for *reason* (C1, C2).

        *status* is for a client that is still there and has not got the head.
        """
        if reason == "gone" and self.is_over():
            return
        if self.close_reason is None:
            self.note(reason)
            self.timeout_status = status
        if reason != "gone" or self.cancels:
            if self.dependant is not None and self.dependant.listening:
                self.closing = True
            else:
                self.cancel()
        if self.dependant is not None:
            self.dependant.interrupt(reason, status)

    def note(self, reason: CloseReason) -> None:
        """Note why the handler is ended; the first reason counts (C1)."""
        if self.close_reason is None:
            self.close_reason = reason

    def cancel(self) -> None:
        """Cancel the handler, or where it has no scope the read or write that it waits in."""
        if self.cancel_scope is not None:
            self.closing = True
            self.cancel_scope.cancel()
        for operation in self.operations or ():
            self.closing = True
            operation.cancel()

    def disconnected(self) -> None:
        """Note that the client left."""
        self.gone = self.closing = True
        self.interrupt("gone")
        if self.dependant is not None:
            self.dependant.disconnected()

    def left(self) -> None:
        """
        Hear from the runner that the client is gone.

        Where that cancels nothing, the reader learns it behind the body.
        """
        if self.cancels and not self.is_over():
            self.disconnected()

    def stalled(self) -> None:
        """Hear from the runner that the client took nothing for too long."""
        self.interrupt("stalled")

    def closed(self, code: int, reason: str) -> None:
        """Hear from the runner that a client left before its WebSocket was accepted."""
        self.left()

    def give_up(self, error: BaseException) -> None:
        """End the handler, because *error* keeps us from looking after it."""
        self.fail(error)
        self.note_failure(error)
        self.cancel()

    def note_failure(self, error: BaseException) -> None:
        """Note what failed, past whatever may catch it; the first one counts."""
        self.failure = self.failure or error

    def server_failed(self, exc: BaseException) -> Message:
        """
        Count the client as gone, because the server's `receive` or `send` failed with *exc*.

        ASGI 2.4 servers raise OSError when the client left. Returns the message that says so.
        """
        if not isinstance(exc, OSError) and not self.is_over():
            logger.error("the server failed; its client counts as gone: %r", exc, exc_info=exc)
        self.disconnected()
        return {"type": "http.disconnect"}

    def remind(self) -> None:
        """Cancel the handler for whom a foreign application was told of the end a tick ago."""
        told = self.dependant is not None and self.close_reason is not None
        if told and (self.close_reason != "gone" or self.cancels):
            self.cancel()

    # --- for what awaits ------------------------------------------------------------------------

    async def raise_gone(self) -> NoReturn:
        """Let the cancellation land; where it cannot, raise ClientDisconnected."""
        await checkpoint()
        raise ClientDisconnected(f"the client is no longer served: {self.close_reason or 'gone'}")

    async def bounded(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await *call*, in a scope of its own where the handler has none, so that limits end it."""
        if self.cancel_scope is not None:
            return await call()
        if self.operations is None:
            self.operations = set()
            self.sweeper.exchanges.add(self)
        with self.sweeper.new_scope() as scope:
            self.operations.add(scope)
            try:
                return await call()
            finally:
                self.operations.discard(scope)
        await self.raise_gone()

    # --- the end --------------------------------------------------------------------------------

    def defer(
        self, call: Callable[..., Awaitable[object]], args: tuple[Any, ...], context: Context
    ) -> None:
        """
        Run `await call(*args)` in *context* when everything else is over.

        Raises:
            UsageError: It is no function.
        """
        check_later("req.defer", call)
        if self.deferred is None:
            self.deferred = []
        self.deferred.append((context, call, args))

    async def run_deferred(self) -> None:
        """
        Run what was deferred, last first, all of it within `cleanup_s`.

        A failing call is logged, and the others still run.
        """
        if not self.deferred:
            return
        with shielded(self.limits.cleanup_s) as scope:
            while self.deferred:
                context, call, args = self.deferred.pop()
                try:
                    with _variables_of(context):
                        await begun("req.defer", call, args)
                except BaseException as exc:
                    if self._goes_on(exc, call):
                        raise
        if scope.cancelled_caught:
            text = "%s %s: deferred clean-up took longer than cleanup_s=%s and was cut"
            logger.error(text, *_asked(self.scope), self.limits.cleanup_s)

    def _goes_on(self, exc: BaseException, call: object) -> bool:
        """Log what failed in a deferred *call*; return whether a cancellation is in *exc*."""
        going, failure = parted(exc)
        if failure is not None:
            text = "%s %s: a deferred clean-up failed: %r"
            logger.error(text, *_asked(self.scope), call, exc_info=failure)
        return going is not None


def _asked(scope: Scope) -> tuple[str, str]:
    """Return method and path for the log."""
    path: bytes = scope.get("raw_path") or quoted(scope["path"])
    return one_line(scope.get("method", "GET")), one_line(path.decode("latin-1"))


@contextmanager
def _variables_of(context: Context) -> Generator[None, None, None]:
    """Give context variables the values that they had in *context*; the others keep theirs."""
    missing = object()
    changed = [
        (each, each.set(value)) for each, value in context.items() if each.get(missing) is not value
    ]
    try:
        yield
    finally:
        for variable, token in changed:
            variable.reset(token)
