"""`read_head`: what the head of a request says, and what is refused (RFC 9112 §2 to §6)."""

from __future__ import annotations

import string
from itertools import chain
from random import Random

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis.server.http1.request import END_OF_HEAD, Refused, RequestHead, read_head

TOKEN_CHARS = b"!#$%&'*+-.^_`|~" + (string.ascii_letters + string.digits).encode()
VISIBLE = bytes(range(0x21, 0x7F))
VALUE_CHARS = VISIBLE + b"\t " + bytes(range(0x80, 0x100))

# The fields that say something of the message itself.
SPECIAL = (b"host", b"connection", b"content-length", b"transfer-encoding", b"expect", b"upgrade")


def with_fields(*lines: bytes, version: bytes = b"1.1") -> bytes:
    """Make the head of a POST with a Host, and *lines* behind it."""
    return b"\r\n".join([b"POST /a HTTP/" + version, b"Host: h", *lines]) + END_OF_HEAD


def with_line(line: bytes) -> bytes:
    """Make a head that begins with *line*."""
    return line + b"\r\nHost: h" + END_OF_HEAD


def refused(head: bytes) -> int:
    """Return the status that *head* is refused with."""
    with pytest.raises(Refused) as caught:
        read_head(head)
    assert str(caught.value) == caught.value.reason
    return caught.value.status


def outcome(head: bytes) -> RequestHead | int:
    """Read *head*, or return the status that it is refused with."""
    try:
        return read_head(head)
    except Refused as exc:
        return exc.status


# --- the first line -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0", b"3.0", b"9.9", b"0.0"])
def test_a_version_of_others_is_505(version: bytes) -> None:
    assert refused(with_line(b"GET / HTTP/" + version)) == 505


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET / ",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"\tGET / HTTP/1.1",
        b" / HTTP/1.1",
        b"GET  HTTP/1.1",
        b"GET/ HTTP/1.1",
        b"GET /HTTP/1.1",
        b"GET\t/\tHTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET /\tHTTP/1.1",
        b"GET /\t HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /\n HTTP/1.1",
        b"GET /a\nX: HTTP/1.1",
        b"GET /\r HTTP/1.1",
        b"GET /\nHTTP/1.1",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r",
        b"\nGET / HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/1",
        b"GET / HTTP/11",
        b"GET / HTTP/1.10",
        b"GET / HTTP/01.1",
        b"GET / HTTP/1,1",
        b"GET / HTTP/1.\xb2",
        b"GET / HTTP/-1.1",
        b"GET / HTTPS/1.1",
        b"GET / ICE/1.1",
        b"GET / RTSP/1.0",
        b"SOURCE / ICE/1.0",
        b"HTTP/1.1 200 OK",
    ],
)
def test_any_other_first_line_is_400(line: bytes) -> None:
    assert refused(with_line(line)) == 400


def test_a_head_without_the_end_of_a_line_is_400() -> None:
    assert refused(b"GET / HTTP/1.1") == refused(b"") == refused(b"\n\n") == 400


@pytest.mark.parametrize(
    "method",
    [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "PATCH",
        "QUERY",
        "get",
        "Get",
        "connect",
        "pri",
        "BREW",
        "M-SEARCH",
        "PROPFIND",
        "SOURCE",
        "DESCRIBE",
        "A",
        "!#$%&'*+-.^_`|~1",
        "GETGETGET" * 1_000,
    ],
)
def test_every_token_is_a_method_of_some_application(method: str) -> None:
    for end in (b"", b"Content-Length: 3\r\n"):
        head = read_head(b"%b /x HTTP/1.1\r\nHost: h\r\n%b\r\n" % (method.encode(), end))
        assert (head.method, head.target, head.length) == (method, b"/x", 3 if end else 0)


@pytest.mark.parametrize("target", [b"/", b"*", b"example.org:443"])
def test_connect_and_pri_are_501(target: bytes) -> None:
    """An application is no tunnel, and PRI begins another protocol (RFC 9113 §11.6)."""
    for method in (b"CONNECT", b"PRI"):
        assert refused(with_line(method + b" " + target + b" HTTP/1.1")) == 501


