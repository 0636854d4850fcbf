r"""
Server-sent events, for programs that read or write a stream of them outside of `res.sse()`.

A client reads one with an `EventDecoder`, from the chunks of any HTTP client. A relay passes events
on, changed or not, with their types and ids, so that a browser can go on where it stopped:

>>> decoder = EventDecoder()
>>> for chunk in (b"id: 1", b"\ndata: Hel", b"lo\n\ndata: wor"):
...     for event in decoder.feed(chunk):
...         print(encode_event(event.data.upper(), event=event.event, id=event.id))
b'event: message\nid: 1\ndata: HELLO\n\n'

An event that is longer than the decoder allows is an `EventTooLong`. In a handler it needs no
`except`: it is answered with 502, or cuts a response that has begun.

`EventStream` is the type of what `res.sse()` gives, for annotations.

Source: WHATWG HTML §9.2 (server-sent events).
"""

from __future__ import annotations

from ._http.events import Event, EventDecoder, EventTooLong, encode_event
from ._sending.feeds import EventStream

__all__ = ["Event", "EventDecoder", "EventStream", "EventTooLong", "encode_event"]
