"""
Open a file that a client may have, and nothing else. Everything here may wait for the disk.

Below a folder each name is opened from the descriptor of the folder before it, and none is followed
that is a link: no link can lead outside, and nobody can put one there in between. Where there is a
link on the way, the whole path is resolved, compared with the folder name by name, and opened in
the same manner. A folder that was moved or replaced meanwhile is found or not found, and nothing
else.

Source: open(2) and openat(2).
"""

from __future__ import annotations

import errno
import os
import stat as modes
from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePath
from types import TracebackType
from typing import Final, Self

__all__ = ["Opened", "open_below", "open_path"]

# Whether a name can be opened from a folder's descriptor.
HAS_DESCENT: Final = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")

# O_NONBLOCK: on a FIFO an open would wait for a writer. O_NOCTTY: a terminal would become ours.
READ: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
NO_LINK: Final[int] = getattr(os, "O_NOFOLLOW", 0)
# A folder is only passed through (O_PATH): it need not be readable.
PASS: Final = READ | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", 0)

# What says that there is no such file, or none that may be had. Anything else, such as too many
# open files or a disk that fails, is an error of ours.
MISSING: Final = frozenset(
    {
        errno.EACCES,
        errno.EINVAL,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENODEV,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ENXIO,
        errno.EPERM,
    }
)


class Opened:
    """
    A regular file that is open for reading, or a folder.

    Attributes:
        fd: Its descriptor; of a folder one that can only be passed through.
        stat: What it was when it was opened.
        is_folder: It is a folder.
    """

    __slots__ = ("_folder", "_name", "fd", "is_folder", "stat")

    def __init__(self, fd: int, stat: os.stat_result, folder: int | None, name: str) -> None:
        self.fd: int = fd
        self.stat: os.stat_result = stat
        self.is_folder: bool = modes.S_ISDIR(stat.st_mode)
        self._folder = folder  # its descriptor, where names are opened from those
        self._name = name  # in that folder, or its whole path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and the folder that it is in."""
        os.close(self.fd)
        if self._folder is not None:
            os.close(self._folder)

    def sibling(self, suffix: str) -> Opened | None:
        """Open the regular file beside it whose name is longer by *suffix*; links are none."""
        fd = _open(f"{self._name}{suffix}", READ | NO_LINK, self._folder)
        return None if fd is None else _regular(fd, None, "")

    def read(self, most: int) -> bytes | None:
        """
        Return the whole file if it is no larger than *most* bytes.

        It is None as well where it is shorter than it was: who reads on will notice.
        """
        size = self.stat.st_size
        if size > most:
            return None
        data = _read(self.fd, size)
        return data if len(data) == size else None

    def path(self) -> str | None:
        """Return a path that leads to this very file now; None where the system tells none."""
        with suppress(OSError):
            path = os.readlink(f"/proc/self/fd/{self.fd}")
            if os.path.samestat(os.stat(path), self.stat):
                return path
        return None


def open_path(path: str) -> Opened | None:
    """Open the file that *path* names, by whatever links; None if there is none to be had."""
    fd = _open(path, READ, None)
    return None if fd is None else _regular(fd, None, path, folders=True)


def open_below(root: str | os.PathLike[str], names: Sequence[str]) -> Opened | None:
    """
    Open the file or the folder that *names* lead to from *root*; None if there is none to be had.

    Args:
        root: The folder; it may be a link itself.
        names: One for each step down, lawful as `names` has it; none is *root* itself.

    Raises:
        OSError: Nothing that the client could be told: too many open files, a disk that fails.
    """
    if not HAS_DESCENT:
        return _open_resolved(os.fspath(root), names)
    found = _descend(root, names)
    if found is not None or not names:
        return found
    # It is not there, or there is a link on the way.
    resolved = _resolved(os.fspath(root), names)
    return None if resolved is None else _descend(*resolved)


def _descend(root: str | os.PathLike[str], names: Sequence[str]) -> Opened | None:
    """Open each name from the folder before it; a link is none."""
    folder = _open(os.fspath(root), PASS, None)
    if folder is None:
        return None
    try:
        for name in names[:-1]:
            below = _open(name, PASS | NO_LINK, folder)
            os.close(folder)
            folder = below
            if folder is None:
                return None
        last = names[-1] if names else "."
        fd = _open(last, READ | NO_LINK, folder)
        if fd is None:
            return None
        opened = _regular(fd, folder, last, folders=True)
        if opened is not None:
            folder = None  # it is the file's now
        return opened
    finally:
        if folder is not None:
            os.close(folder)


def _resolved(root: str, names: Sequence[str]) -> tuple[str, list[str]] | None:
    """Resolve all links; return the root and the names below it, None if it leads elsewhere."""
    try:
        real_root = os.path.realpath(root, strict=True)
        real = os.path.realpath(os.path.join(real_root, *names), strict=True)
    except OSError as exc:
        if exc.errno not in MISSING:
            raise
        return None
    below = PurePath(real)
    if not below.is_relative_to(real_root):
        return None
    return real_root, list(below.relative_to(real_root).parts)


def _open_resolved(root: str, names: Sequence[str]) -> Opened | None:
    """Open by the whole path, on systems without better."""
    resolved = _resolved(root, names)
    if resolved is None:
        return None
    path = os.path.join(resolved[0], *resolved[1])
    if os.path.isdir(path):  # which Windows does not open
        return Opened(os.open(os.devnull, READ), os.stat(path), None, path)
    fd = _open(path, READ | NO_LINK, None)
    return None if fd is None else _regular(fd, None, path)


def _regular(fd: int, folder: int | None, name: str, *, folders: bool = False) -> Opened | None:
    """Keep what is a regular file, or a folder where these are wanted; close anything else."""
    try:
        stat = os.fstat(fd)
    except BaseException:
        os.close(fd)
        raise
    if modes.S_ISREG(stat.st_mode) or (folders and modes.S_ISDIR(stat.st_mode)):
        return Opened(fd, stat, folder, name)
    os.close(fd)
    return None


def _open(name: str, flags: int, folder: int | None) -> int | None:
    """Open a name; None if there is nothing to be had."""
    try:
        return os.open(name, flags, dir_fd=folder) if folder is not None else os.open(name, flags)
    except ValueError:  # a NUL in the path of a program
        return None
    except OSError as exc:
        if exc.errno not in MISSING:
            raise
        return None


def _read(fd: int, size: int) -> bytes:
    data = os.read(fd, size)
    while len(data) < size and (more := os.read(fd, size - len(data))):
        data += more
    return data
