"""
Go through a sync iterable in a thread of its own, from the first step to the close.

A generator may wait for a file, a database or a lock, so it cannot run in the event loop. Nor can
each step run in some worker thread: rows of sqlite3 belong to the thread that asked for them, and a
generator that sets a context variable would find it unset after its next `yield`. So a generator
has one thread for its whole life, and one context: a copy of its handler's.

    the event loop                              the thread
    Stepper.step()    ── "step" ──────────────► next(iterator)
         waits        ◄─────── piece or error ─
    Gatherer.step()   ── "gather" ────────────► next(iterator), for a millisecond
         waits        ◄────── pieces, an error ─
    Stepper.aclose()  ── "close" ─────────────► iterator.close(), source.close()
         waits        ◄──────────────── error ─ ends

A step is made only when it is asked for; a gatherer asks for those of a millisecond, because to ask
costs 50 us, and a row of a table perhaps two. It cannot be cut: cancellation waits for its end.
When the event loop is over, or the stepper was thrown away, the thread closes what it has and ends,
without an answer.

The threads are no workers of anyio's: in them `anyio.from_thread` wants the `token` of the event
loop. They are held for as long as their clients take, so they are counted apart from those that
read files. An event loop has at most `MOST_THREADS` of them. An iterable beyond that waits for its
first step until another one is closed: first come, first served.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, Final, Literal, TypeAlias

import anyio
from anyio import from_thread
from anyio.lowlevel import RunVar, checkpoint_if_cancelled, current_token

from .closing import Closing, closes_async, label

__all__ = ["MOST_THREADS", "Gatherer", "Stepper", "steps_in_flight"]

logger: logging.Logger = logging.getLogger("nardis")

# A thread that waits costs no time and about 20 KiB, so memory would bear more; containers often
# allow 1,024 tasks in all.
MOST_THREADS: Final = 500

# How long steps are gathered, and how many bytes of them.
GATHER_S: Final = 0.001
GATHER_BYTES: Final = 64 * 1024

# What is gathered waits this long for a slow step behind it, and is then taken without it.
LINGER_S: Final = 0.003

Order: TypeAlias = Literal["step", "gather", "close", "leave"]
Convert: TypeAlias = Callable[[Any], bytes]

_END: Final = object()
_MORE: Final = object()


class Stepper:
    """
    The steps of *source*, each of which is awaited, and its close.

    Nothing is started before the first step. A source that was never started is closed in some
    worker thread.
    """

    def __init__(self, source: Iterable[Any]) -> None:
        self.__qualname__ = label(source)  # for messages: it stands for the source
        self._source = source
        self._thread: _Thread | None = None

    async def step(self) -> Any:
        """
        Return the next piece.

        Cancellation: the step is waited for, and its piece is lost; a step is not made if the
        cancellation came before.

        Raises:
            StopAsyncIteration: There are no more.
            BaseException: Whatever the iterator raised.
        """
        if self._thread is None:
            self._thread = await _started(self._source)
        else:
            await checkpoint_if_cancelled()
        piece = await self._thread.ask("step")
        if piece is _END:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Close the iterator and the source in their thread, and wait for the thread's end."""
        thread = self._thread
        async with Closing(
            None if thread is not None and not closes_async(self._source) else self._source
        ):
            if thread is not None:
                await thread.close()

    def __del__(self) -> None:
        # Nobody awaited `aclose()`: the coroutine that should have was thrown away, with its event
        # loop.
        if self._thread is not None:
            self._thread.orders.put("leave")


class Gatherer(Stepper):
    """
    A stepper that makes bytes of each piece, and gives those of a millisecond as one.

    What is there does not wait for a slow step behind it.
    """

    def __init__(self, source: Iterable[Any], convert: Convert) -> None:
        super().__init__(source)
        self._convert = convert

    async def step(self) -> bytes:
        """
        Return the next pieces, joined.

        Cancellation, errors: as of a stepper. What came before an error is given before it.
        """
        if self._thread is None:
            self._thread = await _started(self._source, self._convert)
        else:
            await checkpoint_if_cancelled()
        return await self._thread.ask_for_some()


class _Threads:
    """The threads of one event loop."""

    def __init__(self) -> None:
        self.limiter = anyio.CapacityLimiter(MOST_THREADS)
        self.stepping = 0


_threads: RunVar[_Threads] = RunVar("nardis._sources.stepper.threads")


def _threads_here() -> _Threads:
    try:
        return _threads.get()
    except LookupError:
        threads = _Threads()
        _threads.set(threads)
        return threads


def steps_in_flight() -> int:
    """Return how many threads of the running event loop are in a step now."""
    return _threads_here().stepping


async def _started(source: Iterable[Any], convert: Convert | None = None) -> _Thread:
    thread = _Thread(source, convert, _threads_here())
    await thread.threads.limiter.acquire_on_behalf_of(thread)
    try:
        thread.start()
    except BaseException:
        thread.threads.limiter.release_on_behalf_of(thread)
        raise
    return thread


