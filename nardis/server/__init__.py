"""
Run a Nardis application, or any ASGI application, on trio or asyncio.

HTTP/1.1 is our own; HTTP/2 and WebSockets are hypercorn's. This package is the only place that
names a server or an event loop. What knows hypercorn's insides is in `hypercorn`, one module for
each fault it cures.
"""

from __future__ import annotations

from .config import Config
from .process import run
from .serving import serve
from .target import load

__all__ = ["Config", "load", "run", "serve"]
