"""Files on disk: opened, read, kept for a while, and saved whole or not at all."""

from __future__ import annotations

__all__: list[str] = []
