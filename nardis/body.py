"""The body of a request as a stream."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream

from ._exchange.intake import Intake
from .errors import BodyAlreadyRead

__all__ = ["Body"]


class Body(ByteReceiveStream):
    """
    The request body as an anyio byte stream and as an async iterator of `bytes`.

    Chunks come as the server delivers them, never empty, and are asked for one by one: what is not read is not taken from the
    client. It has one reader at a time and is read once.

    Cancellation: a cancelled read loses nothing; the next one goes on where it was.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._rest = b""
        self._closed = False

    def __aiter__(self) -> Body:
        if self._intake.complete and self._intake.received and not self._rest:
            raise BodyAlreadyRead(
                "the request body was read to its end before, and it is not kept: read it once, or use `await req.bytes()`"
            )
        return self

    # One coroutine for each chunk: the exchange's own, which ends with StopAsyncIteration.
    def __anext__(self) -> Coroutine[Any, Any, bytes]:  # pyright: ignore[reportIncompatibleMethodOverride]  # it is awaited all the same
        if self._rest or self._closed:
            return self._leftover()
        return self._intake.next_chunk()

    async def _leftover(self) -> bytes:
        if self._closed:
            raise StopAsyncIteration
        rest, self._rest = self._rest, b""
        return rest

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """
        Return at least one and at most *max_bytes* bytes.

        Raises:
            anyio.EndOfStream: The body is complete.
            anyio.ClosedResourceError: This stream was closed.
            ClientDisconnected: The client left, and the handler is not cancelled for it.
            HTTPError: 413 when the body is over its limit, 408 when it stopped arriving.
        """
        if self._closed:
            raise anyio.ClosedResourceError
        try:
            chunk = self._rest or await self._intake.next_chunk()
        except StopAsyncIteration:
            raise anyio.EndOfStream from None
        self._rest = chunk[max_bytes:]
        return chunk[:max_bytes]

    async def aclose(self) -> None:
        """Read no more. The rest of the body is left to the end of the exchange."""
        self._closed = True
        await anyio.lowlevel.checkpoint()
