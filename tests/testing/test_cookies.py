"""Cookies: which ones the client keeps, and where it sends them (RFC 6265 §5)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.cookies import MAX_COOKIE_BYTES, parse_cookies
from nardis.errors import FieldError
from nardis.testing import Client
from nardis.testing.jar import CookieJar, Place
from nardis.types import Receive, Scope, Send

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "cookie_vectors.json").read_text())[
    "vectors"
]

WRITERS = ("serialize", "res.cookie", "res.clearCookie")

NOW = 1_000_000_000.0
PAST, FUTURE = formatdate(NOW - 1, usegmt=True), formatdate(NOW + 1, usegmt=True)


def place(url: str) -> Place:
    parts = urlsplit(url)
    return Place(parts.hostname or "", parts.path or "/", parts.scheme == "https")


def sent(kept: Iterable[tuple[str, str]], url: str) -> str:
    """Keep each line from its URL, and return what a request to *url* sends."""
    jar = CookieJar(clock=lambda: NOW)
    for origin, line in kept:
        jar.keep([line.encode("latin-1")], place(origin))
    return "; ".join(f"{name}={value}" for name, value in jar.matching(place(url)))


# --- one cookie -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a=1", "a=1"),
        ("\t a \t=\t 1 2 \t; x", "a=1 2"),
        ('a="1=2,3"', 'a="1=2,3"'),
        ("a=", "a="),
        ("a=caf\xc3\xa9", "a=café"),
        ("a=\xff", "a=\udcff"),
        ("a=1;;; =x; nothing", "a=1"),
        # No name, no `=`, a control character, too long.
        ("a", ""),
        ("=1", ""),
        (" \t=__Host-a=1", ""),
        ("", ""),
        ("a=1\x01", ""),
        ("a=1; path=/\x7f", ""),
        ("a=1\t2", "a=1\t2"),
        ("a=" + "b" * (MAX_COOKIE_BYTES - 1), "a=" + "b" * (MAX_COOKIE_BYTES - 1)),
        ("a=" + "b" * MAX_COOKIE_BYTES, ""),
    ],
)
def test_a_line_is_split_at_semicolons_and_trimmed(line: str, expected: str) -> None:
    """RFC 6265 §5.2: nothing is unquoted or decoded."""
    assert sent([("http://h.test/", line)], "http://h.test/") == expected


@pytest.mark.parametrize(
    ("attributes", "lives"),
    [
        ("", True),
        ("Max-Age=1", True),
        ("MAX-AGE = 1 ", True),
        ("Max-Age=0", False),
        ("Max-Age=-1", False),
        ("Max-Age=" + "9" * 1000, True),
        (f"Expires={FUTURE}", True),
        (f"expires={PAST}", False),
        (f"Expires={formatdate(NOW, usegmt=True)}", False),
        # Max-Age wins, wherever it stands.
        (f"Max-Age=1; Expires={PAST}", True),
        (f"Expires={FUTURE}; Max-Age=0", False),
        # What cannot be read counts as not there.
        (f"Max-Age=soon; Expires={PAST}", False),
        ("Max-Age=0; Max-Age=+1", False),
        ("Max-Age=1.5; Max-Age=-; Max-Age=", True),
        (f"Expires={PAST}; Expires=never", False),
        ("Expires=Thu, 01 Jan 99999 00:00:00 GMT", True),
        ("Expires=Thu, 01 Jan 99999999999999999999 00:00:00 GMT", True),
        ("Max-Age=0; Max-Age=" + "1" * 1025, False),
        # The last one counts.
        ("Max-Age=0; Max-Age=1", True),
        # The forms that dates have had; a zone never counts.
        ("Expires=Thu, 01-Jan-1970 00:00:00 GMT", False),
        ("Expires=Thursday, 01-Jan-70 00:00:00 GMT", False),
        ("Expires=Thu Jan  1 00:00:00 1970", False),
        ("Expires=Sun, 09 Sep 2001 01:46:41 -0100", True),
        ("Expires=Sun, 09 Sep 2001 01:46:39 -0100", False),
    ],
)
def test_max_age_wins_over_expires(attributes: str, lives: bool) -> None:
    assert sent([("http://h.test/", f"a=1; {attributes}")], "http://h.test/") == "a=1" * lives


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("Wed, 09 Jun 2021 10:18:14 GMT", "2021-06-09 10:18:14"),
        ("Wednesday, 09-Jun-21 10:18:14 GMT", "2021-06-09 10:18:14"),
        ("Wed Jun  9 10:18:14 2021", "2021-06-09 10:18:14"),
        # The pieces in any order, between any delimiters, with anything behind them.
        ("10:18:14 09 Jun 2021", "2021-06-09 10:18:14"),
        ("2021 Jun 09 10:18:14", "2021-06-09 10:18:14"),
        ("9th June!2021x/1:2:3pm", "2021-06-09 01:02:03"),
        ("Wed, 09-JUNE-2021~10:18:14.5 -0500", "2021-06-09 10:18:14"),
        ("09 Jun 2021 10:18:14 10 Jul 2022 11:19:15", "2021-06-09 10:18:14"),
        ("20 Jun 18 10:00:00", "2018-06-20 10:00:00"),
        # Years of two digits.
        ("Mon, 01-Jan-69 00:00:00 GMT", "2069-01-01 00:00:00"),
        ("Mon, 01-Jan-70 00:00:00 GMT", "1970-01-01 00:00:00"),
        ("Mon, 01-Jan-99 00:00:00 GMT", "1999-01-01 00:00:00"),
        ("Mon, 01-Jan-00 00:00:00 GMT", "2000-01-01 00:00:00"),
        ("Mon, 01 Jan 070 00:00:00 GMT", "1970-01-01 00:00:00"),
        # Bounds.
        ("Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31 23:59:59"),
        ("Mon, 01 Jan 1601 00:00:00 GMT", "1601-01-01 00:00:00"),
        ("Sun, 31 Dec 1600 23:59:59 GMT", None),
        ("Mon, 01 Jan 100 00:00:00 GMT", None),
        ("Wed, 00 Jun 2021 10:18:14 GMT", None),
        ("Wed, 31 Jun 2021 10:18:14 GMT", None),
        ("Wed, 32 Jan 2021 10:18:14 GMT", None),
        ("Mon, 29 Feb 2021 10:18:14 GMT", None),
        ("Thu, 29 Feb 2024 10:18:14 GMT", "2024-02-29 10:18:14"),
        ("Wed, 09 Jun 2021 24:00:00 GMT", None),
        ("Wed, 09 Jun 2021 10:60:14 GMT", None),
        ("Wed, 09 Jun 2021 10:18:60 GMT", None),
        # A piece that is missing, or that is none.
        ("Wed, 09 Jun 2021 10:18 GMT", None),
        ("Wed, 09 Jun 2021 10:18:145 GMT", None),
        ("Wed, 09 Jun 10:18:14 GMT", None),
        ("Wed, 09 Jux 2021 10:18:14 GMT", None),
        ("Wed, 009 Jun 2021 10:18:14 GMT", None),
        ("Wed, 09 Jun 12021 10:18:14 GMT", None),
        ("0", None),
        ("", None),
    ],
)
def test_dates_are_read_piece_by_piece(date: str, moment: str | None) -> None:
    """RFC 6265 §5.1.1. What is no date counts as not there, so the cookie lives."""
    end = datetime.fromisoformat(f"{moment}+00:00").timestamp() if moment else None
    jar, here = CookieJar(clock=lambda: -1e12), place("http://h.test/")
    jar.keep([f"a=1; Expires={date}".encode()], here)
    if end is not None:
        jar.clock = lambda: end - 0.5
        assert jar.matching(here)
        jar.clock = lambda: end
        assert not jar.matching(here)
    else:
        jar.clock = lambda: 1e12
        assert jar.matching(here)


@pytest.mark.parametrize(
    ("origin", "domain", "hosts"),
    [
        # Without a domain, the host alone.
        ("b.example.com", None, ["b.example.com"]),
        ("b.example.com", "", ["b.example.com"]),
        ("b.example.com", ".", ["b.example.com"]),
        # A domain that covers the host, in any case, with or without a dot in front.
        ("b.example.com", "Example.COM", ["example.com", "b.example.com", "a.b.example.com"]),
        ("b.example.com", ".example.com", ["example.com", "b.example.com", "a.b.example.com"]),
        ("b.example.com", "b.example.com", ["b.example.com", "a.b.example.com"]),
        # Any other is refused, and so is a domain of one label.
        ("b.example.com", "a.b.example.com", []),
        ("b.example.com", "example.org", []),
        ("notexample.com", "example.com", []),
        ("example.com", "com", []),
        ("example.com.", "com.", []),
        # But the host itself may have one label.
        ("testserver", "testserver", ["testserver"]),
        ("testserver", ".testserver", ["testserver"]),
        ("127.0.0.1", "127.0.0.1", ["127.0.0.1"]),
        ("127.0.0.1", "0.0.1", []),
        ("[::1]", None, ["[::1]"]),
    ],
)
def test_a_domain_covers_the_host_that_names_it(
    origin: str, domain: str | None, hosts: list[str]
) -> None:
    """RFC 6265 §5.1.3, and §5.3, steps 5 and 6."""
    everyone = [
        "com",
        "example.com",
        "example.com.",
        "b.example.com",
        "a.b.example.com",
        "notexample.com",
        "example.org",
        "testserver",
        "a.testserver",
        "127.0.0.1",
        "1.127.0.0.1",
        "[::1]",
    ]
    jar = CookieJar()
    attribute = b"" if domain is None else b"; Domain=" + domain.encode()
    jar.keep([b"a=1" + attribute], Place(origin, "/", secure=False))

    assert [each for each in everyone if jar.matching(Place(each, "/", secure=False))] == hosts


@pytest.mark.parametrize(
    ("origin", "attribute", "paths"),
    [
        ("/x", "; Path=/", ["/", "/x", "/x/", "/x/y", "/xy", "/x/y/z"]),
        ("/", "; Path=/x", ["/x", "/x/", "/x/y", "/x/y/z"]),
        ("/", "; Path=/x/", ["/x/", "/x/y", "/x/y/z"]),
        ("/", "; path=/x/y", ["/x/y", "/x/y/z"]),
        # Without a path, or with a relative one: the folder of the request.
        ("/", "", ["/", "/x", "/x/", "/x/y", "/xy", "/x/y/z"]),
        ("/x", "", ["/", "/x", "/x/", "/x/y", "/xy", "/x/y/z"]),
        ("/x/", "", ["/x", "/x/", "/x/y", "/x/y/z"]),
        ("/x/y", "; Path=y", ["/x", "/x/", "/x/y", "/x/y/z"]),
        ("/x/y", "; Path=/; Path=", ["/x", "/x/", "/x/y", "/x/y/z"]),
        ("*", "", ["/", "/x", "/x/", "/x/y", "/xy", "/x/y/z"]),
    ],
)
def test_a_path_covers_what_is_below_it(origin: str, attribute: str, paths: list[str]) -> None:
    """RFC 6265 §5.1.4."""
    jar = CookieJar()
    jar.keep([b"a=1" + attribute.encode()], Place("h.test", origin, secure=False))
    everywhere = ["/", "/x", "/x/", "/x/y", "/xy", "/x/y/z", "*"]

    assert [each for each in everywhere if jar.matching(Place("h.test", each, False))] == paths


# --- Secure and prefixes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "line", "http", "https"),
    [
        ("http", "a=1", True, True),
        ("https", "a=1", True, True),
        ("https", "a=1; secure", False, True),
        ("https", "a=1; SECURE=no", False, True),
        ("http", "a=1; Secure", False, False),
        ("https", "__Secure-a=1; Secure", False, True),
        ("https", "__sEcUrE-a=1", False, False),
        ("http", "__Secure-a=1; Secure", False, False),
        ("https", "__Host-a=1; Secure; Path=/", False, True),
        ("https", "__Host-a=1; Secure; Path=/; Domain=", False, True),
        ("https", "__Host-a=1; Path=/", False, False),
        ("https", "__host-a=1; Secure", False, False),
        ("https", "__Host-a=1; Secure; Path=/x", False, False),
        ("https", "__Host-a=1; Secure; Path=/; Domain=h.test", False, False),
        ("http", "__Host-a=1; Secure; Path=/", False, False),
        ("http", "__Hosta=1", True, True),
    ],
)
def test_secure_and_prefixes_demand_https(origin: str, line: str, http: bool, https: bool) -> None:
    """RFC 6265bis §5.4 and §5.7."""
    kept = [(f"{origin}://h.test/", line)]

    assert bool(sent(kept, "http://h.test/")) is http
    assert bool(sent(kept, "https://h.test/")) is https


@pytest.mark.parametrize(
    ("secure", "url", "line", "expected"),
    [
        ("a=1; Secure; Path=/", "http://b.h.test/", "a=2", "a=1"),
        ("a=1; Secure; Path=/", "http://b.h.test/", "a=; Max-Age=0", "a=1"),
        ("a=1; Secure; Path=/", "http://b.h.test/", "a=2; Path=/x", "a=1"),
        ("a=1; Secure; Path=/", "http://b.h.test/", "a=2; Domain=h.test", "a=1"),
        ("a=1; Secure; Path=/; Domain=h.test", "http://b.h.test/", "a=2", "a=1"),
        # Another name, another host, a path above it, or https.
        ("a=1; Secure; Path=/", "http://b.h.test/", "b=2; Path=/", "a=1; b=2"),
        ("a=1; Secure; Path=/", "http://c.h.test/", "a=2; Path=/", "a=1"),
        ("a=1; Secure; Path=/x", "http://b.h.test/", "a=2; Path=/", "a=1; a=2"),
        ("a=1; Secure; Path=/", "https://b.h.test/", "a=2; Path=/", "a=2"),
        ("a=1; Secure; Path=/", "https://b.h.test/", "a=; Max-Age=0; Path=/", ""),
    ],
)
def test_what_comes_in_the_clear_leaves_secure_cookies_alone(
    secure: str, url: str, line: str, expected: str
) -> None:
    """RFC 6265bis §5.7: neither replaced, nor removed, nor shadowed."""
    kept = [("https://b.h.test/", secure), (url, line)]

    assert sent(kept, "https://b.h.test/x") == expected


# --- several cookies ------------------------------------------------------------------------------


def test_longer_paths_are_sent_first_then_older_cookies() -> None:
    """RFC 6265 §5.4. A cookie that is set again keeps its age; one that expired does not."""
    kept = [
        ("http://h.test/", "a=1"),
        ("http://h.test/", "b=2"),
        ("http://h.test/", "c=3; Path=/x"),
        ("http://h.test/", "d=4; Path=/x/y"),
    ]
    again = [*kept, ("http://h.test/", "a=5")]
    anew = [*kept, ("http://h.test/", "a=; Max-Age=0"), ("http://h.test/", "a=5")]

    assert sent(kept, "http://h.test/x/y") == "d=4; c=3; a=1; b=2"
    assert sent(again, "http://h.test/x") == "c=3; a=5; b=2"
    assert sent(anew, "http://h.test/x") == "c=3; b=2; a=5"


def test_a_cookie_that_expired_is_a_new_one_when_it_is_set_again() -> None:
    """Also within one response, and when only time has passed."""
    jar, here = CookieJar(clock=lambda: NOW), place("http://h.test/")
    end = f"a=; Expires={formatdate(NOW, usegmt=True)}".encode()
    jar.keep([b"a=1", b"b=2; Max-Age=1", b"c=3", end, b"a=4"], here)
    assert jar.matching(here) == [("b", "2"), ("c", "3"), ("a", "4")]
    jar.clock = lambda: NOW + 1
    jar.keep([b"b=5"], here)

    assert jar.matching(here) == [("c", "3"), ("a", "4"), ("b", "5")]


def test_name_domain_and_path_make_a_cookie() -> None:
    """A domain and its host alone are two (RFC 6265bis §5.7), and names have their case."""
    kept = [
        ("http://b.h.test/", "a=1"),
        ("http://b.h.test/", "A=2"),
        ("http://b.h.test/", "a=3; Domain=b.h.test"),
        ("http://b.h.test/", "a=4; Domain=h.test"),
        ("http://b.h.test/", "a=5; Path=/x"),
    ]

    assert sent(kept, "http://b.h.test/x") == "a=5; a=1; A=2; a=3; a=4"
    assert sent([*kept, ("http://b.h.test/", "a=; Max-Age=0")], "http://b.h.test/x") == (
        "a=5; A=2; a=3; a=4"
    )


@pytest.mark.parametrize(
    "row",
    [row for row in VECTORS if row["op"] in WRITERS and "result" in row],
    ids=lambda row: f"{row['op']} {row['name']} {row['options']}",
)
def test_what_express_writes_comes_back(row: dict[str, Any]) -> None:
    """The pair comes as it was written, below its path, until it expires."""
    options = row["options"]
    line: str = row["result"] if row["op"] == "serialize" else row["result"][0]
    is_gone = row["op"] == "res.clearCookie" or options.get("maxAge") == 0 or "expires" in options
    url = f"https://example.com{options.get('path', '/')}"

    assert sent([("https://example.com/", line)], url) == line.partition(";")[0] * (not is_gone)


LINES = st.binary() | st.text("aA=;,/.: \t-_\xff").map(lambda text: text.encode("latin-1"))


@given(st.lists(LINES))
def test_any_line_is_kept_or_ignored(lines: list[bytes]) -> None:
    """The server reads the names that were kept."""
    jar, here = CookieJar("h.test"), Place("h.test", "/", secure=True)
    jar.keep(lines, here)
    pairs = jar.matching(here)
    text = "; ".join(f"{name}={value}" for name, value in pairs)

    assert {name for name, _ in pairs} <= jar.keys()
    assert [name for name, _ in parse_cookies(text, len(pairs))] == [name for name, _ in pairs]


NAMES = st.lists(st.sampled_from(["a", "b", "com", "1"]), min_size=1, max_size=4).map(".".join)


@given(NAMES, NAMES, NAMES)
def test_no_domain_reaches_beyond_its_host(origin: str, domain: str, host: str) -> None:
    """Whoever gets the cookie shares a domain of two labels with its origin, or is its origin."""
    jar = CookieJar()
    jar.keep([f"a=1; Domain={domain}".encode()], Place(origin, "/", secure=False))

    if jar.matching(Place(host, "/", secure=False)):
        shared = f".{domain}"
        assert f".{origin}".endswith(shared)
        assert f".{host}".endswith(shared)
        assert host == origin or "." in domain


@pytest.mark.parametrize(
    "piece", [b";", b"a=;", b"; Max-Age=x", b"; Expires=x", b"; Path=/a", b" "]
)
def test_a_long_line_is_read_in_one_pass(piece: bytes, count_calls: Callable[..., int]) -> None:
    def work(size: int) -> int:
        return count_calls(CookieJar().keep, [b"a=1" + piece * size], place("http://h.test/"))

    assert work(2_000) <= 2.6 * work(1_000)


# --- the jar as a mapping -------------------------------------------------------------------------


def test_the_mapping_has_the_cookies_of_the_clients_host() -> None:
    """Whatever their path, with Secure too; of one name, that with the longest path."""
    jar = CookieJar("b.h.test", clock=lambda: NOW)
    jar.keep(
        [b"a=1", b"a=2; Path=/x", b"b=3; Domain=h.test", b"c=4; Secure", b"d=5; Max-Age=1"],
        place("https://b.h.test/"),
    )
    jar.keep([b"e=6"], place("http://h.test/"))

    assert jar == {"a": "2", "b": "3", "c": "4", "d": "5"}
    assert (list(jar), len(jar), "e" in jar) == (["a", "b", "c", "d"], 4, False)
    assert repr(jar) == "CookieJar({'a': '2', 'b': '3', 'c': '4', 'd': '5'})"
    jar.clock = lambda: NOW + 1
    assert "d" not in jar
    with pytest.raises(KeyError):
        jar["d"]


def test_an_assignment_replaces_all_cookies_of_the_name() -> None:
    """By one for each path and scheme, and for that host alone."""
    jar = CookieJar("b.h.test")
    here, there = place("http://b.h.test/y"), place("http://a.b.h.test/")
    jar.keep([b"a=1; Path=/x", b"a=2; Domain=h.test", b"b=3"], here)
    jar["a"], jar["__Host-c"] = "4", "5"

    assert jar == {"a": "4", "b": "3", "__Host-c": "5"}
    assert jar.matching(here) == [("b", "3"), ("a", "4"), ("__Host-c", "5")]
    assert jar.matching(there) == []
    jar.keep([b"a=6; Path=/", b"__Host-c=7; Path=/"], here)
    assert jar == {"a": "6", "b": "3", "__Host-c": "5"}


BAD_PAIRS: list[tuple[Any, Any, str]] = [
    ("k", "x\r\nY: z", r"the value of a cookie has '\\r' at position 1"),
    ("k", "x\0", r"'\\x00'"),
    ("k", "x; y", "';' at position 1"),
    ("k", "\ud800", r"'\\ud800' at position 0"),
    ("k", "\udc7f", "no Cookie field can hold"),
    ("k", "\udd00", "no Cookie field can hold"),
    ("k", " x", "blank around it"),
    ("k", "x\t", "blank around it"),
    ("k", 1, "the value of a cookie is a str, not int"),
    ("k\n", "x", "the name of a cookie has"),
    ("k;", "x", "the name of a cookie has ';'"),
    ("\udfff", "x", "the name of a cookie has"),
    ("k ", "x", "blank around it"),
    ("k=l", "x", "'k=l' is no name"),
    ("", "x", "it is empty"),
    (b"k", "x", "the name of a cookie is a str, not bytes"),
]


@pytest.mark.parametrize(("name", "value", "why"), BAD_PAIRS)
def test_what_no_cookie_field_can_hold_is_refused(name: Any, value: Any, why: str) -> None:
    """And the jar stays as it was."""
    jar = CookieJar()
    jar["k"] = "1"
    with pytest.raises(FieldError, match=why):
        jar[name] = value

    assert jar == {"k": "1"}


@given(st.text() | st.text("a=; \t\n\udcff"), st.text() | st.text("a=; \t\n\udcff"))
def test_what_is_assigned_comes_back_as_it_is_or_is_refused(name: str, value: str) -> None:
    jar, here = CookieJar(), Place("testserver", "/", secure=False)
    try:
        jar[name] = value
    except FieldError:
        assert jar == {}
        return
    line = "; ".join(f"{name}={value}" for name, value in jar.matching(here))
    other = CookieJar()
    other.keep([line.encode("utf-8", "surrogateescape")], here)

    assert other == jar == {name: value}


def test_a_deletion_removes_all_cookies_of_the_name() -> None:
    """Of the client's host; `clear()` removes all of all hosts."""
    jar = CookieJar("b.h.test")
    there = place("http://h.test/")
    jar.keep([b"a=1; Path=/x", b"a=2", b"b=3"], place("http://b.h.test/"))
    jar.keep([b"a=4"], there)
    del jar["a"]

    assert jar == {"b": "3"}
    with pytest.raises(KeyError, match="a"):
        del jar["a"]
    assert jar.pop("b") == "3"
    assert jar.matching(there) == [("a", "4")]
    jar.clear()
    assert jar.matching(there) == []


