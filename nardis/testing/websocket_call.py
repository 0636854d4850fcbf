"""One WebSocket, as a server makes a call of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

import anyio

from ..datastructures import Headers
from ..errors import UsageError
from ..types import Message, Scope
from .call import Call, Manners, reader_took
from .requests import Pairs
from .responses import TestResponse
from .rules import Talk, payload_of

__all__ = ["ABNORMAL", "NORMAL", "WebSocketCall"]

# RFC 6455 §7.4.1. An application that ends without a word is closed with 1011, as our server does.
NORMAL: Final = 1000
ABNORMAL: Final = 1006
_INTERNAL_ERROR: Final = 1011


@dataclass(eq=False, slots=True)
class _Handed:
    """A message of the application, which lies there until somebody reads it."""

    said: str | bytes
    taken: anyio.Event = field(default_factory=anyio.Event)


class WebSocketCall(Call):
    """
    One WebSocket: `receive` and `send` are the application's side, the rest is the test's.

    Attributes:
        talk: What the application has said.
        answered: It has accepted or denied, or will not.
        accepted: It has accepted while the client was there.
        code: How the WebSocket ended; 0 until then. The first end counts.
        reason: The words that came with the code.
    """

    farewell: ClassVar[str] = "websocket.disconnect"

    def __init__(self, scope: Scope, manners: Manners, on_head: Callable[[Pairs], None]) -> None:
        super().__init__(scope, manners, f"WebSocket {scope['path']}")
        self._on_head = on_head
        self.talk: Talk = Talk(scope)
        self.answered: anyio.Event = anyio.Event()
        self.accepted: bool = False
        self.code: int = 0
        self.reason: str = ""
        self._connected = False
        self._up_out, self._up_in = anyio.create_memory_object_stream[str | bytes](0)
        self._line: deque[_Handed] = deque()
        self._news = anyio.Event()

    # The application's side.

    def returned(self) -> None:
        """Note that the application has ended."""
        if not self.gone and not self.talk.denial.status:
            self.talk.denial.status = 500  # what servers answer where nobody does
        self._end(_INTERNAL_ERROR if self.accepted else ABNORMAL, "")
        self._up_in.close()

    async def next_message(self) -> Message:
        """Wait for the next message of the client, or for the end."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        try:
            said = await self._up_in.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            message = {"type": self.farewell, "code": self.code}
            return {**message, "reason": self.reason} if self.reason else message
        return {"type": "websocket.receive", "text" if isinstance(said, str) else "bytes": said}

    def fault(self, message: Message) -> str | None:
        """Name the rule that *message* breaks, if any."""
        return self.talk.fault(message)

    async def take(self, message: Message) -> bool:
        """Take what the application says; a message waits for its reader."""
        expected, kind = self.talk.take(message), message.get("type")
        if not expected or self.gone:
            return False
        if kind == "websocket.send":
            await self._hand_over(_Handed(payload_of(message) or b""))
            return True
        if kind == "websocket.accept":
            self.accepted = True
            self._on_head(self.talk.headers)
            self.answered.set()
        elif self.accepted:
            self._end(message.get("code") or NORMAL, message.get("reason") or "")
        elif kind == "websocket.http.response.start":
            self._on_head(self.talk.denial.headers)
        elif self.talk.stage == "over":
            self._end(ABNORMAL, "")
        return False

    async def _hand_over(self, handed: _Handed) -> None:
        self._line.append(handed)
        self._wake()
        try:
            await reader_took(handed.taken)
        finally:
            if not handed.taken.is_set():
                self._line.remove(handed)

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    def _end(self, code: int, reason: str, *, heard: bool = False) -> None:
        # *heard*: what the test has said before is still for the application to receive.
        if not self.code:
            self.code, self.reason = code, reason
        self._up_out.close()
        if not heard:
            self._up_in.close()
        for handed in self._line:  # no send waits any more; the test reads what lies there
            handed.taken.set()
        self.answered.set()
        self._wake()

    # The test's side.

    def hang_up(self) -> None:
        """Vanish, without a Close frame."""
        self._depart(ABNORMAL, "", heard=False)

    def depart(self) -> None:
        """Close, or vanish where nothing was accepted."""
        if self.accepted:
            self.close(NORMAL, "")
        else:
            self.hang_up()

    def close(self, code: int, reason: str) -> None:
        """Send a Close frame, after what is being sent; nothing more is read."""
        self._depart(code, reason, heard=True)

    def _depart(self, code: int, reason: str, *, heard: bool) -> None:
        self.gone = True
        self._end(code, reason, heard=heard)
        self._line.clear()

    async def say(self, said: str | bytes) -> bool:
        """Send a message; return whether the application took it, and did not end before."""
        try:
            await self._up_out.send(said)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self.settle()
            return False
        return True

    async def next_said(self) -> str | bytes | None:
        """Return the next message of the application, None at the end."""
        await anyio.lowlevel.checkpoint()
        while not self._line:
            if self.code:
                self.settle()
                return None
            await self._news.wait()
        handed = self._line.popleft()
        handed.taken.set()
        return handed.said

    def denied(self) -> TestResponse:
        """Return the answer of an application that did not accept."""
        answer, content = self.talk.denial, self.talk.denial_body
        if not answer.status:
            raise UsageError(f"{self.name}: the client was closed before the application answered")
        complete = answer.whole and not self.failed
        return TestResponse(answer.status, Headers(answer.headers), content, Headers(()), complete)
