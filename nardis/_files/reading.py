"""Read files."""

from __future__ import annotations

import os

from anyio import to_thread

__all__ = ["is_cached", "read_at"]


def is_cached(fd: int, offset: int, count: int) -> bool:
    """Whether a read would not wait for the disk."""
    try:
        return os.preadv(fd, [bytearray(1)], offset + count - 1, os.RWF_NOWAIT) >= 0
    except OSError:
        return False


async def read_at(fd: int, offset: int, count: int) -> bytes:
    """Read."""
    return await to_thread.run_sync(os.pread, fd, count, offset)
