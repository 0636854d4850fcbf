"""Iterables that are not ours: stepped in a thread, and closed."""

from __future__ import annotations

__all__: list[str] = []
