"""Handlers, middlewares and error handlers: their shapes, and the check at registration."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar, cast

from ._failures import name_of
from ._parameters import parameters_of
from .request import Request
from .response import Response
from .types import Next
from .websocket import WebSocket

__all__ = [
    "ErrorHandler",
    "Handler",
    "Middleware",
    "Step",
    "WebSocketHandler",
    "Where",
    "flattened",
    "silence_of",
    "step_of",
]

F = TypeVar("F", bound=Callable[..., Any])

# A handler or middleware, and whether it takes `next`.
Step: TypeAlias = tuple[Callable[..., Awaitable[object]], bool]

Where: TypeAlias = Literal["a route", "websocket()", "use()", "error()"]

# The shape of what is registered there, and the least and the largest number of its parameters.
_WANTED: Final[dict[Where, tuple[str, int, int]]] = {
    "a route": ("async (req, res[, next])", 2, 3),
    "websocket()": ("async (req, ws), behind any number of async (req, res, next)", 2, 3),
    "use()": ("a Router or async (req, res, next)", 3, 3),
    "error()": ("async (err, req, res)", 3, 3),
}
# How those are called whose order can be told by their names.
_OURS: Final = ("req", "res", "ws")

_HINT: Final = (
    "An ASGI application goes to app.mount(prefix, asgi_app), "
    "an ASGI middleware to app.use(wrap(Middleware))."
)
_BLOCKING: Final = (
    "write `async def`, and give what blocks to `await anyio.to_thread.run_sync(...)`"
)
_DECORATOR: Final = "write its wrapper as `async def`, and await the handler in it"
_GENERATOR: Final = (
    "is a generator: send pieces with `await res.write(...)`, or give it to `await res.pipe(...)`"
)


class Handler(Protocol):
    """What answers a route: `async def handler(req, res)`."""

    def __call__(self, req: Request, res: Response, /) -> Awaitable[None]:
        """Answer, or pass on."""
        ...


class WebSocketHandler(Protocol):
    """What a WebSocket talks to: `async def handler(req, ws)`."""

    def __call__(self, req: Request, ws: WebSocket, /) -> Awaitable[None]:
        """Accept and talk, or refuse."""
        ...


class Middleware(Protocol):
    """What stands around a route: `async def middleware(req, res, next)`."""

    def __call__(self, req: Request, res: Response, next: Next, /) -> Awaitable[None]:
        """Answer, or pass on."""
        ...


class ErrorHandler(Protocol):
    """What answers an exception: `async def handler(err, req, res)`."""

    def __call__(self, err: Any, req: Request, res: Response, /) -> Awaitable[None]:
        """Answer, or pass on."""
        ...


def flattened(things: Any) -> list[Any]:
    """List handlers that may come in lists, and in lists of lists."""
    if not isinstance(things, (list, tuple)):
        return [things]
    return [each for thing in cast("Sequence[Any]", things) for each in flattened(thing)]


def step_of(handler: Any, where: Where) -> Step:
    """
    Check a handler, and return it with whether it takes `next`.

    Raises:
        TypeError: It is no async function, or takes another number of parameters.
    """
    wanted, least, most = _WANTED[where]
    function = handler
    while isinstance(function, partial):
        function = function.func
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"{where} takes {wanted}, not {handler!r}. {_HINT}")
    if not (
        inspect.iscoroutinefunction(function)
        or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
    ):
        wrong = _unawaitable(function)
    elif (names := _positional(handler))[:3] == ["scope", "receive", "send"]:
        wrong = "looks like an ASGI application"
    elif not least <= len(names) <= most:
        wrong = f"takes {len(names)} parameters"
    elif "req" in [each for each in names if each in _OURS][1:] or names[0] == "ws":
        wrong = f"takes ({', '.join(names)}): `req` comes first"
    elif where == "error()" and "err" in names[1:]:
        wrong = f"takes ({', '.join(names)}): `err` comes first"
    elif where == "websocket()" and len(names) == 3 and "ws" in names:
        wrong = f"takes ({', '.join(names)}): a handler has no third parameter"
    else:
        return handler, len(names) == 3
    raise TypeError(f"{where} takes {wanted}, and {name_of(handler)} {wrong}. {_HINT}")


def silence_of(handler: Callable[..., object], value: object) -> tuple[str, ...]:
    """Say of *handler*, which returned *value* and has not answered, what a `NoResponse` takes."""
    if value is None:
        return (name_of(handler),)
    kind = type(value).__name__
    verb = "send" if isinstance(value, (str, bytes)) or kind == "Response" else "json"
    how = f"write `await res.{verb}(...)`"
    return name_of(handler), how, f"a value ({kind}), which Nardis does not send"


def _unawaitable(function: Callable[..., Any]) -> str:
    """Say what is wrong with a function that is no coroutine function."""
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return _GENERATOR
    if inspect.iscoroutinefunction(inspect.unwrap(function)):
        return "is async inside a decorator that is not: " + _DECORATOR
    if inspect.isfunction(function) and len(names := _positional(function)) < 2:
        # A factory, such as compression(), or a handler of another framework.
        call = f"If it makes what belongs here, call it: {function.__name__}()"
        return f"takes {len(names)} parameters and is not async. {call}. Else {_BLOCKING}"
    return f"is not async: {_BLOCKING}"


def _positional(handler: Callable[..., Any]) -> list[str]:
    """
    List the positional parameters without a default, and a `next` with one.

    `*args` fills up to three.
    """
    names: list[str] = []
    for parameter in parameters_of(handler):
        if parameter.kind is parameter.VAR_POSITIONAL:
            return [*names, *["*"] * (3 - len(names))]
        is_positional = parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        )
        if is_positional and (
            parameter.default is parameter.empty or (len(names) == 2 and parameter.name == "next")
        ):
            names.append(parameter.name)
    return names
