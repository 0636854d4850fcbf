"""
Server-sent events: written, and read while they arrive.

A stream is lines of UTF-8, and each line is a field, a comment, or the blank line that ends an
event. The standard calls the reading side "interpreting", and this module follows it step by step.

Source: WHATWG HTML §9.2.5 (what a stream is) and §9.2.6 (how a browser reads it).
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from math import inf, isfinite
from typing import Final

from ..errors import FieldError, HTTPError, UsageError

__all__ = [
    "Event",
    "EventDecoder",
    "EventTooLong",
    "encode_comment",
    "encode_event",
    "encode_retry",
]

# As for a body that is gathered, `Limits.buffered_body_bytes`.
EVENT_BYTES: Final = 1024 * 1024
_LF: Final = ord("\n")


# --- writing --------------------------------------------------------------------------------------


def encode_event(data: str, *, event: str | None = None, id: str | None = None) -> bytes:
    r"""
    Write one event.

    Any text can be sent, but CR, LF and CRLF all arrive as LF, because they end lines here. Half of
    a surrogate pair, which UTF-8 lacks, becomes U+FFFD. Empty data is sent as such, and browsers
    hand over an event whose data is "".

    Args:
        data: The text of the event, in as many `data` lines as it has lines.
        event: The type that a listener of `addEventListener` is called for. Browsers take an empty
            one, or none, for "message".
        id: What the client sends as Last-Event-ID after it has lost the connection. An empty one
            makes the client forget the last; without one, the last stays.

    Returns:
        The event with its blank line, so that writing it is enough for a browser to hand it over.

    Raises:
        FieldError: The type or the id has a line end, or the id has a NUL.
        UsageError: One of the three is no text.

    Source: WHATWG HTML §9.2.5 and §9.2.6.
    >>> encode_event("two\nlines", event="note", id="7")
    b'event: note\nid: 7\ndata: two\ndata: lines\n\n'
    """
    if not isinstance(data, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # for untyped callers
        raise UsageError(
            f"the data of an event is text, not {type(data).__name__}: write json.dumps(...) for "
            "JSON, and decode bytes"
        )
    # `in` for each finds them several times sooner than one regular expression.
    if "\n" in data or "\r" in data:
        data = _in_lines(data, "data: ")
    text = f"data: {data}\n\n"
    if event is not None or id is not None:
        text = f"{_field('event', event)}{_field('id', id)}{text}"
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _in_utf8(text)


def encode_comment(text: str) -> bytes:
    r"""
    Write a comment, which clients read and ignore: it shows that the connection lives.

    Source: WHATWG HTML §9.2.5 and §9.2.7.
    >>> encode_comment("still here")
    b': still here\n\n'
    """
    return _in_utf8(f": {_in_lines(text, ': ')}\n\n")


def encode_retry(seconds: float) -> bytes:
    r"""
    Write how long a client waits before it connects again, from now on.

    Args:
        seconds: 0 or more; sent as whole milliseconds.

    Raises:
        FieldError: It is negative, infinite, or no number.

    Source: WHATWG HTML §9.2.5 and §9.2.6.
    >>> encode_retry(2.5)
    b'retry: 2500\n\n'
    """
    if not 0 <= seconds < inf:
        raise FieldError(f"a client cannot wait {seconds} seconds: give 0 or more, and finite")
    return b"retry: %d\n\n" % round(seconds * 1000)


def _in_lines(text: str, start: str) -> str:
    r"""Begin each line but the first with *start*; lines end with CR, LF or CRLF, as in §9.2.5."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", f"\n{start}")


def _field(name: str, value: str | None) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # for untyped callers
        raise UsageError(
            f"the {name} of an event is text, not {type(value).__name__}: write {name}=str(...)"
        )
    if "\n" in value or "\r" in value:
        raise FieldError(
            f"the {name} of an event stands on one line, and {value[:64]!r} has a line end: "
            "send such text as data"
        )
    if name == "id" and "\0" in value:
        raise FieldError(
            f"the id of an event has no NUL, and {value[:64]!r} has: browsers ignore such an id. "
            "Encode it, for example as hexadecimal digits"
        )
    return f"{name}: {value}\n"


def _in_utf8(text: str) -> bytes:
    # Through UTF-16, so that a surrogate pair is read as the character it stands for, and only half
    # of one is replaced.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


