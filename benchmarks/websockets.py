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
from .rounds import Failed
from .served import Running, Server, many_files

ROUNDS = 5
ECHOES = 60_000
MEMBERS = 1000
DEAF = 100
BROADCASTS = 100
IDLE = 10_000
PING_S = 10

UVICORN = "-m uvicorn --no-access-log --log-level warning --ws websockets-sansio"
UVICORN = f"{UVICORN} --ws-ping-interval {{ping}} --port {{port}} benchmarks.socketapps:"
SERVE = "-m nardis serve --max-connections 11000 --ws-ping {ping}"
SERVE = f"{SERVE} --bind 127.0.0.1:{{port}} benchmarks.socketapps:"

# The first is what the others are compared with.
COMMANDS = {
    "Starlette, uvicorn": f"{UVICORN}starlette --factory",
    "raw ASGI, uvicorn": f"{UVICORN}raw",
    "Nardis, asyncio": f"{SERVE}served --backend asyncio",
    "Nardis, trio": f"{SERVE}served --backend trio",
    "raw ASGI, nardis serve, asyncio": f"{SERVE}raw --backend asyncio",
    "raw ASGI, nardis serve, trio": f"{SERVE}raw --backend trio",
}

Take = Callable[[str, Running], tuple[float, ...]]


def begin(title: str, ping_s: int = 600) -> Running:
    """Start a server; it pings only where that is measured."""
    command = COMMANDS[title].replace("{ping}", str(ping_s))
    return Running(Server(title, command, app=""))


@dataclass(frozen=True, slots=True)
class Measure:
    """Columns of the table, which one turn fills."""

    titles: tuple[str, ...]
    take: Take
    digits: int = 0


def echo(at_once: int, title: str, running: Running) -> tuple[float, ...]:
    """Return messages for a second of the server's CPU time, and for one of the clock."""
    with Members(running.port, "/echo", 1) as members:
        begun, spent = time.monotonic(), running.cpu_s()
        members.echo(ECHOES, at_once)
        return ECHOES / (running.cpu_s() - spent), ECHOES / (time.monotonic() - begun)


def broadcast(path: str, title: str, running: Running) -> tuple[float, ...]:
    """Return µs of CPU time for each delivery."""
    with Members(running.port, path, MEMBERS) as members:
        spent = running.cpu_s()
        members.broadcast(BROADCASTS)
        return ((running.cpu_s() - spent) / BROADCASTS / MEMBERS * 1e6,)


def with_deaf(title: str, _: Running) -> tuple[float, ...]:
    """Return µs of CPU time for each delivery to who reads, and KiB of a member that is deaf."""
    with begin(title) as running, Members(running.port, "/mailbox", MEMBERS - DEAF) as members:
        members.broadcast(1)
        before = running.memory()
        with Members(running.port, "/flooded", DEAF, deaf=True):
            running.memory()  # until the floods are stuck
            spent = running.cpu_s()
            members.broadcast(BROADCASTS)
            spent = running.cpu_s() - spent
            grown = running.memory() - before
    return spent / BROADCASTS / (MEMBERS - DEAF) * 1e6, grown / DEAF / 1024


def idle(title: str, _: Running) -> tuple[float, ...]:
    """Return KiB for each WebSocket, and ms of CPU time for all of them in a second, with pings."""
    with begin(title, PING_S) as running:
        with Members(running.port, "/idle", 20):
            pass
        before = running.memory()
        with Members(running.port, "/idle", IDLE) as members, members.answering():
            time.sleep(2 * PING_S)
            begun, spent, pings = time.monotonic(), running.cpu_s(), members.pings
            time.sleep(3 * PING_S)
            spent = (running.cpu_s() - spent) / (time.monotonic() - begun)
            if members.pings - pings < 2 * IDLE:
                raise Failed(f"{title}: not all members were pinged")
            grown = running.memory() - before
    return grown / IDLE / 1024, spent * 1000


MEASURES = {
    "echo": Measure(("echo, messages / CPU s", "messages / s"), partial(echo, 1)),
    "echo32": Measure(("echo, 32 at once, messages / CPU s", "messages / s"), partial(echo, 32)),
    "loop": Measure(("broadcast by a loop, µs",), partial(broadcast, "/loop"), 1),
    "mailbox": Measure(("by mailboxes, µs",), partial(broadcast, "/mailbox"), 1),
    "deaf": Measure((f"{DEAF} do not read, µs", "KiB for each of them"), with_deaf, 1),
    "idle": Measure((f"idle, of {IDLE:,}, KiB", "ms / s"), idle, 1),
}
ONCE = {"deaf", "idle"}  # memory differs little from one process to the next, and takes long


def measure(name: str, rounds: int, running: dict[str, Running]) -> dict[str, list[str]]:
    """Return the cells of each server for one measure."""
    one = MEASURES[name]
    figures: dict[str, list[tuple[float, ...]]] = {title: [] for title in running}
    # The first round warms up.
    for turn in [1] if name in ONCE else range(rounds + 1):
        for title in COMMANDS if turn % 2 else reversed(COMMANDS):
            figure = one.take(title, running[title])
            if turn:
                figures[title].append(figure)
    base = next(iter(figures.values()))
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
        running = {title: stack.enter_context(begin(title)) for title in COMMANDS}
        columns = {name: measure(name, options.rounds, running) for name in options.measures}
    head = ["", *(title for name in columns for title in MEASURES[name].titles)]
    rows = [
        [title, *(cell for column in columns.values() for cell in column[title])]
        for title in COMMANDS
    ]
    print("\n" + markdown(head, rows))


if __name__ == "__main__":
    main()
