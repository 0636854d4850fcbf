"""
Many clients that are slow, and many that wait: what they cost, and what others feel of them.

There are 200 of each here; NARDIS_MANY=1000 has as many as the issue that asked for this.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio
import psutil
import pytest

from nardis import Nardis, Request, Response
from tests.peers.client import Connection, eventually
from tests.wire.servers import LEAKS, OURS, Server, serving

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="memory and tasks are counted as Linux does"
)

TARGET = "tests.wire.test_many:app"
MANY = int(os.environ.get("NARDIS_MANY", "200"))
PIECE = bytes(64 * 1024)
EACH_BYTES = 64 * 1024
PROBES = 200

logger = logging.getLogger(__name__)
app = Nardis()


@app.get("/flood")
async def flood(req: Request, res: Response) -> None:
    while True:
        await res.write(PIECE)


@app.get("/idle")
async def idle(req: Request, res: Response) -> None:
    await res.write("first")
    await app.draining.wait()


@app.get("/hello")
async def hello(req: Request, res: Response) -> None:
    await res.send("hello")


@app.get("/tasks")
async def tasks(req: Request, res: Response) -> None:
    await res.json(len(anyio.get_running_tasks()))


def resident(server: Server) -> int:
    size: int = psutil.Process(server.process.pid).memory_info().rss
    return size


def base(server: Server) -> tuple[int, int]:
    """Count the tasks and the file descriptors of a server."""
    return server.ask("GET", "/tasks").json(), psutil.Process(server.process.pid).num_fds()


@contextmanager
def files_for(count: int) -> Iterator[None]:
    """Have as many file descriptors as are needed here and, inherited, in the server."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        pytest.skip(f"only {hard} files may be open")  # pragma: no cover  # depends on the machine
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def reading_slowly(connections: list[Connection]) -> Iterator[None]:
    """Read a kilobyte of each connection in turn, for the length of the block."""
    over = threading.Event()

    def read() -> None:
        turn = itertools.cycle(connections)
        while not over.wait(0.001):
            next(turn).socket.recv(1024)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join()


def open_streams(server: Server, path: str, stack: ExitStack) -> list[Connection]:
    """Open many streams, each of which has begun."""
    connections = []
    for _ in range(MANY):
        connection = stack.enter_context(server.connect(receive_buffer=4096))
        connection.request("GET", path)
        connections.append(connection)
    for connection in connections:
        assert connection.head()[0] == 200
    return connections


def probe(server: Server) -> float:
    """
    Ask often, over one connection, and give the time that 99 of 100 answers need at most, in
    seconds.
    """
    times = []
    with server.connect() as connection:
        for _ in range(PROBES):
            asked = time.perf_counter()
            assert connection.ask("GET", "/hello").body == b"hello"
            times.append(time.perf_counter() - asked)
    return sorted(times)[-PROBES // 100 - 1]


@pytest.mark.parametrize("kind", OURS)
def test_many_clients_cost_little_and_leave_nothing(kind: str, tmp_path: Path) -> None:
    with files_for(2 * MANY + 200), serving(kind, tmp_path, target=TARGET) as server:
        probe(server)  # what is there once is there now
        before, at_rest = resident(server), base(server)
        with ExitStack() as stack:
            open_streams(server, "/idle", stack)
            idle_each = (resident(server) - before) / MANY
            between = resident(server)
            slow = open_streams(server, "/flood", stack)
            # Until the kernel's buffers are full these are the fastest clients there are.
            eventually(lambda: psutil.Process(server.process.pid).cpu_percent(0.2) < 20, 60)
            with reading_slowly(slow):
                p99 = probe(server)
            slow_each = (resident(server) - between) / MANY
            assert base(server)[1] >= 2 * MANY
        said = (
            f"{kind}, {MANY} each: idle {idle_each / 1024:.1f} KiB, "
            f"slow {slow_each / 1024:.1f} KiB, p99 {p99 * 1000:.1f} ms"
        )
        logger.warning("%s", said)

        assert idle_each < EACH_BYTES
        assert slow_each < EACH_BYTES
        assert p99 < 1, "a fast client waits for the slow ones"
        eventually(
            lambda: all(now <= then for now, then in zip(base(server), at_rest, strict=True)), 10
        )
        assert server.stop() == 0, server.log()
        assert not LEAKS.search(server.log())