@pytest.mark.parametrize(
    "method", [b"G@T", b"G,T", b"G\x00T", b"G\tT", b"G\nT", b"G\rT", b"G\x7fT", b"GET\xe9", b"{}"]
)
def test_a_method_that_is_no_token_is_400(method: bytes) -> None:
    assert refused(with_line(method + b" / HTTP/1.1")) == 400


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"//",
        b"/a/b;c=d/%41%zz?e=f&g?h",
        b"/#fragment",
        b"/" + VISIBLE,
        b"/?" + VISIBLE,
        b"/" + b"a" * 50_000,
        b"*",
        b"http://h",
        b"http://h/a?b",
        b"https://user:pass@h:8443/",
        b"http://[::1]:80/",
    ],
)
def test_a_target_is_given_as_it_came(target: bytes) -> None:
    for method in (b"GET", b"OPTIONS", b"BREW"):
        assert read_head(with_line(method + b" " + target + b" HTTP/1.1")).target == target


@pytest.mark.parametrize(
    "target",
    [b"a", b"?a", b"#", b"a:80", b"http:/a", b"http:a", b"://a", b"h ttp://a", b"http://<"],
)
def test_a_target_of_no_form_is_400(target: bytes) -> None:
    assert refused(with_line(b"GET " + target + b" HTTP/1.1")) == 400


@pytest.mark.parametrize(
    "place", [b"%b", b"/%b", b"/a%bb", b"/?%b", b"/#%b", b"*%b", b"http://h%b/", b"http://h/?%b"]
)
def test_only_visible_ascii_stands_in_a_target(place: bytes) -> None:
    """The scope of a request has its path as text."""
    for code in set(range(256)) - set(VISIBLE):
        assert refused(with_line(b"GET " + place % bytes([code]) + b" HTTP/1.1")) == 400, code


# --- fields ---------------------------------------------------------------------------------------


def test_fields_keep_their_order_with_names_in_lower_case() -> None:
    head = read_head(b"GET / HTTP/1.1\r\nX-B: 1\r\nHOST: h\r\nx-a: 2\r\nX-b: 3\r\nX-B: 1\r\n\r\n")

    assert head.headers == [
        (b"x-b", b"1"),
        (b"host", b"h"),
        (b"x-a", b"2"),
        (b"x-b", b"3"),
        (b"x-b", b"1"),
    ]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b"A:b", b"b"),
        (b"A: b", b"b"),
        (b"A: \t b \t ", b"b"),
        (b"A:", b""),
        (b"A: \t ", b""),
        (b"A: b  c\td", b"b  c\td"),
        (b"A: b: c, d", b"b: c, d"),
        (b"A: \xe9\xff\x80", b"\xe9\xff\x80"),
        (b"A: \x80b\xa0", b"\x80b\xa0"),
        (b"A: " + b"b" * 50_000, b"b" * 50_000),
    ],
)
def test_a_value_has_no_blanks_around_it(line: bytes, value: bytes) -> None:
    for head in (with_fields(line), with_fields(line, b"Z: z")):
        assert read_head(head).headers[1] == (b"a", value)


@pytest.mark.parametrize(
    "line",
    [
        b"A: \x00",
        b"A: b\x00",
        b"A: b\x07c",
        b"A: b\x7fc",
        b"A: b\x0bc",
        b"A: b\x0c",
        b"A: \x1b[0m",
        b"A: b\rc",
        b"A: b\r",
        b"A: \rb",
        b"A: b\r\rc",
        b"A: b\nc",
        b"A: b\n",
        b"A: b\nC: d",
        b"A: b\rC: d",
        b"A: b\n\nC: d",
        b"A: b\n\r",
        b"A\r: b",
        b"A\n: b",
        b"\nA: b",
        b"\rA: b",
    ],
)
def test_control_bytes_and_bare_ends_of_lines_are_400(line: bytes) -> None:
    for head in (with_fields(line), with_fields(line, b"Z: z")):
        assert refused(head) == 400


def test_no_control_byte_but_a_tab_stands_in_a_value() -> None:
    for code in [*range(9), *range(10, 32), 127]:
        for value in (b"%c", b"%cb", b"a%c", b"a%cb"):
            assert refused(with_fields(b"A: " + value % code)) == 400, (code, value)


