"""The notice that the server shuts down: `app.draining`."""

from __future__ import annotations

import time

import anyio

__all__ = ["Draining"]


class Draining:
    """The notice that the server shuts down; it comes once."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._until: float | None = None

    def is_set(self) -> bool:
        """Whether the shutdown has begun."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Wait until the shutdown begins."""
        await self._event.wait()

    def set(self, seconds: float | None = None) -> None:
        """
        Say that the shutdown begins; later calls change nothing.

        Args:
            seconds: After this time the server cancels what still runs; None if it does not say.
        """
        if not self._event.is_set():
            self._until = None if seconds is None else time.monotonic() + seconds
            self._event.set()

    @property
    def seconds_left(self) -> float | None:
        """
        The seconds until the server cancels what still runs.

        None before the shutdown, and when the server does not say.
        """
        return None if self._until is None else max(self._until - time.monotonic(), 0.0)
