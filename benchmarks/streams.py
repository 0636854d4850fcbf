"""
What events and lines of JSON cost in process, and what an idle event stream takes on a server.

    python -m benchmarks.streams

Times are CPU time; the applications take turns within one run, and a figure is the median of the
rounds. The memory of idle streams is what the process of `nardis serve` grew by.
"""

from __future__ import annotations

import json
import logging
import resource
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

import anyio

from .report import markdown
from .rounds import ROOT, Failed
from .served import SERVE, Running, Server
from .streamapps import EVENTS, LINES, fastapi, nardis, raw, starlette

ROUNDS = 7
IDLE = 1000
PING_S = 20  # longer than the ping of `res.sse()`
PEERS = ("raw", "Nardis", "Starlette", "FastAPI")


async def call(app: Any, path: str) -> float:
    """Return the CPU time of one request, in seconds; its client takes everything at once."""
    pieces: list[bytes] = []
    came, told = False, anyio.Event()

    async def send(message: Any) -> None:
        pieces.append(message.get("body", b""))

    async def receive() -> Any:
        nonlocal came
        if came:
            await told.wait()
        came = True
        return {"type": "http.request", "body": b"", "more_body": False}

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    begun = time.process_time()
    await app(scope, receive, send)
    spent = time.process_time() - begun
    body = b"".join(pieces)
    if path == "/events" and body.count(b"data: ") != EVENTS:
        raise Failed(f"{body.count(b'data: ')} events came")
    if path == "/lines" and [json.loads(line)["n"] for line in body.splitlines()][-1] != LINES - 1:
        raise Failed("not all lines came")
    return spent


async def in_process() -> None:
    """Print the times of one backend, for `main()`."""
    apps = dict(zip(PEERS, (raw, nardis(), starlette(), fastapi()), strict=True))
    figures: dict[str, dict[str, list[float]]] = {}
    for turn in range(ROUNDS + 1):
        for path in ("/events", "/lines"):
            for name, app in apps.items() if turn % 2 else reversed(apps.items()):
                spent = await call(app, path)
                if turn:  # the first round warms up
                    figures.setdefault(path, {}).setdefault(name, []).append(spent)
    sys.stdout.write(json.dumps(figures))


def row(title: str, figures: dict[str, list[float]], count: int) -> list[str]:
    """Write the time for each of *count*, and for its ratio to raw that of the same round."""
    cells = [title]
    for name in PEERS:
        ratio = statistics.median(
            one / base for one, base in zip(figures[name], figures["raw"], strict=True)
        )
        cells.append(f"{statistics.median(figures[name]) / count * 1e6:.2f} µs, {ratio:.2f}×")
    return cells


def listen(running: Running) -> socket.socket:
    """Open an event stream, and wait for its first event."""
    client = running.connect()
    client.sendall(b"GET /idle HTTP/1.1\r\nHost: localhost\r\n\r\n")
    read = b""
    while b"hello" not in read:
        read += client.recv(4096)
    return client


def idle(backend: str) -> list[str]:
    """Return the KiB that each of `IDLE` streams takes, before and after their pings."""
    command = f"{SERVE} {backend}".replace("{app}", "benchmarks.streamapps:served")
    with Running(Server(backend, command)) as running, ExitStack() as stack:
        for _ in range(20):
            listen(running).close()
        before = running.memory()
        for _ in range(IDLE):
            stack.enter_context(listen(running))
        grown = running.memory() - before
        time.sleep(PING_S)
        later = running.memory() - before
    return [backend, f"{grown / IDLE / 1024:.1f}", f"{later / IDLE / 1024:.1f}"]


def main() -> None:
    rows: list[list[str]] = []
    for backend in ("asyncio", "trio"):
        command = [sys.executable, "-m", "benchmarks.streams", backend]
        said = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        figures = json.loads(said)
        rows.append(row(f"{EVENTS:,} events, {backend}", figures["/events"], EVENTS))
        rows.append(row(f"{LINES:,} lines of JSON, {backend}", figures["/lines"], LINES))
    sys.stdout.write(markdown(["", *PEERS], rows) + "\n\n")
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )
    columns = [f"{IDLE:,} idle event streams, KiB each", "at first", "after pings"]
    sys.stdout.write(markdown(columns, list(map(idle, ("asyncio", "trio")))) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        logging.disable(logging.ERROR)
        anyio.run(partial(in_process), backend=sys.argv[1])
    else:
        main()
