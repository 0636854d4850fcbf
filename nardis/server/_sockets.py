"""
Sockets that listen: `host:port`, `unix:/path`, and `fd://N` for one that somebody else opened (systemd's socket activation).

Options are set on the listening socket; on Linux those accepted from it inherit them.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from ..errors import StartFailed, UsageError
from ._config import Config

__all__ = ["host_and_port", "listening", "reserving", "urls_of"]

# A client that vanished is noticed within two minutes, also by a stream that has nothing to send: seconds until the first probe,
# seconds between two, and how many.
KEEP_ALIVE_PROBES: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

# What the system takes beyond what it can send at once: more would be memory, and news that a slow client is slow comes later.
UNSENT_BYTES: Final = 64 * 1024


@contextmanager
def listening(config: Config) -> Generator[list[socket.socket], None, None]:
    """Listen on all addresses, or on none; sockets of our own are closed at the end, and their paths removed."""
    with ExitStack() as stack:
        yield [stack.enter_context(_listener(address, config)) for address in config.bind]


@contextmanager
def reserving(config: Config) -> Generator[list[socket.socket], None, None]:
    """Bind all addresses without listening, so that workers which share them by SO_REUSEPORT find them free."""
    with ExitStack() as stack:
        reserved: list[socket.socket] = []
        for address in config.bind:
            if address.startswith(("unix:", "fd://")):
                raise UsageError(f"reuse_port is for ports; {address} is handed down to all workers without it")
            with _told(address):
                sock = stack.enter_context(socket.socket(_family(address)))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.bind(_split(address))
            reserved.append(sock)
        yield reserved


@contextmanager
def _told(address: str) -> Generator[None, None, None]:
    """Say which address it was that could not be listened on."""
    try:
        yield
    except (OSError, ValueError) as exc:
        raise StartFailed(f"cannot listen on {address}: {getattr(exc, 'strerror', None) or exc}") from exc


@contextmanager
def _listener(address: str, config: Config) -> Generator[socket.socket, None, None]:
    path: str | None = None
    with _told(address):
        if address.startswith("unix:"):
            path = address.removeprefix("unix:")
            listener = _listen_on_path(path, config)
        elif address.startswith("fd://"):
            listener = _inherited(int(address.removeprefix("fd://")))
        else:
            listener = _listen_on_port(address, config)
    listener.setblocking(False)
    with listener:
        if listener.family != socket.AF_UNIX:
            _tune(listener, config)
        try:
            yield listener
        finally:
            if path is not None:
                with suppress(OSError):
                    os.unlink(path)


def _tune(listener: socket.socket, config: Config) -> None:
    """Send at once, and notice clients that vanished: those that take nothing, and those that are owed nothing."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {**KEEP_ALIVE_PROBES, "TCP_USER_TIMEOUT": int(config.write_stall_s * 1000), "TCP_NOTSENT_LOWAT": UNSENT_BYTES}
    for name, value in options.items():
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _listen_on_port(address: str, config: Config) -> socket.socket:
    return socket.create_server(_split(address), family=_family(address), backlog=config.backlog, reuse_port=config.reuse_port)


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon:
        raise ValueError("write it as HOST:PORT, 127.0.0.1:3000 for instance")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"a port is a number from 0 to 65535, not {port!r}")
    return host.strip("[]"), int(port)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if "[" in address or address.count(":") > 1 else socket.AF_INET


def _listen_on_path(path: str, config: Config) -> socket.socket:
    _remove_abandoned(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        listener.listen(config.backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_abandoned(path: str) -> None:
    """Remove the socket of a server that is gone; one that answers is in use."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(Path(path).stat().st_mode):
            with socket.socket(socket.AF_UNIX) as probe:
                try:
                    probe.connect(path)
                except ConnectionRefusedError:
                    os.unlink(path)


def _inherited(fd: int) -> socket.socket:
    listener = socket.socket(fileno=os.dup(fd))
    if listener.type != socket.SOCK_STREAM or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.close()
        raise ValueError("it is no socket that listens for streams")
    return listener


def host_and_port(sock: socket.socket) -> str:
    """Write the address of *sock* as `Config.bind` has it."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"


def urls_of(sockets: Sequence[socket.socket], config: Config) -> list[str]:
    """Say where a client finds each of *sockets*."""
    scheme = "http" if config.certfile is None else "https"
    return [
        f"unix:{each.getsockname()}" if each.family == socket.AF_UNIX else f"{scheme}://{host_and_port(each)}" for each in sockets
    ]
