"""`merge_vary`: what an answer depends on (RFC 9110 §12.5.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.varying import merge_vary
from nardis.errors import FieldError


@pytest.mark.parametrize(
    ("current", "names", "expected"),
    [
        ("", [], ""),
        ("", ["", " , "], ""),
        ("", ["Accept"], "Accept"),
        ("", ["Accept", "Origin"], "Accept, Origin"),
        ("Accept", ["Origin", "accept"], "Accept, Origin"),
        ("accept", ["Accept"], "accept"),
        ("Accept, Origin", ["Origin"], "Accept, Origin"),
        ("Origin", ["Accept, origin"], "Origin, Accept"),
        ("Accept, Origin, ", ["Cookie"], "Accept, Origin, Cookie"),
        (",,\tAccept ,accept", ["\tB "], "Accept, B"),
        ("Accept", ["*"], "*"),
        ("*", ["Accept"], "*"),
        ("Accept, *", [], "*"),
        ("", ["Accept, *"], "*"),
        ("not a token, Accept", ["Origin"], "not a token, Accept, Origin"),
    ],
)
def test_each_name_is_listed_once_and_a_star_wins(
    current: str, names: list[str], expected: str
) -> None:
    assert merge_vary(current, names) == expected
    assert merge_vary(current, iter(names)) == expected


@pytest.mark.parametrize("name", ["a b", "a:b", "é", "a\nb", "Accept\n", "a;q=1", "Accept, a b"])
@pytest.mark.parametrize("current", ["", "*", "a b, a:b, é"])
def test_a_name_is_a_token(name: str, current: str) -> None:
    """Also where nothing of it would be left, or it stood there before."""
    with pytest.raises(FieldError, match="cannot be a header name"):
        merge_vary(current, ["Accept", name])


@pytest.mark.parametrize("name", [None, 1, ["Accept"]])
def test_a_name_is_a_str(name: Any) -> None:
    with pytest.raises(FieldError, match=f"not {type(name).__name__}"):
        merge_vary("", [name])


TEXTS = st.text() | st.text("aAbB*, \t")


@given(TEXTS, st.lists(TEXTS))
def test_any_names_are_merged_in_order_or_refused(current: str, names: list[str]) -> None:
    try:
        merged = merge_vary(current, names)
    except FieldError:
        return
    listed = merged.split(", ") if merged else []
    given_names = [name.strip(" \t") for each in (current, *names) for name in each.split(",")]
    if "*" in given_names:
        assert merged == "*"
    else:
        assert {name.lower() for name in listed} == {name.lower() for name in given_names} - {""}
        assert len({name.lower() for name in listed}) == len(listed)
        assert sorted(listed, key=given_names.index) == listed
    assert merge_vary(merged, []) == merged
    assert merge_vary(merged, names) == merged


def test_twice_the_names_are_twice_the_work(count_calls: Callable[..., int]) -> None:
    def work(size: int) -> int:
        many = [f"n{number}" for number in range(size)]
        return count_calls(merge_vary, ",".join(many), [",".join(many), *many, *["x,"] * size])

    work(10)
    assert work(2_000) <= 2.6 * work(1_000)
