"""`format_cookie`: one Set-Cookie field that browsers take as it is meant (RFC 6265bis §4.1)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.cookies import MAX_COOKIE_BYTES, format_cookie, parse_cookies
from nardis._http.dates import parse_date
from nardis._http.fields import check_value
from nardis.errors import FieldError, UsageError

VECTORS = [
    row
    for row in json.loads(
        (Path(__file__).parents[1] / "vectors" / "cookie_vectors.json").read_text()
    )["vectors"]
    if row["op"] in ("serialize", "res.cookie", "res.clearCookie")
]

SECRET = "hunter2"


def id_of(row: dict[str, Any]) -> str:
    asked = [row["op"], row["name"], row.get("value", ""), row["options"]]
    return " ".join(part if isinstance(part, str) else json.dumps(part) for part in asked)


# Rows that we answer otherwise on purpose: ours is a text, or an error that says this.
DEVIATIONS = {
    # A value is a text here. Express writes `j:` and JSON, which its reader then takes from any
    # client: a text that begins with `j:` becomes an object.
    "res.cookie a [1, 2] {}": "not list: encode it first",
    "res.cookie a true {}": "not bool: encode it first",
    "res.cookie a null {}": "not NoneType: encode it first",
    'res.cookie a {"x": 1} {"signed": true}': "not dict: encode it first",
    # There is no clock here, and every browser of today knows Max-Age, which wins over Expires
    # anyway (RFC 6265 §5.3).
    'res.cookie a b {"maxAge": 1500}': "a=b; Max-Age=1; Path=/",
    # Browsers refuse it (RFC 6265bis §5.7), and say so only in their console.
    'serialize foo bar {"sameSite": "none"}': "browsers refuse same_site='none' without",
    # Chrome alone knows priorities, from a draft that expired in 2016.
    'serialize foo bar {"priority": "urgent"}': "unexpected keyword argument 'priority'",
}


def written(row: dict[str, Any]) -> str:
    """Ask for what a row asks Express for, with Express's defaults, in our words."""
    options: dict[str, Any] = dict(row["options"])
    asked: dict[str, Any] = {
        "path": None if row["op"] == "serialize" else "/",
        "secure": options.pop("secure", False),
        "http_only": options.pop("httpOnly", False),
        "same_site": {True: "strict", False: None}.get(
            same_site := options.pop("sameSite", None), same_site
        ),
    }
    options.pop("signed", None)
    if (max_age := options.pop("maxAge", None)) is not None:
        asked["max_age"] = max_age if row["op"] == "serialize" else max_age / 1000
    if (expires := options.pop("expires", None)) is not None:
        asked["expires"] = parse_date(expires)
    if row["op"] == "res.clearCookie":
        asked |= {"expires": 0, "max_age": None}
    return format_cookie(row["name"], row.get("value", ""), **asked | options)


@pytest.mark.parametrize("row", [row for row in VECTORS if id_of(row) not in DEVIATIONS], ids=id_of)
def test_express_agrees(row: dict[str, Any]) -> None:
    if "error" in row:
        with pytest.raises(FieldError):
            written(row)
    else:
        result = row["result"]
        assert written(row) == (result if isinstance(result, str) else result[0])


@pytest.mark.parametrize("row", [row for row in VECTORS if id_of(row) in DEVIATIONS], ids=id_of)
def test_each_deviation_is_as_it_is_named(row: dict[str, Any]) -> None:
    try:
        outcome = written(row)
    except (FieldError, TypeError) as exc:
        outcome = str(exc)
    assert DEVIATIONS[id_of(row)] in outcome


def test_each_deviation_is_a_row() -> None:
    assert DEVIATIONS.keys() <= set(map(id_of, VECTORS))


def test_a_cookie_is_safe_unless_asked_otherwise() -> None:
    """Hidden from scripts, not sent from other sites, valid everywhere on this host alone."""
    assert format_cookie("a", "b", secure=False) == "a=b; Path=/; HttpOnly; SameSite=Lax"
    assert format_cookie("a", "b", secure=False, path=None, http_only=False, same_site=None) == (
        "a=b"
    )


