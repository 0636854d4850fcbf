"""
The bytes of one client: read when they are asked for, and written until the system took them.

Nothing is read ahead, and nothing waits here to be written: a read that is cancelled loses nothing,
and a write returns when the system has all of it. Each event loop only says how to wait for a
socket.

Source: tcp(7) for TCP_INFO, socket(7) for SO_LINGER.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, TypeAlias, cast

from anyio import to_thread
from anyio.lowlevel import checkpoint

from .._files.reading import fetch, read_at, seems_cached
from .byte_stream import ByteStream
from .pieces import rest_of
from .turns import Turns
from .unsent import adapted, first_bound

__all__ = [
    "LINGER_BYTES",
    "LINGER_S",
    "READ_BYTES",
    "TURN_S",
    "Address",
    "Stream",
    "clock",
]

clock: Callable[[], float] = time.monotonic

# One read of a socket.
READ_BYTES: Final = 64 * 1024

# Who only reads or writes gives the others a turn this often: a socket may always be ready.
TURN_S: Final = 0.001

# After our last byte, what the client still sends is read and dropped for this long: closing at
# once would reset the connection, and the client might lose the answer (RFC 9112 §9.6).
LINGER_S: Final = 1.0

# In the clear nothing is read beyond this much of it. Over TLS clients such as requests and urllib3
# give an answer up when a write fails: all is read that comes in the time.
LINGER_BYTES: Final = 4 * 1024 * 1024

# `close()` then resets the connection and drops what was not sent: it cannot be taken for a regular
# end.
RESET: Final = b"\x01\x00\x00\x00\x00\x00\x00\x00"

# Linux counts the bytes that the peer's system took (tcpi_bytes_acked of struct tcp_info, since
# 4.1), also while one piece waits to be sent: where it does not, progress shows by what is sent.
TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None)
TCP_INFO_BYTES: Final = 128
BYTES_ACKED: Final = struct.Struct("=120xQ")

# What is sent of a file at once; and what is read first where that is not in the system's memory,
# or where nobody knows: a visit to a thread is cheap beside so much.
FILE_BYTES: Final = 512 * 1024
FETCHED_BYTES: Final = 4 * 1024 * 1024

# What stands before a file goes out in one segment with its beginning (tcp(7), MSG_MORE).
MORE: Final[int] = getattr(socket, "MSG_MORE", 0)

# sendfile(2) says so of files that are not in the page cache's reach.
UNMAPPED: Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)

Address: TypeAlias = tuple[str, int] | None


class Stream(Turns, ByteStream):
    """
    A client's socket.

    Attributes:
        socket: It does not block.
        client: The address of the other end; None on a unix socket.
        server: Our own.
        reading: A task waits for something to arrive.
        read_at: Something had last arrived then, to within TURN_S.
        writing: A write waits for room since then; 0.0 is none.
        fetching: A write waits for our own disk.
        sent: How many bytes the system has taken.
        closed: The socket is closed: its number may be another's by now.
    """

    __slots__ = (
        "_bound",
        "_more",
        "client",
        "closed",
        "fetching",
        "read_at",
        "reading",
        "rest",
        "sent",
        "server",
        "socket",
        "writing",
    )

    # What ends a wait that `wake` has called off.
    awoken: ClassVar[type[Exception]]

    # Whether a read that waits learns of every reset.
    hears_resets: ClassVar[bool] = True

    def __init__(self, sock: socket.socket) -> None:
        self.socket: socket.socket = sock
        self.client: Address = None
        self.server: tuple[str, int | None] | None = None
        self.reading: bool = False
        self.read_at: float = 0.0
        self.writing: float = 0.0
        self.fetching: bool = False
        self.sent: int = 0
        self.closed: bool = False
        self._busy = False
        self._turns = None
        self._more = False  # the last read took all that it could: there may be more
        self._bound = first_bound(sock)  # of what the system takes and cannot send yet
        self.rest: Iterator[memoryview] | None = None
        if sock.family == socket.AF_UNIX:
            # ASGI has a path without a port; proxies on this host are told by that.
            self.server = (cast("str", sock.getsockname()), None)
        else:
            with suppress(OSError):  # the client has left already
                self.client = cast("Address", sock.getpeername()[:2])
                self.server = cast("Address", sock.getsockname()[:2])

    # --- what the event loops do each in its way --------------------------------------------------

    @abstractmethod
    def _readable(self) -> Awaitable[object]:
        """Wait until there is something to read; `awoken` is raised by `wake`."""

    @abstractmethod
    def _writable(self) -> Awaitable[object]:
        """Wait until there is room; `awoken` is raised by `wake`."""

    @abstractmethod
    def wake(self) -> None:
        """Call off what waits for this socket: it looks again whether there is a reason to."""

    # --- reading and writing ----------------------------------------------------------------------

    async def read(self) -> bytes | None:
        """Return what has arrived; see `ByteStream`."""
        while not self.closed:
            if self._more and clock() - self.read_at > TURN_S:
                # Not a wait for the socket: on asyncio a cancellation finds no gap in waits that
                # are over at once.
                await checkpoint()
                self.read_at = clock()
            elif not self._more:
                self.reading = True
                try:
                    await self._readable()
                except self.awoken:
                    if not self._more:
                        return self._nothing()
                except OSError:
                    return b""
                finally:
                    self.reading = False
                self.read_at = clock()
            try:
                data = self.socket.recv(READ_BYTES)
            except BlockingIOError:
                self._more = False
            except OSError:
                return b""
            else:
                self._more = len(data) == READ_BYTES
                return data
        return b""

    def _nothing(self) -> bytes | None:
        """Return what a read gives that was called off."""
        return b"" if self.closed else None

    async def write(self, *pieces: bytes | memoryview, keeps: bool = False) -> bool:
        """Send *pieces* as one; see `ByteStream`."""
        had_turn = self._busy
        if had_turn:
            await self._wait_for_turn()
        try:
            if self.closed:
                return False
            try:
                if len(pieces) == 1:
                    size, sent = len(pieces[0]), self.socket.send(pieces[0])
                else:
                    size = 0
                    for piece in pieces:
                        size += len(piece)
                    sent = os.writev(self.socket.fileno(), pieces)
            except BlockingIOError:
                size, sent = -1, 0
            self.sent += sent
            return sent == size or await self._write_rest(pieces, sent, keeps=keeps)
        except OSError:
            return False
        finally:
            if had_turn:
                self._give_turn()

    def offer(self, pieces: tuple[bytes, ...], size: int) -> Coroutine[Any, Any, bool] | None:
        """Send *pieces* as one, without a coroutine if there is room; see `ByteStream`."""
        if self._busy or self.closed:
            return self.write(*pieces)
        try:
            if len(pieces) == 1:
                sent = self.socket.send(pieces[0])
            else:
                sent = os.writev(self.socket.fileno(), pieces)
        except BlockingIOError:
            sent = 0
        except OSError:
            return self.write(*pieces)  # it gets the same
        self.sent += sent
        return None if sent == size else self._write_rest(pieces, sent)

    async def resume(self) -> bool:
        """Send the `rest`; see `ByteStream`."""
        rest, self.rest = self.rest, None
        try:
            return await self.write(*rest or ())
        except BaseException:
            self.cut()
            raise

    def begin(self, data: bytes) -> int:
        """Send what there is room for now, if nobody writes; see `ByteStream`."""
        if self._busy or self.closed:
            return 0
        try:
            sent = self.socket.send(data)
        except OSError:  # no room, or no client: who sends the rest, or reads, learns of that
            return 0
        self.sent += sent
        return sent

    def try_write(self, data: bytes) -> bool:
        """Send a few bytes if there is room for them now; see `ByteStream`."""
        sent = self.begin(data)
        if 0 < sent < len(data):
            self.cut()
        return sent > 0

    @property
    def has_room(self) -> bool:
        """Whether a few bytes could be sent now."""
        if self._busy or self.closed:
            return False
        poll = select.poll()
        poll.register(self.socket.fileno(), select.POLLOUT)
        return bool(poll.poll(0))

    async def _write_rest(
        self, pieces: Sequence[bytes | memoryview], sent: int, *, keeps: bool = False
    ) -> bool:
        """Send what is left of *pieces* after *sent* bytes; nobody else writes meanwhile."""
        had_turn, self._busy = self._busy, True
        self.writing = since = clock()
        try:
            while rest := [*rest_of(pieces, sent)]:
                try:
                    await self._writable()
                except self.awoken:
                    if self.closed:
                        return False
                try:
                    taken = os.writev(self.socket.fileno(), rest)
                except BlockingIOError:
                    continue
                sent += taken
                self.sent += taken
                since = self._adapt(since)
        except OSError:
            return False
        except BaseException:
            if sent and keeps:
                self.rest = rest_of(pieces, sent)
            elif sent:
                self.cut()
            raise
        finally:
            self.writing = 0.0
            if not had_turn:
                self._give_turn()
        return True

    def _adapt(self, since: float) -> float:
        """Bound a client anew that has taken something after a wait; return the time."""
        now = clock()
        self._bound = adapted(self.socket, self._bound, now - since)
        return now

    async def send_file(self, head: bytes, file: int, at: int, count: int, end: bytes) -> bool:
        """
        Send *count* bytes of a file from *at* on, between *head* and *end*, as one.

        The system copies them to the socket. What is not in its memory is read in a thread first,
        so that the disk holds up this client alone. Otherwise as `write`.

        Raises:
            EOFError: The file ends before.
        """
        had_turn, until = self._busy, at + count
        if had_turn:
            await self._wait_for_turn()
        self._busy = True
        sent_before, turn_at = self.sent, clock() + TURN_S
        try:
            if head:
                sent = self._try_to_send(head, MORE if count or end else 0)
                if sent < len(head) and not await self._write_rest((head,), sent):
                    return False
            fetched = 0
            while at < until and not self.closed:
                count = min(until - at, FILE_BYTES)
                if at >= fetched and not seems_cached(file, at, count):
                    fetched = await self._fetch(file, at, min(until - at, FETCHED_BYTES))
                if at < fetched:
                    count = min(count, fetched - at)
                at += await self._send_some(file, at, count)
                if clock() > turn_at:
                    await checkpoint()
                    turn_at = clock() + TURN_S
            if self.closed:
                return False
            return not end or await self._write_rest((end,), 0)
        except OSError:
            return False
        except BaseException:
            if self.sent != sent_before:
                self.cut()
            raise
        finally:
            self.writing = 0.0
            self._give_turn()

    def _try_to_send(self, data: bytes, flags: int) -> int:
        """Send what there is room for; return how much that was."""
        try:
            sent = self.socket.send(data, flags)
        except BlockingIOError:
            return 0
        self.sent += sent
        return sent

    async def _fetch(self, file: int, at: int, count: int) -> int:
        """Have the disk read in a thread; return the place up to which it was."""
        self.fetching = True
        try:
            await to_thread.run_sync(fetch, file, at, count)
        except OSError as exc:  # no fault of the client's
            raise EOFError(f"the file cannot be read: {exc}") from exc
        finally:
            self.fetching = False
        return at + count

    async def _send_some(self, file: int, at: int, count: int) -> int:
        """Send some of a file; return how many bytes of it the system took."""
        since = 0.0
        while not self.closed:
            try:
                sent = os.sendfile(self.socket.fileno(), file, at, count)
            except BlockingIOError:
                since = since or clock()
                self.writing = self.writing or since
                with suppress(self.awoken):
                    await self._writable()
                continue
            except OSError as exc:
                if exc.errno not in UNMAPPED:
                    raise
                data = await _read(file, at, count)  # of a file system that cannot
                sent = len(data) if await self._write_rest((data,), 0) else 0
            else:
                self.sent += sent
                if since:
                    self._adapt(since)
            if not sent and not self.closed:
                raise EOFError("the file is shorter than it was")
            return sent
        return 0

    # --- the end ----------------------------------------------------------------------------------

    async def finish(self, *, whole: bool) -> None:
        """Close our sending half: the client learns that nothing more comes."""
        if not self.closed:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket; tasks that wait for it are woken."""
        if not self.closed:
            self.closed = True
            self.wake()
            self.socket.close()

    def drop_input(self) -> None:
        """Read and drop what has arrived: to close over it would reset the connection."""
        dropped = 0
        with suppress(OSError):
            while dropped < LINGER_BYTES and (data := self.socket.recv(READ_BYTES)):
                dropped += len(data)

    def cut(self) -> None:
        """Reset the connection: nobody can take that for a regular end."""
        if not self.closed:
            with suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.close()

    @property
    def may_miss_reset(self) -> bool:
        """Whether a read waits that nobody tells of a reset."""
        return self.reading and not self.hears_resets

    def read_anyway(self) -> None:
        """Let a read that waits try, though the event loop has told it of nothing."""
        self._more = True
        self.wake()

    # --- for the sweep ----------------------------------------------------------------------------

    def has_input(self) -> bool:
        """Whether something has arrived that nobody has read yet."""
        poll = select.poll()
        poll.register(self.socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def taken(self) -> int:
        """Return a number that changes when the client takes something."""
        if TCP_INFO is not None and self.socket.family != socket.AF_UNIX:
            info = self.socket.getsockopt(socket.IPPROTO_TCP, TCP_INFO, TCP_INFO_BYTES)
            if len(info) >= BYTES_ACKED.size:
                return int(BYTES_ACKED.unpack_from(info)[0])
        return self.sent


async def _read(file: int, at: int, count: int) -> bytes:
    try:
        data = await read_at(file, at, count)
    except OSError as exc:  # no fault of the client's
        raise EOFError(f"the file cannot be read: {exc}") from exc
    if not data:
        raise EOFError("the file is shorter than it was")
    return data
