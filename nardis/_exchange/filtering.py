"""What the body of a response passes on its way out."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable

from ..types import Filter

__all__ = ["holds_back", "passed"]


def holds_back(filters: Iterable[Filter]) -> bool:
    """Whether some of what is fed may wait in one of *filters*: each may, unless it says no."""
    return any(getattr(each, "holds_back", True) for each in filters)


async def passed(
    filters: Iterable[Filter], data: bytes, *, flush: bool = False, finish: bool = False
) -> bytes:
    """
    Return what comes of *data* behind all *filters*.

    Args:
        filters: The first one gets *data*, each other one what the one before it gave.
        data: A piece of the body; nothing is fed if it is empty.
        flush: Have what they hold back too.
        finish: Have their ends too.
    """
    for each in filters:
        given = await _done(each.feed(data)) if data else b""
        if flush:
            given += await _done(each.flush())
        if finish:
            given += await _done(each.finish())
        data = given
    return data


async def _done(given: bytes | Awaitable[bytes]) -> bytes:
    return given if isinstance(given, bytes) else await given
