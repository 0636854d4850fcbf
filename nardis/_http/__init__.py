"""
HTTP without input and output: bytes and strings in, values out.

Nothing here awaits or opens anything, and nothing is kept except in bounded caches. Each rule cites
its section of the standard. What the peer sent wrong is an `HTTPError`, what the application set
wrong a `FieldError`; a function's docstring lists everything else that a bad input can do. The work
of every function grows linearly with its input.
"""

from __future__ import annotations

__all__: list[str] = []
