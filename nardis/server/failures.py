"""An error of serving, taken out of the groups that wrapped it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import cast

__all__ = ["first_leaf", "unwrapped"]


@contextmanager
def unwrapped() -> Generator[None, None, None]:
    """Raise the reason, and not the groups of the tasks it went through."""
    try:
        yield
    except ExceptionGroup as exc:
        leaf = first_leaf(exc)
        raise leaf from leaf.__cause__  # and without a context, which is the groups


def first_leaf(exc: Exception) -> Exception:
    """Find the first reason in a group of exceptions."""
    while isinstance(exc, ExceptionGroup):
        exc = cast("ExceptionGroup[Exception]", exc).exceptions[0]
    return exc
