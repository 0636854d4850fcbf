"""
From whom of many clients something has come: the system is asked for all of them at once, on trio.

trio (0.35) asks anew for each wait, which is a system call and much Python: with many clients that
is a tenth of a short request. Here a client is made known once, and one task waits for all of them.
With few that costs more than it saves, because that task has to wait as well.

Source: epoll(7), EPOLLET: news are told once. A read that got less than it asked for has got all
that had come, but for the end: that is told for ever. tcp(7), MSG_OOB: a read ends at the mark of
urgent data, which is told as well: such a client is better waited for by itself.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from trio.lowlevel import wait_readable

__all__ = ["Arrivals", "arrivals"]

# News that are fetched at once.
AT_ONCE: Final = 256

# Linux alone has it; elsewhere each client is waited for by itself.
HAS_EPOLL: Final = hasattr(select, "epoll")
END: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR if HAS_EPOLL else 0
URGENT: Final = select.EPOLLPRI if HAS_EPOLL else 0
NEWS: Final = select.EPOLLIN | URGENT | select.EPOLLRDHUP | select.EPOLLET if HAS_EPOLL else 0


class Listens(Protocol):
    """Who is told that something has come from its client."""

    def hear(self, *, end: bool) -> None:
        """Take the news; *end* says that no others follow."""
        ...

    def part(self) -> None:
        """Be waited for alone from now on: less than all may be read of what came."""
        ...


class Arrivals:
    """
    The clients that are waited for together.

    Args:
        epoll: What the system tells of them.
        is_crowded: Whether there are so many that it is worth while.
    """

    __slots__ = ("_epoll", "_known", "is_crowded")

    def __init__(self, epoll: select.epoll, is_crowded: Callable[[], bool]) -> None:
        self.is_crowded: Callable[[], bool] = is_crowded
        self._epoll = epoll
        self._known: dict[int, Listens] = {}  # by the number of the socket

    def add(self, number: int, client: Listens) -> bool:
        """
        Tell *client* from now on when something comes, and of what has come already.

        Returns False where the system does not take one more.
        """
        try:
            self._epoll.register(number, NEWS)
        except OSError:  # no memory, or fs.epoll.max_user_watches
            return False
        self._known[number] = client
        return True

    def remove(self, number: int) -> None:
        """Tell nothing more: before a socket is closed, as a child of `os.fork` may have it too."""
        with suppress(OSError):  # somebody else has closed it
            self._epoll.unregister(number)
        self._known.pop(number, None)  # and the number may have been another client's since then

    async def run(self) -> None:
        """Tell, until cancelled."""
        while True:
            await wait_readable(self._epoll)
            for number, news in self._epoll.poll(0, AT_ONCE):
                client = self._known.get(number)
                if client is not None:
                    client.hear(end=news & END != 0)
                    if news & URGENT:
                        client.part()


@contextmanager
def arrivals(is_crowded: Callable[[], bool]) -> Generator[Arrivals | None, None, None]:
    """Return what clients are made known to within the block; None where the system has none."""
    if HAS_EPOLL:
        with select.epoll() as epoll:
            yield Arrivals(epoll, is_crowded)
    else:
        yield None
