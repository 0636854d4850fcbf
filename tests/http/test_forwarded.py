"""`seen_through` and `compile_trust`: the client behind trusted proxies (RFC 7239, proxy-addr)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.forwarded import ClientSide, TrustProxy, compile_trust, seen_through
from nardis._http.hosts import host_name, subdomains
from nardis.errors import UsageError

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "trust_proxy_vectors.json").read_text()
)["vectors"]
ANSWERED = [row for row in VECTORS if "error" not in row]
REFUSED = [row for row in VECTORS if "error" in row]

# Express takes the first entry of these two as soon as the peer is trusted. A client can write it.
# Ours is counted from the right end. There is no X-Forwarded-For to count by, so it is the last
# one, which the peer wrote.
DEVIATIONS: dict[tuple[str, str], dict[str, object]] = {
    ("x-forwarded-host", "a.b.example.com , inner"): {
        "host": "inner",
        "hostname": "inner",
        "subdomains": [],
    },
    ("x-forwarded-proto", " https , http"): {"protocol": "http", "secure": False},
}

PROXY = "10.0.0.1"
FORGED = "6.6.6.6"
CLIENT = "192.0.2.7"

NO_CHAIN: list[str] = []

Fields = list[tuple[str, str]]


def seen(
    fields: Fields,
    *,
    trust: TrustProxy = 1,
    peer: str | None = PROXY,
    scheme: str = "http",
    host: str | None = "app.internal",
) -> ClientSide:
    """Look at a request through proxies; the fields come as text."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    return seen_through(compile_trust(trust), peer, headers, scheme, host)


def x_for(*values: str) -> Fields:
    return [("x-forwarded-for", value) for value in values]


def x_proto(*values: str) -> Fields:
    return [("x-forwarded-proto", value) for value in values]


def x_host(*values: str) -> Fields:
    return [("x-forwarded-host", value) for value in values]


def forwarded(*values: str) -> Fields:
    return [("forwarded", value) for value in values]


# --- Express --------------------------------------------------------------------------------------


def name_of(row: dict[str, Any]) -> str:
    fields = {name: value for name, value in row["headers"].items() if name != "host"}
    return f"{row['trust']!r} of {row['remote']}: {fields}"


@pytest.mark.parametrize("row", ANSWERED, ids=name_of)
def test_express_agrees(row: dict[str, Any]) -> None:
    """But for `DEVIATIONS`."""
    side = seen(
        list(row["headers"].items()),
        trust=row["trust"],
        peer=row["remote"],
        host=row["headers"]["host"],
    )
    hostname = host_name(side.host)
    expected = {key: value for key, value in row.items() if key not in ("trust", "remote")}
    for field in expected.pop("headers").items():
        expected |= DEVIATIONS.get(field, {})

    assert {
        "ip": side.ip,
        "ips": side.ips,
        "protocol": side.scheme,
        "secure": side.scheme == "https",
        "host": side.host,
        "hostname": hostname,
        "subdomains": subdomains(hostname),
    } == expected


def test_each_deviation_is_a_row() -> None:
    rows = {field for row in ANSWERED for field in row["headers"].items()}
    assert DEVIATIONS.keys() <= rows