@pytest.mark.parametrize(
    "lines",
    [
        [b"A: b", b" c"],
        [b"A: b", b"\tc"],
        [b"A: b", b" "],
        [b"A: b", b"\t"],
        [b"A:", b" b"],
        [b"A:", b"\t", b" b"],
        [b"A: b", b" C: d"],
        [b" A: b"],
        [b"\tA: b"],
    ],
)
def test_a_folded_line_is_400(lines: list[bytes]) -> None:
    """Obs-fold, RFC 9112 §5.2."""
    assert refused(with_fields(*lines)) == 400
    assert refused(b"\r\n".join([b"GET / HTTP/1.0", *lines]) + END_OF_HEAD) == 400


@pytest.mark.parametrize("line", [b"A", b": b", b":", b"A : b", b"A\t: b", b"A b: c", b"=", b"A;b"])
def test_a_line_without_a_name_is_400(line: bytes) -> None:
    for head in (with_fields(line), with_fields(line, b"Z: z")):
        assert refused(head) == 400


def test_only_a_token_is_a_name() -> None:
    for code in set(range(256)) - set(TOKEN_CHARS):
        for name in (b"%c", b"%cA", b"A%cA", b"A%c"):
            if code == ord(":") and name != b"%c" and name != b"%cA":
                continue  # there the name has ended
            assert refused(with_fields(name % code + b": b")) == 400, (code, name)


# --- Host -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n", b"Content-Length: 1\r\n"])
def test_one_host_is_needed_in_http_1_1_and_none_in_1_0(more: bytes) -> None:
    """RFC 9112 §3.2."""
    for hosts in (0, 1, 2, 3):
        head = b"POST / HTTP/1.%d\r\n" + b"Host: a\r\n" * hosts + more + b"\r\n"
        if hosts == 1:
            assert read_head(head % 1).version == "1.1"
        else:
            assert refused(head % 1) == 400
        if hosts < 2:
            assert read_head(head % 0).version == "1.0"
        else:
            assert refused(head % 0) == 400


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"], ids=["alone", "beside others"])
@pytest.mark.parametrize(
    "host", [b"a/evil?x#", b"user@a", b"a b", b"a, b", b"a:b", b"[::1", b"a\x80", 300 * b"a"]
)
def test_a_host_that_is_none_is_400(host: bytes, more: bytes) -> None:
    """Applications of others make URLs of it (RFC 9112 §3.2)."""
    for version in (0, 1):
        head = b"GET / HTTP/1.%d\r\nHost: %b\r\n%b\r\n"
        assert refused(head % (version, host, more)) == 400
        assert read_head(head % (version, b"[::1]:80", more)).target == b"/"


# --- the body -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "length"),
    [
        (b"A: b", 0),
        (b"Content-Length: 0", 0),
        (b"content-length:5", 5),
        (b"CONTENT-LENGTH: \t5 ", 5),
        (b"Content-Length: 005", 5),
        (b"Content-Length: 999999999999999999", 10**18 - 1),
        (b"Transfer-Encoding: chunked", None),
        (b"transfer-encoding:CHUNKED ", None),
        (b"TRANSFER-ENCODING: \t Chunked", None),
    ],
)
def test_a_length_or_chunks_frame_the_body(line: bytes, length: int | None) -> None:
    for method in (b"GET", b"POST", b"BREW"):
        head = with_fields(line).replace(b"POST", method, 1)
        assert read_head(head).length == length


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"+5",
        b"-5",
        b"5, 5",
        b"5,5",
        b"5 5",
        b"5,",
        b",5",
        b"0x5",
        b"_5",
        b"5_0",
        b"5.0",
        b"5e1",
        b"5;",
        b'"5"',
        b"\xb2",
        b"\xd9\xa5",
        b"five",
        b"1" + b"0" * 20,
        b"9" * 5_000,
    ],
)
def test_a_length_that_is_not_in_digits_is_400(value: bytes) -> None:
    for version in (b"1.1", b"1.0"):
        assert refused(with_fields(b"Content-Length: " + value, version=version)) == 400


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5", b"Content-Length: 6"],
        [b"Content-Length: 5", b"A: b", b"content-length: 5"],
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
        [b"Transfer-Encoding: chunked", b"A: b", b"Content-Length: 0"],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked, chunked"],
        [b"Transfer-Encoding: chunked, gzip"],
        [b"Transfer-Encoding:"],
        [b"Transfer-Encoding: ", b"Transfer-Encoding: chunked"],
    ],
)
def test_a_body_with_two_frames_or_half_of_one_is_400(lines: list[bytes]) -> None:
    for version in (b"1.1", b"1.0"):
        assert refused(with_fields(*lines, version=version)) == 400


