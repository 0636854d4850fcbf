"""`req.ndjson()`: JSON values as they arrive, one in each line."""

import json
import sys
from dataclasses import dataclass
from decimal import Decimal

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nardis import HTTPError, Limits, Nardis, UsageError
from nardis._receiving.lines import Lines, json_reader
from nardis.body import Kept

pytestmark = pytest.mark.anyio


@dataclass
class Row:
    id: int
    name: str = ""


class Model:
    """Validates as pydantic's models do."""

    @classmethod
    def model_validate_json(cls, body):
        return "read by itself", json.loads(body)


def items(*types):
    async def read(req):
        return [item async for item in req.ndjson(*types)]

    return read


def typed(content_type):
    return {"content-type": content_type}


async def test_each_line_is_a_value(ask):
    content = b'{"a": [1]}\r\n\n2\n \t\r\n"\xe2\x82\xac"\nnull'

    assert await ask(items(), "POST", content=content) == [{"a": [1]}, 2, "€", None]


@pytest.mark.parametrize(
    ("type_", "content", "expected"),
    [
        (Row, b'{"id": 1}\n{"id": 2, "name": "b"}\n', [Row(1), Row(2, "b")]),
        (list[int], b"[1]\n[]\n", [[1], []]),
        (Decimal, b"0.10\n1\n", [Decimal("0.10"), Decimal(1)]),
        (Model, b"1\n", [("read by itself", 1)]),
    ],
)
async def test_each_line_is_read_into_the_type(ask, type_, content, expected):
    assert await ask(items(type_), "POST", content=content) == expected


async def test_without_msgspec_it_is_the_same(ask, monkeypatch):
    monkeypatch.setitem(sys.modules, "msgspec", None)

    assert await ask(items(Row), "POST", content=b'{"id": 1}\n') == [Row(1)]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-ndjson",
        "application/ndjson; charset=UTF-8",
        "Application/JSONL",
        "application/x-jsonl",
        "application/jsonlines",
        "application/x-jsonlines",
        "application/json",
    ],
)
async def test_types_of_lines_are_read(ask, content_type):
    assert await ask(items(), "POST", content=b"1", headers=typed(content_type)) == [1]


@pytest.mark.parametrize(
    ("content_type", "said"),
    [
        ("text/plain", "(application/x-ndjson, application/ndjson, "),
        ("", "not an unreadable Content-Type"),
        ("application/x-www-form-urlencoded", "for curl: -H 'content-type: application/x-ndjson'"),
        ("application/x-ndjson; charset=utf-16", "a JSON body is UTF-8"),
    ],
)
async def test_another_type_is_a_415(refusal, content_type, said):
    headers = typed(content_type) | {"accept": "application/problem+json"}

    response = await refusal(items(), "POST", content=b"1", headers=headers)

    assert response.status_code == 415
    assert said in response.json()["detail"]


async def test_after_a_415_the_body_may_be_read_otherwise(ask):
    async def either(req):
        with pytest.raises(HTTPError, match="415"):
            req.ndjson()
        return await req.text()

    assert await ask(either, "POST", content=b"1", headers=typed("text/plain")) == "1"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"1\n\n{]\n", "line 3 is not valid JSON: Expecting property name"),
        (b'{"a":\n1}', "line 1 is not valid JSON: Expecting value: column 6 (char 5)"),
        (b"\xef\xbb\xbf1\n", "line 1 is not valid JSON: it begins with a byte order mark"),
        (b"1\n[\xff]\n", "line 2 is not valid UTF-8"),
        (b"[[[1]]]\n", "line 1 is nested deeper than 2 levels"),
        (b"1e999", "the number 1e999 in line 1 is too great"),
        (b'"\\ud800"', "line 1 has half of a surrogate pair"),
        (b"1\rNaN\n", "line 1 is not valid JSON: Extra data: column 2 (char 1)"),
    ],
)
async def test_a_line_that_is_no_json_is_a_400_with_its_number(ask, content, said):
    async def read(req):
        await req.bytes()  # it is kept, for one reader after the other
        return [await failures(req.ndjson(*types)) for types in [(), (list[list[int]] | int,)]]

    app = Nardis(limits=Limits(json_depth=2))
    for first, again in await ask(read, "POST", app=app, content=content):
        assert said in first.detail
        assert first.status == again.status == 400
        assert first.detail == again.detail
        assert first.extensions == again.extensions
        assert f"line {first.extensions['line']} " in f"{said} "


