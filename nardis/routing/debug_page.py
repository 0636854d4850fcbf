"""
What `Nardis(debug=True)` shows of a failure: the error, where it was raised, and the request.

A report is made once, of strings, and then written as HTML, as text, or as members of problem
details. It is bounded, whatever the error holds, and shows no local variables: those may be
secrets. It is imported when the first page is made.
"""

from __future__ import annotations

import linecache
import os
import re
import sysconfig
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from itertools import groupby
from types import FrameType, TracebackType
from typing import Any, Final, TypeAlias, cast

from .._failures import failure_of, is_ours, message_of
from ..errors import HTTPError, reason_phrase
from ..request import Request

__all__ = ["POLICY", "Frame", "Raised", "Report", "as_html", "as_members", "as_text", "report_on"]

# A recursion has a thousand frames, a retry loop as many contexts. Nobody reads more than these; of
# frames that is at either end.
MAX_ERRORS: Final = 20
MAX_FRAMES: Final = 30
MAX_NOTES: Final = 10
MAX_FIELDS: Final = 100

# Characters: of a message or note, of a line of source, of a value of the request.
MAX_MESSAGE: Final = 4_000
MAX_LINE: Final = 300
MAX_VALUE: Final = 1_000
MAX_TITLE: Final = 100

# Lines of source before and after the one that is marked.
CONTEXT_LINES: Final = 3

# Fields whose values are credentials: those that `Headers` hides, and others by their usual names.
_SECRET = re.compile(
    r"auth|cookie|credential|key|passw|secret|session|signature|token", re.IGNORECASE
)

# Not by the names of modules: an application may have a `calendar` of its own.
_STANDARD_LIBRARY: Final = sysconfig.get_path("stdlib") + os.sep
_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")

# How an error came of another one, and what Python says there.
_RELATIONS: Final = {
    "cause": "The direct cause",
    "context": "Raised while this one was handled",
    "exceptions": "In the group",
}

_MORE: Final = "More errors than these are behind it."

_STYLE: Final = """
:root{color-scheme:light dark;font:15px/1.45 system-ui,sans-serif}
body{margin:2rem auto;max-width:70rem;padding:0 1rem}
h1{font-size:1.1rem;font-weight:400}h2{font-size:1.35rem;margin:1.5rem 0 .3rem}h3{font-size:1rem}
pre,code,td{font:13px/1.5 ui-monospace,monospace;overflow-wrap:anywhere;white-space:pre-wrap}
pre{margin:.2rem 0 .6rem;padding:.5rem;border:1px solid #8886;border-radius:4px}
mark{background:#f5b0412e;color:inherit;font-weight:700}summary{cursor:pointer}
details details,.from{margin-left:1.2rem}.from{border-left:3px solid #8886;padding-left:1rem}
td{vertical-align:top;padding:0 1rem 0 0}.quiet{opacity:.7}
"""

# Nothing is loaded and nothing runs; the page's own style alone counts, by its hash (CSP 3 §2.3.1).
POLICY: Final = (
    b"content-security-policy",
    b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"style-src 'sha256-" + b64encode(sha256(_STYLE.encode()).digest()) + b"'",
)

_Section: TypeAlias = "tuple[str, list[tuple[str, str]]]"


@dataclass(frozen=True, slots=True)
class Frame:
    """
    One call of a traceback.

    Attributes:
        file: As its code names it; there may be no such file.
        line: From 1; 0 is unknown.
        function: With the class or the function around it.
        library: What it is a part of; empty for the application's own code.
        is_open: Whether a page shows it at first sight.
        source: Numbered lines around that one; empty without a source.
    """

    file: str
    line: int
    function: str
    library: str
    is_open: bool
    source: tuple[tuple[int, str], ...]

    @property
    def code(self) -> str:
        """The line itself, without its indentation."""
        return next((text.strip() for number, text in self.source if number == self.line), "")


