"""What a function takes, as far as a call of it is concerned."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import Parameter, signature
from types import MethodType
from typing import Any, Final, cast

__all__ = ["parameters_of"]

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
    if isinstance(wrapped, staticmethod):  # it does not say what it takes, though it is callable
        wrapped = cast("staticmethod[..., Any]", wrapped).__func__
    if isinstance(function, MethodType):
        wrapped = MethodType(wrapped, function.__self__)
    return parameters_of(wrapped)
