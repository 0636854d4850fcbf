"""
Forms: their parts as they arrive, or all of them gathered.

Source: RFC 7578 (multipart/form-data), WHATWG URL §5.1 (application/x-www-form-urlencoded).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from time import monotonic
from typing import Any, Final, TypeAlias

from anyio import Lock

from ._exchange.pace import FEED_BYTES, Pace, add_piece, cut, paced
from ._files.saving import close_in_thread, discard, save
from ._files.spooling import Chunks, Spool, Stored
from ._http.multipart import MultipartReader, PartHead
from ._http.urlencoded import STEP_BYTES, Pairs, check_charset, iter_urlencoded
from .body import Source, decode_text, gather
from .datastructures import Headers
from .errors import BodyAlreadyRead, HTTPError
from .limits import Limits

__all__ = ["Files", "FormData", "Part", "Parts", "Upload", "read_form"]

Bytes: TypeAlias = bytes  # inside Part the name belongs to a method

SHOWN_CHARS: Final = 64  # characters of what the client sent, in a message

MULTIPART: Final = "multipart/form-data"
URLENCODED: Final = "application/x-www-form-urlencoded"


class Part:
    """
    One part of a multipart form, handed over while it arrives.

    It is read once: by `async for chunk in part`, `bytes()`, `text()` or `save()`, and before the
    next part is asked for, which drops what was not read of this one.

    Attributes:
        name: The name of the field; it may be empty.
        filename: The name that a file has where it comes from; None for a field that is no file.
            It is the client's, and may be `../../x`: never make a path of it.
        content_type: The Content-Type of the part, as it was sent; often None.

    Cancellation: a cancelled `async for` loses nothing. After a cancelled `bytes()`, `text()` or
    `save()` this part cannot be read any more, but the next one can.
    """

    __slots__ = ("_head", "_parts", "content_type", "filename", "name")

    def __init__(self, parts: Parts, head: PartHead) -> None:
        self.name: str = head.name
        self.filename: str | None = head.filename
        self.content_type: str | None = head.content_type
        self._parts = parts
        self._head = head

    def __repr__(self) -> str:
        return f"<Part {_shown(self.name)}>"

    @property
    def headers(self) -> Headers:
        """
        All header fields of the part.

        `Headers` shows bytes as Latin-1, and clients write UTF-8 here: the text of a value is
        `value.encode("latin-1").decode()`. The attributes of the part are read so.
        """
        return Headers(self._head.headers)

    @property
    def charset(self) -> str | None:
        """The `charset` parameter of the part's Content-Type, in small letters."""
        return self._head.charset

    def __aiter__(self) -> Part:
        self._parts.check(self._head)
        return self

    # One coroutine for each chunk: that of the parts, which ends with StopAsyncIteration.
    def __anext__(self) -> Coroutine[Any, Any, Bytes]:
        return self._parts.next_piece(self._head)

    async def bytes(self, limit: int | None = None) -> Bytes:
        """
        Gather the whole part.

        Args:
            limit: Most bytes to gather. Unless it is given, `limits.buffered_body_bytes` (1 MiB)
                for a file, and `limits.form_field_bytes`, which holds anyway, for a field.

        Raises:
            HTTPError: 413 when the part is larger, 400 when the form is malformed or cut short.
            BodyAlreadyRead: Some of it was read before, or the next part was asked for.
        """
        pull = self._parts.take(self._head)
        if limit is None:
            limits, is_field = self._parts.limits, self.filename is None
            limit = limits.form_field_bytes if is_field else limits.buffered_body_bytes
        pieces: list[Bytes | bytearray] = []
        size = 0
        try:
            while size <= limit:
                piece = await pull()
                size += len(piece)
                add_piece(pieces, piece)
        except StopAsyncIteration:
            return b"".join(pieces)  # which returns a single one as it is
        raise _too_large(f"the part {_shown(self.name)} is", limit)

    async def text(self, limit: int | None = None) -> str:
        """
        Gather the part and decode it by the charset of its Content-Type, UTF-8 if it names none.

        Raises:
            HTTPError: As for `bytes()`; 400 when the bytes do not fit the charset, 415 when that is
                unknown.
            BodyAlreadyRead: As for `bytes()`.
        """
        data, charset = await self.bytes(limit), self.charset or "utf-8"
        try:
            return decode_text(data, charset)
        except HTTPError as exc:
            what = f"the part {_shown(self.name)} is no text in {charset[:SHOWN_CHARS]}"
            raise HTTPError(exc.status, what) from exc

    async def save(self, path: str | os.PathLike[str]) -> int:
        """
        Save the part as the file *path*, and return its size in bytes.

        The file is there when all of it is, and before that nothing of it. One that was there is
        replaced; so is a link, and not what it points to. Disks are written in worker threads.

        Args:
            path: Where to. It is yours: never make it of `filename`, which may be `../../x`.

        Raises:
            OSError: As the system gave it: the folder is missing, *path* is a folder, the disk is
                full.
            HTTPError: 413 over `limits.file_bytes`, 400 when the form is malformed or cut short.
            BodyAlreadyRead: As for `bytes()`.

        Cancellation: nothing is left behind. Backpressure: no more is asked for than is written, up
        to 512 KiB.
        """
        return await save(path, self._parts.take(self._head))


