"""
Server-sent events as a test reads them: `Client.sse()`.

Source: WHATWG HTML §9.2.3 (what a browser asks for, and takes) and §9.2.6 (how it is read).
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Self

import anyio

from .._http.events import Event, EventDecoder, EventTooLong
from .requests import Pairs
from .responses import StreamedResponse, TestResponse

__all__ = ["NotAnEventStream", "StreamedEvents", "asked_for_events"]

_EVENT_STREAM = "text/event-stream"

# Of an answer that is no event stream, the error carries no more than this. It need not ever end.
_MOST_BYTES = 64 * 1024
_MOST_S = 1.0


class NotAnEventStream(Exception):
    """
    The answer is not a 200 of text/event-stream: a browser would give up, and not connect again.

    Attributes:
        response: The answer. Its body is what came within a second, and goes no further than the
            chunk that reaches 64 KiB; `complete` says whether that is all of it.

    Source: WHATWG HTML §9.2.3.
    """

    def __init__(self, response: TestResponse) -> None:
        what = response.headers.get("content-type") or "no type"
        super().__init__(
            f"expected a 200 of {_EVENT_STREAM}, and got a {response.status_code} of {what}: "
            f"{response.text[:200]!r}"
        )
        self.response = response


class StreamedEvents:
    """
    The events of a response as they arrive: `async for event in events`, or `await anext(events)`.

    Made by `Client.sse()`. Iterating ends with the response, whether that is whole or was cut:
    `events.response.complete` says which. An event that has no blank line by then is none.

    Backpressure: a chunk is taken from the application when all events before it have been read,
    and another only if there is no event in it.
    Cancellation: loses neither bytes nor events.

    Raises:
        NotAnEventStream: On entering `Client.sse()`, or by the first event if the head came later.
        EventTooLong: By the next event, when one has more than 1 MiB.
        AppError: The application failed; the events before that come first.

    Source: WHATWG HTML §9.2.3 and §9.2.6.
    """

    __test__: ClassVar[bool] = False

    def __init__(self, response: StreamedResponse, last_event_id: str | None) -> None:
        self._response = response
        self._decoder = EventDecoder(last_event_id=last_event_id or "")
        self._is_checked = False
        # Events that came in a chunk with others; the last that was handed over; what comes after.
        self._waiting: deque[Event] = deque()
        self._last = Event("")
        self._fault: EventTooLong | None = None

    @property
    def response(self) -> StreamedResponse:
        """The response, with its head, and `complete`. What is read from it is not read here."""
        return self._response

    @property
    def last_event_id(self) -> str:
        """The id that a browser would send now as Last-Event-ID; "" for none."""
        return self._last.id if self._waiting else self._decoder.last_event_id

    @property
    def retry(self) -> float | None:
        """The seconds to wait before connecting again, as the stream said last."""
        return self._last.retry if self._waiting else self._decoder.retry

    @property
    def comments(self) -> int:
        """How many comments were read. Those that keep a connection alive are comments."""
        return self._decoder.comments

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if not self._is_checked:
            await self.check()
        while not self._waiting:
            if self._fault is not None:
                raise self._fault
            chunk = await anext(self._response)
            try:
                self._waiting.extend(self._decoder.feed(chunk))
            except EventTooLong as exc:
                self._waiting.extend(exc.events)
                self._fault = exc
        self._last = self._waiting.popleft()
        return self._last

    # --- for Nardis itself ---

    async def check(self) -> None:
        """
        Wait for the head, and refuse an answer that is no event stream.

        Raises:
            NotAnEventStream: The answer is none.
            AppError: The application failed before the head, or while its answer was read.

        Source: WHATWG HTML §9.2.3.
        """
        response = self._response
        await response.head()
        kind = (response.headers.get("content-type") or "").partition(";")[0]
        if response.status_code != 200 or kind.strip(" \t").lower() != _EVENT_STREAM:
            content = await _what_comes(response)
            raise NotAnEventStream(
                TestResponse(
                    response.status_code,
                    response.headers,
                    content,
                    response.trailers,
                    response.complete,
                )
            )
        self._is_checked = True


async def _what_comes(response: StreamedResponse) -> bytes:
    content = b""
    with anyio.move_on_after(_MOST_S):
        async for chunk in response:
            content += chunk
            if len(content) >= _MOST_BYTES:
                break
    return content


def asked_for_events(always: Pairs, given: Pairs, last_event_id: str | None) -> Pairs:
    """
    Return the fields of a request for events, as a browser sends it.

    Args:
        always: The fields that the client sends with every request; they win over a browser's.
        given: Those of this request; they win as well.
        last_event_id: Sent as Last-Event-ID, in UTF-8, unless it is empty.

    Source: WHATWG HTML §9.2.3 and §9.2.4; Fetch §4.5, for the Cache-Control of a request that no
    cache may answer.
    """
    usual = {
        b"accept": _EVENT_STREAM.encode(),
        b"cache-control": b"no-cache",
        b"last-event-id": (last_event_id or "").encode(),
    }
    named = {name for name, _ in (*always, *given)}
    return [
        *((name, value) for name, value in usual.items() if value and name not in named),
        *given,
    ]