async def failures(rows):
    """Return the first error, and what the next call raises."""
    with pytest.raises(HTTPError) as first:
        while True:
            await anext(rows)
    with pytest.raises(HTTPError) as again:
        await anext(rows)
    return first.value, again.value


@pytest.mark.parametrize("type_", [Row, msgspec.defstruct("Row", [("id", int), ("name", str, "")])])
async def test_a_line_that_does_not_fit_is_a_422_with_every_fault(refusal, type_):
    response = await refusal(
        items(type_),
        "POST",
        content=b'{"id": 1}\n\n{"id": "x", "name": 5}\n',
        headers={"accept": "application/problem+json"},
    )

    problem = response.json()
    assert response.status_code == problem["status"] == 422
    assert problem["line"] == 3
    assert problem["detail"].startswith("line 3 does not fit: 2 faults, the first at #/id: ")
    assert [fault["pointer"] for fault in problem["errors"]] == ["#/id", "#/name"]


async def test_the_name_of_a_type_is_none(failure):
    error = await failure(items("Row"), "POST", content=b"1")

    assert isinstance(error, UsageError)
    assert str(error) == "'Row' is the name of a type: give the class itself"


async def test_an_error_of_the_program_keeps_its_fields(refusal):
    class Busy:
        @classmethod
        def model_validate_json(cls, body):
            raise HTTPError(503, "not now", headers={"retry-after": "5"}, line="mine")

    response = await refusal(items(Busy), "POST", content=b"1\n")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"


class Taken(HTTPError):
    """Made of other arguments than it has."""

    def __init__(self, id):
        super().__init__(409, f"the body has {id} twice", headers={"x-id": str(id)})


@dataclass
class Unique:
    id: int

    def __post_init__(self):
        if self.id == 2:
            raise Taken(self.id)


class UniqueStruct(msgspec.Struct):
    id: int
    __post_init__ = Unique.__post_init__


class UniqueModel:
    @classmethod
    def model_validate_json(cls, body):
        return Unique(**json.loads(body))


@pytest.mark.parametrize("type_", [Unique, UniqueStruct, UniqueModel])
async def test_an_error_of_the_program_stays_what_it_is(ask, type_):
    """Its class may have an error handler; only errors of our decoders are worded anew."""

    async def read(req):
        return await failures(req.ndjson(type_))

    content = b'{"id": 1}\n{"id": 2}\n{"id": 3}\n'
    for error in await ask(read, "POST", content=content):
        assert type(error) is Taken
        assert (error.status, error.detail) == (409, "the body has 2 twice")
        assert (error.headers, error.extensions) == ({"x-id": "2"}, {"line": 2})


async def test_a_type_is_not_made_twice_for_an_error_of_its_own(failure):
    made = []

    class Counted(msgspec.Struct):
        id: int

        def __post_init__(self):
            made.append(self.id)
            raise LookupError

    error = await failure(items(Counted), "POST", content=b'{"id": 1}')

    assert isinstance(error, LookupError)
    assert made == [1]


async def test_no_error_of_the_program_looks_like_the_end(failure):
    class Exhausted(msgspec.Struct):
        id: int

        def __post_init__(self):
            raise StopAsyncIteration

    error = await failure(items(Exhausted), "POST", content=b'{"id": 1}\n')

    assert isinstance(error, RuntimeError)
    assert isinstance(error.__cause__, StopAsyncIteration)
    assert "what reads line 1 raised" in str(error)


async def test_a_long_line_is_a_413(refusal):
    app = Nardis(limits=Limits(line_bytes=3))

    response = await refusal(items(), "POST", app=app, content=b"100\r\n1000")

    assert response.status_code == 413
    assert "line 2 is longer than the 3 bytes" in response.text


async def test_the_codec_of_the_application_reads_the_lines(ask):
    app = Nardis(json=msgspec.json)

    assert await ask(items(), "POST", app=app, content=b"[1]\n2") == [[1], 2]


async def test_the_codec_may_refuse_a_line(refusal):
    response = await refusal(items(), "POST", app=Nardis(json=msgspec.json), content=b"1\n[")

    assert response.status_code == 400
    assert "line 2 is not valid JSON: Input data was truncated" in response.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\n"), inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(JSON), st.sampled_from(["\n", "\r\n", "\n \n"]), st.booleans())
def test_what_is_written_is_read(values, end, is_ended):
    body = end.join(json.dumps(value, ensure_ascii=False) for value in values) + end * is_ended
    read = json_reader(None, 9, None)

    async def collected():
        return [item async for item in Lines(Kept(body.encode()), 9_999, read, skips_blanks=True)]

    assert anyio.run(collected) == values
