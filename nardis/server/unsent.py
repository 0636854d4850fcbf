"""
How much the system takes of a response that it cannot send yet.

That is memory, and a handler that is so much ahead learns late that its client is slow. So it is
little at first. A client that takes it in no time would have the server run again for each bit of
it, and so gets more: as much as it takes in a few hundredths of a second.

Source: tcp(7) for TCP_NOTSENT_LOWAT; Linux says that there is room when less than half is left.
"""

from __future__ import annotations

import socket
from typing import Final

__all__ = ["UNSENT_BYTES", "adapted", "first_bound"]

UNSENT_BYTES: Final = 64 * 1024

# As much as Linux has for what waits to be sent and to be acknowledged (tcp_wmem of tcp(7)).
MOST_BYTES: Final = 4 * 1024 * 1024

# What a wait for room lasts with a client that gets more, and with one that gets no more than at
# first: half of the bound was sent meanwhile. Between the two the bound stays as it is, so that it
# does not swing.
FAST_S: Final = 0.005
SLOW_S: Final = 0.02

LOWAT: Final[int | None] = getattr(socket, "TCP_NOTSENT_LOWAT", None)


def first_bound(sock: socket.socket) -> int:
    """Return the bound that *sock* has from the one that listens; 0 is none."""
    return 0 if LOWAT is None or sock.family == socket.AF_UNIX else UNSENT_BYTES


def adapted(sock: socket.socket, bound: int, waited_s: float) -> int:
    """
    Set the bound of *sock* anew after a wait for room, if need be, and return it.

    Raises:
        OSError: The connection is in no state to have one.
    """
    adapted = bound
    if waited_s < FAST_S:
        adapted = min(2 * bound, MOST_BYTES)
    elif waited_s > SLOW_S:
        adapted = min(bound, UNSENT_BYTES)
    if LOWAT is not None and adapted != bound:
        sock.setsockopt(socket.IPPROTO_TCP, LOWAT, adapted)
    return adapted
