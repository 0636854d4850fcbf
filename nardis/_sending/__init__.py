"""What the verbs of `res` are made of."""

from __future__ import annotations

__all__: list[str] = []
