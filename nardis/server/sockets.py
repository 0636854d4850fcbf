"""
Sockets that listen: `host:port`, `unix:/path`, and `fd://N` (systemd's socket activation).

Options are set on the listening socket; on Linux those accepted from it inherit them. A socket
listens for as long as any process has it open, so each that has one must close it.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Final

from ..errors import StartFailed, UsageError
from .config import Config
from .forks import undone_in_children
from .unsent import UNSENT_BYTES

__all__ = ["Doors", "host_and_port", "listening", "reserving", "urls_of"]

# A client that vanished is noticed within two minutes, also by a stream that has nothing to send:
# seconds until the first probe, seconds between two, and how many.
KEEP_ALIVE_PROBES: Final = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}

# How much longer than `write_stall_s` the system waits for a client that takes nothing: our own
# clock comes first and knows why.
SPARE_S: Final = 10.0


class Doors:
    """
    The sockets that clients come in by, until they are closed.

    Attributes:
        sockets: One for each address.
    """

    def __init__(self, sockets: Sequence[socket.socket] = ()) -> None:
        self.sockets: list[socket.socket] = list(sockets)
        self._paths: list[str] = []
        self._lent: list[int] = []
        self._closing = Lock()

    def __iter__(self) -> Iterator[socket.socket]:
        return iter(self.sockets)

    def open(self, address: str, config: Config) -> None:
        """Listen on *address*."""
        with _told(address):
            if address.startswith("unix:"):
                path = address.removeprefix("unix:")
                sock = _listen_on_path(path, config)
                self._paths.append(path)
            elif address.startswith("fd://"):
                number = _number_of(address)
                sock = _inherited(number)
                self._lent.append(number)
            else:
                sock = _listen_on_port(address, config)
        self.sockets.append(sock)
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            _tune(sock, config)

    def reserve(self, address: str) -> None:
        """Bind to *address* and do not listen there."""
        if address.startswith(("unix:", "fd://")):
            raise UsageError(
                f"reuse_port is for ports; {address} is handed down to all workers without it"
            )
        with _told(address):
            sock = socket.socket(_family(address))
            self.sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(_split(address))

    def take_over(self) -> None:
        """
        Let go of the sockets that were lent by number, and keep our own of them.

        A null device takes their place: the number may be closed once more by somebody who does not
        know.
        """
        if self._lent:
            with open(os.devnull, "rb") as null:
                while self._lent:
                    os.dup2(null.fileno(), self._lent.pop(), inheritable=False)

    def close(self) -> None:
        """Close them all, and remove their paths; no event loop may look at them any more."""
        with self._closing:
            self._remove_paths()
            for each in self.sockets:
                each.close()

    def bolt(self) -> None:
        """
        Let nobody in any more, also where an event loop that does not run looks at the sockets.

        In the place of each is one that nobody can find, so the loop sees that nobody comes. A
        system that cannot do that waits for the loop.
        """
        with suppress(OSError), _hidden() as hidden, self._closing:
            self._remove_paths()
            for number in [each.fileno() for each in self.sockets if each.fileno() >= 0]:
                os.dup2(hidden.fileno(), number, inheritable=False)

    def leave(self) -> None:
        """Close them in a process that was forked; all else is the parent's."""
        self._paths.clear()
        self._closing = Lock()  # a thread that is not here may hold the other one
        for each in self.sockets:
            # Not `close()`: uvloop counts as a user of the socket, and keeps it open.
            if (number := each.detach()) >= 0:
                os.close(number)

    def _remove_paths(self) -> None:
        # Before they are closed: as long as somebody listens there, no other server takes the path.
        while self._paths:
            with suppress(OSError):
                os.unlink(self._paths.pop())


@contextmanager
def listening(config: Config, given: Sequence[socket.socket] = ()) -> Generator[Doors, None, None]:
    """Listen on all addresses or none, or on *given* sockets alone; close them at the end."""
    doors = Doors(given)
    with undone_in_children(doors.leave):
        try:
            for address in () if given else config.bind:
                doors.open(address, config)
            yield doors
        finally:
            doors.close()


@contextmanager
def reserving(config: Config) -> Generator[Doors, None, None]:
    """Bind all addresses without listening, for workers that share them by SO_REUSEPORT."""
    doors = Doors()
    try:
        for address in config.bind:
            doors.reserve(address)
        yield doors
    finally:
        doors.close()


def _hidden() -> socket.socket:
    """Listen on a name that Linux makes up, by a protocol that nobody speaks."""
    hidden = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        hidden.bind("")
        hidden.listen()
        hidden.setblocking(False)
    except BaseException:
        hidden.close()
        raise
    return hidden


@contextmanager
def _told(address: str) -> Generator[None, None, None]:
    """Say which address it was that could not be listened on."""
    try:
        yield
    except (OSError, ValueError) as exc:
        raise StartFailed(
            f"cannot listen on {address}: {getattr(exc, 'strerror', None) or exc}"
        ) from exc


def _tune(listener: socket.socket, config: Config) -> None:
    """Send at once, and notice clients that vanished, whether or not something is owed them."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        **KEEP_ALIVE_PROBES,
        "TCP_USER_TIMEOUT": int((config.write_stall_s + SPARE_S) * 1000),
        "TCP_NOTSENT_LOWAT": UNSENT_BYTES,
    }
    for name, value in options.items():
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _listen_on_port(address: str, config: Config) -> socket.socket:
    return socket.create_server(
        _split(address),
        family=_family(address),
        backlog=config.backlog,
        reuse_port=config.reuse_port,
    )


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
    if not path:
        raise ValueError("write it as unix:PATH, unix:/run/site.sock for instance")
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


def _number_of(address: str) -> int:
    number = address.removeprefix("fd://")
    if not number.isdecimal():
        raise ValueError(
            "write it as fd://N, with the number of a socket that was handed down, such as fd://3"
        )
    return int(number)


def _inherited(fd: int) -> socket.socket:
    listener = socket.socket(fileno=os.dup(fd))
    if listener.type != socket.SOCK_STREAM or not listener.getsockopt(
        socket.SOL_SOCKET, socket.SO_ACCEPTCONN
    ):
        listener.close()
        raise ValueError("it is no socket that listens for streams")
    return listener


def host_and_port(sock: socket.socket) -> str:
    """Write the address of *sock* as `Config.bind` has it."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"


def urls_of(sockets: Iterable[socket.socket], config: Config) -> list[str]:
    """Say where a client finds each of *sockets*."""
    scheme = "http" if config.certfile is None else "https"
    return [
        f"unix:{each.getsockname()}"
        if each.family == socket.AF_UNIX
        else f"{scheme}://{host_and_port(each)}"
        for each in sockets
    ]
