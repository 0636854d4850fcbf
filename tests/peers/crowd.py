"""
Many raw HTTP/1.1 clients at once: on one thread, or each on its own; and whether what they got is
whole, by its framing.
"""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from tests.peers.client import Answer, Connection

HELLO = b"GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n"


def records(directory: Path, key: str, event: str | None = None) -> list[dict[str, Any]]:
    """Give all that was recorded under *key*, in order."""
    lines = (directory / "observed").read_text().splitlines(keepends=True)
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [each for each in found if each["key"] == key and event in (None, each["event"])]


# --- one thread -----------------------------------------------------------------------------------

End = Literal["closed", "reset"]


def parse(data: bytes, end: End | None) -> tuple[Answer, bytes] | None:
    """Read the first response in *data*, and what follows it; None if its head is not whole."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        return None
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    if "transfer-encoding" in headers:
        body, complete, rest = dechunked(rest)
    elif "content-length" in headers:
        size = int(headers["content-length"])
        body, rest = rest[:size], rest[size:]
        complete = len(body) == size
    else:
        body, rest = rest, b""
        complete = end == "closed"
    return Answer(int(status.split()[1]), headers, body, complete), rest


def dechunked(data: bytes) -> tuple[bytes, bool, bytes]:
    """Undo the chunked coding: the body, whether its last chunk was there, and what follows."""
    body = []
    while True:
        line, separator, rest = data.partition(b"\r\n")
        size = int(line, 16) if separator else -1
        if size < 0 or len(rest) < size + 2:
            return b"".join(body), False, b""
        chunk, data = rest[:size], rest[size + 2 :]
        if not size:
            return b"".join(body), True, data
        body.append(chunk)


class Member:
    """
    One client of a crowd.

    Attributes:
        answers: The responses that are whole.
        received: What came after them.
        end: How the connection ended; None while it is open.
        repeats: Whether it asks again as soon as it is answered.
    """

    def __init__(self, port: int, request: bytes, *, stalls: bool, repeats: bool) -> None:
        self.socket = socket.socket()
        if stalls:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(request)
        self.socket.setblocking(False)
        self.stalls = stalls
        self.repeats = repeats
        self.request = request
        self.answers: list[Answer] = []
        self.received = b""
        self.end: End | None = None

    def ask(self, request: bytes) -> None:
        """Send one more request; it is small enough to fit into any socket."""
        self.socket.sendall(request)

    def take(self) -> None:
        """Read what has come."""
        try:
            data = self.socket.recv(256 * 1024)
            self.end = None if data else "closed"
        except ConnectionError:
            data = b""
            self.end = "reset"
        self.received += data
        while (answer := self.last()) is not None and answer.complete:
            self.answers.append(answer)
            self.received = self._rest
            if self.repeats and "close" not in answer.headers.get("connection", ""):
                self.ask(self.request)

    def last(self) -> Answer | None:
        """Give the response that is not whole, as far as it came."""
        parsed = parse(self.received, self.end)
        if parsed is None:
            return None
        answer, self._rest = parsed
        return answer


class Crowd:
    """
    Clients that one thread serves: it sends and reads for all of them in `until`, and in nothing
    else.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._members: list[Member] = []

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._selector.close()
        for member in self._members:
            member.socket.close()

    def join(
        self, count: int, request: bytes, *, stalls: bool = False, repeats: bool = False
    ) -> list[Member]:
        """
        Let *count* clients connect and ask; ones that stall read nothing, and have little room for
        what they do not read.
        """
        joined = [Member(self._port, request, stalls=stalls, repeats=repeats) for _ in range(count)]
        for member in joined:
            if not stalls:
                self._selector.register(member.socket, selectors.EVENT_READ, member)
        self._members += joined
        return joined

    def until(self, condition: Callable[[], object], timeout_s: float = 10) -> None:
        """Read what comes, until *condition* holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s} s"
            for key, _ in self._selector.select(0.02):
                self._read(key.data)

    def read_out(self) -> None:
        """Read all that is left, those that stalled too, once the server is gone."""
        for member in self._members:
            while member.end is None:
                member.socket.settimeout(20)
                self._read(member)

    def _read(self, member: Member) -> None:
        member.take()
        if member.end is not None:
            if not member.stalls:
                self._selector.unregister(member.socket)
            member.socket.close()


# --- a thread each --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """
    A request without a whole answer; *worker* had answered on this connection before, None if it is
    new.
    """

    worker: int | None
    reason: str


class Caller(threading.Thread):
    """
    A client that asks for `/pid` in a loop.

    Attributes:
        workers: Who answered, in order.
        failures: The requests that nobody answered whole.
    """

    def __init__(
        self,
        port: int,
        *,
        keeps_alive: bool,
        connection: Connection | None = None,
        worker: int | None = None,
    ) -> None:
        super().__init__()
        self.workers: list[int] = []
        self.failures: list[Failure] = []
        self._port = port
        self._keeps_alive = keeps_alive
        self._connection = connection
        self._worker = worker
        self._stopped = threading.Event()

    def __enter__(self) -> Caller:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop asking, once the last answer is there."""
        self._stopped.set()
        self.join()

    def run(self) -> None:
        """Ask until told to stop."""
        while not self._stopped.is_set():
            try:
                self._ask()
            except (
                OSError,
                IndexError,
                AssertionError,
            ) as exc:  # IndexError: there is no status line
                self.failures.append(Failure(self._worker, repr(exc)))
                self._close()
        self._close()

    def _ask(self) -> None:
        if self._connection is None:
            self._connection = Connection(self._port)
        answer = self._connection.ask("GET", "/pid")
        assert (answer.status, answer.complete) == (200, True), answer
        self._worker = int(answer.body)
        self.workers.append(self._worker)
        if not self._keeps_alive or answer.headers.get("connection") == "close":
            self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = self._worker = None
