"""
No row grows unseen: what a request costs in instructions, beside what it did when that was noted.

    python -m benchmarks.ratchet           # fails where a row has grown by more than 3 %
    python -m benchmarks.ratchet --write   # notes what it costs now

The figures are of one build of Python, with its packages; on another one they say nothing, and it
has to be noted anew, on the tree before the change.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypedDict

from . import instructions
from .apps import ENTRIES
from .cases import CASES

NOTED: Final = Path(__file__).parent / "instructions.json"

# Two counts of one tree differ by up to one percent on trio, whose batches are in random order.
MOST_GROWTH: Final = 1.03

Rows = dict[str, float]  # thousands of instructions, by event loop, entry and case


class Figures(TypedDict):
    """What is noted: the build, and the rows."""

    build: str
    rows: Rows


def build() -> str:
    packages = " ".join(f"{name} {version(name)}" for name in ("anyio", "trio", "msgspec"))
    return (
        f"CPython {platform.python_version()} ({platform.python_compiler()}, {platform.machine()}) "
        f"{packages}"
    )


def counted() -> Rows:
    """Count each short request of Nardis on both event loops."""
    entries = [entry for entry in ENTRIES if entry.package == "nardis"]
    cases = [case for case in CASES if case.kind == "short"]
    return {
        f"{backend} {entry} {case}": round(total / 1e3, 1)
        for backend in ("asyncio", "trio")
        for case, column in instructions.count(backend, entries, cases).items()
        for entry, total in column.items()
    }


def grown(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    """
    Say which rows have grown too much, or are not noted.

    >>> grown({"a": 100.0, "b": 100.0}, {"a": 103.0, "b": 103.2, "c": 1.0})
    ['b: 100.0 k -> 103.2 k (+3.2 %)', 'c: not noted (1.0 k)']
    """
    return [
        f"{row}: {before[row]} k -> {total} k ({total / before[row] - 1:+.1%})".replace("%", " %")
        if row in before
        else f"{row}: not noted ({total} k)"
        for row, total in now.items()
        if row not in before or total > before[row] * MOST_GROWTH
    ]


def main() -> int:
    if not instructions.available():
        print("valgrind is not installed")
        return 1
    rows, here = counted(), build()
    if sys.argv[1:] == ["--write"]:
        figures: Figures = {"build": here, "rows": rows}
        NOTED.write_text(json.dumps(figures, indent=2) + "\n")
        return 0
    noted: Figures = json.loads(NOTED.read_text())
    if noted["build"] != here:
        print(f"noted for {noted['build']}; this is {here}: see the top of {__file__}")
        return 1
    for line in (lines := grown(noted["rows"], rows)):
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
