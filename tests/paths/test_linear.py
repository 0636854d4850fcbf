"""No pattern backtracks: the work grows as the path does."""

from __future__ import annotations

import pytest

from nardis._paths.pattern import compile_pattern
from nardis._paths.segments import Segments

from ._reference import CountingText, work


def of_dashes(size: int) -> Segments:
    return [CountingText("-" * size)]


def of_dashes_and_one_other(size: int) -> Segments:
    return [CountingText("x" + "-" * size + "x")]


def of_segments(size: int) -> Segments:
    return [CountingText("x")] * size


def of_segments_and_one_other(size: int) -> Segments:
    return [*of_segments(size), CountingText("y")]


def of_long_segments(size: int) -> Segments:
    return [CountingText("-" * 50), CountingText("x")] * (size // 50)


@pytest.mark.parametrize("prefix", [False, True], ids=["match", "match_prefix"])
@pytest.mark.parametrize(
    "path",
    [of_dashes, of_dashes_and_one_other, of_segments, of_segments_and_one_other, of_long_segments],
)
@pytest.mark.parametrize(
    "source",
    [
        "/:a-:b-:c",
        "/:a-:b-:c-:d-:e-:f.:g",
        "/x:a-:b-:c-y",
        "/*a/x/*b/x/*c",
        "/*a/x/*b/x/*c/x/*d/y/*e",
        "/*a/:b/x/:c/*d/y",
        "/*a-*b-*c-*d",
        "/*a-:b-*c-:d-y",
        "/*a/x{/*b/x{/*c/x}}",
        "/*a/y",
    ],
)
def test_twice_the_path_is_twice_the_work(source: str, path: object, prefix: bool) -> None:
    """Calls and characters searched are counted, whether it matches or not."""
    assert callable(path)
    pattern = compile_pattern(source)
    match = pattern.match_prefix if prefix else pattern.match
    small, large = path(2_000), path(4_000)

    once, twice = work(lambda: match(small)), work(lambda: match(large))

    assert twice <= 2.2 * once + 50
    assert once <= 200 * 2_000


def test_the_counter_notices_a_quadratic_search() -> None:
    """The measure itself is worth something: cutting a path once for each of its segments shows."""

    def wasteful(size: int) -> None:
        for end in range(size):
            CountingText("-" * end).rfind("x")

    assert work(lambda: wasteful(400)) > 3 * work(lambda: wasteful(200))
