"""
An id for each request: in the answer, in the logs, and for the services that are asked next.

    app.use(request_id())

The id is in `req.state.request_id`, in a field of every answer, in the access log of `nardis
serve`, and in `current_request_id()` wherever the request's code runs. `RequestIDFilter` puts it on
the records of `logging`.

Source: RFC 9562 §5.7 (UUIDs of version 7).
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from inspect import iscoroutinefunction
from typing import Final, TypeAlias

from .._http.fields import check_name
from ..errors import UsageError
from ..handlers import Middleware
from ..request import Request
from ..response import Response
from ..types import Next

__all__ = ["RequestIDFilter", "current_request_id", "make_request_id", "request_id"]

# Whose id is taken: the client's always, never, or where a function says so.
Trust: TypeAlias = "bool | Callable[[Request], bool]"

# What an id from outside may be: no blank, no quote, no backslash, no end of a line, so that no
# form of log can be led astray. UUIDs, W3C trace ids, base64 and Amzn-Trace-Id are among it.
_SANE: Final = re.compile(r"[A-Za-z0-9\-._~+/=:;@]{1,128}")

# The digit of a UUID whose upper two bits are its variant, `10`; by a random byte.
_VARIANT: Final = "89ab" * 64


class _Tag:
    """
    The id of one request.

    Attributes:
        id: None when it is over.
    """

    __slots__ = ("id",)

    def __init__(self, id: str) -> None:
        self.id: str | None = id

    async def end(self) -> None:
        """Let the id be forgotten."""
        self.id = None


_current: ContextVar[_Tag | None] = ContextVar("nardis.request_id", default=None)


def current_request_id() -> str | None:
    """
    Return the id of the request that this code runs for; None outside of one.

    It is a context variable: tasks that a handler starts have it, deferred calls and threads as
    well.
    """
    tag = _current.get()
    return None if tag is None else tag.id


def make_request_id() -> str:
    """
    Make an id: a UUID of version 7 without its hyphens, in 32 hexadecimal digits.

    Ids sort by the time they were made, to the millisecond. The rest is 74 random bits, so nobody
    guesses one; still it is a name, and no secret. It may stand where W3C Trace Context wants a
    trace id.

    Source: RFC 9562 §5.7.
    """
    random = os.urandom(10)
    digits = random.hex()
    milliseconds = time.time_ns() // 1_000_000
    return f"{milliseconds:012x}7{digits[:3]}{_VARIANT[random[9]]}{digits[3:18]}"


def request_id(
    *,
    field: str = "X-Request-ID",
    trust: Trust = False,
    make: Callable[[], str] = make_request_id,
) -> Middleware:
    """
    Make a middleware that gives each request an id.

        app.use(request_id())

    Use it first, so that it is around everything else. The id is in `req.state.request_id`, in
    `req.access_fields`, in `current_request_id()`, and in *field* of the answer: those to errors
    and 304 too.

    Args:
        field: Where it is read from, and sent.
        trust: Whether the request's own field is taken, or a function of the request that says so.
            Behind a proxy that sets the field it is right: `lambda req: bool(req.ips)` takes it
            from those that `Nardis(trust_proxy=...)` names. A field of more than 128 characters, or
            with others than letters, digits and `-._~+/=:;@`, is not taken.
        make: Makes an id where none is taken.

    Raises:
        FieldError: *field* is no field name.
        UsageError: *trust* or *make* is an async function, or none of what it may be.

    Cancellation: the id stays for what is logged of it, and is gone when the request is over.
    """
    check_name(field)
    for name, function in {"trust": trust, "make": make}.items():
        if iscoroutinefunction(function):
            raise UsageError(f"request_id({name}=...) takes a function that is not async")
    if not (isinstance(trust, bool) or callable(trust)):  # "loopback" would be as good as True
        raise UsageError(
            f"request_id(trust=...) takes True, False, or a function of the request, not {trust!r}."
            " For proxies that Nardis(trust_proxy=...) names write `trust=lambda req: "
            "bool(req.ips)`: only they make req.ips"
        )
    if not callable(make):
        raise UsageError(f"request_id(make=...) takes a function without parameters, not {make!r}")
    return _RequestID(field, trust, make)


class _RequestID:
    """The middleware that `request_id` makes."""

    def __init__(self, field: str, trust: Trust, make: Callable[[], str]) -> None:
        self._field = field
        self._trust = trust
        self._make = make

    async def __call__(self, req: Request, res: Response, next: Next) -> None:
        id = self._taken(req) or self._make()
        res.set(self._field, id)
        req.state.request_id = req.access_fields["request_id"] = id
        token = _current.set(_Tag(id))
        try:
            await next()
        except BaseException:
            # What failed is logged outside of all middlewares, by the same task, and wants the id.
            # The task may serve other requests after this one: the deferred call comes last.
            failed = _Tag(id)
            _current.set(failed)
            req.defer(failed.end)
            raise
        _current.reset(token)

    def _taken(self, req: Request) -> str | None:
        """Return the id that the request brought, if it is trusted and sane."""
        given = req.get(self._field) if self._trust else None
        if given is None or not _SANE.fullmatch(given):
            return None
        return given if not callable(self._trust) or self._trust(req) else None


class RequestIDFilter(logging.Filter):
    """
    Put the id of the current request on each record, as `%(request_id)s`; `-` outside of one.

        handler.addFilter(RequestIDFilter())

    Add it to handlers: the filters of a logger see only what is logged to that very logger. A
    record that has an id keeps it, so the one of a `QueueHandler` is right behind the queue.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Put the id on *record*, which always passes."""
        if not hasattr(record, "request_id"):
            record.request_id = current_request_id() or "-"
        return True
