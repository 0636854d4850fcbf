"""
WebSocket clients that cost little, so that it is the server that has to work.

They take apart no frames: they know byte for byte what has to come.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import TracebackType

from .rounds import Failed

SIZE = 1024
TEXT = (b"The quick brown fox jumps over the lazy dog, and 0123456789. " * 20)[:SIZE]
MASK = b"\x1f\xa3\x5c\xe8"
FINAL_TEXT, PING, PONG = 0x81, 0x89, 0x8A  # RFC 6455 §5.2
# A length of 126 stands for two bytes of length that follow.
SAID = struct.pack("!BBH", FINAL_TEXT, 0x80 | 126, SIZE) + MASK
SAID += bytes(byte ^ MASK[n % 4] for n, byte in enumerate(TEXT))
HEARD = struct.pack("!BBH", FINAL_TEXT, 126, SIZE) + TEXT

# The key is the example of RFC 6455 §1.3.
HANDSHAKE = (
    "GET {} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
WAIT_S = 30
DEAF_RECEIVE_BYTES = 4096
# A close that resets: the port is free at once.
AT_ONCE = struct.pack("ii", 1, 0)


class Members:
    """
    WebSockets to one path of a server.

    Args:
        deaf: They do not read.
    """

    def __init__(self, port: int, path: str, count: int, *, deaf: bool = False) -> None:
        self._port = port
        self._handshake = HANDSHAKE.format(path).encode()
        self._sockets: dict[int, socket.socket] = {}
        self._poll = select.epoll()
        self.pings = 0
        for _ in range(count):
            member = self._open(deaf)
            self._sockets[member.fileno()] = member
            self._poll.register(member, select.EPOLLIN)
            if not deaf and not len(self._sockets) % 100:
                self.answer(0)

    def __enter__(self) -> Members:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._poll.close()
        for member in self._sockets.values():
            member.close()

    def _open(self, deaf: bool) -> socket.socket:
        member = socket.socket()
        if deaf:
            member.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DEAF_RECEIVE_BYTES)
        member.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        member.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        member.settimeout(WAIT_S)
        member.connect(("127.0.0.1", self._port))
        member.sendall(self._handshake)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = member.recv(1024)
            head += piece
            if not piece or not head.startswith(b"HTTP/1.1 101 "[: len(head)]):
                raise Failed(f"a handshake was answered by {head!r}")
        return member

    def echo(self, count: int, at_once: int) -> None:
        """Have *count* messages echoed to the first member, *at_once* in one piece."""
        member = next(iter(self._sockets.values()))
        said, heard = SAID * at_once, HEARD * at_once
        buffer = bytearray(len(heard))
        member.settimeout(None)  # the kernel is to wait until all of it is there
        member.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", WAIT_S, 0))
        for _ in range(count // at_once):
            member.sendall(said)
            if member.recv_into(buffer, 0, socket.MSG_WAITALL) != len(heard) or buffer != heard:
                raise Failed("an echo was wrong")

    def broadcast(self, count: int) -> None:
        """Say *count* messages, each when the one before has come to all."""
        first = next(iter(self._sockets.values()))
        for _ in range(count):
            first.sendall(SAID)
            missing = len(self._sockets)
            while missing:
                ready = self._poll.poll(WAIT_S)
                if not ready:
                    raise Failed(f"a message did not come to {missing} members")
                for fd, _ in ready:
                    if self._sockets[fd].recv(2 * SIZE) != HEARD:
                        raise Failed("a message was wrong")
                missing -= len(ready)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Answer pings beside the block."""
        ended = Event()

        def answer() -> None:
            while not ended.is_set():
                self.answer(0.1)

        thread = Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def answer(self, seconds: float) -> None:
        """Answer the pings that came, or come within *seconds*."""
        for fd, _ in self._poll.poll(seconds):
            member = self._sockets[fd]
            ping = member.recv(128)
            if ping[:1] != bytes([PING]) or len(ping) != 2 + ping[1]:
                raise Failed(f"in place of a ping came {ping!r}")
            # a mask of zeros
            member.sendall(bytes([PONG, 0x80 | ping[1], 0, 0, 0, 0]) + ping[2:])
            self.pings += 1
