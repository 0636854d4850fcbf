"""
One target under atheris, in a process of its own: `python -m tests.fuzz.engine NAME ARGUMENTS`.

The arguments are those of libFuzzer: https://llvm.org/docs/LibFuzzer.html#options. The process ends
with the first finding, which libFuzzer writes to a file.
"""

from __future__ import annotations

import importlib
import sys

from tests.fuzz import target_of

__all__ = ["main"]

# The code whose branches guide the search: ours, and what parses forms for us.
INSTRUMENTED = ["nardis", "multipart"]


def main(name: str, *arguments: str) -> None:
    # By name, because it has wheels for few systems, and no types.
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = target_of(name)
    atheris.Setup([name, *arguments], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
