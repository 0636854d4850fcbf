"""One HTTP request, as a server makes a call of it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable
from typing import ClassVar

import anyio.to_thread
from anyio.abc import TaskGroup

from .._sources.closing import Closing
from .._sources.stepper import steps_in_flight
from ..errors import UsageError
from ..types import ASGIApp, Message, Scope
from .call import Call, Manners
from .requests import Pairs
from .rules import Answer

__all__ = ["HTTPCall"]


# `stream()` waits for a head until everything in the loop rests, but something else in a test may
# keep it busy for ever.
_BUSY_S = 1.0

# Then a little longer, for short timers and foreign threads; so many times while threads of anyio's
# or of pipe() are at work.
_GRACE_S, _GRACES = 0.05, 10


class HTTPCall(Call):
    """One request: `receive` and `send` are the application's side, the rest is the test's."""

    farewell: ClassVar[str] = "http.disconnect"

    def __init__(
        self,
        scope: Scope,
        content: bytes | AsyncIterable[bytes] | None,
        manners: Manners,
        on_head: Callable[[Pairs], None],
    ) -> None:
        super().__init__(scope, manners, f"{scope['method']} {scope['path']}")
        self.content: bytes | AsyncIterable[bytes] | None = content
        self._on_head = on_head
        self.answer: Answer = Answer(scope)
        self.status: int = 0  # as the peer sees it: 0 until the head
        self.headed: anyio.Event = anyio.Event()
        self.ended: anyio.Event = anyio.Event()
        self._pumped, self._pump_scope = anyio.Event(), anyio.CancelScope()
        self._down_out, self._down_in = anyio.create_memory_object_stream[bytes](0)
        self._up_out, self._up_in = anyio.create_memory_object_stream[bytes](0)
        self._sending = anyio.Lock(fast_acquire=True)
        self._wanted = anyio.Event()
        self._unread = content if isinstance(content, bytes) else None
        self._uploading = self._unread is None
        if not isinstance(content, AsyncIterable):
            self._pumped.set()
        self._finished = False

    # The application's side.

    def returned(self) -> None:
        """Note that the application has ended."""
        if not self.status and not self.gone and self.failure() is None:
            self.status = 500  # what servers answer for an application that ended without a head
        self._close()

    async def next_message(self) -> Message:
        """Wait for the next piece of the body, or for the end."""
        if not self.ended.is_set() and self._unread is not None:
            body, self._unread = self._unread, None
            return {"type": "http.request", "body": body, "more_body": False}
        if not self.ended.is_set() and self._uploading:
            return await self._receive_upload()
        await self.ended.wait()
        return {"type": self.farewell}

    async def _receive_upload(self) -> Message:
        if (
            not self._up_in.statistics().tasks_waiting_send
        ):  # a chunk may be left over from a receive() that was cancelled
            self._wanted.set()
        try:
            return {"type": "http.request", "body": await self._up_in.receive(), "more_body": True}
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._uploading = False
            return (
                {"type": self.farewell}
                if self.ended.is_set()
                else {"type": "http.request", "body": b"", "more_body": False}
            )

    def fault(self, message: Message) -> str | None:
        """Name the rule that *message* breaks, if any."""
        return self.answer.fault(message)

    async def take(self, message: Message) -> bool:
        """Take a part of the answer, and hand its bytes to the reader."""
        expected = (
            message.get("type") == self.answer.expects
        )  # a server without lint ignores what it does not expect
        chunk = self.answer.take(message) if expected else b""
        if not self.gone and not self.status and self.answer.status:
            self.status = self.answer.status
            self._on_head(self.answer.headers)
            self.headed.set()
        final = self.answer.expects is None
        if not expected or self.gone or not (chunk or final):
            return False
        await self._hand_over(chunk, final=final)
        return True

    async def _hand_over(self, chunk: bytes, *, final: bool) -> None:
        async with (
            self._sending
        ):  # the final message must not overtake a chunk that another task is sending
            try:
                if chunk:
                    await self._down_out.send(chunk)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return  # the client left meanwhile
            if final and not self.gone:
                self._finished = True
                self._close()

    # The test's side.

    def start(self, tasks: TaskGroup, app: ASGIApp) -> None:
        """Start the call, and the source of its body."""
        super().start(tasks, app)
        if isinstance(self.content, AsyncIterable):
            tasks.start_soon(self._pump, self.content, name=f"{self.name} (body)")

    async def _pump(self, chunks: AsyncIterable[bytes]) -> None:
        # Each chunk is pulled when the application has asked for it.
        try:
            with self._pump_scope:
                async with Closing(
                    chunks if inspect.isasyncgen(chunks) else None, seconds=self.manners.close_s
                ):
                    await self._wanted.wait()
                    async for chunk in chunks:
                        self._wanted = anyio.Event()
                        await self._up_out.send(chunk)
                        await self._wanted.wait()
                    self._up_out.close()
        except Exception as exc:
            self._test_error = exc
            self.hang_up()
        finally:
            self._pumped.set()

    async def upload(self, chunk: bytes) -> None:
        """Send a chunk of the request body; return when the application took it."""
        self._require_by_hand()
        try:
            await self._up_out.send(chunk)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            self.settle()
            raise anyio.BrokenResourceError(
                f"{self.name}: nobody will receive this chunk, its body or response has ended"
            ) from exc

    def end_upload(self) -> None:
        """End the request body."""
        self._require_by_hand()
        self._up_out.close()

    def _require_by_hand(self) -> None:
        if self.content is not None:
            raise UsageError(
                "only POST, PUT and PATCH without content, json, data or files have a body sent by "
                "hand"
            )

    async def next_chunk(self) -> bytes | None:
        """Return the next chunk of the response, None at its end."""
        try:
            return await self._down_in.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self.settle()
            return None

    async def headed_or_idle(self) -> None:
        """Wait for the head, or until it will not come without the test doing something."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_when_idle, tasks.cancel_scope)
            await self.headed.wait()
            tasks.cancel_scope.cancel()

    async def _cancel_when_idle(self, scope: anyio.CancelScope) -> None:
        for _ in range(
            10
        ):  # anyio's check for idleness polls each 0.1 s on asyncio; most applications rest sooner
            await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(_BUSY_S):
            await anyio.wait_all_tasks_blocked()
        for _ in range(_GRACES):
            await anyio.sleep(_GRACE_S)
            if not (
                anyio.to_thread.current_default_thread_limiter().borrowed_tokens
                or steps_in_flight()
            ):
                break
        scope.cancel()

    def require_head(self) -> None:
        """Raise what kept the head from coming."""
        if not self.status:
            self.settle()
            why = (
                "none came before the end"
                if self.headed.is_set()
                else "it has not begun: `await response.head()` waits for it"
            )
            raise UsageError(f"{self.name}: there is no response head, {why}")

    @property
    def complete(self) -> bool:
        """Whether the response came to a regular end."""
        return self._finished and self.answer.whole and not self.failed

    def hang_up(self) -> None:
        """Disconnect."""
        self.gone = True
        self._close()
        self._down_in.close()

    def _close(self) -> None:
        self.headed.set()
        self.ended.set()
        self._pump_scope.cancel()
        for stream in (self._up_out, self._up_in, self._down_out):
            stream.close()

    async def leave(self, close_s: float) -> None:
        """Disconnect, and wait for the application and for the source of the body; shielded."""
        await super().leave(close_s)
        with anyio.CancelScope(shield=True):
            await self._pumped.wait()
