"""What a test gets: a whole response, or one that is read as it comes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import anyio

from ..datastructures import Headers
from .http_call import HTTPCall

__all__ = ["StreamedResponse", "TestResponse"]

_CHARSET = re.compile(r'charset="?([^\s";]+)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TestResponse:
    """A response read to its end; `complete` is False when it was cut short."""

    __test__: ClassVar[bool] = False

    status_code: int
    headers: Headers
    content: bytes
    trailers: Headers
    complete: bool

    @property
    def text(self) -> str:
        """The body as text, by its charset or UTF-8; bytes that do not decode are replaced."""
        charset = _CHARSET.search(self.headers.get("content-type") or "")
        return self.content.decode(charset[1] if charset else "utf-8", "replace")

    def json(self) -> Any:
        """Decode the body as JSON. Raises `ValueError` when it is not."""
        return json.loads(self.content)


class StreamedResponse:
    """
    A response as it arrives, to be read, slowed down, fed or left while it is still running.

    Made by `Client.stream()`. Iterating gives the chunks as the application sent them, never empty
    ones.

    Backpressure: the application's `send` returns when its chunk is taken here, and not before.
    Cancellation: of any method loses no bytes; what was taken from the application stays for the
    next read.
    """

    __test__: ClassVar[bool] = False

    def __init__(self, call: HTTPCall) -> None:
        self._call = call
        self._taken = bytearray()

    @property
    def status_code(self) -> int:
        """The status. Raises `UsageError` while there is no head; `await head()` waits for it."""
        self._call.require_head()
        return self._call.status

    @property
    def headers(self) -> Headers:
        """The header fields. Raises `UsageError` while there is no head."""
        self._call.require_head()
        return Headers(self._call.answer.headers)

    @property
    def trailers(self) -> Headers:
        """The trailer fields; empty before the end, and when there are none."""
        return Headers(self._call.answer.trailers)

    @property
    def complete(self) -> bool:
        """
        Whether the response is whole, as an HTTP client could tell.

        True only when the final message was taken, the application did not raise, and the body has
        as many bytes as Content-Length says (not asked of HEAD, 204 and 304).
        """
        return self._call.complete

    async def head(self) -> None:
        """
        Wait for status and fields.

        Raises:
            AppError: The application failed before.
            UsageError: After a disconnect.
        """
        await self._call.headed.wait()
        self._call.require_head()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._taken:
            return self._take(None)
        chunk = await self._call.next_chunk()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def read(self, n: int | None = None) -> bytes:
        """
        Read exactly *n* bytes, or all there are when the body is shorter or *n* is None.

        Raises `AppError` or `ASGIViolation`, once, at the end of a body that the application did
        not end by itself; the bytes before it stay readable.
        """
        while n is None or len(self._taken) < n:
            chunk = await self._call.next_chunk()
            if chunk is None:
                break
            self._taken += chunk
        return self._take(n)

    def _take(self, n: int | None) -> bytes:
        taken = bytes(self._taken[:n])
        del self._taken[:n]
        return taken

    async def send(self, chunk: bytes) -> None:
        """
        Send the next chunk of a request body that is sent by hand.

        Backpressure: returns when the application has received it.

        Raises:
            anyio.BrokenResourceError: The response ended, or the client disconnected, before the
            application asked for it. AppError: The application failed before it asked for it.
        """
        await self._call.upload(chunk)

    async def end(self) -> None:
        """End a request body that is sent by hand; waits for nobody."""
        self._call.end_upload()
        await anyio.lowlevel.checkpoint()

    async def disconnect(self) -> None:
        """
        Leave: the application's `receive` now says `http.disconnect`, its `send` does nothing.

        What was read so far stays readable. Does not wait for the application; the end of the
        `stream()` block does.
        """
        self._call.hang_up()
        await anyio.lowlevel.checkpoint()