@pytest.mark.parametrize("row", REFUSED, ids=name_of)
def test_express_refuses_it_too(row: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        compile_trust(row["trust"])


# --- whom to trust --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trust", "trusted", "untrusted"),
    [
        (
            "loopback",
            ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"],
            ["126.0.0.1", "128.0.0.1", "::2"],
        ),
        ("linklocal", ["169.254.9.9", "fe80::1", "fe80::1%eth0"], ["169.255.0.1", "fec0::1"]),
        (
            "uniquelocal",
            ["10.9.9.9", "172.16.0.1", "172.31.9.9", "192.168.9.9", "fc00::1", "fd00::1"],
            ["11.0.0.1", "172.15.9.9", "172.32.0.1", "192.169.0.1", "fe00::1"],
        ),
        ("10.0.0.1", ["10.0.0.1", "::ffff:10.0.0.1", "::ffff:a00:1"], ["10.0.0.2", "::a00:1"]),
        ("10.0.0.1/8", ["10.9.9.9"], ["11.0.0.1"]),
        ("10.0.0.0/255.0.0.0", ["10.9.9.9"], ["11.0.0.1"]),
        ("::ffff:10.0.0.0/104", ["10.9.9.9", "::ffff:10.9.9.9"], ["11.0.0.1"]),
        ("::ffff:10.0.0.1", ["10.0.0.1"], ["10.0.0.2"]),
        ("2001:DB8::/32", ["2001:db8:9::1"], ["2001:db9::1"]),
        ("::/8", ["::1", "::a00:1"], ["10.0.0.1", "::ffff:10.0.0.1"]),
        (" loopback ,\t10.0.0.1,10.0.0.2 ", ["127.0.0.1", "10.0.0.1", "10.0.0.2"], ["10.0.0.3"]),
        (["loopback", "10.0.0.0/8"], ["::1", "10.9.9.9"], ["192.0.2.1"]),
        (["loopback, 10.0.0.1", "10.0.0.2"], ["127.0.0.1", "10.0.0.1", "10.0.0.2"], ["10.0.0.3"]),
        (IPv4Address("10.0.0.1"), ["10.0.0.1"], ["10.0.0.2"]),
        (ip_network("10.0.0.0/8"), ["10.9.9.9"], ["11.0.0.1"]),
        ({IPv6Network("2001:db8::/32")}, ["2001:db8::1"], ["10.0.0.1"]),
        ([], [], [PROXY, "127.0.0.1"]),
        ({"10.0.0.1": 1}.keys(), ["10.0.0.1"], ["10.0.0.2"]),
        (True, [PROXY, CLIENT, "::1", "no address", ""], []),
        ("True", [PROXY, CLIENT, ""], []),
        (1, [PROXY, CLIENT, "no address", ""], []),
        ("1", [PROXY, CLIENT], []),
        (10**30, [PROXY], []),
        (False, [], [PROXY, "127.0.0.1", ""]),
        (" false ", [], [PROXY]),
        (None, NO_CHAIN, [PROXY]),
        (0, [], [PROXY]),
        ("0", [], [PROXY]),
    ],
    ids=str,
)
def test_a_peer_is_trusted_by_its_address_or_by_number(
    trust: TrustProxy, trusted: Sequence[str], untrusted: Sequence[str]
) -> None:
    """An IPv4 address is one, also where the socket or the setting maps it to IPv6."""
    compiled = compile_trust(trust)
    assert [peer for peer in trusted if not compiled.believes_peer(peer)] == []
    assert [peer for peer in untrusted if compiled.believes_peer(peer)] == []


@pytest.mark.parametrize("peer", ["", "no address", "127.0.0.1" + "0" * 100, "testclient", "²"])
def test_a_peer_that_is_no_address_is_trusted_by_no_network(peer: str) -> None:
    every = compile_trust(["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"])
    assert every.believes_peer("192.0.2.1")
    assert not every.believes_peer(peer)


@pytest.mark.parametrize(
    ("trust", "named"),
    [
        ("", "''"),
        (" ", "''"),
        ("loopback,", "''"),
        (["10.0.0.1", ""], "''"),
        ("10.0.0.0/33", "'10.0.0.0/33'"),
        ("10.0.0.0/x", "'10.0.0.0/x'"),
        ("loopback, example.com", "'example.com'"),
        ("Loopback", "'Loopback'"),
        ("*", "'*'"),
        ("1, 10.0.0.1", "'1'"),
        ("9" * 5_000, "9999"),
        ("-1", "'-1'"),
        ("٣", "'٣'"),
        ("10.0.0.1:80", "'10.0.0.1:80'"),
        ("[::1]", "'[::1]'"),
        ("0.0.0.0/0", "'0.0.0.0/0'"),
        ("::/0", "'::/0'"),
        ("::ffff:0:0/96", "'::ffff:0:0/96'"),
        (-1, "-1"),
        (1.0, "1.0"),
        (b"10.0.0.1", "b'10.0.0.1'"),
        ({"10.0.0.1": True}, "{'10.0.0.1': True}"),
        ([1], "has 1"),
        ([True], "has True"),
        ([None], "has None"),
        (["10.0.0.1", b"10.0.0.2"], "b'10.0.0.2'"),
    ],
)
def test_a_bad_value_is_named(trust: Any, named: str) -> None:
    with pytest.raises(UsageError) as caught:
        compile_trust(trust)
    assert str(caught.value).startswith("trust_proxy ")
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("trust", "trusted"),
    [
        (True, True),
        (1, True),
        ("loopback", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("uniquelocal, linklocal", False),
        (False, False),
    ],
)
def test_the_peer_of_a_unix_socket_is_on_this_host(trust: TrustProxy, trusted: bool) -> None:
    side = seen(x_for(CLIENT), trust=trust, peer=None)
    assert side.ip == (CLIENT if trusted else None)
    assert side.ips == ([CLIENT] if trusted else [])


