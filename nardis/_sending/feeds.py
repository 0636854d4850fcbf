"""
Events and items: what `res.sse()`, `res.ndjson()` and `res.json_array()` send, one by one.

Source: the HTML standard, "Server-sent events".
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from random import uniform
from types import TracebackType
from typing import Any, Final, TypeAlias, cast

import anyio
from anyio.lowlevel import checkpoint

from .._exchange.exchange import Exchange
from .._exchange.pulse import Pulse
from .._failures import parted
from .._http.events import encode_comment, encode_event, encode_retry
from .._models import encode_json
from ..draining import Draining
from ..errors import ForgottenAwait, UsageError
from ..types import JSONCodec
from .sources import pump
from .verbs import Verb, Verbs

__all__ = ["EVENTS", "EventStream", "SendsItems", "pump_array", "pump_lines"]

Encode: TypeAlias = Callable[[Any], bytes]
SendsItems: TypeAlias = Callable[[Exchange, object, Encode], Verb]

EVENTS: Final = {
    "content-type": "text/event-stream",
    "cache-control": "no-store",  # what was said is over
    "x-accel-buffering": "no",  # nginx would gather events
}

PING: Final = encode_comment("ping")

# When clients are to come back after a shutdown: at random within so many seconds behind their
# usual time, and not all of them at once.
RETURN_S: Final = 10.0

# What a browser waits by itself before it comes back.
USUAL_RETRY_S: Final = 3.0


class EventStream:
    """
    Server-sent events, as `async with res.sse() as events:` gives them.

    Entering sends the head; leaving ends the response. An exception that leaves the block cuts the
    response, and the browser comes back.

    When the server begins to shut down, the block is left: what it waits for is cancelled, though
    not while it sends. The client is told when to come back, each at another time, and the response
    ends cleanly. The handler goes on behind the block.
    """

    __slots__ = (
        "_codec",
        "_draining",
        "_exchange",
        "_is_leaving",
        "_is_open",
        "_ping_s",
        "_res",
        "_retry_s",
        "_scope",
        "_write",
    )

    def __init__(
        self,
        res: Verbs,
        exchange: Exchange,
        draining: Draining,
        codec: JSONCodec | None,
        ping_s: float | None,
        retry_s: float | None,
    ) -> None:
        self._res, self._exchange = res, exchange
        self._draining, self._codec = draining, codec
        self._ping_s, self._retry_s = ping_s, retry_s
        self._scope: anyio.CancelScope | None = None
        self._write = exchange.write
        self._is_leaving = False
        self._is_open = False  # entered, and not being left

    async def __aenter__(self) -> EventStream:
        if self._scope is not None:
            raise UsageError("an event stream is entered once: call res.sse() for each response")
        exchange = self._exchange
        if self._retry_s is None:
            await exchange.flush()
        else:
            await exchange.write(encode_retry(self._retry_s))
        self._scope = exchange.sweeper.new_scope()
        _Heart(self, exchange, self._ping_s).start()
        self._scope.__enter__()
        self._is_open = True
        if self.is_draining:
            self.leave()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        scope, exchange = self._scope, self._exchange
        if scope is None:
            return False
        is_quiet = bool(scope.__exit__(exc_type, exc, traceback))
        failure = None if exc is None or is_quiet else parted(exc)[1]
        if failure is not None:
            exchange.fail(failure)  # also where the handler catches it
        if exc is None or is_quiet:
            name = self._res.forgotten()
            if name is not None:
                raise ForgottenAwait(name, "the block of res.sse()")
            await exchange.end(self._last_words(), at_once=is_quiet)
        return is_quiet

    @property
    def is_draining(self) -> bool:
        """Whether the server shuts down."""
        return self._draining.is_set()

    def send(self, data: object, *, event: str | None = None, id: str | None = None) -> Verb:
        """
        Send one event.

        Args:
            data: Text, as `str` or as bytes in UTF-8; anything else is sent as JSON. The lines of a
                text arrive with LF behind each.
            event: Its type, which a browser dispatches it by; "message" unless given.
            id: What the browser says in Last-Event-ID when it comes back; `""` takes back what it
                has.

        Backpressure: returns when the server took the event. Nothing is queued. Several tasks may
        send: each event is whole, in the order of the calls.

        Cancellation: as `res.write()`.

        Raises:
            UsageError: A line end in *event* or *id*, or bytes that are not UTF-8.
            ResponseAlreadyEnded: The block was left.
            ClientDisconnected: The client left, and this handler is not cancelled for it.
        """
        # A text of one line goes the short way: what encode_event() and _send() do, for a tenth
        # less of an event's instructions.
        text: str = data if type(data) is str else self._text(data)
        if event is None and id is None and self._is_open and "\n" not in text and "\r" not in text:
            res, write = self._res, self._write
            last = res.unawaited
            if last is not None and last.cr_frame is not None:
                res.miss(last)
            try:
                verb = write(f"data: {text}\n\n".encode(), res)
            except UnicodeEncodeError:
                pass  # half of a surrogate pair
            else:
                res.unawaited = verb  # type: ignore[assignment]  # as in _send()
                return verb
        return self._send(encode_event(text, event=event, id=id))

    def comment(self, text: str = "") -> Verb:
        """
        Send a comment, which browsers ignore.

        Backpressure, cancellation: as `send()`.
        """
        return self._send(encode_comment(text))

    # --- for Nardis itself ----------------------------------------------------------------------

    def leave(self) -> None:
        """End the block, because the server shuts down, as soon as nothing is being sent."""
        self._is_leaving, self._is_open = True, False
        exchange = self._exchange
        if self._scope is not None and (exchange.is_silent() or exchange.closing):
            self._scope.cancel()

    def _send(self, piece: bytes) -> Verb:
        scope = self._scope
        if scope is None:
            raise UsageError("events are sent inside of the block: async with res.sse() as events")
        last = self._res.unawaited
        if last is not None and last.cr_frame is not None:
            self._res.miss(last)
        leaves = self._is_leaving
        verb = self._write_late(scope, piece) if leaves else self._exchange.write(piece)
        self._res.unawaited = verb  # type: ignore[assignment]  # mypy knows what an async def gives only by its interface
        return verb

    async def _write_late(self, scope: anyio.CancelScope, piece: bytes) -> None:
        """Let the block be left first, but for clean-up behind a shield, and for other tasks."""
        scope.cancel()
        await checkpoint()
        await self._exchange.write(piece)

    def _last_words(self) -> bytes:
        if not self._is_leaving:
            return b""
        usual_s = USUAL_RETRY_S if self._retry_s is None else self._retry_s
        return encode_retry(usual_s + uniform(0, RETURN_S))

    def _text(self, data: object) -> str:
        if isinstance(data, str):
            return data
        if not isinstance(data, (bytes, bytearray, memoryview)):
            return encode_json(data, self._codec).decode()
        try:
            return bytes(cast("bytes", data)).decode()
        except UnicodeDecodeError as exc:
            raise UsageError(
                "events are text in UTF-8 (HTML standard): send bytes that are not as base64"
            ) from exc


class _Heart(Pulse):
    """The pulse of an event stream, which also ends it when the server shuts down."""

    __slots__ = ("_events",)

    def __init__(self, events: EventStream, exchange: Exchange, ping_s: float | None) -> None:
        super().__init__(exchange, PING, ping_s)
        self._events = events

    def look(self, now: float) -> None:
        """Leave when it is time; else do as any pulse."""
        if self._events.is_draining:
            self._events.leave()
        else:
            super().look(now)


# --- items ----------------------------------------------------------------------------------------


async def pump_lines(exchange: Exchange, items: object, encode: Encode) -> None:
    """Write each of *items* as a line, end the response, and close *items* whatever happens."""

    def line(item: Any) -> bytes:
        piece = encode(item)
        if b"\n" in piece or b"\r" in piece:
            raise UsageError("a line of NDJSON has no line ends in it: let the codec not indent")
        return piece + b"\n"

    await pump(exchange, _checked(items, "ndjson()"), line, gathers=True)


async def pump_array(exchange: Exchange, items: object, encode: Encode) -> None:
    """Write *items* as one JSON array, end the response, and close *items* whatever happens."""
    before = b"["

    def member(item: Any) -> bytes:
        nonlocal before
        piece, before = before + encode(item), b","
        return piece

    await pump(
        exchange,
        _checked(items, "json_array()"),
        member,
        lambda: b"[]" if before == b"[" else b"]",
        gathers=True,
    )


def _checked(items: Any, verb: str) -> Any:
    kind = type(cast(object, items)).__name__
    if isinstance(items, (str, bytes, bytearray, memoryview, Mapping)):
        hint = f"not one {kind}: use res.json()"
    elif hasattr(items, "read") and not hasattr(items, "receive"):
        hint = "not a file: use res.send_file()"
    elif not isinstance(items, (Iterable, AsyncIterable)) and not hasattr(items, "receive"):
        hint = f"not {kind}"
    else:
        return cast(Any, items)
    raise UsageError(f"{verb} takes an iterable or an async iterable of items, {hint}")
