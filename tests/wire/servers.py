"""Servers as child processes, each with the application of this directory."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest

from tests.peers.client import Answer, Connection, eventually

ROOT = Path(__file__).parents[2]
TARGET = "tests.wire.app:app"

COMMANDS = {
    "hypercorn-trio": ("nardis", "serve", "--bind", "127.0.0.1:0", "--backend", "trio"),
    "hypercorn-asyncio": ("nardis", "serve", "--bind", "127.0.0.1:0", "--backend", "asyncio"),
    "uvicorn-h11": ("uvicorn", "--no-access-log", "--port", "0", "--http", "h11"),
    "uvicorn-httptools": ("uvicorn", "--no-access-log", "--port", "0", "--http", "httptools"),
    # As others run us; the session `servers` asks what they give.
    "stock-trio": ("hypercorn", "-k", "trio", "--bind", "127.0.0.1:0"),
    "stock-asyncio": ("hypercorn", "-k", "asyncio", "--bind", "127.0.0.1:0"),
    "granian": ("granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{free_port}"),
    "daphne": ("daphne", "-b", "127.0.0.1", "-p", "0"),
    "anycorn-trio": ("anycorn", "-k", "trio", "--bind", "127.0.0.1:0"),
    "anycorn-asyncio": ("anycorn", "-k", "asyncio", "--bind", "127.0.0.1:0"),
}
OURS = ("hypercorn-trio", "hypercorn-asyncio")
USUAL = (*OURS, "uvicorn-h11", "uvicorn-httptools")

# The kinds that NARDIS_SERVERS names, with commas, or `all`: a test of a server then runs on these,
# whatever it asks for itself.
_named = os.environ.get("NARDIS_SERVERS", "")
CHOSEN = tuple(COMMANDS) if _named == "all" else tuple(filter(None, _named.split(",")))
KINDS = CHOSEN or USUAL


def on(*kinds: str) -> pytest.MarkDecorator:
    """Run a test on servers of these kinds only."""
    return pytest.mark.parametrize("server", CHOSEN or kinds, indirect=True)


# For tests that take their time: uvicorn's two HTTP parsers differ in nothing that these look at.
on_each_worker = on("hypercorn-trio", "hypercorn-asyncio", "uvicorn-h11")

# What a server's log never has in it, whatever the clients did.
LEAKS = re.compile("never awaited|never retrieved|was destroyed|ResourceWarning|Cancelled caught")

# What ours says when something begins or ends as it should.
USUAL_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO ")


class Sharing(Protocol):
    """Return the server that was started with these words, by the first test that asked for it."""

    def __call__(self, kind: str, *options: str, target: str = TARGET) -> Server: ...


class Server:
    """A running server; what its handlers recorded is in `observed`."""

    def __init__(self, kind: str, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.kind = kind
        self.process = process
        self.directory = directory
        self._log = directory / "log"
        self._records = directory / "observed"
        self._records.touch()
        self.port = int(eventually(self._address, 20)[1])
        # granian tells of an address at which nobody listens yet.
        eventually(lambda: kind in USUAL or self.listens(), 20)

    def _address(self) -> re.Match[str] | None:
        assert self.process.poll() is None, self.log()
        return re.search(r"(?:https?://|Listening on TCP address )127\.0\.0\.1:(\d+)", self.log())

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def connect(
        self, *, receive_buffer: int | None = None, timeout_s: float | None = None
    ) -> Connection:
        return Connection(self.port, receive_buffer=receive_buffer, timeout_s=timeout_s)

    def ask(self, method: str, target: str) -> Answer:
        """Ask over a connection of its own."""
        with self.connect() as connection:
            return connection.ask(method, target)

    def log(self) -> str:
        return self._log.read_text()

    def unusual(self) -> list[str]:
        """Return the lines of the log but for those of a usual life, which may come late."""
        return [line for line in self.log().splitlines() if not USUAL_LINE.match(line)]

    @contextmanager
    def silent(self) -> Iterator[None]:
        """
        Run a block of which the log says nothing unusual, on a server that answers before and after
        it.
        """
        assert self.ask("GET", "/hello").body == b"hello"  # what was still to say is said now
        logged = len(self.unusual())
        yield
        assert self.ask("GET", "/hello").body == b"hello"
        assert self.unusual()[logged:] == []

    def observed(self, key: str) -> dict[str, dict[str, Any]]:
        """Give what was recorded under *key*, by event."""
        records = [
            json.loads(line)
            for line in self._records.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]
        return {each["event"]: each for each in records if each["key"] == key}

    def event(self, key: str, event: str) -> dict[str, Any]:
        """Wait until *event* was recorded under *key*."""
        return eventually(lambda: self.observed(key).get(event))

    @cached_property
    def application(self) -> psutil.Process:
        """The process that the application runs in; some servers have it in a child."""
        return psutil.Process(self.ask("GET", "/process").json())

    @cached_property
    def at_rest(self) -> dict[str, Any]:
        """What is in flight when nothing is but this question; ask before anything else."""
        in_flight: dict[str, Any] = self.ask("GET", "/in-flight").json()
        return in_flight

    def comes_to_rest(self) -> bool:
        """Wait until as few calls, exchanges and tasks are left as there were at the start."""
        return eventually(lambda: self.ask("GET", "/in-flight").json() == self.at_rest)

    def stop(self) -> int:
        """Ask it to end, and give its exit status."""
        # After SIGTERM uvicorn ends by that very signal, and so without its exit handlers,
        # coverage's among them.
        self.process.send_signal(signal.SIGTERM if self.kind in OURS else signal.SIGINT)
        return self.process.wait(20)


def start(
    kind: str,
    directory: Path,
    *options: str,
    target: str = TARGET,
    lent: socket.socket | None = None,
) -> subprocess.Popen[bytes]:
    """
    Start a server of *kind*, in a process group of its own; it writes to files of *directory*, and
    inherits what is *lent*.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        words = [word.format(free_port=free.getsockname()[1]) for word in COMMANDS[kind]]
    command = [sys.executable, "-m", *words, *options, target]
    environment = os.environ | {"NARDIS_OBSERVED": str(directory / "observed")}
    with open(directory / "log", "wb") as log:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True,
            pass_fds=[] if lent is None else [lent.fileno()],
        )  # fmt: skip


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a server and its children, if there are any left."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def serving(kind: str, directory: Path, *options: str, target: str = TARGET) -> Iterator[Server]:
    """Run a server of *kind* for the length of the block."""
    process = start(kind, directory, *options, target=target)
    try:
        running = Server(kind, process, directory)
        try:
            yield running
        finally:
            process = running.process
    finally:
        kill(process)


@contextmanager
def serving_to_the_end(
    kind: str, directory: Path, *options: str, target: str = TARGET
) -> Iterator[Server]:
    """
    Run a server for the length of the block; it has to end well, without a word of what it lost.
    """
    with serving(kind, directory, *options, target=target) as running:
        yield running
        status = running.stop() if kind in USUAL else 0
        assert status == 0 or kind not in OURS, running.log()
        assert not LEAKS.search(running.log()) or kind not in USUAL


def renew(server: Server) -> None:
    """
    Put another process in the place of the server's, whatever state it is in; what was recorded
    stays.
    """
    kill(server.process)
    kind, directory = server.kind, server.directory
    vars(server).clear()
    server.__init__(kind, start(kind, directory), directory)  # type: ignore[misc]  # it is as new