def test_the_attributes_stand_in_expresss_order() -> None:
    assert format_cookie(
        "a",
        "b",
        partitioned=True,
        same_site="None",
        secure=True,
        expires=datetime(2000, 1, 1, tzinfo=UTC),
        path="/x",
        domain=".Example.com",
        max_age=1,
    ) == (
        "a=b; Max-Age=1; Domain=.Example.com; Path=/x; Expires=Sat, 01 Jan 2000 00:00:00 GMT; "
        "HttpOnly; Secure; Partitioned; SameSite=None"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "a="),
        ("-_.!~*'()", "a=-_.!~*'()"),
        ("100%", "a=100%25"),
        ("%41", "a=%2541"),
        (' "x"; Domain=evil\r\n', "a=%20%22x%22%3B%20Domain%3Devil%0D%0A"),
        ("é\x00\\", "a=%C3%A9%00%5C"),
    ],
)
def test_a_value_is_encoded_as_by_encodeuricomponent(value: str, expected: str) -> None:
    assert format_cookie("a", value, secure=False, path=None, http_only=False, same_site=None) == (
        expected
    )


@pytest.mark.parametrize(
    ("max_age", "expected"),
    [
        (0, "0"),
        (1.999, "1"),
        (-1, "-1"),
        (-0.5, "-1"),
        (timedelta(days=1, milliseconds=1999), "86401"),
        (timedelta(milliseconds=-1), "-1"),
        (1e300, str(int(1e300))),
        (10**308, "1" + "0" * 308),
    ],
)
def test_max_age_is_in_whole_seconds_rounded_down(
    max_age: float | timedelta, expected: str
) -> None:
    """0 and less remove a cookie at once (RFC 6265 §5.2.2)."""
    assert f"; Max-Age={expected};" in format_cookie("a", "b", secure=False, max_age=max_age)


@pytest.mark.parametrize(
    ("expires", "expected"),
    [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (1.9, "Thu, 01 Jan 1970 00:00:01 GMT"),
        (datetime(1601, 1, 1, tzinfo=UTC), "Mon, 01 Jan 1601 00:00:00 GMT"),
        (datetime(9999, 12, 31, tzinfo=UTC), "Fri, 31 Dec 9999 00:00:00 GMT"),
    ],
)
def test_expires_is_a_date_of_http(expires: float | datetime, expected: str) -> None:
    assert f"; Expires={expected};" in format_cookie("a", "b", secure=False, expires=expires)


@pytest.mark.parametrize("same_site", ["lax", "Lax", "LAX"])
def test_the_case_of_same_site_does_not_matter(same_site: Any) -> None:
    assert format_cookie("a", "b", secure=False, same_site=same_site).endswith("; SameSite=Lax")


@pytest.mark.parametrize("path", ["/", "/a/b:c", '/foo=bar?baz"', "/%20", "/~" + "x" * 1022])
def test_a_path_of_a_url_passes(path: str) -> None:
    assert f"; Path={path};" in format_cookie("a", "b", secure=False, path=path)


@pytest.mark.parametrize(
    "domain",
    [
        "example.com",
        ".example.com",
        "localhost",
        "xn--caf-dma.example",
        "3com.com",
        "127.0.0.1",
        "a-b.c--d",
        "x" * 63 + ".example",
        ("x" * 49 + ".") * 5 + "xyz",
    ],
)
def test_a_name_of_dns_passes_as_a_domain(domain: str) -> None:
    assert f"; Domain={domain};" in format_cookie("a", "b", secure=False, domain=domain)


