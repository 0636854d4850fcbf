"""One WebSocket, as a server makes a call of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

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
    said: str | bytes
    taken: anyio.Event = field(default_factory=anyio.Event)
    dropped: bool = False


class _Line:
    """Messages that go one way. Each lies here, and its sender waits, until somebody takes it."""

    def __init__(self) -> None:
        self._lying: deque[_Handed] = deque()
        self._news = anyio.Event()
        self._closed = False

    async def put(self, said: str | bytes) -> bool:
        """Wait until *said* was taken; return False if nobody will take it."""
        await checkpoint_if_cancelled()  # without a turn: messages keep the order of calls
        if self._closed:
            await checkpoint()
            return False
        handed = _Handed(said)
        self._lying.append(handed)
        self._wake()
        try:
            await reader_took(handed.taken)
        finally:
            if not handed.taken.is_set():
                self._lying.remove(handed)
        return not handed.dropped

    async def take(self) -> str | bytes | None:
        """Wait for the next message and take it; None at the end."""
        await checkpoint()
        while not self._lying:
            if self._closed:
                return None
            await self._news.wait()
        handed = self._lying.popleft()
        handed.taken.set()
        return handed.said

    def close(self) -> None:
        """Let nothing more be put; what lies here can be taken."""
        self._closed = True
        self._wake()

    def let_go(self) -> None:
        """Close, and let no sender wait for what lies here."""
        self.close()
        for handed in self._lying:
            handed.taken.set()

    def drop(self) -> None:
        """Close, and drop what lies here."""
        for handed in self._lying:
            handed.dropped = True
        self.let_go()
        self._lying.clear()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()


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
        self._up, self._down = _Line(), _Line()

    # The application's side.

    def returned(self) -> None:
        """Note that the application has ended."""
        if not self.gone and not self.talk.denial.status:
            self.talk.denial.status = 500  # what servers answer where nobody does
        self._close(_INTERNAL_ERROR if self.accepted else ABNORMAL)

    async def next_message(self) -> Message:
        """Wait for the next message of the client, or for the end."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        said = await self._up.take()
        if said is None:
            message = {"type": self.farewell, "code": self.code}
            return {**message, "reason": self.reason} if self.reason else message
        return {"type": "websocket.receive", "text" if isinstance(said, str) else "bytes": said}

    def fault(self, message: Message) -> str | None:
        """Name the rule that *message* breaks, if any."""
        return self.talk.fault(message)

    async def take(self, message: Message) -> bool:
        """Take what the application says; a message waits for its reader."""
        kind, payload = message.get("type"), payload_of(message)
        if not self.talk.take(message) or self.gone:
            return False  # a server without lint ignores what it does not expect
        if kind == "websocket.send" and payload is not None:
            return await self._down.put(payload)
        if kind == "websocket.accept":
            self.accepted = True
            self._on_head(self.talk.headers)
            self.answered.set()
        elif self.accepted:
            self._close(message.get("code") or NORMAL, message.get("reason") or "")
        elif kind == "websocket.http.response.start":
            self._on_head(self.talk.denial.headers)
        elif self.talk.stage == "over":
            self._close(ABNORMAL)
        return False

    def _close(self, code: int, reason: str = "") -> None:
        self._end(code, reason)
        self._down.let_go()
        self._up.drop()

    def _end(self, code: int, reason: str) -> None:
        if not self.code:
            self.code, self.reason = code, reason
        self.answered.set()

    # The test's side.

    def hang_up(self) -> None:
        """Vanish, without a Close frame."""
        self._depart(ABNORMAL, "")
        self._up.drop()

    def depart(self) -> None:
        """Close, or vanish where nothing was accepted."""
        if self.accepted:
            self.close(NORMAL, "")
        else:
            self.hang_up()

    def close(self, code: int, reason: str) -> None:
        """Send a Close frame, behind what others are sending; nothing more is read."""
        self._depart(code, reason)
        self._up.close()

    def _depart(self, code: int, reason: str) -> None:
        self.gone = True
        self._end(code, reason)
        self._down.drop()

    async def say(self, said: str | bytes) -> bool:
        """Send a message; return False if the WebSocket ended before the application took it."""
        if await self._up.put(said):
            return True
        self.settle()
        return False

    async def next_said(self) -> str | bytes | None:
        """Return the next message of the application, None at the end."""
        said = await self._down.take()
        if said is None:
            self.settle()
        return said

    def denied(self) -> TestResponse:
        """Return the answer of an application that did not accept."""
        answer, content = self.talk.denial, self.talk.denial_body
        if not answer.status:
            raise UsageError(f"{self.name}: the client was closed before the application answered")
        complete = answer.whole and not self.failed
        return TestResponse(answer.status, Headers(answer.headers), content, Headers(()), complete)
