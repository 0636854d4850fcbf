"""
A raw HTTP/1.1 client that hides nothing: partial requests, pauses, and whether a body ended as it
should.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

# How long a test waits for what must come; the session `servers` has less patience where it knows
# that nothing will.
EVENT_S = 15.0
ANSWER_S = 20.0

# Where Linux lists them, with what lies in their queues: proc(5).
SOCKETS = Path("/proc/net/tcp")


def eventually(condition: Callable[[], T], timeout_s: float | None = None) -> T:
    """Look until *condition* gives something true, which is returned."""
    timeout_s = EVENT_S if timeout_s is None else timeout_s
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s; last seen: {value!r}"
        time.sleep(0.01)
    return value


def settled(value: Callable[[], int]) -> int:
    """Call *value* until it gives the same for a fifth of a second, and return that."""
    last, since = -1, 0.0

    def rests() -> bool:
        nonlocal last, since
        if (now := value()) != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 0.2

    eventually(rests)
    return last


def close_by_reset(connected: socket.socket) -> None:
    """Close with a reset (RST), as a crashed client does."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connected.close()


@dataclass(frozen=True)
class Answer:
    """
    One response; *complete* says that its body ended by its own framing and not by the end of the
    connection.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool

    def json(self) -> Any:
        return json.loads(self.body)


def in_kernel(host: str, port: int) -> int:
    """Return how many bytes lie between our socket of this address and its peer's reader."""
    ours = f"{socket.inet_aton(host)[::-1].hex().upper()}:{port:04X}"
    table = SOCKETS.read_text() if SOCKETS.exists() else ""  # else the kernel's part counts, too
    lines = [line.split() for line in table.splitlines()[1:]]
    queues = [line[4].split(":") for line in lines if ours in line[1:3]]
    return sum(int(unsent, 16) + int(unread, 16) for unsent, unread in queues)


class Connection:
    """One connection to 127.0.0.1; a reset counts as the end of what there is to read."""

    def __init__(
        self, port: int, *, receive_buffer: int | None = None, timeout_s: float | None = None
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(ANSWER_S if timeout_s is None else timeout_s)
        self.socket.connect(("127.0.0.1", port))
        self._buffer = b""
        self.interim: list[int] = []
        self.was_reset = False

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        close_by_reset(self.socket)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def push(self, most: int) -> int:
        """
        Send until none was taken for 0.3 s, and give how many bytes were; the server may not have
        read more than *most*.

        The kernel takes what it likes: on loopback its buffer grows to as much as it is allowed.
        """
        sent = 0
        # What waits in this end's kernel was not taken by the server: keep it small.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        patience = self.socket.gettimeout()
        self.socket.settimeout(0.3)
        with suppress(TimeoutError):
            while True:
                sent += self.socket.send(bytes(64 * 1024))
                read = sent - in_kernel(*self.socket.getsockname()[:2])
                assert read <= most, "the server takes what nobody reads"
        self.socket.settimeout(patience)
        return sent

    def request(
        self, method: str, target: str, body: bytes | None = None, **fields: object
    ) -> None:
        """Send a request; *body* is declared by its length. `_` stands for `-` in names."""
        if body is not None:
            fields.setdefault("content_length", len(body))
        lines = [f"{method} {target} HTTP/1.1", "host: localhost"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    def ask(self, method: str, target: str, body: bytes | None = None, **fields: object) -> Answer:
        """Send a request and read the whole answer."""
        self.request(method, target, body, **fields)
        return self.answer(method)

    def answer(self, method: str = "GET") -> Answer:
        """Read a response to *method*, as far as it comes."""
        status, headers = self.head()
        body: list[bytes] = []
        if method == "HEAD" or status in (100, 204, 304):
            complete = True
        elif "transfer-encoding" in headers:
            while piece := self.chunk():
                body.append(piece)
            complete = piece is not None
        else:
            size = int(headers["content-length"])
            body.append(self.take(size))
            complete = len(body[0]) == size
        return Answer(status, headers, b"".join(body), complete)

    def final_answer(self) -> Answer:
        """Read a response; interim ones before it are listed in `interim`."""
        while (answer := self.answer()).status < 200:
            self.interim.append(answer.status)
        return answer

    def head(self) -> tuple[int, dict[str, str]]:
        status = int(self.line().split()[1])
        headers = {}
        while line := self.line():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return status, headers

    def chunk(self) -> bytes | None:
        """Read one chunk; `b""` is the last one, None a body that was cut before it."""
        line = self.line()
        if not line:
            return None
        size = int(line, 16)
        data = self.take(size + 2)
        return data[:size] if size or data else None

    def read_out(self) -> bytes:
        """Read chunks up to the end of the body, however it comes, and close."""
        with self:
            return b"".join(iter(lambda: self.chunk() or b"", b""))

    def line(self) -> bytes:
        """Read one line, without its end; empty at the end of the connection."""
        while b"\r\n" not in self._buffer and self._more():
            pass
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def take(self, size: int) -> bytes:
        """Read *size* bytes, fewer at the end of the connection."""
        while len(self._buffer) < size and self._more():
            pass
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def some(self) -> bytes:
        """Read what comes next; empty at the end of the connection."""
        if not self._buffer:
            self._more()
        data, self._buffer = self._buffer, b""
        return data

    def at_end(self) -> bool:
        """
        Tell whether the server closed the connection, with nothing left to read; waits for either.
        """
        return not self._buffer and not self._more()

    def _more(self) -> bool:
        try:
            data = self.socket.recv(256 * 1024)
        except ConnectionError:
            data = b""
            self.was_reset = True
        self._buffer += data
        return bool(data)