# --- of the client --------------------------------------------------------------------------------


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Set the cookies that the fields `x-set` ask for; the body is what came."""
    headers = [(b"set-cookie", value) for name, value in scope["headers"] if name == b"x-set"]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    body = dict(scope["headers"]).get(b"cookie", b"")
    await send({"type": "http.response.body", "body": body})


@pytest.mark.anyio
async def test_a_request_gets_the_cookies_of_its_scheme_host_and_path() -> None:
    """Those of an absolute URL, or of a Host field; the path as it goes over the wire."""
    async with Client(app, lifespan=False) as client:
        set_all = [
            ("x-set", "a=1; Domain=example.com; Path=/"),
            ("x-set", "b=2; Secure; Path=/"),
            ("x-set", "c=3; Path=/caf%C3%A9"),
        ]
        await client.get("https://b.Example.com:8443/", headers=set_all)
        texts = [
            (await client.get(url)).text
            for url in (
                "https://b.example.com/",
                "http://b.example.com:8080/café/x?y=/",
                "http://user@B.EXAMPLE.COM/cafe",
                "http://example.com",
                "/",
            )
        ]
        named = await client.get("/", headers={"Host": "b.example.com"})

    assert texts == ["a=1; b=2", "c=3; a=1", "a=1", "a=1", ""]
    assert named.text == "a=1"
    assert client.cookies == {}


@pytest.mark.anyio
async def test_a_host_field_of_the_client_names_its_own_host() -> None:
    """`cookies` has those of that host."""
    async with Client(app, lifespan=False, headers={"Host": "example.com:80"}) as client:
        await client.get("/", headers={"x-set": "a=1; Domain=example.com"})
        client.cookies["b"] = "é"

        assert client.cookies == {"a": "1", "b": "é"}
        assert (await client.get("/")).text == "a=1; b=é"
        assert (await client.get("/", headers={"Host": "testserver"})).text == ""


@pytest.mark.anyio
async def test_cookies_expire_by_a_clock_of_the_tests_own() -> None:
    async with Client(app, lifespan=False) as client:
        await client.get("/", headers={"x-set": "a=1; Max-Age=3600"})
        before = (await client.get("/")).text
        client.cookies.clock = lambda: time.time() + 3601
        after = (await client.get("/")).text

    assert (before, after) == ("a=1", "")


@pytest.mark.anyio
async def test_cookies_of_one_request_win_by_name() -> None:
    """Over each of the jar that has the name; a value comes back in the bytes it came in."""
    async with Client(app, lifespan=False) as client:
        lines = [b"a=1", b"a=2; Path=/x", b"b=\xff; Path=/"]
        await client.get("/", headers=[("x-set", line) for line in lines])

        assert (await client.get("/x", cookies={"a": "9", "c": "ü"})).content == (
            b"b=\xff; a=9; c=\xc3\xbc"
        )
        assert (await client.get("/x")).content == b"a=2; a=1; b=\xff"
