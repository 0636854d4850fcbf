"""
Web origins: the scheme, host and port of a page, as a browser names them in Origin.

Source: RFC 6454 §6.2 and §7; WHATWG HTML, "serialization of an origin"; Fetch §3.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import Final

from ..errors import UsageError
from .listing import listed

__all__ = ["ANY", "NULL", "check_origin", "check_origins", "is_origin", "is_same_origin"]

# Stands for all of them.
ANY: Final = "*"

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


def check_origins(option: str, given: str | Iterable[str]) -> frozenset[str]:
    """
    Check the origins that are given to an option, one or several; `*` is taken.

    Raises:
        UsageError: One is no origin, or they are no list.

    >>> sorted(check_origins("cors(origins=...)", ["https://a.example", "*"]))
    ['*', 'https://a.example']
    """
    named = listed(option, [given] if isinstance(given, str) else given)
    return frozenset(each if each == ANY else check_origin(each) for each in named)


def is_same_origin(origin: str, scheme: str, host: str | None) -> bool:
    """
    Return whether an Origin field names where a request itself went.

    A secure page may ask a server that sees no TLS: a proxy in front of it speaks that. The other
    way round the page was not secure, and anybody on the way may have changed it.

    Args:
        origin: As the browser wrote it.
        scheme: Of the request, `http` or `https`.
        host: That the request asked for, with its port.

    Source: RFC 6454 §5.
    >>> is_same_origin("https://a.example", "http", "a.example")
    True
    >>> is_same_origin("http://a.example", "https", "a.example")
    False
    """
    found = _ORIGIN.fullmatch(origin)
    port = None if found is None else found[3] or _DEFAULT_PORTS.get(found[1])
    # Other schemes are of extensions, and of shells around web pages.
    if found is None or found[1] not in _DEFAULT_PORTS or not host:
        return False
    if scheme == "https" and found[1] == "http":
        return False
    here = host.lower()
    return here == f"{found[2]}:{port}" or (found[3] is None and here == found[2])


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
