"""Index: few candidates, and never one too few."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nardis._paths.index import Index
from nardis._paths.pattern import compile_pattern
from nardis._paths.segments import Segments, split_path

from ._reference import PATHS, Tree, actual, source_of, trees, trees_and_paths, work


def index_of(*sources: str | tuple[str], case_sensitive: bool = True) -> Index:
    """An index of routes, and of prefixes where a source is in a tuple."""
    index = Index(case_sensitive=case_sensitive)
    for ordinal, source in enumerate(sources):
        text = source if isinstance(source, str) else source[0]
        index.add(
            ordinal, compile_pattern(text, case_sensitive=case_sensitive), prefix=source != text
        )
    return index


def candidates(index: Index, path: str) -> list[int]:
    return list(index.candidates(split_path(path.encode())))


@settings(max_examples=150)
@given(
    st.lists(trees_and_paths(), min_size=1, max_size=4),
    st.lists(trees(), max_size=4),
    PATHS,
    st.data(),
)
def test_candidates_are_all_that_match_in_order(
    cases: list[tuple[Tree, Segments]], others: list[Tree], anything: Segments, data: st.DataObject
) -> None:
    """Whatever matches, or answers 400, is there, once, in order of registration."""
    case_sensitive = data.draw(st.booleans())
    table = [*(tree for tree, _ in cases), *others]
    modes = [(data.draw(st.booleans()), data.draw(st.booleans())) for _ in table]
    index = Index(case_sensitive=case_sensitive)
    for ordinal, (tree, (strict, prefix)) in enumerate(zip(table, modes, strict=True)):
        index.add(
            ordinal,
            compile_pattern(source_of(tree), case_sensitive=case_sensitive, strict=strict),
            prefix=prefix,
        )

    for path in [anything, *(path for _, path in cases)]:
        found = index.candidates(path)
        fitting = {
            ordinal
            for ordinal, (tree, (strict, prefix)) in enumerate(zip(table, modes, strict=True))
            if actual(tree, path, case_sensitive=case_sensitive, strict=strict, prefix=prefix)
            is not None
        }
        assert fitting <= set(found)
        assert list(found) == sorted(set(found))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", [0, 1]),
        ("/users", [0, 2]),
        ("/users/", [0, 2]),
        ("/users/me", [0, 3, 4]),
        ("/users/7", [0, 3]),
        ("/users/7/x", [0]),
        ("/files/a/b", [0, 5]),
        ("/files/a/b/edit", [0, 5, 6]),
        ("/files/a/b/edit/", [0, 5, 6]),
        ("/report-7.json", [0, 7]),
        ("/report-7.xml", [0, 8]),
        ("/report-7", [0]),
        ("/a-b.png", [0, 9]),
        ("/a-b", [0]),
        ("/logs-/2024", [0, 10]),
        ("/nobody", [0]),
        ("/%zz", [0, 7, 8, 9]),
    ],
)
def test_candidates_are_few(path: str, expected: list[int]) -> None:
    """Each kind of segment is looked up, none is searched for."""
    index = index_of(
        ("/",), "/", "/users", "/users/:id", "/users/me", "/files/*path", "/files/*path/edit",
        "/report-:id.json", "/report-:id.xml", "/:a-:b.png", "/logs-*rest",
    )  # fmt: skip

    assert candidates(index, path) == expected


def test_an_index_may_know_no_case() -> None:
    """Text is compared as the patterns compare it."""
    index = index_of("/API/:id", "/É-:id", case_sensitive=False)

    assert candidates(index, "/api/7") == [0]
    assert candidates(index, "/é-7") == [1]


def test_optional_groups_enter_a_layer_once() -> None:
    """Forms that end at the same place, or fit the same path, are one candidate."""
    index = index_of("/{:a}", "/{x}{y}/*rest", "/:a{/:b}{/*c}")

    assert candidates(index, "/xy/1") == [1, 2]
    assert candidates(index, "/x") == [0, 1, 2]


def test_layers_may_come_in_any_order() -> None:
    """Ordinals decide, not the order of the calls."""
    index = Index()
    for ordinal in (2, 0, 1):
        index.add(ordinal, compile_pattern("/x"), prefix=False)

    assert candidates(index, "/x") == [0, 1, 2]


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/r{n}", "/r3"),
        ("/api/r{n}/items/:id", "/api/r3/items/42"),
        ("/:tenant/r{n}", "/acme/r3"),
        ("/item-{n}-:id", "/item-3-42"),
        ("/:id.ext{n}", "/42.ext3"),
        ("/report-:id.ext{n}", "/report-42.ext3"),
        ("/*path/edit{n}", "/a/b/edit3"),
        ("/files{n}-*rest", "/files3-a/b"),
        ("/r{n}/*rest", "/r3/a/b"),
    ],
)
@pytest.mark.parametrize(
    "suffix", ["", "x", "/", "/nothing/here"], ids=["hit", "miss", "slash", "longer"]
)
def test_the_cost_does_not_grow_with_the_table(template: str, path: str, suffix: str) -> None:
    """The same steps lead through 2,000 routes as through 5."""
    counts = []
    for size in (5, 2_000):
        # All numbers have as many digits, so that no text is of a new length.
        index = index_of(*[template.replace("{n}", f"{n:04}") for n in range(size)])
        segments = split_path(path.replace("3", "0003", 1).encode() + suffix.encode())
        assert len(index.candidates(segments)) <= 1
        counts.append(work(lambda index=index, segments=segments: index.candidates(segments)))  # type: ignore[misc]

    assert counts[0] == counts[1]


def test_a_path_that_fits_many_branches_meets_no_node_twice() -> None:
    """Text and capture at each level double the branches only as far as the table does."""
    index = index_of(
        *[
            f"/{'/'.join('a' if n >> bit & 1 else f':c{bit}' for bit in range(6))}"
            for n in range(64)
        ]
    )

    assert candidates(index, "/a/a/a/a/a/a") == list(range(64))
    assert work(lambda: index.candidates(["a"] * 6)) < 64 * 20


def test_a_broken_segment_is_no_text_that_a_wildcard_begins_with() -> None:
    """It is a candidate of mixed segments alone, which answer 400."""
    assert candidates(index_of("/a*rest", "/a:x"), "/%ff") == [1]
    assert candidates(index_of("/a*rest"), "/%ff") == []
