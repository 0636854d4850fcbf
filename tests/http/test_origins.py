"""Origins: what a program may name, and what a browser sends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.origins import check_origin, is_origin
from nardis.errors import UsageError


@pytest.mark.parametrize(
    ("named", "written"),
    [
        ("https://example.com", "https://example.com"),
        ("HTTPS://EXAMPLE.com:443", "https://example.com"),
        ("http://example.com:080", "http://example.com"),
        ("https://example.com:80", "https://example.com:80"),
        ("http://[2001:DB8:0::1]:8080", "http://[2001:db8::1]:8080"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("null", "null"),
    ],
)
def test_an_origin_is_kept_as_a_browser_writes_it(named, written):
    assert check_origin(named) == written


@pytest.mark.parametrize(
    ("named", "advice"),
    [
        ("example.com", "write 'https://example.com'"),
        ("https://example.com/", "write 'https://example.com'"),
        (" https://Example.com:8443/a?b ", "write 'https://example.com:8443'"),
        ("https://*.example.com", "give a function"),
        ("https://bücher.example", "xn--"),
        ("https://me@example.com", "scheme://host"),
        ("https://example.com, https://example.org", "scheme://host"),
        ("", "scheme://host"),
        ("https://example.com:65536", "ports end at 65535"),
        ("https://[::1::]", "::1::"),
        (7, "scheme://host"),
    ],
)
def test_what_is_no_origin_is_refused_with_a_word_of_advice(named, advice):
    with pytest.raises(UsageError) as caught:
        check_origin(named)

    assert advice in str(caught.value)


@pytest.mark.parametrize(
    "value",
    ["null", "https://a.com/", "https://A.com", "https://a.com https://b.com", "https://a.com\n"],
)
def test_a_field_that_no_browser_sends_is_no_origin(value):
    assert not is_origin(value)


@given(st.text() | st.from_regex(r"[a-z]+://[\[\]a-fA-F0-9.:*]+", fullmatch=True))
def test_whatever_is_named_is_refused_or_one_origin_for_good(text):
    try:
        origin = check_origin(text)
    except UsageError:
        return
    assert is_origin(origin) or origin == "null"
    assert check_origin(origin) == origin
