"""
What `import` costs in a fresh process.

CPU time, and memory over that of an interpreter that imports nothing.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from .apps import Entry

# Of this process alone: ru_maxrss would begin with the parent's.
PROBE = """
import time
before = time.process_time_ns()
{}
spent = time.process_time_ns() - before
with open("/proc/self/statm") as file:
    pages = int(file.read().split()[1])
import sys
print(spent, pages, len(sys.modules))
"""


@dataclass(frozen=True, slots=True)
class ImportCost:
    cpu_ms: float
    rss_mib: float
    modules: int


def measure(entries: Sequence[Entry], rounds: int) -> dict[str, ImportCost]:
    """
    Import each in turns, with its bytecode; return nothing where there is no /proc.

    An import that has to compile takes twice as long, and compiles only the modules that no
    installer has compiled before.
    """
    if not os.path.exists("/proc/self/statm"):
        return {}
    for entry in entries:
        probe(entry)  # writes the bytecode
    turns = [entries if turn % 2 == 0 else entries[::-1] for turn in range(rounds)]
    results: dict[str, list[ImportCost]] = {entry.name: [] for entry in entries}
    for entry in (entry for turn in turns for entry in turn):
        results[entry.name].append(probe(entry))
    return {name: middle(costs) for name, costs in results.items()}


def probe(entry: Entry) -> ImportCost:
    run = subprocess.run(
        [sys.executable, "-c", PROBE.format(entry.imports)],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    spent, pages, modules = map(int, run.stdout.split())
    return ImportCost(spent / 1e6, pages * os.sysconf("SC_PAGE_SIZE") / 2**20, modules)


def middle(costs: list[ImportCost]) -> ImportCost:
    return ImportCost(
        statistics.median(cost.cpu_ms for cost in costs),
        statistics.median(cost.rss_mib for cost in costs),
        costs[0].modules,
    )
