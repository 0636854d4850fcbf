"""The body of a request: as a stream, or gathered."""

from __future__ import annotations

import codecs
from collections.abc import Coroutine
from typing import Any, Final

import anyio
from anyio.abc import ByteReceiveStream

from ._exchange.intake import Intake
from .errors import BodyAlreadyRead, HTTPError

__all__ = ["Body", "decode_text", "gather"]

# Codecs of Python that no peer may choose: they are no charsets, or fail in ways of their own.
_NO_CHARSETS: Final = frozenset(
    {"idna", "mbcs", "oem", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
)


class Body(ByteReceiveStream):
    """
    The request body as an anyio byte stream and as an async iterator of `bytes`.

    Chunks come as the server delivers them, never empty, and are asked for one by one: what is not
    read is not taken from the client. It has one reader at a time and is read once.

    Cancellation: a cancelled read loses nothing; the next one goes on where it was.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._rest = b""
        self._closed = False

    def __aiter__(self) -> Body:
        if self._intake.complete and self._intake.received and not self._rest:
            raise BodyAlreadyRead(
                "the request body was read to its end before, and it is not kept: read it once, or "
                "use `await req.bytes()`"
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

    def is_closed(self) -> bool:
        """Whether the stream was closed."""
        return self._closed

    async def take(self) -> tuple[bytes, bool]:
        """Return the next piece, and whether more may come: for a reader that goes on from here."""
        if self._rest:
            piece, self._rest = self._rest, b""
        else:
            try:
                piece = await self._intake.next_chunk()
            except StopAsyncIteration:
                piece = b""
        return piece, not self._intake.complete

    async def aclose(self) -> None:
        """Read no more. The rest of the body is left to the end of the exchange."""
        self._closed = True
        await anyio.lowlevel.checkpoint()


async def gather(intake: Intake, limit: int) -> bytes:
    """
    Return the whole body.

    Raises:
        HTTPError: 413 when it is larger than *limit* bytes, or than `streamed_body_bytes`.
    """
    streamed = intake.limit
    intake.limit = limit if streamed is None else min(limit, streamed)
    chunks: list[bytes] = []
    try:
        while not intake.complete:
            chunks.append(await intake.next_chunk())
    except StopAsyncIteration:
        pass  # the last message was empty
    finally:
        intake.limit = streamed
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def decode_text(body: bytes, charset: str) -> str:
    """
    Decode *body*.

    Raises:
        HTTPError: 400 when the bytes do not fit the charset, 415 when that is unknown.
    """
    try:
        if codecs.lookup(charset).name in _NO_CHARSETS:
            raise LookupError(charset)
        return body.decode(charset)
    except UnicodeError as exc:
        raise HTTPError(400, f"the request body is not valid {charset}") from exc
    except LookupError as exc:
        raise HTTPError(415, f"the charset {charset!r} is not supported") from exc
