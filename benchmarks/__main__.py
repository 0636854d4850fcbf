"""
Run the benchmarks and write their tables into docs/performance.md.

    python -m benchmarks                     # everything, in some 25 minutes
    python -m benchmarks --only frameworks   # in process, under 3 minutes
    python -m benchmarks --only servers      # over sockets
    python -m benchmarks --quick             # rough figures in half a minute, printed only
    python -m benchmarks --apps raw,nardis,starlette --cases static,routes50 --backends asyncio
                                             # a part of the frameworks, printed only
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence

from . import imports, instructions, report, rounds, served
from .apps import ENTRIES, Entry
from .cases import BY_NAME, CASES, Case

# Counting is slow: for the peers that come next to Nardis.
COUNTED_ENTRIES = ("raw", "nardis", "nardis-kept", "starlette", "litestar", "blacksheep", "falcon")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="What Nardis costs beside raw ASGI and its peers."
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few short rounds, no instructions, no servers but by --only; printed only",
    )
    parser.add_argument("--only", choices=("frameworks", "servers"), help="one of the two parts")
    parser.add_argument(
        "--apps", type=names, help="only these columns, with commas; raw is always there"
    )
    parser.add_argument("--cases", type=names, help="only these rows")
    parser.add_argument("--backends", type=names, default=["asyncio", "trio"])
    parser.add_argument("--rounds", type=int, default=0, help="by default 5, quick 3")
    parser.add_argument(
        "--budget", type=float, default=0, help="seconds of CPU time for each batch"
    )
    return parser.parse_args()


def names(text: str) -> list[str]:
    return text.split(",")


def chosen_entries(only: Sequence[str] | None) -> tuple[list[Entry], list[Entry]]:
    """Return the columns that are measured, and those that are asked for but not installed."""
    asked = [
        entry for entry in ENTRIES if only is None or entry.name in only or entry.name == "raw"
    ]
    missing = [entry for entry in asked if entry.version is None]
    for entry in missing:
        print(f"{entry.title} is not installed: skipped")
    return [entry for entry in asked if entry.version is not None], missing


def cases_for(backend: str, asked: argparse.Namespace) -> list[Case]:
    """
    Return the cases to measure.

    Routing is left out on trio, as its cost does not depend on the event loop, and in quick runs,
    as it takes long to set up.
    """
    routing = backend != "trio" and not asked.quick
    return [
        case
        for case in CASES
        if case.name in (asked.cases or BY_NAME) and (routing or case.kind != "routing")
    ]


def main() -> None:
    asked = options()
    is_part = bool(asked.apps or asked.cases or asked.backends != ["asyncio", "trio"])
    if asked.only != "servers":
        compare_frameworks(asked, is_part)
    if asked.only == "servers" or not (asked.only or is_part or asked.quick):
        compare_servers(asked)


def compare_servers(asked: argparse.Namespace) -> None:
    if lacking := served.missing():
        print(f"{lacking} not installed: servers are not measured")
        return
    count = asked.rounds or (1 if asked.quick else 5)
    text = served.render(served.measure(count, asked.quick), count)
    print(text)
    if not asked.quick:
        report.write(text, report.SERVERS)


def compare_frameworks(asked: argparse.Namespace, is_part: bool) -> None:
    entries, missing = chosen_entries(asked.apps)
    count, budget = (
        asked.rounds or (3 if asked.quick else 5),
        asked.budget or (0.005 if asked.quick else 0.04),
    )
    results = report.Results(entries, missing, count, budget)
    for backend in asked.backends:
        results.times[backend] = rounds.measure(
            backend, entries, cases_for(backend, asked), count, budget
        )
    results.imports = imports.measure(
        [entry for entry in entries if entry.imports], 1 if asked.quick else 5
    )
    results.instructions = "this is a quick run" if asked.quick else counts(entries, asked.cases)
    text = report.render(results)
    print(text)
    if not (asked.quick or is_part):
        report.write(text, report.FRAMEWORKS)


def counts(entries: Sequence[Entry], only: Sequence[str] | None) -> instructions.Counts | str:
    if not instructions.available():
        return "valgrind is not installed"
    cases = [case for case in CASES if case.kind == "short" and (only is None or case.name in only)]
    if not cases:
        return "no short request was asked for"
    try:
        return instructions.count(
            "asyncio", [entry for entry in entries if entry.name in COUNTED_ENTRIES], cases
        )
    except (
        rounds.Failed,
        subprocess.SubprocessError,
    ) as error:  # a container may forbid callgrind_control its ptrace
        return f"valgrind failed: {error}"


if __name__ == "__main__":
    main()
