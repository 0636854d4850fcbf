"""ASGI between any two parties: what an application is, and what `nardis.*` in a scope means."""

from __future__ import annotations

__all__: list[str] = []
