"""
Pour a source into a response: what `res.pipe()` does.

How a source is taken apart is decided by what it has, in this order:

 1. A stream or channel has `receive` or `receive_some`. It is iterated where it can be, because
    each library has an end of its own (`anyio.EndOfStream`, `trio.EndOfChannel`, `b""`), and
    iterations all end alike. Where it cannot, `receive` is called until EndOfStream.
 2. A file has `read`. It is read in chunks, also where it can be iterated: that would be line by
    line. `asyncio.StreamReader` is such a file.
 3. Another async iterable is iterated.
 4. What is in memory as a whole, such as a list, is gone through in the event loop.
 5. Another iterable, such as a generator, may block. It is stepped in a thread of its own.

The source is closed whatever happens, and so is its iterator where that is another object:
`_closing` and `_stepper` tell how.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from inspect import isawaitable, iscoroutinefunction
from typing import Any, Final, TypeAlias, cast

from anyio import EndOfStream, to_thread

from .._exchange.exchange import Exchange
from .._failures import parted
from .._sources.closing import Closing
from .._sources.stepper import Gatherer, Stepper
from ..errors import UsageError

__all__ = ["piece_to_bytes", "pump", "to_bytes"]

# What one read of a file takes: large enough that the hop to a worker thread (about 60 us) is small
# beside the copying.
FILE_CHUNK_BYTES: Final = 256 * 1024

_ONE_PIECE: Final = (bytes, bytearray, memoryview, str)
_IN_MEMORY: Final = (list, tuple, set, frozenset, dict, deque)

# Gives the next piece; StopAsyncIteration is the end. Not a generator: nothing is left suspended
# when the client leaves.
Pull: TypeAlias = Callable[[], Awaitable[Any]]

Convert: TypeAlias = Callable[[Any], bytes]


def piece_to_bytes(piece: Any) -> bytes:
    """Return a piece given to `pipe()` as bytes; else raise a UsageError."""
    return to_bytes(piece, "each piece given to pipe()")


def to_bytes(data: Any, verb: str, hint: str | None = None) -> bytes:
    """Return `str` (as UTF-8) or bytes-like as bytes; else raise a UsageError with a *hint*."""
    kind: type[Any] = type(cast(object, data))
    if kind is bytes:
        return cast(bytes, data)
    if isinstance(data, str):
        return data.encode()
    try:
        return bytes(memoryview(data))
    except TypeError:
        pass
    if hint is None:
        hint = (
            "for JSON use res.json()"
            if issubclass(kind, (dict, list))
            else "for a file or an iterable of bytes use res.pipe()"
        )
    raise UsageError(f"{verb} takes str or a bytes-like object, not {kind.__name__}: {hint}")


async def pump(
    exchange: Exchange,
    source: Any,
    convert: Convert,
    last: Callable[[], bytes] = bytes,
    *,
    gathers: bool = False,
) -> None:
    """
    Write every piece of *source*, end the response, and close the source whatever happens.

    A source that fails half-way cuts the response, also where the handler catches the error: what
    was sent so far is not the whole of it.

    Args:
        exchange: Where to.
        source: As the head of this module says.
        convert: Makes bytes of each piece.
        last: Gives the end of the body.
        gathers: What steps in a thread give within a millisecond goes out as one piece, and is
            converted there.
    """
    opened: Any = source
    if _is_stepped(source):
        opened = Gatherer(source, convert) if gathers else Stepper(source)
        convert = bytes if gathers else convert
    try:
        async with Closing(opened):
            if exchange.scope["method"] == "HEAD":
                await exchange.flush()
                await exchange.end()
            elif _is_iterated(opened):
                iterator = aiter(opened)
                async with Closing(iterator if iterator is not opened else None):
                    await _pour(exchange, iterator.__anext__, convert)
                    await exchange.end(last())
            else:
                await _pour(exchange, _puller(opened), convert)
                await exchange.end(last())
    except BaseException as exc:
        _note(exchange, parted(exc)[1])
        raise


def _note(exchange: Exchange, failure: BaseException | None) -> None:
    """Let the exchange know what failed (R2): nothing before the head, and behind the end."""
    if failure is not None:
        exchange.fail(failure)


async def _pour(exchange: Exchange, pull: Pull, convert: Convert) -> None:
    while True:
        try:
            piece = await pull()
        except StopAsyncIteration:
            break
        except GeneratorExit as exc:
            if parted(exc)[0] is not None:
                raise  # this very coroutine is thrown away
            # As itself it would keep `Closing` from the close.
            raise RuntimeError("a source raised GeneratorExit") from exc
        await exchange.write(convert(piece))
        if exchange.has_no_body:  # by its status; it may be a source without an end
            return


def _is_iterated(source: Any) -> bool:
    """Whether *source* is iterated in the event loop: rules 1 and 3."""
    is_file = hasattr(source, "read") and not (
        hasattr(source, "receive") or hasattr(source, "receive_some")
    )
    return isinstance(source, AsyncIterable) and not is_file


def _is_stepped(source: Any) -> bool:
    """Whether *source* is stepped in a thread: rule 5."""
    if hasattr(source, "receive") or hasattr(source, "read"):
        return False
    return isinstance(source, Iterable) and not isinstance(
        source, (*_ONE_PIECE, *_IN_MEMORY, AsyncIterable)
    )


def _puller(source: Any) -> Pull:
    kind: type[Any] = type(cast(object, source))
    if isinstance(source, Stepper):
        return source.step
    if hasattr(source, "receive"):
        return _received(source.receive)
    if hasattr(source, "read"):
        return _read(
            source.read,
            is_async=isinstance(source, AsyncIterable) or iscoroutinefunction(source.read),
        )
    if isinstance(source, _IN_MEMORY):
        return _listed(iter(cast("Iterable[Any]", source)))
    if isinstance(source, _ONE_PIECE):
        raise UsageError(
            f"pipe() takes a source of pieces, not one {kind.__name__}: send that with res.send()"
        )
    raise UsageError(
        "pipe() takes an iterable, an async iterable, a byte stream or an open file, not "
        f"{kind.__name__}"
    )


def _received(receive: Callable[[], Awaitable[Any]]) -> Pull:
    async def pull() -> Any:
        try:
            return await receive()
        except EndOfStream:
            raise StopAsyncIteration from None
        except StopAsyncIteration as exc:
            raise _no_end("receive()", "raise anyio.EndOfStream") from exc

    return pull


def _read(read: Callable[[int], Any], *, is_async: bool) -> Pull:
    async def pull() -> Any:
        # In a list, because trio takes no coroutine from a thread, and a sync `read` may give one.
        try:
            (piece,) = (
                [read(FILE_CHUNK_BYTES)]
                if is_async
                else await to_thread.run_sync(lambda: [read(FILE_CHUNK_BYTES)])
            )
            if isawaitable(piece):
                piece = await piece
        except StopAsyncIteration as exc:
            raise _no_end("read()", "return b''") from exc
        if not piece:
            raise StopAsyncIteration
        return piece

    return pull


def _no_end(verb: str, end: str) -> RuntimeError:
    """Make the error of what would look like an end: it may come from anywhere inside."""
    return RuntimeError(f"a source's {verb} raised StopAsyncIteration: at the end, {end}")


def _listed(iterator: Iterator[Any]) -> Pull:
    """Go through a list or tuple: it is there already, so nothing can block."""

    async def pull() -> Any:
        for piece in iterator:
            return piece
        raise StopAsyncIteration

    return pull