def test_an_unknown_peer_is_not_on_this_host() -> None:
    """A TCP client that has left has no address any more, and may still have sent a request."""
    assert seen(x_for(FORGED), trust="loopback", peer="") == (
        None,
        NO_CHAIN,
        "http",
        "app.internal",
    )


# --- the client -----------------------------------------------------------------------------------


@pytest.mark.parametrize("trust", [0, "10.0.0.2"])
def test_nobody_who_is_not_trusted_is_believed(trust: TrustProxy) -> None:
    fields = x_for(FORGED) + x_proto("https") + x_host("evil.example")
    fields += forwarded("for=6.6.6.6;proto=https;host=evil.example")
    assert seen(fields, trust=trust) == (PROXY, [], "http", "app.internal")


def test_without_fields_the_socket_is_the_client() -> None:
    assert seen([], trust=True, scheme="https", host=None) == (PROXY, [], "https", None)
    assert seen([], trust=True, scheme="https", host="") == (PROXY, [], "https", None)
    assert seen(x_for(" , ,") + forwarded(" , ,, "), trust=True).ip == PROXY


@pytest.mark.parametrize(
    ("trust", "values", "expected"),
    [
        # What the client wrote stands to the left of what the proxies wrote.
        (1, [f"{FORGED}, {CLIENT}"], [CLIENT]),
        (1, [FORGED, CLIENT], [CLIENT]),
        (1, [f"{FORGED},{FORGED}", f"\t{CLIENT} "], [CLIENT]),
        (1, [f'"{FORGED}, {CLIENT}'], [CLIENT]),
        (1, [f"{FORGED}, {CLIENT},,"], [CLIENT]),
        (1, ["," * 500 + CLIENT], [CLIENT]),
        (1, [f"{FORGED}," * 5_000, CLIENT], [CLIENT]),
        (2, [f"{FORGED}, {CLIENT}, 10.0.0.2"], [CLIENT, "10.0.0.2"]),
        (2, [CLIENT], [CLIENT]),
        ("uniquelocal", [f"10.6.6.6, {CLIENT}, 10.0.0.2"], [CLIENT, "10.0.0.2"]),
        ("uniquelocal", [f"{FORGED}, {CLIENT}"], [CLIENT]),
        # The whole chain is trusted: the first is the client.
        ("uniquelocal", ["10.0.0.3, 10.0.0.2"], ["10.0.0.3", "10.0.0.2"]),
        ("uniquelocal", ["fd00::3%eth0, ::ffff:10.0.0.2"], ["fd00::3%eth0", "::ffff:10.0.0.2"]),
        # No address: the walk ends, also where hops are counted, and returns it.
        (True, [f"{CLIENT}, unknown, 10.0.0.2"], ["unknown", "10.0.0.2"]),
        (3, [f"{CLIENT}, 10.0.0.2:5555"], ["10.0.0.2:5555"]),
        ("uniquelocal", [f"{CLIENT}, [fd00::2]:443"], ["[fd00::2]:443"]),
        ("uniquelocal", [f"{CLIENT}, 10.0.0.2:5555"], ["10.0.0.2:5555"]),
        ("uniquelocal", [f"{CLIENT}, 10.0.0.02"], ["10.0.0.02"]),
        ("uniquelocal", [f"{CLIENT}, 10.0.0"], ["10.0.0"]),
        ("uniquelocal", [f"{CLIENT}, \xff"], ["\xff"]),
    ],
)
def test_the_client_is_the_first_whom_no_trusted_proxy_vouches_for(
    trust: TrustProxy, values: list[str], expected: list[str]
) -> None:
    assert seen(x_for(*values), trust=trust) == (expected[0], expected, "http", "app.internal")


