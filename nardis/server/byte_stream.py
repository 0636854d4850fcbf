"""What a conversation needs of its client, in the clear or over TLS."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator
from typing import Any

__all__ = ["ByteStream"]


class ByteStream(ABC):
    """
    What a conversation needs of its client, in the clear or over TLS.

    Attributes:
        rest: Of a write that was cancelled, and kept, it is still to be sent.
    """

    __slots__ = ()

    rest: Iterator[memoryview] | None

    @abstractmethod
    async def read(self) -> bytes | None:
        """
        Return what has arrived, as soon as something has.

        Nothing, b"", is the end, however it came; None says that `wake` was called. One task may
        read at a time. Cancellation loses nothing.
        """

    @abstractmethod
    async def write(self, *pieces: bytes, keeps: bool = False) -> bool:
        """
        Send *pieces* as one; return when the system took them, False if the client is gone.

        Tasks that write at once take turns. Cancellation: before the first byte it leaves no trace;
        after it the stream is cut, because half a piece may be on the wire. Over TLS it is cut once
        the record is made, which the session would miss. With *keeps* it is not cut: `rest` is
        there, and `resume` has to be called before anything else is written.
        """

    def offer(self, pieces: tuple[bytes, ...], size: int) -> Coroutine[Any, Any, bool] | None:
        """
        Send *pieces*, *size* bytes, as `write` does: without a coroutine if there is room for them.

        Return None if the system took all of them; otherwise what is to be awaited at once, which
        returns what `write` does.
        """
        return self.write(*pieces)

    @abstractmethod
    async def resume(self) -> bool:
        """Send the `rest`, as `write` does. Cancellation: the stream is cut."""

    def begin(self, data: bytes) -> int:
        """
        Send what there is room for now, if nobody writes; return how many bytes the system took.

        Who called it sends what is left, before anybody else can.
        """
        return 0

    @abstractmethod
    def try_write(self, data: bytes) -> bool:
        """
        Send a few bytes if there is room for them now, and nobody writes; return whether it was so.

        The stream is cut if there was room for a part.
        """

    @abstractmethod
    async def finish(self, *, whole: bool) -> None:
        """Close our sending half; *whole* says that nothing is missing, which TLS can tell."""
