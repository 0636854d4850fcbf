"""
The head of a request: what servers let through and no handler should see.

Source: RFC 9112 §3.2 (targets, Host) and §6.1 (framing); RFC 3986 §3.2.2 and §3.2.3 (hosts, ports);
RFC 6585 §5 (431). hypercorn 0.18 passes all of it on (measured).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from ..errors import HTTPError
from .fields import content_length
from .grammar import Known

__all__ = [
    "MAX_HOST_BYTES",
    "check_fields",
    "check_head",
    "path_in",
    "path_of",
    "quoted",
    "valid_host",
]

# 255 for the name (RFC 3986 §3.2.2 asks for DNS syntax, RFC 1035 §2.3.4), 6 for the port: a longer
# one resolves nowhere.
MAX_HOST_BYTES: Final = 261

# Fields that a request has once: of two, one party on the way reads the first, another the second.
_SINGLE: Final = (b"host", b"content-length", b"transfer-encoding")

_SLASH: Final = ord("/")
_QUESTION_MARK: Final = ord("?")
_PERCENT: Final = ord("%")

# The ports that need not be written, RFC 9110 §4.2.1 and §4.2.2.
_DEFAULT_PORTS: Final = {b"http": b":80", b"https": b":443"}

# uri-host [ ":" port ], with uri-host = reg-name (an IPv4address is one) or an IP-literal,
# RFC 3986 §3.2.2.
_HOST: Final = re.compile(
    rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"
    rb"|\[(?:([0-9A-Fa-f:.]+)|[Vv][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+)\])"
    rb"(?::([0-9]{0,5}))?"
)


def check_head(scope: Mapping[str, Any], fields: Mapping[bytes, bytes], most_headers: int) -> bytes:
    """
    Check the head of a request, and return its path as received, below the server's `root_path`.

    Args:
        scope: The ASGI scope of an HTTP request, or of a WebSocket with a `method`.
        fields: The lines of `scope["headers"]` by name.
        most_headers: How many header lines may come.

    Raises:
        HTTPError: 400 for a target, Host or framing that is malformed or ambiguous; 431 for too
            many header lines; 501 for CONNECT.

    >>> scope = {"method": "GET", "path": "/a b", "headers": [(b"host", b"example.com")]}
    >>> check_head(scope, dict(scope["headers"]), 100)
    b'/a%20b'
    """
    check_fields(scope["headers"], fields, most_headers)
    return path_of(scope, fields)


def check_fields(
    headers: Sequence[tuple[bytes, bytes]], fields: Mapping[bytes, bytes], most_headers: int
) -> None:
    """Check the header fields: see `check_head`."""
    if len(headers) > most_headers:
        raise HTTPError(431, f"more than {most_headers} header lines")
    if len(fields) != len(headers):
        names = [name for name, _ in headers]
        for name in _SINGLE:
            if names.count(name) > 1:
                raise HTTPError(400, f"more than one {name.decode()} field")
    host = fields.get(b"host")
    # As valid_host() does; a call would cost one percent of a plain request.
    if host is not None and (len(host) > MAX_HOST_BYTES or not _VALID_HOSTS[host]):
        raise HTTPError(400, "malformed Host field")
    if b"content-length" in fields:
        content_length(fields[b"content-length"])
        if b"transfer-encoding" in fields:
            raise HTTPError(
                400,
                "Content-Length and Transfer-Encoding in one request",
                headers={"connection": "close"},
            )


def path_of(scope: Mapping[str, Any], fields: Mapping[bytes, bytes]) -> bytes:
    """Return the path of a request, as received, below `root_path`: see `check_head`."""
    raw: bytes = scope.get("raw_path") or quoted(scope["path"])
    # Looking for one byte costs a fifth of looking for a bytes object.
    if not raw or raw[0] != _SLASH or _QUESTION_MARK in raw:
        _check_target(raw.partition(b"?")[0], scope["method"], fields.get(b"host"))
        raw = path_in(raw, scope["method"])
    if _PERCENT in raw and b"%00" in raw:
        raise HTTPError(400, "the path has a NUL in it")
    root: str = scope.get("root_path", "")
    if root:
        prefix = quoted(root.rstrip("/"))
        if raw.startswith(prefix) and raw[len(prefix) : len(prefix) + 1] in (b"", b"/"):
            raw = raw[len(prefix) :] or b"/"
    return raw


def path_in(target: bytes, method: str) -> bytes:
    """
    Return the path of a target in any form: an absolute URL's without scheme and authority.

    It begins with `/`, whatever *target* is, or is the `*` of OPTIONS. So behind the base URL of
    another service it names no other host. What is no target at all gives `/`: `check_head` refuses
    it.

    Source: RFC 9112 §3.2.
    >>> path_in(b"/a?b", "GET"), path_in(b"http://a.example/b?c", "GET")
    (b'/a', b'/b')
    >>> path_in(b"http://a.example", "GET"), path_in(b"a.example:443", "CONNECT")
    (b'/', b'/')
    """
    path = target.partition(b"?")[0]
    if path[:1] == b"/" or (path == b"*" and method == "OPTIONS"):
        return path
    _, _, rest = path.partition(b"://")
    _, slash, path = rest.partition(b"/")
    return slash + path or b"/"


def quoted(path: str) -> bytes:
    """
    Percent-encode a decoded path, for a server that does not pass on the one it received.

    >>> quoted("/a b/ü")
    b'/a%20b/%C3%BC'
    """
    return quote(path, safe="/:@!$&'()*+,;=~").encode("ascii")


def valid_host(value: bytes) -> bool:
    """
    Return whether a Host field is `uri-host [":" port]` only: no user, no path, no blank.

    The empty value is valid: RFC 9112 §3.2 makes a client send it when its target has no authority.
    A port without a host is not: no http URI may have an empty host (RFC 9110 §4.2.1). IPv6
    addresses stand in brackets, without a zone. Ports end at 65535, hosts at 255 bytes.

    Source: RFC 9112 §3.2; RFC 3986 §3.2.2 and §3.2.3.
    >>> valid_host(b"example.com:8000"), valid_host(b"[::1]")
    (True, True)
    >>> valid_host(b"a/evil?x#"), valid_host(b"user@example.com")
    (False, False)
    """
    return len(value) <= MAX_HOST_BYTES and _VALID_HOSTS[value]


def _valid_host(value: bytes) -> bool:
    if not value:
        return True
    match = _HOST.fullmatch(value)
    if match is None or int(match[2] or b"0") > 65535:
        return False
    return match[1] is None or _is_ipv6(match[1])


_VALID_HOSTS: Final = Known(_valid_host)


def _is_ipv6(address: bytes) -> bool:
    # Imported late, because few requests name an address, and importing it takes a millisecond.
    from ipaddress import IPv6Address

    try:
        IPv6Address(address.decode("ascii"))
    except ValueError:
        return False
    return True


def _without(port: bytes, authority: bytes) -> bytes:
    """Return *authority* in lower case, without *port* or an empty one (RFC 9110 §4.2.3)."""
    return authority.lower().removesuffix(port).removesuffix(b":")


def _check_target(raw: bytes, method: str, host: bytes | None) -> None:
    """
    Refuse what is no target for us: neither a path, nor `*`, nor an absolute URL of this host.

    Source: RFC 9112 §3.2.2 and §3.2.4.
    """
    if method == "CONNECT":
        raise HTTPError(501, "this is no proxy: CONNECT is not implemented")
    if not raw or raw[0] == _SLASH or (raw == b"*" and method == "OPTIONS"):
        return
    scheme, _, rest = raw.partition(b"://")
    port = _DEFAULT_PORTS.get(scheme.lower())
    named = _without(port, rest.partition(b"/")[0]) if port else b""
    if not named or named != _without(port or b"", host or b""):
        raise HTTPError(400, "the request target is neither a path nor a URL of this host")
