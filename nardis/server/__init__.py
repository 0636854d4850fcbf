"""
Run a Nardis application, or any ASGI application, on hypercorn's trio or asyncio worker.

This package is the only place that names a server or an event loop. What knows hypercorn's insides is in `_hypercorn`, one module
for each fault it cures.
"""

from __future__ import annotations

from ._config import Config
from ._run import run
from ._serve import serve
from ._target import load

__all__ = ["Config", "load", "run", "serve"]
