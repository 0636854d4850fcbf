"""The command `nardis`, also as `python -m nardis`."""

from __future__ import annotations

import sys

from ._cli.parser import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
