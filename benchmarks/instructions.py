"""
Instructions per request, counted by valgrind: a figure that no neighbour on the machine disturbs.

The worker runs under `valgrind --tool=callgrind`, which counts a batch of N requests, then one of
2N. Their difference over N is the price of one, without the costs of a batch around its requests.

Streams are not counted: valgrind makes everything fifty times slower. Nardis lets other tasks run
when the clock says so, and would do it far more often than it does.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from .apps import Entry
from .cases import Case
from .rounds import Process

TOOLS = ("valgrind", "callgrind_control")
NUMBER = 50
Counts = dict[str, dict[str, float]]  # by case, by entry


def available() -> bool:
    return all(map(shutil.which, TOOLS))


def count(backend: str, entries: Sequence[Entry], cases: Sequence[Case]) -> Counts:
    """Count each case with all entries, two at a time: a count does not mind."""
    with ThreadPoolExecutor(2) as pool:
        columns = list(pool.map(partial(count_entry, backend, cases), entries))
    return {
        case.name: {
            entry.name: column[case.name] for entry, column in zip(entries, columns, strict=True)
        }
        for case in cases
    }


def count_entry(backend: str, cases: Iterable[Case], entry: Entry) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            f"--callgrind-out-file={folder}/out",
        ]
        # The same addresses and the same hashes each time.
        prefix = [
            *(["setarch", "-R"] if shutil.which("setarch") else []),
            "env",
            "PYTHONHASHSEED=0",
            *command,
        ]
        with Process(entry, backend, *prefix) as worker:
            counts = {case.name: count_case(worker, case, Path(folder)) for case in cases}
    print(
        f"{backend:8}{entry.name:12}",
        *(f"{name} {total / 1e3:,.1f} k" for name, total in counts.items()),
    )
    return counts


def count_case(worker: Process, case: Case, folder: Path) -> float:
    worker.ask(case, count=NUMBER)  # caches fill, lazy imports happen
    control(worker, "--instr=on")
    once, twice = (dumped(worker, case, number, folder) for number in (NUMBER, 2 * NUMBER))
    control(worker, "--instr=off")
    return (twice - once) / NUMBER


def dumped(worker: Process, case: Case, number: int, folder: Path) -> int:
    """Return the instructions that a batch took."""
    control(worker, "--zero")
    worker.ask(case, count=number)
    control(worker, "--dump")
    totals = [
        int(total)
        for path in folder.iterdir()
        for total in re.findall(r"^totals: (\d+)", path.read_text(), re.MULTILINE)
    ]
    for path in folder.iterdir():
        path.unlink()
    return max(totals)


def control(worker: Process, order: str) -> None:
    subprocess.run(
        ["callgrind_control", order, str(worker.process.pid)],
        check=True,
        capture_output=True,
        timeout=60,
    )