@pytest.mark.parametrize(
    "name", ["__Secure-a", "__Host-a", "__HOST-a", "__Http-a", "__Host-Http-a", "__Host-Httpa"]
)
def test_a_prefix_passes_when_its_promise_is_kept(name: str) -> None:
    assert format_cookie(name, "b", secure=True).startswith(f"{name}=b; Path=/")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("__Secure-a", {"domain": "example.com", "path": "/x", "http_only": False}),
        ("__Http-a", {"domain": "example.com", "path": None}),
        ("__Host-a", {"http_only": False}),
        ("x__Host-a", {"domain": "example.com"}),
        ("__Host", {"domain": "example.com"}),
    ],
)
def test_a_prefix_promises_nothing_more_than_it_says(name: str, asked: dict[str, Any]) -> None:
    assert format_cookie(name, "b", secure=True, **asked).startswith(f"{name}=b")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"name": ""}, "name is empty"),
        ({"name": "sid=x"}, "has '=' at position 3"),
        ({"name": "sid\n"}, r"has '\\n' at position 3"),
        ({"name": " sid"}, "has ' ' at position 0"),
        ({"name": "café"}, "has 'é' at position 3"),
        ({"name": b"sid"}, "name is a str, not bytes"),
        ({"name": None}, "name is a str, not NoneType"),
        ({"value": SECRET.encode()}, "'sid': the value is a str, not bytes: encode it first"),
        ({"value": [SECRET]}, "not list: encode it first"),
        ({"value": SECRET + "\ud83d\ude00"}, "half a surrogate pair at position 7"),
        ({"value": SECRET * 600}, "have 4203 bytes, and browsers silently drop"),
        ({"value": SECRET + "é" * 800}, "have 4810 bytes"),
        ({"name": "n" * 4090}, "have 4097 bytes"),
        ({"max_age": math.nan}, "not finite"),
        ({"max_age": math.inf}, "not finite"),
        ({"max_age": -math.inf}, "not finite"),
        ({"max_age": 10**309}, "far too large"),
        ({"max_age": -(10**5000)}, "far too large"),
        ({"max_age": True}, "number of seconds or a timedelta, not bool"),
        ({"max_age": "60"}, "number of seconds or a timedelta, not str"),
        ({"expires": datetime.min.replace(tzinfo=UTC)}, "before 1601"),
        ({"expires": datetime(1600, 12, 31, 23, 59, 59, tzinfo=UTC)}, "before 1601"),
        ({"path": ""}, "'' is no path"),
        ({"path": "admin"}, "'admin' is no path: it begins with '/'"),
        ({"path": "/; Domain=evil"}, "is no path"),
        ({"path": "/;Domain=evil"}, "is no path"),
        ({"path": "/\r\nSet-Cookie: a=b"}, "is no path"),
        ({"path": "/a "}, "is no path"),
        ({"path": "/<script>"}, "is no path"),
        ({"path": "/é"}, "is no path"),
        ({"path": "/\x7f"}, "is no path"),
        ({"path": 1}, "int is no path"),
        ({"path": "/" + "x" * 1024}, "the path has 1025 bytes, and browsers ignore"),
        ({"domain": ""}, "'' is no domain"),
        ({"domain": "."}, "is no domain"),
        ({"domain": "example.com\n"}, "is no domain"),
        ({"domain": "example.com; Path=/"}, "is no domain"),
        ({"domain": "example.com;Path=/"}, "is no domain"),
        ({"domain": "https://example.com"}, "without scheme"),
        ({"domain": "localhost:3000"}, "port"),
        ({"domain": "example.com."}, "final dot"),
        ({"domain": "a..b"}, "is no domain"),
        ({"domain": "..a"}, "is no domain"),
        ({"domain": "-a.example"}, "is no domain"),
        ({"domain": "a-.example"}, "is no domain"),
        ({"domain": "café.example"}, "Punycode"),
        ({"domain": "x" * 64}, "is no domain"),
        ({"domain": "x." * 126 + "xy"}, "is no domain"),
        ({"domain": b"example.com"}, "bytes is no domain"),
        ({"same_site": ""}, "same_site is 'lax', 'strict', 'none' or None"),
        ({"same_site": "default"}, "same_site is"),
        ({"same_site": True}, "same_site is"),
        ({"same_site": "None"}, "refuse same_site='none' without secure=True"),
        ({"partitioned": True}, "refuse partitioned without secure=True"),
        ({"name": "__Secure-a"}, "refuse __Secure- without secure=True"),
        ({"name": "__secure-a"}, "refuse __secure- without secure=True"),
        ({"name": "__Host-a"}, "refuse __Host- without secure=True"),
        ({"name": "__Host-a", "secure": True, "domain": "a.example"}, "__Host- with a domain"),
        ({"name": "__Host-a", "secure": True, "path": "/a"}, "a path other than"),
        ({"name": "__HOST-a", "secure": True, "path": None}, "a path other than"),
        ({"name": "__Host-Http-a", "secure": True, "path": "/a"}, "a path other than"),
        ({"name": "__Host-Http-a", "secure": True, "http_only": False}, "__Host-Http- without htt"),
        ({"name": "__Http-a", "secure": True, "http_only": False}, "__Http- without http_only"),
        ({"name": "__Http-a"}, "__Http- without secure"),
    ],
)
def test_what_browsers_would_drop_is_an_error_without_the_value(
    asked: dict[str, Any], message: str
) -> None:
    usual: dict[str, Any] = {"name": "sid", "value": SECRET, "secure": False}
    with pytest.raises(FieldError, match=message) as caught:
        format_cookie(**usual | asked)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("expires", [datetime(2000, 1, 1), "tomorrow", math.nan, 1e18])