@pytest.mark.parametrize(
    "lines",
    [
        [b"Transfer-Encoding: gzip"],
        [b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"Transfer-Encoding: gzip,chunked"],
        [b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: , chunked"],
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding: chunkedx"],
        [b"Transfer-Encoding: chunk"],
        [b'Transfer-Encoding: "chunked"'],
        [b"Transfer-Encoding: chunked;q=1"],
        [b"Transfer-Encoding: \xffchunked"],
    ],
)
def test_a_coding_other_than_chunked_is_501(lines: list[bytes]) -> None:
    """RFC 9112 §6.1."""
    assert refused(with_fields(*lines)) == 501


@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
def test_chunks_are_no_body_of_http_1_0(connection: bytes) -> None:
    """RFC 9112 §6.1: a proxy of that age may have read another body."""
    lines = [b"Transfer-Encoding: chunked", b"Connection: " + connection]
    assert refused(with_fields(*lines, version=b"1.0")) == 400


# --- Connection, Expect and Upgrade ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "closes"),
    [
        ([], False),
        ([b"Connection: close"], True),
        ([b"connection:CLOSE"], True),
        ([b"Connection: Close\t"], True),
        ([b"Connection: keep-alive"], False),
        ([b"Connection: Keep-Alive, Close"], True),
        ([b"Connection: close,keep-alive"], True),
        ([b"Connection: x ,\tclose\t, y"], True),
        ([b"Connection: ,,close,"], True),
        ([b"Connection: close", b"Connection: keep-alive"], True),
        ([b"Connection: keep-alive", b"A: b", b"Connection: close"], True),
        ([b"Connection:"], False),
        ([b"Connection: closed"], False),
        ([b"Connection: not-close"], False),
        ([b"Connection: close x"], False),
        ([b'Connection: "close"'], False),
        ([b"Proxy-Connection: close"], False),
        ([b"A: close"], False),
    ],
)
def test_a_client_says_close_in_any_case_and_in_lists(lines: list[bytes], closes: bool) -> None:
    """RFC 9112 §9.6; HTTP/1.0 ends with every answer."""
    assert read_head(with_fields(*lines)).close is closes
    assert read_head(with_fields(*lines, version=b"1.0")).close is True


@pytest.mark.parametrize(
    ("line", "expects"),
    [
        (b"Expect: 100-continue", True),
        (b"EXPECT:100-CONTINUE ", True),
        (b"Expect: 100-continue, x", True),
        (b"Expect: x ,100-Continue", True),
        (b"Expect: 100-continue\r\nExpect: x", True),
        (b"Expect: 100", False),
        (b"Expect: 100-continue;x", False),
        (b"Expect: other", False),
        (b"Expect:", False),
        (b"X-Expect: 100-continue", False),
    ],
)
def test_a_client_of_http_1_1_can_wait_for_100_continue(line: bytes, expects: bool) -> None:
    """It is a list, and means nothing from HTTP/1.0 (RFC 9110 §10.1.1)."""
    assert read_head(with_fields(line, b"Content-Length: 5")).expects is expects
    assert read_head(with_fields(line, b"Content-Length: 5", version=b"1.0")).expects is False


@pytest.mark.parametrize(
    ("lines", "upgrade"),
    [
        ([b"Connection: upgrade", b"Upgrade: websocket"], b"websocket"),
        ([b"UPGRADE: WebSocket", b"CONNECTION: Keep-Alive, UPGRADE"], b"websocket"),
        ([b"Connection: keep-alive", b"Connection: upgrade", b"Upgrade: x/1"], b"x/1"),
        ([b"Connection: close, upgrade", b"Upgrade: x"], b"x"),
        ([b"Upgrade: websocket"], b""),
        ([b"Connection: keep-alive", b"Upgrade: websocket"], b""),
        ([b"Connection: websocket", b"Upgrade: websocket"], b""),
        ([b"Connection: upgraded", b"Upgrade: websocket"], b""),
        ([b"Connection: upgrade"], b""),
        ([b"Connection: upgrade", b"Upgrade:"], b""),
    ],
)
def test_an_upgrade_is_asked_for_in_two_fields(lines: list[bytes], upgrade: bytes) -> None:
    """RFC 9110 §7.8. A body beside it stays a body."""
    assert read_head(with_fields(*lines)).upgrade == upgrade
    framed = read_head(with_fields(*lines, b"Content-Length: 5"))
    assert (framed.upgrade, framed.length) == (upgrade, 5)
    framed = read_head(with_fields(*lines, b"Transfer-Encoding: chunked"))
    assert (framed.upgrade, framed.length) == (upgrade, None)


