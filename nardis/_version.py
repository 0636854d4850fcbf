"""The version of Nardis, in the one place where it is written: the build reads it here, and nothing else needs it to start."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0.dev0"
