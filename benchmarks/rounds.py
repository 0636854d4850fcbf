"""
Times, by ratio: all applications in turns within one run, so that a disturbance hits all of them.

Each has its own process; one works at a time. A round asks each for a batch, A, B, C, and the next
round C, B, A. The figures are medians over the rounds: of the CPU time, and of its difference and
its ratio to raw ASGI in the very same round.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from .apps import Entry
from .cases import Case

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Figure:
    """CPU time of a request in µs, what it is over raw ASGI, and their ratio."""

    us: float
    added: float
    ratio: float


Figures = dict[str, dict[str, Figure]]  # by case, by entry


class Failed(Exception):
    """A worker gave a wrong answer, or died."""


class Process:
    """A worker, seen from outside."""

    def __init__(self, entry: Entry, backend: str, *prefix: str) -> None:
        self.entry = entry
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "benchmarks.worker", entry.name, backend],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.close()
            self.process.wait(20)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def ask(self, case: Case, **command: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        try:
            print(json.dumps({"case": case.name, **command}), file=self.process.stdin, flush=True)
            answer = json.loads(self.process.stdout.readline() or '{"error": "the worker died"}')
        except BrokenPipeError:
            answer = {"error": "the worker died"}
        if "error" in answer:
            raise Failed(f"{self.entry.title}: {answer['error']}")
        return next(iter(answer.values()))


def measure(
    backend: str, entries: Sequence[Entry], cases: Iterable[Case], rounds: int, budget: float
) -> Figures:
    """Measure each case with all entries; the others are compared with the first, raw ASGI."""
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Process(entry, backend))
            for entry in entries
            if backend in entry.backends
        ]
        figures: Figures = {}
        for case in cases:
            figures[case.name] = compare(case, workers, rounds, budget)
            print(
                f"{backend:8}{case.name:12}",
                *(f"{name} ×{figure.ratio:.2f}" for name, figure in figures[case.name].items()),
            )
        return figures


def compare(
    case: Case, workers: Sequence[Process], rounds: int, budget: float
) -> dict[str, Figure]:
    counts = {worker: count for worker in workers if (count := fitting(worker, case, budget))}
    times: dict[str, list[float]] = {worker.entry.name: [] for worker in counts}
    order = list(counts)
    for _ in range(rounds):
        for worker in order:
            times[worker.entry.name].append(
                worker.ask(case, count=counts[worker]) / counts[worker] / 1e3
            )
        order.reverse()
    return {name: figure(took, times["raw"]) for name, took in times.items()}


def fitting(worker: Process, case: Case, budget: float) -> int:
    """
    Return how many requests make a batch.

    None for a peer that cannot do this case, or answers wrongly.
    """
    if case.routes > worker.entry.most_routes:
        return 0
    try:
        count: int = worker.ask(case, budget=budget)
    except Failed as failure:
        if worker.entry.package in (None, "nardis"):
            raise
        print(f"left out: {failure}")
        return 0
    return count


def figure(took: list[float], raw: list[float]) -> Figure:
    added = statistics.median(mine - floor for mine, floor in zip(took, raw, strict=True))
    ratio = statistics.median(mine / floor for mine, floor in zip(took, raw, strict=True))
    return Figure(statistics.median(took), added, ratio)
