"""Bodies of forms, and a source that gives them piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar
from unittest import mock

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import forms
from nardis._exchange import pace
from nardis._exchange.intake import too_large
from nardis._exchange.pace import Pace
from nardis.errors import BodyAlreadyRead

T = TypeVar("T")

BOUNDARY = "-----7d0f"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


class Field(NamedTuple):
    """A part to write; without a file name it is a field."""

    name: str
    content: bytes
    filename: str | None = None
    content_type: str | None = None


def encoded(*fields: Field, epilogue: bytes = b"\r\n") -> bytes:
    """Write a form as browsers do."""
    text = bytearray()
    for field in fields:
        text += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field.name}"'.encode()
        if field.filename is not None:
            text += f'; filename="{field.filename}"'.encode()
        if field.content_type is not None:
            text += f"\r\nContent-Type: {field.content_type}".encode()
        text += b"\r\n\r\n" + field.content + b"\r\n"
    return bytes(text + f"--{BOUNDARY}--".encode() + epilogue)


def cut(body: bytes, size: int) -> list[bytes]:
    """Cut *body* into pieces of *size* bytes."""
    return [body[start : start + size] for start in range(0, len(body), size)]


class Script:
    """
    The body of a request, as the intake of an exchange gives it: one reader at a time.

    Args:
        pieces: What it gives, one after the other; an exception is raised.
        waits: Called before each piece.

    Attributes:
        taken: How many pieces were taken.
    """

    def __init__(
        self,
        pieces: Iterable[bytes | Exception],
        waits: Callable[[], Coroutine[Any, Any, None]] = checkpoint,
    ) -> None:
        self.complete = False
        self.received = 0
        self.limit: int | None = None
        self.taken = 0
        self._pieces: Iterator[bytes | Exception] = iter(pieces)
        self._waits = waits
        self._reading = False

    async def next_chunk(self) -> bytes:
        if self._reading:
            raise BodyAlreadyRead("two tasks read the request body at once")
        self._reading = True
        try:
            await self._waits()
        finally:
            self._reading = False
        for piece in self._pieces:
            self.taken += 1
            if isinstance(piece, Exception):
                raise piece
            self.received += len(piece)
            if self.limit is not None and self.received > self.limit:
                raise too_large(self.limit)
            return piece
        self.complete = True
        raise StopAsyncIteration


async def at_once() -> None:
    """Wait for nothing."""


def _never(*_: object) -> bool:
    return False


def run(call: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that waits for nothing, without an event loop, so that no turn is due."""
    try:
        with (
            mock.patch.object(Pace, "is_due", _never),
            mock.patch.object(Pace, "is_due_after", _never),
        ):
            call.send(None)
    except StopIteration as exc:
        result: T = exc.value
        return result
    raise AssertionError("it waited")  # pragma: no cover  # not while the tests are right


class Turns:
    """
    A clock for `nardis.forms`, and a task that counts its turns.

    Args:
        monkeypatch: Puts the clock in its place.
        step: Seconds from one look at the clock to the next.

    Attributes:
        now: The time, in seconds.
        taken: How many turns the task had.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
        self.now = 0.0
        self.taken = 0
        self._step = step
        for module in pace, forms:
            monkeypatch.setattr(module, "monotonic", self._look)

    def _look(self) -> float:
        self.now += self._step
        return self.now

    async def beside(self, call: Coroutine[Any, Any, T]) -> T:
        """Await *call*, and count beside it."""
        results: list[T] = []
        async with anyio.create_task_group() as group:
            group.start_soon(self._take)
            results.append(await call)
            group.cancel_scope.cancel()
        return results[0]

    async def _take(self) -> None:
        while True:
            await checkpoint()
            self.taken += 1


class Canceller:
    """
    Cancels a scope at one of the turns of a script.

    Args:
        turn: Which one; the first is 0.
        late: The script still gives its piece: the cancellation lands in what is awaited next.

    Attributes:
        scope: To be entered around what is to be cancelled.
    """

    def __init__(self, turn: int, *, late: bool = False) -> None:
        self.scope = anyio.CancelScope()
        self._left = turn
        self._late = late

    async def wait(self) -> None:
        self._left -= 1
        if self._late:
            await checkpoint()
        if self._left == -1:
            self.scope.cancel()
        if not self._late:
            await checkpoint()