def test_a_long_list_loses_its_left_end() -> None:
    """A client cannot push the proxies' entries out."""
    values = ", ".join(f"10.0.{n}.1" for n in range(200))
    side = seen(x_for(values), trust="uniquelocal")
    assert len(side.ips) == 100
    assert (side.ips[0], side.ips[-1]) == ("10.0.100.1", "10.0.199.1")
    elements = ", ".join(f'for="10.0.{n}.1"' for n in range(200))
    assert seen(forwarded(elements), trust="uniquelocal") == side
    assert seen(x_for(values), trust=True) == side


@pytest.mark.parametrize(
    "name", ["x_forwarded_for", "x-real-ip", "X-Forwarded-For", "forwarded-for"]
)
def test_no_other_field_is_read(name: str) -> None:
    """CVE-2015-0219: a name with underscores is another name."""
    assert seen([(name, FORGED)]).ip == PROXY


# --- scheme and host ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trust", "chain", "values", "expected"),
    [
        # The outermost proxy replaces the field, or the peer is the only one.
        (1, [CLIENT], ["b"], "b"),
        (1, [FORGED, CLIENT], ["b"], "b"),
        (1, [], ["b"], "b"),
        # It replaces the field, and those behind it let it pass.
        (2, [CLIENT, "10.0.0.2"], ["b"], "b"),
        (3, [CLIENT, "10.0.0.3", "10.0.0.2"], ["b"], "b"),
        # It replaces the field, and one of two behind it adds to it.
        (3, [CLIENT, "10.0.0.3", "10.0.0.2"], ["b", "c"], "b"),
        # Each proxy adds an entry. What a client wrote is to the left of them.
        (1, [CLIENT], ["a", "b"], "b"),
        (1, [FORGED, CLIENT], ["a", "b"], "b"),
        (1, [], ["a", "b"], "b"),
        (2, [CLIENT, "10.0.0.2"], ["b", "c"], "b"),
        (2, [FORGED, CLIENT, "10.0.0.2"], ["b", "c"], "b"),
        (2, [CLIENT, "10.0.0.2"], ["a", "a", "b", "c"], "b"),
        (2, [FORGED, CLIENT, "10.0.0.2"], ["a", "b", "c"], "b"),
        ("uniquelocal", [FORGED, CLIENT, "10.0.0.2"], ["a", "b", "c"], "b"),
        ("uniquelocal", ["10.6.6.6", CLIENT], ["a", "b"], "b"),
        # The walk is not longer than the addresses that are known.
        (2, [CLIENT], ["a", "b"], "b"),
        ("uniquelocal", ["unknown"], ["a", "b"], "b"),
        (True, [CLIENT, "unknown"], ["a", "b"], "b"),
        # Everybody is trusted, which is what Express documents as dangerous.
        (True, [FORGED, CLIENT], ["a", "b"], "a"),
    ],
)
@pytest.mark.parametrize("empty", [False, True])
def test_scheme_and_host_are_those_that_the_clients_proxy_wrote(
    trust: TrustProxy, chain: list[str], values: list[str], expected: str, empty: bool
) -> None:
    """Here `b` is what it wrote, `a` is a client's, `c` is of a proxy further in."""
    between = " ,, " if empty else ", "
    known = x_for(between.join(chain))
    side = seen(known + x_host(between.join(f"{value}.example" for value in values)), trust=trust)
    assert side.host == f"{expected}.example"
    schemes = ["https" if value == expected else "http" for value in values]
    side = seen(known + x_proto(*schemes), trust=trust)
    assert side.scheme == "https"


def test_the_place_of_express_is_not_ours() -> None:
    """With one hop it takes what a client wrote: `https` and `evil.example`."""
    fields = x_for(f"{FORGED}, {CLIENT}") + x_proto("https, http")
    fields += x_host("evil.example, example.com")
    assert seen(fields) == (CLIENT, [CLIENT], "http", "example.com")


def test_an_outermost_proxy_that_adds_needs_proxies_that_add() -> None:
    """The docstring warns of this chain: the second proxy lets pass what the first one wrote."""
    fields = x_for(f"{CLIENT}, 10.0.0.2") + x_host("evil.example, example.com")
    assert seen(fields, trust=2).host == "evil.example"