class Parts:
    """
    The parts of a multipart form as they arrive: `async for part in req.parts()`.

    Nothing is kept, in memory or on the disk, beyond the piece of the body in hand. Asking for the
    next part drops what was not read of the last one. The iteration ends when the whole body was
    taken and the form is complete: a form that was cut short is a 400 and not a short form.

    Raises:
        HTTPError: 415 when it is no multipart/form-data, 400 for a boundary that cannot be one.

    Attributes:
        limits: Those that hold for the form.

    Cancellation: loses nothing; the next call goes on.

    Source: RFC 7578.
    """

    __slots__ = (
        "_begun",
        "_complete",
        "_events",
        "_over",
        "_pace",
        "_pieces",
        "_reader",
        "_source",
        "_turn",
        "limits",
    )

    def __init__(self, source: Source, content_type: str | None, limits: Limits) -> None:
        self.limits: Limits = limits
        self._source = source
        self._reader = MultipartReader(content_type, limits)
        # What the piece in hand still holds. It is lazy: a part is seen before the bytes behind its
        # head are looked at.
        self._events: Iterator[PartHead | bytes | None] = iter(())
        self._pieces: Iterator[bytes] | None = None  # what that does not hold yet of a large one
        self._pace: Pace = Pace()
        # Who may read: the head of the last part, or one who takes all of it. Not the part, which
        # has these parts: a circle.
        self._turn: object = None
        self._begun = False  # some of that part was read
        self._complete = False  # all of it was
        self._over = False

    def __aiter__(self) -> Parts:
        if self._over:
            raise _already_read()
        return self

    async def __anext__(self) -> Part:
        while True:
            self._turn = None
            if self._pace.is_due():
                await self._pace.give_turn()
                self._turn = None  # another task may have asked for a part meanwhile
            for event in self._events:
                if isinstance(event, PartHead):
                    self._begun = self._complete = False
                    self._turn = event
                    return Part(self, event)
            await self._feed()

    async def _feed(self) -> bool:
        """Hand the reader its next piece, and return whether others should have a turn first."""
        if self._pieces is not None:
            piece = next(self._pieces, b"")
            if piece:
                self._events = self._reader.feed(piece)
                return self._pace.is_due()
            self._pieces = None
        since = monotonic()
        try:
            piece = await self._source.next_chunk()
        except StopAsyncIteration:
            raise self._ended() from None
        if len(piece) > FEED_BYTES:
            self._pieces = cut(piece)
            piece = next(self._pieces)
        self._events = self._reader.feed(piece)
        return self._pace.is_due_after(since)

    def _ended(self) -> StopAsyncIteration:
        """Return the end of the iteration; raise HTTPError if the form is not complete."""
        self._reader.finish()
        self._over = True
        return StopAsyncIteration()

    # --- for Nardis itself ----------------------------------------------------------------------

    async def next_piece(self, reader: object) -> bytes:
        """Return the next piece of the part, if it is the turn of *reader*."""
        while reader is self._turn:
            if self._complete:
                raise StopAsyncIteration
            for event in self._events:
                if isinstance(event, bytes):
                    self._begun = True
                    return event
                self._complete = True  # None: no head comes before it
                raise StopAsyncIteration
            if self._reader.flows and self._pieces is None:
                # No clock is read: this takes as little as it does to read any body.
                try:
                    piece = await self._source.next_chunk()
                except StopAsyncIteration:
                    raise self._ended() from None
                if reader is self._turn and len(piece) <= FEED_BYTES and self._reader.passes(piece):
                    return piece
                self._pieces = cut(piece)
            elif await self._feed():
                await self._pace.give_turn()
        raise _already_read()

    def check(self, head: PartHead) -> None:
        """Check that some of the part of *head* can still be read; else raise BodyAlreadyRead."""
        if head is not self._turn or self._complete:
            raise _already_read()

    def take(self, head: PartHead) -> Callable[[], Coroutine[Any, Any, bytes]]:
        """Return what gives all of the part of *head*, piece by piece, and to nobody else."""
        self.check(head)
        if self._begun:
            raise _already_read()
        self._turn = taker = object()
        return partial(self.next_piece, taker)


