"""
Host names: what a Host field says without its port, and the patterns that an application allows.

Source: RFC 9110 §7.2 (Host); RFC 3986 §3.2.2 (hosts); RFC 1034 §3.1 (labels, the dot at the end);
RFC 5890 §2.3.2.1 (names that are not ASCII).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from ..errors import UsageError
from .request_head import MAX_HOST_BYTES, valid_host

__all__ = ["HostPatterns", "compile_hosts", "host_name", "subdomains"]

# What people write around a host: a scheme before it, a path or a query behind it.
_AROUND: Final = re.compile(r"\A(?:[A-Za-z][A-Za-z0-9+.\-]*:)?//|[/?#].*", re.DOTALL)


# --- the host of a request ------------------------------------------------------------------------


def host_name(host: str | None) -> str:
    """
    Return a host without its port, in lower case; `""` if there is none.

    The brackets of an IPv6 address stay, and so does a dot at the end.

    Args:
        host: A Host field, or what a proxy says of it.

    Source: RFC 3986 §3.2.2 and §6.2.2.1; Express 5, `req.hostname`.
    >>> host_name("Example.com:8000"), host_name("[::1]:8000"), host_name(None)
    ('example.com', '[::1]', '')
    """
    if not host:
        return ""
    # The colons of an IPv6 address stand before its bracket.
    colon = host.find(":", host.find("]") + 1 if host[0] == "[" else 0)
    return (host if colon < 0 else host[:colon]).lower()


def subdomains(hostname: str, offset: int = 2) -> list[str]:
    """
    Return the labels below the domain of an application, the one next to the domain first.

    An IP address has none. A dot at the end is ignored.

    Args:
        hostname: What `host_name` returns.
        offset: How many labels the domain has.

    Raises:
        UsageError: *offset* is negative.

    Source: Express 5, `req.subdomains`; RFC 1123 §2.1 (a last label of digits is an address).
    >>> subdomains("tobi.ferrets.example.com"), subdomains("127.0.0.1")
    (['ferrets', 'tobi'], [])
    """
    if offset < 0:
        raise UsageError(f"a domain cannot have {offset} labels: write 0 or more")
    name = hostname.removesuffix(".")
    return [] if not name or _is_address(name) else name.split(".")[::-1][offset:]


# --- the hosts that an application allows ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostPatterns:
    """
    Hosts that an application answers for; `compile_hosts` makes them.

    Attributes:
        names: Whole host names.
        domains: Domains whose subdomains match.
        everything: Whether any host matches.
    """

    names: frozenset[str]
    domains: frozenset[str]
    everything: bool

    def match(self, hostname: str) -> bool:
        """
        Return whether *hostname*, which is without a port, matches one of the patterns.

        Capitals and a dot at the end make no difference, nor does the spelling of an IPv6 address.
        The work grows with the labels of the name, not with the number of patterns.

        Source: RFC 4343 §3 (capitals); RFC 5952 (spellings of an IPv6 address).
        >>> patterns = compile_hosts(["example.com", "*.example.com"])
        >>> patterns.match("A.b.Example.com."), patterns.match("example.org")
        (True, False)
        """
        if self.everything:
            return True
        # The bound is also what keeps the slices below linear.
        if len(hostname) > MAX_HOST_BYTES:
            return False
        name = _normal(hostname)
        if name in self.names:
            return True
        dot = name.find(".")
        while dot > 0:
            if name[dot + 1 :] in self.domains:
                return True
            dot = name.find(".", dot + 1)
        return False


def compile_hosts(patterns: Iterable[str]) -> HostPatterns:
    """
    Read a list of host patterns.

    Args:
        patterns: Each is a name (`"example.com"`), an address (`"127.0.0.1"`, `"[::1]"`), a domain
            whose subdomains match at any depth, but not itself (`"*.example.com"`), or `"*"` for
            everything. Names outside ASCII are written in their ASCII form, `xn--…`: browsers send
            that.

    Raises:
        UsageError: There is no pattern, or one of them is none of these; the message says what to
            write.

    >>> compile_hosts(["*.example.com"]).match("example.com")
    False
    """
    if isinstance(patterns, str | bytes):
        raise UsageError(f"host patterns are a list: write [{patterns!r}], not {patterns!r}")
    names: set[str] = set()
    domains: set[str] = set()
    everything = False
    for pattern in patterns:
        domain = _checked(pattern)
        if domain == "*":
            everything = True
        elif domain.startswith("*."):
            domains.add(domain[2:])
        else:
            names.add(domain)
    if not (names or domains or everything):
        raise UsageError('an empty list of host patterns refuses every host: write ["*"] for all')
    return HostPatterns(frozenset(names), frozenset(domains), everything)


def _checked(pattern: object) -> str:
    """Return a pattern in its normal form."""
    if not isinstance(pattern, str):
        raise UsageError(f"a host pattern is a str, not {type(pattern).__name__}")
    host = _host_in(pattern)
    if not host:
        raise UsageError(f"the host pattern {pattern!r} names no host: leave it out")
    if host == "*":
        name = host
    elif host[0] == "." and _is_host(host[1:]):
        raise UsageError(
            f"the host pattern {pattern!r} begins with a dot: write {host[1:]!r} for the domain, "
            f"and {'*' + host!r} for the names below it"
        )
    else:
        name = _normal(host)
        domain = name.removeprefix("*.")
        if not _is_host(domain) or (domain != name and _is_address(domain)):
            raise UsageError(
                f"the host pattern {pattern!r} is no host: write one name or address, "
                "'*.example.com' for the names below a domain, or '*' for every host"
            )
    if host != pattern.lower():
        raise UsageError(
            f"the host pattern {pattern!r} is more than a host, or not in ASCII: write {host!r}"
        )
    return name


def _host_in(text: str) -> str:
    """Return the host in a text that may be a URL, in lower case and ASCII."""
    authority = _AROUND.sub("", text.strip()).rpartition("@")[2]
    try:
        host = f"[{IPv6Address(authority)}]"
    except ValueError:
        host = host_name(authority)
    if host.isascii():
        return host
    from unicodedata import normalize  # only a mistake needs it

    # IDNA has more rules than these, but this only proposes what to write.
    labels = normalize("NFKC", host).lower().replace("\u3002", ".").split(".")
    return ".".join(
        label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in labels
    )


def _normal(host: str) -> str:
    """Return the one spelling of a host that patterns and hosts are compared in."""
    name = host.lower().removesuffix(".")
    if name[:1] == "[" and name[-1] == "]":
        try:
            return f"[{IPv6Address(name[1:-1])}]"
        except ValueError:
            return name
    return name


def _is_host(name: str) -> bool:
    """Return whether a pattern may have *name*; `,` and `*` are characters of a Host field."""
    return valid_host(name.encode()) and not set(name) & set(",*") and "" not in name.split(".")


def _is_address(name: str) -> bool:
    """Return whether a host is an IP address: no domain has a last label of digits."""
    return name[:1] == "[" or name.rpartition(".")[2].isdecimal()
