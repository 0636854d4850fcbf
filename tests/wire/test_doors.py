"""
After the signal nobody comes in any more, at once and by no process, whatever each of them is doing
at that moment.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.peers.client import eventually
from tests.peers.crowd import records
from tests.wire.drain_app import END
from tests.wire.servers import OURS, kill, start

TARGET = "tests.wire.drain_app:app"

# A drain that lasts as long as a test wants it to.
LONG = ("--drain", "30", "--graceful", "40")
TWO = ("--workers", "2")
SHARED = (*TWO, "--reuse-port")

# Doors are closed within a tenth of a second, also by a process whose event loop is blocked; a busy
# machine takes longer.
CLOSED_S = 10.0

# How often a client tries, once the doors are closed; before the cure nearly all of them were let
# in.
TRIES = 24

on_both = pytest.mark.parametrize("kind", OURS)


class House:
    """A server of several processes at one address, a port of 127.0.0.1 or a path."""

    def __init__(
        self, process: subprocess.Popen[bytes], directory: Path, address: int | str
    ) -> None:
        self.process = process
        self.directory = directory
        self.address = address

    def client(self) -> socket.socket:
        """Connect, or fail."""
        client = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        client.settimeout(20)
        try:
            client.connect(
                self.address if isinstance(self.address, str) else ("127.0.0.1", self.address)
            )
        except BaseException:
            client.close()
            raise
        return client

    def lets_in(self) -> bool:
        """Whether a client that connects is not refused."""
        try:
            self.client().close()
        except (ConnectionRefusedError, ConnectionResetError, FileNotFoundError):
            return False  # a reset: it stood in the queue of a door that was being closed
        return True

    def ask(self, path: str) -> socket.socket:
        """Send a request."""
        client = self.client()
        client.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        return client

    def fork(self) -> int:
        """Let one of the processes fork; the number of the child is given."""
        with self.ask("/fork") as client:
            return int(answer(client, END).removesuffix(END).rpartition(b"\n")[2])

    def of(self, key: str, event: str, count: int = 1) -> list[int]:
        """Wait until *count* processes have recorded *event*; the numbers of them are given."""
        found = eventually(
            lambda: each if len(each := records(self.directory, key, event)) >= count else [], 20
        )
        return [each.get("pid", 0) for each in found]

    def holders(self, sock: socket.socket) -> set[int]:
        """Give the processes of the server that have *sock* open."""
        wanted = f"socket:[{os.fstat(sock.fileno()).st_ino}]"
        family = [psutil.Process(self.process.pid)]
        family += family[0].children(recursive=True)
        return {
            each.pid
            for each in family
            if wanted in map(os.readlink, Path(f"/proc/{each.pid}/fd").iterdir())
        }

    def order(self, what: str) -> Path:
        """Tell processes to do *what*, until the file is removed."""
        path = self.directory / what
        path.touch()
        return path

    def stop(self) -> None:
        """Signal that it should end."""
        self.process.send_signal(signal.SIGTERM)

    def refuses(self) -> bool:
        """See that the doors are closed, and stay closed."""

        def let_in() -> bool:  # a door that closes resets its queue, beside one that is open yet
            return any(self.lets_in() for _ in range(TRIES))

        eventually(lambda: not let_in(), CLOSED_S)
        return not let_in()


def answer(client: socket.socket, end: bytes) -> bytes:
    """Read up to *end*, or to the end of the connection."""
    received = b""
    while not received.endswith(end) and (piece := client.recv(1000)):
        received += piece
    return received


def is_over(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@contextmanager
def house(
    kind: str,
    directory: Path,
    *options: str,
    path: bool | str = False,
    lent: socket.socket | None = None,
) -> Iterator[House]:
    """
    Start a server at a port, at a path, or with a socket that is *lent* to it; and do not wait for
    it.
    """
    with lent.dup() if lent is not None else socket.create_server(("127.0.0.1", 0)) as found:
        address = (
            (path if isinstance(path, str) else str(directory / "socket"))
            if path
            else found.getsockname()[1]
        )
    bind = f"unix:{address}" if path else f"127.0.0.1:{address}"
    (directory / "observed").touch()
    if lent is not None:
        bind = f"fd://{lent.fileno()}"
    process = start(kind, directory, "--bind", bind, *options, target=TARGET, lent=lent)
    try:
        yield House(process, directory, address)
    finally:
        kill(process)


# --- while all of them serve ----------------------------------------------------------------------


@on_both
@pytest.mark.parametrize(
    ("workers", "path"),
    [((), False), ((), True), (TWO, False), (TWO, True), (SHARED, False)],
    ids=["one-port", "one-path", "two-port", "two-path", "two-shared"],
)
def test_a_signal_closes_the_doors_of_all_processes(
    kind: str, workers: tuple[str, ...], path: bool, tmp_path: Path
) -> None:
    with house(kind, tmp_path, *workers, *LONG, path=path) as server:
        server.of("lifespan", "started", 2 if workers else 1)
        with server.ask("/ticks/100000") as stream:
            stream.recv(100)
            server.stop()

            assert server.refuses()
            assert server.process.poll() is None
            assert stream.recv(100)


@on_both
@pytest.mark.parametrize("workers", [(), TWO, SHARED], ids=["one", "two", "two-shared"])
def test_a_blocked_event_loop_does_not_hold_the_door_open(
    kind: str, workers: tuple[str, ...], tmp_path: Path
) -> None:
    """And what it has begun is whole in the end."""
    with house(kind, tmp_path, *workers, *LONG) as server:
        server.of("lifespan", "started", 2 if workers else 1)
        with server.ask("/block-at-once") as blocking:
            server.of("/block-at-once", "started")
            server.stop()

            assert server.refuses()
            server.order("enough")
            assert answer(blocking, END).endswith(END)
        assert server.process.wait(20) == 0, (tmp_path / "log").read_text()


@on_both
@pytest.mark.parametrize("workers", [(), TWO], ids=["one", "two"])
def test_a_child_that_the_application_forks_does_not_hold_the_door_open(
    kind: str, workers: tuple[str, ...], tmp_path: Path
) -> None:
    """Nor does a signal to the child stop the server."""
    with house(kind, tmp_path, *workers, *LONG) as server:
        server.of("lifespan", "started", 2 if workers else 1)
        first, second = (psutil.Process(server.fork()) for _ in range(2))
        with server.ask("/ticks/100000") as stream:
            stream.recv(100)
            first.terminate()
            eventually(lambda: is_over(first))
            assert server.lets_in()
            server.stop()

            assert server.refuses()
            assert second.is_running()


@on_both
def test_a_worker_that_crashes_is_replaced_whatever_it_has_forked(
    kind: str, tmp_path: Path
) -> None:
    """The child has no part in what says that its parent is there."""
    with house(kind, tmp_path, *TWO) as server:
        server.of("lifespan", "started", 2)
        worker = psutil.Process(server.fork()).ppid()
        os.kill(worker, signal.SIGKILL)

        assert len(server.of("lifespan", "started", 3)) == 3


@on_both
@pytest.mark.parametrize("workers", [(), TWO], ids=["one", "two"])
def test_a_socket_that_was_handed_down_stays_with_its_owner_alone(
    kind: str, workers: tuple[str, ...], tmp_path: Path
) -> None:
    """
    As systemd's: clients wait in its queue for the next server, and no process of ours has it any
    more.
    """
    with socket.create_server(("127.0.0.1", 0)) as systemd:
        with house(kind, tmp_path, *workers, *LONG, lent=systemd) as server:
            server.of("lifespan", "started", 2 if workers else 1)
            with server.ask("/ticks/100000") as stream:
                stream.recv(100)
                server.stop()
                server.of("lifespan", "draining", 2 if workers else 1)
                eventually(lambda: server.holders(systemd) == set(), CLOSED_S)
                assert server.lets_in()
                systemd.close()

                assert server.refuses()
                assert stream.recv(100)


@on_both
@pytest.mark.parametrize("workers", [(), TWO], ids=["one", "two"])
def test_a_path_is_free_for_the_next_server_while_the_last_one_drains(
    kind: str, workers: tuple[str, ...], tmp_path: Path
) -> None:
    """And the last one does not take it away at its end."""
    (tmp_path / "next").mkdir()
    with house(kind, tmp_path, *workers, *LONG, path=True) as server:
        server.of("lifespan", "started", 2 if workers else 1)
        with server.ask("/ticks/100000") as stream:
            stream.recv(100)
            server.stop()
            assert server.refuses()
            with house(kind, tmp_path / "next", path=str(server.address)) as successor:
                successor.of("lifespan", "started")
                eventually(successor.lets_in)
                stream.close()
                assert server.process.wait(20) == 0

                assert successor.lets_in()


# --- while one begins -----------------------------------------------------------------------------

# What a worker that begins is held up by, and what it records before.
BEGINNINGS = {"slow-import": "importing", "slow-start": "starting", "blocking-start": "starting"}


@pytest.mark.parametrize(
    ("kind", "workers"),
    list(zip((*OURS, *OURS), ((), TWO, TWO, SHARED), strict=True)),
    ids=["one-trio", "two-asyncio", "two-trio", "two-shared-asyncio"],
)
@pytest.mark.parametrize("order", BEGINNINGS)
def test_the_doors_close_where_the_first_worker_only_begins(
    kind: str, order: str, workers: tuple[str, ...], tmp_path: Path
) -> None:
    """Its lifespan, if it has begun, has its end."""
    (tmp_path / order).touch()
    with house(kind, tmp_path, *workers, *LONG) as server:
        server.of("lifespan", BEGINNINGS[order])
        server.stop()

        assert server.refuses()
        (tmp_path / order).unlink()
        status = server.process.wait(20)
        log = (tmp_path / "log").read_text()
        assert status == (-signal.SIGTERM if not workers and order == "slow-import" else 0), log
        assert len(records(tmp_path, "lifespan", "ended")) == (order != "slow-import")
        assert "serves on" not in log
        assert "Traceback" not in log


@pytest.mark.parametrize(
    ("kind", "workers"),
    list(zip(OURS, (TWO, SHARED), strict=True)),
    ids=["two-trio", "two-shared-asyncio"],
)
@pytest.mark.parametrize("order", BEGINNINGS)
@pytest.mark.parametrize("cause", ["restart", "crash"])
def test_the_doors_close_where_a_worker_is_being_replaced(
    kind: str, order: str, workers: tuple[str, ...], cause: str, tmp_path: Path
) -> None:
    with house(kind, tmp_path, *workers, *LONG) as server:
        old = server.of("lifespan", "started", 2)
        with server.ask("/ticks/100000") as stream:
            stream.recv(100)
            server.order(order)
            if cause == "restart":
                server.process.send_signal(signal.SIGHUP)
            else:
                [other] = set(old) - set(server.of("/ticks/100000", "started"))
                os.kill(other, signal.SIGKILL)
            server.of("lifespan", BEGINNINGS[order], 1 if order == "slow-import" else 3)
            server.stop()

            assert server.refuses()
            assert stream.recv(100)
            assert server.process.poll() is None
        (tmp_path / order).unlink()
        assert server.process.wait(20) == 0, (tmp_path / "log").read_text()
