"""Lines of a body, cut anywhere: LF ends them, with a CR in front or without."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nardis._http.lines import LineSplitter
from nardis.errors import HTTPError

BODY = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"bcd"]), max_size=24).map(b"".join)


def read(body, most, sizes=()):
    """Return the lines of a body that is cut, and the status and line of its error."""
    splitter, lines, rest = LineSplitter(most), [], body
    try:
        for size in sizes:
            lines += splitter.feed(rest[:size])
            rest = rest[size:]
        for line in splitter.feed(rest):
            lines.append(line)  # one by one: what came before an error counts
        if (last := splitter.finish()) is not None:
            lines.append(last)
    except HTTPError as exc:
        return lines, (exc.status, exc.extensions["line"])
    return lines, None


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"\r\n\n", [b"", b""]),
        (b"a", [b"a"]),
        (b"a\nb\r\n", [b"a", b"b"]),
        (b"a\rb\n\rc\r", [b"a\rb", b"\rc\r"]),
        (b"a\r\r\n", [b"a\r"]),
        (b"\x0b\x0c\x1c\x85\xe2\x80\xa8\n", [b"\x0b\x0c\x1c\x85\xe2\x80\xa8"]),
    ],
)
def test_the_lines_of_a_body(body, lines):
    assert read(body, 99) == read(body, 99, [1] * len(body)) == (lines, None)


@pytest.mark.parametrize(
    ("body", "lines", "long"),
    [
        (b"abc\r\nabc\nabc", [b"abc", b"abc", b"abc"], None),
        (b"a\nabcd\nb\n", [b"a"], (413, 2)),
        (b"abcd", [], (413, 1)),
        (b"abc\r", [], (413, 1)),
        (b"abc\r\r\n", [], (413, 1)),
        (b"abc\rd\n", [], (413, 1)),
    ],
)
def test_the_end_of_a_line_is_not_counted(body, lines, long):
    assert read(body, 3) == read(body, 3, [1] * len(body)) == (lines, long)


@given(BODY, st.integers(1, 9), st.lists(st.integers(0, 7), max_size=12))
@example(b"ab\r\n", 2, [3])
def test_any_cuts_give_the_same(body, most, sizes):
    assert read(body, most, sizes) == read(body, most)


@given(BODY)
def test_lines_are_what_stands_between_line_feeds(body):
    """Written the way that the standard library would do it."""
    *ended, rest = body.split(b"\n")
    expected = [line.removesuffix(b"\r") for line in ended] + ([rest] if rest else [])

    assert read(body, 99) == (expected, None)


def test_a_line_is_refused_before_its_end_comes():
    splitter = LineSplitter(1_000)
    for _ in range(10):
        assert list(splitter.feed(b"x" * 100)) == []

    with pytest.raises(HTTPError, match="line 1 is longer than the 1,000 bytes") as caught:
        list(splitter.feed(b"x"))

    assert caught.value.extensions == {"limit": 1000, "line": 1}


@pytest.mark.parametrize("ask", [lambda it: it.feed(b"\n"), lambda it: it.finish()])
def test_an_error_is_raised_again(ask):
    splitter = LineSplitter(1)
    with pytest.raises(HTTPError):
        list(splitter.feed(b"ok"))

    with pytest.raises(HTTPError, match="413"):
        ask(splitter)
