"""`content_disposition`: the name under which a body is saved (RFC 6266, RFC 8187)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.disposition import content_disposition, parse_disposition
from nardis._http.fields import check_value
from nardis._http.grammar import CONTROL
from nardis.errors import FieldError

ROWS = [
    row
    for row in json.loads(
        (Path(__file__).parents[1] / "vectors" / "content_disposition_vectors.json").read_text()
    )["vectors"]
    if row["op"] == "create"
]

# On purpose: a name that a file system allows must not cost a response.
DEVIATIONS = {"\ud800.txt": "attachment; filename=\"?.txt\"; filename*=UTF-8''%EF%BF%BD.txt"}

NAMES = st.text(st.characters()) | st.text("a.%41é😀/\\\"'; \t\r\n\x00\x7f\ud83d\ude00")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: repr(row["filename"]))
def test_express_agrees_but_for_lone_surrogates(row: dict[str, Any]) -> None:
    name, kind = row["filename"], row["options"].get("type", "attachment")
    fallback = row["options"].get("fallback")
    if "error" in row and name not in DEVIATIONS:
        with pytest.raises(FieldError):
            content_disposition(name, kind, fallback=fallback)
    else:
        expected = DEVIATIONS.get(name, row.get("result"))
        assert content_disposition(name, kind, fallback=fallback) == expected


def test_each_deviation_is_a_row() -> None:
    assert DEVIATIONS.keys() <= {row["filename"] for row in ROWS}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # A token goes bare, other printable ASCII in quotes.
        ("a.txt", "filename=a.txt"),
        ("-_.!#$&'*+^`|~%", "filename=-_.!#$&'*+^`|~%"),
        ('a"b', 'filename="a\\"b"'),
        ('\\"', 'filename="\\\\\\""'),
        ("a;b", 'filename="a;b"'),
        ("  a  ", 'filename="  a  "'),
        ("../a", 'filename="../a"'),
        # Some clients decode an escape in `filename` (RFC 6266 Appendix D).
        ("100%.txt", "filename=100%.txt"),
        ("a%2.txt", "filename=a%2.txt"),
        ("a b%2c", "filename=\"a b%2c\"; filename*=UTF-8''a%20b%252c"),
        # A control character never goes out as it is.
        ("a\r\nb: c", "filename=\"a??b: c\"; filename*=UTF-8''a%0D%0Ab%3A%20c"),
        ("a\x00", "filename=\"a?\"; filename*=UTF-8''a%00"),
        ("\x7f\x80\x9f", "filename=\"???\"; filename*=UTF-8''%7F%C2%80%C2%9F"),
        # Other characters go out in UTF-8.
        ("e\u0301", "filename=\"e?\"; filename*=UTF-8''e%CC%81"),
        ("\ufeffa", "filename=\"?a\"; filename*=UTF-8''%EF%BB%BFa"),
        ("\ud83d\ude00", "filename=\"??\"; filename*=UTF-8''%F0%9F%98%80"),
        ("\ude00\ud83d", "filename=\"??\"; filename*=UTF-8''%EF%BF%BD%EF%BF%BD"),
        ("caf\udce9", "filename=\"caf?\"; filename*=UTF-8''caf%EF%BF%BD"),
        (
            "é(1)!'*#$&+^`|~{}[]@,;:<>?=/",
            "filename=\"?(1)!'*#$&+^`|~{}[]@,;:<>?=/\"; filename*=UTF-8''"
            "%C3%A9%281%29!%27%2A%23%24%26%2B%5E%60%7C~%7B%7D%5B%5D%40%2C%3B%3A%3C%3E%3F%3D%2F",
        ),
    ],
)
def test_each_name_is_written_so_that_clients_read_it(name: str, expected: str) -> None:
    assert content_disposition(name, "inline") == f"inline; {expected}"


@pytest.mark.parametrize(
    ("name", "fallback", "expected"),
    [
        ("é", "e", "attachment; filename=e; filename*=UTF-8''%C3%A9"),
        ("é", "", "attachment; filename=\"\"; filename*=UTF-8''%C3%A9"),
        ("é", "a%20b", "attachment; filename=a%20b; filename*=UTF-8''%C3%A9"),
        ("é", 'a "b"', 'attachment; filename="a \\"b\\""; filename*=UTF-8\'\'%C3%A9'),
        ("a", "b", "attachment; filename=b; filename*=UTF-8''a"),
        ("a", "a", "attachment; filename=a"),
        (None, "b", "attachment"),
    ],
)
def test_a_fallback_stands_where_the_name_could_not(
    name: str | None, fallback: str, expected: str
) -> None:
    assert content_disposition(name, fallback=fallback) == expected


@pytest.mark.parametrize("fallback", ["é", "a\tb", "a\r\nb", "\x7f", "\ud800"])
def test_a_fallback_beyond_printable_ascii_is_refused(fallback: str) -> None:
    with pytest.raises(FieldError, match="printable ASCII"):
        content_disposition("a", fallback=fallback)


@pytest.mark.parametrize("kind", ["", "a b", "a;b", "a/b", "é", "inline\r\nx: y", "inline\n", " a"])
def test_a_type_that_is_no_token_is_refused(kind: str) -> None:
    for name in (None, "a"):
        with pytest.raises(FieldError, match="disposition type"):
            content_disposition(name, kind)


def test_another_type_stays_as_it_is() -> None:
    assert content_disposition("a", "Form-Data") == "Form-Data; filename=a"


@pytest.mark.parametrize("name", [1, b"a", Path("a")])
def test_a_name_that_is_no_str_is_refused_by_its_type(name: object) -> None:
    with pytest.raises(FieldError, match=f"not {type(name).__name__}"):
        content_disposition(name)  # type: ignore[arg-type]  # that is the point


def test_megabytes_are_written() -> None:
    escaped = r"\"\\" * 500_000
    assert content_disposition('"\\' * 500_000) == f'attachment; filename="{escaped}"'
    assert content_disposition("%4" * 500_000) == f"attachment; filename={'%4' * 500_000}"
    assert content_disposition("é" * 500_000).endswith("%C3%A9" * 500_000)
    assert content_disposition("\ud800" * 500_000).endswith("%EF%BF%BD" * 500_000)


@pytest.mark.parametrize("piece", ["a", '"\\', "%41", "é", "😀", "\r\n", "\ud800", "a é"])
def test_twice_the_name_is_twice_the_work(piece: str, count_calls: Callable[..., int]) -> None:
    once = count_calls(content_disposition, piece * 2_000)
    assert count_calls(content_disposition, piece * 4_000) <= 2.2 * once + 50


@given(NAMES, st.none() | st.text("ab% \"\\;'"))
def test_any_name_becomes_printable_ascii(name: str, fallback: str | None) -> None:
    value = content_disposition(name, fallback=fallback)
    assert value.isascii()
    assert value.isprintable()
    assert check_value("content-disposition", value) == value.encode("ascii")


@given(NAMES)
def test_what_is_written_is_read_back(name: str) -> None:
    """A name with control characters comes back with `?`, a lone surrogate as U+FFFD."""
    kind, parameters = parse_disposition(content_disposition(name, "inline"))
    sent = name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert kind == "inline"
    if not CONTROL.search(sent):
        assert parameters["filename"] == sent
        return
    units = "".join(char if char <= "\uffff" else "??" for char in sent)
    assert parameters["filename"] == "".join(c if " " <= c <= "~" else "?" for c in units)
