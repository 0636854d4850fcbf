"""`res.ndjson()` and `res.json_array()`: items one by one, in a form that shows where it breaks."""

import io
import json
from dataclasses import dataclass

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import Nardis, UsageError
from tests.peers.driver import Gate, Server

pytestmark = pytest.mark.anyio

both = pytest.mark.parametrize("verb", ["ndjson", "json_array"])


@dataclass
class Row:
    number: int


class Items:
    """An async iterator of three items, that fails before one of them, and can be closed."""

    def __init__(self, fails_at=None):
        self.fails_at = fails_at
        self.given = 0
        self.closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        await checkpoint()
        if self.given == self.fails_at:
            raise ValueError("source")
        if self.given == 3:
            raise StopAsyncIteration
        self.given += 1
        return {"n": self.given}

    async def aclose(self):
        self.closed = True


def stepped():
    yield from ({"n": n} for n in (1, 2, 3))


async def asynchronous():
    for n in (1, 2, 3):
        yield {"n": n}


def channel():
    send, receive = anyio.create_memory_object_stream(3)
    with send:
        for n in (1, 2, 3):
            send.send_nowait({"n": n})
    return receive


SOURCES = {
    "list": lambda: [{"n": n} for n in (1, 2, 3)],
    "sync": stepped,
    "async": asynchronous,
    "channel": channel,
    "iterator": Items,
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
async def test_items_come_from_whatever_pipe_takes(serve, source):
    async def lines(req, res):
        await res.ndjson(source())

    async def array(req, res):
        await res.json_array(source())

    assert (await serve(lines)).content == b'{"n":1}\n{"n":2}\n{"n":3}\n'
    assert (await serve(array)).content == b'[{"n":1},{"n":2},{"n":3}]'


@both
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        ([[]], [[]]),
        ([Row(1), None, "a\nb", b"\x00"], [{"number": 1}, None, "a\nb", "AA=="]),
    ],
    ids=["none", "empty", "types"],
)
async def test_items_may_be_all_that_json_takes(serve, verb, given, expected):
    async def handler(req, res):
        await getattr(res, verb)(given)

    response = await serve(handler)

    text = response.text
    found = (
        [json.loads(line) for line in text.splitlines()] if verb == "ndjson" else json.loads(text)
    )
    assert found == expected


@pytest.mark.parametrize(
    ("verb", "media_type"),
    [("ndjson", "application/x-ndjson"), ("json_array", "application/json; charset=utf-8")],
)
async def test_the_type_is_set_unless_there_is_one(serve, verb, media_type):
    async def handler(req, res):
        await getattr(res, verb)([1])

    async def typed(req, res):
        res.type("application/vnd.rows+json")
        await getattr(res, verb)([1])

    assert (await serve(handler)).headers["content-type"] == media_type
    assert (await serve(typed)).headers["content-type"] == "application/vnd.rows+json"


@both
async def test_a_source_that_fails_before_its_first_item_is_an_error(seen_by_client, verb):
    items = Items(fails_at=0)

    async def handler(req, res):
        await getattr(res, verb)(items)

    response = await seen_by_client(handler)

    assert (response.status_code, response.complete, items.closed) == (500, True, True)


@both
async def test_a_source_that_fails_half_way_makes_no_whole_response(seen_by_client, verb):
    items = Items(fails_at=2)

    async def handler(req, res):
        await getattr(res, verb)(items)

    response = await seen_by_client(handler)

    assert (response.status_code, response.complete, items.closed) == (200, False, True)
    assert response.content in (b'{"n":1}\n{"n":2}\n', b'[{"n":1},{"n":2}')


@pytest.mark.parametrize("verb", ["pipe", "ndjson", "json_array"])
@pytest.mark.parametrize("ends", [False, True], ids=["returns", "ends"])
async def test_it_is_cut_also_where_the_handler_catches_what_failed(
    failure, seen_by_client, verb, ends
):
    """It is logged too, though all that a later write says is that the response was cut."""

    async def texts():
        yield "x"
        raise ValueError("source")

    async def handler(req, res):
        with pytest.raises(ValueError, match="source"):
            await getattr(res, verb)(texts())
        if ends:
            await res.end("the rest")

    response = await seen_by_client(handler)

    assert (response.status_code, response.complete) == (200, False)
    assert b"the rest" not in response.content
    assert isinstance(await failure(handler), ValueError)


@both
async def test_a_handler_may_answer_for_a_source_that_fails_before_its_first_item(serve, verb):
    async def handler(req, res):
        try:
            await getattr(res, verb)(Items(fails_at=0))
        except ValueError:
            await res.status(502).type("text").send("no items")

    response = await serve(handler)

    assert (response.status_code, response.text, response.complete) == (502, "no items", True)


@both
async def test_an_item_that_is_no_json_fails_it(seen_by_client, verb):
    async def handler(req, res):
        await getattr(res, verb)([1, float("nan")])

    response = await seen_by_client(handler)

    assert (response.status_code, response.complete) == (200, False)


@both
@pytest.mark.parametrize(
    "given",
    ["text", b"bytes", {"a": 1}, 7, io.StringIO("file")],
    ids=["str", "bytes", "dict", "int", "file"],
)
async def test_what_is_no_iterable_of_items_is_refused(failure, verb, given):
    async def handler(req, res):
        await getattr(res, verb)(given)

    error = await failure(handler)

    assert isinstance(error, UsageError)
    assert verb in str(error)


async def test_a_codec_that_breaks_lines_makes_no_ndjson(failure):
    class Indenting:
        def dumps(self, obj):
            return json.dumps(obj, indent=1)

        loads = staticmethod(json.loads)

    async def handler(req, res):
        await res.ndjson([{"a": 1}])

    error = await failure(handler, app=Nardis(json=Indenting()))

    assert isinstance(error, UsageError)


@both
async def test_head_never_touches_the_items(serve, verb):
    items = Items()

    async def handler(req, res):
        await getattr(res, verb)(items)

    response = await serve(handler, "HEAD")

    assert (response.content, items.given, items.closed) == (b"", 0, True)
    assert "content-type" in response.headers


@both
async def test_an_item_is_asked_for_when_the_last_was_taken(verb):
    app, gate, items = Nardis(), Gate(), Items()

    @app.get("/")
    async def handler(req, res):
        await getattr(res, verb)(items)

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)  # the head, and the first item
        await gate.reached()
        assert items.given == 2
        gate.open()
        await call.wait()


@both
async def test_a_client_that_leaves_closes_the_source(verb):
    app, gate, items = Nardis(), Gate(), Items()

    @app.get("/")
    async def handler(req, res):
        await getattr(res, verb)(items)

    async with Server(app) as server:
        call = server.call("/", on_send=gate)
        await gate.let(2)
        await gate.reached()
        await server.lose(call)
        await call.wait()

    assert items.closed
    assert not call.final
