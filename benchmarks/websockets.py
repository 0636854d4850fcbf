"""
What WebSockets cost on a server: Nardis on `nardis serve` beside Starlette on uvicorn.

    python -m benchmarks.websockets

All servers run, and they are measured in turns: in one round A, B, C, in the next C, B, A. A figure
is the median over the rounds; its ratio to Starlette is the median of the ratios within a round.
Messages are texts of 1 KiB. CPU time is that of the server's processes, user and system. Memory is
that of a process begun for each figure.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from .members import Members
from .report import markdown
from .served import Running, Server, many_files

ROUNDS = 5
ECHOES = 60_000
MEMBERS = 1000
DEAF = 100
BROADCASTS = 100
IDLE = 10_000
PING_S = 10

UVICORN = f"-m uvicorn --no-access-log --log-level warning --ws-ping-interval {PING_S}"
UVICORN = f"{UVICORN} --port {{port}} benchmarks.socketapps:"
SERVE = "-m nardis serve --max-connections 11000"
SERVE = f"{SERVE} --bind 127.0.0.1:{{port}} benchmarks.socketapps:"

# The first is what the others are compared with.
SERVERS = (
    Server("Starlette, uvicorn", f"{UVICORN}starlette --factory"),
    Server("raw ASGI, uvicorn", f"{UVICORN}raw"),
    Server("raw ASGI, nardis serve, asyncio", f"{SERVE}raw --backend asyncio"),
    Server("raw ASGI, nardis serve, trio", f"{SERVE}raw --backend trio"),
)

Take = Callable[[Server, Running], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Measure:
    """Columns of the table, which one turn fills."""

    titles: tuple[str, ...]
    take: Take
    digits: int = 0


def echo(at_once: int, server: Server, running: Running) -> tuple[float, ...]:
    """Return messages for a second of the server's CPU time, and for one of the clock."""
    with Members(running.port, "/echo", 1) as members:
        begun, spent = time.monotonic(), running.cpu_s()
        members.echo(ECHOES, at_once)
        return ECHOES / (running.cpu_s() - spent), ECHOES / (time.monotonic() - begun)


def broadcast(path: str, server: Server, running: Running) -> tuple[float, ...]:
    """Return µs of CPU time for each delivery."""
    with Members(running.port, path, MEMBERS) as members:
        spent = running.cpu_s()
        members.broadcast(BROADCASTS)
        return ((running.cpu_s() - spent) / BROADCASTS / MEMBERS * 1e6,)


def with_deaf(server: Server, _: Running) -> tuple[float, ...]:
    """Return µs of CPU time for each delivery to who reads, and KiB of a member that is deaf."""
    with Running(server) as running, Members(running.port, "/mailbox", MEMBERS - DEAF) as members:
        members.broadcast(1)
        before = running.memory()
        with Members(running.port, "/flooded", DEAF, deaf=True):
            running.memory()  # until the floods are stuck
            spent = running.cpu_s()
            members.broadcast(BROADCASTS)
            spent = running.cpu_s() - spent
            grown = running.memory() - before
    return spent / BROADCASTS / (MEMBERS - DEAF) * 1e6, grown / DEAF / 1024


def idle(server: Server, _: Running) -> tuple[float, ...]:
    """Return KiB for each WebSocket, before and after pings."""
    with Running(server) as running:
        Members(running.port, "/idle", 20).__exit__(None, None, None)
        before = running.memory()
        with Members(running.port, "/idle", IDLE) as members:
            grown = running.memory() - before
            deadline = time.monotonic() + 2 * PING_S
            pings = 0
            while time.monotonic() < deadline:
                pings += members.stay(1)
            if pings < IDLE:
                print(f"{running.name}: {pings} pings came")
            later = running.memory() - before
    return grown / IDLE / 1024, later / IDLE / 1024


MEASURES = {
    "echo": Measure(("echo, messages / CPU s", "messages / s"), partial(echo, 1)),
    "echo32": Measure(("echo, 32 at once, messages / CPU s", "messages / s"), partial(echo, 32)),
    "loop": Measure(("broadcast by a loop, µs",), partial(broadcast, "/loop"), 1),
    "mailbox": Measure(("by mailboxes, µs",), partial(broadcast, "/mailbox"), 1),
    "deaf": Measure((f"{DEAF} do not read, µs", "KiB for each of them"), with_deaf, 1),
    "idle": Measure((f"idle, of {IDLE:,}, KiB", "after pings"), idle, 1),
}
ONCE = {"deaf", "idle"}  # memory differs little from one process to the next, and takes long


def measure(name: str, rounds: int, running: list[tuple[Server, Running]]) -> dict[str, list[str]]:
    """Return the cells of each server for one measure."""
    one = MEASURES[name]
    figures: dict[str, list[tuple[float, ...]]] = {server.title: [] for server, _ in running}
    # The first round warms up.
    for turn in [1] if name in ONCE else range(rounds + 1):
        for server, process in running if turn % 2 else reversed(running):
            figure = one.take(server, process)
            if turn:
                figures[server.title].append(figure)
    base = figures[SERVERS[0].title]
    cells = {title: [*cells_of(rows, base, one.digits)] for title, rows in figures.items()}
    for title, row in cells.items():
        print(f"{name}; {title}: {'; '.join(row)}", flush=True)
    return cells


def cells_of(
    rows: list[tuple[float, ...]], base: list[tuple[float, ...]], digits: int
) -> list[str]:
    """Write the medians of columns, and of their ratios to those of *base* in the same round."""
    return [
        f"{statistics.median(mine):,.{digits}f} "
        f"({statistics.median(a / b for a, b in zip(mine, theirs, strict=True)):.2f}×)"
        for mine, theirs in zip(zip(*rows, strict=True), zip(*base, strict=True), strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("measures", nargs="*", default=list(MEASURES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    with many_files(), ExitStack() as stack:
        running = [(each, stack.enter_context(Running(each))) for each in SERVERS]
        columns = {name: measure(name, options.rounds, running) for name in options.measures}
    head = ["", *(title for name in columns for title in MEASURES[name].titles)]
    rows = [
        [server.title, *(cell for column in columns.values() for cell in column[server.title])]
        for server in SERVERS
    ]
    print("\n" + markdown(head, rows))


if __name__ == "__main__":
    main()
