"""
What a file costs on a server: Nardis beside Starlette on uvicorn, and aiohttp.

    pip install aiohttp && python -m benchmarks.files

The figures are the CPU time, user and system, of the server's process, taken in turns as in
`benchmarks.served`: for a file of 1 KiB in requests a second of it, for one of 1 GiB, and for most
of that as a range, in GiB.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from .report import markdown
from .rounds import Failed
from .served import SERVE, UVICORN, Running, Server, by_curl, middle

ROUNDS = 5
LARGE_BYTES = 2**30
RANGE = "1000-1000000999"

SERVERS = (
    Server("uvicorn, Starlette", UVICORN.replace("{app}", "benchmarks.fileapps:starlette")),
    Server("aiohttp", "-m benchmarks.fileapps {port}"),
    Server(
        "nardis serve, asyncio", f"{SERVE} asyncio".replace("{app}", "benchmarks.fileapps:nardis")
    ),
    Server("nardis serve, trio", f"{SERVE} trio".replace("{app}", "benchmarks.fileapps:nardis")),
)


def small(running: Running) -> float:
    """Return requests for a second of CPU time, of 16 connections that are kept."""
    command = ["wrk", "-t1", "-c16", "-d2s", running.url("/files/small.txt")]
    spent = running.cpu_s()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    count = re.search(r"(\d+) requests in", said)
    if count is None or "Non-2xx" in said or "Socket errors" in said:
        raise Failed(f"{running.name}: {said}")
    return int(count[1]) / (running.cpu_s() - spent)


def large(expected: int, options: tuple[str, ...], running: Running) -> float:
    """Return GiB for a second of CPU time."""
    url = running.url("/files/large.bin")
    spent, come = by_curl(running, *options, "-o", "/dev/null", "-w", "%{size_download}\n", url)
    if come != expected:
        raise Failed(f"{running.name}: {come} bytes came")
    return come / spent / 2**30


def main() -> None:
    measures = {
        "1 KiB (requests)": small,
        "1 GiB (GiB)": partial(large, LARGE_BYTES, ()),
        "a range of it (GiB)": partial(large, 10**9, ("-r", RANGE)),
    }
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        (Path(folder) / "small.txt").write_bytes(os.urandom(512).hex().encode())
        with (Path(folder) / "large.bin").open("wb") as file:
            for _ in range(LARGE_BYTES // 2**20):
                file.write(os.urandom(2**20))
        os.environ["BENCH_FOLDER"] = folder
        running = [(each, stack.enter_context(Running(each))) for each in SERVERS]
        rows = {server.title: [server.title] for server in SERVERS}
        for take in measures.values():
            figures: dict[str, list[float]] = {server.title: [] for server in SERVERS}
            for turn in range(ROUNDS + 1):
                for server, process in running if turn % 2 else reversed(running):
                    figure = take(process)
                    if turn:  # the first round warms up
                        figures[server.title].append(figure)
            for title, row in rows.items():
                row.append(f"{middle(figures[title]):,.2f}".removesuffix(".00"))
    sys.stdout.write(markdown(["", *measures], list(rows.values())) + "\n")


if __name__ == "__main__":
    main()