@dataclass(frozen=True, slots=True)
class Raised:
    """
    One error.

    Attributes:
        type: Its class, with the module unless that is a built-in one.
        message: What it says of itself.
        notes: What was added to it.
        frames: Most recent call last; of many the first and the last `MAX_FRAMES`.
        left_out: How many frames lay between those.
        origins: The errors that it came of, each with its relation: `cause`, `context`,
            `exceptions`.
    """

    type: str
    message: str
    notes: tuple[str, ...]
    frames: tuple[Frame, ...]
    left_out: int
    origins: tuple[tuple[str, Raised], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """
    All that a page shows.

    Attributes:
        title: Status and name of the answer.
        error: What failed.
        is_whole: Whether every error that it came of is there.
        request: Members of problem details: method, target, fields and so on.
        streams: The same: how far the two bodies have come, and whether the client is there.
    """

    title: str
    error: Raised
    is_whole: bool
    request: dict[str, Any]
    streams: dict[str, Any]


def report_on(answer: HTTPError, error: BaseException, req: Request) -> Report:
    """Collect what is known of *error*, which *answer* answers."""
    title = f"{answer.status} {reason_phrase(answer.status)}"
    seen: dict[int, BaseException] = {}
    raised = _raised(error, seen)
    is_whole = len(seen) <= MAX_ERRORS
    return Report(title, raised, is_whole, _request_of(req), _streams_of(req))


# --- the error ------------------------------------------------------------------------------------


def _raised(error: BaseException, seen: dict[int, BaseException]) -> Raised:
    """
    Collect one error, and those that it came of.

    Each error comes once, and is *seen* then; the first that is too many is as well.
    """
    seen[id(error)] = error
    origins: list[tuple[str, Raised]] = []
    for relation, origin in _origins_of(error):
        if id(origin) in seen or len(seen) > MAX_ERRORS:
            continue
        if len(seen) == MAX_ERRORS:
            seen[id(origin)] = origin
        else:
            origins.append((relation, _raised(origin, seen)))
    kind = type(error)
    module = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    frames, left_out = _frames_of(error.__traceback__)
    return Raised(
        f"{module}{kind.__qualname__}",
        _cut(message_of(error), MAX_MESSAGE),
        _notes_of(error),
        frames,
        left_out,
        tuple(origins),
    )


def _notes_of(error: BaseException) -> tuple[str, ...]:
    notes = vars(error).get("__notes__")
    if not isinstance(notes, list):
        return ()
    some = cast("list[object]", notes)[:MAX_NOTES]
    return tuple(_cut(message_of(note), MAX_MESSAGE) for note in some)


def _origins_of(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    if error.__cause__ is not None:
        yield "cause", error.__cause__
    elif error.__context__ is not None and not error.__suppress_context__:
        yield "context", error.__context__
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        yield from (("exceptions", each) for each in group.exceptions)


def _frames_of(link: TracebackType | None) -> tuple[tuple[Frame, ...], int]:
    """Return the frames to show, and how many were left out in their middle."""
    links: list[TracebackType] = []
    while link is not None:
        links.append(link)
        link = link.tb_next
    left_out = max(len(links) - 2 * MAX_FRAMES, 0)
    links[MAX_FRAMES : MAX_FRAMES + left_out] = []
    libraries = [_library_of(each.tb_frame) for each in links]
    # Where it was raised is shown where none of the code is the application's.
    last = len(links) - 1 if all(libraries) else None
    return tuple(
        _frame(each, library, at == last)
        for at, (each, library) in enumerate(zip(links, libraries, strict=True))
    ), left_out


def _frame(link: TracebackType, library: str, is_last: bool) -> Frame:
    code = link.tb_frame.f_code
    line = link.tb_lineno or 0  # None for an instruction without a line, in spite of its type
    lines = _lines_of(code.co_filename, link.tb_frame.f_globals)
    first = max(line - CONTEXT_LINES, 1)
    source = [_cut(text.rstrip(), MAX_LINE) for text in lines[first - 1 : line + CONTEXT_LINES]]
    numbered = tuple(enumerate(source, first)) if line else ()
    return Frame(
        code.co_filename, line, code.co_qualname, library, is_last or not library, numbered
    )


def _library_of(frame: FrameType) -> str:
    """Name the library that a frame belongs to; empty for the application's own code."""
    file = frame.f_code.co_filename
    if not (
        is_ours(frame.f_code)
        or file.startswith((_STANDARD_LIBRARY, "<frozen "))
        or _INSTALLED.search(file)
    ):
        return ""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] or "a library"


def _lines_of(file: str, names: dict[str, Any]) -> list[str]:
    """Read a source file, once for all pages; code may have none, and its loader may fail."""
    try:
        linecache.checkcache(file)
        return linecache.getlines(file, names)
    except BaseException as exc:
        failure_of(exc)  # lets a cancellation go on
        return []


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


# --- the request ----------------------------------------------------------------------------------


def _request_of(req: Request) -> dict[str, Any]:
    route = req.route
    return {
        "method": req.method,
        "target": _cut(req.original_url, MAX_VALUE),
        "http_version": req.http_version,
        "route": None if route is None else route.path,
        "params": {name: _param(value) for name, value in req.params.items()},
        "fields": [
            [name, "..." if _SECRET.search(name) else _cut(value, MAX_VALUE)]
            for name, value in req.headers.pairs()[:MAX_FIELDS]
        ],
    }


def _param(value: object) -> object:
    """Show what a path holds; of what it was converted to the type alone, for it may hold more."""
    if isinstance(value, str):
        return _cut(value, MAX_VALUE)
    if isinstance(value, list):
        return [_param(each) for each in cast("list[object]", value)[:MAX_FIELDS]]
    return f"<{type(value).__qualname__}>"


def _streams_of(req: Request) -> dict[str, Any]:
    exchange = req.exchange
    intake, client, declared = exchange.intake, exchange.client, req.content_length
    is_empty = declared == 0 or not exchange.expects_body
    return {
        "body_bytes_declared": declared,
        "body_bytes_read": 0 if intake is None else intake.received,
        "body_is_complete": is_empty if intake is None else intake.complete,
        "response_has_started": exchange.has_started(),
        "response_bytes_sent": exchange.written,
        "client_is_there": not (exchange.gone or (client is not None and client.has_left())),
        "close_reason": exchange.close_reason,
    }


def _sections(report: Report) -> Iterator[_Section]:
    """Go through request and streams as a page shows them."""
    request = report.request
    yield (
        "Request",
        [
            ("target", f"{request['method']} {request['target']}"),
            ("version", f"HTTP/{request['http_version']}"),
            ("route", request["route"] or "none"),
            *((f"params[{name!r}]", f"{value!r}") for name, value in request["params"].items()),
        ],
    )
    yield "Fields", [(name, value) for name, value in request["fields"]]
    yield (
        "Streams",
        [(name.replace("_", " "), f"{value}") for name, value in report.streams.items()],
    )


# --- the three forms ------------------------------------------------------------------------------


def as_members(report: Report) -> dict[str, Any]:
    """Return the members that problem details have more, for developers (RFC 9457 §3.2)."""
    members = _members_of(report.error)
    return {
        "traceback": members.pop("traceback"),
        "exception": members,
        "request": report.request,
        "streams": report.streams,
    }


def _members_of(raised: Raised) -> dict[str, Any]:
    members: dict[str, Any] = {"type": raised.type, "message": raised.message}
    if raised.notes:
        members["notes"] = raised.notes
    members["traceback"] = [
        {"file": each.file, "line": each.line, "function": each.function, "code": each.code}
        for each in raised.frames
    ]
    for relation, origin in raised.origins:
        if relation == "exceptions":
            members.setdefault(relation, []).append(_members_of(origin))
        else:
            members[relation] = _members_of(origin)
    return members


def as_text(report: Report) -> str:
    """Write a report for a terminal."""
    lines = [report.title, "", *_text_of(report.error)]
    if not report.is_whole:
        lines += ["", _MORE]
    for title, rows in _sections(report):
        lines += ["", title, *(f"  {name}: {value}" for name, value in rows)]
    return "\n".join([*lines, ""])


def _text_of(raised: Raised, indent: str = "") -> Iterator[str]:
    if raised.frames:
        yield f"{indent}Traceback (most recent call last):"
    for at, frame in enumerate(raised.frames):
        if raised.left_out and at == MAX_FRAMES:
            yield f"{indent}  ... {raised.left_out:,} frames ..."
        yield f'{indent}  File "{frame.file}", line {frame.line}, in {frame.function}'
        if frame.is_open:
            for number, text in frame.source:
                yield f"{indent}  {'>' if number == frame.line else ' '}{number:6} | {text}"
        elif frame.code:
            yield f"{indent}    {frame.code}"
    for text in (_headline(raised), *raised.notes):
        yield from (f"{indent}{line}" for line in text.splitlines())
    for relation, origin in raised.origins:
        yield ""
        yield f"{indent}{_RELATIONS[relation]}:"
        yield from _text_of(origin, f"{indent}    ")


def as_html(report: Report) -> str:
    """Write a report for a browser: everything is escaped, and nothing runs."""
    more = "" if report.is_whole else f"<p>{_MORE}</p>"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(_cut(_headline(report.error), MAX_TITLE))}</title>"
        f"<style>{_STYLE}</style>"
        f"<h1>{report.title}</h1>{_html_of(report.error)}{more}"
        f"{''.join(map(_html_of_section, _sections(report)))}</html>\n"
    )


