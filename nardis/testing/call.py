"""One call of the application, as a server makes it."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from typing import NoReturn

import anyio.to_thread

from .._sources.closing import Closing
from .._sources.stepper import steps_in_flight
from ..errors import UsageError
from ..types import ASGIApp, Message, Scope
from .requests import Pairs
from .rules import Answer, AppError, ASGIViolation, is_departure

__all__ = ["Call", "Manners", "ends"]


# `stream()` waits for a head until everything in the loop rests, but something else in a test may
# keep it busy for ever.
_BUSY_S = 1.0

# Then a little longer, for short timers and foreign threads; so many times while threads of anyio's
# or of pipe() are at work.
_GRACE_S, _GRACES = 0.05, 10

# `send` returns at once when nobody listens, as on a server. One turn of the event loop in so many
# calls lets the client cancel an application that never notices.
_SENDS_PER_TURN = 1000


@dataclass(frozen=True, slots=True)
class Manners:
    """
    How a client treats the application.

    Attributes:
        strict: A broken rule of ASGI is an `ASGIViolation`.
        raise_app_errors: An error of the application is an `AppError`.
        close_s: How long the application may go on after the client left, in seconds.
    """

    strict: bool
    raise_app_errors: bool
    close_s: float


class Call:
    """One call of the application: `receive` and `send` are its side, the rest is the test's."""

    def __init__(
        self,
        scope: Scope,
        content: bytes | AsyncIterable[bytes] | None,
        manners: Manners,
        on_head: Callable[[Pairs], None],
    ) -> None:
        self.scope: Scope = scope
        self.content: bytes | AsyncIterable[bytes] | None = content
        self.manners: Manners = manners
        self._on_head = on_head
        self.name: str = f"{scope['method']} {scope['path']}"
        self.answer: Answer = Answer(scope)
        self.status: int = 0  # as the peer sees it: 0 until the head
        self.headed: anyio.Event = anyio.Event()
        self.ended: anyio.Event = anyio.Event()
        self._done, self._pumped = anyio.Event(), anyio.Event()
        self._task_scope, self._pump_scope = anyio.CancelScope(), anyio.CancelScope()
        self._down_out, self._down_in = anyio.create_memory_object_stream[bytes](0)
        self._up_out, self._up_in = anyio.create_memory_object_stream[bytes](0)
        self._sending = anyio.Lock(fast_acquire=True)
        self._wanted = anyio.Event()
        self._unread = content if isinstance(content, bytes) else None
        self._uploading = self._unread is None
        if not isinstance(content, AsyncIterable):
            self._pumped.set()
        self._receiving = self._told = self._gone = self._finished = self._reported = self._hung = (
            False
        )
        self._unheard_sends = 0
        self._error: Exception | None = None
        self._body_error: Exception | None = None
        self._violation: ASGIViolation | None = None

    # The application's side.

    async def run(self, app: ASGIApp) -> None:
        """Call the application, to its end."""
        with self._task_scope:
            try:
                await app(self.scope, self.receive, self.send)
            except Exception as exc:
                self._error = exc
            finally:
                if not self.status and not self._gone and self._failure() is None:
                    self.status = (
                        500  # what servers answer for an application that ended without a head
                    )
                self._close()
                self._done.set()

    async def receive(self) -> Message:
        """Be the application's `receive`."""
        if self.manners.strict and self._receiving:
            self._violate("two receive() calls at once")
        if self.manners.strict and self._told:
            await self._violate_soon("receive() after it said http.disconnect")
        self._receiving = True
        try:
            if not self.ended.is_set() and self._unread is not None:
                body, self._unread = self._unread, None
                return {"type": "http.request", "body": body, "more_body": False}
            if not self.ended.is_set() and self._uploading:
                return await self._receive_upload()
            await self.ended.wait()
            return self._disconnected()
        finally:
            self._receiving = False

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
                self._disconnected()
                if self.ended.is_set()
                else {"type": "http.request", "body": b"", "more_body": False}
            )

    def _disconnected(self) -> Message:
        self._told = True
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Be the application's `send`."""
        message = {**message}
        if self.manners.strict:
            fault = self.answer.fault(message)
            if fault:
                self._violate(fault)
            if self._told:
                await self._violate_soon("send() after receive() said http.disconnect")
        expected = (
            message.get("type") == self.answer.expects
        )  # a server without lint ignores what it does not expect
        chunk = self.answer.take(message) if expected else b""
        if not self._gone and not self.status and self.answer.status:
            self.status = self.answer.status
            self._on_head(self.answer.headers)
            self.headed.set()
        if expected and not self._gone and (chunk or self.answer.expects is None):
            await self._hand_over(chunk, final=self.answer.expects is None)
        else:
            self._unheard_sends += 1
            if self._unheard_sends % _SENDS_PER_TURN == 0:
                await anyio.lowlevel.checkpoint()

    async def _hand_over(self, chunk: bytes, *, final: bool) -> None:
        async with (
            self._sending
        ):  # the final message must not overtake a chunk that another task is sending
            try:
                if chunk:
                    await self._down_out.send(chunk)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return  # the client left meanwhile
            if final and not self._gone:
                self._finished = True
                self._close()

    async def _violate_soon(self, rule: str) -> NoReturn:
        # The task that heard the disconnect may be cancelling this one, which was on its way here
        # already: then it ends here.
        await anyio.lowlevel.checkpoint()
        self._violate(rule)

    def _violate(self, rule: str) -> NoReturn:
        violation = ASGIViolation(f"{self.name}: {rule}")
        self._violation = self._violation or violation
        self.hang_up()  # the test learns it now, not when the application gets round to ending
        raise violation

    # The test's side.

    async def pump(self, chunks: AsyncIterable[bytes]) -> None:
        """Send *chunks* up, each pulled when the application has asked for it."""
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
            self._body_error = exc
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
        return (
            self._finished and self.answer.whole and self._error is None and self._violation is None
        )

    def hang_up(self) -> None:
        """Disconnect."""
        self._gone = True
        self._close()
        self._down_in.close()

    def _close(self) -> None:
        self.headed.set()
        self.ended.set()
        self._pump_scope.cancel()
        for stream in (self._up_out, self._up_in, self._down_out):
            stream.close()

    async def leave(self, close_s: float) -> None:
        """Disconnect, and wait for the application; shielded, so that no task is left behind."""
        self.hang_up()
        if not await ends(self._done, self._task_scope, close_s):
            self._hung = True
        with anyio.CancelScope(shield=True):
            await self._pumped.wait()

    def settle(self) -> None:
        """Raise what went wrong, once."""
        if self._hung:
            self._hung = False
            raise AppError(
                f"{self.name}: the app kept running {self.manners.close_s} s after the disconnect "
                "and was cancelled"
            )
        failure = self._failure()
        if failure is None or self._reported:
            return
        self._reported = True
        if isinstance(failure, ASGIViolation):
            raise ASGIViolation(*failure.args) from failure
        if failure is self._body_error:
            raise failure
        raise AppError(f"{self.name}: the app raised {failure!r}") from failure

    def _failure(self) -> Exception | None:
        if self._violation or self._body_error or not self.manners.raise_app_errors:
            return self._violation or self._body_error
        errors = [*self.scope["extensions"]["nardis.errors"], self._error]
        return next((exc for exc in errors if exc and not (self._gone and is_departure(exc))), None)


async def ends(done: anyio.Event, scope: anyio.CancelScope, close_s: float) -> bool:
    """Wait for a task to end, *close_s* at most, then cancel it. Not cancellable, but bounded."""
    with anyio.move_on_after(close_s, shield=True):
        await done.wait()
        return True
    scope.cancel()
    with anyio.move_on_after(
        close_s, shield=True
    ):  # a thread, or a shield of its own, may hold it further
        await done.wait()
    return False
