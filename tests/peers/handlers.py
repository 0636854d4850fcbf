"""Handlers that many tests register: `app.get("/", waits)`."""

from __future__ import annotations

from typing import Any

import anyio


async def fails_half_way(req: Any, res: Any) -> None:
    """Write half of a response, then fail with a ZeroDivisionError."""
    await res.write("half")
    raise ZeroDivisionError


async def waits(req: Any, res: Any) -> None:
    """Wait for ever, and send nothing."""
    await anyio.sleep_forever()


def waits_and_notes(reasons: list[Any]) -> Any:
    """Make a handler that waits for ever, and notes in *reasons* why it was ended."""

    async def handler(req: Any, res: Any) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            reasons.append(req.close_reason)

    return handler
