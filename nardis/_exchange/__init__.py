"""One call of the application: its request body, its response, and who ends its handler."""

from __future__ import annotations

__all__: list[str] = []
