"""
Converters: `param` replaces what a pattern captured, once for each value in each pass of a router.

A converter of one parameter, the value, belongs to the pattern. It runs while a path is matched,
and if it refuses the value, the route does not match. One of two parameters, the request and the
value, belongs to the handlers. It runs before the first of them, may be async, and refuses as a
handler does.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from functools import partial
from inspect import Parameter
from typing import Any, Final, TypeVar, cast

from .._failures import is_skip, name_of
from .._parameters import parameters_of
from ..errors import SkipRoute, UsageError
from ..request import Request

__all__ = ["C", "Conversions", "Converter", "check_capture"]

C = TypeVar("C", bound=Callable[..., Any])

# Types that are read as everywhere in Nardis. Python would take `int(" 1_0 ")` for 10, and has
# nothing for `date("2026-11-30")`. By name, because few programs import all of them.
_READ: Final = frozenset(
    {
        "builtins.bool",
        "builtins.float",
        "builtins.int",
        "datetime.date",
        "datetime.datetime",
        "datetime.time",
        "datetime.timedelta",
        "decimal.Decimal",
        "uuid.UUID",
    }
)

_WANTED: Final = "takes a type, a function of the value, or one of (req, value), which may be async"


class Converter:
    """
    What `param` registered for one name of one router.

    Attributes:
        checks: Functions of the value, run while a path is matched.
        loads: Functions of the request and the value, run before the handlers.
    """

    __slots__ = ("checks", "loads")

    def __init__(self) -> None:
        self.checks: list[Callable[[Any], object]] = []
        self.loads: list[Callable[[Request, Any], object]] = []

    def add(self, name: str, function: Callable[..., Any]) -> None:
        """
        Add a function behind those that there are.

        Raises:
            TypeError: It takes other parameters, or is async and takes the value alone.
        """
        count = _required(function)
        if count == 2:
            self.loads.append(function)
        elif count == 1 and not _is_async(function):
            self.checks.append(partial(_read, function) if _is_read(function) else function)
        else:
            wrong = "is async and takes the value alone" if count == 1 else "is none of these"
            raise TypeError(f"param({name!r}) {_WANTED}; {name_of(function)} {wrong}")


class _Outcome:
    """
    What became of one captured value in one pass of a router.

    Attributes:
        value: What replaces it, as far as it is converted.
        refused: There is no such path, or a function raised SkipRoute.
        loaded: Nothing is left to do.
    """

    __slots__ = ("loaded", "refused", "value")

    def __init__(self, converter: Converter, value: object) -> None:
        self.value: Any = value
        self.refused: bool = False
        self.loaded: bool = not converter.loads
        try:
            for check in converter.checks:
                self.value = check(self.value)
        except (ValueError, LookupError, SkipRoute):
            self.refused = True

    async def load(self, converter: Converter, req: Request) -> None:
        """Run the functions that take the request."""
        value = self.value
        try:
            for function in converter.loads:
                value = function(req, value)
                if inspect.isawaitable(value):
                    value = await cast("Awaitable[object]", value)
        except BaseException as exc:
            self.refused = is_skip(exc)
            raise
        self.value, self.loaded = value, True


class Conversions:
    """The conversions of one pass of a router, so that each value is converted once."""

    __slots__ = ("_outcomes", "_waiting")

    def __init__(self) -> None:
        self._outcomes: dict[tuple[Converter, str], _Outcome] = {}
        self._waiting: list[tuple[str, Converter, _Outcome]] = []

    def check(
        self, converters: Mapping[str, Converter], params: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """
        Convert the captures of a layer as far as that needs no request.

        Returns:
            All captures; None where one of them was refused.
        """
        self._waiting = []
        converted = dict(params)
        for name, value in params.items():
            converter = converters.get(name)
            if converter is None or value is None:
                continue
            key = (converter, repr(value))  # a wildcard's list is no key
            outcome = self._outcomes.get(key)
            if outcome is None:
                self._outcomes[key] = outcome = _Outcome(converter, value)
            if outcome.refused:
                return None
            converted[name] = outcome.value
            if not outcome.loaded:
                self._waiting.append((name, converter, outcome))
        return converted

    async def load(self, req: Request, params: dict[str, Any]) -> None:
        """
        Convert in *params* what is left of the captures of the current layer.

        Raises:
            SkipRoute: A function refused the value; the layer is passed over.
        """
        waiting, self._waiting = self._waiting, []
        for name, converter, outcome in waiting:
            await outcome.load(converter, req)
            params[name] = outcome.value


def check_capture(name: object) -> None:
    """Refuse what is no name of a capture, such as `":id"`."""
    if not isinstance(name, str) or not name or name[0] in ":*":
        raise UsageError(
            f"param() takes the name of a capture, such as 'id' for `/users/:id`, not {name!r}"
        )


def _required(function: object) -> int:
    """Count the parameters that must be given, in order; 0 where that cannot work."""
    if isinstance(function, type):
        return 1
    if not callable(function):
        return 0
    try:
        parameters = parameters_of(function)
    except (TypeError, ValueError):  # some functions in C do not say
        return 1
    needed = [
        each.kind
        for each in parameters
        if each.default is each.empty
        and each.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    ]
    return 0 if Parameter.KEYWORD_ONLY in needed else len(needed)


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function) or (
        not isinstance(function, type)
        and inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
    )


def _is_read(function: object) -> bool:
    """Whether *function* is a type that has a form of its own as text."""
    return isinstance(function, type) and (
        issubclass(function, Enum) or f"{function.__module__}.{function.__qualname__}" in _READ
    )


def _read(kind: object, value: Any) -> object:
    """Read a text as a *kind*, or each text of a wildcard."""
    from .._models.convert import convert_text  # few programs have such a converter

    if isinstance(value, str):
        return convert_text(value, kind)
    return [convert_text(text, kind) for text in value]
