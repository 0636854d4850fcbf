"""
A lean ASGI server within the process: no sockets, no parsing, one request after another in a task.

What it does and does not do, so that a figure can be read:

- The scope is that of uvicorn: HTTP/1.1, `spec_version` 2.3, seven usual header fields, the
  lifespan's state.
- `send` never suspends: the client takes everything at once. The cost of a slow client is not
  measured.
- `receive` returns a body of one piece at once. Each piece of a longer one takes a trip round the
  event loop, as by a socket.
- Past the body `receive` waits until the response is complete, and then returns `http.disconnect`.
  No client leaves early.
- The lifespan runs, in a task of its own, as long as requests are served.

Source: the ASGI specification, HTTP and lifespan.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any

import trio

from .cases import Case

Message = dict[str, Any]
App = Callable[
    [dict[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

FIELDS = [
    (b"host", b"127.0.0.1:8000"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-GB,en;q=0.5"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"cookie", b"session=0123456789abcdef; theme=dark"),
    (b"connection", b"keep-alive"),
]
ASGI = {"version": "3.0", "spec_version": "2.3"}


class WrongAnswer(Exception):
    """An application did not answer as its case asks for; its time means nothing."""


@dataclass(frozen=True, slots=True)
class Loop:
    """
    What the driver needs of an event loop.

    It is the loop's own: the wrappers of another library would be in every figure.
    """

    event: Callable[[], Any]
    tick: Callable[[], Awaitable[None]]
    spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], object]


def run(backend: str, main: Callable[[Loop], Coroutine[Any, Any, None]]) -> None:
    """Run *main* on asyncio or on trio; the tasks it spawned end before this returns."""
    if backend == "trio":
        trio.run(_on_trio, main)
    else:
        asyncio.run(_on_asyncio(main))


async def _on_asyncio(main: Callable[[Loop], Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        await main(
            Loop(asyncio.Event, partial(asyncio.sleep, 0), lambda start: group.create_task(start()))
        )


async def _on_trio(main: Callable[[Loop], Coroutine[Any, Any, None]]) -> None:
    async with trio.open_nursery() as nursery:
        await main(Loop(trio.Event, trio.lowlevel.checkpoint, nursery.start_soon))


class Life:
    """The lifespan of an application: `await start()`, serve requests, `end()`."""

    def __init__(self, app: App, loop: Loop) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._loop = loop
        self._asked = False
        self._started = loop.event()
        self._ending = loop.event()

    async def start(self) -> None:
        self._loop.spawn(self._run)
        await self._started.wait()

    def end(self) -> None:
        self._ending.set()

    async def _run(self) -> None:
        await self._app(
            {"type": "lifespan", "asgi": ASGI, "state": self.state}, self._receive, self._send
        )

    async def _receive(self) -> Message:
        if self._asked:
            await self._ending.wait()
            return {"type": "lifespan.shutdown"}
        self._asked = True
        return {"type": "lifespan.startup"}

    async def _send(self, message: Message) -> None:
        if message["type"].endswith(".failed"):
            raise RuntimeError(f"the application did not start or stop: {message.get('message')}")
        self._started.set()


class Visit:
    """One request's `receive` and `send`, counting what is answered."""

    __slots__ = ("body", "complete", "loop", "received", "status", "turn", "waiting")

    def __init__(self, loop: Loop, body: tuple[bytes, ...]) -> None:
        self.loop = loop
        self.body = body
        self.turn = 0
        self.status = 0
        self.received = 0
        self.complete = False
        self.waiting: Any = None

    async def receive(self) -> Message:
        turn, turns = self.turn, len(self.body)
        if turn < turns:
            if turns > 1:
                await self.loop.tick()  # cancelled here, the piece is not lost
            self.turn = turn + 1
            return {"type": "http.request", "body": self.body[turn], "more_body": turn + 1 < turns}
        if not self.complete:
            self.waiting = self.waiting or self.loop.event()
            await self.waiting.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            self.received += len(message.get("body", b""))
            if not message.get("more_body", False):
                self.complete = True
                if self.waiting is not None:
                    self.waiting.set()
        elif message["type"] == "http.response.start":
            self.status = message["status"]


class KeptVisit(Visit):
    """A visit that keeps the body it was answered with, to look at."""

    __slots__ = ("kept",)

    def __init__(self, loop: Loop, body: tuple[bytes, ...]) -> None:
        super().__init__(loop, body)
        self.kept: list[bytes] = []

    async def send(self, message: Message) -> None:
        self.kept.append(bytes(message.get("body", b"")))
        await super().send(message)


@contextmanager
def middleware_calls() -> Generator[set[FrameType], None, None]:
    """
    Collect the calls of middlewares, which have `noop` in their names.

    An answer does not show whether it passed them.
    """
    calls: set[FrameType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and "noop" in frame.f_code.co_qualname.lower():
            calls.add(frame)  # a resumed coroutine is the same one

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@dataclass(slots=True)
class Served:
    """An application whose lifespan runs, ready for its requests."""

    app: App
    loop: Loop
    life: Life
    lengths: dict[str, int] = field(
        default_factory=dict
    )  # of the answer to each case that was checked

    @classmethod
    async def begin(cls, app: App, loop: Loop) -> Served:
        life = Life(app, loop)
        await life.start()
        return cls(app, loop, life)

    def scope(self, case: Case) -> dict[str, Any]:
        """Make a scope as a server does: new for each request, as applications write into it."""
        headers = [*FIELDS]
        if case.content_type:
            headers += (
                (b"content-type", case.content_type),
                (b"content-length", b"%d" % sum(map(len, case.body))),
            )
        return {
            "type": "http",
            "asgi": ASGI,
            "http_version": "1.1",
            "method": case.method,
            "scheme": "http",
            "path": case.path,
            "raw_path": case.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 50000),
            "extensions": {},
            "state": self.life.state.copy(),
        }

    async def check(self, case: Case) -> None:
        """Ask once and look at the whole answer."""
        visit = KeptVisit(self.loop, case.body)
        with middleware_calls() as calls:
            await self.app(self.scope(case), visit.receive, visit.send)
        if len(calls) < case.middlewares:
            raise WrongAnswer(
                f"{case.name}: of {case.middlewares} middlewares {len(calls)} were called"
            )
        body = b"".join(visit.kept)
        if visit.status != case.status or not visit.complete or not case.right(body):
            raise WrongAnswer(
                f"{case.name}: status {visit.status}, complete {visit.complete}, "
                f"{len(body)} bytes: {body[:80]!r}"
            )
        self.lengths[case.name] = len(body)

    async def batch(self, case: Case, count: int) -> int:
        """
        Serve *count* requests and return their CPU time in ns, driver included.

        Status and length of each answer are checked.
        """
        if case.name not in self.lengths:
            await self.check(case)
        app, loop, body, status, length = (
            self.app,
            self.loop,
            case.body,
            case.status,
            self.lengths[case.name],
        )
        template, state = self.scope(case), self.life.state
        right = 0
        start = time.process_time_ns()
        for _ in range(count):
            scope = template.copy()
            scope["headers"] = template["headers"].copy()
            scope["state"] = state.copy()
            visit = Visit(loop, body)
            await app(scope, visit.receive, visit.send)
            right += visit.complete and visit.status == status and visit.received == length
        spent = time.process_time_ns() - start
        if right != count:
            raise WrongAnswer(f"{case.name}: {count - right} of {count} answers were wrong")
        return spent
