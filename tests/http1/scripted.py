"""A client of a conversation, as a script: what it says, in which pieces, and what it was told."""

from __future__ import annotations

import importlib
import os
import re
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import anyio
import sniffio
from anyio.lowlevel import checkpoint

from nardis.server import Config
from nardis.server.connection import Connection
from nardis.server.http1.conversation import Http1
from nardis.server.service import Service

DATE = re.compile(rb"date: [^\r]*\r\n")

Told = tuple[int, dict[bytes, bytes], bytes]


class Wire:
    """
    A socket that gives *pieces* as it is asked, and then the end, or nothing more.

    Attributes:
        sent: What was written.
        log: What was done to it, but for reading and writing.
        asked: How often it was read.
    """

    client = ("192.0.2.1", 1234)
    server = ("192.0.2.2", 80)
    read_at = writing = 0.0
    may_miss_reset = fetching = False

    def __init__(self, pieces: Iterable[bytes], *, ends: bool = True) -> None:
        self.pieces = deque(filter(None, pieces))
        self.ends = ends
        self.sent = b""
        self.log: list[str] = []
        self.asked = 0
        self.reading = self.closed = self.broken = False
        self.parked = anyio.Event()
        self.blocked: anyio.Event | None = None  # what a write waits for
        self._arrived = anyio.Event()

    async def read(self) -> bytes | None:
        assert not self.reading, "two tasks read one socket"
        self.reading = True
        self.asked += 1
        try:
            await checkpoint()
            if not self.pieces and not self.ends and not self.closed:
                self.parked.set()
                await self._arrived.wait()
                self._arrived = anyio.Event()
            if self.pieces:
                return self.pieces.popleft()
            return b"" if self.ends or self.closed else None
        finally:
            self.reading = False

    def say(self, piece: bytes) -> None:
        """Let *piece* arrive."""
        self.pieces.append(piece)
        self._arrived.set()

    def leave(self) -> None:
        """Let the end arrive."""
        self.ends = True
        self._arrived.set()

    def drop_input(self) -> None:
        self.pieces.clear()

    def read_anyway(self) -> None:
        self._arrived.set()

    def wake(self) -> None:
        self._arrived.set()

    def offer(self, pieces: tuple[bytes, ...], size: int) -> Coroutine[Any, Any, bool] | None:
        return self.write(*pieces)

    async def write(self, *pieces: bytes) -> bool:
        if self.blocked is not None:
            await self.blocked.wait()
        if self.broken or self.closed:
            return False
        self.sent += b"".join(pieces)
        return True

    async def send_file(self, head: bytes, file: int, at: int, count: int, end: bytes) -> bool:
        data = os.pread(file, count, at)
        self.log.append(f"file of {count}")
        return await self.write(head, data, end)

    async def finish(self, *, whole: bool) -> None:
        self.log.append("whole" if whole else "cut short")
        self.ends = True

    def cut(self) -> None:
        self.log.append("reset")
        self.close()

    def close(self) -> None:
        self.closed = True
        self._arrived.set()

    def answers(self, *methods: str) -> list[Told]:
        """Read what was sent as answers to requests of these methods, GET where none is named."""
        rest, answers = self.sent, []
        while rest:
            answer, rest = _answer(rest, methods[len(answers)] if methods else "GET")
            answers.append(answer)
        return answers

    def statuses(self) -> list[int]:
        return [status for status, _, _ in self.answers()]

    def statuses_of(self, *methods: str) -> list[int]:
        return [status for status, _, _ in self.answers(*methods)]


def _answer(data: bytes, method: str) -> tuple[Told, bytes]:
    head, _, rest = data.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    fields = dict(each.split(b": ", 1) for each in lines)
    status = int(line.split(b" ")[1])
    if method == "HEAD" or status in (100, 204, 304):
        return (status, fields, b""), rest
    if b"content-length" in fields:
        size = int(fields[b"content-length"])
        return (status, fields, rest[:size]), rest[size:]
    if b"transfer-encoding" not in fields:
        return (status, fields, rest), b""
    body = b""
    while True:
        size_line, _, rest = rest.partition(b"\r\n")
        size = int(size_line, 16)
        if not size:
            return (status, fields, body), rest[2:]
        body += rest[:size]
        assert rest[size : size + 2] == b"\r\n"
        rest = rest[size + 2 :]


def innermost() -> Callable[[bool], object]:
    """Do as the worker of this event loop does."""
    name = sniffio.current_async_library()
    worker: Any = importlib.import_module(f"nardis.server.{name}_worker")
    made: Callable[[bool], object] = worker.innermost()
    return made


Handler = Callable[[Any, Any, Any], Awaitable[None]]


def conversation(
    app: Handler,
    wire: Wire,
    *,
    stream: Any = None,
    lends: bool = False,
    hand_over: Any = None,
    **settings: Any,
) -> Connection:
    """Return a connection over *wire*, by way of *stream*, that calls *app*."""
    service = Service(app, Config(**settings))
    service.lends = lends
    service.innermost = innermost
    nobody: Any = lambda request, read: None  # noqa: E731
    fake: Any = wire
    return Connection(service, fake, stream or fake, lambda self: Http1(self, hand_over or nobody))


async def converse(app: Handler, pieces: Iterable[bytes], **options: Any) -> Wire:
    """Let a client say *pieces* and leave; give what it was told."""
    wire = Wire(pieces)
    with anyio.fail_after(20):
        await conversation(app, wire, **options).attend()
    assert wire.closed
    return wire


def undated(data: bytes) -> bytes:
    return DATE.sub(b"", data)
