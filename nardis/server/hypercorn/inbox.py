"""
What one application call receives.

Fault (hypercorn 0.18): the messages for an application wait in a queue of ten. A client that leaves
behind a full queue is not noticed, because nobody reads its socket; the end of a stream is one more
message of the same queue, so the application's own last `send` hangs until somebody takes the
others; and after `http.disconnect` a further `receive()` blocks for ever.

Cure: a queue bounded in bytes, into which the end always fits. Once the client is gone the bound is
lifted, what the kernel still has of the body is read, and the disconnect comes next: at once if the
body was cut, after one last message if it is whole.

Each piece of a body lies here with its credit, the flow-controlled bytes of HTTP/2 that it came in.
Taking the piece gives back that credit and no other, so that the pieces here never exceed the
window of their stream (RFC 9113 §5.2). Small pieces are joined when they arrive: thousands of tiny
frames cost no more memory than their bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection
from contextlib import nullcontext
from typing import Any, ClassVar, Final, Protocol, cast

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from ..._asgi.extensions import CLIENT, Listener
from ...types import Message, Scope
from ..service import Service, run_app
from ..stream import TURN_S, clock

__all__ = ["Inbox", "Signal", "SpawnsApps", "call_app", "found_inbox", "inbox_of"]

# What lies unread before the client is made to wait: two reads of a socket.
BOUND_BYTES: Final = 128 * 1024

# One message of the body, at most, unless the client has left.
MESSAGE_BYTES: Final = 64 * 1024

# A piece below this is joined to the one before it: alone it would cost about 150 bytes more than
# it holds.
SMALL_BYTES: Final = 1024

# A message of a WebSocket costs this much beside its bytes, at most (185 to 236 were measured): it
# cannot be joined to another, so it is counted.
MESSAGE_OVERHEAD_BYTES: Final = 256

# A character costs up to this much.
MOST_CHARACTER_BYTES: Final = 4


class Signal(Protocol):
    """What the application waits for, once: an Event, or what is cheaper on its event loop."""

    def set(self) -> None:
        """Wake all that wait."""
        ...

    def wait(self) -> Awaitable[object]:
        """Wait until it is set."""
        ...


class Inbox:
    """
    The receiving side of one application call.

    Args:
        signal: Makes what its application waits for.

    Attributes:
        bounded: Whether `put` waits for room. Where the protocol has flow control of its own it
            need not.
        weight: Bytes that lie here; a message of a WebSocket counts with its overhead.
        whole: The body has arrived.
        closed: Nothing more comes; what `get` gives at the end.
        asked: Called once, when the application first asks.
        taken: Called with the credit of what the application took, in flow-controlled bytes.
        owed: The credit of what lies here, in flow-controlled bytes.
        listener: The exchange of a Nardis application, which is told at once when the client leaves
            or stalls.
        claimed: There is one, or was: it looks after the limits of its request, and logs its
            failures.
        stalled: The client took nothing for too long.
        progressed: When the client last took a byte of the response, by `time.monotonic`; 0.0 is
            never.
        flushing: Bytes of it wait because the socket is full, and not because the window of their
            stream is shut.
        message_bytes: The largest message of a WebSocket that the application takes; None leaves
            the bound to the runner.
    """

    scope: ClassVar[None] = None  # each call has a task, and needs a scope of its own in it

    __slots__ = (
        "_arrived",
        "_has_body",
        "_messages",
        "_pieces",
        "_room",
        "_said_whole",
        "_signal",
        "_waited",
        "_waiting",
        "asked",
        "bounded",
        "claimed",
        "closed",
        "flushing",
        "listener",
        "message_bytes",
        "owed",
        "progressed",
        "stalled",
        "taken",
        "weight",
        "whole",
    )

    def __init__(self, signal: Callable[[], Signal] = anyio.Event) -> None:
        self._signal = signal
        # Both are made when they are needed: an empty one takes 760 bytes.
        self._pieces: deque[tuple[bytes | bytearray, int]] | None = None  # each with its credit
        self._messages: deque[Message | str | bytes] | None = None  # of a WebSocket
        self._has_body = True
        self._arrived: Signal | None = None
        self._room: anyio.Event | None = None
        self._said_whole = False
        self._waiting = self._waited = 0.0
        self.bounded: bool = True
        self.weight: int = 0
        self.whole: bool = False
        self.closed: Message | None = None
        self.asked: Callable[[], Awaitable[None]] | None = None
        self.taken: Callable[[int], None] | None = None
        self.owed: int = 0
        self.listener: Listener | None = None
        self.claimed: bool = False
        self.stalled: bool = False
        self.progressed: float = 0.0
        self.flushing: bool = False
        self.message_bytes: int | None = None

    def has_left(self) -> bool:
        """Whether the client is gone, also where something lies before the news of it."""
        return self.closed is not None

    def has_unread(self) -> bool:
        """Whether messages of a WebSocket lie here."""
        return bool(self._messages)

    @property
    def waited_for(self) -> bool:
        """Whether the application waits in `get`."""
        return self._arrived is not None

    @property
    def waits_since(self) -> float:
        """Since when the application waits for the rest of a body; 0.0 if others look after it."""
        return self._waiting if self._has_body and not (self.whole or self.claimed) else 0.0

    def answered(self) -> None:
        """Hear that the call goes on: each has a task of its own here."""

    async def put(self, message: Message) -> None:
        """Take a message from the protocol; waits while there is no room."""
        kind = message["type"]
        if self.closed is not None:
            return
        if kind == "http.request":
            self.whole = not message["more_body"]
            self.add(message["body"])
            self._wake()
        elif kind.endswith("disconnect"):
            self.close(message)
        else:
            self._append(message)
        await self.room()

    def take(self, message: str | bytes) -> bool:
        """Take a message of a WebSocket; return whether there is room for another."""
        self._append(message)
        return self.weight <= BOUND_BYTES or not self.bounded

    def _append(self, message: Message | str | bytes) -> None:
        self._has_body = False
        if self._messages is None:
            self._messages = deque()
        self._messages.append(message)
        self.weight += _weight(message)
        self._wake()

    @property
    def is_full(self) -> bool:
        """Whether so much lies here that the client should wait."""
        return self.weight > BOUND_BYTES

    async def room(self) -> None:
        """Wait until there is room."""
        while self.bounded and self.is_full and self.closed is None:
            self._room = self._room or anyio.Event()
            await self._room.wait()

    def add(self, data: bytes, credit: int = 0) -> None:
        """Take a piece of the body; with its padding it came in *credit* flow-controlled bytes."""
        if self.closed is not None:
            return
        if not data:  # padding alone: no message would be taken for it
            return self._give_back(credit)
        if self._pieces is None:
            self._pieces = deque()
        pieces = self._pieces
        if pieces and len(data) < SMALL_BYTES and len(pieces[-1][0]) + len(data) <= MESSAGE_BYTES:
            last, before = pieces.pop()
            joined = last if isinstance(last, bytearray) else bytearray(last)
            joined += data
            pieces.append((joined, before + credit))
        else:
            pieces.append((data, credit))
        self.weight += len(data)
        self.owed += credit
        self._wake()

    def close(self, message: Message) -> None:
        """
        Let *message*, a disconnect, be the last one; drop what came of an unfinished body.

        A listener hears at once how a WebSocket ended.
        """
        is_news, self.closed = self.closed is None, message
        if not self.whole:
            self.weight -= sum(len(data) for data, _ in self._pieces or ())
            self.owed = 0
            self._pieces = None
        self._wake()
        self.lift()
        if is_news and self.listener is not None and message["type"] == "websocket.disconnect":
            self.listener.closed(message["code"], message.get("reason", ""))

    def leave(self) -> None:
        """Let it be known at once that the client does not want the answer any more."""
        if self.listener is not None:
            self.listener.left()

    def stall(self) -> None:
        """Let it be known that the client is cut because it took nothing."""
        self.stalled = True
        if self.listener is not None:
            self.listener.stalled()

    def lift(self) -> None:
        """Take what the kernel still has, because the client has left: the body may be whole."""
        self.bounded = False
        self._make_room()

    async def get(self) -> Message:
        """Return the application's next message; it is the ASGI `receive`."""
        if self.asked is not None:
            asked, self.asked = self.asked, None
            await asked()
        while not (self._pieces or self._messages or (self.whole and not self._said_whole)):
            if self.closed is not None:
                return dict(self.closed)
            arrived = self._arrived
            if arrived is None:
                arrived = self._arrived = self._signal()
            await (self._wait_for_body(arrived) if self._has_body else arrived.wait())
        self._waited = 0.0
        if self._messages:
            said = self._messages.popleft()
            self.weight -= _weight(said)
            if not self._messages:
                self._messages = None
            message = _as_message(said)
        else:
            message = self._next_of_body()
        if self._room is not None and self.weight <= BOUND_BYTES:
            self._make_room()
        return message

    async def _wait_for_body(self, arrived: Signal) -> None:
        """Wait until something has arrived, and note since when: others look after that time."""
        self._waiting = clock() - self._waited
        try:
            await arrived.wait()
        except BaseException:  # it may ask again at once
            self._waited = clock() - self._waiting
            raise
        finally:
            self._waiting = 0.0

    def _next_of_body(self) -> Message:
        """Take what lies here, up to the size of a message; all of it once the client has left."""
        pieces = self._pieces
        taken: list[bytes | bytearray] = []
        size = credit = 0
        while pieces and (
            not taken or self.closed is not None or size + len(pieces[0][0]) <= MESSAGE_BYTES
        ):
            data, came_in = pieces.popleft()
            taken.append(data)
            size += len(data)
            credit += came_in
        self.weight -= size
        self.owed -= credit
        self._give_back(credit)
        self._said_whole = self.whole and not pieces
        return {"type": "http.request", "body": b"".join(taken), "more_body": not self._said_whole}

    def _give_back(self, credit: int) -> None:
        if (
            credit and self.taken is not None and not self.whole
        ):  # after the end there is nothing to send
            self.taken(credit)

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None


