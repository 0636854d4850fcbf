"""
Default answers to errors: HTML, problem details (RFC 9457), or text, as the client prefers.

No page shows anything of the server, except a traceback with `Nardis(debug=True)`. Everything that
it repeats of the request is escaped.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from .._http import negotiation
from ..errors import HTTPError, reason_phrase

if TYPE_CHECKING:
    from ..request import Request
    from ..response import Response

__all__ = ["answer_options", "answer_problem", "unmatched"]

# Text first: it is what `*/*` gets, and a client that sends that is mostly used in a terminal.
_OFFERS: Final = ("text/plain", "text/html", "application/problem+json", "application/json")

# The fields of each form.
_TYPE: Final = b"content-type"  # first, where it is looked for
_COMMON: Final = ((b"x-content-type-options", b"nosniff"), (b"vary", b"Accept"))
_PROBLEM: Final = ((_TYPE, b"application/problem+json"), *_COMMON)
_FIELDS: Final = {
    "text/plain": ((_TYPE, b"text/plain; charset=utf-8"), *_COMMON),
    "text/html": (
        (_TYPE, b"text/html; charset=utf-8"),
        *_COMMON,
        (b"content-security-policy", b"default-src 'none'"),
    ),
    "application/problem+json": _PROBLEM,
    "application/json": _PROBLEM,
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
        cause: An error whose traceback the page shows, for developers.
    """
    res.reset(error)
    form = _form(req.exchange.fields.get(b"accept", b""))
    title = reason_phrase(error.status)
    detail, trace = error.detail, ""
    if cause is not None:
        trace = "".join(traceback.format_exception(cause))
    if form == "text/plain":
        page = f"{error}\n{trace}"
    elif form == "text/html":
        page = _html(f"{error.status} {title}", detail, trace)
    else:
        problem = {
            "type": "about:blank",
            "title": title,
            "status": error.status,
            **error.extensions,
        }
        if detail:
            problem["detail"] = detail
        if trace:
            problem["traceback"] = trace
        page = json.dumps(problem, default=str)
    res.add(_FIELDS[form], error.headers)
    if error.headers and form != "text/html":
        res.put(*_FIELDS[form][0])  # what is not escaped is never shown as HTML
    await res.send(page.encode())


def _html(title: str, detail: str, trace: str) -> str:
    escape = _escape()
    shown = f"<pre>{escape(trace)}</pre>" if trace else ""
    said = f"<p>{escape(detail)}</p>" if detail else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{title}</title>"
        f"<h1>{title}</h1>{said}{shown}</html>\n"
    )


def unmatched(req: Request) -> HTTPError | None:
    """Return the error where no route matched; None for OPTIONS, which gets a list of methods."""
    trail = req.trail
    allowed = trail.allowed
    if allowed and req.method == "OPTIONS":
        return None
    # Where a route of this very method passed on, the method is allowed and nothing was found.
    if not allowed or trail.served or not req.app.method_not_allowed:
        return HTTPError(404, f"nothing here answers {req.method} {req.path}")
    allow = _listed(allowed)
    return HTTPError(
        405, f"{req.method} is not allowed here, only {allow}", headers={"allow": allow}
    )


async def answer_options(req: Request, res: Response) -> None:
    """Answer OPTIONS with the methods of the routes that matched the path."""
    await res.status(204).set("allow", _listed(req.trail.allowed)).send()


def _listed(allowed: frozenset[str]) -> str:
    return ", ".join(sorted(allowed | {"HEAD"} if "GET" in allowed else allowed))


@cache
def _escape() -> Callable[[str], str]:
    from html import escape  # 1.3 ms, and for pages alone

    return escape


@lru_cache(maxsize=256)
def _form(accept: bytes) -> str:
    text = accept.decode("latin-1")
    return negotiation.accepts_types(text or None, _OFFERS) or "text/plain"
