"""
A server in a script: the test says when each request message comes, and how long each `send` takes.

The driver watches the rules that an application owes its server: one caller at a time in `receive`
and in `send`, the head once and first, one final message, nothing after `http.disconnect`. It keeps
each breach in `Call.violations`, and fails the test for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Self

import anyio
from anyio.lowlevel import checkpoint

from nardis._exchange.sweeper import TICK_S, InFlight, Sweeper, interrupt_all, sweep

WAIT_S = 20.0  # for what must happen: so long only when it does not


async def rest() -> None:
    """
    Let every task run until all of them wait.

    The turns come first because anyio polls each 0.1 s on asyncio.
    """
    for _ in range(25):
        await checkpoint()
    await anyio.wait_all_tasks_blocked()


def part(body: bytes, more: bool = True) -> dict[str, Any]:
    """Make a request message."""
    return {"type": "http.request", "body": body, "more_body": more}


class Call:
    """
    One call of the application.

    Attributes:
        inbox: What `receive` returns next; while it is empty, `receive` waits.
        on_send: Called in each `send` before the message counts as sent; it may wait or raise.
        received: The messages that `receive` returned.
        begun: The messages given to `send`.
        sent: The messages whose `send` returned.
        receives: How often `receive` was called.
        receiving: How many tasks are in `receive` now.
        error: What came out of the application, an Exception or a cancellation.
        violations: The rules that were broken.
    """

    def __init__(self, app: Any, scope: dict[str, Any]) -> None:
        self.app = app
        self.scope = scope
        self.inbox: deque[dict[str, Any] | Exception] = deque()
        self.on_send: Callable[[dict[str, Any]], Awaitable[None]] | None = None
        self.received: list[dict[str, Any]] = []
        self.begun: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.receiving = self.receives = self.sending = 0
        self.error: BaseException | None = None
        self.violations: list[str] = []
        self.ended = anyio.Event()
        self.taken = anyio.Event()  # a message was taken; a new one each time
        self.cancel_scope = anyio.CancelScope()  # the server's, around the application
        self._arrived = anyio.Event()
        self._told = False

    # The application's side.

    async def run(self) -> None:
        with self.cancel_scope:
            try:
                await self.app(self.scope, self.receive, self.send)
            except BaseException as exc:
                self.error = exc
                if not isinstance(exc, Exception):
                    raise
            finally:
                self.ended.set()

    async def receive(self) -> dict[str, Any]:
        self._check(self.receiving == 0, "two tasks in receive()")
        self._check(not self._told, "receive() after http.disconnect")
        self.receiving += 1
        self.receives += 1
        try:
            while not self.inbox:
                self._arrived = anyio.Event()
                await self._arrived.wait()
            message = self.inbox.popleft()
        finally:
            self.receiving -= 1
        taken, self.taken = self.taken, anyio.Event()
        taken.set()
        if isinstance(message, Exception):
            raise message
        self._told = message["type"] == "http.disconnect"
        self.received.append(message)
        return message

    async def send(self, message: dict[str, Any]) -> None:
        self._check(self.sending == 0, "two tasks in send()")
        self._check(not self._told, "send() after http.disconnect")
        self._check(
            (message["type"] == "http.response.start") == (not self.begun),
            f"{message['type']} out of order",
        )
        self._check(not self.final_begun, "send() after the final message")
        self.begun.append(message)
        self.sending += 1
        try:
            if self.on_send is not None:
                await self.on_send(message)
        finally:
            self.sending -= 1
        self.sent.append(message)

    def _check(self, kept: bool, rule: str) -> None:
        self.violations += [] if kept else [rule]

    # The test's side.

    def push(self, *messages: dict[str, Any] | Exception) -> None:
        """Let messages arrive; `receive` raises an exception that is among them."""
        self.inbox.extend(messages)
        self._arrived.set()

    def disconnect(self) -> None:
        """Let the client leave."""
        self.push({"type": "http.disconnect"})

    async def wait(self) -> None:
        """Wait until the application returned or raised."""
        with anyio.fail_after(WAIT_S):
            await self.ended.wait()

    @property
    def final_begun(self) -> bool:
        return any(not message.get("more_body", False) for message in self.begun[1:])

    @property
    def final(self) -> bool:
        """Whether the final message was sent."""
        return any(not message.get("more_body", False) for message in self.sent[1:])

    @property
    def chunks(self) -> list[bytes]:
        return [message.get("body", b"") for message in self.sent[1:]]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def aborted(self) -> bool:
        """Whether a client sees that the response is not whole: it began, and can no longer end."""
        return self.ended.is_set() and bool(self.sent) and not self.final_begun

    @property
    def untouched(self) -> bool:
        """Whether the application ended and sent nothing."""
        return self.ended.is_set() and not self.begun


class Server:
    """
    Serve *app* as a lifespan does, with a clock that stands still.

    Time passes by `tick()`, and only then the sweeper looks. With `sweeping=False` the application
    has no lifespan, and each request brings its own sweeper, of real time. With `runner=True` it
    serves as `nardis serve` does, which tells the application of a shutdown.
    """

    call_type: type[Call] = Call

    def __init__(self, app: Any, *, sweeping: bool = True, runner: bool = False) -> None:
        self.app = app
        self.now = 1_000.0
        self.step = 0.0  # what each look at the clock adds
        self.calls: list[Call] = []
        self.group = anyio.create_task_group()
        self._sweeping = sweeping
        self._runner = runner

    async def __aenter__(self) -> Self:
        await self.group.__aenter__()
        if self._sweeping:
            sweeper = Sweeper(self.group, self.clock)
            sweeper.has_runner = self._runner
            self._begin(sweeper)
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *_: object) -> None:
        self.group.cancel_scope.cancel()
        # Not told of the exception, or it would come out in a group.
        await self.group.__aexit__(None, None, None)
        if self._sweeping:
            self._begin(None)
        violations = [
            (call.scope["path"], call.violations) for call in self.calls if call.violations
        ]
        assert exc_type is not None or not violations, violations

    def _begin(self, sweeper: Sweeper | None) -> None:
        """Give the application its sweeper, in place of a lifespan."""
        self.app.life.sweeper = sweeper

    def clock(self) -> float:
        self.now += self.step
        return self.now

    @property
    def exchanges(self) -> set[InFlight]:
        """What the sweeper looks at."""
        exchanges: set[InFlight] = self.app.life.sweeper.exchanges
        return exchanges

    def call(
        self,
        path: str = "/",
        *messages: dict[str, Any] | Exception,
        method: str = "GET",
        http_version: str = "1.1",
        headers: dict[str, str] | None = None,
        on_send: Callable[[dict[str, Any]], Awaitable[None]] | None = None,
        extensions: dict[str, Any] | None = None,
    ) -> Call:
        """
        Begin a request whose first *messages* have arrived already.

        Without messages the body of a GET or HEAD is empty, and no other body has begun to come.
        """
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": http_version,
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (b"host", b"testserver"),
                *((k.encode(), v.encode()) for k, v in (headers or {}).items()),
            ],
            "client": ("127.0.0.1", 50000),
            "server": ("testserver", 80),
            "extensions": extensions,
        }
        call = self.call_type(self.app, scope)
        call.on_send = on_send
        call.push(*messages or ([part(b"", more=False)] if method in ("GET", "HEAD") else ()))
        self.calls.append(call)
        self.group.start_soon(call.run, name=f"{method} {path}")
        return call

    async def finished(self, *args: Any, **options: Any) -> Call:
        """Make a request and wait for its end."""
        call = self.call(*args, **options)
        await call.wait()
        return call

    async def tick(self, seconds: float = TICK_S + 0.01) -> None:
        """Let time pass, let the sweeper look once, and let every task do what follows from it."""
        await rest()
        self.now += seconds
        sweep(self.exchanges, self.now)
        await rest()

    async def lose(self, call: Call) -> None:
        """
        Let the client of *call* leave once its exchange is watched, and let every task react.

        The first tick takes the body, the second one waits for what comes behind it.
        """
        await self.tick()
        await self.tick()
        call.disconnect()
        await rest()

    def shut_down(self) -> None:
        """End what is in flight, as the end of a lifespan does when its time is up."""
        interrupt_all(self.exchanges, "shutdown")


def tick_once(app: Any) -> None:
    """Let the sweeper of *app* look at once: for a test client, whose time is real."""
    sweeper = app.life.sweeper
    sweep(sweeper.exchanges, sweeper.clock() + 1)


class Identity:
    """A codec that changes nothing."""

    flush = finish = staticmethod(bytes)

    def feed(self, data: bytes) -> bytes:
        return data


class Gate:
    """An `on_send` that holds every message until it is let through."""

    def __init__(self) -> None:
        self.held: deque[tuple[dict[str, Any], anyio.Event]] = deque()
        self._is_open = False

    async def __call__(self, message: dict[str, Any]) -> None:
        if self._is_open:
            return
        passed = anyio.Event()
        entry = (message, passed)
        self.held.append(entry)
        try:
            await passed.wait()
        finally:
            if entry in self.held:
                self.held.remove(entry)

    def open(self) -> None:
        """Let everything through from now on."""
        self._is_open = True
        while self.held:
            self.held.popleft()[1].set()

    async def reached(self) -> None:
        """Wait until a message is held."""
        await rest()
        with anyio.fail_after(WAIT_S):
            while not self.held:  # a thread may be at work
                await checkpoint()

    async def let(self, count: int = 1) -> None:
        """Let *count* messages through, one after the other."""
        for _ in range(count):
            await self.reached()
            self.held.popleft()[1].set()
        await rest()
