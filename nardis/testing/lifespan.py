"""The lifespan of the application under test."""

from __future__ import annotations

import anyio
from anyio.abc import TaskGroup

from .._asgi.lifespan import SHUTDOWN_ANSWERS, STARTUP_ANSWERS, LifespanServer
from ..types import ASGIApp, Message
from .call import ends
from .rules import AppError, ASGIViolation

__all__ = ["Lifespan"]


class Lifespan(LifespanServer):
    """The lifespan of the application, in a task of its own. Its answers are checked."""

    def __init__(self, app: ASGIApp, strict: bool) -> None:
        super().__init__(app, {})
        self._strict = strict
        self._allowed: tuple[str, ...] = STARTUP_ANSWERS
        self._done, self._scope = anyio.Event(), anyio.CancelScope()
        self._error: BaseException | None = None

    async def run(self) -> None:
        """Call the application, until its end or until `stop` cancels it."""
        try:
            with self._scope:
                await super().run()
        finally:
            self._done.set()

    def raised(self, failure: BaseException) -> None:
        """Keep the first error for the test."""
        self._error = self._error or failure

    async def send(self, message: Message) -> None:
        """Be the application's `send`, which takes each answer once, in order."""
        kind = message.get("type")
        if kind not in self._allowed:
            if self._strict:
                self._error = ASGIViolation(
                    f"lifespan: {kind!r} where one of {self._allowed} was due"
                )
                raise self._error
            return
        self._allowed = SHUTDOWN_ANSWERS if kind == "lifespan.startup.complete" else ()
        await super().send(message)
        if self.failure is not None:
            self.failure = f"{kind}: {self.failure}"

    async def start(self, tasks: TaskGroup, close_s: float) -> None:
        """
        Start the application, or find that it has no lifespan.

        Raises:
            AppError: The startup failed.
            ASGIViolation: The application broke a rule before the startup was complete.
        """
        tasks.start_soon(self.run, name="lifespan")
        await self.started.wait()
        if self.failure is not None:
            await ends(self._done, self._scope, close_s)
        if self.failure is not None or isinstance(self._error, ASGIViolation):
            self.settle()
        if not self.running:
            self._error = None  # raised before the startup: an application without lifespan

    async def stop(self, close_s: float) -> None:
        """Send the shutdown, and wait for the end of the application, *close_s* at most."""
        self.stopping.set()
        if not await ends(self._done, self._scope, close_s):
            self.failure: str | None = (
                f"the lifespan did not end within {close_s} s of lifespan.shutdown "
                "and was cancelled"
            )

    def settle(self) -> None:
        """Raise what went wrong."""
        if isinstance(self._error, ASGIViolation):
            raise ASGIViolation(*self._error.args) from self._error
        if self.failure is not None or self._error is not None:
            said = self.failure or f"the lifespan raised {self._error!r}"
            raise AppError(said) from (self._error or self.cause)
