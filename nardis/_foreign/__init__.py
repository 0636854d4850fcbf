"""Applications and middlewares of other frameworks, as handlers of ours."""

from __future__ import annotations

__all__: list[str] = []
