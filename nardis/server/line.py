"""
What a worker and its supervisor say to each other: single bytes, on a pair of connected sockets.

A worker has no listening socket until it asks for them, and it asks when the application is loaded.
So one that starts slowly does not hold a door open which everybody else has closed.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Final

from .forks import undone_in_children

__all__ = [
    "ASKING",
    "READY",
    "RETIRING",
    "SUPERVISOR_VARIABLE",
    "Line",
    "dismiss",
    "let_in",
    "line_to_supervisor",
]

# The number of the worker's socket.
SUPERVISOR_VARIABLE: Final = "NARDIS_SUPERVISOR_FD"

# The worker: may I serve, I serve, I want to be replaced.
ASKING: Final = b"?"
READY: Final = b"+"
RETIRING: Final = b"-"

# The supervisor: here is a socket, that was all of them: serve, end.
SOCKET: Final = b"s"
GO: Final = b"."
END: Final = b"!"

# No program that another thread starts at this moment gets what arrives.
RECEIVING: Final[int] = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def let_in(line: socket.socket, sockets: Iterable[socket.socket]) -> None:
    """Answer a worker that asks."""
    with suppress(OSError):  # it is gone
        for each in sockets:
            socket.send_fds(line, [SOCKET], [each.fileno()])
        line.send(GO)


def dismiss(line: socket.socket) -> None:
    """Ask a worker to end."""
    with suppress(OSError):
        line.send(END)


class Line:
    """The worker's end."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket: socket.socket = sock

    def ask(self) -> list[socket.socket] | None:
        """Wait until this process may serve, and return its sockets; None if it is to end."""
        self.say(ASKING)
        given: list[socket.socket] = []
        with suppress(OSError):
            while True:
                said, numbers, *_ = socket.recv_fds(self.socket, 1, 1, RECEIVING)
                if said == GO:
                    return given
                if (
                    said != SOCKET or not numbers
                ):  # a system that has no room for one more gives none
                    break
                os.set_inheritable(numbers[0], False)
                given.append(socket.socket(fileno=numbers[0]))
                given[-1].setblocking(False)
        for each in given:
            each.close()
        return None

    def say(self, what: bytes) -> None:
        """Tell the supervisor; one that is gone is noticed elsewhere."""
        with suppress(OSError):
            self.socket.send(what)

    def heed(self, then: Callable[[], object]) -> None:
        """
        Call *then* when the supervisor says something or is gone.

        It is called in a thread: the event loop may be blocked.
        """
        number = self.socket.fileno()

        def wait() -> None:
            poll = select.poll()  # not a `recv`: uvloop makes the socket one that does not block
            poll.register(number, select.POLLIN)
            poll.poll()
            then()

        Thread(target=wait, name="nardis supervisor", daemon=True).start()


@contextmanager
def line_to_supervisor() -> Generator[Line | None, None, None]:
    """Return the line, if this process is a worker; the processes that it starts are none."""
    number = os.environ.pop(SUPERVISOR_VARIABLE, None)
    if number is None:
        yield None
        return
    with socket.socket(fileno=int(number)) as line, undone_in_children(line.close):
        line.set_inheritable(False)
        yield Line(line)
