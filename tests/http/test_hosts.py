"""`host_name`, `subdomains` and `compile_hosts`: hosts, and the patterns that allow them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.hosts import compile_hosts, host_name, subdomains
from nardis._http.request_head import valid_host
from nardis.errors import UsageError

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "trust_proxy_vectors.json").read_text()
)["vectors"]
HOSTS = {row["host"]: row for row in VECTORS if "error" not in row}


# --- the host of a request ------------------------------------------------------------------------


@pytest.mark.parametrize("row", HOSTS.values(), ids=HOSTS)
def test_express_agrees(row: dict[str, Any]) -> None:
    """No deviations: which host it is, is the affair of `seen_through`."""
    assert host_name(row["host"]) == row["hostname"]
    assert subdomains(row["hostname"]) == row["subdomains"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (None, ""),
        ("", ""),
        ("Example.COM", "example.com"),
        ("example.com:8000", "example.com"),
        ("example.com:", "example.com"),
        ("example.com.", "example.com."),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8::1]:443", "[2001:db8::1]"),
        # No Host field, but no error either.
        (":80", ""),
        ("[::1", "["),
        ("::1]:80", ""),
    ],
)
def test_a_host_name_has_no_port(host: str | None, expected: str) -> None:
    assert host_name(host) == expected


@pytest.mark.parametrize(
    ("hostname", "offset", "expected"),
    [
        ("tobi.ferrets.example.com", 2, ["ferrets", "tobi"]),
        ("tobi.ferrets.example.com", 3, ["tobi"]),
        ("tobi.ferrets.example.com", 0, ["com", "example", "ferrets", "tobi"]),
        ("tobi.ferrets.example.com", 9, []),
        ("tobi.example.com.", 2, ["tobi"]),
        ("example.com", 2, []),
        ("localhost", 0, ["localhost"]),
        ("", 0, []),
        ("127.0.0.1", 0, []),
        ("127.0.0.1", 2, []),
        ("[::1]", 0, []),
        ("[::ffff:127.0.0.1]", 0, []),
    ],
)
def test_subdomains_begin_next_to_the_domain(
    hostname: str, offset: int, expected: list[str]
) -> None:
    assert subdomains(hostname, offset) == expected


def test_a_domain_has_no_negative_number_of_labels() -> None:
    with pytest.raises(UsageError, match="-1"):
        subdomains("example.com", -1)


# --- the hosts that an application allows ---------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        (
            "example.com",
            ["example.com", "EXAMPLE.com", "example.com."],
            ["www.example.com", "example.org", "com", "", "example.com..", "example.com:80"],
        ),
        ("Example.COM.", ["example.com", "example.com."], ["www.example.com"]),
        (
            "*.example.com",
            ["a.example.com", "A.b.c.Example.com.", "-.example.com"],
            ["example.com", ".example.com", ".a.example.com", "aexample.com", "example.com.evil"],
        ),
        ("*.com", ["a.com", "a.b.com"], ["com", "a.org", "[::com]"]),
        ("*", ["example.com", "127.0.0.1", "[::1]", "", "a" * 300], []),
        ("localhost", ["localhost", "LOCALHOST"], ["a.localhost", "127.0.0.1"]),
        ("127.0.0.1", ["127.0.0.1"], ["127.0.0.2", "1.127.0.0.1"]),
        ("[::1]", ["[::1]", "[0:0:0:0:0:0:0:1]", "[0::0001]"], ["::1", "[::2]", "[::1", "["]),
        ("[2001:DB8:0::1]", ["[2001:db8::1]", "[2001:DB8::1]"], ["[2001:db8::2]", "[zz]", "[]"]),
        ("[v1.a]", ["[V1.A]"], ["[v1.b]"]),
        ("xn--bcher-kva.example", ["XN--Bcher-kva.example"], ["bücher.example"]),
        ("a_b.example", ["a_b.example"], ["a-b.example"]),
    ],
)
def test_a_pattern_is_a_name_or_what_is_below_a_domain(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    patterns = compile_hosts([pattern])
    assert [host for host in matching if not patterns.match(host)] == []
    assert [host for host in others if patterns.match(host)] == []


def test_one_pattern_of_several_is_enough() -> None:
    patterns = compile_hosts(
        pattern for pattern in ["example.com", "*.example.com", "*.b.example.org", "[::1]"]
    )
    found = ["example.com", "a.example.com", "a.b.example.org", "[::1]"]
    assert [host for host in found if not patterns.match(host)] == []
    assert not patterns.match("b.example.org")
    assert not patterns.match("a.example.org")


def test_a_name_that_resolves_nowhere_does_not_match() -> None:
    patterns = compile_hosts(["*.example.com"])
    assert patterns.match("a" * 249 + ".example.com")
    assert not patterns.match("a" * 250 + ".example.com")


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        ("https://example.com", "example.com"),
        ("HTTPS://Example.com:8000/a?b#c", "example.com"),
        ("//example.com", "example.com"),
        ("example.com/", "example.com"),
        ("example.com/a//b@c", "example.com"),
        ("example.com?a", "example.com"),
        ("example.com#a", "example.com"),
        ("user:secret@example.com", "example.com"),
        ("example.com:8000", "example.com"),
        ("localhost:8000", "localhost"),
        ("*.example.com:8000", "*.example.com"),
        ("*:8000", "*"),
        ("[::1]:8000", "[::1]"),
        ("::1", "[::1]"),
        ("2001:DB8::1", "[2001:db8::1]"),
        (" example.com\n", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("*.Bücher.example:80", "*.xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("\uff45xample\u3002com", "example.com"),
        (".example.com", "example.com"),
        (".example.com", "*.example.com"),
        (".Example.com:80", "*.example.com"),
    ],
)
def test_a_pattern_with_too_much_in_it_is_told_what_to_write(pattern: str, instead: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(pattern))) as caught:
        compile_hosts(["example.org", pattern])
    assert repr(instead) in str(caught.value)
    patterns = compile_hosts([instead])
    assert patterns.match(instead.replace("*", "a"))


@pytest.mark.parametrize("pattern", ["", " ", "/", "http://", "https:///a", ":80", "user@"])
def test_a_pattern_without_a_host_is_left_out(pattern: str) -> None:
    with pytest.raises(UsageError, match="leave it out"):
        compile_hosts([pattern])


@pytest.mark.parametrize(
    "pattern",
    [
        "www.*.com",
        "*example.com",
        "example.*",
        "*.*.com",
        "**",
        "*.",
        "*..com",
        "*.1.2.3.4",
        "*.[::1]",
        "a..b",
        "..a",
        ".",
        "..",
        "a b",
        "a.example,b.example",
        "a%zz",
        "<a>",
        "[::1",
        "[zz]",
        "[127.0.0.1]",
        "a" * 300,
    ],
)
def test_what_can_be_no_host_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="is no host"):
        compile_hosts([pattern])


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        ("example.com", "write ['example.com']"),
        (b"example.com", "write [b'example.com']"),
        ([], '["*"]'),
        ([b"example.com"], "not bytes"),
        ([None], "not NoneType"),
        (["example.com", 1], "not int"),
    ],
)
def test_patterns_are_a_list_of_texts(patterns: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        compile_hosts(patterns)
    assert words in str(caught.value)


LABELS = st.text("abc-", min_size=1, max_size=5)


@given(st.lists(LABELS, min_size=1), st.lists(LABELS, min_size=1))
def test_a_domain_has_the_names_that_end_with_it(below: list[str], labels: list[str]) -> None:
    domain = ".".join(labels)
    patterns = compile_hosts([f"*.{domain}"])
    assert patterns.match(".".join([*below, domain]))
    assert patterns.match(".".join([*below, domain, ""]).upper())
    assert not patterns.match(domain)
    assert not patterns.match(".".join(below)) or ".".join(below).endswith(f".{domain}")


@given(st.text() | st.text("a.:[]*@/,%é1"))
def test_any_text_is_a_pattern_or_refused_and_matches_or_not(text: str) -> None:
    """A pattern that is accepted matches itself; what follows from a Host field is a host name."""
    try:
        patterns = compile_hosts([text])
    except UsageError:
        patterns = compile_hosts(["*"])
    assert "*" in text or patterns.match(text)
    compile_hosts(["*.a", "a", "[::a]"]).match(text)
    name = host_name(text)
    assert name.endswith(".") or subdomains(name) == subdomains(name + ".")
    if valid_host(text.encode("utf-8", "surrogatepass")):
        assert ":" not in name or name[0] == "["


# --- work -----------------------------------------------------------------------------------------


def test_more_patterns_make_no_more_work(count_calls: Callable[..., int]) -> None:
    few = compile_hosts([f"*.a{n}.example" for n in range(10)])
    many = compile_hosts([f"*.a{n}.example" for n in range(10_000)])
    name = "a.b.c.d.a9999.example"
    assert many.match(name)
    assert not few.match(name)
    assert count_calls(many.match, name) <= count_calls(few.match, name)


@pytest.mark.parametrize("hostname", ["a.", "."])
def test_twice_the_labels_are_twice_the_work(
    hostname: str, count_calls: Callable[..., int]
) -> None:
    match = compile_hosts(["*.example.com"]).match
    assert count_calls(match, hostname * 128) <= 2.6 * count_calls(match, hostname * 64)
    assert count_calls(match, hostname * 1_000_000) <= 5


@pytest.mark.parametrize(
    "hostile", ["a." * 500_000, ":" * 1_000_000, "[" + ":" * 1_000_000, "1" * 1_000_000]
)
def test_a_hostile_host_is_read_in_one_pass(hostile: str) -> None:
    assert len(subdomains(host_name(hostile))) <= 500_000
    assert not compile_hosts(["*.example.com"]).match(hostile)
