"""The value of Host."""

from __future__ import annotations

import re
from functools import lru_cache

from .grammar import CACHED_VALUES

__all__ = ["MAX_HOST_BYTES", "valid_host"]


# 255 for the name (RFC 3986 §3.2.2 asks for DNS syntax, RFC 1035 §2.3.4), 6 for the port: what is longer resolves nowhere.
MAX_HOST_BYTES = 261

# uri-host [ ":" port ] with uri-host = reg-name (an IPv4address is one) or an IP-literal, RFC 3986 §3.2.2.
_HOST = re.compile(
    rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"
    rb"|\[(?:([0-9A-Fa-f:.]+)|[Vv][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+)\])"
    rb"(?::([0-9]{0,5}))?"
)


def valid_host(value: bytes) -> bool:
    """
    Tell whether a Host field is `uri-host [":" port]` and nothing else: no user, no path, no blank.

    The empty value is valid: RFC 9112 §3.2 makes a client send it when its target has no authority. A port without a host
    is not: no http URI may have an empty host (RFC 9110 §4.2.1). IPv6 addresses stand in brackets, without a zone.
    Ports end at 65535, hosts at 255 bytes.

    Source: RFC 9112 §3.2; RFC 3986 §3.2.2 and §3.2.3.
    >>> valid_host(b"example.com:8000"), valid_host(b"[::1]"), valid_host(b"a/evil?x#"), valid_host(b"user@example.com")
    (True, True, False, False)
    """
    return len(value) <= MAX_HOST_BYTES and _valid_host(value)


@lru_cache(CACHED_VALUES)
def _valid_host(value: bytes) -> bool:
    if not value:
        return True
    match = _HOST.fullmatch(value)
    if match is None or int(match[2] or b"0") > 65535:
        return False
    return match[1] is None or _is_ipv6(match[1])


def _is_ipv6(address: bytes) -> bool:
    from ipaddress import (
        IPv6Address,  # Here, because few requests name an address and importing it takes a millisecond.
    )

    try:
        IPv6Address(address.decode("ascii"))
    except ValueError:
        return False
    return True
