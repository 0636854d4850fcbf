"""The figures as Markdown, and their place in docs/performance.md."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .apps import Entry
from .cases import CASES, Case
from .imports import ImportCost
from .instructions import Counts
from .rounds import Figure, Figures

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
FRAMEWORKS = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
SERVERS = "<!-- benchmarks: begin, servers -->", "<!-- benchmarks: end, servers -->"
KEPT = "Nardis¹: with `cancel_on_disconnect=False`."


@dataclass(slots=True)
class Results:
    entries: Sequence[Entry]
    missing: Sequence[Entry]
    rounds: int
    budget: float
    times: dict[str, Figures] = field(default_factory=dict)  # by backend
    instructions: Counts | str = ""  # or why there are none
    imports: dict[str, ImportCost] = field(default_factory=dict)


def render(results: Results) -> str:
    parts = [heading(results)]
    for backend, figures in results.times.items():
        entries = [entry for entry in results.entries if backend in entry.backends]
        parts += timed(backend, entries, figures)
    parts += counted(results)
    parts += imported(results)
    return "\n\n".join(parts) + "\n"


def heading(results: Results) -> str:
    versions = [
        f"{entry.title} {entry.version}"
        for entry in results.entries
        if entry.version and entry.imports
    ]
    notes = [f"{entry.title}: {entry.nature}" for entry in results.entries if entry.nature]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    lines = [
        f"{datetime.date.today().isoformat()}, {python}, "
        f"{platform.system()} on {platform.machine()}, {os.cpu_count()} cores.",
        f"{', '.join(versions)}.",
        f"{'; '.join(notes)}." if notes else "",
        f"Not installed, so skipped: {', '.join(entry.title for entry in results.missing)}."
        if results.missing
        else "",
        f"Medians of {results.rounds} rounds, in which each has {results.budget * 1000:g} ms for "
        "each case.",
        KEPT,
    ]
    return "\n".join(f"- {line}" for line in lines if line)


# What each kind of case is judged by, and how that stands in a cell.
TABLES: tuple[tuple[str, str, Callable[[Figure], str]], ...] = (
    (
        "short",
        "µs that a request takes over raw ASGI, and the ratio to raw ASGI; "
        "the first column is raw ASGI's own time.",
        lambda figure: f"+{figure.added:.1f} ({figure.ratio:.1f}×)",
    ),
    ("stream", "Streams, as ratio to raw ASGI.", lambda figure: f"{figure.ratio:.2f}×"),
    (
        "routing",
        "Routing, as µs over raw ASGI, which looks nothing up. "
        "–: making the application takes over ten seconds.",
        lambda figure: f"+{figure.added:,.1f}",
    ),
)


def timed(backend: str, entries: Sequence[Entry], figures: Figures) -> Iterable[str]:
    yield f"### CPU time on {backend}"
    for kind, judged, cell in TABLES:
        if any(case.kind == kind and case.name in figures for case in CASES):
            yield f"{judged}\n\n{table(entries, figures, kind, cell)}"


def table(
    entries: Sequence[Entry], figures: Figures, kind: str, cell: Callable[[Figure], str]
) -> str:
    rows = []
    for case in (case for case in in_order(kind) if case.name in figures):
        row = figures[case.name]
        cells = [cell(row[entry.name]) if entry.name in row else "–" for entry in entries[1:]]
        rows.append([case.title, f"{row['raw'].us:,.1f} µs", *cells])
    return markdown(["", *(entry.title for entry in entries)], rows)


def in_order(kind: str) -> list[Case]:
    """Return the cases of a table; that of routing has its middle, also a short request."""
    if kind == "routing":
        return sorted(
            (case for case in CASES if case.name.startswith("routes")), key=lambda case: case.routes
        )
    return [case for case in CASES if case.kind == kind]


def counted(results: Results) -> Iterable[str]:
    yield "### Instructions"
    if isinstance(results.instructions, str):
        yield f"Not counted: {results.instructions}."
        return
    titles = {case.name: case.title for case in CASES}
    columns = [
        entry
        for entry in results.entries
        if any(entry.name in row for row in results.instructions.values())
    ]
    yield (
        "Thousands for a request on asyncio, the driver's included, counted by callgrind.\n\n"
        + markdown(
            ["", *(entry.title for entry in columns)],
            [
                [titles[name], *(f"{row[entry.name] / 1e3:,.1f}" for entry in columns)]
                for name, row in results.instructions.items()
            ],
        )
    )


def imported(results: Results) -> Iterable[str]:
    yield "### Import"
    if not results.imports:
        yield "Not measured: this system has no `/proc`."
        return
    floor = results.imports["raw"]
    rows = [
        [
            entry.title,
            f"{cost.cpu_ms:.0f} ms",
            f"{cost.rss_mib - floor.rss_mib:.1f} MiB",
            cost.modules - floor.modules,
        ]
        for entry in results.entries
        if entry.name != "raw" and (cost := results.imports.get(entry.name))
    ]
    yield "In a fresh process, over an interpreter that imports nothing.\n\n" + markdown(
        ["", "CPU", "memory", "modules"], rows
    )


def markdown(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def write(text: str, marks: tuple[str, str]) -> None:
    """Put tables between two marks of the page."""
    begin, end = marks
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}\n\n{text}\n{end}{after}")
