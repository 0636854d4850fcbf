"""
Read a file without holding up the event loop.

What the system has in memory is read at once: a visit to a thread would take longer than the
copying. Linux says whether it has (`RWF_NOWAIT`). What it would wait for is read in a thread.

Source: preadv2(2).
"""

from __future__ import annotations

import os
from typing import Final

from anyio import to_thread

__all__ = ["is_cached", "read_at"]

NO_WAIT: Final[int | None] = getattr(os, "RWF_NOWAIT", None)


def is_cached(fd: int, offset: int, count: int) -> bool:
    """
    Whether the system has the last byte of a part of a file in memory.

    It reads ahead, so that the bytes before it are there as a rule. Where it does not tell, as for
    some file systems, the answer is False.
    """
    return _read_now(fd, offset + count - 1, 1) is not None


async def read_at(fd: int, offset: int, count: int) -> bytes:
    """
    Return up to *count* bytes of a file from *offset* on; fewer only where it ends.

    Cancellation: a read in a thread is waited for, and lost.
    """
    now = _read_now(fd, offset, count)
    if now is not None and len(now) == count:
        return now
    return await to_thread.run_sync(_read, fd, offset, count)


def _read_now(fd: int, offset: int, count: int) -> bytes | None:
    """Read what is in memory; None if nothing is, or if the system does not say."""
    if NO_WAIT is None:
        return None
    data = bytearray(count)
    try:
        size = os.preadv(fd, [data], offset, NO_WAIT)
    except OSError:
        return None
    return bytes(memoryview(data)[:size])


def _read(fd: int, offset: int, count: int) -> bytes:
    """Read in a thread."""
    pieces: list[bytes] = []
    while count:
        piece = _read_some(fd, offset, count)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        count -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _read_some(fd: int, offset: int, count: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, count, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # Windows; a file that is sent has one reader
    return os.read(fd, count)