def _weight(message: Message | str | bytes) -> int:
    if isinstance(message, str) and not message.isascii():
        return MOST_CHARACTER_BYTES * len(message) + MESSAGE_OVERHEAD_BYTES
    return len(message) + MESSAGE_OVERHEAD_BYTES


def _as_message(said: Message | str | bytes) -> Message:
    if isinstance(said, str):
        return {"type": "websocket.receive", "bytes": None, "text": said}
    if isinstance(said, bytes):
        return {"type": "websocket.receive", "bytes": said, "text": None}
    return said


def inbox_of(stream: object) -> Inbox | None:
    """Find the inbox of a hypercorn stream; None before its application was called."""
    put: Any = getattr(stream, "app_put", None)
    return cast("Inbox | None", getattr(put, "__self__", None))


def found_inbox(stream: object) -> Inbox:
    """Return the inbox of a hypercorn stream whose application was called."""
    return cast(Inbox, inbox_of(stream))


async def call_app(
    service: Service,
    scope: Scope,
    inbox: Inbox,
    send: Callable[[Message | None], Awaitable[None]],
    own: anyio.CancelScope | None = None,
) -> None:
    """
    Call the application for one scope, and tell hypercorn when it returned.

    *own* cancels this call alone: its stream is ended after it.
    """
    try:
        scope["extensions"][CLIENT] = inbox
        given = send if service.is_heard else _Yielding(service, inbox, send)
        with nullcontext() if own is None else own:
            await run_app(service, scope, inbox, inbox.get, given)
    finally:
        await send(None)


