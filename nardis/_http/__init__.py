"""
HTTP without input and output: bytes and strings in, values out.

Nothing here awaits, opens or keeps anything but bounded caches; each rule cites its section of the standard. What the peer
sent wrong is an `HTTPError`, what the application set wrong a `FieldError`; everything else a bad input can do is listed
in the function's docstring. Every function's work grows linearly with its input.
"""

from __future__ import annotations

__all__: list[str] = []
