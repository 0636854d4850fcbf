"""
Fuzz one target after another, each in a process of its own; a finding fails.

    python -m tests.fuzz [NAME] [--seconds N]

A finding is printed as a line of Python that shows it again, without atheris too.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzz import TARGETS, target_of

__all__ = ["fuzz", "main"]

ROOT = Path(__file__).parents[2]

# No parser may need more, for inputs of 4 KiB: libFuzzer makes no longer ones.
MOST_MEMORY_MB = 512
MOST_SECONDS_AN_INPUT = 5

# What a finding printed is above these lines.
LAST_LINES = 30

EXECUTED = re.compile(r"^stat::number_of_executed_units: +([1-9][0-9]*)$", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz what the command line names; return 1 if there was a finding, or nothing was run."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("name", nargs="?", choices=TARGETS, help="only this target")
    parser.add_argument("--seconds", type=positive, default=60, help="for each target (60)")
    given = parser.parse_args(arguments)
    names = TARGETS if given.name is None else [given.name]
    failed = [name for name in names if not fuzz(name, given.seconds)]
    return int(bool(failed))


def positive(text: str) -> int:
    # 0 is no bound for libFuzzer.
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return int(text)


def fuzz(name: str, seconds: int) -> bool:
    """Fuzz one target, and say what came of it; return whether all is well."""
    with TemporaryDirectory() as directory:
        seeds, corpus, found = (Path(directory, each) for each in ("seeds", "corpus", "found"))
        for folder in (seeds, corpus, found):
            folder.mkdir()
        for number, seed in enumerate(target_of(name).seeds()):
            (seeds / f"{number}").write_bytes(seed)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.engine", name),
                # What is new goes to the first folder.
                *(str(corpus), str(seeds)),
                f"-max_total_time={seconds}",
                f"-rss_limit_mb={MOST_MEMORY_MB}",
                f"-timeout={MOST_SECONDS_AN_INPUT}",
                f"-artifact_prefix={found}/",
                "-print_final_stats=1",
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        # libFuzzer names each file by what happened: `crash-`, `timeout-` or `oom-`.
        findings = [(each.name.partition("-")[0], each.read_bytes()) for each in found.iterdir()]
    executed = EXECUTED.search(done.stdout)
    well = not (done.returncode or findings) and executed is not None
    if not well:
        say("\n".join(done.stdout.splitlines()[-LAST_LINES:]))
    say(f"{name}: {executed[1] if executed else 'no'} inputs, {'well' if well else 'FAILED'}")
    for kind, data in findings:
        say(f"{kind}: from tests.fuzz.{name} import check; check({data!r})")
    return well


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
