"""
Let pages of other origins read the answers: cross-origin resource sharing.

    app.use(cors(origins=["https://app.example.com"]))

Without it a browser keeps what a page of another origin asked for from that page. It guards nothing
else: programs that are no browsers do not ask, and a form of another site may post here anyway.

Source: Fetch §3.3 (the CORS protocol), §4.8 (CORS-preflight fetch); RFC 9110 §12.5.5 (Vary).
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from datetime import timedelta
from inspect import isawaitable
from typing import Final, Protocol, TypeAlias

from .._http.fields import check_name
from .._http.grammar import TOKEN
from .._http.listing import listed
from .._http.origins import ANY, NULL, check_origins, is_origin
from ..errors import UsageError
from ..handlers import Middleware
from ..request import Request
from ..response import Response
from ..types import Next

__all__ = ["OriginCheck", "cors"]

# What HTML forms can do, and what APIs want beside it.
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

# What an answer to a page has. Of two of these middlewares the inner one knows better.
FIELDS: Final = (
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-expose-headers",
)

# How long a browser may remember the answer to a preflight: ten minutes. Left to themselves they
# ask again after five seconds (Fetch §4.9).
MAX_AGE_S: Final = 600


class OriginCheck(Protocol):
    """Decides whether an origin may read the answer to a request; it may be async."""

    def __call__(self, origin: str, req: Request, /) -> bool | Awaitable[bool]:
        """Return whether *origin* may; it is written as browsers do, and never `null`."""
        ...


# `"*"`, one origin, several, or a function.
_Origins: TypeAlias = "str | Iterable[str] | OriginCheck"


def cors(
    *,
    origins: _Origins,
    methods: Iterable[str] = METHODS,
    headers: Iterable[str] | None = None,
    expose_headers: Iterable[str] = (),
    credentials: bool = False,
    max_age: float | timedelta | None = MAX_AGE_S,
) -> Middleware:
    """
    Make a middleware that lets pages of other origins read the answers, errors too.

        app.use("/api", cors(origins=["https://app.example.com"], credentials=True))

    It answers preflights by itself: 204, without what stands behind it. Any other OPTIONS request
    passes. So do WebSockets, to which CORS does not apply. Give it to `app.use` or `router.use`: a
    route of one method never sees the preflight, which is an OPTIONS request. Of two around one
    route the inner one says who may read, and the outer one answers preflights. One in a mounted
    application, or behind a wrapped middleware, only adds to what the outer one has set.

    Args:
        origins: Who may: exact origins (`"https://example.com:8443"`), `"*"` for all, or a function
            `(origin, req)`, sync or async. `"null"`, which any site can be, has to be named.
        methods: What may be asked for. Browsers ask for GET, HEAD and POST without leave.
        headers: The fields that a page may set; None is each that it asks for.
        expose_headers: The fields of an answer that a page may read, beside the usual ones.
        credentials: Whether cookies and passwords may go with a request, and the answer be read
            then. Never for `"*"` or `"null"`.
        max_age: How long browsers may remember a preflight's answer, in seconds or as a timedelta.
            They have bounds of their own, two hours in Chromium. None leaves it to them.

    Raises:
        UsageError: An origin that is none, `*` or `null` with *credentials*, a text where a list
            belongs, or a time that is none.
        FieldError: A method or field that is no token.

    Source: Fetch §3.3.
    """
    named = _check_origins(origins)
    allowed = [method.upper() for method in _check_names("methods", methods)]
    settable = None if headers is None else _check_names("headers", headers)
    exposed = _check_names("expose_headers", expose_headers)
    if credentials:
        _check_credentials(named, [*allowed, *(settable or ()), *exposed])
    answers = {"access-control-allow-credentials": "true"} if credentials else {}
    preflights = {**answers, "access-control-allow-methods": ", ".join(allowed)}
    if exposed:
        answers["access-control-expose-headers"] = ", ".join(exposed)
    if settable:
        preflights["access-control-allow-headers"] = ", ".join(settable)
    if max_age is not None:
        preflights["access-control-max-age"] = str(_check_seconds(max_age))
    return _Cors(named, answers, preflights, reflects=settable is None)


def _check_origins(origins: _Origins) -> frozenset[str] | OriginCheck:
    """Return the origins as browsers write them, or the function that knows them."""
    if callable(origins):
        return origins
    return check_origins("cors(origins=...)", origins)


def _check_names(option: str, names: Iterable[str]) -> list[str]:
    """Return names of fields, each of which is a token."""
    checked = listed(f"cors({option}=...)", names)
    for name in checked:
        check_name(name)
    return checked


def _check_credentials(origins: frozenset[str] | OriginCheck, names: list[str]) -> None:
    """Refuse what would let every site read with the cookies of its visitors (Fetch §3.3.5)."""
    if not callable(origins) and not origins.isdisjoint({ANY, NULL}):
        raise UsageError(
            "cors(credentials=True) takes no '*' and no 'null': any site could read what its "
            "visitors may read. Name the origins, or give a function of origin and request"
        )
    if ANY in names:
        raise UsageError("with cors(credentials=True) a '*' is no wildcard: list the names")


def _check_seconds(time: float | timedelta) -> int:
    seconds = time.total_seconds() if isinstance(time, timedelta) else time
    is_number = isinstance(seconds, (int, float))  # pyright: ignore[reportUnnecessaryIsInstance]  # for untyped callers
    if not is_number or not 0 <= seconds < float("inf"):  # nor is NaN
        raise UsageError(
            f"cors(max_age=...) takes seconds or a timedelta, of 0 or more, not {time!r}"
        )
    return int(seconds)


class _Cors:
    """The middleware that `cors` makes."""

    def __init__(
        self,
        origins: frozenset[str] | OriginCheck,
        answers: dict[str, str],
        preflights: dict[str, str],
        *,
        reflects: bool,
    ) -> None:
        self._origins = origins
        self._answers = answers
        self._preflights = preflights
        self._reflects = reflects
        self._is_open = not callable(origins) and ANY in origins

    async def __call__(self, req: Request, res: Response, next: Next) -> None:
        if req.is_websocket:
            return await next()
        origin = req.get("origin")
        # Without Origin, or without the method that a browser is about to use, it is a question
        # about this server like any other (Fetch §4.8).
        is_preflight = (
            req.method == "OPTIONS"
            and origin is not None
            and req.get("access-control-request-method") is not None
        )
        reflects = is_preflight and self._reflects
        if not self._is_open:
            # A hook, because a handler may set a Vary of its own: then a cache would give to one
            # page what was allowed to another. A closure, which costs a third of a `partial`.
            res.on_head(lambda: _vary(res))
        if reflects:
            res.vary("Access-Control-Request-Headers")
        if res.get(FIELDS[0]) is not None:
            for field in FIELDS:
                res.remove(field)
        allowed = ANY if self._is_open else await self._allowed(origin, req)
        if allowed is not None:
            res.set(FIELDS[0], allowed)
            res.set(self._preflights if is_preflight else self._answers)
            if reflects:
                _reflect(req, res)
        await (res.status(204).send() if is_preflight else next())

    async def _allowed(self, origin: str | None, req: Request) -> str | None:
        """Return *origin* if it may read the answer."""
        if origin is None:
            return None
        if not callable(self._origins):
            return origin if origin in self._origins else None
        if not is_origin(origin):
            return None
        answer = self._origins(origin, req)
        if isawaitable(answer):
            answer = await answer
        return origin if answer else None


def _vary(res: Response) -> None:
    """Say that the answer depends on the origin."""
    if res.get("vary") is None:
        res.set("vary", "Origin")  # the short way
    else:
        res.vary("Origin")


def _reflect(req: Request, res: Response) -> None:
    """Allow the fields that a preflight asks for, if it is a list of names."""
    value = req.get("access-control-request-headers", "")
    asked = [name.strip(" \t") for name in value.split(",")]
    if all(TOKEN.fullmatch(name) for name in asked):
        res.set("access-control-allow-headers", ", ".join(asked))
