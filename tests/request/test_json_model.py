"""`await req.json(Model)`: decoded and validated, with msgspec or by the model itself."""

import json
import sys
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict
from uuid import UUID

import msgspec
import pytest

from nardis import Limits, Nardis, UsageError
from nardis.testing import Client

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}


class StructUser(msgspec.Struct):
    name: str
    age: int = 0


@dataclass
class DataUser:
    name: str
    age: int = 0


class TypedUser(TypedDict):
    name: str
    age: int


class SelfMadeUser:
    """Validates as pydantic's models do: any complaint, about syntax too, is a ValueError."""

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def model_validate_json(cls, body: bytes) -> "SelfMadeUser":
        value = json.loads(body)
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            raise ValueError("name: a string is required")
        return cls(value["name"])


MODELS = [StructUser, DataUser, TypedUser, SelfMadeUser]


@pytest.mark.parametrize("model", [StructUser, DataUser, SelfMadeUser])
async def test_a_model_is_decoded_into_an_instance(ask, model):
    user = await ask(
        lambda req: req.json(model), "POST", content=b'{"name": "ada", "age": 36}', headers=JSON
    )

    assert isinstance(user, model)
    assert user.name == "ada"


@pytest.mark.parametrize(
    ("type_", "content", "value"),
    [
        (TypedUser, b'{"name": "ada", "age": 36}', {"name": "ada", "age": 36}),
        (list[int], b"[1, 2]", [1, 2]),
        (dict[str, float], b'{"a": 1.5}', {"a": 1.5}),
        (int | None, b"null", None),
    ],
)
async def test_a_type_that_msgspec_knows_gives_plain_values(ask, type_, content, value):
    assert await ask(lambda req: req.json(type_), "POST", content=content, headers=JSON) == value


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("content", [b'{"name": 1, "age": 2}', b"{}", b"[]", b"null"])
async def test_json_that_does_not_fit_is_a_422(refusal, model, content):
    assert (
        await refusal(lambda req: req.json(model), "POST", content=content, headers=JSON)
    ).status_code == 422


async def test_the_422_names_the_field(refusal):
    response = await refusal(
        lambda req: req.json(StructUser), "POST", content=b'{"name": "a", "age": "x"}', headers=JSON
    )

    assert response.text.rstrip().endswith(
        "the JSON body does not fit: 1 fault, at #/age: expected an integer, got a string"
    )


@pytest.mark.parametrize("model", [StructUser, DataUser, TypedUser])
async def test_the_problem_document_of_the_422_lists_every_fault(refusal, model):
    """As the example of RFC 9457 §3 does."""
    response = await refusal(
        lambda req: req.json(list[model]),
        "POST",
        content=b'[{"name": "ada", "age": 1}, {"age": "x"}, 7]',
        headers={**JSON, "accept": "application/problem+json"},
    )

    assert response.status_code == 422
    assert response.json()["errors"] == [
        {"detail": "required and missing", "pointer": "#/1/name"},
        {"detail": "expected an integer, got a string", "pointer": "#/1/age"},
        {"detail": "expected an object, got an integer", "pointer": "#/2"},
    ]


async def test_what_was_read_into_a_type_can_be_sent_back():
    app = Nardis()

    @app.post("/")
    async def echo(req, res):
        await res.json(await req.json(Event))

    body = {
        "id": "00000000-0000-0000-0000-000000000007",
        "at": "2026-11-30T12:30:00Z",
        "price": "1.10",
        "users": [{"name": "ada", "age": 36}],
        "data": "aGk=",
    }
    async with Client(app) as client:
        response = await client.post("/", json=body)

    assert response.json() == body


@dataclass
class Event:
    id: UUID
    at: datetime
    price: Decimal
    users: list[StructUser]
    data: bytes


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"name": "\xff", "age": 1}', b'{"x": [1,]}', b'{"x":' * 100_000],
    ids=lambda content: repr(content[:20]),
)
async def test_what_is_not_json_is_a_400(refusal, model, content):
    assert (
        await refusal(lambda req: req.json(model), "POST", content=content, headers=JSON)
    ).status_code == 400


