"""What a function takes, as far as a call of it is concerned; and calls that are made later."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from inspect import Parameter, isawaitable, iscoroutine, signature
from types import MethodType
from typing import Any, Final

from .errors import UsageError

__all__ = ["begun", "check_later", "parameters_of"]

# Annotations are left as text: from Python 3.14 on they are evaluated when they are looked at, and
# may name what is imported for type checkers alone. 4 is `annotationlib.Format.STRING`.
_UNEVALUATED: Final[dict[str, Any]] = (
    {"annotation_format": 4} if sys.version_info >= (3, 14) else {}
)


def parameters_of(function: Callable[..., Any]) -> list[Parameter]:
    """
    List the parameters of what is called.

    A decorator's wrapper has parameters of its own: it may add some to those of the function that
    it wraps, or fill some in. Only one that passes `*args` on is looked through.

    Raises:
        TypeError: It is not callable.
        ValueError: It does not say what it takes, as some functions in C.

    >>> [each.name for each in parameters_of(lambda req, res: None)]
    ['req', 'res']
    """
    own = list(signature(function, follow_wrapped=False, **_UNEVALUATED).parameters.values())
    if all(each.kind is not each.VAR_POSITIONAL for each in own):
        return own
    wrapped = getattr(function, "__wrapped__", None)
    if wrapped is None:  # a partial or an object: what it calls may be a wrapper all the same
        return list(signature(function, **_UNEVALUATED).parameters.values())
    if isinstance(function, MethodType):
        wrapped = MethodType(wrapped, function.__self__)
    return parameters_of(wrapped)


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
