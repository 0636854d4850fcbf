"""
Read blocks of a file: at once what is in memory, in a worker thread what is on the disk.

Most files that are served are in the system's page cache, and reading a block from there takes less
time than the hop to a thread. Linux says whether a read would have to wait (`RWF_NOWAIT`). Other
systems do not, nor do some file systems of Linux: tmpfs and overlayfs, on which containers run, do
not as of 6.18. There every block is read in a thread.
"""

from __future__ import annotations

import os
from typing import Final

from anyio import to_thread

__all__ = ["fetch", "is_cached", "read_at", "read_now", "seems_cached"]

# Linux has it since 4.14; macOS has preadv() without it, Windows neither.
_NOWAIT: Final[int | None] = getattr(os, "RWF_NOWAIT", None)

# To ask whether something is in memory is to read it. Where it goes is never looked at, so all
# threads may use it at once, and it is small, so that it stays in the processor's own cache. With
# the question a read of 256 KiB takes 26 us, without it 20, in a thread 80. To keep what was read
# here would need a second copy, which takes longer than that.
_NOWHERE: Final = bytearray(16 * 1024)

# Linux reads ahead by 128 KiB unless it is told otherwise: to read a byte in so many brings all.
TOUCHED_BYTES: Final = 128 * 1024

# IOV_MAX of Linux is 1,024, so this is how much of a file one call can ask for: 4 MiB.
_MOST_BUFFERS: Final = 256


async def read_at(fd: int, offset: int, count: int) -> bytes:
    """
    Read *count* bytes from *offset*; fewer only at the end of the file, and none behind it.

    This may return without having waited for anything. A loop that only reads has to give other
    tasks a turn; one that writes to a response does already.

    Args:
        fd: A descriptor of a regular file. Several tasks may read from it at once, but for Windows:
            it has no pread(), so there the descriptor has one reader.
        offset: Where to begin.
        count: Most bytes to read. All of them are in memory, so it should be some 256 KiB.

    Raises:
        OSError: As the system gave it.

    Cancellation: a thread that reads is waited for. A task of asyncio's that is cancelled past that
    leaves it behind, which reads for nobody.
    """
    if is_cached(fd, offset, count):
        return read_now(fd, offset, count)
    return await to_thread.run_sync(read_now, fd, offset, count)


def is_cached(fd: int, offset: int, count: int) -> bool:
    """
    Whether these bytes can be read now without waiting for a disk; what is behind the end can.

    False also where that is not known. True is a good guess, no promise: the system may need the
    memory in the next moment.

    Args:
        fd: A descriptor of a regular file.
        offset: Where they begin.
        count: How many they are.
    """
    if _NOWAIT is None:
        return False
    try:
        while count > 0:
            buffers = min(-(-count // len(_NOWHERE)), _MOST_BUFFERS)
            # Fewer than were asked for: the file ends there, or what comes next is on the disk. The
            # next call tells.
            size = os.preadv(fd, [_NOWHERE] * buffers, offset, _NOWAIT)
            if not size:
                break
            offset += size
            count -= size
    except OSError:  # EAGAIN: on the disk. Others: not known, or an error, which a read meets too
        return False
    return True


def seems_cached(fd: int, offset: int, count: int) -> bool:
    """
    Whether the last of these bytes can be read now without waiting for a disk.

    The system reads ahead, so that those before it are there as a rule: a guess for a microsecond.
    """
    return is_cached(fd, offset + count - 1, 1)


def fetch(fd: int, offset: int, count: int) -> None:
    """
    Have the system read this part of a file into its memory; for worker threads.

    Raises:
        OSError: As the system gave it.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, offset, count, os.POSIX_FADV_WILLNEED)
    for at in range(offset, offset + count, TOUCHED_BYTES):
        _pread(fd, at, 1)


def read_now(fd: int, offset: int, count: int) -> bytes:
    """
    Read as `read_at` does, and block while the disk is read; for worker threads.

    Raises:
        OSError: As the system gave it.
    """
    piece = _pread(fd, offset, count)
    if len(piece) == count:  # nearly always, and then nothing is copied
        return piece
    # The system may give less than it is asked for, and never more than 2 GiB.
    pieces: list[bytes] = []
    while piece:
        pieces.append(piece)
        offset += len(piece)
        count -= len(piece)
        piece = _pread(fd, offset, count)
    return b"".join(pieces)


def _pread(fd: int, offset: int, count: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, count, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, count)
