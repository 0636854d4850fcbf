"""`cache_control` and `parse_cache_control`: the Cache-Control field (RFC 9111 §5.2)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.cache_control import cache_control, parse_cache_control
from nardis._http.fields import check_value
from nardis._http.grammar import TOKEN
from nardis.errors import UsageError

FLAGS = [
    "public",
    "private",
    "no_store",
    "no_cache",
    "no_transform",
    "must_understand",
    "must_revalidate",
    "proxy_revalidate",
    "immutable",
]
TIMES = ["max_age", "s_maxage", "stale_while_revalidate", "stale_if_error"]


@pytest.mark.parametrize(
    ("directives", "expected"),
    [
        ({"max_age": 0}, "max-age=0"),
        ({"max_age": 60, "s_maxage": 3600}, "max-age=60, s-maxage=3600"),
        # Express's `send` with maxAge and immutable.
        (
            {"public": True, "max_age": 31536000, "immutable": True},
            "public, max-age=31536000, immutable",
        ),
        ({"private": True, "no_cache": True}, "private, no-cache"),
        (
            {"max_age": 600, "stale_while_revalidate": 30, "stale_if_error": 1200},
            "max-age=600, stale-while-revalidate=30, stale-if-error=1200",
        ),
        # RFC 9111 §5.2.2.3: no-store is for the caches that do not know must-understand.
        (
            {"must_understand": True, "no_store": True, "max_age": 60, "public": True},
            "public, no-store, must-understand, max-age=60",
        ),
        # Two restrictions, or a restriction and nothing granted.
        (
            {"no_store": True, "no_cache": True, "must_revalidate": True, "max_age": 0},
            "no-store, no-cache, must-revalidate, max-age=0",
        ),
        (
            {"private": True, "no_store": True, "proxy_revalidate": True, "s_maxage": 0},
            "private, no-store, proxy-revalidate, s-maxage=0",
        ),
        ({"no_cache": True, "max_age": 0.9, "public": True}, "public, no-cache, max-age=0"),
        ({"must_revalidate": True, "stale_if_error": 0}, "must-revalidate, stale-if-error=0"),
        # RFC 9111 §4.2.4: shared caches must not use this stale, private ones may.
        (
            {"s_maxage": 60, "proxy_revalidate": True, "stale_while_revalidate": 30},
            "proxy-revalidate, s-maxage=60, stale-while-revalidate=30",
        ),
        ({"must_revalidate": True, "immutable": True}, "must-revalidate, immutable"),
        ({"max_age": 5, "public": False, "no_store": False, "s_maxage": None}, "max-age=5"),
    ],
)
def test_directives_are_written(directives: dict[str, Any], expected: str) -> None:
    written = cache_control(**directives).split(", ")
    assert sorted(written) == sorted(expected.split(", "))
    assert cache_control(**directives) == ", ".join(written)


def test_who_may_store_it_comes_before_how_long() -> None:
    assert cache_control(immutable=True, max_age=1, public=True) == "public, max-age=1, immutable"


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_can_stand_alone(name: str) -> None:
    assert cache_control(**{name: True}) == name.replace("_", "-")


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0),
        (-0.0, 0),
        (59.99, 59),
        (timedelta(days=1, seconds=1, milliseconds=999), 86401),
        (timedelta(0), 0),
        (2**31 - 1, 2**31 - 1),
        (2**31 + 1, 2**31),
        pytest.param(10**5000, 2**31, id="many digits"),
        (float("inf"), 2**31),
        (timedelta.max, 2**31),
    ],
)
def test_seconds_are_whole_and_no_more_than_caches_read(
    name: str, value: Any, seconds: int
) -> None:
    """RFC 9111 §1.2.2: 2**31 stands for all that is longer."""
    assert cache_control(**{name: value}) == f"{name.replace('_', '-')}={seconds}"


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize(
    "value",
    [
        -1,
        -0.5,
        float("nan"),
        float("-inf"),
        timedelta(microseconds=-1),
        pytest.param(-(10**5000), id="many digits"),
    ],
)
def test_seconds_below_zero_are_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} takes 0 seconds or more"):
        cache_control(**{name: value})


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", ["60", True, False, b"1", [60]])
def test_what_is_no_time_is_refused_by_its_type(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"{name} takes .* not {type(value).__name__}"):
        cache_control(**{name: value})


def test_nothing_at_all_is_refused() -> None:
    for directives in ({}, {"public": False, "max_age": None}):
        with pytest.raises(UsageError, match="without a directive"):
            cache_control(**directives)  # type: ignore[arg-type]  # as a mapping


@pytest.mark.parametrize(
    ("stricter", "names"),
    [
        ("private", ["public", "s_maxage"]),
        ("no_store", ["public", "immutable", *TIMES]),
        ("no_cache", ["immutable", *TIMES]),
        ("must_revalidate", ["stale_while_revalidate", "stale_if_error"]),
    ],
)
def test_what_takes_back_what_another_grants_is_refused(stricter: str, names: list[str]) -> None:
    for name in names:
        with pytest.raises(UsageError, match=f"both {stricter} and {name}, .* leave one"):
            cache_control(**{stricter: True, name: 1 if name in TIMES else True})  # type: ignore[arg-type]  # as a mapping


def test_must_understand_lifts_no_store_alone() -> None:
    with pytest.raises(UsageError, match="both private and public"):
        cache_control(must_understand=True, no_store=True, private=True, public=True)


@given(
    st.dictionaries(st.sampled_from(FLAGS), st.booleans()),
    st.dictionaries(
        st.sampled_from(TIMES), st.integers(0) | st.floats(0) | st.timedeltas(timedelta(0))
    ),
)
def test_what_is_written_is_read_again(flags: dict[str, Any], times: dict[str, Any]) -> None:
    try:
        value = cache_control(**flags, **times)
    except UsageError:
        return
    assert check_value("cache-control", value) == value.encode("ascii")
    read = parse_cache_control(value)
    names = {name for name, is_set in flags.items() if is_set} | times.keys()
    assert {name.replace("-", "_") for name in read} == names
    for name, argument in read.items():
        assert (argument is None) == (name.replace("-", "_") in FLAGS)
        assert argument is None or 0 <= int(argument) <= 2**31


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", {}),
        (" , ,,", {}),
        ("no-cache", {"no-cache": None}),
        ("No-Cache, MAX-AGE=60", {"no-cache": None, "max-age": "60"}),
        ("max-age=60,max-stale", {"max-age": "60", "max-stale": None}),
        ("max-age=1, max-age=2", {"max-age": "1"}),
        ("no-cache, no-cache=x", {"no-cache": None}),
        ("max-age = 60\t", {"max-age": "60"}),
        ('max-age="60"', {"max-age": "60"}),
        ('a="x, y", b', {"a": "x, y", "b": None}),
        (r'a="\"x\\"', {"a": '"x\\'}),
        ('a="', {"a": '"'}),
        ('a="x, no-store', {"a": '"x, no-store'}),
        ('a="x"y', {"a": '"x"y'}),
        ("max-age=", {"max-age": ""}),
        ('a=""', {"a": ""}),
        ("max-age=-1", {"max-age": "-1"}),
        ("a=b=c", {"a": "b=c"}),
        ("=60, /, a b, \xe9, \u212a=1, max-age=1", {"max-age": "1"}),
        ("a=x y", {"a": "x y"}),
        ("only-if-cached;max-age=1", {}),
    ],
)
def test_directives_are_read(value: str, expected: dict[str, str | None]) -> None:
    """The first of a name wins; a bad piece costs only itself."""
    assert parse_cache_control(value) == expected


@pytest.mark.parametrize("separator", [",", '"x",'], ids=["plain", "quoted"])
def test_a_directive_after_a_hundred_is_ignored(separator: str) -> None:
    assert parse_cache_control(separator * 99 + "no-cache") == {"no-cache": None}
    assert parse_cache_control(separator * 100 + "no-cache") == {}


@pytest.mark.parametrize("piece", ["a,", "=,", 'a="b",', '"\\', '"', "\\", "a=", ' a="'])
def test_a_long_field_is_read_in_one_pass(piece: str, count_calls: Callable[..., int]) -> None:
    short = count_calls(parse_cache_control, piece * 5_000)
    assert count_calls(parse_cache_control, piece * 10_000) <= 2.6 * short


@pytest.mark.parametrize(
    "hostile",
    ['a="' + "\\" * 1_000_001, '"' * 1_000_001, "a=" + '"\\' * 1_000_000, " " * 1_000_000 + "a"],
)
def test_a_hostile_member_is_read_in_one_pass(hostile: str) -> None:
    """Were anything scanned twice, one of these would take hours."""
    assert len(parse_cache_control(hostile)) <= 1


@given(st.text() | st.text('aB=,"\\ \t-'))
def test_any_text_is_read_into_names_and_arguments(value: str) -> None:
    for name, argument in parse_cache_control(value).items():
        assert TOKEN.fullmatch(name)
        assert name == name.lower()
        assert argument is None or f"{name}" in value.lower()
