"""
One application on one event loop in a process of its own.

Each line of stdin is a command, each line of stdout its answer:

    python -m benchmarks.worker starlette asyncio
    {"case": "static", "budget": 0.05}   {"count": 6400}: so many requests take about 0.05 s of CPU
    {"case": "static", "count": 6400}    {"ns": 49876543}: their CPU time

A wrong answer of the application is {"error": ...}.

While it waits for a command, the event loop stands still: only one worker works at a time.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from typing import Any, TextIO

from . import apps
from .cases import BY_NAME, Case
from .driver import Loop, Served, run


class Worker:
    """Applications of one framework, made when the first case asks for one."""

    def __init__(self, entry: apps.Entry, loop: Loop) -> None:
        self.entry = entry
        self.loop = loop
        self.served: dict[tuple[int, int], Served] = {}

    async def application(self, case: Case) -> Served:
        shape = case.routes, case.middlewares
        if shape not in self.served:
            self.served[shape] = await Served.begin(self.entry.make(*shape), self.loop)
        return self.served[shape]

    async def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        case = BY_NAME[command["case"]]
        served = await self.application(case)
        if "budget" in command:
            return {"count": await fitting(served, case, command["budget"] * 1e9)}
        gc.collect()  # what others left is not this batch's
        return {"ns": await served.batch(case, command["count"])}


async def fitting(served: Served, case: Case, budget_ns: float) -> int:
    """Return how many requests the budget allows, by a trial of an eighth of it, and warm it up."""
    count = 1
    while (spent := await served.batch(case, count)) < budget_ns / 8:
        count *= 2
    return max(1, round(count * budget_ns / spent))


async def serve(entry: apps.Entry, loop: Loop, answers: TextIO) -> None:
    worker = Worker(entry, loop)
    for line in sys.stdin:
        try:
            answer = await worker.obey(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(answer), file=answers, flush=True)
    for served in worker.served.values():
        served.life.end()


def main() -> None:
    name, backend = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an application prints is no answer
    run(backend, lambda loop: serve(apps.BY_NAME[name], loop, answers))


if __name__ == "__main__":
    main()