@pytest.mark.parametrize("type_", [*MODELS, Any, float, list[float], dict[str, Any]])
@pytest.mark.parametrize(
    "number", [b"1e9999", b"-1E400", b"1" * 400 + b".5"], ids=lambda number: repr(number[:10])
)
@pytest.mark.parametrize(
    "place", [b"%s", b"[%s]", b'{"name": "ada", "age": %s}', b'{"name": %s, "age": 1}']
)
async def test_a_number_beyond_a_double_is_refused_and_never_infinity(
    refusal, type_, number, place
):
    response = await refusal(
        lambda req: req.json(type_), "POST", content=place % number, headers=JSON
    )

    assert response.status_code in (400, 422)


@pytest.mark.parametrize("type_", [*MODELS, Any, str, dict[str, int]])
@pytest.mark.parametrize(
    "content", [b'"\\ud800"', b'{"name": "\\udc00", "age": 1}', b'{"\\ud800": 1}']
)
async def test_half_of_a_surrogate_pair_is_refused(refusal, type_, content):
    response = await refusal(lambda req: req.json(type_), "POST", content=content, headers=JSON)

    assert response.status_code in (400, 422)


async def test_a_model_gets_nothing_that_is_not_json(refusal):
    """Its own parser may be lenient: Python's takes NaN, and so does pydantic's."""
    response = await refusal(
        lambda req: req.json(SelfMadeUser),
        "POST",
        content=b'{"name": "ada", "age": NaN}',
        headers=JSON,
    )

    assert response.status_code == 400


@pytest.mark.parametrize("model", MODELS)
async def test_another_content_type_is_a_415(refusal, model):
    assert (
        await refusal(
            lambda req: req.json(model),
            "POST",
            content=b"{}",
            headers={"content-type": "text/plain"},
        )
    ).status_code == 415


@pytest.mark.parametrize("model", MODELS)
async def test_a_model_keeps_the_limit(refusal, model):
    assert (
        await refusal(lambda req: req.json(model, limit=1), "POST", content=b"{}", headers=JSON)
    ).status_code == 413


@pytest.mark.parametrize("type_", [dict[str, Any], Any])
async def test_the_depth_limit_holds_for_a_type_too(ask, refusal, type_):
    def app():
        return Nardis(limits=Limits(json_depth=3))

    assert await ask(
        lambda req: req.json(type_), "POST", content=b'{"a": [{}]}', headers=JSON, app=app()
    ) == {"a": [{}]}
    response = await refusal(
        lambda req: req.json(type_),
        "POST",
        content=b'{"a": [{"b": 1}, {"b": []}]}',
        headers=JSON,
        app=app(),
    )
    assert response.status_code == 400
    assert "3 levels" in response.text


async def test_without_msgspec_a_model_is_a_usage_error_that_says_how_to_get_it(
    failure, monkeypatch
):
    """For what the standard library has, it reads by itself."""
    monkeypatch.setitem(sys.modules, "msgspec", None)
    error = await failure(lambda req: req.json(complex), "POST", content=b"{}", headers=JSON)

    assert isinstance(error, UsageError)
    assert "nardis[msgspec]" in str(error)


@pytest.mark.parametrize("model", [DataUser, TypedUser])
async def test_a_dataclass_needs_no_msgspec(ask, monkeypatch, model):
    monkeypatch.setitem(sys.modules, "msgspec", None)

    assert await ask(
        lambda req: req.json(model), "POST", content=b'{"name": "ada", "age": 36}', headers=JSON
    ) == model(name="ada", age=36)


async def test_a_model_that_validates_itself_needs_no_msgspec(ask, monkeypatch):
    monkeypatch.setitem(sys.modules, "msgspec", None)

    assert (
        await ask(
            lambda req: req.json(SelfMadeUser), "POST", content=b'{"name": "ada"}', headers=JSON
        )
    ).name == "ada"


async def test_the_codec_of_the_application_is_not_asked_for_a_model(ask):
    class Codec:
        loads = dumps = staticmethod(bool)

    user = await ask(
        lambda req: req.json(StructUser),
        "POST",
        content=b'{"name": "ada"}',
        headers=JSON,
        app=Nardis(json=Codec()),
    )

    assert user == StructUser("ada")