SETTINGS = b"HTTP2-Settings: AAQAAABk"


@pytest.mark.parametrize(
    ("lines", "upgrade"),
    [
        ([b"Connection: Upgrade, HTTP2-Settings", SETTINGS], b"h2c"),
        ([b"Connection: Upgrade", b"Connection: http2-settings", SETTINGS], b"h2c"),
        ([b"Connection: Upgrade", SETTINGS], b""),
        ([b"Connection: Upgrade, HTTP2-Settings"], b""),
        ([b"Connection: Upgrade, HTTP2-Settings", SETTINGS, SETTINGS], b""),
    ],
    ids=["one", "two lines", "not for us", "none", "two"],
)
def test_an_upgrade_to_http2_is_asked_for_in_three_fields(lines, upgrade):
    """One that a proxy has passed on would let a client speak past the proxy (RFC 7540 §3.2.1)."""
    assert read_head(with_fields(*lines, b"Upgrade: h2c")).upgrade == upgrade


# --- properties -----------------------------------------------------------------------------------

tokens = st.text(TOKEN_CHARS.decode(), min_size=1, max_size=20).map(str.encode)
methods = tokens.filter(lambda method: method not in (b"CONNECT", b"PRI"))
visible = st.text(VISIBLE.decode(), max_size=30).map(str.encode)
targets = (
    st.just(b"*")
    | st.builds(b"/%b".__mod__, visible)
    | st.builds(b"http://example.org:80/%b".__mod__, visible)
)
names = tokens.filter(lambda name: name.lower() not in SPECIAL)
values = st.text(VALUE_CHARS.decode("latin-1"), max_size=30).map(
    lambda text: text.encode("latin-1").strip(b" \t")
)
blanks = st.text(" \t", max_size=3).map(str.encode)

# Name, blanks before the value, value, blanks behind it.
fields = st.lists(st.tuples(names, blanks, values, blanks), max_size=8)


def joined(method: bytes, target: bytes, version: bytes, lines: list[tuple[bytes, ...]]) -> bytes:
    """Make a head of its parts."""
    text = b"".join(b"%b:%b%b%b\r\n" % line for line in lines)
    return b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version, text)


@given(
    method=methods,
    target=targets,
    version=st.sampled_from([b"1.1", b"1.0"]),
    lines=fields,
    host_at=st.integers(0, 8),
)
def test_a_head_of_legal_parts_is_read_back_as_these_parts(
    method: bytes,
    target: bytes,
    version: bytes,
    lines: list[tuple[bytes, ...]],
    host_at: int,
) -> None:
    lines.insert(host_at, (b"HOST", b" ", b"example.org", b""))

    head = read_head(joined(method, target, version, lines))

    assert head.method == method.decode()
    assert head.target == target
    assert head.version == version.decode()
    assert head.headers == [(name.lower(), value) for name, _, value, _ in lines]
    assert (head.length, head.expects, head.upgrade) == (0, False, b"")
    assert head.close is (version == b"1.0")


def heard(head: RequestHead) -> tuple[dict[str, object], bytes]:
    """Return what h11 should say of *head*, and a body in the frame that it declares."""
    if head.length is None:
        body, framed = b"xxxx", b"3\r\nxxx\r\n1\r\nx\r\n0\r\n\r\n"
    else:
        body = framed = b"x" * head.length
    facts = {
        "method": head.method.encode(),
        "target": head.target,
        "version": head.version.encode(),
        "headers": [
            (name, value.lower() if name == b"transfer-encoding" else value)
            for name, value in head.headers
        ],
        "expects": head.expects,
        "body": body,
        "closes": head.close,
    }
    return facts, framed


