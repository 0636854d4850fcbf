"""The lifespan of the application that the server runs."""

from __future__ import annotations

import logging
from typing import Any

from .._asgi.extensions import RUNNER, Runner
from .._asgi.lifespan import LifespanServer
from .._failures import explained
from ..errors import NardisError, StartFailed
from ..types import ASGIApp

__all__ = ["Lifespan"]

logger: logging.Logger = logging.getLogger("nardis.server")


class Lifespan(LifespanServer):
    """
    One run of an application, in a task of its own.

    An application that raises or returns at once has no lifespan, and is served without one.
    """

    def __init__(self, app: ASGIApp, state: dict[str, Any], runner: Runner | None = None) -> None:
        super().__init__(app, state)
        self._runner = runner

    def offers(self) -> dict[str, Any]:
        """Offer the runner."""
        return {RUNNER: self._runner}

    def raised(self, failure: BaseException) -> None:
        """Log *failure*; after the start it is reported at the end as well."""
        if isinstance(failure, Exception) and not self.started.is_set():
            logger.warning("serving without a lifespan: the application raised %r", failure)
        elif self.failure is None:
            logger.error("the lifespan failed: %r", failure, exc_info=explained(failure))
            self.failure: str | None = repr(failure)

    def has_stopped(self) -> None:
        """Stop the server where the lifespan has failed by itself: its requests need it."""
        super().has_stopped()
        has_failed = self.running and self.failure is not None
        if has_failed and self._runner is not None and not self.stopping.is_set():
            self._runner.stop()

    async def startup(self) -> None:
        """
        Wait until the application is ready.

        Raises:
            StartFailed: The application says that its start failed.
        """
        await self.started.wait()
        if self.failure is not None:
            raise StartFailed(f"the application did not start: {self._why()}") from self.cause

    async def stop(self) -> None:
        """
        Send the shutdown to the application, and wait until it has cleaned up.

        Raises:
            NardisError: The application says that its shutdown failed, or its lifespan raised.
        """
        self.stopping.set()
        await self.stopped.wait()
        if self.failure is not None:
            raise NardisError(f"the application did not shut down well: {self._why()}")

    def _why(self) -> str:
        return self.failure or "it did not say why"
