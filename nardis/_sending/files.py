"""
A file as an answer: whole, in ranges, or not at all because the client has it.

A file is opened and looked at once; what it says then is what is sent. One that shrinks meanwhile
breaks the response off, one that grows does not get longer. A small one is read where it is opened,
in one visit to a thread.

Source: RFC 9110 §8.8 (validators), §13 (conditions) and §14 (ranges).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from io import FileIO
from typing import Final, Literal, NamedTuple, TypeAlias

from anyio import to_thread

from .._exchange.exchange import PIECE_BYTES, Exchange
from .._files.names import check_text
from .._files.opening import Folder, Opened, open_below, open_path, read_small
from .._files.reading import read_at
from .._http import conditional, dates
from .._http.byteranges import ByteRanges
from .._http.cache_control import cache_control
from .._http.media_types import type_by_extension
from .._http.negotiation import choose_coding
from .._http.ranges import content_range, if_range_allows
from ..errors import ContentLengthMismatch, FolderFound, HTTPError
from ..request import Request
from .head import HEAD
from .reply import ReplyHead

__all__ = ["Caching", "Dotfiles", "Wanted", "send_file"]

# What is done about names that begin with a dot.
Dotfiles: TypeAlias = Literal["ignore", "deny", "allow"]

# A file of this size is sent in one piece, and read where it is opened.
SMALL_BYTES: Final = PIECE_BYTES

# One read of a larger one. A visit to a thread takes 60 us, and to copy this much 40.
BLOCK_BYTES: Final = 256 * 1024

# What our own server is asked to send by itself at once: `res.bytes_sent` grows by that, and so
# much is read at once from a disk.
SENT_BYTES: Final = 4 * 1024 * 1024

# A file that was changed within this time may be changed again without another time stamp, which
# the file system takes from a clock that ticks a hundred times a second.
SETTLED_S: Final = 1.0

# What a compressed file has behind its name, the smallest as a rule first.
SUFFIXES: Final = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}

# What is fresh for longer than this was a mistake, as a rule.
YEAR_S: Final = 365 * 24 * 60 * 60

# The last second that a date of HTTP can name.
LAST_SECOND: Final = 253402300799


@dataclass(frozen=True, slots=True)
class Caching:
    """
    What caches may do with a file.

    Attributes:
        max_age: How long it is fresh, in seconds; a year at most.
        immutable: It never changes while it is fresh.
    """

    max_age: float | timedelta = 0
    immutable: bool = False

    def field(self, *, for_all: bool = True) -> str:
        """
        Return the Cache-Control field.

        Args:
            for_all: What one client gets, any other may have: a cache may be shared by them.

        Raises:
            UsageError: `max_age` is below zero, or no time.

        Source: RFC 9111 §5.2.2.
        """
        fresh = self.max_age
        seconds = fresh.total_seconds() if isinstance(fresh, timedelta) else fresh
        if isinstance(seconds, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]  # for untyped callers
            seconds = min(seconds, YEAR_S)
        return cache_control(
            public=for_all, private=not for_all, max_age=seconds, immutable=self.immutable
        )


class Wanted(NamedTuple):
    """
    What a verb was asked for.

    Attributes:
        path: Of the file.
        root: The folder that it has to stay in.
        dotfiles: What to do about names that begin with a dot.
        caching: What caches may do.
        filename: What the client is to save it as.
        precompressed: A file beside it that is compressed will do.
    """

    path: str
    root: str | None
    dotfiles: Dotfiles
    caching: Caching
    filename: str | None = None
    precompressed: bool = False


class _Found(NamedTuple):
    """A file, its bytes if it is small, what it is compressed by, and whether others differ."""

    file: Opened
    content: bytes | None
    coding: str | None
    varies: bool


async def send_file(reply: ReplyHead, exchange: Exchange, wanted: Wanted) -> None:
    """Answer with a file."""
    found = await to_thread.run_sync(_sought, reply.req, wanted)
    if isinstance(found, HTTPError):
        try:
            raise found
        finally:
            del found  # a circle: its traceback has this frame
    with closing(found.file):
        if wanted.filename is not None:
            reply.attachment(wanted.filename)
        if found.varies:
            reply.vary("Accept-Encoding")
        _describe(reply, found, wanted)
        await _answer(reply, exchange, found)


def _sought(req: Request, wanted: Wanted) -> _Found | HTTPError:
    """
    Return what is to be sent, or why it cannot be; it runs in a thread.

    An error that is raised out of a thread is kept by the future that brings it (anyio 4.14), and
    with it the whole request, until the garbage collector comes. Most of what is asked for in vain
    is a 404.
    """
    try:
        return _find(req, wanted)
    except HTTPError as error:
        return error.with_traceback(None)  # that has frames of the thread, which have the error


def _find(req: Request, wanted: Wanted) -> _Found:
    """
    Open the file that is to be sent.

    Raises:
        HTTPError: 404, it is not there, or may not be had.
    """
    file = _opened(wanted)
    coding, varies = None, False
    if wanted.precompressed:
        file, coding, varies = _compressed(req, file)
    try:
        return _Found(file, read_small(file, SMALL_BYTES), coding, varies)
    except EOFError as exc:
        raise ContentLengthMismatch(str(exc)) from exc


def _opened(wanted: Wanted) -> Opened:
    found: Opened | Folder | None = None
    if wanted.root is None:
        found = open_path(wanted.path)
    elif (names := check_text(wanted.path)) is not None:
        if names.is_hidden and wanted.dotfiles == "deny":
            raise HTTPError(403, "names that begin with a dot are not for clients")
        if wanted.dotfiles == "allow" or not names.is_hidden:
            found = open_below(wanted.root, names.segments)
    if found is None:
        raise HTTPError(404, "there is no such file")
    if isinstance(found, Folder):
        found.close()
        raise FolderFound
    return found


def _compressed(req: Request, plain: Opened) -> tuple[Opened, str | None, bool]:
    """Choose among a file and those beside it that are compressed: what the client likes best."""
    beside = {coding: plain.sibling(suffix) for coding, suffix in SUFFIXES.items()}
    there = {coding: file for coding, file in beside.items() if file is not None}
    if not there:
        return plain, None, False
    best = choose_coding(req.headers.get("accept-encoding"), [*there, "identity"])
    chosen = there.pop(str(best), None)
    for file in there.values():
        file.close()
    if chosen is None:
        return plain, None, True
    plain.close()
    return chosen, best, True


async def _answer(reply: ReplyHead, exchange: Exchange, found: _Found) -> None:
    """
    Answer with a file that is open and described.

    Raises:
        HTTPError: 412, a precondition fails; 416, nothing of the ranges asked for is there.
        ContentLengthMismatch: The file shrank.
    """
    file, content = found.file, found.content
    size = file.stat.st_size
    spans: list[range] | None = None
    if reply.status_code == 200 and reply.reads:
        reply.set("accept-ranges", "bytes")
        if _is_known(reply):
            reply.status(304)
            return await exchange.answer(b"")
        spans = _asked(reply, file.stat)
    parts: Iterable[tuple[bytes, range]]
    end = b""
    if spans is None:
        parts = [(b"", range(size))]
        length = size
    else:
        reply.status(206)
        if len(spans) == 1:
            parts, length = [(b"", spans[0])], len(spans[0])
            reply.set("content-range", content_range(spans[0], size))
        else:
            several = ByteRanges(spans, size, reply.get("content-type"))
            parts, end, length = several, several.end, several.length
            reply.set("content-type", several.content_type)
    if reply.reads == HEAD:
        reply.set("content-length", length)
        await exchange.flush()
        await exchange.end()
    elif content is not None:
        pieces = [head + content[span.start : span.stop] for head, span in parts]
        await exchange.answer(b"".join(pieces) + end if end else pieces[0])
    else:
        reply.set("content-length", length)
        if exchange.takes_paths and spans is None:
            path = await to_thread.run_sync(_path_of, file)
            if path is not None and await exchange.send_path(path, size):
                return
        await _pour(exchange, file, parts)
        await exchange.end(end)


# --- the head -------------------------------------------------------------------------------------


def _describe(reply: ReplyHead, found: _Found, wanted: Wanted) -> None:
    """Set the fields that describe the file, but for those that the application has set."""
    stat, coding, caching = found.file.stat, found.coding, wanted.caching
    given = {field for field, _ in reply.headers.raw}
    if b"content-type" not in given:
        extension = os.path.splitext(wanted.path)[1]  # which `.profile` has not
        reply.type(type_by_extension(extension) or "application/octet-stream")
    if coding is not None:
        reply.set("content-encoding", coding)
    if b"cache-control" not in given:
        # `public` would take back what RFC 9111 §3.5 says of requests with credentials.
        for_all = reply.req.get("authorization") is None
        reply.set("cache-control", caching.field(for_all=for_all))
    now = time.time()
    if b"last-modified" not in given and 0 <= stat.st_mtime <= LAST_SECOND:
        # A date of the future is no date of change (RFC 9110 §8.8.2.1).
        reply.last_modified(min(stat.st_mtime, now))
    if b"etag" not in given:
        changed = stat.st_mtime_ns // 1_000_000  # in Express's form
        tag = f"{stat.st_size:x}-{changed:x}{f'-{coding}' if coding else ''}"
        reply.etag(tag, weak=now - stat.st_mtime < SETTLED_S)


def _is_known(reply: ReplyHead) -> bool:
    """
    Whether the client has the file already.

    Raises:
        HTTPError: 412, a precondition fails.
    """
    conditions = reply.req.conditions()
    if not conditions:
        return False
    modified = reply.get("last-modified")
    outcome = conditional.check_preconditions(
        reply.req.method,
        conditions,
        reply.get("etag"),
        None if modified is None else dates.parse_date(modified),
    )
    if outcome == 412:
        raise HTTPError(412, "the file is not the version that the request names")
    return outcome == 304 and reply.fresh  # `Cache-Control: no-cache` asks for all of it


def _asked(reply: ReplyHead, stat: os.stat_result) -> list[range] | None:
    """
    Return what the client asks for; None is the whole.

    Raises:
        RangeNotSatisfiable: Nothing of that is there.
    """
    condition = reply.req.get("if-range")
    if condition is not None:
        modified = reply.get("last-modified")
        settled = modified is not None and time.time() - stat.st_mtime >= SETTLED_S
        date = dates.parse_date(modified) if modified is not None and settled else None
        if not if_range_allows(condition, reply.get("etag"), date):
            return None
    return reply.req.range(stat.st_size, combine=True)


# --- the body -------------------------------------------------------------------------------------


def _path_of(file: Opened) -> str | None:
    """Return a path that leads to this very file now; None where the system tells none."""
    with suppress(OSError):
        path = os.readlink(f"/proc/self/fd/{file.fd}")
        if os.path.samestat(os.stat(path), file.stat):
            return path
    return None


async def _pour(exchange: Exchange, file: Opened, parts: Iterable[tuple[bytes, range]]) -> None:
    """Send parts of a file, each behind its head."""
    handle = FileIO(file.fd, closefd=False) if exchange.takes_files else None
    # Of other servers whole parts are all that shows: a slow client must not look like one that
    # takes nothing.
    most = BLOCK_BYTES if exchange.client is None else SENT_BYTES
    for head, span in parts:
        if head:
            await exchange.write(head)
        at = span.start
        while handle is not None and at < span.stop:
            count = min(most, span.stop - at)
            if await exchange.send_file(handle, at, count):
                at += count
            else:
                handle = None
        while at < span.stop:
            block = await read_at(file.fd, at, min(BLOCK_BYTES, span.stop - at))
            if not block:
                raise ContentLengthMismatch(
                    f"the file shrank while it was sent: nothing is there at byte {at:,} any more. "
                    "Replace files by renaming others over them"
                )
            await exchange.write(block)
            at += len(block)
