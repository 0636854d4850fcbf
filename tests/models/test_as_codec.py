"""`as_codec`: what `Nardis(json=...)` takes, as one shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import UUID

import msgspec
import pytest

from nardis._http.strict_json import decode_json
from nardis._models import as_codec, encode_json
from nardis.errors import HTTPError, UsageError

from .models import Cat, Colour, Item, Model

OBJECT = {
    "item": Item("tea"),
    "struct": Cat(9),
    "model": Model(limit=1),
    "set": {1},
    "decimal": Decimal("1.10"),
    "moment": datetime(2026, 11, 30, tzinfo=UTC),
    "colour": Colour.RED,
    UUID(int=1): b"hi",
}
WRITTEN = {
    "item": {"name": "tea", "count": 1, "until": None},
    "struct": {"type": "cat", "lives": 9},
    "model": {"limit": 1},
    "set": [1],
    "decimal": "1.10",
    "moment": "2026-11-30T00:00:00Z",
    "colour": "red",
    "00000000-0000-0000-0000-000000000001": "aGk=",
}


class Strict:
    """Takes what JSON has, and nothing else; as some codecs do."""

    def dumps(self, obj: Any) -> bytes:
        return json.dumps(obj).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


def orjson() -> ModuleType:
    """Make a module of that name: it takes `default`, and no keys but texts."""
    module: Any = ModuleType("orjson")

    def dumps(obj: Any, default: Callable[[Any], Any]) -> bytes:
        if any(not isinstance(key, str) for key in obj):
            raise TypeError("Dict key must be str")
        return json.dumps(obj, default=default).encode()

    module.dumps, module.loads = dumps, json.loads
    return module  # type: ignore[no-any-return]  # it had to be Any to get the names


@pytest.mark.parametrize("thing", [None, json, msgspec, msgspec.json, orjson(), Strict()])
def test_whatever_is_given_encodes_all_that_can_be_read(thing: Any) -> None:
    encoded = encode_json(OBJECT, as_codec(thing))

    assert json.loads(encoded) == WRITTEN
    assert decode_json(encoded, 9, as_codec(thing)) == WRITTEN


@pytest.mark.parametrize("thing", [json, msgspec, msgspec.json, orjson(), Strict()])
def test_what_is_no_json_is_a_400_whatever_is_given(thing: Any) -> None:
    with pytest.raises(HTTPError) as caught:
        decode_json(b"[1,]", 9, as_codec(thing))
    assert caught.value.status == 400


@pytest.mark.parametrize("thing", [None, json, msgspec.json, Strict()])
def test_an_object_that_nothing_stands_for_is_a_type_error(thing: Any) -> None:
    with pytest.raises(TypeError, match="object is not JSON serializable"):
        encode_json([object()], as_codec(thing))


def test_a_codec_of_ones_own_is_taken_as_it_is() -> None:
    codec = Strict()

    assert as_codec(codec) is codec


def test_encode_and_decode_are_names_as_good() -> None:
    codec = as_codec(SimpleNamespace(encode=Strict().dumps, decode=Strict().loads))

    assert codec.dumps([1]) == b"[1]"
    assert codec.loads(b"[2]") == [2]


@pytest.mark.parametrize(
    "thing",
    [
        False,
        "orjson",
        object(),
        SimpleNamespace(dumps=json.dumps),
        SimpleNamespace(dumps=None, loads=None),
        SimpleNamespace(dumps=json.dumps, decode=json.loads),
        json.JSONEncoder(),
    ],
)
def test_anything_else_is_a_usage_error(thing: Any) -> None:
    with pytest.raises(UsageError, match="has no dumps"):
        as_codec(thing)
