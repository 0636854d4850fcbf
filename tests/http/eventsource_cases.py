"""
How a browser reads server-sent events: what a server answers, and what becomes of it.

The facts are those of WHATWG HTML §9.2 and of web-platform-tests (eventsource/), in rows of our
own. `EventDecoder` is held to them by `test_eventsource_cases.py`, and Chromium by
`tests/examples/test_eventsource.py`, which names the rows where it differs.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CASES", "Case", "Got"]

BOM = b"\xef\xbb\xbf"


class Got(NamedTuple):
    """An event as a listener gets it; *id* is its `lastEventId`."""

    data: str
    type: str = "message"
    id: str = ""


class Case(NamedTuple):
    """
    One answer, and what a browser makes of it.

    Attributes:
        stream: The body, behind which the response ends.
        events: Those that are dispatched, in their order.
        again: The Last-Event-ID of the next request, "" for none; None if there is no next request,
            because the browser has given up.
        retry: The milliseconds that it waits before that; None for its own time.
        status: That of the answer.
        fields: Those of the answer beside its type, and the type if it is another one.
        is_elsewhere: Whether the page is of another origin.
        with_credentials: The option of `EventSource`.
    """

    stream: bytes
    events: tuple[Got, ...] = ()
    again: str | None = ""
    retry: int | None = None
    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()
    is_elsewhere: bool = False
    with_credentials: bool = False


def _typed(content_type: str, is_read: bool = True) -> Case:
    events, again = ((Got("é"),), "") if is_read else ((), None)
    return Case("data:é\n\n".encode(), events, again, fields=(("content-type", content_type),))


def _refused(status: int) -> Case:
    return Case(b"" if status in (204, 205) else b"data:a\n\n", again=None, status=status)


def _elsewhere(is_read: bool, with_credentials: bool, **fields: str) -> Case:
    events, again = ((Got("a"),), "") if is_read else ((), None)
    named = tuple((f"access-control-allow-{name}", value) for name, value in fields.items())
    return Case(
        b"data:a\n\n",
        events,
        again,
        fields=named,
        is_elsewhere=True,
        with_credentials=with_credentials,
    )


_LINES = {
    "one line": Case(b"data: a\n\n", (Got("a"),)),
    "several lines": Case(b"data: a\ndata: b\ndata:\ndata: c\n\n", (Got("a\nb\n\nc"),)),
    "lines end with CR": Case(b"data: a\rdata: b\r\rdata: c\r\r", (Got("a\nb"), Got("c"))),
    "lines end with CRLF": Case(b"data: a\r\ndata: b\r\n\r\n", (Got("a\nb"),)),
    "line ends are mixed": Case(
        b"data: 1\rdata: 2\r\ndata: 3\n\r\ndata: 4\r\n\rdata: 5\n\r\r\n",
        (Got("1\n2\n3"), Got("4"), Got("5")),
    ),
    "LF CR is two": Case(b"data: a\n\rdata: b\n\n", (Got("a"), Got("b"))),
    "other line ends are none": Case(
        "data: a\x0b\x0c\x1c\x85\u2028\u2029b\n\n".encode(),
        (Got("a\x0b\x0c\x1c\x85\u2028\u2029b"),),
    ),
    "no blank line at the end": Case(b"data: a\n\nid: 1\ndata: lost\n", (Got("a"),)),
    "no line end at the end": Case(b"data: a\n\ndata: lost", (Got("a"),)),
    "a blank line without its event": Case(b"\n\n\r\n\rdata: a\n\n\n\n", (Got("a"),)),
    "nothing": Case(b""),
}

_TEXT = {
    "one BOM": Case(BOM + b"data: a\n\n" + BOM + b"data: b\n\n", (Got("a"),)),
    "two BOMs": Case(BOM * 2 + b"data: a\n\ndata: b\n\n", (Got("b"),)),
    "a BOM and nothing": Case(BOM),
    "a BOM before a blank line": Case(BOM + b"\ndata: a\n\n", (Got("a"),)),
    "a BOM in data": Case(b"data: " + BOM + b"a\n\n", (Got("\ufeffa"),)),
    "not UTF-8": Case(
        b"data: \xff\ndata: \xe2\x80\ndata: \xc0\xaf\n\n", (Got("\ufffd\n\ufffd\n\ufffd\ufffd"),)
    ),
    "beyond the first plane": Case("data: 🎉é\n\n".encode(), (Got("🎉é"),)),
    "NUL in data": Case(b"data: a\0b\n\n", (Got("a\0b"),)),
}

_FIELDS = {
    "one space is dropped": Case(
        b"data:a\n\ndata: a\n\ndata:  a\n\ndata:\ta\n\n",
        (Got("a"), Got("a"), Got(" a"), Got("\ta")),
    ),
    "colons in data": Case(b"data: a: b:\n\n", (Got("a: b:"),)),
    "no colon": Case(b"data\n\ndata\ndata\n\n", (Got(""), Got("\n"))),
    "empty data": Case(b"data:\n\ndata: \n\n", (Got(""), Got(""))),
    "no data": Case(b"event: a\n\ndata: b\n\n", (Got("b"),)),
    "comments": Case(b": a\n:\ndata: b\n:data: c\n: \0\n\n:\n\n", (Got("b"),)),
    "unknown fields": Case(
        b"data\0: a\n data: a\nDATA: a\nData: a\ndata : a\ndatas: a\nsize: 1\ndata: b\n\n",
        (Got("b"),),
    ),
    "a type": Case(b"event: a\ndata: b\n\ndata: c\n\n", (Got("b", "a"), Got("c"))),
    "a type of two lines": Case(b"event: a\nevent: b\ndata: c\n\n", (Got("c", "b"),)),
    "an empty type": Case(b"event: a\nevent:\ndata: b\n\nevent\ndata: c\n\n", (Got("b"), Got("c"))),
    "a type behind its data": Case("data: b\nevent: é\n\n".encode(), (Got("b", "é"),)),
    "a type with a space": Case(b"event:  a \ndata: b\n\n", (Got("b", " a "),)),
    "a type is no longer than its event": Case(b"event: a\n\ndata: b\n\n", (Got("b"),)),
}

_IDS = {
    "an id": Case(b"id: 1\ndata: a\n\n", (Got("a", id="1"),), "1"),
    "an id stays": Case(
        b"id: 1\ndata: a\n\ndata: b\n\n", (Got("a", id="1"), Got("b", id="1")), "1"
    ),
    "the last of two ids": Case(b"id: 1\ndata: a\nid: 2\n\n", (Got("a", id="2"),), "2"),
    "an id without data": Case(b"id: 1\n\n", (), "1"),
    "an id that is taken back": Case(
        b"id: 1\ndata: a\n\nid\ndata: b\n\n", (Got("a", id="1"), Got("b"))
    ),
    "an id with NUL": Case(
        b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n", (Got("a", id="1"), Got("b", id="1")), "1"
    ),
    "an id that is cut off": Case(b"id: 1\ndata: a\n\nid: 2\ndata: b\n", (Got("a", id="1"),), "1"),
    "an id in UTF-8": Case("id: é…🎉\ndata: a\n\n".encode(), (Got("a", id="é…🎉"),), "é…🎉"),
    "an id with spaces": Case(b"id:  a  b\ndata\n\n", (Got("", id=" a  b"),), "a  b"),
}

_TIMES = {
    "a time": Case(b"retry: 50\ndata: a\n\n", (Got("a"),), retry=50),
    "a time alone": Case(b"retry:50\n", retry=50),
    "a time with zeros": Case(b"retry: 0050\n\n", retry=50),
    "the last of two times": Case(b"retry: 9000\nretry: 50\n\n", retry=50),
    "a time that is not all digits": Case(
        b"retry: 50\nretry: 9000x\nretry: -1\nretry: 1e4\nretry:  9000\nretry: 9000 \n\n", retry=50
    ),
    "a time in other digits": Case("retry: 50\nretry: ٩٠٠٠\n\n".encode(), retry=50),
    "an empty time": Case(b"retry: 50\nretry:\nretry\n\n", retry=50),
}

_TYPES = {
    "the type alone": _typed("text/event-stream"),
    "the type in capitals": _typed("Text/EVENT-Stream"),
    "the type with a charset": _typed("text/event-stream;charset=UTF-8"),
    "the type with a semicolon": _typed("text/event-stream;"),
    "the type with a parameter": _typed("text/event-stream; a=b"),
    "the type with another charset": _typed("text/event-stream;charset=windows-1252"),
    "no such type": _typed("text/event-streams", is_read=False),
    "another type": _typed("text/plain", is_read=False),
    "an empty type field": _typed("", is_read=False),
}

_STATUSES = {
    f"status {status}": _refused(status)
    for status in (201, 204, 205, 206, 299, 400, 401, 404, 410, 500, 502, 503)
} | {
    f"redirect {status}": Case(
        b"", (Got("a", id="1"),), "1", status=status, fields=(("location", "?moved"),)
    )
    for status in (301, 302, 303, 307, 308)
}

_ORIGINS = {
    "elsewhere": _elsewhere(False, False),
    "elsewhere, any origin": _elsewhere(True, False, origin="*"),
    "elsewhere, any origin, with credentials": _elsewhere(
        False, True, origin="*", credentials="true"
    ),
    "elsewhere, its origin": _elsewhere(True, False, origin="{origin}"),
    "elsewhere, its origin, with credentials": _elsewhere(
        True, True, origin="{origin}", credentials="true"
    ),
    "elsewhere, its origin, with credentials that nobody allowed": _elsewhere(
        False, True, origin="{origin}"
    ),
    "elsewhere, another origin": _elsewhere(False, False, origin="http://another.example"),
}

# By their names. Those of a redirect are answered at its end with the events that they name.
CASES: dict[str, Case] = {
    **_LINES,
    **_TEXT,
    **_FIELDS,
    **_IDS,
    **_TIMES,
    **_TYPES,
    **_STATUSES,
    **_ORIGINS,
}
