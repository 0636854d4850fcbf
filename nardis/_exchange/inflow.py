"""
The server's `receive`, shared by the reader and the watcher, who take turns: rules Q1 and Q3.

The reader takes messages one by one as it asks. So does the watcher: a task that waits in `receive`
to notice the client leaving while the handler is busy elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque

import anyio

from .._failures import parted
from ..types import Message, Receive
from .lifetime import Lifetime

__all__ = ["Inflow"]


class Inflow(ABC):
    """
    What comes in of one call.

    Args:
        lifetime: The call.
        receive: The server's.

    Attributes:
        reading: Since when the reader waits; 0.0 while it does not.
    """

    __slots__ = ("_lifetime", "_queue", "_receive", "_wakeup", "_watcher", "reading")

    def __init__(self, lifetime: Lifetime, receive: Receive) -> None:
        self._lifetime = lifetime
        self._receive = receive
        self.reading: float = 0.0
        self._queue: deque[Message] = deque()  # taken by the watcher, not yet by the reader
        self._watcher: anyio.CancelScope | None = None
        self._wakeup: anyio.Event | None = None  # the reader waits for the watcher

    @abstractmethod
    def _has_room(self) -> bool:
        """Whether the watcher may take one more message."""

    @abstractmethod
    def _keeps(self, message: Message) -> bool:
        """Whether a message that the watcher took is kept for the reader; it may be the last."""

    @abstractmethod
    def _end(self) -> Message | None:
        """Return what the reader gets when nothing more comes; None while more may come."""

    async def _next_message(self) -> Message:
        """
        Take the next message by way of the watcher.

        Where the handler has no scope, it is taken in one of its own.
        """
        lifetime = self._lifetime
        while not self._queue:
            end = self._end()
            if end is not None:
                return end
            if self._watcher is None:
                return await lifetime.bounded(self._receive)
            self._wakeup = anyio.Event()
            try:
                await lifetime.bounded(self._wakeup.wait)
            finally:
                self._wakeup = None
        return self._queue.popleft()

    def watch(self) -> None:
        """
        Start the watcher, if it may take something.

        It notices the client leaving while the handler is busy elsewhere.
        """
        if self._watcher is not None or self.reading:
            return  # a reader is in the server's receive itself, and will notice (Q1)
        if self._has_room() and self._end() is None:
            # Made here and not in the task: from now on the reader must leave `receive` alone (Q1).
            sweeper = self._lifetime.sweeper
            self._watcher = sweeper.new_scope()
            sweeper.group.start_soon(self._watch, self._watcher, name="nardis.watcher")

    async def _watch(self, scope: anyio.CancelScope) -> None:
        with scope:
            try:
                # A call that has ended is asked nothing more, also before the first await.
                while not scope.cancel_called and self._has_room() and self._end() is None:
                    message = await self._receive()
                    if self._keeps(message):
                        self._queue.append(message)
                        # The reader goes on by itself: by way of the watcher each chunk would cost
                        # a hand-over between two tasks.
                        if self._wakeup is not None:
                            break
            except BaseException as exc:
                if parted(exc)[0] is not None:
                    raise
                self._lifetime.server_failed(exc)
            finally:
                self._watcher = None
                if self._wakeup is not None:
                    self._wakeup.set()

    def close(self) -> None:
        """End the watcher (C3)."""
        if self._watcher is not None:
            self._watcher.cancel()
