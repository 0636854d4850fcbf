"""
Open what a web server may hand out: regular files below a root, and nothing else.

Each name is looked up by the descriptor of the folder before it, and never through a symbolic link.
Where there is a link, the place that it leads to is found first, compared with the root, name by
name, and then walked to in the same way. So nobody who changes folders and links at the same time
can lead a request outside.

Where names cannot be looked up by descriptor, as on Windows, paths are resolved and compared, and
then opened.

All of this blocks, so it is for worker threads.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import PurePath
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Final

from ..errors import UsageError
from .names import is_lawful
from .reading import read_now

__all__ = ["Folder", "Opened", "open_below", "open_path", "read_small"]

# Whether names can be looked up by the descriptor of their folder.
_BY_DESCRIPTOR: Final = {os.open, os.stat} <= os.supports_dir_fd

# Flags that some systems lack. All that Python opens has O_CLOEXEC by itself (PEP 446).
_NOFOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY: Final[int] = getattr(os, "O_DIRECTORY", 0)

# O_PATH opens also a folder that may be passed through and not read.
_FOLDER: Final[int] = getattr(os, "O_PATH", os.O_RDONLY) | _DIRECTORY

# Without O_NONBLOCK to open a FIFO waits for somebody who writes; without O_BINARY Windows changes
# the ends of lines.
_FILE: Final[int] = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

# What the systems say of a link that is not followed; ENOTDIR also of a file that is no folder.
_NO_FOLDER: Final = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EMLINK})

# The errors of a file that cannot be had, for the client all the same. Others, such as EMFILE and
# EIO, are faults of ours.
_MISSING: Final = frozenset(
    {
        *_NO_FOLDER,
        errno.EACCES,
        errno.EILSEQ,  # no name for this file system
        errno.EINVAL,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENXIO,  # a socket
        errno.EPERM,
    }
)

# Windows gives files a second, short name: `.git` is GIT~1 too.
_SHORT_NAME = re.compile("~[0-9]")


class _NoneIfMissing:
    """Swallow the errors of a file that cannot be had."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, OSError):
            return error.errno in _MISSING
        return isinstance(error, UnicodeEncodeError)  # the file system's encoding lacks a character


_NONE_IF_MISSING: Final = _NoneIfMissing()


class Opened:
    """
    A regular file that is open for reading.

    It is closed by `close`, and when nobody has it any more: a task may be cancelled while a thread
    opens a file for it. So keep the object as long as its descriptor is used.

    Attributes:
        fd: Its descriptor. Its position is not used.
        stat: What the system said of it when it was open. Its size may have changed since.
    """

    __slots__ = ("_folder", "_name", "_owns", "fd", "stat")

    def __init__(
        self,
        opened: tuple[int, os.stat_result],
        name: str,
        folder: Folder | None,
        owns_folder: bool,
    ) -> None:
        self.fd: int
        self.stat: os.stat_result
        self.fd, self.stat = opened
        self._name: str = name  # in the folder; without one, a whole path
        self._folder: Folder | None = folder
        self._owns: bool = owns_folder  # closes the folder too

    def sibling(self, suffix: str) -> Opened | None:
        """
        Open the file beside this one that has *suffix* behind the same name, such as `.br`.

        It is looked for where this one was asked for, also if that is a link to another place. It
        has to be closed on its own. If there is none, this is one call of the system.

        Args:
            suffix: What the application chose.

        Returns:
            None if there is no such file that may be handed out.

        Raises:
            OSError: As for `open_below`, or this file is closed.
        """
        name = self._name + suffix
        if self._folder is None:
            return open_path(name)
        return self._folder.beside(name)

    def close(self) -> None:
        """Close it; the second call does nothing."""
        fd, self.fd = self.fd, -1
        try:
            if fd >= 0:
                os.close(fd)
        finally:
            if self._owns and self._folder is not None:
                self._folder.close()

    def __del__(self) -> None:
        self.close()