@pytest.mark.parametrize(
    ("value", "socket", "expected"),
    [
        ("https", "http", "https"),
        ("HTTPS", "http", "https"),
        ("http", "https", "http"),
        ("wss", "ws", "https"),
        ("ws", "wss", "http"),
        ("", "https", "https"),
        ("ftp", "http", "http"),
        ("https://", "http", "http"),
        ('"https"', "http", "http"),
        ("javascript", "https", "https"),
        ("hTTp\xff", "ws", "ws"),
    ],
)
def test_a_scheme_is_http_or_https_or_the_sockets(value: str, socket: str, expected: str) -> None:
    assert seen(x_proto(value), scheme=socket).scheme == expected
    quoted = value.replace('"', '\\"')
    assert seen(forwarded(f'for=x;proto="{quoted}"'), scheme=socket).scheme == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("example.com:8443", "example.com:8443"),
        ("Example.COM", "Example.COM"),
        ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ("", "app.internal"),
        ("evil.example/path", "app.internal"),
        ("user@evil.example", "app.internal"),
        ("evil.example:99999", "app.internal"),
        ("a b", "app.internal"),
        ("\xe9vil.example", "app.internal"),
        ("a" * 300, "app.internal"),
    ],
)
def test_a_host_could_be_a_host_field_or_is_ignored(value: str, expected: str) -> None:
    assert seen(x_host(value)).host == expected
    assert seen(forwarded(f'for=x;host="{value}"')).host == expected


# --- Forwarded ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trust", "values", "expected"),
    [
        # RFC 7239 §4, the examples; the last entry of a list is the peer's.
        (1, ['for="_gazonk"'], ("_gazonk", ["_gazonk"], "http", "app.internal")),
        (
            1,
            ['For="[2001:db8:cafe::17]:4711"'],
            ("2001:db8:cafe::17", ["2001:db8:cafe::17"], "http", "app.internal"),
        ),
        (
            1,
            ["for=192.0.2.60;proto=http;by=203.0.113.43"],
            ("192.0.2.60", ["192.0.2.60"], "http", "app.internal"),
        ),
        (
            2,
            ["for=192.0.2.43, for=198.51.100.17"],
            ("192.0.2.43", ["192.0.2.43", "198.51.100.17"], "http", "app.internal"),
        ),
        # Scheme and host are those of the element whose `for` is the client.
        (
            1,
            [
                "for=6.6.6.6;proto=https;host=evil.example",
                "for=192.0.2.7;proto=http;host=b.example",
            ],
            (CLIENT, [CLIENT], "http", "b.example"),
        ),
        (
            2,
            ["for=192.0.2.7;proto=https;host=b.example, for=10.0.0.2;proto=http;host=c.example"],
            (CLIENT, [CLIENT, "10.0.0.2"], "https", "b.example"),
        ),
        (
            2,
            ["for=192.0.2.7, for=10.0.0.2;proto=https;host=c.example"],
            (CLIENT, [CLIENT, "10.0.0.2"], "http", "app.internal"),
        ),
        # Nodes: ports and brackets go, an obfuscated one ends the walk.
        (1, ['for="192.0.2.7:55555"'], (CLIENT, [CLIENT], "http", "app.internal")),
        (1, ["for=192.0.2.7:_port"], (CLIENT, [CLIENT], "http", "app.internal")),
        (1, ["for=[2001:db8::1]"], ("2001:db8::1", ["2001:db8::1"], "http", "app.internal")),
        (1, ['for="2001:db8::1"'], ("2001:db8::1", ["2001:db8::1"], "http", "app.internal")),
        (1, ["for=unknown"], ("unknown", ["unknown"], "http", "app.internal")),
        (1, ['for="a:b:c"'], ("a:b:c", ["a:b:c"], "http", "app.internal")),
        (
            "uniquelocal",
            ['for=6.6.6.6, for="192.0.2.7:1", for="10.0.0.3:2", for="[fd00::2]:3"'],
            (CLIENT, [CLIENT, "10.0.0.3", "fd00::2"], "http", "app.internal"),
        ),
        (3, ["for=6.6.6.6, for=_hidden"], ("_hidden", ["_hidden"], "http", "app.internal")),
        # Blanks, capitals, escapes, empty parameters and other ones.
        (
            1,
            [
                ' FOR = x, fOr="192\\.0.2.7" ; Proto=HTTPS;; ; ext="a;b,c=\\"d" ;'
                'HOST="b.example:80" ,, ',
            ],
            (CLIENT, [CLIENT], "https", "b.example:80"),
        ),
        # Whom an element does not name, nobody knows.
        (1, ["proto=https"], (None, NO_CHAIN, "https", "app.internal")),
        (
            2,
            ["for=6.6.6.6, proto=https, for=10.0.0.2"],
            (None, ["10.0.0.2"], "https", "app.internal"),
        ),
        (1, ["for=;proto=https"], (None, NO_CHAIN, "https", "app.internal")),
        (1, ['for="";proto=https'], (None, NO_CHAIN, "https", "app.internal")),
        # What cannot be read says nothing.
        (1, ["for=192.0.2.7 proto=https"], (None, NO_CHAIN, "http", "app.internal")),
        (1, ["192.0.2.7"], (None, NO_CHAIN, "http", "app.internal")),
        (1, ['for="192.0.2.7;proto=https'], (None, NO_CHAIN, "http", "app.internal")),
        (1, ["for=192.0.2.7;proto=https;for=6.6.6.6"], (None, NO_CHAIN, "http", "app.internal")),
        (1, ["for=192.0.2.7;For=192.0.2.7"], (None, NO_CHAIN, "http", "app.internal")),
        (2, ["for=6.6.6.6;x, for=10.0.0.2"], (None, ["10.0.0.2"], "http", "app.internal")),
    ],
)
def test_an_element_has_the_client_and_its_scheme_and_host(
    trust: TrustProxy, values: list[str], expected: tuple[object, ...]
) -> None:
    assert seen(forwarded(*values), trust=trust) == expected


