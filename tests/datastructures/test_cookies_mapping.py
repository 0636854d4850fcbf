"""`Cookies`: the Cookie field as a mapping; `tests/http/test_parse_cookies.py` has the grammar."""

from __future__ import annotations

import pytest

from nardis.datastructures import Cookies
from nardis.errors import HTTPError


def test_the_first_of_two_equal_names_wins() -> None:
    """Another subdomain can add a second one, never a first one."""
    cookies = Cookies("sid=good; theme=dark; sid=evil")
    assert cookies["sid"] == "good"
    assert cookies.get_all("sid") == ["good", "evil"]
    assert dict(cookies) == {"sid": "good", "theme": "dark"}
    assert cookies.pairs()[2] == ("sid", "evil")


def test_names_are_case_sensitive_and_may_be_missing() -> None:
    cookies = Cookies("FOO=1")
    assert "foo" not in cookies
    assert cookies.get("foo", "x") == "x"
    assert not Cookies()


def test_more_cookies_than_allowed_are_431_at_each_look() -> None:
    cookies = Cookies("a=1; b=2", max_cookies=1)
    for _ in range(2):
        with pytest.raises(HTTPError) as caught:
            cookies.get("a")
        assert caught.value.status == 431


def test_a_repr_tells_neither_names_nor_values_and_never_raises() -> None:
    assert repr(Cookies("sid=hunter2; a=1", max_cookies=1)) == "Cookies(<16 characters>)"


def test_equality_compares_pairs() -> None:
    assert Cookies("a=1; b=2") == Cookies("a=1;b=2")
    assert Cookies("a=1; a=2") == {"a": "1"}
    assert Cookies("a=1; a=2") != Cookies("a=1")
