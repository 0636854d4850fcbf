"""One call of the application, as a server makes it: what those of all scopes have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextvars import ContextVar
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import anyio
from anyio.abc import TaskGroup

from ..types import ASGIApp, Message, Scope
from .rules import AppError, ASGIViolation, is_departure

__all__ = ["Call", "Manners", "ends", "reader_took"]

# `send` returns at once when nobody listens, as on a server. One turn of the event loop in so many
# calls lets the client cancel an application that never notices.
_SENDS_PER_TURN = 1000

# The call that a task of the application belongs to, if any.
_CALLING: ContextVar[Call | None] = ContextVar("calling", default=None)


@dataclass(frozen=True, slots=True)
class Manners:
    """
    How a client treats the application.

    Attributes:
        strict: A broken rule of ASGI is an `ASGIViolation`.
        raise_app_errors: An error of the application is an `AppError`.
        close_s: How long the application may go on after the client left, in seconds.
    """

    strict: bool
    raise_app_errors: bool
    close_s: float


class Call(ABC):
    """
    One call of the application: `receive` and `send` are its side, the rest is the test's.

    Attributes:
        scope: What the application is called with.
        manners: How the client treats it.
        name: What errors call it.
        gone: The client has left, so that nobody hears what the application still sends.
    """

    farewell: ClassVar[str]
    """The type of the message that says that the client left."""

    def __init__(self, scope: Scope, manners: Manners, name: str) -> None:
        self.scope: Scope = scope
        self.manners: Manners = manners
        self.name: str = name
        self.gone: bool = False
        self._done, self._task_scope = anyio.Event(), anyio.CancelScope()
        self._receiving = self._told = self._hung = self._reported = False
        self._unheard_sends = 0
        self._leaving = False
        self._held_up: set[anyio.Event] = set()
        self._error: Exception | None = None
        self._test_error: Exception | None = None  # of what the test gave to send
        self._violation: ASGIViolation | None = None

    # The application's side.

    async def run(self, app: ASGIApp) -> None:
        """Call the application, to its end."""
        _CALLING.set(self)
        with self._task_scope:
            try:
                await app(self.scope, self.receive, self.send)
            except Exception as exc:
                self._error = exc
            finally:
                self.returned()
                self._done.set()

    async def receive(self) -> Message:
        """Be the application's `receive`."""
        if self.manners.strict and self._receiving:
            self.violate("two receive() calls at once")
        if self.manners.strict and self._told:
            await self._violate_soon(f"receive() after it said {self.farewell}")
        self._receiving = True
        try:
            message = await self.next_message()
        finally:
            self._receiving = False
        self._told = message["type"] == self.farewell
        return message

    async def send(self, message: Message) -> None:
        """Be the application's `send`."""
        message = {**message}
        if self.manners.strict:
            fault = self.fault(message)
            if fault:
                self.violate(fault)
            if self._told:
                await self._violate_soon(f"send() after receive() said {self.farewell}")
        if not await self.take(message):
            self._unheard_sends += 1
            if self._unheard_sends % _SENDS_PER_TURN == 0:
                await anyio.lowlevel.checkpoint()

    @abstractmethod
    async def next_message(self) -> Message:
        """Wait for what the application receives next."""

    @abstractmethod
    def fault(self, message: Message) -> str | None:
        """Name the rule that *message* breaks, if any."""

    @abstractmethod
    async def take(self, message: Message) -> bool:
        """Take what the application sends; return whether that was for anybody to hear."""

    @abstractmethod
    def returned(self) -> None:
        """Note that the application has ended."""

    async def _violate_soon(self, rule: str) -> NoReturn:
        # The task that heard the disconnect may be cancelling this one, which was on its way here
        # already: then it ends here.
        await anyio.lowlevel.checkpoint()
        self.violate(rule)

    def violate(self, rule: str) -> NoReturn:
        """Raise a broken rule to the application, and keep it for the test."""
        violation = ASGIViolation(f"{self.name}: {rule}")
        self._violation = self._violation or violation
        self.hang_up()  # the test learns it now, not when the application gets round to ending
        raise violation

    # The test's side.

    def start(self, tasks: TaskGroup, app: ASGIApp) -> None:
        """Start the call, in a task of *tasks*."""
        tasks.start_soon(self.run, app, name=f"{self.name} (app)")

    @abstractmethod
    def hang_up(self) -> None:
        """Disconnect."""

    def depart(self) -> None:
        """Leave as a client that has what it wants."""
        self.hang_up()

    async def leave(self, close_s: float) -> None:
        """Depart, and wait for the application; shielded, so that no task is left behind."""
        self.depart()
        self._leaving = True
        for taken in self._held_up:
            taken.set()
        if not await ends(self._done, self._task_scope, close_s):
            self._hung = True
            self.hang_up()
        self._leaving = False

    async def held_up_by(self, taken: anyio.Event) -> None:
        """
        Wait for the reader of a message that this call sends, on itself or on another.

        A test that leaves one WebSocket, and waits for its handler, reads no other meanwhile. So
        what that handler then says on others is not waited for: it lies there, as in a socket.
        """
        if self._leaving:
            taken.set()
        self._held_up.add(taken)
        try:
            await taken.wait()
        finally:
            self._held_up.discard(taken)

    @property
    def failed(self) -> bool:
        """Whether the application raised, or broke a rule."""
        return self._error is not None or self._violation is not None

    def settle(self) -> None:
        """Raise what went wrong, once."""
        if self._hung:
            self._hung = False
            raise AppError(
                f"{self.name}: the app kept running {self.manners.close_s} s after the disconnect "
                "and was cancelled"
            )
        failure = self.failure()
        if failure is None or self._reported:
            return
        self._reported = True
        if isinstance(failure, ASGIViolation):
            raise ASGIViolation(*failure.args) from failure
        if failure is self._test_error:
            raise failure
        raise AppError(f"{self.name}: the app raised {failure!r}") from failure

    def failure(self) -> Exception | None:
        """Return what the test has to hear of, if anything."""
        if self._violation or self._test_error or not self.manners.raise_app_errors:
            return self._violation or self._test_error
        errors = [*self.scope["extensions"]["nardis.errors"], self._error]
        return next((exc for exc in errors if exc and not (self.gone and is_departure(exc))), None)


async def reader_took(taken: anyio.Event) -> None:
    """Wait in the application's `send` until a reader set *taken*."""
    call = _CALLING.get()
    await (taken.wait() if call is None else call.held_up_by(taken))


async def ends(done: anyio.Event, scope: anyio.CancelScope, close_s: float) -> bool:
    """Wait for a task to end, *close_s* at most, then cancel it. Not cancellable, but bounded."""
    with anyio.move_on_after(close_s, shield=True):
        await done.wait()
        return True
    scope.cancel()
    with anyio.move_on_after(
        close_s, shield=True
    ):  # a thread, or a shield of its own, may hold it further
        await done.wait()
    return False
