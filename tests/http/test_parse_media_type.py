"""`parse_media_type` and `is_json`: what a Content-Type says (RFC 9110 §8.3.1)."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.media_types import is_json, parse_media_type
from nardis.errors import HTTPError

TOKENS = st.text("!#$%&'*+-.^_`|~" + string.digits + string.ascii_letters, min_size=1)
LATIN_1 = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f") | st.just("\t")
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text/html", ("text/html", {})),
        (" Text/HTML ", ("text/html", {})),
        ("text/html;charset=utf-8", ("text/html", {"charset": "utf-8"})),
        ("text/html ;\t Charset=UTF-8", ("text/html", {"charset": "UTF-8"})),
        ("text/html;", ("text/html", {})),
        ("text/html; ;;charset=utf-8;", ("text/html", {"charset": "utf-8"})),
        ('a/b; c="d;e,f \\"g\\\\"; h=i', ("a/b", {"c": 'd;e,f "g\\', "h": "i"})),
        ('a/b;c=""', ("a/b", {"c": ""})),
        (
            'multipart/form-data; boundary="a b:c?d=e"',
            ("multipart/form-data", {"boundary": "a b:c?d=e"}),
        ),
        (
            "multipart/form-data; boundary=--=_a:b/c?(d)",
            ("multipart/form-data", {"boundary": "--=_a:b/c?(d)"}),
        ),
        ("a/b;c=caf\xe9" + "x", None),
        ('a/b;c="caf\xe9"', ("a/b", {"c": "café"})),
    ],
)
def test_a_type_comes_in_lower_case_with_its_parameters(
    value: str, expected: tuple[str, dict[str, str]] | None
) -> None:
    """An unquoted value may hold most of what a boundary may, but nothing beyond ASCII."""
    if expected is None:
        with pytest.raises(HTTPError):
            parse_media_type(value)
    else:
        assert parse_media_type(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "garbage",
        "text/",
        "/html",
        "text/html/x",
        "text /html",
        "text/html charset=utf-8",
        "text/html; charset",
        "text/html; charset=",
        "text/html; charset =utf-8",
        "text/html; charset= utf-8",
        "text/html; =utf-8",
        "text/html, text/plain",
        'text/html; charset="utf-8',
        'text/html; charset="utf-8"x',
        'text/html; charset="a\nb"',
        'text/html; charset="a\\\nb"',
        "multipart/form-data; boundary=a, multipart/form-data; boundary=b",
    ],
)
def test_a_malformed_type_is_400(value: str) -> None:
    with pytest.raises(HTTPError) as caught:
        parse_media_type(value)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "value", ["multipart/form-data; boundary=B; boundary=C", "a/b; c=d; C=d", 'a/b; c="d"; c="e"']
)
def test_a_parameter_that_comes_twice_is_400(value: str) -> None:
    """Rack CVE-2026-26961: a filter read the first boundary, and a parser the second."""
    with pytest.raises(HTTPError, match="comes twice"):
        parse_media_type(value)


def test_the_parameters_are_the_callers_own() -> None:
    """What a handler does to them must not show in the next request with the same field."""
    parse_media_type("text/html; a=b")[1].clear()
    assert parse_media_type("text/html; a=b") == ("text/html", {"a": "b"})


@pytest.mark.parametrize(
    "hostile",
    [
        'a/b; c="' + "\\" * 1_000_001,
        'a/b; c="' + '\\"' * 1_000_000,
        "a/b" + '; a=";"' * 300_000,
        "a/b" + "; " * 1_000_000 + "x",
        "a/b;" + " " * 1_000_000 + "x",
        "a/b;" + "a" * 1_000_000,
        "a" * 1_000_000,
        "a/" * 500_000,
    ],
)
def test_a_hostile_value_is_read_in_one_pass(hostile: str) -> None:
    """Were anything scanned twice, one of these would take hours."""
    with pytest.raises(HTTPError):
        parse_media_type(hostile)


@given(TOKENS, TOKENS, st.dictionaries(TOKENS.map(str.lower), LATIN_1), st.data())
def test_what_is_written_is_read_back(
    kind: str, subtype: str, parameters: dict[str, str], data: st.DataObject
) -> None:
    blanks = st.sampled_from(["", " ", "\t ", "; "])
    text = f"{kind}/{subtype}"
    for name, value in parameters.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        text += f'{data.draw(blanks)};{data.draw(blanks)}{name}="{escaped}"'
    assert parse_media_type(text) == (f"{kind}/{subtype}".lower(), parameters)


@given(st.text() | st.text('a/;="\\ ,') | st.text('a=;"').map("a/b;".__add__))
def test_any_text_is_a_media_type_or_400(value: str) -> None:
    try:
        essence, _ = parse_media_type(value)
    except HTTPError:
        return
    assert essence == value.partition(";")[0].strip(" \t").lower()


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("application/json", True),
        ("application/problem+json", True),
        ("model/gltf+json", True),
        ("text/json", False),
        ("application/jsonl", False),
        ("application/json-seq", False),
        ("text/html", False),
    ],
)
def test_json_is_json_or_has_the_suffix(media_type: str, expected: bool) -> None:
    assert is_json(media_type) is expected