class _Thread(Thread):
    """
    A thread that does what it is asked for, one thing at a time.

    It knows nothing of its `Stepper`, which can so be thrown away. It is a daemon: where an event
    loop was abandoned, and nobody asks any more, it does not keep the process from its end.
    """

    def __init__(self, source: Iterable[Any], convert: Convert | None, threads: _Threads) -> None:
        super().__init__(name=f"nardis.pipe {label(source)}", daemon=True)
        self.threads = threads
        self.orders: SimpleQueue[Order] = SimpleQueue()
        self._convert: Convert = bytes if convert is None else convert
        self._gathered: deque[bytes] = deque()  # the thread adds, the event loop takes
        self._hurries = False  # the event loop waits for the next piece, whatever comes behind it
        self._source = source
        self._iterator: Iterator[Any] | None = None
        self._token = current_token()
        self._handlers_context = copy_context()  # `_context` is Thread's own, from Python 3.14 on
        self._is_asked = False  # an order was given, and its answer not yet taken
        self._answered = anyio.Event()
        self._piece: Any = None
        self._error: BaseException | None = None

    # In the event loop.

    async def ask(self, order: Order) -> Any:
        """Give an order, and return the answer: a piece, or nothing; an error is raised."""
        self._give(order)
        try:
            await self._answered.wait()
        except anyio.get_cancelled_exc_class():
            await self._let_go()
            raise
        return self._take()

    async def ask_for_some(self) -> bytes:
        """
        Return what is gathered, and where that is nothing wait for it.

        Raises:
            StopAsyncIteration: There is no more.
            BaseException: Whatever the iterator raised.
        """
        while True:
            try:
                if not self._is_asked:
                    self._hurries = False
                    self._give("gather")
                    with anyio.move_on_after(LINGER_S):
                        await self._answered.wait()
                self._hurries = True  # before the look: what comes behind it is told of at once
                if not self._gathered:
                    await self._answered.wait()
            except anyio.get_cancelled_exc_class():
                await self._let_go()
                raise
            pieces = [self._gathered.popleft() for _ in range(len(self._gathered))]
            if pieces:
                return b"".join(pieces)
            if self._take() is _END:
                raise StopAsyncIteration

    def _give(self, order: Order) -> None:
        self._is_asked = True
        self._answered = anyio.Event()
        self.threads.stepping += 1
        self.orders.put(order)

    def _take(self) -> Any:
        """Return the answer, or raise it; the next order may be given."""
        piece, error, self._piece, self._error = self._piece, self._error, None, None
        self._is_asked = False
        if error is None:
            return piece
        try:
            if isinstance(error, StopAsyncIteration):  # here it would be a good end
                raise RuntimeError(f"{self.name} raised StopAsyncIteration") from error
            raise error
        finally:
            del error  # a circle: it knows this frame

    async def _let_go(self) -> None:
        """Wait for an answer that nobody wants any more, whatever cancellation says."""
        while not self._answered.is_set():
            try:
                with anyio.CancelScope(shield=True):
                    await self._answered.wait()
            except anyio.get_cancelled_exc_class():
                # asyncio's own `Task.cancel()`, which no shield keeps off; the first one goes on.
                pass
        error, self._piece, self._error = self._error, None, None
        self._is_asked = False
        if error is not None:
            self._report(error)

    async def close(self) -> None:
        if self._is_asked:  # what was there was taken, and its client left meanwhile
            await self._let_go()
        try:
            await self.ask("close")
        finally:
            if self._answered.is_set():
                self.join()  # it has nothing left to do
                self.threads.limiter.release_on_behalf_of(self)

    def _answer(self, piece: Any, error: BaseException | None) -> None:
        self._piece, self._error = piece, error
        self.threads.stepping -= 1
        self._answered.set()

    # In the thread.

    def run(self) -> None:
        """Do what is asked for, until there is nothing more to do."""
        self._handlers_context.run(self._live)

    def _live(self) -> None:
        while (order := self.orders.get()) in ("step", "gather"):
            if not self._tell(*(self._step() if order == "step" else self._gather())):
                order = "leave"
                break
        error = self._close_all()
        if order == "leave":
            if error is not None:
                self._report(error)
        else:
            self._tell(None, error)

    def _step(self) -> tuple[Any, BaseException | None]:
        try:
            if self._iterator is None:
                self._iterator = iter(self._source)
            return next(self._iterator, _END), None
        except BaseException as exc:
            return None, exc

    def _gather(self) -> tuple[Any, BaseException | None]:
        """Make steps for a while; the answer is what ended that."""
        until, size = monotonic() + GATHER_S, 0
        while True:
            piece, error = self._step()
            if error is not None or piece is _END:
                try:
                    return piece, error
                finally:
                    del error  # a circle: it knows the frame above, and that knows this one
            try:
                data = self._convert(piece)
            except BaseException as exc:
                return None, exc
            self._gathered.append(data)
            size += len(data)
            if self._hurries or size >= GATHER_BYTES or monotonic() >= until:
                return _MORE, None

    def _close_all(self) -> BaseException | None:
        """Close the iterator, and the source if it is another; return the first error."""
        first: BaseException | None = None
        things: list[Any] = (
            [self._source] if self._iterator is self._source else [self._iterator, self._source]
        )
        self._iterator = None  # one without a close ends with `things`, in its thread
        for each in things:
            if closes_async(each) or not hasattr(each, "close"):
                continue
            try:
                each.close()
            except BaseException as exc:
                if first is None:
                    first = exc
                else:
                    logger.error(
                        "closing %s failed beside another error: %r", label(each), exc, exc_info=exc
                    )
        return first

    def _tell(self, piece: Any, error: BaseException | None) -> bool:
        """Hand over an answer; False: the event loop is over."""
        try:
            from_thread.run_sync(self._answer, piece, error, token=self._token)
        except RuntimeError:
            if error is not None:
                self._report(error)
            return False
        return True

    def _report(self, error: BaseException) -> None:
        logger.error(
            "%s failed, and nobody waits for it any more: %r", self.name, error, exc_info=error
        )
