"""
Several processes that serve one address: what each has of its own, and that no request is lost
whatever becomes of one.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from nardis import Nardis, UsageError
from nardis.server import Config, run
from tests.peers.client import Connection, eventually
from tests.peers.crowd import Caller, Failure, records
from tests.wire.drain_app import END
from tests.wire.servers import LEAKS, OURS, ROOT, Server, serving

TARGET = "tests.wire.drain_app:app"

# One process, and yet with a supervisor: it would be replaced after so many requests.
ONE = ("--workers", "1", "--max-requests", "1000000")

# A worker is replaced within three seconds; a busy machine may take longer.
REPLACED_S = 3 + 7


class Family:
    """A supervisor and its workers."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server = server
        self.directory = directory

    def workers(self) -> set[int]:
        """Give the workers there are by their numbers, those that only begin or end among them."""
        statuses = {}
        for child in psutil.Process(self.server.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # it has ended since
                statuses[child.pid] = child.status()
        return {pid for pid, status in statuses.items() if status != psutil.STATUS_ZOMBIE}

    def of(self, event: str) -> set[int]:
        """Give the workers whose lifespan recorded *event*."""
        return {each["pid"] for each in records(self.directory, "lifespan", event)}

    def settled(self, but: set[int] = frozenset(), count: int = 2) -> set[int]:  # type: ignore[assignment]
        """Wait until *count* workers are there and serve, none of *but* among them."""

        def look() -> set[int]:
            there = self.workers()
            return (
                there
                if len(there) == count and there <= self.of("started") and not there & but
                else set()
            )

        return eventually(look, 20)

    def order(self, what: str) -> Path:
        """Tell workers that start from now on to do *what*, until the file is removed."""
        path = self.directory / what
        path.touch()
        return path

    def hang_up(self) -> None:
        """Ask for new workers."""
        self.server.process.send_signal(signal.SIGHUP)

    def connections(self, each: int = 1) -> dict[int, list[Connection]]:
        """Open connections, *each* to every worker: while one answers, the others are stopped."""
        workers = self.settled()
        opened: dict[int, list[Connection]] = {}
        for worker in workers:
            others = [psutil.Process(other) for other in workers - {worker}]
            for other in others:
                other.suspend()
            opened[worker] = [self.server.connect() for _ in range(each)]
            assert {int(connection.ask("GET", "/pid").body) for connection in opened[worker]} == {
                worker
            }
            for other in others:
                other.resume()
        return opened

    def is_gone(self) -> bool:
        """Tell whether no process is left that listens."""
        try:
            socket.create_connection(("127.0.0.1", self.server.port)).close()
        except ConnectionRefusedError:
            return True
        return False


@contextmanager
def family(kind: str, directory: Path, *options: str) -> Iterator[Family]:
    with serving(kind, directory, *(options or ("--workers", "2")), target=TARGET) as server:
        yield Family(server, directory)


@pytest.fixture(scope="module", params=OURS)
def two(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Family]:
    """Two workers at two addresses, for all tests that do not end them."""
    options = ("--workers", "2", "--bind", "127.0.0.1:0", "--drain", "2", "--graceful", "4")
    with family(request.param, tmp_path_factory.mktemp("two"), *options) as running:
        running.settled()
        yield running
        assert running.server.stop() == 0, running.server.log()
        assert not LEAKS.search(running.server.log())


@contextmanager
def load(port: int) -> Iterator[list[Caller]]:
    """Ask without a pause, each time anew and over connections that stay."""
    with ExitStack() as stack:
        callers = [
            stack.enter_context(Caller(port, keeps_alive=bool(number % 2))) for number in range(6)
        ]
        eventually(lambda: all(caller.workers for caller in callers))
        yield callers


def failures(callers: list[Caller]) -> list[Failure]:
    return [failure for caller in callers for failure in caller.failures]


# The supervisor does the same on both.
on_trio = pytest.mark.parametrize("two", ["hypercorn-trio"], indirect=True)


# --- while they run -------------------------------------------------------------------------------


def test_each_worker_has_a_lifespan_of_its_own_and_answers(two: Family) -> None:
    workers = two.settled()

    for connections in two.connections().values():
        connections[0].close()
    started = [
        each["pid"]
        for each in records(two.directory, "lifespan", "started")
        if each["pid"] in workers
    ]
    assert sorted(started) == sorted(workers)
    assert two.server.process.pid not in two.of("started")


def test_each_address_is_announced_once_with_its_port_and_served(two: Family) -> None:
    ports = [
        int(port) for port in re.findall(r"serves on http://127\.0\.0\.1:(\d+)", two.server.log())
    ]

    assert len(ports) == len(set(ports)) == 2
    for port in ports:
        with Connection(port) as connection:
            assert int(connection.ask("GET", "/pid").body) in two.settled()


def test_a_worker_that_is_killed_is_replaced_and_the_other_one_loses_nothing(two: Family) -> None:
    connections = two.connections(3)
    victim, other = connections
    with ExitStack() as stack:
        callers = [
            stack.enter_context(
                Caller(two.server.port, keeps_alive=True, connection=each, worker=worker)
            )
            for worker in connections
            for each in connections[worker]
        ]
        eventually(lambda: all(len(caller.workers) > 5 for caller in callers))
        os.kill(victim, signal.SIGKILL)
        killed_at = time.monotonic()
        [successor] = two.settled(but={victim}) - {other}
        eventually(lambda: len(callers[-1].workers) > 50)

    [started_at] = [
        each["at"]
        for each in records(two.directory, "lifespan", "started")
        if each["pid"] == successor
    ]
    assert started_at - killed_at < REPLACED_S
    assert {failure.worker for failure in failures(callers)} <= {victim}
    assert all(set(caller.workers) == {other} for caller in callers[3:])


def test_a_restart_of_all_workers_loses_no_request(two: Family) -> None:
    old = two.settled()
    with load(two.server.port) as callers:
        two.hang_up()
        new = two.settled(but=old)
        eventually(lambda: all(caller.workers[-1] in new for caller in callers))

    assert failures(callers) == []
    assert old <= two.of("ended")


@on_trio
def test_an_application_that_no_longer_starts_leaves_the_old_workers(two: Family) -> None:
    old = two.settled()
    with load(two.server.port) as callers:
        order = two.order("refuse-to-start")
        before = two.server.log().count("told not to start")
        two.hang_up()
        eventually(lambda: two.server.log().count("told not to start") == before + 2, 20)
        order.unlink()
        assert two.settled() == old

    assert failures(callers) == []
    assert "Traceback" not in two.server.log()


@on_trio
def test_a_worker_that_dies_during_a_restart_is_not_replaced_twice(two: Family) -> None:
    old = two.settled()
    order = two.order("slow-start")
    two.hang_up()
    eventually(lambda: len(two.of("starting") & (two.workers() - old)) == 1, 20)
    for worker in old:
        os.kill(worker, signal.SIGKILL)
    eventually(lambda: not two.workers() & old)
    order.unlink()
    new = two.settled(but=old)
    # One too many would be restarted with the others, and still be there.
    two.hang_up()

    assert len(two.settled(but=old | new)) == 2


# --- how they end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("to_all", [False, True])
def test_sigterm_ends_them_all_and_each_has_its_end(to_all: bool, tmp_path: Path) -> None:
    """
    The streams of all of them are told; only then the supervisor ends, too. systemd sends it to all
    of them at once.
    """
    with family("hypercorn-trio", tmp_path) as running:
        workers = running.settled()
        streams = [connections[0] for connections in running.connections().values()]
        for stream in streams:
            stream.request("GET", "/listen")
            assert stream.head()[0] == 200
        for process in [running.server.process.pid, *(workers if to_all else ())]:
            os.kill(process, signal.SIGTERM)
        for stream in streams:
            assert stream.read_out().endswith(END)

        assert running.server.process.wait(20) == 0, running.server.log()
        assert not [worker for worker in workers if psutil.pid_exists(worker)]
        assert running.is_gone()
        assert running.of("ended") == workers
        assert len(running.server.unusual()) == 1


def test_workers_end_by_themselves_when_their_supervisor_is_gone(tmp_path: Path) -> None:
    with family("hypercorn-trio", tmp_path) as running:
        workers = running.settled()
        assert not running.is_gone()
        running.server.process.kill()

        eventually(lambda: running.of("ended") == workers, 20)
        eventually(running.is_gone, 20)


def test_workers_that_cannot_end_are_left_behind_and_the_exit_status_says_so(
    tmp_path: Path,
) -> None:
    """One leaves by its own watchdog, one that cannot even do that is killed."""
    with family(
        "hypercorn-asyncio", tmp_path, "--workers", "2", "--drain", "0.1", "--graceful", "0.2"
    ) as running:
        stuck, stopped = running.connections().items()
        stuck[1][0].request("GET", "/ignore-cancellation")
        running.server.event("/ignore-cancellation", "started")
        os.kill(stopped[0], signal.SIGSTOP)
        running.server.process.send_signal(signal.SIGTERM)

        assert running.server.process.wait(20) > 0
        assert "stuck" in running.server.log()
        assert f"worker {stopped[0]} did not end" in running.server.log()
        assert "Traceback" not in running.server.log()
        eventually(
            lambda: (
                not psutil.pid_exists(stopped[0])
                or psutil.Process(stopped[0]).status() == psutil.STATUS_ZOMBIE
            )
        )
        for connection in (*stuck[1], *stopped[1]):
            connection.close()


def test_a_second_signal_ends_them_all_at_once(tmp_path: Path) -> None:
    with family("hypercorn-trio", tmp_path) as running, running.server.connect() as stream:
        stream.request("GET", "/ticks/100000")
        running.server.event("/ticks/100000", "started")
        with running.server.connect() as listening:
            listening.request("GET", "/listen")
            assert listening.head()[0] == 200
            running.server.process.send_signal(signal.SIGTERM)
            assert listening.read_out().endswith(END)
        running.server.process.send_signal(signal.SIGTERM)

        assert running.server.process.wait(20) == 128 + signal.SIGTERM
        eventually(running.is_gone)


PROGRAM = """
from nardis.server import Config, run
def say(ready):
    print("ready:", ready, flush=True)

config = Config(bind=["127.0.0.1:0"], backend="asyncio", workers=2, ready=say)
run({target!r}, config)
"""


def test_ctrl_c_in_a_terminal_is_one_clean_shutdown_and_the_readiness_hook_hears_of_it(
    tmp_path: Path,
) -> None:
    """
    The terminal signals the whole group of the process in the foreground, and workers are not in
    it.
    """
    command = [sys.executable, "-c", PROGRAM.format(target=TARGET)]
    environment = os.environ | {"NARDIS_OBSERVED": str(tmp_path / "observed")}
    with (
        open(tmp_path / "log", "wb") as log,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        running = Family(Server("hypercorn-asyncio", process, tmp_path), tmp_path)
        workers = running.settled()
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready: True\n"
        stream = running.server.connect()
        stream.request("GET", "/listen")
        assert stream.head()[0] == 200
        os.killpg(process.pid, signal.SIGINT)

        assert process.stdout.readline() == b"ready: False\n"
        assert stream.read_out().endswith(END)
        assert process.wait(20) == 0
        assert process.stdout.readline() == b""
        assert running.of("ended") == workers
        assert len(running.server.unusual()) == 1


# --- when they are replaced -----------------------------------------------------------------------


def test_workers_that_have_had_their_requests_are_replaced_without_a_lost_one(
    tmp_path: Path,
) -> None:
    options = ("--workers", "2", "--max-requests", "200", "--max-requests-jitter", "100")
    with family("hypercorn-asyncio", tmp_path, *options) as running:
        first = running.settled()
        with load(running.server.port) as callers:
            eventually(lambda: first <= running.of("ended"), 30)
            eventually(lambda: not {caller.workers[-1] for caller in callers} & first)
        assert failures(callers) == []

        assert running.server.stop() == 0, running.server.log()
        assert running.of("ended") == running.of("started")
        assert len(running.server.unusual()) == 1


def test_a_worker_that_crashes_again_and_again_is_restarted_with_growing_pauses(
    tmp_path: Path,
) -> None:
    """Whether it did not come so far as to serve, or did."""
    with family("hypercorn-trio", tmp_path, *ONE) as running:
        [first] = running.settled(count=1)
        order = running.order("refuse-to-start")
        os.kill(first, signal.SIGKILL)

        def pauses() -> list[float]:
            return [
                float(pause)
                for pause in re.findall(r"next attempt is in ([\d.]+) s", running.server.log())
            ]

        eventually(lambda: len(pauses()) == 2, 20)
        order.unlink()
        [second] = running.settled(but={first}, count=1)
        assert pauses()[0] < pauses()[1]

        os.kill(second, signal.SIGKILL)
        killed_at = time.monotonic()
        running.settled(but={first, second}, count=1)
        assert records(tmp_path, "lifespan", "starting")[-1]["at"] - killed_at > pauses()[1]
        assert running.server.ask("GET", "/pid").status == 200
        assert running.server.stop() == 0, running.server.log()


# --- what cannot be served ------------------------------------------------------------------------


def fails(*arguments: str) -> list[str]:
    """Run `nardis serve` with two workers, which is to fail; the lines it wrote are returned."""
    command = [sys.executable, "-m", "nardis", "serve", TARGET, "--workers", "2", *arguments]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode > 0
    assert "Traceback" not in ended.stderr
    return ended.stderr.splitlines()


def test_a_failed_start_is_told_in_three_lines_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NARDIS_OBSERVED", str(tmp_path / "observed"))
    (tmp_path / "refuse-to-start").touch()
    lines = fails("--bind", "127.0.0.1:0")

    assert len(lines) <= 3
    assert "told not to start" in lines[0]


def test_a_port_in_use_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        [line] = fails("--bind", f"127.0.0.1:{taken.getsockname()[1]}")

    assert "in use" in line


@pytest.mark.parametrize("config", [Config(workers=2), Config(max_requests=1)])
def test_an_application_without_a_name_cannot_be_given_to_workers(config: Config) -> None:
    with pytest.raises(UsageError, match="module:app"):
        run(Nardis(), config)
