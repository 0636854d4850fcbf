"""
HTTP/2: a broken response does not look whole.

Fault (hypercorn 0.18): a response whose application failed, or returned, before its end stays open
for ever; a body that is longer or shorter than its Content-Length goes out as it is; field values
with line ends do, too; and a client that goes on uploading after its answer is not told to stop.

Cure: each stream keeps account. What did not end as announced is reset with INTERNAL_ERROR (RFC
9113 §5.4.2), what the client need not send any more with NO_ERROR (§8.1), a moment after its
answer. The connection lives on.
"""

from __future__ import annotations

from typing import Any, Final, cast

import h2.errors
from hypercorn.protocol.events import Body, EndBody, EndData, Response, StreamClosed, Trailers
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.utils import suppress_body

from ..._http.fields import declared_length
from ...errors import ContentLengthMismatch, FieldError
from ...types import Scope
from .h2_window import WindowedH2, clock
from .inbox import inbox_of

__all__ = ["HonestH2"]

# RFC 9113 §8.2.1: a field with any of these is malformed.
_FORBIDDEN: Final = (b"\r", b"\n", b"\0")


# From an early answer to the reset that stops its upload. curl 7.88 loses an answer that it reads
# together with the reset (0 of 60 were seen), and many clients stop by themselves meanwhile.
STOP_S: Final = 0.05


class _Account:
    """What one response said it would send, and what it sent."""

    __slots__ = ("declared", "ended", "sent")

    def __init__(self, declared: int | None) -> None:
        self.declared: int | None = declared
        self.sent: int = 0
        self.ended: bool = False


class HonestH2(WindowedH2):
    """HTTP/2 whose responses end as they said."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._accounts: dict[int, _Account] = {}
        # Uploads whose answer is whole, with the time of their reset; 0.0 is one not set yet.
        self._to_stop: dict[int, float] = {}

    def do_what_is_due(self) -> float | None:
        """
        Reset the uploads whose time has come.

        It is called before each write, and the time begins at the first call: by then the end of
        the answer is in that write or in one before it, so the reset always leaves in a later one.
        """
        now = clock()
        for stream_id, at in tuple(self._to_stop.items()):
            if not at:
                self._to_stop[stream_id] = now + STOP_S
            elif at <= now:
                del self._to_stop[stream_id]
                self.reset(stream_id, h2.errors.ErrorCodes.NO_ERROR)
        return min(self._to_stop.values()) - now if self._to_stop else super().do_what_is_due()

    async def stream_send(self, event: StreamEvent) -> None:
        """Take an application's message; a contradiction is an error, for it and for the client."""
        if isinstance(event, Response):
            self._open_account(event)
        account = self._accounts.get(event.stream_id)
        if account is not None:
            if isinstance(event, Body):
                account.sent += len(event.data)
                if account.declared is not None and account.sent > account.declared:
                    raise _wrong(account)
            elif isinstance(event, (EndBody, EndData, Trailers)):
                if account.declared not in (None, account.sent):
                    raise _wrong(account)
                account.ended = True
        if isinstance(event, StreamClosed):
            self._settle(event.stream_id)
        await super().stream_send(event)

    def _open_account(self, event: Response) -> None:
        declared = None
        for name, value in event.headers:
            if any(each in value or each in name for each in _FORBIDDEN):
                raise FieldError(
                    f"the field {name!r} has a line end or a zero byte in it: nothing was sent"
                )
            if name.lower() == b"content-length":
                declared = declared_length(value)
                if declared is None:
                    raise FieldError(f"{value!r} is no Content-Length: nothing was sent")
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return  # the client has reset it
        method = str(cast("Scope", stream.scope).get("method", "GET"))
        if suppress_body(method, event.status_code):
            declared = None
        self._accounts[event.stream_id] = _Account(declared)

    def _settle(self, stream_id: int) -> None:
        """Reset a stream that we leave unended; after a whole answer a moment later."""
        account = self._accounts.pop(stream_id, None)
        stream = self.streams.get(stream_id)
        if stream is None:
            return  # the client has reset it
        ended = account is not None and account.ended
        inbox = inbox_of(stream)
        if ended and (inbox is None or inbox.whole):
            return
        if ended:
            self._to_stop[stream_id] = 0.0
        else:
            self.reset(stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)

    async def _close_stream(self, stream_id: int) -> None:
        self._accounts.pop(stream_id, None)
        await super()._close_stream(stream_id)


def _wrong(account: _Account) -> ContentLengthMismatch:
    return ContentLengthMismatch(
        f"the response declared a Content-Length of {account.declared} bytes, and {account.sent} "
        "would have gone out: it was cut"
    )