# --- all of a form --------------------------------------------------------------------------------


class Upload:
    """
    A file of a form that was gathered by `await req.form()`: in memory, or in a temporary file.

    It is gone when the request has ended: `save()` what is to stay.

    Attributes:
        filename: The name that the file has where it comes from. It is the client's, and may be
            `../../x`: never make a path of it.
        content_type: The Content-Type that the client gave it, as it was sent; often None.
        headers: All header fields of the part, as `Part.headers` shows them.
        size: Length in bytes.
    """

    __slots__ = ("_lock", "_position", "_stored", "content_type", "filename", "headers", "size")

    def __init__(self, part: Part, stored: Stored) -> None:
        self.filename: str = part.filename or ""
        self.content_type: str | None = part.content_type
        self.headers: Headers = part.headers
        self.size: int = stored.size
        self._stored = stored
        self._position = 0
        # Nothing is awaited for what is in memory.
        self._lock: Lock | nullcontext[None] = (
            Lock(fast_acquire=True) if stored.data is None else nullcontext()
        )

    def __repr__(self) -> str:
        return f"<Upload {_shown(self.filename)}, {self.size:,} bytes>"

    async def read(self, n: int = -1) -> bytes:
        """
        Return the next *n* bytes, or all the rest; `b""` at the end.

        Several tasks may call it: each gets other bytes, in the order of their calls.

        Raises:
            UsageError: The request has ended, and the file is gone.

        Cancellation: nothing is lost; the next call returns the same bytes.
        """
        async with self._lock:
            start = self._position
            data = await self._stored.read(start, self.size if n < 0 else n)
            # Another position is that of a seek() meanwhile.
            self._position += len(data) if self._position == start else 0
        return data

    def seek(self, offset: int = 0) -> None:
        """Let the next `read()` begin at *offset*; iteration and `save()` take the whole file."""
        self._position = max(offset, 0)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return Chunks(self._stored)

    async def save(self, path: str | os.PathLike[str]) -> int:
        """
        Save the whole file as *path*, as `Part.save()` does, and return its size in bytes.

        Raises:
            OSError: As the system gave it.
            UsageError: The request has ended, and the file is gone.

        Cancellation: nothing is left behind.
        """
        return await self._stored.save(path)


class Files(Pairs[Upload]):
    """The files of a form as a mapping; a name that comes twice has its first file."""

    __slots__ = ()
    _lacks = "the form has no file"