@pytest.mark.parametrize(
    "written",
    [
        'for="a;host=evil.example"',
        'for="a',
        'for="a\\',
        'for="a\\"',
        'for=a"',
        '"',
        '\\"',
        '"\\',
        '""',
        '"""',
        "for=a,",
        ',"',
        '";for=6.6.6.6,"',
        "for=" + "a," * 500,
        '"' * 501,
        '\\"' * 501,
        '"\\' * 501,
    ],
)
@pytest.mark.parametrize("joined", [False, True], ids=["lines", "one line"])
def test_what_a_client_wrote_hides_no_element_behind_it(written: str, joined: bool) -> None:
    """Rack CVE-2026-32762: a quote that a client opens is not closed by what a proxy adds."""
    added = 'for="192.0.2.7";proto=https;host="b.example:80";ext="a\\\\\\"b,\\"c\\\\"'
    values = [f"{written}, {added}"] if joined else [written, added]
    assert seen(forwarded(*values)) == (CLIENT, [CLIENT], "https", "b.example:80")


# --- both families --------------------------------------------------------------------------------

TOLD = x_for(CLIENT) + x_proto("https") + x_host("b.example")
SAME = "for=192.0.2.7;proto=https;host=b.example"


@pytest.mark.parametrize(
    ("x_fields", "element", "expected"),
    [
        (TOLD, SAME, (CLIENT, [CLIENT], "https", "b.example")),
        (
            x_for(CLIENT) + x_proto("HTTPS") + x_host("B.example"),
            'host="b.example";for="192.0.2.7:80";proto=https',
            (CLIENT, [CLIENT], "https", "B.example"),
        ),
        (
            x_for("2001:DB8:0::1"),
            'for="[2001:db8::1]"',
            ("2001:DB8:0::1", ["2001:DB8:0::1"], "http", "app.internal"),
        ),
        (x_for("_x"), "for=_x", ("_x", ["_x"], "http", "app.internal")),
        # One of them is the client's, and nobody knows which.
        (TOLD, "for=6.6.6.6;proto=https;host=b.example", (None, NO_CHAIN, "https", "b.example")),
        (TOLD, "for=192.0.2.7;proto=http;host=b.example", (CLIENT, [CLIENT], "http", "b.example")),
        (
            TOLD,
            "for=192.0.2.7;proto=https;host=c.example",
            (CLIENT, [CLIENT], "https", "app.internal"),
        ),
        (TOLD, "for=192.0.2.7", (CLIENT, [CLIENT], "http", "app.internal")),
        (TOLD, "by=6.6.6.6", (None, NO_CHAIN, "http", "app.internal")),
        (TOLD, "rubbish", (None, NO_CHAIN, "http", "app.internal")),
        (x_for(CLIENT), SAME, (CLIENT, [CLIENT], "http", "app.internal")),
        (x_proto("https"), SAME, (None, NO_CHAIN, "https", "app.internal")),
        (x_host("b.example"), SAME, (None, NO_CHAIN, "http", "b.example")),
        (x_for(PROXY), "proto=http", (None, NO_CHAIN, "http", "app.internal")),
        # An empty one says nothing, and so it contradicts nobody.
        (TOLD, "", (CLIENT, [CLIENT], "https", "b.example")),
        (x_for("") + x_host(","), SAME, (CLIENT, [CLIENT], "https", "b.example")),
    ],
)
def test_of_two_families_what_both_say_is_believed(
    x_fields: Fields, element: str, expected: tuple[object, ...]
) -> None:
    """A proxy sets one of them, and the client may have sent the other."""
    assert seen(x_fields + forwarded(element)) == expected
    assert seen(forwarded(element) + x_fields) == expected