def _html_of_section(section: _Section) -> str:
    title, rows = section
    cells = "".join(f"<tr><td>{escape(name)}<td>{escape(value)}" for name, value in rows)
    return f"<h2>{title}</h2><table>{cells}</table>"


def _html_of(raised: Raised) -> str:
    notes = "".join(f"<pre>{escape(note)}</pre>" for note in raised.notes)
    frames = _html_of_frames(raised.frames[:MAX_FRAMES])
    if raised.left_out:
        frames += f'<p class="quiet">{raised.left_out:,} frames</p>'
        frames += _html_of_frames(raised.frames[MAX_FRAMES:])
    origins = "".join(
        f'<div class="from"><p class="quiet">{_RELATIONS[relation]}:</p>{_html_of(origin)}</div>'
        for relation, origin in raised.origins
    )
    said = f"<pre>{escape(raised.message)}</pre>" if raised.message else ""
    trace = f"<h3>Traceback (most recent call last)</h3>{frames}" if frames else ""
    return f"<h2>{escape(raised.type)}</h2>{said}{notes}{trace}{origins}"


def _html_of_frames(frames: tuple[Frame, ...]) -> str:
    """Write frames, those of a library folded into one line."""
    written: list[str] = []
    for is_open, run in groupby(frames, key=lambda frame: frame.is_open):
        members = list(run)
        inside = "".join(map(_html_of_frame, members))
        if not is_open:
            names = ", ".join(dict.fromkeys(frame.library for frame in members))
            count = f"{len(members)} frame{'s'[: len(members) > 1]} of {names}"
            summary = f'<summary class="quiet">{escape(count)}</summary>'
            inside = f"<details>{summary}{inside}</details>"
        written.append(inside)
    return "".join(written)


def _html_of_frame(frame: Frame) -> str:
    where = (
        f"<code>{escape(frame.file)}:{frame.line}</code> in <code>{escape(frame.function)}</code>"
    )
    if not frame.source:
        return f"<p>{where}</p>"
    lines = "\n".join(
        f"<mark>{number:6}  {escape(text)}</mark>"
        if number == frame.line
        else f"{number:6}  {escape(text)}"
        for number, text in frame.source
    )
    is_open = " open" if frame.is_open else ""
    return f"<details{is_open}><summary>{where}</summary><pre>{lines}</pre></details>"


def _headline(raised: Raised) -> str:
    return f"{raised.type}: {raised.message}" if raised.message else raised.type
