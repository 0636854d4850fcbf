"""`is_same_cookie`: which Set-Cookie line replaces which (RFC 6265 §5.3)."""

from __future__ import annotations

import pytest

from nardis._http.cookies import format_cookie, is_same_cookie


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {}, True),
        ({"max_age": 1}, {"secure": True, "http_only": False}, True),
        ({}, {"path": "/a"}, False),
        ({}, {"path": None}, False),
        ({"domain": "a.test"}, {"domain": "A.test"}, True),
        ({"domain": "a.test"}, {"domain": ".a.test"}, True),
        ({"domain": "a.test"}, {}, False),
        ({"secure": True}, {"secure": True, "partitioned": True}, False),
    ],
)
def test_name_domain_and_path_make_a_cookie(
    one: dict[str, object], other: dict[str, object], same: bool
) -> None:
    lines = [
        format_cookie("a", value, **{"secure": False, **options}).encode()  # type: ignore[arg-type]
        for value, options in (("1", one), ("2", other))
    ]
    assert is_same_cookie(*lines) is same


def test_another_name_is_another_cookie() -> None:
    assert not is_same_cookie(b"a=1; Path=/", b"aa=1; Path=/")
    assert is_same_cookie(b"a=1", b"a=")
