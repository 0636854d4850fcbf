"""`await res.json()`."""

import json

import pytest

from nardis import Nardis

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("obj", "content"),
    [
        ({"a": [1, 2.5, None, True], "ü": "€"}, '{"a":[1,2.5,null,true],"ü":"€"}'),
        ("text", '"text"'),
        (None, "null"),
        ([], "[]"),
        ({"a": "<&>"}, '{"a":"<&>"}'),
        ({1: "x"}, '{"1":"x"}'),
        ("\u2028 \x7f \x00", '"\u2028 \x7f \\u0000"'),
    ],
)
async def test_json_is_sent_compact_and_in_utf_8(serve, obj, content):
    async def handler(req, res):
        await res.json(obj)

    response = await serve(handler)

    assert response.content == content.encode()
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.headers["content-length"] == str(len(content.encode()))


async def test_json_keeps_status_and_a_type_that_is_set(serve):
    async def handler(req, res):
        await res.status(201).set("content-type", "application/problem+json").json({})

    response = await serve(handler)

    assert (response.status_code, response.headers["content-type"]) == (
        201,
        "application/problem+json",
    )


@pytest.mark.parametrize("obj", [float("nan"), [float("inf")], {"a": -float("inf")}])
async def test_what_is_not_json_is_a_value_error(failure, obj):
    """RFC 8259 §6 has no NaN, and no reader in a browser would take it."""

    async def handler(req, res):
        await res.json(obj)

    assert isinstance(await failure(handler), ValueError)


@pytest.mark.parametrize("obj", [object(), [object()], {"a": len}])
async def test_what_cannot_be_encoded_is_a_type_error(failure, seen_by_client, obj):
    async def handler(req, res):
        await res.json(obj)

    assert isinstance(await failure(handler), TypeError)
    response = await seen_by_client(handler)
    assert (response.status_code, response.complete) == (500, True)


async def test_a_lone_surrogate_is_sent_escaped(serve):
    """UTF-8 cannot write one, JSON can. It comes from a file name, say; never from `req.json()`."""

    async def handler(req, res):
        await res.json(["\ud800"])

    response = await serve(handler)

    assert response.status_code == 200
    assert response.json() == ["\ud800"]


@pytest.mark.parametrize("encoded", ['["str"]', b'["bytes"]'])
async def test_a_codec_may_give_text_or_bytes(serve, encoded):
    class Codec:
        loads = staticmethod(json.loads)

        def dumps(self, obj):
            return encoded

    async def handler(req, res):
        await res.json([])

    assert (await serve(handler, app=Nardis(json=Codec()))).json() == json.loads(encoded)


async def test_the_json_module_is_a_codec(serve):
    async def handler(req, res):
        await res.json({"a": await req.json()})

    response = await serve(handler, "POST", app=Nardis(json=json), json=[1])

    assert response.json() == {"a": [1]}
