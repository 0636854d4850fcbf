"""What is said of a call: to the log, to the access log, and to a test client."""

from __future__ import annotations

import logging

from ._asgi.extensions import ACCESS, ERRORS, extension
from ._failures import described, exc_info_of, explained, one_line
from .errors import ClientDisconnected, HTTPError, ResponseAborted
from .request import Request
from .types import Scope

__all__ = ["asked", "log_cut", "log_late", "note", "report"]

logger: logging.Logger = logging.getLogger("nardis")


def log_late(req: Request, error: BaseException, when: str) -> None:
    """Log an error that comes too late to be answered."""
    details = (*asked(req), when, described(error))
    logger.error("%s %s failed %s: %s", *details, exc_info=exc_info_of(explained(error)))
    report(req, error)


def log_cut(req: Request, error: BaseException | None, reason: str | None, size: int) -> None:
    """
    Log that a response was cut.

    By the shutdown it is nobody's fault; by a limit or a request it may be the client's.
    """
    level, exc_info = logging.ERROR, None if error is None else exc_info_of(error)
    if error is None or isinstance(error, (ClientDisconnected, ResponseAborted)):
        level = logging.INFO if reason == "shutdown" else logging.WARNING
    elif isinstance(error, HTTPError) and error.status < 500:
        level, exc_info = logging.WARNING, None
    else:
        explained(error)
    text = "%s %s failed after %d body bytes, truncated=True: %s"
    details = (*asked(req), size, reason if error is None else described(error))
    logger.log(level, text, *details, exc_info=exc_info, extra={"truncated": True})


def asked(req: Request) -> tuple[str, str]:
    """Return method and URL for the log: not all servers refuse those that would forge lines."""
    return one_line(req.method), one_line(req.original_url)


def note(scope: Scope, reason: str | None, code: int | None = None) -> None:
    """Tell the access log of `nardis.server` why the exchange was closed."""
    notes = extension(scope, ACCESS)
    if notes is not None:
        notes["close_reason"], notes["close_code"] = reason, code


def report(req: Request, error: BaseException) -> None:
    """Hand an error that was answered with a 500 to a test client that asks for it."""
    errors = extension(req.scope, ERRORS)
    if errors is not None:
        errors.append(error)
