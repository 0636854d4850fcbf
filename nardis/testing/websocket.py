"""
A WebSocket as a test holds it: `Client.websocket()`.

Source: RFC 6455, RFC 8441, and the ASGI specification, "HTTP & WebSocket" 2.3.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, Self

import anyio

from ..datastructures import Headers
from ..errors import UsageError
from .responses import TestResponse
from .rules import close_fault
from .websocket_call import WebSocketCall

__all__ = ["TestWebSocket", "WebSocketClosed", "WebSocketDenied"]

# RFC 6455 §7.1.5: what a peer hears of a Close frame that has no code.
_NO_CODE = 1005


class WebSocketDenied(Exception):
    """
    The application did not accept the WebSocket.

    Attributes:
        response: The answer of the handshake. It is a 403 without a body where the application
            sent a plain `websocket.close`.
    """

    def __init__(self, response: TestResponse) -> None:
        super().__init__(
            f"expected a WebSocket, and got a {response.status_code}: {response.text[:200]!r}"
        )
        self.response = response


class WebSocketClosed(Exception):
    """
    The WebSocket has ended: nothing more can be received, or sent.

    Attributes:
        code: As `TestWebSocket.close_code` has it.
        reason: The words that came with it, or "".
    """

    def __init__(self, name: str, code: int, reason: str) -> None:
        super().__init__(f"{name}: closed with {code}" + (f", {reason!r}" if reason else ""))
        self.code = code
        self.reason = reason


class TestWebSocket:
    """
    A WebSocket that the application accepted: `async for message in ws`, `await ws.send("hello")`.

    Made by `Client.websocket()`. A message is a str or bytes. Iterating ends when the WebSocket
    ends, whatever its code is: `close_code` tells it.

    Backpressure: both ways, and without a buffer. The application's `send` returns when its message
    is received here. `send()` here returns when the application received the message. So a test
    that wants to send while the application sends does the one in a task beside the other.
    Cancellation: of any method loses no message and sends none in part.
    """

    __test__: ClassVar[bool] = False

    def __init__(self, call: WebSocketCall) -> None:
        self._call = call

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the application chose, None if it chose none."""
        return self._call.talk.subprotocol

    @property
    def headers(self) -> Headers:
        """The fields that the application sent when it accepted; a server adds its own."""
        return Headers(self._call.talk.headers)

    @property
    def close_code(self) -> int | None:
        """
        How the WebSocket ended, None while it is open.

        It is the code of the side that closed first. 1006 is a client that vanished. 1011 is an
        application that raised, or returned without a close, as `nardis serve` tells its client.

        Source: RFC 6455 §7.1.5 and §7.4.1.
        """
        return self._call.code or None

    @property
    def close_reason(self) -> str:
        """The words that came with the code, or ""."""
        return self._call.reason

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        message = await self._call.next_said()
        if message is None:
            raise StopAsyncIteration
        return message

    async def receive(self) -> str | bytes:
        """
        Receive the next message.

        Raises:
            WebSocketClosed: There is none, because the WebSocket has ended.
            AppError: The application failed; raised once, instead of the first of those.
        """
        message = await self._call.next_said()
        if message is None:
            raise self._closed()
        return message

    async def receive_text(self) -> str:
        """
        Receive the next message, which is text.

        Raises:
            TypeError: It is bytes.
            WebSocketClosed: There is none.
            AppError: The application failed.
        """
        message = await self.receive()
        if not isinstance(message, str):
            raise TypeError(f"expected text, and got bytes: {message[:200]!r}")
        return message

    async def receive_bytes(self) -> bytes:
        """
        Receive the next message, which is bytes.

        Raises:
            TypeError: It is text.
            WebSocketClosed: There is none.
            AppError: The application failed.
        """
        message = await self.receive()
        if isinstance(message, str):
            raise TypeError(f"expected bytes, and got text: {message[:200]!r}")
        return message

    async def receive_json(self) -> Any:
        """
        Receive the next message, text or bytes, and decode it as JSON.

        Raises:
            ValueError: It is no JSON.
            WebSocketClosed: There is none.
            AppError: The application failed.
        """
        return json.loads(await self.receive())

    async def send(self, message: str | bytes | bytearray | memoryview) -> None:
        """
        Send a message: text, or anything that is like bytes.

        Backpressure: returns when the application received it.

        Raises:
            WebSocketClosed: The WebSocket ended before the application asked for it.
            AppError: The application failed before it asked for it.
        """
        if isinstance(message, str):
            message.encode()  # a lone surrogate cannot be sent: UnicodeEncodeError
        if not await self._call.say(message if isinstance(message, str) else _octets(message)):
            raise self._closed()

    async def send_json(self, obj: Any) -> None:
        """Send *obj* as JSON, in a text message; see `send()`."""
        await self.send(json.dumps(obj, separators=(",", ":"), ensure_ascii=False))

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """
        Close the WebSocket, and wait for the application to end.

        The application receives what was sent before, then one `websocket.disconnect` with the
        code. What it sends after that reaches nobody. 1005 sends no code, as browsers do unless
        they are told one. After the end it only waits.

        Raises:
            UsageError: No Close frame may have that code or that reason.
            AppError: The application failed, or was still running `close_s` later and was
                cancelled.

        Cancellation: the application is waited for all the same.

        Source: RFC 6455 §5.5.1 and §7.4.
        """
        fault = close_fault(code, reason)
        if fault and not (code == _NO_CODE and reason == ""):
            raise UsageError(f"cannot close: {fault}")
        self._call.close(code, reason)
        await self._call.leave(self._call.manners.close_s)
        self._call.settle()

    async def disconnect(self) -> None:
        """
        Vanish without a close: the application receives a `websocket.disconnect` with 1006.

        What it sends after that reaches nobody. Does not wait for the application; the end of the
        `websocket()` block does.
        """
        self._call.hang_up()
        await anyio.lowlevel.checkpoint()

    def _closed(self) -> WebSocketClosed:
        return WebSocketClosed(self._call.name, self._call.code, self._call.reason)


def _octets(message: object) -> bytes:
    return bytes(memoryview(message))  # type: ignore[arg-type]  # anything else is a TypeError