class SpawnsApps:
    """
    Added to a task group of hypercorn: its applications receive by way of an Inbox.

    Attributes:
        service: What all connections share.
        signal: Makes what wakes a task, in the cheapest way of the event loop.
        calls: How to cancel each call that others may stand beside (HTTP/2), by its inbox; None
            before the first, because a set would be another 200 bytes of each WebSocket.
    """

    service: Service
    signal: ClassVar[type[Signal]]
    spawn: Callable[..., None]
    calls: dict[Inbox, anyio.CancelScope] | None = None

    async def spawn_app(
        self, app: Any, config: Any, scope: Scope, send: Callable[[Message | None], Awaitable[None]]
    ) -> Callable[[Message], Awaitable[None]]:
        """Call the application; it receives what is put into what is given back."""
        inbox = Inbox(self.signal)
        call = self._call_beside_others if scope["http_version"] == "2" else call_app
        self.spawn(call, self.service, scope, inbox, send)
        return inbox.put

    async def _call_beside_others(
        self,
        service: Service,
        scope: Scope,
        inbox: Inbox,
        send: Callable[[Message | None], Awaitable[None]],
    ) -> None:
        """Call the application so that its call can be cancelled, and the others go on."""
        calls = self.calls = self.calls or {}
        own = calls[inbox] = anyio.CancelScope()
        try:
            await call_app(service, scope, inbox, send, own)
        finally:
            del calls[inbox]

    def cancel_calls(self, but: Collection[Inbox]) -> None:
        """Cancel the calls of a connection but for some, and those an application looks after."""
        for inbox, own in (self.calls or {}).items():
            if inbox not in but and not (self.service.is_heard and inbox.claimed):
                own.cancel()


class _Yielding:
    """
    A `send` that gives the event loop a turn, and lets a cancellation come before a message.

    Fault (hypercorn 0.18): it returns without suspending where a client is gone, or fast, and one
    that writes in a loop then stops everything else. Nardis applications see to both themselves.

    The turns are the event loop's, and not the client's: who sends to a thousand clients, one after
    the other, gives it one in a millisecond, and not one for each of them.
    """

    __slots__ = ("_inbox", "_send", "_service")

    def __init__(
        self, service: Service, inbox: Inbox, send: Callable[[Message | None], Awaitable[None]]
    ) -> None:
        self._service = service
        self._inbox = inbox
        self._send = send

    async def __call__(self, message: Message) -> None:
        await checkpoint_if_cancelled()
        await self._send(message)
        now = clock()
        if self._inbox.closed is not None or now - self._service.yielded > TURN_S:
            self._service.yielded = now
            await checkpoint()
