"""What `Request` is made of, below the trail and the body."""

from __future__ import annotations

__all__: list[str] = []
