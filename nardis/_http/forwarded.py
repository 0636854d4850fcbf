"""
What proxies say of a request: the client's address, and the scheme and host that the client used.

Any client can send these fields, so an entry counts only if a trusted proxy wrote it. A proxy adds
its entry at the right end of a list. Lists are therefore read from the right: nothing that a client
put to the left of an entry can move or hide it.

Source: RFC 7239 (Forwarded); RFC 9110 §5.3 and §5.6.1 (lists). X-Forwarded-For, -Proto and -Host
have no standard; who is trusted is decided as by Express's proxy-addr 2.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final, NamedTuple, TypeAlias

from ..errors import UsageError
from .grammar import (
    CACHED_VALUES,
    MAX_MEMBERS,
    QUOTED_TEXT,
    TOKEN_TEXT,
    UNQUOTED_TEXT,
    split,
    unescape,
)
from .request_head import valid_host

__all__ = ["ClientSide", "Trust", "TrustProxy", "compile_trust", "peer_of", "seen_through"]

TrustEntry: TypeAlias = str | IPv4Address | IPv6Address | IPv4Network | IPv6Network
_ENTRY_TYPES: Final = (str, IPv4Address, IPv6Address, IPv4Network, IPv6Network)
TrustProxy: TypeAlias = bool | int | TrustEntry | Iterable[TrustEntry] | None

# An IP version, and the address as a number.
Address: TypeAlias = tuple[int, int]

# RFC 1122 §3.2.1.3 and RFC 4291 §2.5.3; RFC 3927 §2.1 and RFC 4291 §2.5.6; RFC 1918 §3 and RFC 4193
# §3.1.
_NAMES: Final = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "linklocal": ("169.254.0.0/16", "fe80::/10"),
    "uniquelocal": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
}
_ALLOWED: Final = (
    "write True or False, a number of hops, or addresses, networks (10.0.0.0/8) and the names "
    "loopback, linklocal and uniquelocal, in a list or with commas between them"
)

# More hops than are ever followed.
_EVERYBODY: Final = MAX_MEMBERS + 1

# A number of hops that is longer than this is a mistake, and int() refuses very long ones.
_MAX_HOPS_DIGITS: Final = 9

# 45 for an IPv6 address that ends in an IPv4 one, 16 for `%` and the name of an interface: what is
# longer is no address, and need not be looked at.
_MAX_ADDRESS_CHARS: Final = 61

# The other end of a Unix socket is a process of this host.
_THIS_HOST: Final = ((4, 0x7F000001), (6, 1))

_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_HOST: Final = b"x-forwarded-host"
_FORWARDED: Final = b"forwarded"
_FIELDS: Final = frozenset({_FOR, _PROTO, _HOST, _FORWARDED})

# Some proxies name the scheme of a WebSocket; RFC 6455 §3 has it beside those of HTTP.
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_SECURE: Final = frozenset({"https", "wss"})

# forwarded-pair = token "=" value, RFC 7239 §4, with blanks around it and no value at all forgiven.
_PAIR: Final = re.compile(rf'[ \t]*({TOKEN_TEXT})=(?:({UNQUOTED_TEXT})|"({QUOTED_TEXT})")?[ \t]*')

# node = nodename [ ":" node-port ], RFC 7239 §6.
_NODE: Final = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+))(?::(?:[0-9]{1,5}|_[A-Za-z0-9._\-]+))?"
)

# A whole quoted-string, or a comma, in a text that is read backwards: a quote with a backslash
# behind it is an escaped one there, and the first quote of a string has `=` behind it. The first
# branch cannot fail once it has begun, so nothing is ever scanned twice.
_BACKWARDS: Final = re.compile(r'"[^"]*(?:"(?=\\)[^"]*)*(?:"|\Z)|,')


class ClientSide(NamedTuple):
    """
    A request as it was on the client's side of the trusted proxies.

    Attributes:
        ip: The client's address, as the outermost trusted proxy wrote it; None if nobody knows it.
            It may be any text: see `seen_through`.
        ips: The addresses that trusted proxies wrote, the client's first; without the socket's.
        scheme: `"http"` or `"https"`, or the scheme of the socket.
        host: Host and perhaps a port.
    """

    ip: str | None
    ips: list[str]
    scheme: str
    host: str | None


@dataclass(frozen=True, slots=True)
class Trust:
    """
    Whose word is believed; `compile_trust` makes it.

    Attributes:
        hops: How many hops are trusted, whatever their addresses are. The socket's peer is the
            first.
        networks: Trusted networks: an IP version, a netmask, and the numbers of all networks that
            have those.
    """

    hops: int
    networks: tuple[tuple[int, int, frozenset[int]], ...]

    def believes(self, address: Address | None, hop: int) -> bool:
        """Return whether a hop is trusted, by its number or by its address; the peer is hop 0."""
        if hop < self.hops:
            return True
        if address is None:
            return False
        version, number = address
        return any(
            version == kind and number & mask in numbers for kind, mask, numbers in self.networks
        )

    def believes_peer(self, peer: str | None) -> bool:
        """Return whether the peer of a socket is trusted; None is that of a Unix socket."""
        if peer is None:
            return any(self.believes(address, 0) for address in _THIS_HOST)
        return self.believes(_address(peer), 0)


# --- whom to trust --------------------------------------------------------------------------------


def compile_trust(trust: TrustProxy) -> Trust:
    """
    Read the setting `trust_proxy`.

    Args:
        trust: `False`, `0` and `None` trust nobody. A number trusts so many hops, whatever their
            addresses are: the socket is the first. It is right if no client can come around the
            proxies. `True` trusts everybody: **each client can then choose its address, scheme
            and host**, unless the outermost proxy replaces all forwarded fields. Addresses,
            networks (`"10.0.0.0/8"`) and the names `"loopback"`, `"linklocal"` and
            `"uniquelocal"` stand in a list, or in one text with commas between them. A number,
            `"true"` and `"false"` may be text as well, as they are in an environment variable.

    Raises:
        UsageError: The value, or an entry of it, is none of these. `/0` is refused: a network that
            has everybody in it is `True`, or a mistake.

    Source: Express 5, `trust proxy`; RFC 1918, RFC 3927, RFC 4193, RFC 4291 (the names).
    >>> compile_trust("loopback, 10.0.0.0/8").believes_peer("10.1.2.3")
    True
    >>> compile_trust(1).believes_peer("192.0.2.1"), compile_trust(0).believes_peer("192.0.2.1")
    (True, False)
    """
    hops = _hops(trust)
    if hops is not None:
        return Trust(hops, ())
    if isinstance(trust, _ENTRY_TYPES):
        trust = [trust]
    elif isinstance(trust, bytes | Mapping) or not isinstance(trust, Iterable):
        raise UsageError(f"trust_proxy is {trust!r}: {_ALLOWED}")
    networks: dict[tuple[int, int], set[int]] = {}
    for entry in trust:
        for network in _networks(entry):
            kind = network.version, int(network.netmask)
            networks.setdefault(kind, set()).add(int(network.network_address))
    return Trust(
        0, tuple((*kind, frozenset(numbers)) for kind, numbers in sorted(networks.items()))
    )


def _hops(trust: object) -> int | None:
    """Return how many hops are trusted, None if something else decides."""
    if isinstance(trust, str):
        text = trust.strip(" \t").lower()
        if text in ("true", "false"):
            trust = text == "true"
        elif text.isascii() and text.isdigit() and len(text) <= _MAX_HOPS_DIGITS:
            trust = int(text)
    if trust is None or trust is False:
        return 0
    if trust is True:
        return _EVERYBODY
    if not isinstance(trust, int):
        return None
    if trust < 0:
        raise UsageError(f"trust_proxy is {trust}, which is no number of hops: {_ALLOWED}")
    return trust


def _networks(entry: object) -> list[IPv4Network | IPv6Network]:
    """Read an entry, which may be a text with commas in it."""
    if not isinstance(entry, _ENTRY_TYPES):
        raise UsageError(
            f"trust_proxy has {entry!r}, and its entries are text; a number of hops, True and "
            "False stand alone"
        )
    found: list[IPv4Network | IPv6Network] = []
    for piece in str(entry).split(","):
        text = piece.strip(" \t")
        found += [_network(each) for each in _NAMES.get(text, (text,))]
    return found


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text, strict=False)  # as Express: 127.0.0.1/8 is 127.0.0.0/8
    except ValueError:
        raise UsageError(
            f"trust_proxy has {text!r}, which is no address, network or name: {_ALLOWED}"
        ) from None
    mapped = network.network_address
    if isinstance(mapped, IPv6Address) and mapped.ipv4_mapped and network.prefixlen >= 96:
        network = IPv4Network((int(mapped.ipv4_mapped), network.prefixlen - 96))
    if not network.prefixlen:
        raise UsageError(f"trust_proxy has {text!r}, which is everybody: write True for that")
    return network


# --- what they say --------------------------------------------------------------------------------


def seen_through(
    trust: Trust,
    peer: str | None,
    headers: Iterable[tuple[bytes, bytes]],
    scheme: str,
    host: str | None,
) -> ClientSide:
    """
    Look at a request through the trusted proxies in front of the server. It never fails.

    **The client.** The walk begins at the socket and reads a list from right to left. An entry
    counts if the hop that wrote it is trusted. The socket's peer wrote the last entry. The hop that
    an entry names wrote the entry to the left of it. The client is the leftmost entry that counts;
    if there is none, it is the peer. An entry that is no address ends the walk and is returned, be
    it `unknown`, `_hidden` or anything else. In X-Forwarded-For `192.0.2.1:5555` is such an entry,
    and so is `[2001:db8::1]:443`, as for Express. The grammar of Forwarded has ports (RFC 7239 §6):
    there port and brackets are taken off. An element that cannot be read, or has no `for`, ends the
    walk as well, and `ip` is None.

    **Scheme and host** are those that the same proxy wrote. An element of Forwarded has all three.
    In X-Forwarded-Proto and -Host it is the entry that stands as far from the right end as the
    client does in X-Forwarded-For. Without that field it is the last entry. If the list is too
    short for that, some proxies added nothing to it, and its first entry is taken. (Express always
    takes the first entry. A proxy that adds to the list leaves a client's entry there.) A client
    can forge neither, if

    - the outermost trusted proxy replaces or removes the field; or
    - every trusted proxy adds an entry to it.

    It can, if the outermost proxy lets the field pass, or if that one adds an entry and a proxy
    behind it does not. No rule can tell these chains from honest ones. `http` and `https` are
    schemes, as are `ws` and `wss`, which stand for them. A host is what `valid_host` lets pass.
    Everything else is ignored.

    **Both families.** Few proxies write both Forwarded and X-Forwarded fields. The family that they
    do not write is open to the client, and a server cannot know which one that is. So if both
    are there, Nardis believes what both say. Where the client differs, `ip` is None and `ips` is
    empty; the address of the proxy, often loopback, could open doors. Where the scheme differs, it
    is the one that is not secure; where the host differs, it is that of the Host field.

    Args:
        trust: Whom to believe.
        peer: The address of the socket's peer. `None` is for a Unix socket alone: its peer is a
            process of this host, and is trusted as `127.0.0.1` or `::1` would be. A TCP peer whose
            address is unknown is `""`: only a number of hops or `True` trusts it.
        headers: The fields in the order received, their names in lower case. Of a list the last
            `MAX_MEMBERS` entries are looked at.
        scheme: Of the socket.
        host: The Host field.

    Source: RFC 7239 §4 to §6 and §8.1; RFC 9110 §5.3.
    >>> fields = [(b"x-forwarded-for", b"10.9.9.9, 192.0.2.7"), (b"x-forwarded-proto", b"https")]
    >>> seen_through(compile_trust(1), "10.0.0.1", fields, "http", "example.com")
    ClientSide(ip='192.0.2.7', ips=['192.0.2.7'], scheme='https', host='example.com')
    >>> fields = [(b"forwarded", b'for="[2001:db8::1]:80";proto=https;host=example.com')]
    >>> seen_through(compile_trust("loopback"), None, fields, "http", "localhost").ip
    '2001:db8::1'
    """
    here = ClientSide(peer or None, [], scheme, host or None)  # a Host field may be empty
    if not (trust.hops or trust.networks):  # the short way, for an application without a proxy
        return here
    lines: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in _FIELDS:
            lines.setdefault(name, []).append(value)
    if not lines or not trust.believes_peer(peer):
        return here
    elements = _elements(lines.get(_FORWARDED, []))
    members = {name: _members(lines.get(name, [])) for name in (_FOR, _PROTO, _HOST)}
    if not any(members.values()):
        return _by_elements(trust, elements, here) if elements else here
    told = _by_members(trust, members, here)
    return _agreed(told, _by_elements(trust, elements, here), here) if elements else told


def peer_of(scope: Mapping[str, Any]) -> str | None:
    """
    Return the peer of an ASGI scope, as `seen_through` takes it.

    A server names no client of a Unix socket, and none of a TCP client that has left already. The
    first names its own end by a path, without a port.

    >>> peer_of({"client": None, "server": ("/run/app.sock", None)}), peer_of({"client": None})
    (None, '')
    """
    client, server = scope.get("client"), scope.get("server")
    if client:
        peer: str = client[0]
        return peer
    return None if server and server[1] is None else ""


def _by_members(
    trust: Trust, members: Mapping[bytes, Sequence[str]], here: ClientSide
) -> ClientSide:
    """Read X-Forwarded-For, -Proto and -Host; the members come from right to left."""
    nodes = _walk(trust, members[_FOR])
    position = max(len(nodes), 1)
    scheme, host = (
        members[name][:position][-1] if members[name] else "" for name in (_PROTO, _HOST)
    )
    return _client_side(nodes, scheme, host, here)


def _by_elements(
    trust: Trust, elements: Sequence[Mapping[str, str]], here: ClientSide
) -> ClientSide:
    """Read Forwarded; the elements come from right to left."""
    nodes = _walk(trust, [_node(element.get("for", "")) for element in elements])
    element = elements[len(nodes) - 1]
    return _client_side(nodes, element.get("proto", ""), element.get("host", ""), here)


def _agreed(one: ClientSide, other: ClientSide, here: ClientSide) -> ClientSide:
    """Return what both say, and of the rest what does no harm."""
    same_client = _identities(one) == _identities(other)
    return ClientSide(
        one.ip if same_client else None,
        one.ips if same_client else [],
        one.scheme if other.scheme in _SECURE else other.scheme,
        one.host if (one.host or "").lower() == (other.host or "").lower() else here.host,
    )


def _identities(side: ClientSide) -> list[Address | str]:
    """Return the client and its chain; two spellings of an address are one."""
    return [_address(text) or text for text in (side.ip or "", *side.ips)]


def _client_side(nodes: Sequence[str], scheme: str, host: str, here: ClientSide) -> ClientSide:
    """Join what a family of fields says; the nodes come from right to left."""
    return ClientSide(
        (nodes[-1] or None) if nodes else here.ip,
        [node for node in reversed(nodes) if node],
        _SCHEMES.get(scheme.lower(), here.scheme),
        host if host and valid_host(host.encode("latin-1")) else here.host,
    )


def _walk(trust: Trust, nodes: Iterable[str]) -> list[str]:
    """Return the nodes that trusted hops wrote, from right to left; the first always is one."""
    walked: list[str] = []
    for hop, node in enumerate(nodes, 1):
        walked.append(node)
        address = _address(node)
        if address is None or not trust.believes(address, hop):
            break
    return walked


# --- the fields -----------------------------------------------------------------------------------


def _members(lines: Sequence[bytes]) -> list[str]:
    """Return the last members of a list, from right to left, without empty ones."""
    pieces = b",".join(lines).decode("latin-1").rsplit(",", MAX_MEMBERS)[-MAX_MEMBERS:]
    return [member for piece in reversed(pieces) if (member := piece.strip(" \t"))]


def _elements(lines: Sequence[bytes]) -> list[dict[str, str]]:
    """
    Return the last elements of Forwarded, from right to left, without empty ones.

    `grammar.split` goes from left to right: there a quote that a client opened and left open would
    hide what the proxies added behind it.
    """
    backwards = b",".join(lines).decode("latin-1")[::-1]
    pieces: list[str] = []
    start = 0
    for found in _BACKWARDS.finditer(backwards):
        if found[0] == ",":
            pieces.append(backwards[start : found.start()])
            start = found.end()
            if len(pieces) == MAX_MEMBERS:
                break
    else:
        pieces.append(backwards[start:])
    return [_pairs(text) for piece in pieces if (text := piece[::-1].strip(" \t"))]


def _pairs(element: str) -> dict[str, str]:
    """
    Read an element of Forwarded; one that cannot be read says nothing.

    Neither does one with a parameter that comes twice (RFC 7239 §4): a proxy may have copied it
    from a field that the client wrote.
    """
    pairs: dict[str, str] = {}
    for piece in split(element, ";"):
        if not piece.strip(" \t"):
            continue
        match = _PAIR.fullmatch(piece)
        if match is None or (name := match[1].lower()) in pairs:
            return {}
        pairs[name] = match[2] or unescape(match[3] or "")
    return pairs


def _node(text: str) -> str:
    """Return a node of Forwarded without its port, and an IPv6 address without its brackets."""
    match = _NODE.fullmatch(text)
    return (match[1] or match[2]) if match else text


def _address(text: str) -> Address | None:
    """Return the address in *text*, if it is one; an IPv4 address mapped to IPv6 is that one."""
    return _read_address(text) if len(text) <= _MAX_ADDRESS_CHARS else None


@lru_cache(CACHED_VALUES)
def _read_address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.version, int(address)
