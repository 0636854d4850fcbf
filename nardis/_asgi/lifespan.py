"""
A server's side of a lifespan: start an application, and stop it after its last request.

Source: ASGI specification, "Lifespan" 2.0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

import anyio

from .._failures import parted
from ..types import ASGIApp, Message, Scope
from .extensions import ERRORS

__all__ = ["SHUTDOWN_ANSWERS", "STARTUP_ANSWERS", "LifespanServer"]

STARTUP_ANSWERS: Final = ("lifespan.startup.complete", "lifespan.startup.failed")
SHUTDOWN_ANSWERS: Final = ("lifespan.shutdown.complete", "lifespan.shutdown.failed")


class LifespanServer(ABC):
    """
    One run of an application's lifespan, in a task of its own.

    A subclass says what an exception means (`raised`), and what an end before the answer to the
    startup means: then `started` is set, but `running` is False and `failure` None. Every message
    counts as an answer, also an unknown one. A subclass that is stricter overrides `send`.

    Attributes:
        state: The state that the application fills, for the scopes of requests.
        running: The startup is complete. It stays so after the shutdown.
        failure: The text of a message that says that a phase failed; it may be empty.
        started: The application has answered the startup, or ended.
        stopping: Set by the subclass: it is time for the shutdown.
        stopped: The application has answered the shutdown, or ended.
    """

    def __init__(self, app: ASGIApp, state: dict[str, Any]) -> None:
        self.state: dict[str, Any] = state
        self.running: bool = False
        self.failure: str | None = None
        self.started: anyio.Event = anyio.Event()
        self.stopping: anyio.Event = anyio.Event()
        self.stopped: anyio.Event = anyio.Event()
        self._app = app
        self._errors: list[BaseException] = []
        self._sent: str | None = None

    def scope(self) -> Scope:
        """Return the scope for the application."""
        asgi = {"version": "3.0", "spec_version": "2.0"}
        extensions = {ERRORS: self._errors, **self.offers()}
        return {"type": "lifespan", "asgi": asgi, "state": self.state, "extensions": extensions}

    def offers(self) -> dict[str, Any]:
        """Return further extensions of the scope."""
        return {}

    @property
    def cause(self) -> BaseException | None:
        """The error that `failure` tells of, as far as the application hands it over: ours do."""
        return self._errors[-1] if self._errors else None

    async def run(self) -> None:
        """Call the application, and count its end as the answers that it has not given."""
        try:
            await self._app(self.scope(), self.receive, self.send)
        except BaseException as exc:
            going, failure = parted(exc)
            if failure is not None:
                self.raised(failure)
            if going is not None:
                raise going  # noqa: B904  # it is in *exc*
        finally:
            self.has_started()
            self.has_stopped()

    @abstractmethod
    def raised(self, failure: BaseException) -> None:
        """Handle an exception of the application, before it counts as an answer."""

    def has_started(self) -> None:
        """Note that the startup is answered, or will not be."""
        self.started.set()

    def has_stopped(self) -> None:
        """Note that the shutdown is answered, or will not be."""
        self.stopped.set()

    async def receive(self) -> Message:
        """Be the application's `receive`: the startup, then the shutdown, then nothing for ever."""
        if self._sent is None:
            self._sent = "lifespan.startup"
        else:
            await self.stopping.wait()
            if self._sent == "lifespan.shutdown":
                await anyio.sleep_forever()
            self._sent = "lifespan.shutdown"
        return {"type": self._sent}

    async def send(self, message: Message) -> None:
        """Be the application's `send`."""
        kind: str = message["type"]
        if kind == "lifespan.startup.complete":
            self.running = True
        elif kind.endswith(".failed"):
            self.failure = message.get("message") or ""
        self.has_started()
        if kind.startswith("lifespan.shutdown"):
            self.has_stopped()
