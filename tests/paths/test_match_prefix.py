"""Pattern.match_prefix: what use() and mount() ask."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nardis._paths.pattern import compile_pattern
from nardis._paths.segments import Segments, split_path
from nardis.errors import HTTPError

from ._reference import (
    BAD_REQUEST,
    SLASH,
    Hole,
    Text,
    Tree,
    actual,
    has_mixed_segment,
    reference,
    trees_and_paths,
)


@settings(max_examples=300)
@given(trees_and_paths(), st.booleans(), st.booleans())
@example(((SLASH, Hole("a", wild=True), SLASH, Text("b")), ["x", "b", "b", "c"]), True, False)
def test_it_matches_as_a_greedy_regular_expression_does(
    case: tuple[Tree, Segments], case_sensitive: bool, strict: bool
) -> None:
    """Same paths, same captures, same end, for any pattern; strict changes nothing."""
    tree, path = case
    expected = reference(tree, path, case_sensitive=case_sensitive, prefix=True)
    found = actual(tree, path, case_sensitive=case_sensitive, strict=strict, prefix=True)

    tolerated = [BAD_REQUEST] if None in path and has_mixed_segment(tree) else []
    assert found in [expected, *tolerated]


@pytest.mark.parametrize(
    ("source", "path", "found"),
    [
        ("/", "/", ({}, 0)),
        ("", "/x", ({}, 0)),
        ("/", "/%zz", ({}, 0)),
        ("/api", "/api", ({}, 1)),
        ("/api", "/api/", ({}, 1)),
        ("/api/", "/api", ({}, 1)),
        ("/api", "/api//x", ({}, 1)),
        ("/api", "/apix", None),
        ("/api", "/", None),
        ("/api/v1", "/api", None),
        ("/api", "/api/%zz", ({}, 1)),
        ("/:tenant", "/acme/users", ({"tenant": "acme"}, 1)),
        ("/:tenant", "/", None),
        ("/*path", "/a/b", ({"path": ["a", "b"]}, 2)),
        ("/*path/edit", "/a/edit/b/edit/c", ({"path": ["a", "edit", "b"]}, 4)),
        ("/*path.html", "/a/b.html/c", ({"path": ["a", "b"]}, 2)),
        ("{/:lang}/docs", "/docs/x", ({}, 1)),
        ("{/:lang}/docs", "/en/docs/x", ({"lang": "en"}, 2)),
        ("{/:lang}", "/", ({}, 0)),
    ],
)
def test_a_prefix_ends_on_a_segment_border(
    source: str, path: str, found: tuple[dict[str, Any], int] | None
) -> None:
    """The number is how many segments are used up; slashes at the end of a pattern never count."""
    assert compile_pattern(source, strict=True).match_prefix(split_path(path.encode())) == found


def test_a_broken_segment_in_a_capture_is_a_bad_request() -> None:
    """As for whole paths."""
    with pytest.raises(HTTPError, match="400"):
        compile_pattern("/:tenant").match_prefix(split_path(b"/%zz/x"))
