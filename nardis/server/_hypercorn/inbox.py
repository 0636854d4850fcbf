"""
What one application call receives.

Fault (hypercorn 0.18): the messages for an application wait in a queue of ten. A client that leaves behind a full queue is not
noticed, because nobody reads its socket; the end of a stream is one more message of the same queue, so the application's own last
`send` hangs until somebody takes the others; and after `http.disconnect` a further `receive()` blocks for ever.

Cure: a queue bounded in bytes, into which the end always fits. Once the client is gone the bound is lifted, what the kernel still
has of the body is read, and the disconnect comes next: at once if the body was cut, after one last message if it is whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import anyio

from ..._extensions import Listener
from ..._types import Message

__all__ = ["Inbox", "found_inbox", "inbox_of"]

# What lies unread before the client is made to wait: two reads of a socket.
BOUND_BYTES: Final = 128 * 1024

# One message of the body, at most, unless the client has left.
MESSAGE_BYTES: Final = 64 * 1024

# A message costs this much beside its bytes, about: tiny ones may not add up to more memory than the bound is for.
MESSAGE_OVERHEAD_BYTES: Final = 64


class Inbox:
    """
    The receiving side of one application call.

    Attributes:
        bounded: Whether `put` waits for room. Where the protocol has flow control of its own it need not.
        weight: Bytes that lie here, with their overhead.
        whole: The body has arrived.
        closed: Nothing more comes; what `get` gives at the end.
        asked: Called once, when the application first asks.
        taken: Called with the number of flow-controlled bytes that the application took.
        owed: Flow-controlled bytes that arrived and were not taken yet.
        listener: The exchange of a Nardis application, which is told at once when the client leaves or stalls.
        claimed: There is one, or was: it looks after the limits of its request, and logs its failures.
        stalled: The client took nothing for too long.
        progressed: When the client last took a byte of the response, by `time.monotonic`; 0.0 is never.
        flushing: The response waits for the socket, and not for a window.
    """

    __slots__ = (
        "_arrived",
        "_messages",
        "_pieces",
        "_room",
        "_said_whole",
        "asked",
        "bounded",
        "claimed",
        "closed",
        "flushing",
        "listener",
        "owed",
        "progressed",
        "stalled",
        "taken",
        "weight",
        "whole",
    )

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._messages: deque[Message] = deque()  # of a WebSocket
        self._arrived: anyio.Event | None = None
        self._room: anyio.Event | None = None
        self._said_whole = False
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

    def has_left(self) -> bool:
        """Tell whether the client is gone, also to those who cannot take what lies before the news of it."""
        return self.closed is not None

    @property
    def waited_for(self) -> bool:
        """Tell whether the application waits in `get`."""
        return self._arrived is not None

    async def put(self, message: Message) -> None:
        """Take a message from the protocol; waits while there is no room."""
        kind = message["type"]
        if self.closed is not None:
            return
        if kind == "http.request":
            if message["body"]:
                self._pieces.append(message["body"])
                self.weight += len(message["body"]) + MESSAGE_OVERHEAD_BYTES
            self.whole = not message["more_body"]
        elif kind.endswith("disconnect"):
            self.close(message)
        else:
            self._messages.append(message)
            self.weight += _weight(message)
        self._wake()
        while self.bounded and self.weight > BOUND_BYTES and self.closed is None:
            self._room = self._room or anyio.Event()
            await self._room.wait()

    def close(self, message: Message) -> None:
        """Let *message*, a disconnect, be the last one: what came of a body that is not whole is dropped."""
        self.closed = message
        if not self.whole:
            self._pieces.clear()
        self._wake()
        self.lift()

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
        """Give the application its next message; it is the ASGI `receive`."""
        if self.asked is not None:
            asked, self.asked = self.asked, None
            await asked()
        while not (self._pieces or self._messages or (self.whole and not self._said_whole)):
            if self.closed is not None:
                return dict(self.closed)
            self._arrived = self._arrived or anyio.Event()
            await self._arrived.wait()
        if self._messages:
            message = self._messages.popleft()
            self.weight -= _weight(message)
        else:
            message = self._next_of_body()
        if self.owed and self.taken is not None:
            owed, self.owed = self.owed, 0
            self.taken(owed)
        if self.weight <= BOUND_BYTES:
            self._make_room()
        return message

    def _next_of_body(self) -> Message:
        """Take what lies here, up to the size of a message; all of it once the client has left."""
        pieces = self._pieces
        body = pieces.popleft() if pieces else b""
        if pieces:
            taken, size = [body], len(body)
            while pieces and (self.closed is not None or size + len(pieces[0]) <= MESSAGE_BYTES):
                size += len(pieces[0])
                taken.append(pieces.popleft())
            body = b"".join(taken)
        self.weight = self.weight - len(body) if pieces else 0
        self._said_whole = self.whole and not pieces
        return {"type": "http.request", "body": body, "more_body": not self._said_whole}

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None


def _weight(message: Message) -> int:
    return len(message.get("bytes") or message.get("text") or b"") + MESSAGE_OVERHEAD_BYTES


def inbox_of(stream: object) -> Inbox | None:
    """Find the inbox of a hypercorn stream; None before its application was called."""
    put: Any = getattr(stream, "app_put", None)
    return cast("Inbox | None", getattr(put, "__self__", None))


def found_inbox(stream: object) -> Inbox:
    """Give the inbox of a hypercorn stream whose application was called."""
    return cast(Inbox, inbox_of(stream))