class Folder:
    """
    A folder below a root, or the root itself, held open.

    It is closed by `close`, by the file that `file` returned, and when nobody has it any more.

    Args:
        root: An absolute path, which may lead through links.

    Raises:
        OSError: The root is not there, or is no folder.
    """

    __slots__ = ("_descriptor", "_inside", "_root")

    def __init__(self, root: str) -> None:
        self._descriptor: int = -1
        self._root: str = root
        self._inside: tuple[str, ...] = ()  # the way from the root, without links
        # Each time anew: the root may be a link to the current release, which is swapped for the
        # next one while we run.
        if _BY_DESCRIPTOR:
            self._descriptor = os.open(root, _FOLDER)
        else:
            _check_folder(root)

    def file(self, name: str) -> Opened | None:
        """
        Open the file *name* in it, such as an index.

        The folder belongs to that file from then on and is closed with it.

        Args:
            name: What the application chose.

        Returns:
            None if there is no such file that may be handed out, or it is a folder.

        Raises:
            OSError: As for `open_below`.
        """
        with _NONE_IF_MISSING:
            if is_lawful(name):
                return self._opened(name, True)
        return None

    def beside(self, name: str) -> Opened | None:
        """Open the file *name* in it as `file` does, but keep the folder."""
        with _NONE_IF_MISSING:
            if is_lawful(name):
                return self._opened(name, False)
        return None

    def follow(self, names: Sequence[str]) -> Opened | Folder:
        """
        Open what *names* lead to from here.

        Args:
            names: Lawful ones.

        Returns:
            A file, to which this folder then belongs as after `file`; or this object, which has
            become the folder to which they lead.

        Raises:
            OSError: It cannot be had, for whatever reason.
        """
        for name in names[:-1]:
            self._enter(name)
        for name in names[-1:]:
            try:
                return self._opened(name, True)
            except IsADirectoryError:
                pass
            self._enter(name)
        return self

    def names(self, most: int) -> list[str] | None:
        """
        Return the names of what is in it, in no order, *most* of them at most.

        Returns:
            None if it may not be read.

        Raises:
            OSError: As for `open_below`.
        """
        with _NONE_IF_MISSING:
            if not _BY_DESCRIPTOR:
                with os.scandir(os.path.join(self._root, *self._inside)) as entries:
                    return [entry.name for entry in islice(entries, most)]
            readable = os.open(os.curdir, os.O_RDONLY | _DIRECTORY, dir_fd=self._descriptor)
            try:
                with os.scandir(readable) as entries:
                    return [entry.name for entry in islice(entries, most)]
            finally:
                os.close(readable)
        return None

    def status(self, name: str) -> os.stat_result | None:
        """
        Return what the system says of *name* in it, or of the place below the root where it leads.

        Returns:
            None if that is neither a regular file nor a folder, or is not there.

        Raises:
            OSError: As for `open_below`.
        """
        with _NONE_IF_MISSING:
            if not is_lawful(name):
                return None
            if not _BY_DESCRIPTOR:
                found = os.stat(self._path(name)[0])
            else:
                found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
                if S_ISLNK(found.st_mode):
                    with self._target(name) as (last, at):
                        found = os.stat(last, dir_fd=at, follow_symlinks=False)
            return found if S_ISREG(found.st_mode) or S_ISDIR(found.st_mode) else None
        return None

    def close(self) -> None:
        """Close it; the second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def _enter(self, name: str) -> None:
        """Become the folder *name* in it, also through a link to another place below the root."""
        if not _BY_DESCRIPTOR:
            path, inside = self._path(name)
            _check_folder(path)
            self._inside = inside
            return
        try:
            below = os.open(name, _FOLDER | _NOFOLLOW, dir_fd=self._descriptor)
            inside = (*self._inside, name)
        except OSError as exc:
            if exc.errno not in _NO_FOLDER:
                raise
            top, inside = self._resolved(name)
            below = _descend(top, inside)
        self.close()
        self._descriptor, self._inside = below, inside

    def _opened(self, name: str, owns_folder: bool) -> Opened:
        if not _BY_DESCRIPTOR:
            path = self._path(name)[0]
            opened = _open_regular(path, os.stat(path), _FILE, None)
        else:
            found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
            if not S_ISLNK(found.st_mode):
                opened = _open_regular(name, found, _FILE | _NOFOLLOW, self._descriptor)
            else:
                with self._target(name) as (last, at):
                    found = os.stat(last, dir_fd=at, follow_symlinks=False)
                    opened = _open_regular(last, found, _FILE | _NOFOLLOW, at)
        return Opened(opened, name, self, owns_folder)

    @contextmanager
    def _target(self, name: str) -> Generator[tuple[str, int], None, None]:
        """Give the name that the link *name* leads to, and the descriptor of that one's folder."""
        top, inside = self._resolved(name)
        *above, last = inside or (os.curdir,)  # the root itself
        at = _descend(top, above)
        try:
            yield last, at
        finally:
            os.close(at)

    def _path(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Return where *name* is: its whole path, and its way from the root."""
        if _SHORT_NAME.search(name):
            raise _error(errno.ENOENT, name)
        top, inside = self._resolved(name)
        return os.path.join(top, *inside), inside

    def _resolved(self, name: str) -> tuple[str, tuple[str, ...]]:
        """
        Return the path of the root, and from there the way to *name*; both without links.

        Raises:
            OSError: It is not there, or lies outside.
        """
        top = os.path.realpath(self._root, strict=True)
        real = os.path.realpath(os.path.join(top, *self._inside, name), strict=True)
        try:
            return top, PurePath(real).relative_to(top).parts
        except ValueError:
            raise _error(errno.ENOENT, name) from None


def open_below(root: str | os.PathLike[str], names: Sequence[str]) -> Opened | Folder | None:
    """
    Open the file, or the folder, to which *names* lead from *root*.

    Args:
        root: An absolute path. A relative one has to be made absolute when the application is
            built, with os.path.abspath(): the working directory may change. It may lead through
            links. If one of them is changed, the next call goes where it leads then.
        names: The names of folders and, last, of the file. None at all is the root.

    Returns:
        A regular file, or a folder, which the caller closes. None for all that may not be had: what
        is not there; what the process may not read; what lies outside of the root, be it through a
        link; and what is neither file nor folder.

    Raises:
        OSError: Something else is wrong: the process has too many open files, or the disk fails.
        UsageError: *root* is relative.
    """
    top = _absolute(root, "a root")
    if not all(map(is_lawful, names)):
        return None
    with _NONE_IF_MISSING:
        folder = Folder(top)
        try:
            return folder.follow(names)
        except BaseException:
            folder.close()
            raise
    return None


def open_path(path: str | os.PathLike[str]) -> Opened | None:
    """
    Open a regular file by its path, which the application chose, wherever it leads.

    Args:
        path: An absolute path.

    Returns:
        None if it is not there, may not be read, or is no regular file.

    Raises:
        OSError: As for `open_below`.
        UsageError: *path* is relative.
    """
    name = _absolute(path, "a path without a root")
    with _NONE_IF_MISSING:
        if "\0" not in name:
            return Opened(_open_regular(name, os.stat(name), _FILE, None), name, None, False)
    return None


def read_small(opened: Opened, most: int) -> bytes | None:
    """
    Read a whole file that is small, in the thread that opened it.

    Args:
        opened: The file.
        most: How large it may be, in bytes.

    Returns:
        As many bytes as `opened.stat.st_size` says, also if there are more by now; None if that is
        more than *most*.

    Raises:
        EOFError: The file is shorter by now.
        OSError: As the system gave it.
    """
    size = opened.stat.st_size
    if size > most:
        return None
    data = read_now(opened.fd, 0, size)
    if len(data) < size:
        raise EOFError(f"a file of {size} bytes ends after {len(data)}: it was cut meanwhile")
    return data


def _open_regular(
    name: str, found: os.stat_result, flags: int, at: int | None
) -> tuple[int, os.stat_result]:
    """Open what was *found* as *name*, if it is a regular file, and see that it still is one."""
    # Before it is opened: that would wake the writer of a FIFO, and may do anything to a device.
    _check_regular(found, name)
    fd = os.open(name, flags, dir_fd=at)
    try:
        found = os.fstat(fd)
        _check_regular(found, name)
    except BaseException:
        os.close(fd)
        raise
    return fd, found


def _check_regular(found: os.stat_result, name: str) -> None:
    if not S_ISREG(found.st_mode):
        raise _error(errno.EISDIR if S_ISDIR(found.st_mode) else errno.ENOENT, name)


def _check_folder(path: str) -> None:
    # Not os.path.isdir(), to which a broken disk is no folder.
    if not S_ISDIR(os.stat(path).st_mode):
        raise _error(errno.ENOTDIR, path)


def _descend(top: str, names: Sequence[str]) -> int:
    """Open the folder *names* below *top*, from descriptor to descriptor, through no link."""
    at = os.open(top, _FOLDER)
    for name in names:
        try:
            below = os.open(name, _FOLDER | _NOFOLLOW, dir_fd=at)
        finally:
            os.close(at)
        at = below
    return at


def _absolute(path: str | os.PathLike[str], what: str) -> str:
    text = os.fspath(path)
    if not os.path.isabs(text):
        raise UsageError(
            f"{what} is absolute, not {text!r}: make it so where the application is built, with "
            "os.path.abspath()"
        )
    return text


def _error(number: int, name: str) -> OSError:
    """Return the error that the system would give."""
    return OSError(number, os.strerror(number), name)