def test_a_longer_chain_is_another_client() -> None:
    """With two hops the families name the same client only if they have the same proxies."""
    fields = x_for(f"{CLIENT}, 10.0.0.2") + forwarded("for=192.0.2.7")
    assert seen(fields, trust=2).ip is None
    assert seen(x_for(f"{FORGED}, {CLIENT}") + forwarded("for=192.0.2.7")).ip == CLIENT


@pytest.mark.parametrize(
    ("socket", "x_scheme", "scheme", "expected"),
    [
        ("https", "http", "https", "http"),
        ("https", "https", "http", "http"),
        ("https", "http", "", "http"),
        ("https", "", "http", "http"),
        ("ws", "https", "", "ws"),
        ("ws", "", "https", "ws"),
        ("wss", "https", "", "https"),
        ("https", "https", "wss", "https"),
    ],
)
def test_schemes_that_differ_are_not_secure(
    socket: str, x_scheme: str, scheme: str, expected: str
) -> None:
    fields = x_for(CLIENT) + x_proto(x_scheme) + forwarded(f"for=192.0.2.7;proto={scheme}")
    assert seen(fields, scheme=socket).scheme == expected


# --- properties -----------------------------------------------------------------------------------

FIELD_NAMES = st.sampled_from(
    [b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"host"]
)
PIECES = st.sampled_from(
    [b"for=", b"proto=https", b"host=", b"10.0.0.1", b"::1", b"unknown"]
) | st.sampled_from([b"[", b"]", b":", b",", b";", b'"', b"\\", b" ", b"\xff", b"a"])
VALUES = st.binary() | st.lists(PIECES).map(b"".join)
TRUSTS: list[TrustProxy] = [True, 1, 2, "loopback", "uniquelocal", ["::1", "10.0.0.0/8"]]
PEERS = st.none() | st.text() | st.sampled_from(["127.0.0.1", "10.0.0.1", "::1", "fe80::1%a"])


@given(st.sampled_from(TRUSTS), PEERS, st.lists(st.tuples(FIELD_NAMES, VALUES)))
def test_any_bytes_give_a_client_side(
    trust: TrustProxy, peer: str | None, headers: list[tuple[bytes, bytes]]
) -> None:
    side = seen_through(compile_trust(trust), peer, headers, "http", "app.internal")
    assert side.scheme in ("http", "https")
    assert "" not in (side.ip, *side.ips)
    assert side.ip in (None, peer, *side.ips)
    assert len(side.ips) <= 100


@given(st.lists(VALUES), st.booleans(), st.integers(1, 3))
def test_what_a_client_writes_changes_nothing(
    written: list[bytes], joined: bool, hops: int
) -> None:
    """Each of the trusted proxies adds an entry, on a line of its own or behind what is there."""
    chain = [CLIENT, "10.0.0.3", "10.0.0.2"][:hops]
    schemes = ["https", "http", "http"][:hops]
    elements = [
        f'for="{ip}";proto={scheme};ext="\\\\\\",a"'
        for ip, scheme in zip(chain, schemes, strict=True)
    ]
    trust = compile_trust(hops)

    def with_it(name: bytes, entries: Iterable[str]) -> list[tuple[bytes, bytes]]:
        values = [*written, *(entry.encode() for entry in entries)]
        return [(name, b", ".join(values))] if joined else [(name, value) for value in values]

    x_fields = with_it(b"x-forwarded-for", chain) + with_it(b"x-forwarded-proto", schemes)
    expected = ClientSide(CLIENT, chain, "https", None)
    assert seen_through(trust, PROXY, x_fields, "http", None) == expected
    fields = with_it(b"forwarded", elements)
    assert seen_through(trust, PROXY, fields, "http", None) == expected


