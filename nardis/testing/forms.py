"""
Forms with files: multipart/form-data, written piece by piece as a browser writes it.

Nothing is gathered. Small pieces are joined into blocks, files are read block by block, and each is
made when the application asks for it. The length is known all the same, unless a source has none.

Source: RFC 7578; HTML, "Multipart form data" (names: UTF-8, and `"`, CR and LF as `%22`, `%0D` and
`%0A`).
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from inspect import isasyncgen
from secrets import token_hex
from typing import Any, BinaryIO, Final, Protocol, TypeAlias, cast

import anyio.to_thread

from .._http.fields import check_name
from .._http.grammar import CONTROL
from .._http.media_types import parse_media_type, type_by_extension
from ..errors import FieldError, HTTPError, UsageError

__all__ = ["BLOCK_BYTES", "File", "FileContent", "Files", "Form", "MultipartForm", "Readable"]

# What one read of a file takes, and what small pieces are joined into: as much as a server hands
# over at a time, more or less.
BLOCK_BYTES: Final = 64 * 1024

# Of 16 random bytes. So it is never found in a source that is read while it is sent.
_BOUNDARY_RANDOM_BYTES: Final = 16

# The name of a file that has none, as httpx has it.
_NAMELESS: Final = "upload"

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


class Readable(Protocol):
    """A file that is open for reading bytes."""

    def read(self, n: int, /) -> bytes:
        """Return *n* bytes at most, and `b""` at the end."""
        ...


FileContent: TypeAlias = (
    bytes | bytearray | memoryview | str | os.PathLike[str] | AsyncIterable[bytes] | Readable
)
File: TypeAlias = (
    FileContent
    | tuple[str | None, FileContent]
    | tuple[str | None, FileContent, str | None]
    | tuple[str | None, FileContent, str | None, Mapping[str, str]]
)
Files: TypeAlias = Mapping[str, File] | Iterable[tuple[str, File]]
Form: TypeAlias = Mapping[str, Any] | Sequence[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class _Part:
    """One part: *content* is in memory, or a source to read from; *size* is None if unknown."""

    head: bytes
    content: bytes | os.PathLike[str] | AsyncIterable[bytes] | Readable
    size: int | None


class MultipartForm:
    """
    A form, ready to be sent: its fields first, then its files, each in the order given.

    Files are those of the caller, who opens and closes them. One that can seek is sent from where
    it stands to its end. A path is opened when its turn comes, and closed.

    Args:
        fields: What `urlencode(fields, doseq=True)` takes; values become text as they do there.
        files: Names with files. A file may be a tuple of file name, content, content type and
            headers; the last two may be left out. A file name of `None` makes it a field.
        content_type: A Content-Type that the caller sends. Its boundary is used, if it has one.

    Raises:
        UsageError: A file is none or has no name, or the caller's boundary occurs in a content.
        FieldError: A content type or a header has a control character, or a name that is no token.
        OSError: There is no file at a path.

    Source: RFC 7578 §4; RFC 2046 §5.1.1.
    >>> form = MultipartForm({"a": [1, "2"]}, {"f": ("a.txt", b"x")})
    >>> form.media_type.startswith(b"multipart/form-data; boundary="), form.length
    (True, 331)
    """

    def __init__(self, fields: Form, files: Files, content_type: bytes | None = None) -> None:
        self._parts: list[_Part] = [
            *(_field(name, value) for name, value in _texts(fields)),
            *(_file(name, file) for name, file in _pairs(files)),
        ]
        boundary = self._boundary(content_type)
        self._delimiter: bytes = b"--" + boundary
        self.media_type: bytes = b"multipart/form-data; boundary=" + boundary
        self.length: int | None = self._length()

    def _boundary(self, content_type: bytes | None) -> bytes:
        if boundary := _boundary_of(content_type):
            if self._contains(boundary):
                raise UsageError(
                    f"the boundary {boundary.decode('latin-1')!r} of the Content-Type occurs in "
                    "the form: use another one, or leave it out"
                )
            return boundary
        while self._contains(boundary := token_hex(_BOUNDARY_RANDOM_BYTES).encode()):
            pass
        return boundary

    def _contains(self, boundary: bytes) -> bool:
        """Whether a content that is in memory has the delimiter in it."""
        line = b"--" + boundary
        contents = [part.content for part in self._parts if isinstance(part.content, bytes)]
        return any(each.startswith(line) or b"\r\n" + line in each for each in contents)

    def _length(self) -> int | None:
        length = len(self._delimiter) + len(b"--\r\n")
        around = len(self._delimiter) + 4 * len(b"\r\n")
        for part in self._parts:
            if part.size is None:
                return None
            length += around + len(part.head) + part.size
        return length

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """
        Return the body, piece by piece; each source is read once, when its turn has come.

        Cancellation: an async generator that was begun is closed; the read of a file is waited for.

        Raises:
            UsageError: A source gives something else than bytes, or ends before its length.
        """
        known: list[bytes] = []
        for part in self._parts:
            known += (self._delimiter, b"\r\n", part.head, b"\r\n\r\n")
            if isinstance(part.content, bytes):
                known.append(part.content)
            else:
                for block in _blocks(known):
                    yield block
                known.clear()
                async with aclosing(_read(part.content, part.size)) as pieces:
                    async for piece in pieces:
                        yield piece
            known.append(b"\r\n")
        known += (self._delimiter, b"--\r\n")
        for block in _blocks(known):
            yield block


# --- what is sent ---------------------------------------------------------------------------------


def _pairs(items: Form | Files) -> Iterable[tuple[Any, Any]]:
    pairs = cast("Mapping[Any, Any]", items).items() if isinstance(items, Mapping) else items
    return cast("Iterable[tuple[Any, Any]]", pairs)


def _texts(fields: Form) -> Iterator[tuple[str | bytes, bytes]]:
    """Go through the fields as `urlencode(fields, doseq=True)` does: lists are repeated names."""
    for name, value in _pairs(fields):
        is_list = hasattr(value, "__len__") and not isinstance(value, str | bytes)
        for each in value if is_list else [value]:
            text = each if isinstance(each, bytes) else str(each).encode()
            yield name if isinstance(name, bytes) else str(name), text


def _field(name: str | bytes, value: bytes) -> _Part:
    return _Part(_head(name, None, None, {}), value, len(value))


def _file(name: object, file: File) -> _Part:
    if not isinstance(name, str | bytes):
        raise UsageError(
            f"a file has the name {name!r}: files is a mapping of names to files, or a list of "
            "pairs of a name and a file"
        )
    filename, content, content_type, headers = _unpacked(name, file)
    if content_type is None and filename is not None:
        # An extension has a dot before it; without one `type_by_extension` takes the whole name.
        known = type_by_extension(filename) if "." in filename else None
        content_type = known or "application/octet-stream"
    head = _head(name, filename, content_type, headers)
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, bytes | bytearray | memoryview):
        content = bytes(content)
        return _Part(head, content, len(content))
    return _Part(head, content, _size(name, content))


def _unpacked(
    name: str | bytes, file: File
) -> tuple[str | None, FileContent, str | None, Mapping[str, str]]:
    if not isinstance(file, tuple):
        return _filename(file), file, None, {}
    whole: tuple[Any, ...] = (*file, None, None)
    if not 2 <= len(file) <= 4:
        raise UsageError(
            f"the file {name!r} is a tuple of {len(file)}: give file name and content, and perhaps "
            "content type and headers"
        )
    return whole[0], whole[1], whole[2], whole[3] or {}


def _filename(content: FileContent) -> str:
    named: object = content if isinstance(content, os.PathLike) else getattr(content, "name", None)
    if isinstance(named, str | bytes | os.PathLike):
        return os.path.basename(os.fsdecode(cast("str | bytes", named))) or _NAMELESS
    return _NAMELESS  # a temporary file has its number for a name


def _size(name: str | bytes, content: object) -> int | None:
    """Return how many bytes will be read, None if nobody knows, and refuse what is no file."""
    if isinstance(content, os.PathLike):
        status = os.stat(cast("os.PathLike[str]", content))
        return status.st_size if stat.S_ISREG(status.st_mode) else None
    if isinstance(content, AsyncIterable):
        return None
    if isinstance(content, io.TextIOBase):
        raise UsageError(f"the file {name!r} is open for text: open it with mode 'rb'")
    if not hasattr(content, "read"):
        raise UsageError(
            f"the file {name!r} is {type(content).__name__}: give bytes, str, a path, an open file "
            "or an async iterable of bytes; several files of one name are a list of pairs"
        )
    file = cast("io.BufferedIOBase", content)
    if not (hasattr(file, "seekable") and file.seekable()):
        return None
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return max(0, end - here)


def _head(
    name: str | bytes, filename: str | None, content_type: str | None, headers: Mapping[str, str]
) -> bytes:
    """Write the lines above a content; headers of the caller replace ours by name."""
    disposition = b"form-data; name=" + _quoted(name)
    if filename is not None:
        disposition += b"; filename=" + _quoted(filename)
    own = {check_name(each): _line(each, value) for each, value in headers.items()}
    usual = {b"content-disposition": b"Content-Disposition: " + disposition}
    if content_type is not None:
        usual[b"content-type"] = _line("Content-Type", content_type)
    return b"\r\n".join((usual | own).values())


def _quoted(name: str | bytes) -> bytes:
    # What of a name is not UTF-8 stays as it is, in the names of the file system too.
    text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
    return b'"%b"' % text.translate(_ESCAPES).encode("utf-8", "surrogateescape")


def _line(name: str, value: str) -> bytes:
    # Not `check_value`: the head of a part is in UTF-8 (RFC 7578 §5.1).
    if found := CONTROL.search(value):
        raise FieldError(f"the header {name!r} of a file has the control character {found[0]!r}")
    return f"{name}: {value}".encode()


def _boundary_of(content_type: bytes | None) -> bytes:
    """Return the boundary that a Content-Type has, empty if there is none to be used."""
    try:
        parameters = parse_media_type((content_type or b"").decode("latin-1"))[1]
    except HTTPError:  # none, or one that the application is to refuse
        return b""
    return parameters.get("boundary", "").encode("latin-1")


# --- how it is read -------------------------------------------------------------------------------


def _blocks(pieces: list[bytes]) -> Iterator[bytes]:
    """Join short pieces and cut long ones, one block at a time."""
    block = bytearray()
    for piece in pieces:
        start = 0
        while start < len(piece):
            end = start + BLOCK_BYTES - len(block)
            block += memoryview(piece)[start:end]
            start = end
            if len(block) == BLOCK_BYTES:
                yield bytes(block)
                block.clear()
    if block:
        yield bytes(block)


def _read(
    source: os.PathLike[str] | AsyncIterable[bytes] | Readable, size: int | None
) -> AsyncGenerator[bytes, None]:
    return _iterated(source) if isinstance(source, AsyncIterable) else _from_file(source, size)


async def _iterated(source: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        async for piece in source:
            yield _checked(piece)
    finally:
        # No `Closing`: this generator is closed inside of the one that the call has.
        if isasyncgen(source):
            await source.aclose()


def _opened(path: os.PathLike[str]) -> BinaryIO:
    return open(path, "rb")


async def _from_file(
    source: os.PathLike[str] | Readable, size: int | None
) -> AsyncGenerator[bytes, None]:
    with ExitStack() as stack:
        if isinstance(source, os.PathLike):
            file: Readable = stack.enter_context(await anyio.to_thread.run_sync(_opened, source))
        else:
            file = source
        left = size
        while left is None or left > 0:
            n = BLOCK_BYTES if left is None else min(BLOCK_BYTES, left)
            # Only memory cannot block.
            is_memory = isinstance(file, io.BytesIO)
            read = file.read(n) if is_memory else await anyio.to_thread.run_sync(file.read, n)
            piece = _checked(read)
            if left is not None:
                left -= len(piece)
            if piece:
                yield piece
            elif left:
                raise UsageError(
                    f"a file ended {left} bytes early: it was changed, read or given twice"
                )
            else:
                return


def _checked(piece: object) -> bytes:
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise UsageError(f"a file gives bytes, not {type(piece).__name__}")
    return bytes(cast("bytes", piece))
