"""Functions that are given now and called later, by `req.defer()` and `app.tasks.start_soon()`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable, iscoroutine
from typing import Any

from .errors import UsageError

__all__ = ["begun", "check_later"]


def check_later(verb: str, function: object) -> None:
    """
    Refuse for *verb*, which calls it later, what is no function.

    A coroutine is closed, so that Python does not complain that nobody awaited it.

    Raises:
        UsageError: It cannot be called.

    >>> async def work(n): ...
    >>> check_later("req.defer", work(1))
    Traceback (most recent call last):
    nardis.errors.UsageError: req.defer() takes the function and its arguments, and calls it ...
    """
    if callable(function):
        return
    if iscoroutine(function):
        function.close()
        raise UsageError(
            f"{verb}() takes the function and its arguments, and calls it later: write "
            f"{verb}({function.__name__}, ...), without calling it"
        )
    raise UsageError(f"{verb}() takes an async function and its arguments, not {function!r}")


def begun(verb: str, function: Callable[..., object], args: tuple[Any, ...]) -> Awaitable[object]:
    """
    Call what was given to *verb*, to be awaited.

    Before that nobody can tell: a function that is not async may return something to await.

    Raises:
        UsageError: It was not async.
    """
    awaitable = function(*args)
    if not isawaitable(awaitable):
        name = getattr(function, "__qualname__", None) or repr(function)
        raise UsageError(
            f"{verb}() takes an async function, and {name}() is none: it has run, in the event "
            "loop; give what blocks to `await anyio.to_thread.run_sync(...)`"
        )
    return awaitable
