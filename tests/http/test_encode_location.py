"""`encode_location`: a URI reference from what a user wrote (RFC 3986, RFC 9110 §10.2.2)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.fields import check_value
from nardis._http.location import encode_location
from nardis.errors import FieldError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "location_vectors.json").read_text())[
    "vectors"
]

# On purpose: browsers read a backslash as a slash, so that Express's answer to the first one is an
# open redirect.
DEVIATIONS = {
    "\\\\evil.com": "%5C%5Cevil.com",
    "http:\\\\h\\p": "http:%5C%5Ch%5Cp",
}

CASES = [(row["url"], row["result"]) for row in VECTORS if row["op"] == "location"]
CASES += [(row["args"][-1], row["location"]) for row in VECTORS if row["op"] == "redirect"]


@pytest.mark.parametrize(("url", "result"), CASES)
def test_express_agrees_but_for_the_backslash(url: str, result: str) -> None:
    assert encode_location(url) == DEVIATIONS.get(url, result)


def test_each_deviation_is_a_row() -> None:
    assert DEVIATIONS.keys() <= dict(CASES).keys()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", ""),
        ("/\\evil", "/%5Cevil"),
        ("/%", "/%25"),
        ("/%%41", "/%25%41"),
        ("/%4g%", "/%254g%25"),
        ("/\ud800x", "/%EF%BF%BDx"),
        ("/\udc00\ud800", "/%EF%BF%BD%EF%BF%BD"),
        ("/\ud83d\ude00", "/%F0%9F%98%80"),
        ("/😀", "/%F0%9F%98%80"),
        ("/\ufeff", "/%EF%BB%BF"),
        ("\ufeffa", "%EF%BB%BFa"),
        ('/a\x7f`"^', "/a%7F%60%22^"),
        ("/a\n", "/a%0A"),
    ],
)
def test_only_what_must_not_stand_there_is_encoded(url: str, expected: str) -> None:
    assert encode_location(url) == expected


@pytest.mark.parametrize("url", [None, 1, b"/a", Path("/a")])
def test_what_is_no_str_is_refused_by_its_type(url: object) -> None:
    with pytest.raises(FieldError, match=f"not {type(url).__name__}"):
        encode_location(url)  # type: ignore[arg-type]  # that is the point


def test_megabytes_of_escapes_are_read() -> None:
    assert encode_location("%" * 1_000_000) == "%25" * 1_000_000
    assert encode_location("a" * 1_000_000 + " ") == "a" * 1_000_000 + "%20"


@given(st.text(st.characters()) | st.text("%4a\\/ é\ud800\ude00\r\n"))
def test_any_text_becomes_a_field_value_and_stays_it(url: str) -> None:
    encoded = encode_location(url)
    assert check_value("location", encoded) == encoded.encode("ascii")
    assert not set(encoded) & set('\\<>"{}` \r\n\x00')
    assert encode_location(encoded) == encoded
