"""
Default answers to errors: HTML, problem details (RFC 9457), or text, as the client prefers.

No page shows anything of the server, except with `Nardis(debug=True)`. Everything that it repeats
of the request is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from math import isfinite
from typing import Any, Final, TypeAlias, cast

from .._failures import failure_of, message_of
from .._http import negotiation
from .._http.grammar import Known
from .._sending.whole import LENGTHS, TYPE
from ..errors import HTTPError, NotModified, reason_phrase
from ..request import Request
from ..response import Response
from .layer import WEBSOCKET

__all__ = ["answer_not_modified", "answer_options", "answer_problem", "unmatched"]

# A media type that is offered, or a page in it; and the fields of such a page.
_Form: TypeAlias = "tuple[str, Sequence[tuple[bytes, bytes]]]"

_WEBSOCKET: Final = frozenset({WEBSOCKET})

_TEXT: Final = "text/plain"
_HTML: Final = "text/html"
_PROBLEMS: Final = ("application/problem+json", "application/json")

# Text first: it is what `*/*` gets, and a client that sends that is mostly used in a terminal.
_OFFERS: Final = (_TEXT, _HTML, *_PROBLEMS)
_OFFERS_OF_AN_API: Final = (*_PROBLEMS, _TEXT, _HTML)

# Of a member of problem details that needs care. No reader of JSON wants more.
_MOST_NESTED: Final = 50
_MOST_BITS: Final = 1024

# What a 304 does not have, because it has no body. The rest may bring a stored answer up to date
# (RFC 9111 §3.2).
_OF_A_BODY: Final = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-range",
    "content-type",
)

# The fields of each form, the type first, where it is looked for.
_COMMON: Final = ((b"x-content-type-options", b"nosniff"), (b"vary", b"Accept"))
_PROBLEM: Final = ((TYPE, b"application/problem+json"), *_COMMON)
_FIELDS: Final = {
    _TEXT: ((TYPE, b"text/plain; charset=utf-8"), *_COMMON),
    _HTML: (
        (TYPE, b"text/html; charset=utf-8"),
        *_COMMON,
        (b"content-security-policy", b"default-src 'none'"),
    ),
    **dict.fromkeys(_PROBLEMS, _PROBLEM),
}


async def answer_problem(
    error: HTTPError, req: Request, res: Response, cause: BaseException | None = None
) -> None:
    """
    Answer *error* in the form that the client prefers.

    Args:
        error: What to answer; its own fields win over those of the page.
        req: The request.
        res: Its response, of which nothing has been sent.
        cause: An error that the page shows with all about it, for developers.
    """
    res.reset(error)
    accept = req.exchange.fields.get(b"accept", b"")
    form, fields = (_FORMS if req.app.errors == "auto" else _FORMS_OF_AN_API)[accept]
    if cause is not None:
        page, fields = _debugged(form, fields, error, req, cause)
    elif form == _HTML:
        page = _html(error)
    elif form == _TEXT:
        try:
            page = f"{error}\n"
        except BaseException as exc:  # of its own `__str__`
            failure_of(exc)  # lets a cancellation go on, here and below
            page = f"{message_of(error)}\n"
    else:
        page = _json(_problem(error))
    try:
        body = page.encode()
    except UnicodeEncodeError:
        body = _mended(page).encode()
    res.add((*fields, LENGTHS[len(body)]), error.headers)
    if error.headers and form != _HTML:
        res.put(*fields[0])  # what is not escaped is never shown as HTML
    await res.send(body)


def _html(error: HTTPError) -> str:
    escape = _escape()
    title = f"{error.status} {reason_phrase(error.status)}"
    detail = error.detail
    if type(detail) is not str and detail:  # markup escapes in a way of its own
        detail = message_of(detail)
    said = f"<p>{escape(detail)}</p>" if detail else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{title}</title>"
        f"<h1>{title}</h1>{said}</html>\n"
    )


def _problem(error: HTTPError) -> dict[str, Any]:
    """Return the members of RFC 9457 §3.1, and the extensions of §3.2."""
    problem = {
        "type": "about:blank",
        "title": reason_phrase(error.status),
        "status": error.status,
        **error.extensions,
    }
    # §3.1.3: it is that of the answer. A type and a title may be the application's own.
    problem["status"] = error.status
    if error.detail:
        problem["detail"] = error.detail
    else:
        problem.pop("detail", None)
    return problem


def _debugged(
    form: str,
    fields: Sequence[tuple[bytes, bytes]],
    error: HTTPError,
    req: Request,
    cause: BaseException,
) -> _Form:
    """Return a page for developers, and its fields."""
    from . import debug_page  # never in production

    report = debug_page.report_on(error, cause, req)
    if form == _TEXT:
        return debug_page.as_text(report), fields
    if form == _HTML:
        return debug_page.as_html(report), (*fields[:-1], debug_page.POLICY)
    return _json({**_problem(error), **debug_page.as_members(report)}), fields


def unmatched(req: Request) -> HTTPError | None:
    """Return the error where no route matched; None for OPTIONS, which gets a list of methods."""
    trail = req.trail
    allowed = trail.allowed
    if req.scope["type"] == "websocket":
        return HTTPError(404, "no WebSocket is served at this path")
    if allowed:
        if WEBSOCKET in allowed:
            allowed -= _WEBSOCKET
            if not (allowed or trail.served):
                return HTTPError(
                    426,
                    "this is a WebSocket: open it with the ws: or wss: scheme",
                    headers={"upgrade": "websocket", "connection": "upgrade"},
                )
        if req.method == "OPTIONS" and allowed:
            return None
    # HEAD has the length that GET would have (RFC 9110 §8.6).
    method = "GET" if req.method == "HEAD" else req.method
    # Where a route of this very method passed on, the method is allowed and nothing was found.
    if not allowed or trail.served or not req.app.method_not_allowed:
        return HTTPError(404, f"no route answers {method} for this path")
    allow = _listed(allowed)
    return HTTPError(405, f"{method} is not allowed here, only {allow}", headers={"allow": allow})


async def answer_options(req: Request, res: Response) -> None:
    """Answer OPTIONS with the methods of the routes that matched the path."""
    await res.status(204).set("allow", _listed(req.trail.allowed - _WEBSOCKET)).send()


async def answer_not_modified(error: NotModified, res: Response) -> None:
    """Answer 304 with the fields that are set, except those of a body (RFC 9110 §15.4.5)."""
    res.req.exchange.end_data = None
    res.sealed = False  # nothing was sent, whatever went wrong after the head was composed
    for name in _OF_A_BODY:
        res.remove(name)
    for name, value in error.headers.items():
        if res.get(name) is None:
            res.set(name, value)
    await res.status(304).send()


def _listed(allowed: frozenset[str]) -> str:
    return ", ".join(sorted(allowed | {"HEAD"} if "GET" in allowed else allowed))


@cache
def _escape() -> Callable[[str], str]:
    from html import escape  # 1.3 ms, and for pages alone

    return escape


def _best(offers: tuple[str, *tuple[str, ...]], accept: bytes) -> _Form:
    form = negotiation.accepts_types(accept.decode("latin-1") or None, offers) or offers[0]
    return form, _FIELDS[form]


# By what the client accepts.
_FORMS: Final = Known(partial(_best, _OFFERS), most=256)
_FORMS_OF_AN_API: Final = Known(partial(_best, _OFFERS_OF_AN_API), most=256)


# --- what any error may hold ----------------------------------------------------------------------


def _mended(page: str) -> str:
    """Replace half of a surrogate pair, which UTF-8 lacks, by U+FFFD."""
    return page.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _json(problem: dict[str, Any]) -> str:
    """Write a problem as JSON, whatever it holds: a 4xx must not become a 500 for it."""
    try:
        return json.dumps(problem, default=_like_json, allow_nan=False, ensure_ascii=False)
    except BaseException as exc:  # NaN, a circle, a key that is no str, a number of 5,000 digits
        failure_of(exc)
        return json.dumps(_plain(problem, frozenset()), ensure_ascii=False)


def _like_json(value: object) -> object:
    if isinstance(value, (set, frozenset)):
        return list(cast("set[object]", value))
    return message_of(value)


def _plain(value: object, around: frozenset[int]) -> object:
    """
    Copy *value* into what JSON has; what it lacks becomes text.

    *around* are the ids of the containers that it lies in: one that holds itself ends there.
    """
    itself = id(value)
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        if itself in around or len(around) == _MOST_NESTED:
            return "..."
        inside = around | {itself}
        if isinstance(value, dict):
            pairs = cast("dict[object, object]", value).items()
            return {message_of(key): _plain(each, inside) for key, each in pairs}
        return [_plain(each, inside) for each in cast("Iterable[object]", value)]
    if isinstance(value, float):
        return value if isfinite(value) else message_of(value)
    if isinstance(value, int):
        return value if value.bit_length() <= _MOST_BITS else message_of(value)
    return value if value is None or isinstance(value, str) else message_of(value)
