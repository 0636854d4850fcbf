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

from ..errors import StartFailed
from ._config import Config

__all__ = ["listening", "url_of"]

# Linux: what was sent and is not taken by the client for so long ends the connection, also where nobody looks any more.
USER_TIMEOUT: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)


@contextmanager
def listening(config: Config) -> Generator[list[socket.socket], None, None]:
    """Listen on all addresses, or on none; sockets of our own are closed at the end, and their paths removed."""
    with ExitStack() as stack:
        yield [stack.enter_context(_listener(address, config)) for address in config.bind]


@contextmanager
def _listener(address: str, config: Config) -> Generator[socket.socket, None, None]:
    path: str | None = None
    try:
        if address.startswith("unix:"):
            path = address.removeprefix("unix:")
            listener = _listen_on_path(path, config)
        elif address.startswith("fd://"):
            listener = _inherited(int(address.removeprefix("fd://")))
        else:
            listener = _listen_on_port(address, config)
    except (OSError, ValueError) as exc:
        raise StartFailed(f"cannot listen on {address}: {getattr(exc, 'strerror', None) or exc}") from exc
    listener.setblocking(False)
    with listener:
        if listener.family != socket.AF_UNIX:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if USER_TIMEOUT is not None:
                listener.setsockopt(socket.IPPROTO_TCP, USER_TIMEOUT, int(config.write_stall_s * 1000))
        try:
            yield listener
        finally:
            if path is not None:
                with suppress(OSError):
                    os.unlink(path)


def _listen_on_port(address: str, config: Config) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not 0 <= int(port) <= 65535:
        raise ValueError("a port is a number from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server(
        (host.strip("[]"), int(port)), family=family, backlog=config.backlog, reuse_port=config.reuse_port
    )


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


def url_of(listener: socket.socket, *, secure: bool) -> str:
    """Say where a client finds *listener*."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if listener.family == socket.AF_INET6 else name[0]
    return f"{'https' if secure else 'http'}://{host}:{name[1]}"


def urls_of(listeners: Sequence[socket.socket], config: Config) -> list[str]:
    """Say where a client finds each of *listeners*."""
    return [url_of(each, secure=config.certfile is not None) for each in listeners]
