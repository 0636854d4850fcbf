"""Pattern.build: what url_for asks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nardis._paths.pattern import compile_pattern
from nardis._paths.segments import split_path
from nardis.errors import UsageError

from ._reference import Tree, source_of, trees

_VALUES = st.text("ab-/.% ?é😀", min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("source", "params", "path"),
    [
        ("/", {}, "/"),
        ("", {}, "/"),
        ("hello", {}, "/hello"),
        ("/hello/:name", {"name": "bob"}, "/hello/bob"),
        ("/hello/:name/", {"name": "bob"}, "/hello/bob/"),
        ("/hello/:name//", {"name": "bob"}, "/hello/bob/"),
        ("/hello/:name", {"name": 42}, "/hello/42"),
        ("/hello/:name", {"name": "a/b c?d#e%é"}, "/hello/a%2Fb%20c%3Fd%23e%25%C3%A9"),
        ("/hello/:name", {"name": "bob", "other": 1}, "/hello/bob"),
        ("/files/*rest", {"rest": ["a", "b/c", 3]}, "/files/a/b%2Fc/3"),
        ("/files/*rest", {"rest": "a/b c"}, "/files/a/b%20c"),
        ("/files/*rest", {"rest": 7}, "/files/7"),
        ("/:file{.:ext}", {"file": "a"}, "/a"),
        ("/:file{.:ext}", {"file": "a", "ext": None}, "/a"),
        ("/:file{.:ext}", {"file": "a", "ext": "txt"}, "/a.txt"),
        ("/{:year{/:month}}", {"month": 5}, "/"),
        ("/a{b}c", {}, "/abc"),
        ("/caf%C3%A9/a%2Fb/@:user", {"user": "@"}, "/caf%C3%A9/a%2Fb/@%40"),
        (["/:a/:b", "/:c"], {"c": 1}, "/1"),
    ],
)
def test_captures_are_percent_encoded(
    source: str | list[str], params: dict[str, Any], path: str
) -> None:
    """An optional group is there when all of its params are."""
    assert compile_pattern(source).build(params) == path


@pytest.mark.parametrize(
    ("source", "params", "named"),
    [
        ("/:a/*b/:c", {"b": "x"}, "without 'a', 'c'"),
        ("/:a{/:b}", {"b": 1}, "without 'a'"),
        ("/:a", {"a": None}, "without 'a'"),
        ("/:a", {"a": ""}, "'a' is empty"),
        ("/*a", {"a": []}, "'a' is empty"),
        ("/*a", {"a": [""]}, "'a' is empty"),
    ],
)
def test_what_is_missing_is_named(source: str, params: dict[str, Any], named: str) -> None:
    """A value that is absent or empty could never be matched again."""
    with pytest.raises(UsageError, match=named):
        compile_pattern(source).build(params)


@settings(max_examples=200)
@given(trees(), st.data(), st.booleans())
def test_what_is_built_matches(tree: Tree, data: st.DataObject, strict: bool) -> None:
    """Whatever the values are, the pattern recognises its own path."""
    pattern = compile_pattern(source_of(tree), strict=strict)
    params = {name: data.draw(_VALUES) for name in pattern.names}

    assert pattern.match(split_path(pattern.build(params).encode())) is not None


@settings(max_examples=200)
@given(trees(groups=False), st.data())
def test_what_was_matched_builds_the_same_path(tree: Tree, data: st.DataObject) -> None:
    """Captures may divide the path otherwise, but they hold all of it."""
    pattern = compile_pattern(source_of(tree), strict=True)
    path = pattern.build({name: data.draw(_VALUES) for name in pattern.names})
    params = pattern.match(split_path(path.encode()))

    assert params is not None
    assert pattern.build(params) == path


@given(_VALUES, st.lists(_VALUES, min_size=1))
def test_values_come_back(name: str, rest: list[str]) -> None:
    """Where each capture has segments of its own, the values are those that went in."""
    pattern = compile_pattern("/users/:name/files/*rest")
    path = pattern.build({"name": name, "rest": rest})

    assert pattern.match(split_path(path.encode())) == {"name": name, "rest": rest}
