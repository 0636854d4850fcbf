"""
What a request costs on a server: `nardis serve` beside uvicorn, hypercorn and a lean loop.

The figures are the CPU time, user and system, of the server's processes, and the growth of their
memory. All servers run, and they are measured in turns: in one round A, B, C, in the next C, B, A.
A figure is the median over the rounds; its ratio to uvicorn is the median of the ratios within a
round. The memory is that of a process begun for each figure.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .cases import CHUNK, HELLO, STREAMS
from .report import markdown
from .rounds import ROOT, Failed

if TYPE_CHECKING:  # it may be missing: see `missing()`
    import psutil

# An idle connection stays for as long as a figure takes.
KEPT = "600"
UVICORN = "-m uvicorn --http httptools --loop uvloop --no-access-log --log-level warning"
UVICORN = f"{UVICORN} --timeout-keep-alive {KEPT} --port {{port}} {{app}}"
SERVE = f"-m nardis serve --keep-alive {KEPT} --bind 127.0.0.1:{{port}} {{app}} --backend"
HYPERCORN = f"-m hypercorn --keep-alive {KEPT} --bind 127.0.0.1:{{port}} {{app}} --worker-class"

SETTLED_S = 0.5  # memory that has not grown for so long is settled
READ_BYTES = 64 * 1024
UPLOAD_BYTES = 2**30
# Memory differs little from one process to the next, and takes long to settle.
MEMORY_ROUNDS = 3
SLOW_RECEIVE_BYTES = 4096

Take = Callable[["Server", "Running"], float]


@dataclass(frozen=True, slots=True)
class Server:
    """A row of the tables: a server, how it is started, and the application on it."""

    title: str
    command: str
    app: str = "raw"

    @property
    def base(self) -> str:
        return f"uvicorn {self.app}"

    @property
    def name(self) -> str:
        return f"{self.title} {self.app}"


SERVERS = (
    Server("uvicorn", UVICORN),
    Server("nardis serve, asyncio", f"{SERVE} asyncio"),
    Server("nardis serve, trio", f"{SERVE} trio"),
    Server("hypercorn, asyncio", f"{HYPERCORN} asyncio"),
    Server("hypercorn, trio", f"{HYPERCORN} trio"),
    Server("lean loop, asyncio", "-m benchmarks.lean asyncio {app} {port}"),
    Server("lean loop, trio", "-m benchmarks.lean trio {app} {port}"),
    Server("uvicorn", UVICORN, "nardis"),
    Server("nardis serve, asyncio", f"{SERVE} asyncio", "nardis"),
    Server("nardis serve, trio", f"{SERVE} trio", "nardis"),
)
APPS = {"raw": "raw ASGI", "nardis": "a Nardis application"}


class Running:
    """A server that runs, seen from outside."""

    def __init__(self, server: Server, app: str = "") -> None:
        import psutil

        self.name = server.name
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        command = server.command.format(
            port=self.port, app=f"benchmarks.servable:{app}{server.app}"
        )
        self._process = psutil.Popen(
            [sys.executable, *command.split()],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Running:
        deadline = time.monotonic() + 30
        while True:
            with suppress(OSError):
                self.connect().close()
                return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise Failed(f"{self.name}: it does not start")
            time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        for each in self._processes():
            each.kill()
        self._process.wait()

    def _processes(self) -> list[psutil.Process]:
        if self._process.poll() is not None:
            return []
        return [*self._process.children(recursive=True), self._process]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def cpu_s(self) -> float:
        """Return the CPU time that it has taken so far."""
        return sum(sum(each.cpu_times()[:2]) for each in self._processes())

    def memory(self) -> int:
        """Return the bytes that it has in memory, once they do not change any more."""
        seen, since = 0, time.monotonic()
        while time.monotonic() - since < SETTLED_S:
            now = sum(each.memory_info().rss for each in self._processes())
            if now != seen:
                seen, since = now, time.monotonic()
            time.sleep(0.05)
        return seen


# --- what is measured -----------------------------------------------------------------------------


def by_wrk(seconds: int, server: Server, running: Running) -> float:
    """Return µs of CPU time for one GET, of 16 connections that are kept."""
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", running.url("/hello")]
    spent = running.cpu_s()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = running.cpu_s() - spent
    count = re.search(r"(\d+) requests in", said)
    if count is None or "Non-2xx" in said or "Socket errors" in said:
        raise Failed(f"{running.name}: {said}")
    return spent / int(count[1]) * 1e6


def by_curl(running: Running, *options: str) -> tuple[float, int]:
    """Return the CPU time in seconds of what curl asks for, and the sum of its lines."""
    spent = running.cpu_s()
    said = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail", *options],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return running.cpu_s() - spent, sum(map(int, said.split()))


def written(path: str, requests: int, running: Running) -> tuple[float, int]:
    """Return CPU seconds and the number of writes for *requests* of a stream."""
    count, piece = STREAMS[path]
    url = f"{running.url(path)}?[1-{requests}]"
    spent, come = by_curl(running, "-o", "/dev/null", "-w", "%{size_download}\n", url)
    if come != requests * count * len(piece):
        raise Failed(f"{running.name}: {come} bytes of {path} came")
    return spent, requests * count


def large_writes(requests: int, server: Server, running: Running) -> float:
    """Return GiB for one second of CPU time."""
    spent, count = written("/chunks/64k", requests, running)
    return count * len(CHUNK) / spent / 2**30


def small_writes(requests: int, server: Server, running: Running) -> float:
    """Return µs of CPU time for one write."""
    spent, count = written("/chunks/1k", requests, running)
    return spent / count * 1e6


def uploaded(size: int, requests: int, running: Running) -> tuple[float, int]:
    """Return CPU seconds and the number of bytes for *requests* with a body of *size* bytes."""
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(size)
        options = ("-X", "POST", "-H", "expect:", "-w", "\n", "-T", file.name)
        spent, taken = by_curl(running, *options, f"{running.url('/upload')}?[1-{requests}]")
    if taken != requests * size:
        raise Failed(f"{running.name}: {taken} bytes of an upload were taken")
    return spent, taken


def uploads(requests: int, server: Server, running: Running) -> float:
    """Return GiB for one second of CPU time."""
    spent, taken = uploaded(UPLOAD_BYTES, requests, running)
    return taken / spent / 2**30


def idle_connection(count: int, server: Server, _: Running) -> float:
    """Return KiB for each of *count* connections that have had an answer."""
    with ExitStack() as clients, Running(server) as running:

        def say_hello() -> None:
            client = clients.enter_context(running.connect())
            client.sendall(b"GET /hello HTTP/1.1\r\nhost: a\r\n\r\n")
            answer = b""
            while not answer.endswith(HELLO.encode()):
                answer += client.recv(READ_BYTES)

        for _ in range(20):  # what the first requests bring is not theirs
            say_hello()
        before = running.memory()
        for _ in range(count):
            say_hello()
        return (running.memory() - before) / count / 1024


def slow_reader(count: int, server: Server, _: Running) -> float:
    """Return KiB for each of *count* clients that stop to read."""
    with ExitStack() as clients, Running(server, app="endless_") as running:

        def read_little() -> None:
            client = clients.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_RECEIVE_BYTES)
            client.connect(("127.0.0.1", running.port))
            client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            client.recv(512)

        for _ in range(20):
            read_little()
        before = running.memory()
        for _ in range(count):
            read_little()
        return (running.memory() - before) / count / 1024


@dataclass(frozen=True, slots=True)
class Measure:
    """A column of the tables."""

    title: str
    unit: str
    take: Take
    digits: int = 1


def measures(quick: bool) -> list[Measure]:
    """Return what can be measured here; a quick run measures no memory, and less of the rest."""
    found = []
    if shutil.which("wrk"):
        found.append(Measure("one GET", "µs", partial(by_wrk, 1 if quick else 2)))
    else:
        print("wrk is not installed: no figure for a GET")
    if shutil.which("curl"):
        found += [
            Measure("64 KiB writes", "GiB/s", partial(large_writes, 20 if quick else 800), 2),
            Measure("1 KiB writes, each", "µs", partial(small_writes, 20 if quick else 200)),
            Measure("upload", "GiB/s", partial(uploads, 1 if quick else 3), 2),
        ]
    else:
        print("curl is not installed: no figures for writes and uploads")
    if not quick:
        found += [
            Measure("idle, of 1,000", "KiB", partial(idle_connection, 1000)),
            Measure("idle, of 5,000", "KiB", partial(idle_connection, 5000)),
            Measure("slow reader", "KiB", partial(slow_reader, 1000)),
        ]
    return found


def missing() -> str:
    """Return what this needs and does not find."""
    lacking = [name for name in ("psutil", "uvicorn", "uvloop") if find_spec(name) is None]
    return " and ".join(lacking)


# --- rounds ---------------------------------------------------------------------------------------

# By the name of a server: a figure of each round.
Figures = dict[Measure, dict[str, list[float]]]


@contextmanager
def many_files() -> Any:
    """Let this process and its children have as many sockets as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def measure(rounds: int, quick: bool) -> Figures:
    figures: Figures = {}
    with many_files(), ExitStack() as stack:
        running = [(each, stack.enter_context(Running(each))) for each in SERVERS]
        for one in measures(quick):
            row: dict[str, list[float]] = {server.name: [] for server, _ in running}
            is_memory = one.unit == "KiB"
            # A first round warms up, but for memory, which is that of a new process.
            for turn in range(1, MEMORY_ROUNDS + 1) if is_memory else range(rounds + 1):
                for server, process in running if turn % 2 else reversed(running):
                    figure = one.take(server, process)
                    if turn:
                        row[server.name].append(figure)
            figures[one] = row
            print(one.title, *(f"{name} {middle(row[name]):.2f}" for name in row), sep="; ")
    return figures


