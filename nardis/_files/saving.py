"""
Save what comes piece by piece as a file: whole, or not at all.

Nobody sees a file that is only begun: it gets its name when it is complete, by a rename, which is
one step for everybody else. Until then it has no name at all where the system can do that
(`O_TMPFILE` of Linux), else a random one beside the name that it will have.

Disks are written in worker threads. A task of asyncio's can be cancelled past every shield of
anyio's, and leaves a thread behind that still writes. If the descriptor were closed meanwhile, its
number could belong to another file by then: so `Guarded` closes it when the thread is done.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock
from typing import ClassVar, Final, TypeAlias

import anyio
from anyio import to_thread

from ..errors import UsageError

__all__ = [
    "BLOCK_BYTES",
    "Guarded",
    "Pull",
    "close_in_thread",
    "discard",
    "save",
    "save_copy",
    "write_all",
]

# What is gathered for one write. The hop to a worker thread costs about 60 us, as much as to copy
# this; with 64 KiB, as servers deliver them, it would cost eight times as much as the copying.
BLOCK_BYTES: Final = 512 * 1024

# Copied by a worker thread before it looks whether it is still wanted.
COPY_BYTES: Final = 8 * 1024 * 1024

# Time for closing and removing what has failed, although the client is gone and the task cancelled.
# A thread that still writes has this time too, before the caller goes on without it.
CLOSE_S: Final = 5.0

# Characters of the final name that stand in a temporary one, so that people see what it belongs to.
# Four bytes each, and 22 beside them, stay below the 255 that file systems allow.
NAME_CHARS: Final = 40

# Shows the open files of this process by their descriptors.
DESCRIPTORS: Final = "/proc/self/fd"

# Gives the next piece; StopAsyncIteration is the end.
Pull: TypeAlias = Callable[[], Awaitable[bytes]]


class Guarded(ABC):
    """
    Something open that worker threads use, one at a time.

    It is closed once, and never while a thread uses it: then the thread closes it when it is done.
    `closed` is set at once all the same, so a thread can look at it before it does what lasts.

    Attributes:
        opened: There is something to close, or was.
        closed: Nobody can use it any more.
        GONE: What an error says when somebody tries.
    """

    GONE: ClassVar[str]

    __slots__ = ("_lock", "closed", "opened")

    def __init__(self) -> None:
        self._lock = Lock()
        self.opened: bool = False
        self.closed: bool = False

    @contextmanager
    def in_use(self) -> Generator[None, None, None]:
        """
        Keep everybody else from it.

        Raises:
            UsageError: It is closed.
        """
        try:
            with self._lock:
                self.check_open()
                yield
        finally:
            if self.closed:
                self.close()

    def check_open(self) -> None:
        """
        Check that it can be used.

        Raises:
            UsageError: It is closed.
        """
        if self.closed:
            raise UsageError(self.GONE)

    def close(self, wait_s: float = 0) -> None:
        """Close it, or leave that to a thread that uses it for longer than *wait_s*."""
        self.closed = True
        # A thread that has the lock looks at `closed` after it has given it back.
        if self._lock.acquire(timeout=wait_s):
            try:
                self.release()
            finally:
                self._lock.release()

    @abstractmethod
    def release(self) -> None:
        """Give back what is held; the second call finds nothing."""


async def close_in_thread(held: Guarded, wait_s: float = 0) -> None:
    """
    Close *held* in a worker thread, or at once where there is nothing to wait for.

    Args:
        held: What to close.
        wait_s: How long to wait for a thread that uses it.

    Cancellation: it is closed all the same.
    """
    held.closed = True  # a thread that uses it may look before the one that closes it has begun
    try:
        if held.opened:
            # A limiter for this call alone: nothing stays open because all worker threads are busy.
            # The thread may be left behind, because a file system that hangs must not hold up the
            # clean-up.
            limiter = anyio.CapacityLimiter(1)
            await to_thread.run_sync(held.close, wait_s, abandon_on_cancel=True, limiter=limiter)
    finally:
        held.close()


async def discard(held: Guarded, error: BaseException) -> None:
    """
    Close *held*, because *error* is under way, which goes on whatever happens here.

    A thread that uses *held* is waited for, `CLOSE_S` at most, so that it does nothing after the
    error has come out.
    """
    if isinstance(error, GeneratorExit):  # nothing can be awaited: this very coroutine is dropped
        held.close()
        return
    with anyio.move_on_after(CLOSE_S, shield=True):
        await close_in_thread(held, CLOSE_S)


async def save(path: str | os.PathLike[str], pull: Pull) -> int:
    """
    Save all that *pull* gives as the file *path*, and return its size in bytes.

    A file that was there is replaced, in one step and only at the end; so is a link, and not what
    it points to. The new file has the permissions of any: 0666 without the bits of the umask.

    Args:
        path: Where to. It is the application's: a name that a client sent may be `../../x`.
        pull: Returns the next piece; raises StopAsyncIteration at the end.

    Raises:
        OSError: As the system gave it: the folder is missing, *path* is a folder, the disk is full.
            Also when *path* is a device, a socket or a pipe, which a rename would remove, and when
            it is no path at all: it has a NUL, or half of a surrogate pair.

    Cancellation: nothing is left behind, and nothing appears afterwards. For that a thread that
    still writes is waited for. After `CLOSE_S`, or when asyncio itself cancels the waiting, it is
    left alone: then it gives the file no name, and only a rename that is under way goes on.
    Backpressure: no piece is asked for while others are written; up to `BLOCK_BYTES` of them are
    gathered.
    """
    draft = Draft(path)
    size = 0
    block = bytearray()  # no list, which a client that sends single bytes would make much larger
    try:
        while True:
            try:
                block += await pull()
            except StopAsyncIteration:
                break
            if len(block) >= BLOCK_BYTES:
                await to_thread.run_sync(draft.write, partial(write_all, block))
                size += len(block)
                block = bytearray()
        await to_thread.run_sync(draft.publish, partial(write_all, block))
    except BaseException as exc:
        await discard(draft, exc)
        raise
    return size + len(block)


async def save_copy(
    path: str | os.PathLike[str], size: int, copy: Callable[[int, int, int], None]
) -> int:
    """
    Save as `save` does what *copy* writes, and return its size in bytes.

    Args:
        path: Where to.
        size: How much there is.
        copy: Called in worker threads with an offset, a count, and the descriptor to which it
            writes so many bytes from there.

    Raises:
        OSError: As for `save`.

    Cancellation: as for `save`; it is noticed each `COPY_BYTES`.
    """
    draft = Draft(path)
    try:
        offset = 0
        while size - offset > COPY_BYTES:
            await to_thread.run_sync(draft.write, partial(copy, offset, COPY_BYTES))
            offset += COPY_BYTES
        await to_thread.run_sync(draft.publish, partial(copy, offset, size - offset))
    except BaseException as exc:
        await discard(draft, exc)
        raise
    return size


class Draft(Guarded):
    """
    A file on its way to its name. Its methods are for worker threads.

    It is opened when there is something to write, so that a small one takes a single hop: it is
    opened, written and named in `publish`.

    It is not flushed to the disk (`fsync`), as other new files are not. What is there is whole for
    every process, also when this one is killed. A loss of power is another matter: to wait for the
    disk would cost each upload some 10 ms and bind a worker thread, also where nobody asked for
    that.
    """

    GONE: ClassVar[str] = "the file that was being saved is discarded"

    __slots__ = ("_file", "_folder", "_name", "_path", "_target", "_temporary")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = os.fsdecode(path)
        self._name = os.path.basename(self._path)
        self._target = self._name  # relative to the folder, or absolute where that cannot be
        self._folder: int | None = None  # a descriptor, where names can be relative to one
        self._file: int | None = None
        self._temporary: str | None = None  # its name, while it has one that must go

    def write(self, fill: Callable[[int], object]) -> None:
        """Let *fill* write more to the descriptor that it is given."""
        with self.in_use():
            fill(self._opened())

    def publish(self, fill: Callable[[int], object]) -> None:
        """
        Let *fill* write the rest, and give the file its name.

        Raises:
            UsageError: It was closed meanwhile: the caller has failed, so the file has no name.
        """
        with self.in_use():
            file = self._opened()
            fill(file)
            self.check_open()
            if self._temporary is None:
                temporary = self._random_name()
                link = f"{DESCRIPTORS}/{file}"
                os.link(link, temporary, dst_dir_fd=self._folder, follow_symlinks=True)
                self._temporary = temporary
            # Before the rename: some file systems report only here that there was no room, and
            # Windows does not rename what is open.
            self._file = None
            os.close(file)
            self.check_open()  # to close it may have taken long
            os.replace(
                self._temporary, self._target, src_dir_fd=self._folder, dst_dir_fd=self._folder
            )
            self._temporary = None
            self.release()

    def release(self) -> None:
        """Close what is open, and remove what has a temporary name."""
        file, self._file = self._file, None
        temporary, self._temporary = self._temporary, None
        folder, self._folder = self._folder, None
        # What goes wrong here is not what went wrong first.
        if file is not None:
            with suppress(OSError):
                os.close(file)
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
        if folder is not None:
            os.close(folder)

    def _opened(self) -> int:
        if self._file is None:
            self.opened = True
            self._file = self._open()
        return self._file

    def _open(self) -> int:
        _check_target(self._path)
        folder = os.path.dirname(self._path) or os.curdir
        # Names are relative to the folder itself where they can be: it may be renamed meanwhile. A
        # folder that may be written and not read can be opened with O_PATH only.
        path_only: int = getattr(os, "O_PATH", 0)
        if path_only and os.open in os.supports_dir_fd:
            self._folder = os.open(folder, path_only | os.O_DIRECTORY)
            nameless = _open_nameless(self._folder)
            if nameless is not None:
                return nameless
        else:
            self._target = os.path.abspath(self._path)
        temporary = self._random_name()
        binary: int = getattr(os, "O_BINARY", 0)  # Windows would write CRLF
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary
        file = os.open(temporary, flags, 0o666, dir_fd=self._folder)
        self._temporary = temporary
        return file

    def _random_name(self) -> str:
        name = f".{self._name[:NAME_CHARS]}.{secrets.token_hex(8)}.tmp"
        return os.path.join(os.path.dirname(self._target), name)


def _check_target(path: str) -> None:
    """Refuse what is no place for a file, sooner than after 10 GiB."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:  # any other error is one that writing there has too
        mode = stat.S_IFREG if os.path.basename(path) else stat.S_IFDIR
    except ValueError as exc:  # a NUL, or what no name is encoded to
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path) from exc
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):  # such as /dev/null
        raise FileExistsError(errno.EEXIST, "Not a regular file", path)


def _open_nameless(folder: int) -> int | None:
    """Open a file without a name in *folder*, or return None where that cannot be."""
    nameless: int = getattr(os, "O_TMPFILE", 0)
    if not nameless:
        return None
    try:
        file = os.open(os.curdir, nameless | os.O_WRONLY, 0o666, dir_fd=folder)
    except OSError:  # NFS and others; if the reason is another one, the next way meets it too
        return None
    if os.path.exists(f"{DESCRIPTORS}/{file}"):  # by which it is given its name
        return file
    os.close(file)
    return None


def write_all(data: bytes | bytearray, file: int) -> None:
    """Write all of *data*, also where the system takes it in several pieces."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