def said_by_h11(head: bytes, framed: bytes) -> dict[str, object]:
    """Return what h11 says of a request."""
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(head)
    request = peer.next_event()
    assert isinstance(request, h11.Request)
    expects = peer.they_are_waiting_for_100_continue
    peer.receive_data(framed)
    body = b""
    while isinstance(event := peer.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    peer.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
    peer.send(h11.EndOfMessage())
    return {
        "method": request.method,
        "target": request.target,
        "version": request.http_version,
        "headers": list(request.headers),
        "expects": expects,
        "body": body,
        "closes": peer.our_state is h11.MUST_CLOSE,
    }


lengths = st.sampled_from([b"0", b"1", b"07", b"300"]).map(
    lambda digits: [(b"Content-Length", b" ", digits, b"")]
)
framings = st.just([]) | lengths | st.just([(b"Transfer-Encoding", b"", b"Chunked", b" ")])
connections = st.lists(
    st.sampled_from([b"close", b"Keep-Alive", b"CLOSE", b"TE", b"upgrade"]), max_size=3
).map(lambda each: [(b"Connection", b" ", b", ".join(each), b"")])
expectations = st.sampled_from([b"x", b"100-continue", b"100-Continue"]).map(
    lambda value: [(b"Expect", b" ", value, b"")]
)
upgrades = st.just([(b"Upgrade", b" ", b"x", b"")])


@given(
    method=methods,
    target=targets,
    version=st.sampled_from([b"1.1", b"1.0"]),
    lines=fields,
    special=st.tuples(
        framings,
        st.just([]) | connections,
        st.just([]) | expectations,
        st.just([]) | upgrades,
    ),
    order=st.randoms(use_true_random=False),
)
def test_h11_hears_the_same_in_a_legal_head(
    method: bytes,
    target: bytes,
    version: bytes,
    lines: list[tuple[bytes, ...]],
    special: tuple[list[tuple[bytes, ...]], ...],
    order: Random,
) -> None:
    lines = [*lines, (b"Host", b" ", b"example.org", b""), *chain(*special)]
    order.shuffle(lines)
    data = joined(method, target, version, lines)

    head = outcome(data)

    if isinstance(head, int):
        assert (version, special[0][0][0], head) == (b"1.0", b"Transfer-Encoding", 400)
        return
    facts, framed = heard(head)
    assert said_by_h11(data, framed) == facts


hostile = st.sampled_from(
    [
        *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\r\n ", b" ", b"\t", b":", b",", b";", b"\x00"),
        *(b"\x7f", b"\xff", b"0", b"+", b"Host: h\r\n", b"Content-Length: 5\r\n", b"HTTP/1.1"),
        *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding:", b"Content-Length:", b"GET "),
        *(b"Connection: upgrade\r\n", b"Upgrade: x\r\n", b"Connection: close\r\n", b"CONNECT "),
    ]
)
GOOD = [
    b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\nConnection: close\r\nA: b\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nA: b\r\nA: c\r\n\r\n",
    b"BREW * HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\nA: b\r\n\r\n",
]


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """Make a good head worse in a few places."""
    data = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(at + 3, len(data))))
        data = data[:at] + draw(hostile | st.binary(max_size=2)) + data[end:]
    return data


@given(st.binary() | spoiled() | st.lists(hostile, max_size=12).map(b"".join))
def test_any_bytes_are_a_head_or_refused(data: bytes) -> None:
    head = outcome(data)

    if isinstance(head, int):
        assert head in (400, 501, 505)
        return
    assert head.version in ("1.0", "1.1")
    assert set(head.method.encode()) <= set(TOKEN_CHARS)
    assert set(head.target) <= set(VISIBLE)
    assert head.length is None or head.length >= 0
    for name, value in head.headers:
        assert name
        assert set(name) <= set(TOKEN_CHARS.lower())
        assert set(value) <= set(VALUE_CHARS)
        assert value == value.strip(b" \t")


@given(spoiled().filter(lambda data: data.find(END_OF_HEAD) == len(data) - len(END_OF_HEAD)))
def test_h11_hears_the_same_in_a_spoiled_head_that_is_not_refused(data: bytes) -> None:
    """Nothing is let through that a lenient parser reads otherwise."""
    head = outcome(data)
    if isinstance(head, int) or (head.length or 0) > 100_000:
        return

    facts, framed = heard(head)
    assert said_by_h11(data, framed) == facts


def test_an_upgrade_is_not_heard_from_http_1_0():
    """RFC 9110 §7.8."""
    lines = b"Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert read_head(b"GET / HTTP/1.0\r\n" + lines).upgrade == b""
    assert read_head(b"GET / HTTP/1.1\r\n" + lines).upgrade == b"websocket"
