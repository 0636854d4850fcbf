"""
Virtual hosts: routers that are entered for the requests of one host, or of a family of hosts.

A host is read from its right end, as the path `/com/example/api`. So what is true of paths is true
of hosts: no pattern backtracks, and one host among thousands is looked up, not searched for.

Source: RFC 3986 §3.2.2 (hosts); RFC 1123 §2.1 (labels); RFC 5952 (IPv6 addresses).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from .._paths.index import Index
from .._paths.pattern import Pattern, compile_pattern
from .._paths.segments import Segments
from ..errors import UsageError

__all__ = ["Host", "HostIndex", "Labels"]

# What the pattern of a host captured.
Labels: TypeAlias = dict[str, Any]

# Letters, digits, hyphens (RFC 1123 §2.1), the underscore that is in use nevertheless, and
# captures. Nothing that was taken is given back, so this cannot backtrack.
_LABEL: Final = re.compile(r"(?:[A-Za-z0-9_-]|:[^\W\d]\w*+)++")
_IPV6: Final = re.compile(r"\[[0-9A-Fa-f:.]+\]")

# The name of what `*` takes. No capture of a host can be called so, and nobody sees it.
_ANY: Final = "*"


class Host:
    """
    A host, or a list of them: the first that fits counts.

    `api.example.com` is one host. `*.example.com` is every host below that one, and
    `:tenant.example.com` those one label below, with the label as a parameter.

    Args:
        host: As given to `Router(host=...)`, without a port.

    Attributes:
        source: As written; those of a list joined by `, `.
        pattern: The same as a pattern of paths.

    Raises:
        UsageError: It is no host.

    >>> host = Host(["example.com", ":tenant.example.com"])
    >>> host.match("Example.com"), host.match("acme.example.com")
    ({}, {'tenant': 'acme'})
    >>> host.match("www.acme.example.com")
    """

    __slots__ = ("pattern", "source")

    def __init__(self, host: str | Sequence[str]) -> None:
        hosts = [host] if isinstance(host, str) else host
        if not isinstance(hosts, Sequence) or not hosts:  # type: ignore[redundant-expr]  # for untyped callers
            raise UsageError(f"host= takes a host, or a list of at least one, not {host!r}")
        paths = [_as_path(each) for each in hosts]
        self.source: str = ", ".join(hosts)
        self.pattern: Pattern = compile_pattern(paths, case_sensitive=False, strict=True)

    def match(self, hostname: str) -> Labels | None:
        """Return what is captured of the host of a request; None if it does not fit."""
        return self.match_labels(labels_of(hostname))

    def match_labels(self, labels: Segments) -> Labels | None:
        """Do what `match` does, with the labels from the right."""
        params = self.pattern.match(labels)
        if params is None:
            return None
        return {name: label for name, label in params.items() if name != _ANY}


class HostIndex:
    """
    The layers of a table in which some are for certain hosts; it stands where an `Index` would.

    What matches is not known before the host is. So where the first layer for a host stands, the
    candidates end with a gate, and the gate asks for those behind it.

    Args:
        index: The other layers.
        hosted: The ordinals of those for a host, in order, with that host and their prefixes.
        gate: The ordinal of the gate.
        case_sensitive: As the prefixes were compiled.
    """

    __slots__ = ("_first", "_gate", "_groups", "_hosts", "_index")

    def __init__(
        self,
        index: Index,
        hosted: Sequence[tuple[int, Host, Pattern]],
        gate: int,
        *,
        case_sensitive: bool,
    ) -> None:
        self._index = index
        self._first = hosted[0][0]
        self._gate = gate
        self._hosts = Index(case_sensitive=False)
        self._groups: list[tuple[Host, Index]] = []
        places: dict[str, int] = {}
        for at, host, prefix in hosted:
            place = places.setdefault(host.source, len(places))
            if place == len(self._groups):
                self._groups.append((host, Index(case_sensitive=case_sensitive)))
                self._hosts.add(place, host.pattern, prefix=False)
            self._groups[place][1].add(at, prefix, prefix=True)

    def candidates(self, segments: Segments) -> Sequence[int]:
        """List the layers that may fit before the first one for a host, and the gate."""
        found = self._index.candidates(segments)
        return [*found[: bisect_left(found, self._first)], self._gate]

    def behind(self, hostname: str, segments: Segments) -> Iterable[tuple[int, Labels]]:
        """List the layers behind the gate that may fit, with what their hosts captured."""
        others = self._index.candidates(segments)
        nothing: Labels = {}
        found = dict.fromkeys(others[bisect_left(others, self._first) :], nothing)
        labels = labels_of(hostname)
        for place in self._hosts.candidates(labels):
            host, prefixes = self._groups[place]
            captured = host.match_labels(labels)
            if captured is not None:
                found.update(dict.fromkeys(prefixes.candidates(segments), captured))
        return [(at, found[at]) for at in sorted(found)]


def labels_of(hostname: str) -> Segments:
    """
    Cut a host into labels, from the right; one that no pattern can mean has a single, empty one.

    Nothing is percent-decoded: what compares hosts before us does not decode either.

    >>> labels_of("WWW.example.com."), labels_of("[::1]"), labels_of("a..b"), labels_of("%61.b")
    (['com', 'example', 'www'], ['[::1]'], [''], [''])
    """
    if hostname.startswith("["):
        return [_in_one_spelling(hostname)]
    labels: Segments = [*reversed(hostname.lower().removesuffix(".").split("."))]
    return [""] if "" in labels or "%" in hostname else labels


def _as_path(host: object) -> str:
    """Write the pattern of a host as one of a path."""
    if not isinstance(host, str):
        raise UsageError(f"host= takes a host, or a list of at least one, and {host!r} is none")
    if _IPV6.fullmatch(host):
        return "/" + "".join(f"\\{char}" for char in _in_one_spelling(host))
    labels = host.removesuffix(".").split(".")
    end = f'/*"{_ANY}"' if labels[0] == "*" else ""
    named = labels[1:] if end else labels
    if not named or not all(_LABEL.fullmatch(label) for label in named):
        raise UsageError(
            f"{host!r} is no host: write `api.example.com`, `*.example.com` for all below it, or "
            "`:tenant.example.com` for a label as a parameter; without scheme, port and path, and "
            "in punycode (`xn--...`) where it is not ASCII"
        )
    return "".join(f"/{label}" for label in reversed(named)) + end


def _in_one_spelling(address: str) -> str:
    """Write an IPv6 address in brackets as RFC 5952 does; anything else stays as it is."""
    from ipaddress import IPv6Address  # few hosts are addresses

    try:
        return f"[{IPv6Address(address[1:-1])}]"
    except ValueError:
        return address.lower()
