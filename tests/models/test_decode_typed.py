"""`decode_typed`: a JSON body, read into a type; what does not fit is a 422 with each fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from nardis._http.strict_json import decode_json
from nardis._models import decode_typed
from nardis.errors import HTTPError, UsageError

from .models import (
    Broken,
    Cat,
    Chain,
    Colour,
    Dog,
    Item,
    Line,
    Mixed,
    Model,
    Node,
    Order,
    Range,
    User,
    Wrapped,
)

SUITE = json.loads((Path(__file__).parents[1] / "vectors" / "json_parsing.json").read_text())
BODIES = [
    (case["name"], case["input"].encode("latin-1") * case.get("times", 1))
    for case in SUITE["cases"]
]
ORDER = b'{"id": "00000000-0000-0000-0000-000000000007", "items": [{"name": "tea"}], "price": %s}'


def refused(body: bytes, type: Any, depth: int = 200) -> HTTPError:
    with pytest.raises(HTTPError) as caught:
        decode_typed(body, type, depth)
    return caught.value


def faults(body: bytes, type: Any) -> list[tuple[str, str]]:
    error = refused(body, type)
    assert error.status == 422
    return [(each["pointer"], each["detail"]) for each in error.extensions["errors"]]


@pytest.mark.usefixtures("either_way")
def test_a_body_becomes_an_instance() -> None:
    assert decode_typed(ORDER % b"1.10", Order, 200) == Order(
        id=UUID(int=7), items=[Item("tea")], price=Decimal("1.10")
    )


@pytest.mark.usefixtures("either_way")
def test_every_fault_is_listed_with_its_pointer() -> None:
    body = (
        b'{"id": "7", "items": [{"count": "2"}, {"name": 1, "until": "today"}], "price": {},'
        b' "tags": [1], "colour": "green", "parent": {"id": null, "items": []}}'
    )

    assert faults(body, Order) == [
        ("#/id", "not a UUID, such as 6f1b7d1e-33d6-4b0a-9d9c-0a0f0c2d1f11"),
        ("#/items/0/name", "required and missing"),
        ("#/items/0/count", "expected an integer, got a string"),
        ("#/items/1/name", "expected a string, got an integer"),
        ("#/items/1/until", "not a date, such as 2026-11-30"),
        ("#/price", "expected a decimal number, got an object"),
        ("#/tags/0", "expected a string, got an integer"),
        ("#/colour", 'expected "red" or "blue"'),
        ("#/parent/id", "expected a UUID, got null"),
    ]


@pytest.mark.usefixtures("either_way")
def test_the_detail_counts_the_faults_and_shows_the_first() -> None:
    assert refused(b'{"name": 1}', Item).detail == (
        "the JSON body does not fit: 1 fault, at #/name: expected a string, got an integer"
    )
    assert refused(b'{"name": 1, "count": null}', Item).detail == (
        "the JSON body does not fit: 2 faults, the first at #/name: "
        "expected a string, got an integer"
    )


def test_no_fault_repeats_what_was_sent() -> None:
    """It may be a password, and the answer may be logged."""
    error = refused(b'{"name": ["secret"], "until": "secret", "count": "secret"}', Item)

    assert "secret" not in str(error) + str(error.extensions)


@pytest.mark.usefixtures("either_way")
def test_the_hundred_first_fault_is_the_last_that_is_looked_for() -> None:
    at_most = faults(b"[" + b'"x",' * 99 + b'"x"]', list[int])
    error = refused(b"[" + b'"x",' * 100_000 + b"1]", list[int])

    assert len(at_most) == len(error.extensions["errors"]) == 100
    assert error.detail.startswith("the JSON body does not fit: more than 100 faults, the first at")


def test_the_work_for_faults_has_an_end(count_calls: Callable[..., int]) -> None:
    def work(size: int) -> int:
        return count_calls(refused, b"[" + b'"x",' * size + b"1]", list[int])

    work(10)
    assert work(100_000) < work(1_000) * 1.1


@pytest.mark.usefixtures("either_way")
def test_names_that_the_client_made_up_make_no_endless_pointers() -> None:
    """A pointer ends where it would be very long."""
    name = "n" * 100_000
    body = json.dumps({"a": {name: ["x"] * 200}}).encode()
    found = faults(body, dict[str, dict[str, list[int]]])

    assert set(found) == {("#/a", "somewhere in it: expected an integer, got a string")}


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    ("body", "type_", "pointer"),
    [
        (b'{"a/b": {"c~d": "x"}}', dict[str, dict[str, int]], "#/a~1b/c~0d"),
        ('{"é %": "x"}'.encode(), dict[str, int], "#/%C3%A9%20%25"),
        (b'"x"', int, "#"),
        (b'{"": "x"}', dict[str, int], "#/"),
        (b'[[], ["x"]]', list[list[int]], "#/1/0"),
    ],
)
def test_a_pointer_is_escaped_twice(body: bytes, type_: Any, pointer: str) -> None:
    """As a pointer (RFC 6901 §3), and as a fragment (§6)."""
    assert [place for place, _ in faults(body, type_)] == [pointer]


@pytest.mark.usefixtures("either_way")
def test_what_a_constructor_refuses_is_a_fault_of_the_object() -> None:
    assert faults(b'[{"low": 2, "high": 1}]', list[Range]) == [("#/0", "low is above high")]


@pytest.mark.usefixtures("either_way")
def test_another_error_of_a_constructor_is_a_bug_and_none_of_the_clients() -> None:
    with pytest.raises(LookupError, match="a bug"):
        decode_typed(b'{"value": 1}', Broken, 200)


# --- what is no JSON, or exceeds a limit ----------------------------------------------------------


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("type_", [Item, Any, list[int], Model], ids=str)
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"[1,]", "not valid JSON"),
        (b"[NaN]", "not valid JSON"),
        (b"\xef\xbb\xbf[]", "begins with a byte order mark"),
        ("[]".encode("utf-16"), "not valid UTF-8"),
        (b'["\xff"]', "not valid UTF-8"),
        (b'["\\ud800"]', "half of a surrogate pair"),
        (b"1e999", "too great"),
        (b"9" * 4301, "4300"),
        (b"[" * 201 + b"]" * 201, "deeper than 200 levels"),
        (b"[" * 100_000, "deeper than 200 levels"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_json_is_a_400_whoever_reads(type_: Any, body: bytes, said: str) -> None:
    error = refused(body, type_)

    assert error.status == 400
    assert said in error.detail


def is_taken(body: bytes, read: Callable[[bytes], object]) -> bool:
    try:
        read(body)
    except HTTPError as exc:
        if exc.status == 400:
            return False
        raise  # pragma: no cover: there is no other
    return True


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("verdict", [True, False])
def test_with_a_type_the_suite_has_the_verdicts_it_has_without_one(verdict: bool) -> None:
    """All 340 cases of the JSONTestSuite."""
    bodies = [
        each for each in BODIES if is_taken(each[1], lambda b: decode_json(b, 200)) is verdict
    ]
    typed = [name for name, body in bodies if is_taken(body, lambda b: decode_typed(b, Any, 200))]

    assert typed == ([name for name, _ in bodies] if verdict else [])


@pytest.mark.parametrize("digits", [4301, 100_000])
def test_a_huge_integer_is_a_400_for_every_type(digits: int) -> None:
    for type_ in (int, float, Decimal, Any, str):
        assert refused(b"-" + b"9" * digits, type_).status == 400


def test_a_depth_beyond_what_can_be_read_is_a_400() -> None:
    """Where an application takes any depth."""
    deep = b"[" * 100_000 + b"]" * 100_000

    assert refused(deep, Any, 10**6).status == 400


@pytest.mark.usefixtures("no_msgspec")
def test_a_depth_beyond_what_we_can_convert_is_a_400() -> None:
    error = refused(b'{"child": ' * 600 + b"null" + b"}" * 600, Chain, 10**6)

    assert error.status == 400
    assert "nested deeper" in error.detail


@pytest.mark.usefixtures("either_way")
def test_two_hundred_levels_can_be_converted() -> None:
    """The default limit, of a type that holds itself."""
    nested = b'{"name": "a", "children": [' * 99 + b"%s" + b"]}" * 99

    assert decode_typed(nested % b"", Node, 200)["name"] == "a"
    assert [said for _, said in faults(nested % b'{"name": 1}', Node)] == [
        "somewhere in it: expected a string, got an integer"
    ]


# --- decimals -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    ("written", "value"),
    [
        (b"0.1000000000000000055511151231257827", "0.1000000000000000055511151231257827"),
        (b"1.10", "1.10"),
        (b'"1.10"', "1.10"),
        (b"-1e3", "-1E+3"),
        (b"12345678901234567890.5", "12345678901234567890.5"),
        (b'"1e999"', "1E+999"),
        (b'"info"', None),
    ],
)
def test_a_decimal_is_exact(written: bytes, value: str | None) -> None:
    if value is None:
        assert faults(written, Decimal) == [("#", "not a number, such as 4.2")]
    else:
        assert str(decode_typed(written, Decimal, 200)) == value


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b'"NaN"', "not a finite number"),
        (b'"-sNaN1"', "not a finite number"),
        (b'"\\u004eaN"', "not a finite number"),
        (b'"-Infinity"', "not a finite number"),
        (b'"1e1000"', "a number whose exponent is beyond 999"),
        (b'"1E-1000"', "a number whose exponent is beyond 999"),
        (b"1e-999999999", "a number whose exponent is beyond 999"),
        (b'"' + b"9" * 1001 + b'"', "a number whose exponent is beyond 999"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_decimal_is_finite_and_safe_to_compute_with(written: bytes, said: str) -> None:
    """Msgspec takes all of them; int() of the last but one takes minutes."""
    assert faults(b'{"a": [%s]}' % written, dict[str, list[Decimal]]) == [("#/a/0", said)]


@pytest.mark.usefixtures("either_way")
def test_beside_a_decimal_other_numbers_are_floats() -> None:
    type_ = tuple[Decimal, float, Any, int, Mixed]
    value = decode_typed(b'[1.5, 2.5, {"a": [3.5, "x", 4]}, 5, 0.5]', type_, 200)

    assert repr(value) == ("(Decimal('1.5'), 2.5, {'a': [3.5, 'x', 4]}, 5, <Mixed.HALF: 0.5>)")


# --- msgspec and its types ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "type_", "expected"),
    [
        (
            b'{"age": -1, "tags": ["a", "b", "c"], "seen": "now"}',
            User,
            [
                ("#/fullName", "required and missing"),
                ("#/age", "expected int >= 0"),
                ("#/tags", "expected array of length <= 2"),
                ("#/seen", "not a date and time, such as 2026-11-30T12:30:00Z"),
            ],
        ),
        (
            b'[{"type": "cat", "lives": "9"}, {"type": "cow"}, {}, {"type": 1}, []]',
            list[Cat | Dog],
            [
                ("#/0/lives", "expected an integer, got a string"),
                ("#/1/type", 'expected "cat" or "dog"'),
                ("#/2/type", "required and missing"),
                ("#/3/type", 'expected "cat" or "dog"'),
                ("#/4", "expected an object, got an array"),
            ],
        ),
        (b'{"content": "x"}', Wrapped[int], [("#/content", "expected an integer, got a string")]),
        (b'[["x"], []]', list[Line], [
            ("#/0/0", "expected an integer, got a string"),
            ("#/1", "expected an array of 1 to 2, got one of 0"),
        ]),
    ],
)  # fmt: skip
def test_a_struct_lists_every_fault(
    body: bytes, type_: Any, expected: list[tuple[str, str]]
) -> None:
    assert faults(body, type_) == expected


def test_a_struct_is_read() -> None:
    assert decode_typed(b'{"fullName": "ada", "more": 1}', User, 200) == User("ada")


def test_what_only_msgspec_finds_is_said_in_its_words() -> None:
    """Of two members of one name it looks at both, we at the last, which is the one that counts."""
    body = b'[{"type": "cat", "lives": "x", "lives": 2}]'

    assert faults(body, list[Cat]) == [("#/0/lives", "expected int, got str")]


def test_a_name_that_only_msgspec_refuses_has_the_pointer_that_it_knows() -> None:
    """It does not keep the names of dicts."""
    body = b'{"tables": [{"01": 1}]}'

    assert faults(body, Tables) == [("#/tables/0", "expected int, got str")]
    assert faults(b'{"a": {"01": 1}}', dict[str, dict[int, int]]) == [
        ("#", "expected int, got str")
    ]


class Tables(msgspec.Struct):
    tables: list[dict[int, int]]


class Cousins(msgspec.Struct, array_like=True, tag=True):
    value: int


class Others(msgspec.Struct, array_like=True, tag=True):
    value: int


def test_a_type_that_we_do_not_know_has_the_fault_that_msgspec_finds() -> None:
    body = b'[["Cousins", 1], ["Others", "x"]]'

    assert decode_typed(body.replace(b'"x"', b"2"), list[Cousins | Others], 200) == [
        Cousins(1),
        Others(2),
    ]
    assert faults(body, list[Cousins | Others]) == [("#/1/1", "expected int, got str")]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    ("body", "type_", "value"),
    [
        (b'"2026-11-30"', date | UUID, date(2026, 11, 30)),
        (b"[0.5, null]", list[Mixed], [Mixed.HALF, Mixed.NOTHING]),
        (b'"blue"', Colour | date, Colour.BLUE),
    ],
)
def test_types_that_msgspec_does_not_know_are_read_all_the_same(
    body: bytes, type_: Any, value: object
) -> None:
    assert decode_typed(body, type_, 200) == value


@pytest.mark.usefixtures("either_way")
def test_a_set_of_lists_is_the_fault_of_the_client() -> None:
    """Msgspec raises a TypeError, as for a type that it does not know."""
    assert faults(b'{"a": [[1]]}', dict[str, set[Any]]) == [
        ("#/a", "expected simple values: a set holds no arrays or objects")
    ]


@pytest.mark.parametrize("type_", [complex, list[complex], Path, Callable[[], int], "Item"])
def test_a_type_that_nothing_reads_is_a_usage_error(type_: Any) -> None:
    with pytest.raises(UsageError):
        decode_typed(b"[1]", type_, 200)


@pytest.mark.usefixtures("no_msgspec")
@pytest.mark.parametrize("type_", [complex, list[complex]])
def test_without_msgspec_the_usage_error_says_how_to_get_it(type_: Any) -> None:
    """At the first body, whatever that has."""
    with pytest.raises(UsageError, match=r"complex.*pip install 'nardis\[msgspec\]'"):
        decode_typed(b"[]", type_, 200)


# --- models that validate themselves --------------------------------------------------------------


@pytest.mark.usefixtures("either_way")
def test_the_faults_of_a_model_have_pointers() -> None:
    """Its places also name what is not in the JSON: here the member of a union."""
    assert faults(b'{"numbers": [1, -1, -1]}', Model) == [
        ("#/numbers/1", "not positive"),
        ("#/numbers/2", "not positive"),
        ("#/limit", "Field required"),
    ]


@pytest.mark.usefixtures("either_way")
def test_a_model_inside_of_another_type_is_read() -> None:
    assert decode_typed(b'[{"limit": 1.5}]', list[Model], 200) == [Model(limit=1.5)]
    assert faults(b'[{"limit": 1}, {"numbers": [-1]}]', list[Model]) == [
        ("#/1/numbers/0", "not positive"),
        ("#/1/limit", "Field required"),
    ]


def test_the_faults_of_a_model_are_bounded() -> None:
    hundred = refused(b'{"limit": 1, "n": [' + b"-1," * 499 + b"-1]}", Model)
    thousands = refused(b'{"limit": 1, "n": [' + b"-1," * 1999 + b"-1]}", Model)

    assert "more than 100 faults" in hundred.detail
    assert len(hundred.extensions["errors"]) == 100
    assert thousands.extensions["errors"] == [
        {"detail": "2000 faults, too many to list", "pointer": "#"}
    ]


class Terse:
    @classmethod
    def model_validate_json(cls, body: bytes) -> None:
        raise ValueError(body.decode()[1:-1])


@pytest.mark.parametrize(("said", "detail"), [("no", "no"), ("", "not valid"), ("x" * 500, None)])
def test_a_model_without_a_list_has_one_fault(said: str, detail: str | None) -> None:
    assert faults(json.dumps(said).encode(), Terse) == [("#", detail or "x" * 297 + "...")]
