"""compile_pattern: what a pattern may be, and what the message says when it may not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._paths.pattern import compile_pattern
from nardis._paths.segments import split_path
from nardis.errors import PatternError


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("*", "write `*rest`"),
        ("/*", "write `*rest`"),
        ("/:", "write `:id`"),
        ("/:1", "write `:id`"),
        ('/:""', "write `:id`"),
        ('/:"name', 'add a `"`'),
        ('/:"name\\', 'add a `"`'),
        (r"/:id(\d+)", "check the value in the handler"),
        ("/(.*)", "regular expressions are no part of a path"),
        ("/:id?", "write `{/:name}`"),
        ("/:path+", "write `*name`"),
        ("/[ab]", r"write `\[`"),
        ("/ab]", r"write `\]`"),
        ("/ab)", r"write `\)`"),
        ("/a!", r"write `\!`"),
        ("/a<b", r"write `\<`"),
        ("/a>b", r"write `\>`"),
        ("/<>", r"write `\<`"),
        ("^/a", r"write `\^`"),
        ("/:a:b", "put text between them, such as `:a-:b`"),
        ("/*a*b", "put text between them, such as `*a-*b`"),
        ("/{:a}:b", "put text between them, such as `:a-:b`"),
        ("/:a{-}:b", "put text between them, such as `:a-:b`"),
        ("/:a/:a", "give each its own name"),
        ("{/:a}{/x/:a}", "give each its own name"),
        ("/a{", "add a `}`"),
        ("/{a{b}", "add a `}`"),
        ("/a}", "remove it"),
        ("/" + "{a}" * 9, "register several patterns"),
        ("/" + "{a" * 300 + "}" * 300, "register several patterns"),
        ("/a\\", r"write `\\`"),
        ("/100%", "write `%25`"),
        ("/%zz", "write `%25`"),
        ("/%é1", "write `%25`"),
        ("/%ff", "not UTF-8"),
        ("/caf%C3/%A9", "not UTF-8"),
        ("/\ud800", "not UTF-8"),
    ],
)
def test_a_pattern_that_cannot_be_read_says_what_to_write(source: str, advice: str) -> None:
    """The message names the pattern and the remedy."""
    with pytest.raises(PatternError) as caught:
        compile_pattern(source)

    assert repr(source) in str(caught.value)
    assert advice in str(caught.value)


@pytest.mark.parametrize("source", [None, b"/a", 3, [], ["/a", None], {"/a"}])
def test_only_text_and_lists_of_text_are_patterns(source: Any) -> None:
    """Anything else is refused when it is registered."""
    with pytest.raises(PatternError, match="a str, or a list"):
        compile_pattern(source)


@given(st.text('/ab:*{}\\"%2F-()?!<>[].^$é\ud800', max_size=12))
def test_any_text_compiles_or_is_a_pattern_error(source: str) -> None:
    """Nothing else comes out of the parser."""
    try:
        pattern = compile_pattern(source)
    except PatternError:
        return
    assert pattern.source == source


def test_a_pattern_tells_its_source_and_names() -> None:
    """Names come in order of appearance, each once, also from a list."""
    pattern = compile_pattern(["/:b/*a{.:c}", "/x/:c/:d"])

    assert pattern.names == ("b", "a", "c", "d")
    assert pattern.source == "/:b/*a{.:c}, /x/:c/:d"
    assert repr(pattern) == "<Pattern /:b/*a{.:c}, /x/:c/:d>"


def test_256_forms_are_allowed() -> None:
    """The limit is the one of path-to-regexp."""
    assert len(compile_pattern("/{a}{b}{c}{d}{e}{f}{g}{h}").routes) == 256


def test_equal_forms_count_once() -> None:
    """An optional part that changes nothing costs nothing."""
    assert len(compile_pattern("/a{}{b}{b}").routes) == 3


@pytest.mark.parametrize(
    ("source", "literals"),
    [
        ("/", ("",)),
        ("", ("",)),
        ("/api/v1/", ("api", "v1")),
        ("/a%2Fb/caf%C3%A9", ("a/b", "café")),
        ("/api/:id", None),
        ("/a-:id", None),
        ("/api{/v1}", None),
    ],
)
def test_literals_are_the_segments_of_fixed_text(
    source: str, literals: tuple[str, ...] | None
) -> None:
    """They are decoded, and None as soon as anything varies."""
    assert compile_pattern(source).literals == literals


def test_literals_of_a_relaxed_pattern_are_folded() -> None:
    """They are what paths are compared with."""
    assert compile_pattern("/API", case_sensitive=False).literals == ("api",)


@pytest.mark.parametrize(
    ("source", "path"),
    [
        (r"/a\:b", "/a:b"),
        (r"/a\{b\}", "/a{b}"),
        (r"/a\?\(\)\[\]\+\!\*", "/a?()[]+!*"),
        (r"/a\<b\>", "/a%3Cb%3E"),
        ("/a%3Cb%3E", "/a%3Cb%3E"),
        (r"\^a^b", "/%5Ea^b"),
        (r"/a\\b", "/a\\b"),
        (r"/a\/b", "/a/b"),
        (r"/a\%41", "/a%2541"),
        ("/a%25", "/a%25"),
        ("/ü\\é", "/%C3%BC%C3%A9"),
        ("/a%20b", "/a b"),
        ("/a b", "/a%20b"),
        ("hello", "/hello"),
        ("{/en}/about", "/about"),
        ("{en/}about", "/en/about"),
    ],
)
def test_text_is_read_literally(source: str, path: str) -> None:
    """
    Escapes take the next character as it is, percent escapes are decoded.

    A missing leading slash is supplied.
    """
    assert compile_pattern(source).match(split_path(path.encode())) == {}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/:id-x", "id"),
        ("/:$a_1-x", "$a_1"),
        ("/:été-x", "été"),
        ('/:"a b"-x', "a b"),
        (r'/:"a\"b\\"-x', 'a"b\\'),
    ],
)
def test_names_are_identifiers_or_quoted(source: str, name: str) -> None:
    """A name ends where an identifier does; quotes allow any character."""
    assert compile_pattern(source).match(["7-x"]) == {name: "7"}
