"""`encode_json`: compact JSON in UTF-8 (RFC 8259 §8)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis._http.strict_json import decode_json
from nardis._models import encode_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        ({"a": [1, 2.5, None, True], "ü": "€"}, '{"a":[1,2.5,null,true],"ü":"€"}'),
        ("text", '"text"'),
        (None, "null"),
        ({1: "x"}, '{"1":"x"}'),
        ("\u2028 \x7f \x00", '"\u2028 \x7f \\u0000"'),
    ],
)
def test_json_is_compact_and_in_utf_8(obj: object, expected: str) -> None:
    assert encode_json(obj) == expected.encode()


@pytest.mark.parametrize("obj", [float("nan"), [float("inf")], {"a": -float("inf")}])
def test_a_number_that_json_lacks_is_a_value_error(obj: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json(obj)


@pytest.mark.parametrize("obj", [object(), 1j, [object()], {"a": 1j}])
def test_an_object_that_json_lacks_is_a_type_error(obj: object) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        encode_json(obj)


def test_a_lone_surrogate_is_escaped() -> None:
    """UTF-8 has no way to write one, but JSON has; NaN stays refused on that way."""
    assert encode_json({"\ud800": ["é", "\udfff"]}) == rb'{"\ud800":["\u00e9","\udfff"]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json(["\ud800", float("nan")])


@pytest.mark.parametrize(
    ("written", "expected"),
    [('["é"]', '["é"]'.encode()), (b'["bytes"]', b'["bytes"]'), ('"\ud800"', rb'["\ud800"]')],
)
def test_a_codec_returns_text_or_bytes(written: str | bytes, expected: bytes) -> None:
    """Text of a codec that has no UTF-8 is written by the standard library instead."""

    class Codec:
        def dumps(self, obj: object) -> str | bytes:
            return written

    assert encode_json(["\ud800"], Codec()) == expected


def test_the_json_module_is_a_codec() -> None:
    assert encode_json({"a": "é"}, json) == rb'{"a": "\u00e9"}'


@given(JSON)
def test_what_is_encoded_means_the_same_when_decoded(value: Any) -> None:
    assert json.loads(encode_json(value)) == value
    assert decode_json(encode_json(value), 200) == value
