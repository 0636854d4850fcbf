"""
The front gate: what servers let through and no handler should see.

Source: RFC 9112 §3.2 (targets, Host) and §6.1 (framing), RFC 6585 §5 (431). hypercorn 0.18 passes all of it on (measured).
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from ..errors import HTTPError
from ..types import Scope
from .fields import content_length
from .host import valid_host

__all__ = ["checked_path", "quoted"]

# Fields that a request has once: two of them are read differently by two parties on the way.
_SINGLE: Final = (b"host", b"content-length", b"transfer-encoding")


def checked_path(scope: Scope, fields: dict[bytes, bytes], most_headers: int) -> bytes:
    """
    Check the head of a request; give its path as received, below the server's `root_path`.

    Raises:
        HTTPError: 400 for a target, Host or framing that is malformed or ambiguous; 431 for too many header lines; 501 for
            CONNECT.
    """
    headers = scope["headers"]
    if len(headers) > most_headers:
        raise HTTPError(431, f"more than {most_headers} header lines")
    if len(fields) != len(headers):
        names = [name for name, _ in headers]
        for name in _SINGLE:
            if names.count(name) > 1:
                raise HTTPError(400, f"more than one {name.decode()} field")
    host = fields.get(b"host")
    if host is not None and not valid_host(host):
        raise HTTPError(400, "malformed Host field")
    if b"content-length" in fields:
        content_length(fields[b"content-length"])
        if b"transfer-encoding" in fields:
            raise HTTPError(
                400,
                "Content-Length and Transfer-Encoding in one request",
                headers={"connection": "close"},
            )
    raw: bytes = scope.get("raw_path") or quoted(scope["path"])
    if raw[:1] != b"/" or b"?" in raw:
        raw = _checked_target(raw.partition(b"?")[0], scope["method"], host)
    if b"%00" in raw:
        raise HTTPError(400, "the path has a NUL in it")
    root: str = scope.get("root_path", "")
    if root:
        prefix = quoted(root.rstrip("/"))
        if raw.startswith(prefix) and raw[len(prefix) : len(prefix) + 1] in (b"", b"/"):
            raw = raw[len(prefix) :] or b"/"
    return raw


def quoted(path: str) -> bytes:
    """
    Percent-encode a decoded path, where a server does not give the one it received.

    >>> quoted("/a b/ü")
    b'/a%20b/%C3%BC'
    """
    return quote(path, safe="/:@!$&'()*+,;=~").encode("ascii")


def _checked_target(raw: bytes, method: str, host: bytes | None) -> bytes:
    """Take a target that is no path: `*`, or an absolute URL that names this host (RFC 9112 §3.2.2 and §3.2.4)."""
    if method == "CONNECT":
        raise HTTPError(501, "this is no proxy: CONNECT is not implemented")
    if raw[:1] == b"/" or (raw == b"*" and method == "OPTIONS"):
        return raw
    if not raw:
        return b"/"
    scheme, _, rest = raw.partition(b"://")
    authority, slash, path = rest.partition(b"/")
    if (
        scheme.lower() in (b"http", b"https")
        and authority
        and authority.lower() == (host or b"").lower()
    ):
        return slash + path or b"/"
    raise HTTPError(400, "the request target is neither a path nor a URL of this host")
