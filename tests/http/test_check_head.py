"""`check_head`: what servers let through and no handler should see (RFC 9112 §3.2, §6.1)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nardis._http.request_head import check_head, path_in
from nardis.errors import HTTPError


def path_of(most_headers: int = 100, **scope: Any) -> bytes:
    given = {"method": "GET", "path": "/", "headers": [(b"host", b"a.example")], **scope}
    return check_head(given, dict(given["headers"]), most_headers)


def refusal(**scope: Any) -> int:
    with pytest.raises(HTTPError) as caught:
        path_of(**scope)
    return caught.value.status


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/a%2Fb?c", b"/a%2Fb"),
        (b"http://A.example/x", b"/x"),
        (b"https://a.example", b"/"),
        (b"?q", b"/"),
    ],
)
def test_the_path_is_what_was_received_without_the_query(raw: bytes, path: bytes) -> None:
    assert path_of(raw_path=raw) == path


@pytest.mark.parametrize(
    ("target", "host", "same"),
    [
        (b"http://a.example:80/x", b"a.example", True),
        (b"http://a.example/x", b"A.example:80", True),
        (b"http://a.example:/x", b"a.example", True),
        (b"https://a.example:443/x", b"a.example", True),
        (b"http://a.example:443/x", b"a.example", False),
        (b"https://a.example/x", b"a.example:80", False),
        (b"http://a.example:8080/x", b"a.example", False),
        (b"http://a.example:180/x", b"a.example:1", False),
        (b"http://:80/x", b"", False),
    ],
)
def test_a_default_port_need_not_be_written(target: bytes, host: bytes, same: bool) -> None:
    """RFC 9112 §3.2.2 and RFC 9110 §4.2.3."""
    scope = {"raw_path": target, "headers": [(b"host", host)]}
    assert (path_of(**scope) if same else refusal(**scope)) == (b"/x" if same else 400)


def test_a_path_is_quoted_where_the_server_does_not_pass_on_the_raw_one() -> None:
    assert path_of(path="/é b") == b"/%C3%A9%20b"


@pytest.mark.parametrize(
    ("root", "path"), [("/api", b"/x"), ("/api/", b"/x"), ("/ap", b"/api/x"), ("/api/x", b"/")]
)
def test_a_root_path_is_taken_off_at_the_end_of_a_segment(root: str, path: bytes) -> None:
    assert path_of(raw_path=b"/api/x", root_path=root) == path


@given(st.binary(max_size=20) | st.from_regex(rb"(http://)?[a/?:*]{0,8}", fullmatch=True))
@example(b"")
def test_what_is_a_path_begins_with_a_slash(target: bytes) -> None:
    """So behind the base URL of another service it names no other host."""
    path = path_in(target, "GET")

    assert path[:1] == b"/"
    assert b"?" not in path
    assert path in (b"/", target.partition(b"?")[0]) or b"://" in target


def test_options_may_ask_about_the_server_as_a_whole() -> None:
    assert path_of(method="OPTIONS", raw_path=b"*") == b"*"
    assert refusal(method="GET", raw_path=b"*") == 400


@pytest.mark.parametrize(
    "headers",
    [
        [(b"host", b"a"), (b"host", b"a")],
        [(b"content-length", b"1"), (b"content-length", b"1")],
        [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
        [(b"content-length", b"+1")],
        [(b"host", b"user@a")],
    ],
)
def test_ambiguous_framing_and_a_malformed_host_are_400(headers: list[tuple[bytes, bytes]]) -> None:
    assert refusal(headers=headers) == 400


def test_another_field_may_come_twice() -> None:
    assert path_of(headers=[(b"accept", b"a/b"), (b"accept", b"c/d")]) == b"/"


@pytest.mark.parametrize("raw", [b"/a%00", b"x", b"http://b.example/", b"ftp://a.example/"])
def test_another_target_is_400(raw: bytes) -> None:
    assert refusal(raw_path=raw) == 400


def test_connect_is_501_and_too_many_lines_are_431() -> None:
    assert refusal(method="CONNECT", raw_path=b"a.example:443") == 501
    assert refusal(most_headers=0) == 431
