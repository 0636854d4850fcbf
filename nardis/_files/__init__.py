"""Files: which a client may have, read, saved, and kept for a while."""

from __future__ import annotations

__all__: list[str] = []
