"""`await req.json()`: strict JSON, within limits; anything else is the client's fault and says so."""

import json
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nardis import HTTPError, Limits, Nardis
from nardis.request import decode_json
from nardis.testing import Client

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("value", [{"a": [1, 2.5, "€", None, True]}, [], "text", 0, None, False, {"": {}}])
async def test_json_gives_the_value(ask, value):
    assert await ask(lambda req: req.json(), "POST", content=json.dumps(value).encode(), headers=JSON) == value


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "application/problem+json", "Application/JSON"]
)
async def test_json_types_are_read(ask, content_type):
    assert await ask(lambda req: req.json(), "POST", content=b"[1]", headers={"content-type": content_type}) == [1]


async def test_a_body_without_a_content_type_is_read_as_json(ask):
    assert await ask(lambda req: req.json(), "POST", content=b"[1]") == [1]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "nonsense", ""])
async def test_another_content_type_is_a_415(refusal, content_type):
    """Also because a browser sends these across origins without asking first."""
    response = await refusal(lambda req: req.json(), "POST", content=b"[1]", headers={"content-type": content_type})

    assert response.status_code == 415
    assert "JSON" in response.text


async def test_the_415_comes_before_the_body_is_read():
    app, pulled = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        with pytest.raises(HTTPError):
            await req.json()
        await res.send({"pulled": len(pulled)})

    async def upload():
        pulled.append(1)
        yield b"[]"

    async with Client(app) as client:
        response = await client.post("/", content=upload(), headers={"content-type": "text/plain"})

    assert response.json() == {"pulled": 0}


MALFORMED = [
    b"",
    b" ",
    b"{",
    b"[1,]",
    b"{'a': 1}",
    b'{"a": 1,}',
    b"[1] [2]",
    b"01",
    b"+1",
    b".5",
    b"1.",
    b"NaN",
    b"[Infinity]",
    b'{"a": -Infinity}',
    b"nul",
    b'"tab\there"',
    b'"\\x41"',
    b"// comment\n1",
    b'"\xff"',
    b'"\xed\xa0\x80"',
    b"\xef\xbb\xbf[]",
    "[1]".encode("utf-16"),
    "[1]".encode("utf-32-le"),
    b"1" * 5000,
    b"[" * 201 + b"]" * 201,
    b'{"a":' * 201 + b"1" + b"}" * 201,
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
]


@pytest.mark.parametrize("content", MALFORMED, ids=lambda content: repr(content[:20]))
async def test_anything_that_is_not_json_is_a_400(refusal, content):
    response = await refusal(lambda req: req.json(), "POST", content=content, headers=JSON)

    assert response.status_code == 400
    assert "JSON" in response.text


async def test_the_400_of_a_syntax_error_says_where_it_is(refusal):
    response = await refusal(lambda req: req.json(), "POST", content=b'{"a": 1,\n "b" 2}', headers=JSON)

    assert "line 2" in response.text


async def test_the_depth_limit_is_the_applications(ask, refusal):
    app = Nardis(limits=Limits(json_depth=2))

    assert await ask(lambda req: req.json(), "POST", content=b"[[1], [2], {}]", headers=JSON, app=app) == [[1], [2], {}]
    response = await refusal(
        lambda req: req.json(), "POST", content=b'[{"a": []}]', headers=JSON, app=Nardis(limits=Limits(json_depth=2))
    )
    assert response.status_code == 400
    assert "2 levels" in response.text


@pytest.mark.parametrize("chunked", [True, False])
async def test_json_keeps_the_limit(refusal, chunked):
    async def pieces():
        yield b"[1"
        yield b"]"

    content = pieces() if chunked else b"[1]"

    assert (await refusal(lambda req: req.json(limit=2), "POST", content=content, headers=JSON)).status_code == 413


async def test_json_is_decoded_from_the_kept_body_each_time(ask):
    """So that nobody sees the changes of another."""

    async def twice(req):
        first = await req.json()
        first.append(2)
        return await req.json()

    assert await ask(twice, "POST", content=b"[1]", headers=JSON) == [1]


class Codec:
    """What `Nardis(json=...)` takes: here one that decodes to tuples."""

    def __init__(self, error=None):
        self.error = error

    def loads(self, data):
        if self.error is not None:
            raise self.error
        return ("decoded", data)

    def dumps(self, obj):
        raise AssertionError  # pragma: no cover: for responses


async def test_the_codec_of_the_application_decodes(ask):
    assert await ask(lambda req: req.json(), "POST", content=b"[1]", headers=JSON, app=Nardis(json=Codec())) == (
        "decoded",
        b"[1]",
    )


async def test_a_module_with_loads_is_a_codec(ask):
    assert await ask(lambda req: req.json(), "POST", content=b"[1]", headers=JSON, app=Nardis(json=json)) == [1]


async def test_the_depth_limit_holds_for_a_codec_too(refusal):
    app = Nardis(json=json, limits=Limits(json_depth=1))

    assert (await refusal(lambda req: req.json(), "POST", content=b"[[]]", headers=JSON, app=app)).status_code == 400


@pytest.mark.parametrize("error", [ValueError("no"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), RecursionError("deep")])
async def test_a_codec_that_refuses_is_a_400(refusal, error):
    app = Nardis(json=Codec(error))

    assert (await refusal(lambda req: req.json(), "POST", content=b"[1]", headers=JSON, app=app)).status_code == 400


# Properties of the decoder -------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def accepted(body, depth=200):
    """False for a 400; any other error passes outward."""
    try:
        decode_json(body, depth)
    except HTTPError as exc:
        if exc.status == 400:
            return False
        raise  # pragma: no cover: there is no other
    return True


@given(st.binary(max_size=60) | st.text(alphabet='[]{}",:0123456789.eE+-truefalsn \\u\t\n', max_size=40).map(str.encode))
@example(b"[" * 100_000)
@example(b"9" * 100_000)
@example(b"1e" + b"9" * 400)
def test_any_bytes_give_a_value_or_a_400(body):
    """And a value only where Python's own decoder, which takes more, gives the same one."""
    if accepted(body):
        assert decode_json(body, 200) == json.loads(body)


@given(json_values)
def test_what_is_json_comes_back_as_it_was(value):
    assert decode_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"), 200) == value


@given(st.integers(1, 60), st.lists(st.booleans(), min_size=60, max_size=60), st.integers(0, 20))
def test_the_depth_limit_is_exact(depth, objects, siblings):
    """Whatever the containers are, and however many lie beside each other."""
    value = 0
    for is_object in objects[:depth]:
        value = {"a": value} if is_object else [value]
    body = json.dumps([*([] for _ in range(siblings)), value]).encode()

    assert accepted(body, depth + 1)
    assert not accepted(body, depth)


@given(st.text(alphabet='[]{}"\\', max_size=30))
def test_brackets_in_a_string_are_no_levels(text):
    assert decode_json(json.dumps(text).encode(), 1) == text


def test_a_depth_beyond_what_python_can_decode_is_a_400():
    assert not accepted(b"[" * 100_000 + b"]" * 100_000, sys.maxsize)
