"""What a process has open, and disks on which something fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

DESCRIPTORS = Path("/proc/self/fd")


def open_below(folder: Path) -> list[str]:
    """Return what this process has open in *folder*, nameless files too, and the folder itself."""
    found: list[str] = []
    for each in DESCRIPTORS.iterdir():
        try:
            found.append(os.readlink(each))
        except FileNotFoundError:  # that of the listing itself
            continue
    return [path for path in found if path.startswith(str(folder))]


def fail_writes(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Be a disk that is full after so many writes."""
    write, left = os.write, after

    def fails(file: int, data: bytes) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    monkeypatch.setattr(os, "write", fails)


def count_writes(monkeypatch: pytest.MonkeyPatch, most: int = 2**30) -> list[int]:
    """Return a list that gets the size of each write; the system takes *most* bytes at once."""
    write, sizes = os.write, list[int]()

    def counts(file: int, data: bytes) -> int:
        sizes.append(write(file, data[:most]))
        return sizes[-1]

    monkeypatch.setattr(os, "write", counts)
    return sizes


def hold_writes(monkeypatch: pytest.MonkeyPatch, hold: Callable[[], object]) -> None:
    """Call *hold* in the worker thread, before each write."""
    write = os.write

    def holds(file: int, data: bytes) -> int:
        hold()
        return write(file, data)

    monkeypatch.setattr(os, "write", holds)


async def eventually(holds: Callable[[], object]) -> None:
    """Wait for what a thread does after nobody waits for it."""
    with anyio.fail_after(20):
        while not holds():  # noqa: ASYNC110  # nobody could set an event
            await anyio.sleep(0.01)
