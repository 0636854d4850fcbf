"""The fuzz targets notice what a parser might do wrong, by their seeds alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any, TypeAlias

import pytest

from nardis._http import byteranges, conditional, disposition, multipart, ranges, urlencoded
from nardis.errors import HTTPError, RangeNotSatisfiable
from nardis.limits import Limits
from tests.fuzz import target_of

Pairs: TypeAlias = list[tuple[str, str]]
Spans: TypeAlias = list[range] | None
Fields: TypeAlias = Mapping[bytes, bytes]
Event: TypeAlias = multipart.PartHead | bytes | None
Disposition: TypeAlias = tuple[str, dict[str, str]]
Wrong: TypeAlias = Callable[..., object]

parse_range, parse_urlencoded = ranges.parse_range, urlencoded.parse_urlencoded
check_preconditions, parse_etags = conditional.check_preconditions, conditional.parse_etags
parse_disposition, write = disposition.parse_disposition, disposition.content_disposition

# By what is wrong: the target, and what stands in for which function of which module.
FAULTS: dict[str, tuple[str, ModuleType, str, Wrong]] = {}


def fault(target: str, module: ModuleType, attribute: str) -> Callable[[Wrong], Wrong]:
    def keep(wrong: Wrong) -> Wrong:
        FAULTS[wrong.__name__] = target, module, attribute, wrong
        return wrong

    return keep


def always(value: object) -> Wrong:
    return lambda *_, **__: value


# --- urlencoded -----------------------------------------------------------------------------------

of_pairs = fault("urlencoded", urlencoded, "parse_urlencoded")


@of_pairs
def a_pair_is_lost(raw: bytes, most: int) -> Pairs:
    return parse_urlencoded(raw, most)[1:]


@of_pairs
def pairs_have_no_bound(raw: bytes, most: int) -> Pairs:
    return parse_urlencoded(raw)


@of_pairs
def few_pairs_are_refused(raw: bytes, most: int) -> Pairs:
    raise HTTPError(400)


@of_pairs
def many_pairs_have_another_status(raw: bytes, most: int) -> Pairs:
    try:
        return parse_urlencoded(raw, most)
    except HTTPError:
        raise HTTPError(413) from None


@of_pairs
def text_grows(raw: bytes, most: int) -> Pairs:
    return [(9 * name, 9 * value) for name, value in parse_urlencoded(raw, most)]


@of_pairs
def text_is_lost(raw: bytes, most: int) -> Pairs:
    return [(name, value[1:]) for name, value in parse_urlencoded(raw, most)]


@of_pairs
def raw_bytes_are_latin_1(raw: bytes, most: int) -> Pairs:
    return parse_urlencoded(raw.decode("latin-1").encode(), most)


@of_pairs
def a_plus_is_read_as_a_plus(raw: bytes, most: int) -> Pairs:
    return parse_urlencoded(raw.replace(b"+", b"%2B"), most)


# --- ranges ---------------------------------------------------------------------------------------

of_ranges = fault("ranges", ranges, "parse_range")


@of_ranges
def a_range_is_longer_than_the_file(value: str, size: int, *, combine: bool) -> Spans:
    return [range(size + 1)]


@of_ranges
def a_range_is_empty(value: str, size: int, *, combine: bool) -> Spans:
    return [range(0)]


@of_ranges
def no_range_is_left(value: str, size: int, *, combine: bool) -> Spans:
    return []


@of_ranges
def twice_the_file_is_served(value: str, size: int, *, combine: bool) -> Spans:
    return [range(size)] * 2 if size else None


@of_ranges
def ranges_have_no_bound(value: str, size: int, *, combine: bool) -> Spans:
    return parse_range(value, size, combine=combine, most=10**6)


@of_ranges
def a_416_has_another_size(value: str, size: int, *, combine: bool) -> Spans:
    raise RangeNotSatisfiable(size + 1)


@of_ranges
def a_416_depends_on_combining(value: str, size: int, *, combine: bool) -> Spans:
    try:
        return parse_range(value, size, combine=combine)
    except RangeNotSatisfiable:
        if combine:
            raise
        return None


@of_ranges
def ranges_are_not_combined(value: str, size: int, *, combine: bool) -> Spans:
    return parse_range(value, size)


@of_ranges
def combined_ranges_are_ignored(value: str, size: int, *, combine: bool) -> Spans:
    return None if combine else parse_range(value, size)


@of_ranges
def combined_ranges_lack_bytes(value: str, size: int, *, combine: bool) -> Spans:
    spans = parse_range(value, size, combine=combine)
    return spans[:1] if spans and combine else spans


@fault("ranges", byteranges, "ByteRanges")
class MoreIsDeclaredThanSent(byteranges.ByteRanges):
    def __init__(self, spans: list[range], size: int, content_type: str, boundary: str) -> None:
        super().__init__(spans, size, content_type, boundary)
        self.length += 1


@fault("ranges", byteranges, "ByteRanges")
class PartsAreInAnotherOrder(byteranges.ByteRanges):
    def __init__(self, spans: list[range], *rest: Any) -> None:
        super().__init__(spans[::-1], *rest)


@fault("ranges", byteranges, "ByteRanges")
class TheBoundaryIsAnother(byteranges.ByteRanges):
    def __init__(self, spans: list[range], size: int, content_type: str, boundary: str) -> None:
        super().__init__(spans, size, content_type)


# --- conditional ----------------------------------------------------------------------------------

of_statuses = fault("conditional", conditional, "check_preconditions")
of_tags = fault("conditional", conditional, "parse_etags")


@of_statuses
def a_put_is_answered_as_a_get(method: str, *rest: Any) -> int | None:
    return check_preconditions("GET", *rest)


@of_statuses
def options_has_preconditions(method: str, *rest: Any) -> int | None:
    return check_preconditions("PUT" if method == "OPTIONS" else method, *rest)


@of_statuses
def if_match_compares_weakly(
    method: str, fields: Fields, etag: str | None, modified: int | None
) -> int | None:
    weak = {name: value.replace(b"W/", b"") for name, value in fields.items()}
    return check_preconditions(method, weak, etag and etag.removeprefix("W/"), modified)


@of_statuses
def dates_win_over_tags(
    method: str, fields: Fields, etag: str | None, modified: int | None
) -> int | None:
    pairs = [(b"if-match", b"if-unmodified-since"), (b"if-none-match", b"if-modified-since")]
    lost = {tag for tag, date in pairs if date in fields}
    kept = {name: value for name, value in fields.items() if name not in lost}
    return check_preconditions(method, kept, etag, modified)


@of_tags
def tags_lose_their_quotes(value: str) -> list[str]:
    return [tag.strip('"') for tag in parse_etags(value)]


@of_tags
def a_tag_comes_twice(value: str) -> list[str] | str:
    tags = parse_etags(value)
    return tags if tags == "*" else [tag for tag in tags for _ in range(2)]


@of_tags
def a_weak_tag_becomes_strong(value: str) -> list[str] | str:
    tags = parse_etags(value)
    return tags if tags == "*" else [tag.removeprefix("W/") for tag in tags]


@of_tags
def a_tag_is_made_up(value: str) -> list[str] | str:
    return [*parse_etags(value), '"made-up"']


# --- disposition ----------------------------------------------------------------------------------

of_fields = fault("disposition", disposition, "parse_disposition")
of_names = fault("disposition", disposition, "content_disposition")


@of_fields
def names_are_in_capitals(value: str) -> Disposition:
    kind, parameters = parse_disposition(value)
    return kind, {name.upper(): text for name, text in parameters.items()}


@of_fields
def the_type_is_in_capitals(value: str) -> Disposition:
    kind, parameters = parse_disposition(value)
    return kind.upper(), parameters


@of_fields
def controls_come_through(value: str) -> Disposition:
    kind, parameters = parse_disposition(value)
    return kind, {name: f"{text}\r\n" for name, text in parameters.items()}


@of_fields
def backslashes_are_dropped(value: str) -> Disposition:
    return parse_disposition(value.replace("\\", ""))


@of_fields
def escapes_stay(value: str) -> Disposition:
    return parse_disposition(value.replace("filename*", "filename"))


@of_fields
def a_parameter_is_lost(value: str) -> Disposition:
    kind, parameters = parse_disposition(value)
    return kind, dict([*parameters.items()][1:])


@of_names
def a_name_is_written_raw(name: str, kind: str, *, fallback: str | None) -> str:
    return f'{kind}; filename="{name}"'


@of_names
def a_name_is_not_written(name: str, kind: str, *, fallback: str | None) -> str:
    return write("x", kind, fallback=fallback)


@of_names
def a_name_is_not_shown_to_old_clients(name: str, kind: str, *, fallback: str | None) -> str:
    return write(name, kind, fallback="x")


@of_names
def a_fallback_is_not_written(name: str, kind: str, *, fallback: str | None) -> str:
    return write(name, kind)


# --- multipart ------------------------------------------------------------------------------------

of_forms = fault("multipart", multipart, "MultipartReader")


@of_forms
class FormsHaveNoLimits(multipart.MultipartReader):
    def __init__(self, content_type: str | None, limits: Limits) -> None:
        super().__init__(content_type, Limits())


@of_forms
class ACutFormIsWhole(multipart.MultipartReader):
    def finish(self) -> None:
        return


@of_forms
class AnErrorIsForgotten(multipart.MultipartReader):
    def feed(self, data: bytes) -> Iterator[Event]:
        return iter(()) if data == b"\r\n--" else super().feed(data)


@of_forms
class AnEpilogueIsRead(multipart.MultipartReader):
    def feed(self, data: bytes) -> Iterator[Event]:
        return iter([data]) if self.complete else super().feed(data)


@of_forms
class AnErrorHasAnotherStatus(multipart.MultipartReader):
    def finish(self) -> None:
        if not self.complete:
            raise HTTPError(500)


@of_forms
class AnotherErrorGetsOut(multipart.MultipartReader):
    def finish(self) -> None:
        if not self.complete:
            raise ValueError


def with_head(event: Event, **changes: Any) -> list[Event]:
    return [replace(event, **changes) if isinstance(event, multipart.PartHead) else event]


# What becomes of an event of the form.
CHANGES: dict[str, Callable[[Event], list[Event]]] = {
    "ends are lost": lambda event: [] if event is None else [event],
    "ends come twice": lambda event: [event, None] if event is None else [event],
    "content comes twice": lambda event: [event] * (1 + isinstance(event, bytes)),
    "content is lost": lambda event: [] if isinstance(event, bytes) else [event],
    "content is empty": lambda event: [event[:0]] if isinstance(event, bytes) else [event],
    "single bytes are lost": lambda event: [] if event and event == b"1" else [event],
    "lines end otherwise": lambda event: (
        [event.replace(b"\r\n", b"\n")] if isinstance(event, bytes) else [event]
    ),
    "a delimiter is content": lambda event: [b"\r\n--B", None] if event is None else [event],
    "names have controls": lambda event: with_head(event, name="a\nb"),
    "file names have controls": lambda event: with_head(event, filename="a\x9fb"),
    "names are lost": lambda event: with_head(event, name=""),
    "types are lost": lambda event: with_head(event, content_type=None),
    "types are made up": lambda event: with_head(event, content_type="text/plain"),
    "lines are lost": lambda event: with_head(event, headers=()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_form_is_noticed(
    change: Callable[[Event], list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changed(multipart.MultipartReader):
        def feed(self, data: bytes) -> Iterator[Event]:
            for event in super().feed(data):
                yield from change(event)

    is_noticed(monkeypatch, "multipart", "nardis._http.multipart.MultipartReader", Changed)


# --- all of them ----------------------------------------------------------------------------------


def is_noticed(monkeypatch: pytest.MonkeyPatch, name: str, attribute: str, wrong: object) -> None:
    target = target_of(name)
    monkeypatch.setattr(attribute, wrong)
    # An error that is none of the documented ones is a finding, too.
    with pytest.raises((AssertionError, HTTPError, LookupError, ValueError)):
        list(map(target.check, target.seeds()))


@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, module, attribute, wrong = FAULTS[what]
    is_noticed(monkeypatch, name, f"{module.__name__}.{attribute}", wrong)


@pytest.mark.parametrize(
    ("name", "attribute", "answer"),
    [
        ("ranges", "ranges.parse_range", 400),
        ("ranges", "ranges.if_range_allows", True),
        ("ranges", "ranges.if_range_allows", False),
        ("conditional", "conditional.check_preconditions", None),
        ("conditional", "conditional.check_preconditions", 200),
        ("conditional", "conditional.check_preconditions", 304),
        ("conditional", "conditional.check_preconditions", 412),
        ("conditional", "conditional.is_fresh", True),
        ("conditional", "conditional.is_fresh", False),
        ("conditional", "conditional.parse_etags", "*"),
        ("conditional", "conditional.parse_etags", []),
        ("conditional", "conditional.check_etag", "v1"),
    ],
)
def test_an_answer_that_is_always_the_same_is_noticed(
    name: str, attribute: str, answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_noticed(monkeypatch, name, f"nardis._http.{attribute}", always(answer))
