"""Paths: split, matched and built; no request in sight."""

from __future__ import annotations

__all__: list[str] = []
