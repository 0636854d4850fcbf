"""
The frames of WebSockets (RFC 6455 §5), and their compression (RFC 7692), without any `await`.

wsproto reads the frames, under rules of ours: it knows no bound for a message, and its own
compression inflates without one.
"""

from __future__ import annotations

__all__: list[str] = []
