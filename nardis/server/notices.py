"""What a process that serves says to systemd, and how long it may take to end."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

__all__ = ["WATCHDOG_S", "notify_systemd"]


# After `graceful_s` the lifespan has this long to end; then the process leaves as it is.
WATCHDOG_S: Final = 0.8


def notify_systemd(state: str) -> None:
    """Tell systemd, if it started us and wants to know (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier,
        ):
            notifier.connect("\0" + address[1:] if address.startswith("@") else address)
            notifier.send(state.encode())
