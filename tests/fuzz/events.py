"""
`EventDecoder` and `encode_event`: the events that the standard's steps give, however they are cut.

Input: how many bytes an event may have, as one byte; then the stream, which is also written as the
data of one event.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from math import inf
from typing import TypeAlias

from nardis._http import events
from nardis._http.events import Event, EventTooLong

__all__ = ["Outcome", "check", "interpret", "read", "seeds", "whole"]

# The events; then the last id, the time to wait, and how many comments there were.
Outcome: TypeAlias = tuple[list[Event], str, float | None, int]


def check(data: bytes) -> None:
    most, stream = (data[0], data[1:]) if data else (0, b"")
    outcome, longest = interpret(stream)
    pieces = [stream[at : at + 1] for at in range(len(stream))]
    thirds = [stream[: most // 3], stream[most // 3 : most], b"", stream[most:]]
    for cut in ([stream], pieces, thirds):
        assert read(cut, longest) == (outcome, False)
    check_limit([[stream], pieces, thirds], most, longest)
    check_writing(outcome[0])
    check_text(stream.decode("utf-8", "surrogateescape"))


def check_limit(cuts: list[list[bytes]], most: int, longest: int) -> None:
    """What is read before an event that is too long does not depend on the pieces either."""
    first, *others = (read(cut, most) for cut in cuts)
    assert first[1] == (longest > most)
    assert others == [first, first]


def check_writing(found: list[Event]) -> None:
    again = b"".join(events.encode_event(each.data, event=each.event, id=each.id) for each in found)
    rewritten = [Event(each.data, each.event, each.id) for each in found]
    assert read([again], len(again))[0][0] == rewritten


def check_text(text: str) -> None:
    stream = events.encode_event(text) + events.encode_comment(text)
    lines = re.split("\r\n|\r|\n", whole(text))
    assert read([stream], len(stream)) == (([Event("\n".join(lines))], "", None, len(lines)), False)


def whole(text: str) -> str:
    """Put U+FFFD for half of a surrogate pair, as browsers do."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read(pieces: Iterable[bytes], most: int) -> tuple[Outcome, bool]:
    """Read a stream in pieces, beyond an error too; return whether there was one."""
    decoder = events.EventDecoder(event_bytes=most)
    found: list[Event] = []
    is_too_long = False
    for piece in pieces:
        try:
            found += decoder.feed(piece)
        except EventTooLong as exc:
            found += exc.events
            is_too_long = True
    return (found, decoder.last_event_id, decoder.retry, decoder.comments), is_too_long


def interpret(stream: bytes) -> tuple[Outcome, int]:
    """
    Read a whole stream by the steps of WHATWG HTML §9.2.6, one after the other, as text.

    Return the outcome, and the bytes of the longest event as `EventDecoder` counts them.
    """
    found: list[Event] = []
    data = kind = identity = last = ""
    retry: float | None = None
    comments = 0
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, _ = re.split("\r\n|\r|\n", text)
    for line in lines:
        field, colon, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            last = identity
            if data != "":
                found.append(Event(data.removesuffix("\n"), kind or "message", last, retry))
            data = kind = ""
        elif colon and not field:
            comments += 1
        elif field == "data":
            data += value + "\n"
        elif field == "event":
            kind = value
        elif field == "id" and "\0" not in value:
            identity = value
        elif field == "retry" and re.fullmatch("[0-9]+", value) and float(value) < inf:
            retry = float(value) / 1000
    return (found, last, retry, comments), longest_of(stream)


def longest_of(stream: bytes) -> int:
    longest = used = 0
    for number, line in enumerate(re.split(b"\r\n|\r|\n", stream)):
        longest = max(longest, used + len(line))
        kept = line if number else line.removeprefix(b"\xef\xbb\xbf")
        used += 0 if kept.startswith(b":") else len(kept)
        used = used if kept else 0
    return longest


def seeds() -> Iterator[bytes]:
    yield from (
        b"\x40data: a\n\ndata\n\ndata:\ndata\n\nevent\ndata:x\n\n",
        b"\x05id: 1\r\ndata:b\r\n\r\nid\rdata:  c\r\r",
        b"\x09\xef\xbb\xbf: hello\nretry: 1500\n\n: hello\nid: 7\n\ndata\n\n",
        b"\x0c\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\ndata: 2\n\ndata: 3",
        b"\x20event: \xc3\xa9\xff\nid: a\0b\nretry: 1x\nretry:\ndata: \xe2\x82\n\n",
        b"\xff event: no\nDATA: no\ndata : no\ndata:yes\nevent: x\nevent: y\n\ndata: z\n\n",
        b"\x03retry: " + b"9" * 400 + b"\ndata\n\n",
        b"\x11retry: \xd9\xa3\nid: x\ndata: 1\n\nid\ndata: 2\n\nretry: 007\nid: 9",
        b"\x08data\n:" + b"-" * 20 + b"\n\n",
        "\x00\udcff\ud83d\r\n🎉\r".encode("utf-8", "surrogatepass"),
    )
