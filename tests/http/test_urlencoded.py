"""`iter_urlencoded`: the pairs of a form in small steps, within limits (WHATWG URL §5.1)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nardis._http.urlencoded import STEP_BYTES, iter_urlencoded, parse_urlencoded
from nardis.errors import HTTPError

MIB = 2**20


def read(raw: bytes, max_pairs: int = 1000, longest: int = MIB) -> list[tuple[str, str]]:
    return list(filter(None, iter_urlencoded(raw, max_pairs, longest)))


FRAGMENTS = [
    *(b"a", b"b=", b"&", b"=", b"+", b"%", b"%4", b"%41", b"%zz", b"%C3", b"%A9", b"%f0%9f"),
    *("é日🎉".encode(), b"\xff", b"\xc3", b"\xf0\x9f\x8e"),
]
# Some lie across the end of a step, wherever that is.
LONG = st.tuples(
    st.sampled_from([b"", b"a=", b"a=1&"]),
    st.integers(STEP_BYTES - 9, STEP_BYTES + 3),
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(b"".join),
    st.integers(0, 2 * STEP_BYTES),
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(b"".join),
).map(lambda each: each[0] + each[1] * b"x" + each[2] + each[3] * b"%" + each[4])


@given(st.binary() | st.lists(st.sampled_from(FRAGMENTS)).map(b"".join) | LONG)
@example(b"")
@example((STEP_BYTES - 1) * b"x" + b"%41")
@example((STEP_BYTES - 2) * b"x" + b"%41")
@example((STEP_BYTES - 2) * b"x" + b"%%41")
@example((STEP_BYTES - 1) * b"x" + "é".encode())
@example((STEP_BYTES - 1) * b"x" + b"%")
@example((STEP_BYTES + 1) * b"x" + b"\xc3")
def test_a_form_is_read_as_a_query_is(raw: bytes) -> None:
    """No step ends in an escape, or loses the beginning of a character."""
    assert read(raw) == parse_urlencoded(raw)


@pytest.mark.parametrize(
    ("raw", "max_pairs", "longest", "why"),
    [
        (b"a=1&b=2", 2, 1, None),
        (b"&a=1&b=2", 2, 1, None),
        (b"&&a=1&b=2", 2, 1, "more than 2 fields"),
        (b"a=1&b=2&c=3", 2, 1, "more than 2 fields"),
        (b"&" * MIB, 1000, 1, "more than 1,000 fields"),
        (b"abc=%20", 1, 3, None),
        (b"abc", 1, 3, None),
        (b"abcd=1", 1, 3, "the name of a field is larger than the 3 bytes"),
        (b"a=1&abcd", 2, 3, "the name of a field is larger than the 3 bytes"),
        (b"a=%201", 1, 3, "a field of the form is larger than the 3 bytes"),
        (b"a=b=cd", 1, 3, "a field of the form is larger than the 3 bytes"),
        (b"abcd=abcd", 1, 3, "a field of the form is larger than the 3 bytes"),
    ],
)
def test_a_limit_is_the_most_that_passes(
    raw: bytes, max_pairs: int, longest: int, why: str | None
) -> None:
    if why is None:
        read(raw, max_pairs, longest)
        return
    with pytest.raises(HTTPError, match=why) as caught:
        iter_urlencoded(raw, max_pairs, longest)
    limit = longest if "larger" in why else max_pairs
    assert (caught.value.status, caught.value.extensions) == (413, {"limit": limit})


@given(st.lists(st.sampled_from(["", "a", "b="]), max_size=5).map("&".join), st.integers(0, 4))
def test_a_query_has_the_same_pairs_and_another_status(query: str, most: int) -> None:
    """Empty pieces of a query are not bounded: its length is."""
    raw = query.encode()
    if len(list(filter(None, query.split("&")))) <= most:
        parse_urlencoded(raw, most)
        return
    with pytest.raises(HTTPError) as caught:
        parse_urlencoded(raw, most)
    assert caught.value.status == 400
    with pytest.raises(HTTPError, match=f"more than {most} fields"):
        iter_urlencoded(raw, most, MIB)


HOSTILE = pytest.mark.parametrize(
    "text", [b"%", b"%4", b"%zz", b"%41", b"+", b"=", b"\xff", b"%ff"]
)
NAME_OR_VALUE = pytest.mark.parametrize("start", [b"", b"a="])


@HOSTILE
@NAME_OR_VALUE
def test_no_step_is_much_work(start: bytes, text: bytes, count_calls: Callable[..., int]) -> None:
    """A step is at most what one of `STEP_BYTES` costs, in calls, however long the form is."""
    steps = iter_urlencoded(start + text * (MIB // 4 // len(text)), 10, MIB)
    most = 5 * STEP_BYTES + 100
    costs = [count_calls(next, steps, None) for _ in range(20)]

    assert max(costs) <= most
    assert len(list(steps)) >= MIB // 4 // STEP_BYTES - 30


@HOSTILE
@NAME_OR_VALUE
def test_twice_the_form_is_twice_the_work(
    start: bytes, text: bytes, count_calls: Callable[..., int]
) -> None:
    small, large = (start + text * (count // len(text)) for count in (50_000, 100_000))
    assert count_calls(read, large) <= 2.1 * count_calls(read, small)


@HOSTILE
@NAME_OR_VALUE
def test_memory_is_a_few_times_the_form(start: bytes, text: bytes) -> None:
    """All of it at once took 190 times as much."""
    raw = start + text * (MIB // 2 // len(text))
    tracemalloc.start()
    try:
        read(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak <= 8 * len(raw)
