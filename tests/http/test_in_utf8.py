"""`in_utf8`: a Content-Type says that its text is in UTF-8 (RFC 9110 §8.3.2)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nardis._http.media_types import in_utf8, parse_media_type
from nardis.errors import HTTPError


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (b"text/html", b"text/html; charset=utf-8"),
        (b"text/html; charset=UTF-8", b"text/html; charset=UTF-8"),
        (b"text/html;Charset=latin-1", b"text/html; charset=utf-8"),
        (
            b'text/csv; charset="latin-1"; header=present',
            b"text/csv; charset=utf-8; header=present",
        ),
        (b"application/xml", b"application/xml"),
        (b"application/xml; charset=latin-1", b"application/xml; charset=utf-8"),
        (b"application/octet-stream; a=b", b"application/octet-stream; a=b"),
        (b"no type", b"no type"),
        (b"text/plain; charset=a; charset=b", b"text/plain; charset=a; charset=b"),
    ],
)
def test_text_gets_a_charset_and_other_charsets_change(
    content_type: bytes, expected: bytes
) -> None:
    assert in_utf8(content_type) == expected


@given(st.sampled_from([b"text/plain", b"a/b"]), st.from_regex(rb"[a-z0-9-]{1,9}", fullmatch=True))
def test_a_charset_is_utf_8_afterwards(media_type: bytes, charset: bytes) -> None:
    changed = in_utf8(media_type + b"; charset=" + charset).decode()
    assert parse_media_type(changed)[1]["charset"].lower() == "utf-8"


@given(st.binary())
@example(b"text/plain")
@example(b"a/b; charset=x")
@example(b"a/b; charset")
def test_any_bytes_stay_as_they_are_or_become_utf_8(value: bytes) -> None:
    changed = in_utf8(value).decode("latin-1")
    try:
        charset = parse_media_type(changed)[1].get("charset")
    except HTTPError:
        assert changed.encode("latin-1") == value
    else:
        assert (charset or "utf-8").lower() == "utf-8"
