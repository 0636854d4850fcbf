"""The command line: `nardis serve module:app`, `nardis demo`."""

from __future__ import annotations

__all__: list[str] = []
