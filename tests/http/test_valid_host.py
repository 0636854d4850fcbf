"""`valid_host`: a Host field is a host and perhaps a port (RFC 9112 §3.2, RFC 3986 §3.2.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.request_head import valid_host


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"example.com",
        b"EXAMPLE.com.",
        b"example.com:8000",
        b"example.com:",
        b"example.com:65535",
        b"localhost",
        b"127.0.0.1:80",
        b"[::1]",
        b"[2001:db8::1]:443",
        b"[::ffff:192.0.2.1]",
        b"[v1.fe80::a+en1]",
        b"a_b.example",
        b"xn--bcher-kva.example",
        b"caf%C3%A9.example",
        b"a" * 255 + b":65535",
    ],
)
def test_what_the_grammar_has_is_valid(value: bytes) -> None:
    """The empty value too: a client whose target has no authority must send it."""
    assert valid_host(value)


@pytest.mark.parametrize(
    "value",
    [
        b"a/evil?x#",
        b"a?b",
        b"a#b",
        b"a\\b",
        b"user@example.com",
        b"user:secret@example.com",
        b"example.com:80:80",
        b"example.com:+80",
        b"example.com:65536",
        b"example.com:http",
        b":80",
        b" example.com",
        b"example.com ",
        b"a b",
        b"a, b",
        b"a\x00b",
        b"a\r\nb",
        b"a\n",
        b"<script>",
        b'"a"',
        b"caf\xc3\xa9",
        b"a%zz",
        b"a%4",
        b"::1",
        b"[::1",
        b"::1]",
        b"[]",
        b"[::1%25eth0]",
        b"[fe80::1%eth0]",
        b"[1:2:3]",
        b"[127.0.0.1]",
        b"[v.x]",
        b"[::1]x",
        b"a[::1]",
        b"a" * 262,
        b"%41" * 100_000,
    ],
)
def test_what_could_poison_a_url_is_invalid(value: bytes) -> None:
    """CVE-2026-48710: a Host with a path in it made URLs that meant another thing."""
    assert not valid_host(value)


@given(st.binary() | st.text("a.:[]%@/0").map(str.encode))
def test_any_bytes_are_told_and_a_valid_host_holds_no_url_syntax(value: bytes) -> None:
    if valid_host(value):
        assert not set(value) & set(b'/?#@\\<>"{}|^` \t\r\n\x00')
