"""
The server's side of the ASGI lifespan protocol: start the application before the first request, stop it after the last.

Source: the ASGI lifespan specification.
"""

from __future__ import annotations

import logging
from typing import Any

import anyio

from .._asgi.extensions import RUNNER, Runner
from .._failures import explained, parted
from ..errors import NardisError, StartFailed
from ..types import ASGIApp, Message

__all__ = ["Lifespan"]

logger: logging.Logger = logging.getLogger("nardis.server")


class Lifespan:
    """One run of an application, in a task of its own."""

    def __init__(self, app: ASGIApp, state: dict[str, Any], runner: Runner | None = None) -> None:
        self._app = app
        self._state = state
        self._runner = runner
        self._asked = 0
        self._answered = anyio.Event()
        self._shutdown = anyio.Event()
        self._ended = anyio.Event()
        self._failure: str | None = None

    async def run(self) -> None:
        """Call the application; one that raises or returns at once has no lifespan, and is served without."""
        scope = {
            "type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state,
            "extensions": {RUNNER: self._runner},
        }  # fmt: skip
        try:
            await self._app(scope, self._receive, self._send)
        except BaseException as exc:
            going, failure = parted(exc)
            if isinstance(failure, Exception) and not self._answered.is_set():
                logger.warning("serving without a lifespan: the application raised %r", failure)
            elif failure is not None and self._failure is None:
                logger.error("the lifespan failed: %r", failure, exc_info=explained(failure))
                self._failure = repr(failure)
            if going is not None:
                raise going  # noqa: B904  # it is in *exc*
        finally:
            self._answered.set()
            self._ended.set()

    async def startup(self) -> None:
        """
        Wait until the application is ready.

        Raises:
            StartFailed: It says that it cannot be.
        """
        await self._answered.wait()
        if self._failure is not None:
            raise StartFailed(f"the application did not start: {self._failure}")

    async def stop(self) -> None:
        """
        Tell the application that it is over, and wait until it has cleaned up.

        Raises:
            NardisError: It says that it failed.
        """
        self._shutdown.set()
        await self._ended.wait()
        if self._failure is not None:
            raise NardisError(f"the application did not shut down well: {self._failure}")

    async def _receive(self) -> Message:
        self._asked += 1
        if self._asked == 1:
            return {"type": "lifespan.startup"}
        await self._shutdown.wait()
        if self._asked > 2:
            await anyio.sleep_forever()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Message) -> None:
        if message["type"].endswith(".failed"):
            self._failure = message.get("message") or "it did not say why"
        self._answered.set()
        if message["type"].startswith("lifespan.shutdown"):
            self._ended.set()
