"""
Web origins: the scheme, host and port of a page, as a browser names them in Origin.

Source: RFC 6454 §6.2 and §7; WHATWG HTML, "serialization of an origin"; Fetch §3.2.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Final

from ..errors import UsageError

__all__ = ["NULL", "check_origin", "is_origin"]

# What a browser sends for a page without an origin of its own: a sandboxed frame, a `data:` URL, a
# file. Any site can make one.
NULL: Final = "null"

# The ports that a browser leaves out.
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MOST_PORT: Final = 65535

# Extensions, and shells around web pages, have schemes of their own.
_ORIGIN: Final = re.compile(
    r"([a-z][a-z0-9+.\-]*)://([a-z0-9._\-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?"
)
_HOW: Final = "an origin is scheme://host[:port], such as 'https://example.com'"


def is_origin(value: str) -> bool:
    """
    Return whether an Origin field names one origin, as browsers write it; `null` is none.

    >>> is_origin("https://example.com:8443"), is_origin("https://example.com/"), is_origin("null")
    (True, False, False)
    """
    return _ORIGIN.fullmatch(value) is not None


def check_origin(text: str) -> str:
    """
    Check an origin that a program names, and return it as a browser writes it.

    Capitals become small, and the port that a scheme has anyway goes. `null` is taken.

    Raises:
        UsageError: It is no origin; the message says what to write.

    Source: WHATWG HTML, "serialization of an origin"; RFC 5952 (IPv6 addresses).
    >>> check_origin("HTTPS://Example.com:443"), check_origin("http://localhost:5173")
    ('https://example.com', 'http://localhost:5173')
    """
    if text == NULL:
        return NULL
    found = _ORIGIN.fullmatch(text.lower()) if isinstance(text, str) else None  # type: ignore[redundant-expr]  # for untyped callers
    if found is None:
        raise UsageError(f"{text!r} is no origin: {_advice(text)}")
    scheme, host, digits = found.groups()
    port = int(digits) if digits else None
    if port is not None and port > _MOST_PORT:
        raise UsageError(f"{text!r} is no origin: ports end at {_MOST_PORT}")
    if host[0] == "[":
        try:
            host = f"[{IPv6Address(host[1:-1])}]"
        except ValueError as exc:
            raise UsageError(f"{text!r} is no origin: {exc}") from None
    is_written = port is not None and port != _DEFAULT_PORTS.get(scheme)
    return f"{scheme}://{host}:{port}" if is_written else f"{scheme}://{host}"


def _advice(text: object) -> str:
    """Say what to write in place of *text*."""
    if not isinstance(text, str):
        return _HOW
    if "*" in text:
        return (
            "'*' stands alone, for every origin; for the names below a domain give a function of "
            "origin and request"
        )
    if not text.isascii():
        return f"{_HOW}; a name outside ASCII is written as browsers send it, xn--..."
    wanted = text.strip().lower()
    for candidate in (wanted, f"https://{wanted}"):
        found = _ORIGIN.match(candidate)
        if found is not None and candidate[found.end() :][:1] in ("", "/", "?", "#"):
            return f"write {found[0]!r}"
    return _HOW