ADDRESSES = st.ip_addresses().map(str) | st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"])


@given(ADDRESSES, st.lists(ADDRESSES))
def test_all_but_the_client_are_trusted(peer: str, chain: list[str]) -> None:
    """By address: whoever speaks for the next one has to be in a trusted network."""
    networks = [ip_network("10.0.0.0/8"), ip_network("fc00::/7")]
    side = seen(x_for(", ".join(chain)), trust=networks, peer=peer)

    walked = [*side.ips, peer]
    trusted = [any(ip_address(ip) in network for network in networks) for ip in walked]
    assert walked == [*chain, peer][-len(walked) :]
    assert side.ip == walked[0]
    assert all(trusted[1:])
    assert len(walked) == len(chain) + 1 or not trusted[0]


# --- work -----------------------------------------------------------------------------------------

LISTS = [b"10.0.0.1,", b",", b'for="10.0.0.1",', b"for=a;", b'"', b'\\"', b'"\\', b"\\", b"a"]


@pytest.mark.parametrize("piece", LISTS)
@pytest.mark.parametrize("name", [b"forwarded", b"x-forwarded-for"])
def test_a_longer_field_makes_no_more_work(
    name: bytes, piece: bytes, count_calls: Callable[..., int]
) -> None:
    trust = compile_trust(True)

    def look(size: int) -> None:
        seen_through(trust, PROXY, [(name, piece * size)], "http", None)

    short = count_calls(look, 5_000)
    assert count_calls(look, 10_000) <= 2.6 * short
    assert count_calls(look, 50_000) <= 1.1 * short + 50
    assert short < 20_000


@pytest.mark.parametrize("name", [b"forwarded", b"x-forwarded-for", b"cookie"])
def test_twice_the_lines_are_twice_the_work(name: bytes, count_calls: Callable[..., int]) -> None:
    trust = compile_trust(True)

    def look(size: int) -> None:
        seen_through(trust, PROXY, [(name, b"for=a")] * size, "http", None)

    assert count_calls(look, 4_000) <= 2.6 * count_calls(look, 2_000) + 50


@pytest.mark.parametrize(
    "hostile",
    [
        b'"' * 1_000_001,
        b'\\"' * 1_000_000,
        b'"\\' * 1_000_000,
        b'"' + b"\\" * 1_000_001,
        b"\\" * 1_000_001 + b'"',
        b'for="' + b"\\" * 1_000_001 + b'"',
        b'",' * 1_000_000 + b'"',
        b"for=a;" * 300_000,
        b"a" * 1_000_001,
        b"for=" + b"a:" * 500_000,
        b"for=[" + b":" * 1_000_000,
        b" " * 1_000_000 + b"?",
        b"for=" + b" " * 1_000_000 + b"a",
    ],
)
def test_a_hostile_field_is_read_in_one_pass(hostile: bytes) -> None:
    """Were anything scanned twice, one of these would take hours."""
    headers = [(b"x-forwarded-for", hostile), (b"x-forwarded-proto", hostile)]
    trust = compile_trust(True)
    assert seen_through(trust, PROXY, headers, "http", None).scheme == "http"
    headers = [(b"x-forwarded-host", hostile)]
    assert seen_through(trust, PROXY, headers, "http", None).host is None
    assert seen_through(trust, PROXY, [(b"forwarded", hostile)], "http", None).scheme == "http"


def test_trusting_nobody_looks_at_no_field(count_calls: Callable[..., int]) -> None:
    """The usual application pays next to nothing."""
    trust = compile_trust(False)
    headers = [(b"x-forwarded-for", b"6.6.6.6")] * 1_000
    assert count_calls(lambda: seen_through(trust, PROXY, headers, "http", None)) <= 5
