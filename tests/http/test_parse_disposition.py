"""`parse_disposition`: the type and the name that a peer gives a body (RFC 6266, RFC 8187)."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.disposition import parse_disposition
from nardis._http.grammar import CONTROL, MAX_MEMBERS, TOKEN

ROWS = [
    row
    for row in json.loads(
        (Path(__file__).parents[1] / "vectors" / "content_disposition_vectors.json").read_text()
    )["vectors"]
    if row["op"] == "parse"
]

NAMES = st.text("!#$&+-.^_`|~" + string.digits + string.ascii_lowercase, min_size=1)
LATIN_1 = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f") | st.just("\t")
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["header"])
def test_express_agrees(row: dict[str, Any]) -> None:
    result = row["result"]
    assert parse_disposition(row["header"]) == (result["type"], result["parameters"])


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("", ""),
        (" \t", ""),
        ("Form-Data \t", "form-data"),
        ("Inline;a=b", "inline"),
        # What is no type is returned as it came.
        ("att achment; a=b", "att achment"),
        ("attachment, inline", "attachment, inline"),
        ("filename=a", "filename=a"),
        ('"a;b"', '"a'),
    ],
)
def test_the_type_is_the_text_before_the_first_semicolon(value: str, kind: str) -> None:
    assert parse_disposition(value)[0] == kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # A name is a token, in any case, with blanks around it.
        (";a=b", {"a": "b"}),
        ("\t;\tA\t=\tb\t", {"a": "b"}),
        (";a=1;b=2", {"a": "1", "b": "2"}),
        (";=a;b=c", {"b": "c"}),
        (";a b=c;d=e", {"d": "e"}),
        (";é=a;b=c", {"b": "c"}),
        (";\xa0a=b", {}),
        # Of two the first counts.
        (";a=1;A=2", {"a": "1"}),
        (';a="";a=2', {"a": ""}),
        # An unquoted value reaches to the next semicolon.
        (";a=", {"a": ""}),
        (";a=;b=c", {"a": "", "b": "c"}),
        (";a=b c d;e=f", {"a": "b c d", "e": "f"}),
        (";a=b=c;d=e", {"a": "b=c", "d": "e"}),
        (";a=b, c", {"a": "b, c"}),
        (';a=5" disk;b=c', {"a": '5" disk', "b": "c"}),
        (";a='b;c'", {"a": "'b"}),
        (";a=b\\c", {"a": "b\\c"}),
        # A quoted one to its closing quote, and what follows is skipped.
        (';a="b"', {"a": "b"}),
        (';a = \t"b" \t;c=d', {"a": "b", "c": "d"}),
        (';a=" b "', {"a": " b "}),
        (';a="b;c=d"', {"a": "b;c=d"}),
        (';a="b\\"c\\\\d\\e"', {"a": 'b"c\\de'}),
        (';a="b"c d;e=f', {"a": "b", "e": "f"}),
        (';a="b""c";d=e', {"a": "b", "d": "e"}),
        # A quote that stays open ends the reading, but costs nothing before it.
        (';a=b;c="d;e=f', {"a": "b"}),
        (';a=b;c= "d;e=f', {"a": "b"}),
        (';a=b;c="d\\";e=f', {"a": "b"}),
        (';a=b;c="', {"a": "b"}),
        (';a=b;c="\\', {"a": "b"}),
        # Pieces without `=` are nothing.
        (";;; ;a=b;", {"a": "b"}),
        (';a;"b";c=d', {"c": "d"}),
        # RFC 9110 §5.5: CR, LF and NUL are refused or become blanks.
        (";a=b\r\nc", {"a": "b  c"}),
        (';a="b\x00c";d=e', {"a": "b c", "d": "e"}),
        (';a="b\\\nc"', {"a": "b c"}),
        (";a\n=b", {"a": "b"}),
        (';a="b\tc"', {"a": "b\tc"}),
        # An escape is nothing special in a plain value.
        (';a="%41"', {"a": "%41"}),
    ],
)
def test_a_bad_parameter_costs_only_itself(text: str, expected: dict[str, str]) -> None:
    assert parse_disposition(f"inline{text}") == ("inline", expected)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("UTF-8''%e2%82%ac", "€"),
        ("uTf-8'en'%E2%82%AC", "€"),
        ("utf8''%e2%82%ac", "€"),
        ("UTF-8''", ""),
        ("UTF-8''a'b", "a'b"),
        ("UTF-8''a b(c)", "a b(c)"),
        ("UTF-8''a%09b", "a\tb"),
        ("UTF-8''..%2fa%5Cb", "../a\\b"),
        ("UTF-8''%EF%BB%BFa", "\ufeffa"),
        ("UTF-8''%2541", "%41"),
        ("ISO-8859-1''%e9%80", "é\x80"),
        # Not decoded: another charset, a part that is missing, a bad escape, bytes that are no
        # UTF-8, text beyond ASCII, an encoded control character, quotes.
        ("windows-1252''%80", None),
        ("''a", None),
        ("UTF-8", None),
        ("UTF-8'en", None),
        ("UTF-8''%4", None),
        ("UTF-8''%zz", None),
        ("UTF-8''%", None),
        ("UTF-8''%ff", None),
        ("UTF-8''%c0%af", None),
        ("UTF-8''%ed%a0%80", None),
        ("UTF-8''é", None),
        ("ISO-8859-1''€", None),
        ("UTF-8''a%00", None),
        ("UTF-8''%0d%0a", None),
        ("ISO-8859-1''%7f", None),
    ],
)
def test_an_extended_name_wins_if_it_can_be_decoded(text: str, name: str | None) -> None:
    """In any order; its own text stays beside it, for a caller to which it is forbidden."""
    for field in (f"x; filename*={text}; filename=a", f"x; filename=a; FileName*={text}"):
        expected = {"filename": "a" if name is None else name, "filename*": text}
        assert parse_disposition(field) == ("x", expected)
    alone = {"filename*": text} if name is None else {"filename": name, "filename*": text}
    assert parse_disposition(f"x; filename* = {text} ") == ("x", alone)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("filename*=\"UTF-8''a\"", {"filename*": "UTF-8''a"}),
        ("name*=UTF-8''a", {"name": "a", "name*": "UTF-8''a"}),
        ("*=UTF-8''a", {"*": "UTF-8''a"}),
        ("a**=UTF-8''b", {"a**": "UTF-8''b"}),
        ("a*0=UTF-8''b", {"a*0": "UTF-8''b"}),
        ("a*0*=UTF-8''b", {"a*0*": "UTF-8''b"}),
        ("a*=x; a*=UTF-8''b", {"a*": "x"}),
        ("a*=UTF-8''b; a*=x", {"a": "b", "a*": "UTF-8''b"}),
    ],
)
def test_only_a_name_with_one_asterisk_at_its_end_is_extended(
    text: str, expected: dict[str, str]
) -> None:
    """RFC 8187 §3.1 and §3.2.1: no continuations, no quotes; the first of two counts here too."""
    assert parse_disposition(f"x; {text}") == ("x", expected)


@pytest.mark.parametrize("piece", [";", "; ", ';"";', ";a=b"])
def test_the_parameter_after_a_hundred_is_ignored(piece: str) -> None:
    pieces = MAX_MEMBERS // piece.count(";")
    assert parse_disposition("x" + piece * (pieces - 1) + ";z=1")[1]["z"] == "1"
    assert "z" not in parse_disposition("x" + piece * pieces + ";z=1")[1]


@pytest.mark.parametrize("piece", [";", ";a", ";a=b", ';a="b"', ";a*=utf-8''%41"])
def test_a_longer_field_makes_no_more_work(piece: str, count_calls: Callable[..., int]) -> None:
    short = count_calls(parse_disposition, "x" + piece * 1_000)
    assert count_calls(parse_disposition, "x" + piece * 100_000) <= short < 2_000


@pytest.mark.parametrize(
    ("piece", "start", "end"),
    [
        ("\\\\", 'x;a="', '"'),
        ('\\"', 'x;a="', '"'),
        ("%41", "x;a*=utf-8''", ""),
        ("%e9", "x;a*=iso-8859-1''", ""),
        ("%", "x;a*=utf-8''", ""),
        ("'", "x;a*=utf-8''", ""),
        ("\n", "x;a=", ""),
    ],
)
def test_twice_the_value_is_twice_the_work(
    piece: str, start: str, end: str, count_calls: Callable[..., int]
) -> None:
    once = count_calls(parse_disposition, start + piece * 2_000 + end)
    assert count_calls(parse_disposition, start + piece * 4_000 + end) <= 2.2 * once + 50


@pytest.mark.parametrize(
    "hostile",
    [
        'x;a="' + "\\" * 1_000_001,
        'x;a="' + '\\"' * 1_000_000,
        'x;a="' + "b" * 1_000_000,
        'x;a="' + '";"' * 500_000,
        "x;" + " " * 1_000_000,
        "x;a=" + " " * 1_000_000 + '"',
        "x;a=b" + " " * 1_000_000 + "c",
        "x;" + "a" * 1_000_000,
        "x;" + "a " * 500_000 + "=b",
        "x;" + "*" * 1_000_000 + "=utf-8''a",
        "x;a*=utf-8''" + "%41" * 300_000 + "%",
        "x;a*=utf-8''" + "%ff" * 300_000,
        "x;a*=" + "'" * 1_000_000,
        "x" * 1_000_000,
        ";" * 1_000_000,
        "\x00" * 1_000_000,
    ],
    ids=range(16),
)
def test_a_hostile_field_is_read_in_one_pass(hostile: str) -> None:
    """Were anything scanned twice, one of these would take hours."""
    kind, parameters = parse_disposition(hostile)
    assert kind == hostile.partition(";")[0].strip("\x00")
    assert len(parameters) <= 1


@given(st.text(st.characters()) | st.text("a*=;\"\\ \t'%41\r\n\x00é"))
def test_any_text_is_read_without_an_error(text: str) -> None:
    for value in (text, f"x;{text}", f"x;a*=utf-8''{text}", f'x;a="{text}'):
        kind, parameters = parse_disposition(value)
        assert kind == kind.strip(" \t").lower()
        assert len(parameters) <= 2 * MAX_MEMBERS
        assert all(TOKEN.fullmatch(name) and name == name.lower() for name in parameters)
        assert not any(CONTROL.search(text) for text in [kind, *parameters.values()])


@given(NAMES, st.dictionaries(NAMES, LATIN_1), st.data())
def test_what_is_written_is_read_back(
    kind: str, parameters: dict[str, str], data: st.DataObject
) -> None:
    blanks = st.sampled_from(["", " ", "\t "])
    text = kind
    for name, value in parameters.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        text += f"{data.draw(blanks)};{data.draw(blanks)}{name}{data.draw(blanks)}="
        text += f'{data.draw(blanks)}"{escaped}"'
    assert parse_disposition(text) == (kind, parameters)
