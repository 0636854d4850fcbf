"""
Keep the files of a form: in memory while that is little, else in one temporary file.

It is one for all of them, because a process may have 1,024 files open and a form may have as many
parts. It has no name: nobody else sees it, and the system frees it with its last descriptor, also
when the process is killed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar, Final, cast

from anyio import to_thread

from .saving import BLOCK_BYTES, Guarded, save_copy, write_all

__all__ = ["Chunks", "Spool", "Stored"]

# One read of an iteration: as much as `res.pipe()` reads of a file.
CHUNK_BYTES: Final = 256 * 1024


class Spool(Guarded):
    """
    What the files of one form hold.

    They are written one after the other: `add` pieces, `flush` when that says so, `seal` at the end
    of a file. One that nobody closed closes itself when nobody has it any more.

    Args:
        most: How many bytes of all the files together stay in memory. A file that would be more
            goes to the temporary file.
    """

    GONE: ClassVar[str] = (
        "the files of a form are gone when the request has ended: save() those that are to stay"
    )

    __slots__ = ("_begun", "_block", "_end", "_file", "_kept", "_most")

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._kept = 0  # bytes of the sealed files that are in memory
        self._block = bytearray()  # what waits of the file that is being written
        self._begun: int | None = None  # where that file begins in the temporary one, if it does
        # A descriptor and no file object, which would warn where the garbage collector comes to it
        # before it comes to this.
        self._file: int | None = None
        self._end = 0  # how long the temporary file is

    def __del__(self) -> None:
        self.close()

    def add(self, piece: bytes) -> bool:
        """Take the next piece of the current file; return whether it is time to `flush`."""
        self._block += piece
        if self._begun is None:
            return self._kept + len(self._block) > self._most
        return len(self._block) >= BLOCK_BYTES

    async def flush(self) -> None:
        """
        Write to the temporary file what waits.

        Raises:
            OSError: There is no room, or no place for temporary files.
            UsageError: It was closed.

        Cancellation: the file that is being written is lost.
        """
        if self._begun is None:
            self._begun = self._end
        block, self._block = self._block, bytearray()
        self._end += len(block)
        await to_thread.run_sync(self._write, block)

    async def seal(self) -> Stored:
        """
        End the current file and return it; the next piece begins another one.

        Raises:
            OSError: As for `flush`.
        """
        if self._begun is None:
            block, self._block = self._block, bytearray()
            self._kept += len(block)
            return Stored(self, len(block), 0, bytes(block))
        if self._block:
            await self.flush()
        begun, self._begun = self._begun, None
        return Stored(self, self._end - begun, begun, None)

    def release(self) -> None:
        """Close the temporary file, which frees it."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    # --- for worker threads -----------------------------------------------------------------------

    def read(self, offset: int, count: int) -> bytes:
        """Read *count* bytes of the temporary file."""
        with self.in_use():
            return self._read(offset, count)

    def copy(self, offset: int, count: int, file: int) -> None:
        """Copy *count* bytes of the temporary file to the descriptor *file*."""
        # Not os.sendfile() or os.copy_file_range(): on one file system all three take the same
        # time (0.12 s for 512 MiB in the page cache), and this one works everywhere.
        with self.in_use():
            for start in range(offset, offset + count, BLOCK_BYTES):
                write_all(self._read(start, min(offset + count - start, BLOCK_BYTES)), file)

    def _write(self, block: bytearray) -> None:
        with self.in_use():
            if self._file is None:
                self.opened = True
                with tempfile.TemporaryFile(buffering=0) as file:
                    self._file = os.dup(file.fileno())
            write_all(block, self._file)

    def _read(self, offset: int, count: int) -> bytes:
        file = cast("int", self._file)
        pieces: list[bytes] = []
        # The system may give less than it is asked for, and never more than 2 GiB.
        while count and (piece := _read_at(file, offset, count)):
            pieces.append(piece)
            offset += len(piece)
            count -= len(piece)
        return b"".join(pieces)


def _read_at(file: int, offset: int, count: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(file, count, offset)
    os.lseek(file, offset, os.SEEK_SET)  # Windows; nobody else moves it meanwhile
    return os.read(file, count)


@dataclass(frozen=True, slots=True)
class Stored:
    """
    One file that a spool keeps.

    Attributes:
        spool: Where it is kept.
        size: Its length in bytes.
        begins: Where it begins in the temporary file.
        data: All of it, if it is in memory.
    """

    spool: Spool
    size: int
    begins: int
    data: bytes | None

    async def read(self, offset: int, count: int) -> bytes:
        """
        Return *count* bytes from *offset*, fewer at the end.

        Raises:
            UsageError: The spool was closed.
        """
        self.spool.check_open()
        if self.data is not None:
            return self.data[offset : offset + count]
        count = max(min(count, self.size - offset), 0)
        return await to_thread.run_sync(self.spool.read, self.begins + offset, count)

    async def save(self, path: str | os.PathLike[str]) -> int:
        """
        Save it as the file *path*, whole or not at all, and return its size.

        Raises:
            OSError: As the system gave it.
            UsageError: The spool was closed.
        """
        return await save_copy(path, self.size, self._copy)

    def _copy(self, offset: int, count: int, file: int) -> None:
        if self.data is None:
            self.spool.copy(self.begins + offset, count, file)
        else:
            self.spool.check_open()
            write_all(self.data[offset : offset + count], file)


class Chunks(AsyncIterator[bytes]):
    """The bytes of a stored file from its beginning, `CHUNK_BYTES` at a time."""

    __slots__ = ("_offset", "_stored")

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._offset = 0

    async def __anext__(self) -> bytes:
        chunk = await self._stored.read(self._offset, CHUNK_BYTES)
        if not chunk:
            raise StopAsyncIteration
        self._offset += len(chunk)
        return chunk
