"""One reader at a time, and once: any other is refused with a sentence that says what to do."""

import anyio
import pytest

from nardis import Nardis
from nardis.errors import BodyAlreadyRead
from nardis.testing import Client

pytestmark = pytest.mark.anyio


def pieces(*chunks):
    async def upload():
        for chunk in chunks:
            yield chunk

    return upload()


async def stream(req):
    return [chunk async for chunk in req]


async def one_chunk(req):
    async for chunk in req:
        return chunk
    raise AssertionError("the body is empty")  # pragma: no cover: it never is


GATHER = [
    pytest.param(lambda req: req.bytes(), id="bytes"),
    pytest.param(lambda req: req.text(), id="text"),
    pytest.param(lambda req: req.json(), id="json"),
]


async def test_two_tasks_at_once_are_refused():
    app, errors = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        async def read():
            try:
                await req.body.receive()
            except BodyAlreadyRead as exc:
                errors.append(str(exc))

        async with anyio.create_task_group() as tg:
            tg.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            tg.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await res.flush()
        await res.end()

    async with Client(app) as client, client.stream("POST", "/") as response:
        await response.head()
        await response.send(b"x")
        await response.read()

    assert len(errors) == 1
    assert "two tasks" in errors[0]
    assert "one reader" in errors[0]


async def test_two_tasks_in_turn_are_fine(ask):
    """One hands over to the other: there is never more than one at a time."""

    async def read(req):
        chunks = []

        async def take():
            chunks.append(await req.body.receive())

        for _ in range(2):
            async with anyio.create_task_group() as tg:
                tg.start_soon(take)
        return chunks

    assert await ask(read, "POST", content=pieces(b"a", b"b")) == [b"a", b"b"]


async def test_iterating_twice_is_refused(failure):
    async def twice(req):
        await stream(req)
        await stream(req)

    error = await failure(twice, "POST", content=b"[]")

    assert isinstance(error, BodyAlreadyRead)
    assert "read to its end before" in str(error)
    assert "req.bytes()" in str(error)


@pytest.mark.parametrize("gather", GATHER)
async def test_gathering_what_was_streamed_is_refused(failure, gather):
    async def mixed(req):
        await stream(req)
        await gather(req)

    error = await failure(mixed, "POST", content=b"[]")

    assert isinstance(error, BodyAlreadyRead)
    assert "already read as a stream" in str(error)


@pytest.mark.parametrize("gather", GATHER)
async def test_gathering_the_rest_of_a_stream_is_refused(failure, gather):
    """It would look like the whole body."""

    async def mixed(req):
        await one_chunk(req)
        await gather(req)

    error = await failure(mixed, "POST", content=pieces(b"[", b"]"))

    assert isinstance(error, BodyAlreadyRead)
    assert "either" in str(error)


async def test_gathering_a_closed_body_is_refused(failure):
    async def mixed(req):
        await req.body.aclose()
        await req.bytes()

    assert isinstance(await failure(mixed, "POST", content=b"[]"), BodyAlreadyRead)


@pytest.mark.parametrize("gather", GATHER)
async def test_streaming_what_was_gathered_is_refused(failure, gather):
    async def mixed(req):
        await gather(req)
        await stream(req)

    error = await failure(mixed, "POST", content=b"[]")

    assert isinstance(error, BodyAlreadyRead)
    assert "gathered" in str(error)
    assert "it is kept" in str(error)


async def test_streaming_what_was_gathered_is_refused_by_a_stream_made_before_too(failure):
    async def mixed(req):
        body = req.body
        await req.bytes()
        async for _ in body:
            raise AssertionError("there is nothing left")  # pragma: no cover: it is refused

    assert isinstance(await failure(mixed, "POST", content=b"[]"), BodyAlreadyRead)


async def test_gathering_in_several_forms_is_fine(ask):
    async def read(req):
        return await req.text(), await req.bytes(), await req.json()

    assert await ask(read, "POST", content=pieces(b"[", b"1]")) == ("[1]", b"[1]", [1])