# --- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """
    An event as a browser hands it over.

    `encode_event(event.data, event=event.event, id=event.id)` writes it again, for a client that
    then knows what this one knew.

    Attributes:
        data: The text of its `data` lines, joined by LF.
        event: Its type, "message" when the stream names none.
        id: The last id that the stream gave, with this event or before it; "" for none.
        retry: The seconds to wait before connecting again, as the stream said last, with this event
            or before it; `None` for never.

    Source: WHATWG HTML §9.2.6.
    """

    data: str
    event: str = "message"
    id: str = ""
    retry: float | None = None


class EventTooLong(HTTPError):
    """
    An event of a stream is longer than its reader allows: 502, if nobody catches it.

    That is what a relay answers when the service behind it cannot be understood. After the head of
    its response, the response is cut.

    Args:
        limit: What was allowed, in bytes.
        events: Those that were complete before, and have not been handed over.

    Source: RFC 9110 §15.6.3.
    """

    def __init__(self, limit: int, events: list[Event]) -> None:
        super().__init__(
            502,
            f"an event of the stream is longer than the {limit:,} bytes allowed here",
            limit=limit,
        )
        self.events: list[Event] = events


class EventDecoder:
    r"""
    Read a stream of events while it arrives, as browsers do.

    However the stream is cut into pieces, the events are the same. Each is handed over as soon as
    its blank line ends; a CR does not wait for the LF that may follow. What stands behind the last
    blank line is no event when the stream ends, so there is nothing to finish.

    Bytes that are not UTF-8 become U+FFFD. One byte order mark at the beginning is dropped. Unknown
    fields, ids with a NUL, and a `retry` that is not all digits, or beyond a float, are ignored. So
    is an event without any `data` line, but its id counts.

    Args:
        event_bytes: Most bytes that the lines of one event may have together, without their ends. A
            comment counts only while it is read.
        last_event_id: The id that was sent as Last-Event-ID; it holds until the stream gives
            another, as web-platform-tests have it.

    Attributes:
        last_event_id: What to send as Last-Event-ID after the connection is lost. It changes with
            the blank line of an event, not before.
        retry: The seconds to wait before that, as the stream said last; `None` for never.
        comments: How many comment lines have been read. They keep connections alive.

    Source: WHATWG HTML §9.2.5 and §9.2.6.
    >>> decoder = EventDecoder()
    >>> decoder.feed(b": hello\nid: 7\nda"), decoder.feed(b"ta: a\r\ndata: b\r\n\r")
    ([], [Event(data='a\nb', event='message', id='7', retry=None)])
    >>> decoder.last_event_id, decoder.comments
    ('7', 1)
    """

    __slots__ = (
        "_after_cr",
        "_begun",
        "_data",
        "_event",
        "_held",
        "_id",
        "_most",
        "_too_long",
        "_used",
        "comments",
        "last_event_id",
        "retry",
    )

    def __init__(self, *, event_bytes: int = EVENT_BYTES, last_event_id: str = "") -> None:
        self.comments: int = 0
        self.last_event_id: str = last_event_id
        self.retry: float | None = None
        self._most: int = event_bytes
        self._too_long: bool = False
        # The line that has no end yet. In one buffer, so that single bytes cost no more than lines.
        self._held: bytearray = bytearray()
        # Whether an LF that comes next is the rest of a CRLF, and whether there was a line at all.
        self._after_cr: bool = False
        self._begun: bool = False
        # The three buffers of §9.2.6, and how many bytes the lines had that filled them.
        self._data: list[bytes] = []
        self._event: bytes = b""
        self._id: str = last_event_id
        self._used: int = 0

    def feed(self, data: bytes) -> list[Event]:
        r"""
        Read the next piece of the stream.

        Args:
            data: Any number of bytes.

        Returns:
            The events whose blank line has now come.

        Raises:
            EventTooLong: An event has more than `event_bytes`. It has not been kept, and the
                stream cannot be read on: each further call raises the same. The events that this
                piece had before it are its `events`.
            UsageError: *data* is text. Give the bytes as they came.

        Source: WHATWG HTML §9.2.6.
        >>> EventDecoder().feed(b"data\n\nevent: add\ndata:  1\n\ndata: lost")
        [Event(data='', ...), Event(data=' 1', event='add', ...)]
        """
        if not isinstance(data, (bytes, bytearray)):  # pyright: ignore[reportUnnecessaryIsInstance]  # for untyped callers
            raise UsageError(
                f"EventDecoder.feed() takes bytes, not {type(data).__name__}: it decodes them"
            )
        events: list[Event] = []
        if self._too_long:
            raise EventTooLong(self._most, events)
        lines, rest = self._split(data)
        for line in lines:
            self._check(len(line), events)
            if not self._begun:
                self._begun = True
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line:
                self._dispatch(events)
            elif line[0] == ord(":"):
                self.comments += 1
            else:
                self._used += len(line)
                self._take(line)
        self._check(len(self._held) + len(rest), events)
        self._held += rest
        return events

    def _split(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Cut *data* into the lines that end in it, and what is left; LF, CR and CRLF end them."""
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == _LF:
                data = data[1:]
        lines = data.splitlines()  # of bytes, by these three only
        rest = b""
        if lines:
            self._after_cr = data.endswith(b"\r")
            if not self._after_cr and data[-1] != _LF:
                rest = lines.pop()
        if lines and self._held:
            lines[0] = bytes(self._held + lines[0])
            self._held.clear()
        return lines, rest

    def _check(self, size: int, events: list[Event]) -> None:
        """Refuse a line of *size* bytes, so far, if the event would become too long with it."""
        if self._used + size > self._most:
            self._too_long = True
            self._held.clear()
            self._data.clear()
            raise EventTooLong(self._most, events)

    def _take(self, line: bytes) -> None:
        """Process the field of a line."""
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit() and isfinite(milliseconds := float(value)):
            self.retry = milliseconds / 1000

    def _dispatch(self, events: list[Event]) -> None:
        """End an event at its blank line."""
        self.last_event_id = self._id
        if self._data:  # one empty line of data is something, none is nothing
            # No sequence of UTF-8 has CR, LF or a colon in it, so it is decoded last, and at once.
            text = b"\n".join(self._data).decode("utf-8", "replace")
            kind = self._event.decode("utf-8", "replace") or "message"
            events.append(Event(text, kind, self._id, self.retry))
            self._data.clear()
        self._event = b""
        self._used = 0