def middle(figures: Sequence[float]) -> float:
    return statistics.median(figures)


# --- the tables -----------------------------------------------------------------------------------


def render(figures: Figures, rounds: int) -> str:
    parts = [heading(rounds)]
    for app, title in APPS.items():
        rows = [
            [server.title, *(cell(row, server, one) for one, row in figures.items())]
            for server in SERVERS
            if server.app == app
        ]
        head = ["", *(f"{one.title} ({one.unit})" for one in figures)]
        parts.append(f"With {title}:\n\n{markdown(head, rows)}")
    return "\n\n".join(parts) + "\n"


def cell(row: dict[str, list[float]], server: Server, one: Measure) -> str:
    pairs = zip(row[server.name], row[server.base], strict=True)
    ratio = middle([mine / base for mine, base in pairs])
    return f"{middle(row[server.name]):.{one.digits}f} ({ratio:.2f}×)"


def heading(rounds: int) -> str:
    names = ("nardis", "uvicorn", "hypercorn", "httptools", "uvloop", "trio", "h11")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return (
        f"- {datetime.date.today().isoformat()}, {python}, "
        f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores.\n"
        f"- {versions}.\n"
        f"- Medians of {rounds} rounds, of {MEMORY_ROUNDS} for memory; in brackets the ratio to "
        "uvicorn with the same application."
    )