def test_a_date_that_http_cannot_write_is_a_usage_error(expires: Any) -> None:
    with pytest.raises(UsageError):
        format_cookie("a", "b", secure=False, expires=expires)


def test_4096_bytes_pass_and_not_one_more() -> None:
    """Name and encoded value count; the `=` and the attributes do not (RFC 6265bis §5.6)."""
    longest = "é" * 682  # 6 bytes each
    assert len(format_cookie("name", longest, secure=False).partition(";")[0]) == (
        MAX_COOKIE_BYTES + 1
    )
    with pytest.raises(FieldError, match="4097 bytes"):
        format_cookie("name5", longest, secure=False)


@pytest.mark.parametrize("piece", ["a", "é", ";", "%", '"\\'])
def test_twice_the_value_is_twice_the_work(piece: str, count_calls: Callable[..., int]) -> None:
    """Also of a value that is far too long."""

    def write(length: int) -> None:
        try:
            format_cookie("a", piece * length, secure=False)
        except FieldError:
            assert length > 100

    write(1)  # `quote` remembers what became of a byte
    for length in (100, 20_000):
        once, twice = count_calls(write, length), count_calls(write, 2 * length)
        assert twice <= 2.6 * once


@pytest.mark.parametrize(("part", "piece"), [("path", "/a"), ("domain", "a."), ("domain", "a-")])
def test_a_long_path_or_domain_costs_one_look(
    part: str, piece: str, count_calls: Callable[..., int]
) -> None:
    """The calls are the same; a domain that is too long for DNS does not reach the pattern."""

    def refuse(length: int) -> None:
        asked: dict[str, Any] = {part: piece * length + ";"}
        with pytest.raises(FieldError):
            format_cookie("a", "b", secure=False, **asked)

    assert count_calls(refuse, 1_000) == count_calls(refuse, 1_000_000)


@given(st.text(max_size=300) | st.text('%41 ;,"\\\r\n\x00é=', max_size=300))
def test_the_reader_returns_what_was_written(value: str) -> None:
    """Any text that UTF-8 can write comes back as it was, beside other cookies too."""
    pair = format_cookie("sid", value, secure=True).partition(";")[0]
    assert parse_cookies(f"a=1; {pair}; b=2") == [("a", "1"), ("sid", value), ("b", "2")]


@given(
    part=st.sampled_from(["name", "value", "path", "domain", "same_site"]),
    text=st.text(st.characters()) | st.text("ab/.;=, <-\r\n\x00é", max_size=5),
    before=st.sampled_from(["", "/", "a"]),
)
def test_no_text_slips_into_another_attribute(part: str, text: str, before: str) -> None:
    """It is an error, or one line with the same attributes as ever (CVE-2024-47764)."""
    asked: dict[str, Any] = {"name": "a", "value": "b", "domain": "a.example", "secure": True}
    asked[part] = before + text
    try:
        cookie = format_cookie(**asked)
    except FieldError:
        return
    assert check_value("set-cookie", cookie) == cookie.encode("ascii")
    attributes = [piece.partition("=")[0] for piece in cookie.split(";")[1:]]
    assert attributes == [" Domain", " Path", " HttpOnly", " Secure", " SameSite"]


ATTRIBUTES = {
    "max_age": "Max-Age",
    "domain": "Domain",
    "path": "Path",
    "expires": "Expires",
    "http_only": "HttpOnly",
    "secure": "Secure",
    "partitioned": "Partitioned",
    "same_site": "SameSite",
}


@given(
    name=st.sampled_from(["a", "__Host-a", "__secure-a", "__Http-a"]),
    max_age=st.none() | st.integers() | st.floats() | st.timedeltas(),
    expires=st.none() | st.floats(0, 1e10) | st.datetimes(timezones=st.just(UTC)),
    path=st.sampled_from(["/", "/a", None]),
    domain=st.sampled_from(["a.example", None]),
    secure=st.booleans(),
    http_only=st.booleans(),
    same_site=st.sampled_from(["lax", "STRICT", "none", None]),
    partitioned=st.booleans(),
)
def test_what_is_asked_for_is_there_and_nothing_else(name: str, **asked: Any) -> None:
    try:
        cookie = format_cookie(name, "b", **asked)
    except FieldError:
        return
    assert {piece.partition("=")[0] for piece in cookie.split("; ")[1:]} == {
        ATTRIBUTES[option]
        for option, wish in asked.items()
        if wish is not None and wish is not False
    }
