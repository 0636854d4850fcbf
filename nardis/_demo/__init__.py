"""`nardis demo`: one page on what Nardis does with streams, on trio and on asyncio at once."""

from __future__ import annotations

from .run import run_demo

__all__ = ["run_demo"]