class FormData(Pairs[str]):
    """
    The fields of a form as a mapping; a name that comes twice has its first value.

    Files are apart, in `files`: a field and a file of one name do not mix. An input for a file that
    was left empty is no file. Browsers send one without a name and without content.

    Attributes:
        files: The files by name; `files.get_all(name)` are several of one name.

    >>> form = FormData([("tag", "a"), ("tag", "b")])
    >>> form["tag"], form.get_all("tag"), form.get("q"), len(form.files)
    ('a', ['a', 'b'], None, 0)
    """

    __slots__ = ("_spool", "files")

    def __init__(
        self,
        pairs: Iterable[tuple[str, str]] = (),
        files: Iterable[tuple[str, Upload]] = (),
        spool: Spool | None = None,
    ) -> None:
        super().__init__(pairs)
        self.files: Files = Files(files)
        self._spool = spool

    async def close(self) -> None:
        """
        Give back the temporary file. No file of the form can be read after that.

        `req.form()` sees to it at the end of the request. It may be called several times.

        Cancellation: it is given back all the same.
        """
        if self._spool is not None:
            await close_in_thread(self._spool)


async def read_form(
    source: Source,
    content_type: str | None,
    limits: Limits,
    *,
    limit: int | None = None,
    empty: bool | None = None,
) -> FormData:
    """
    Gather a form, multipart or urlencoded.

    Fields are text, by the charset of their part if it names one, else UTF-8. Files are kept in
    memory up to `limits.spool_bytes` together; one that would be more goes to a temporary file. No
    Content-Type and no body is an empty form. Await `close()` of the form when it is not needed any
    more.

    Args:
        source: Gives the bytes of the body.
        content_type: The Content-Type of the request.
        limits: Those of the route.
        limit: Most bytes of the whole body. The limits of fields and files hold beside it.
        empty: Whether the body is empty, if the caller knows. Without a Content-Type it is read to
            learn that, and a client that asked before it sends the body (`Expect: 100-continue`)
            is told to send it.

    Raises:
        HTTPError: 415 when it is no form, 413 over a limit, 431 for the head of a part, 400 when it
            is malformed or cut short, or a field does not fit its charset.
        OSError: There was no room for a temporary file.

    Cancellation: nothing is left behind, and the body cannot be read any more.

    Source: RFC 7578 §4 and §5.1; WHATWG URL §5.1.
    """
    kind = (content_type or "").partition(";")[0].strip(" \t").lower()
    bound = source.limit
    if limit is not None:
        source.limit = limit if bound is None else min(limit, bound)
    try:
        if kind == MULTIPART:
            return await _read_multipart(source, content_type, limits)
        if kind == URLENCODED:
            check_charset(content_type or "")
            body = await gather(source, limits.form_fields_bytes)
            steps = iter_urlencoded(body, limits.form_parts, limits.form_field_bytes)
            return FormData(filter(None, steps) if len(body) <= STEP_BYTES else await paced(steps))
        if not kind and (await _is_empty(source) if empty is None else empty):
            return FormData()
    finally:
        source.limit = bound
    what = kind[:SHOWN_CHARS] or "a body without a Content-Type"
    raise HTTPError(415, f"expected a form as {MULTIPART} or {URLENCODED}, not {what}")


async def _is_empty(source: Source) -> bool:
    try:
        await source.next_chunk()
    except StopAsyncIteration:
        return True
    return False


async def _read_multipart(source: Source, content_type: str | None, limits: Limits) -> FormData:
    pairs: list[tuple[str, str]] = []
    files: list[tuple[str, Upload]] = []
    spool = Spool(limits.spool_bytes)
    try:
        async for part in Parts(source, content_type, limits):
            if part.filename is None:
                pairs.append((part.name, await part.text()))
                continue
            async for piece in part:
                if spool.add(piece):
                    await spool.flush()
            stored = await spool.seal()
            if part.filename or stored.size:
                files.append((part.name, Upload(part, stored)))
    except BaseException as exc:
        await discard(spool, exc)
        raise
    return FormData(pairs, files, spool)


def _shown(name: str) -> str:
    """Return a name that the client sent as a message shows it."""
    return repr(name[:SHOWN_CHARS])


def _too_large(what: str, limit: int) -> HTTPError:
    return HTTPError(413, f"{what} larger than the {limit:,} bytes allowed here", limit=limit)


def _already_read() -> BodyAlreadyRead:
    return BodyAlreadyRead(
        "the form, or this part of it, was read before and is not kept: read each part once, and "
        "before the next one is asked for; `await req.form()` keeps all of them"
    )
