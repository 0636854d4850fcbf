"""Signals that end a process, heard also while its event loop is stuck; they are those of POSIX."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from ..errors import UsageError
from .forks import undone_in_children

__all__ = ["need_posix", "signals"]


def need_posix() -> None:
    """
    Refuse a system that is not POSIX, Windows for instance.

    Raises:
        UsageError: It says where the application can run.
    """
    if not hasattr(signal, "SIGHUP"):
        raise UsageError(
            "the server of Nardis needs POSIX (Linux, macOS, or Windows with WSL): on Windows "
            "itself give the application to uvicorn or hypercorn, `uvicorn module:app`"
        )


@contextmanager
def signals(handler: Callable[[int], object]) -> Generator[socket.socket, None, None]:
    """
    Call *handler* with the number of each SIGINT, SIGTERM and SIGHUP, between two steps of Python.

    What it gives becomes readable then, and has the numbers as bytes: an event loop can wait for
    that.
    """
    arrived, heard = socket.socketpair()

    def hear(number: int, frame: object) -> None:
        handler(number)
        with suppress(BlockingIOError):
            heard.send(bytes([number]))

    with arrived, heard:
        arrived.setblocking(False)
        heard.setblocking(False)
        before = {
            number: signal.signal(number, hear)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }

        def restore() -> None:
            for number, each in before.items():
                signal.signal(number, each)

        try:
            with undone_in_children(restore):
                yield arrived
        finally:
            restore()
