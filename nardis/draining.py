"""
The shutdown: the notice of it, `app.draining`, and its order.

The server goes through it with connections, and the application with exchanges, which may outlast
their connection; under a server that says nothing beforehand the application is alone with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import anyio

__all__ = ["Draining", "until", "wind_down"]

# How often the end of what runs is looked for: an event would cost each request and connection.
POLL_S: Final = 0.02


class Draining:
    """The notice that the server shuts down; it comes once."""

    def __init__(self) -> None:
        self._event = anyio.Event()
        self._until: float | None = None
        self._listeners: list[Callable[[float | None], object]] = []

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
            for listener in self._listeners:
                listener(seconds)

    def tell(self, listener: Callable[[float | None], object]) -> None:
        """Call *listener* with the seconds when the shutdown begins; at once if it has begun."""
        if self._event.is_set():
            listener(self.seconds_left)
        else:
            self._listeners.append(listener)

    @property
    def seconds_left(self) -> float | None:
        """
        The seconds until the server cancels what still runs.

        None before the shutdown, and when the server does not say.
        """
        return None if self._until is None else max(self._until - time.monotonic(), 0.0)


async def wind_down(
    begin: Callable[[], object],
    is_over: Callable[[], bool],
    interrupt: Callable[[], object],
    drain_s: float,
    rest_s: Callable[[], float],
) -> None:
    """
    Say that it is over, wait, cancel the rest, and wait for its clean-up.

    Args:
        begin: Says that the shutdown begins.
        is_over: Whether nothing runs any more.
        interrupt: Cancels what runs.
        drain_s: How long what runs may take to end by itself.
        rest_s: How long the rest may take after that.
    """
    begin()
    await until(is_over, drain_s)
    interrupt()
    await until(is_over, rest_s())


async def until(is_over: Callable[[], bool], seconds: float) -> None:
    """Wait until *is_over*, at most *seconds*."""
    with anyio.move_on_after(seconds):
        while not is_over():  # noqa: ASYNC110  # see POLL_S
            await anyio.sleep(POLL_S)
