"""The body of one request on its way in: rules Q1 to Q4."""

from __future__ import annotations

from typing import Final

from .._failures import parted
from ..errors import BodyAlreadyRead, HTTPError, NardisError
from ..limits import Limits
from ..types import Message, Receive
from .inflow import Inflow
from .lifetime import Lifetime

__all__ = ["Intake", "UnwatchedIntake", "too_large"]

# Messages taken ahead of the reader. hypercorn bounds its own queue at 10 and ends each body with
# an extra empty message: fewer than 13 would leave `http.disconnect` hidden behind a small unread
# body (measured on 0.18).
AHEAD: Final = 1
AHEAD_UNREAD: Final = 13

# An unread rest of this size is read and dropped so that the connection can be kept; a larger one
# costs the connection.
SMALL_REST_BYTES: Final = 64 * 1024

# Discarded beside the last send, at most. hypercorn's last send waits for room in a queue of 10
# messages of 64 KiB that its reader fills meanwhile; first come, first served, so a few times that
# is enough for it to get through.
DRAIN_BYTES: Final = 4 * 1024 * 1024

# A body that is slower than `body_min_rate` may be so for this long, or for `body_idle_s` if that
# is longer.
GRACE_S: Final = 5.0


class Intake(Inflow):
    """
    The request body.

    Args:
        lifetime: The call that the body belongs to.
        receive: The server's.
        declared: The Content-Length, if there is one.
        awaits_invitation: The client sends the body when it is asked to (`Expect: 100-continue`),
            and the first `receive` asks it.

    Attributes:
        complete: The reader took the last message.
        received: Body bytes given to the reader.
        limit: Most bytes for the reader; None is no bound.
        spent: Seconds that the reader has waited and its client has not made good, by
            `body_min_rate`.
    """

    __slots__ = (
        "_ahead",
        "_ample",
        "_awaits_invitation",
        "_clock",
        "_declared",
        "_discarded",
        "_discarding",
        "_streamed",
        "complete",
        "limit",
        "received",
        "spent",
    )

    reading: float

    def __init__(
        self, lifetime: Lifetime, receive: Receive, declared: int | None, awaits_invitation: bool
    ) -> None:
        super().__init__(lifetime, receive)
        self._declared = declared
        self._awaits_invitation = awaits_invitation
        self.complete: bool = False
        self.received: int = 0
        self.spent: float = 0.0
        self._clock = lifetime.sweeper.clock
        self._ahead = AHEAD
        self._discarding = False
        self._discarded = 0
        self.limit: int | None = None
        self._streamed: int | None = None  # what the limits say of it
        self.obey(lifetime.limits)

    def obey(self, limits: Limits) -> None:
        """Apply *limits* from now on."""
        most = limits.streamed_body_bytes
        if self.limit == self._streamed:
            self.limit = most
        elif self.limit is not None and most is not None:  # a reader has a bound of its own
            self.limit = min(self.limit, most)
        self._streamed = most
        # A piece of this size makes good whatever was waited for.
        self._ample = limits.body_min_rate * max(limits.body_idle_s, GRACE_S)

    async def next_chunk(self) -> bytes:
        """
        Return the next non-empty piece of the body, as the server delivers it.

        Raises `StopAsyncIteration` at the end, so that it serves as `__anext__` without one more
        coroutine. Cancellation loses nothing: the piece stays with the server or the watcher.
        """
        # In locals, because CPython 3.11 is slow to call what a slot holds.
        lifetime, clock, receive = self._lifetime, self._clock, self._receive
        while not self.complete:
            if self.reading:
                raise BodyAlreadyRead(
                    "two tasks read the request body at once: give it one reader, and let that one "
                    "pass chunks on"
                )
            if self._declared is not None and not self.received:
                self._check_declared(self._declared)
            since = self.reading = clock()
            try:
                if (
                    self._watcher is None
                    and not self._queue
                    and not lifetime.closing
                    and lifetime.cancel_scope is not None
                ):
                    message = await receive()
                else:
                    message = await self._next_message()
            except BaseException as exc:
                if isinstance(exc, NardisError) or parted(exc)[0] is not None:
                    raise
                message = lifetime.server_failed(exc)
            finally:
                self.reading = 0.0
            if message["type"] != "http.request":
                lifetime.disconnected()
                await lifetime.raise_gone()
            if not message.get("more_body", False):
                self.complete = True
            chunk: bytes = message.get("body", b"")
            size = len(chunk)
            if size >= self._ample:
                self.spent = 0.0
            else:  # each byte buys its share of a second, and no more
                waited = clock() - since
                spent = self.spent + waited - size / lifetime.limits.body_min_rate
                self.spent = max(spent, 0.0)
            if chunk:
                self.received += size
                if self.limit is not None and self.received > self.limit:
                    raise too_large(self.limit)
                return chunk
        raise StopAsyncIteration

    def is_too_slow(self, now: float) -> bool:
        """Whether the reader has waited for too long, for this piece or for all of them."""
        waited = now - self.reading if self.reading else 0.0
        idle_s = self._lifetime.limits.body_idle_s
        return waited > idle_s or (waited > 0 and waited + self.spent > max(idle_s, GRACE_S))

    def _check_declared(self, size: int) -> None:
        """Refuse a body that declares itself to be larger than the limit (413)."""
        if self.limit is not None and size > self.limit:
            raise too_large(self.limit)

    def arrived(self) -> bool:
        """Whether the server has nothing more of the body."""
        return self.complete or bool(self._queue and not self._queue[-1].get("more_body", False))

    def costs_connection(self) -> bool:
        """
        Whether the connection ends with an early answer.

        It does when the rest of the body is large, of unknown size, or was never asked for.
        """
        if self.arrived():
            return False
        if self._awaits_invitation and not self.received and not self._queue:
            return True
        taken = self.received + sum(len(message.get("body", b"")) for message in self._queue)
        return self._declared is None or self._declared - taken > SMALL_REST_BYTES

    def watch(self) -> None:
        """Start the watcher, unless that would ask for a body that the handler may yet refuse."""
        if self._asks_first():
            return
        if self._queue:
            self._ahead = AHEAD_UNREAD
        super().watch()

    def _asks_first(self) -> bool:
        """
        Whether a `receive` would ask for a body that the handler may yet refuse.

        Servers say `100 Continue` at the first one.
        """
        asked = self.received or self._discarding or self._lifetime.has_started()
        return self._awaits_invitation and not asked

    def _has_room(self) -> bool:
        if self._discarding:
            return self._discarded <= DRAIN_BYTES
        return len(self._queue) < self._ahead

    def _keeps(self, message: Message) -> bool:
        if message["type"] != "http.request":
            self._lifetime.disconnected()
            return False
        if self._discarding:
            self._discarded += len(message.get("body", b""))
        return not self._discarding

    def _end(self) -> Message | None:
        return {"type": "http.disconnect"} if self._lifetime.gone else None

    def discard(self) -> None:
        """Drop the rest of the body beside the last send: servers wait for that (measured)."""
        self._discarding = True
        self._queue.clear()
        self.watch()


class UnwatchedIntake(Intake):
    """A body that somebody else looks after: nobody but the reader asks for it."""

    __slots__ = ()

    def costs_connection(self) -> bool:
        """Leave the connection to the exchange that has it."""
        return False

    def watch(self) -> None:
        """Leave it alone."""

    def discard(self) -> None:
        """Leave the rest where it is."""


def too_large(limit: int) -> HTTPError:
    """Build the 413 for a body of more than *limit* bytes (RFC 9110 §15.5.14)."""
    return HTTPError(
        413, f"the request body is larger than the {limit:,} bytes allowed here", limit=limit
    )
