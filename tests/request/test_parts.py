"""`req.parts()`: the parts of a form as they arrive; the shared cases, through the whole stack."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import anyio
import pytest

from nardis import HTTPError, Limits, Nardis
from nardis.errors import BodyAlreadyRead
from nardis.testing import AppError, Client

pytestmark = pytest.mark.anyio

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "multipart_cases.json").read_text())[
    "cases"
]
HEAD = b'Content-Disposition: form-data; name="%b"; filename="%b"\r\n\r\n'
HEADERS = {"content-type": "multipart/form-data; boundary=B"}


def body_of(case):
    if "body_b64" in case:
        return base64.b64decode(case["body_b64"])
    return b"".join(
        base64.b64decode(each["b64"]) * each.get("repeat", 1) for each in case["body_gen"]
    )


def contract():
    """Return the application that the cases are written for."""
    app = Nardis(limits=Limits(streamed_body_bytes=67108864))

    @app.post("/multipart")
    async def multipart(req, res):
        parts = []
        async for part in req.parts():
            digest, size = hashlib.sha256(), 0
            async for chunk in part:
                digest.update(chunk)
                size += len(chunk)
            parts.append(
                {
                    "name": part.name,
                    "filename": part.filename,
                    "content_type": part.content_type,
                    "size": size,
                    "sha256": digest.hexdigest(),
                }
            )
        await res.json({"parts": parts})

    @app.error(HTTPError)
    async def failed(err, req, res):
        await res.status(err.status).json({"error": type(err).__name__})

    return app


def fits(expect, status, parts):
    if "one_of" in expect:
        return any(fits(each, status, parts) for each in expect["one_of"])
    expected = [
        {name: value for name, value in part.items() if name != "body_b64"}
        for part in expect.get("parts", [])
    ]
    return status in expect["status"] and ("parts" not in expect or parts == expected)


async def pieces(body, size):
    for at in range(0, len(body), size):
        yield body[at : at + size]


@pytest.mark.parametrize("size", [None, 65536])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
async def test_the_shared_cases(case, size):
    body = body_of(case)
    content = body if size is None else pieces(body, size)
    async with Client(contract()) as client:
        headers = {"content-type": case["content_type"]}
        answer = await client.post("/multipart", content=content, headers=headers)

    assert fits(case["expect"], answer.status_code, answer.json().get("parts")), answer


async def test_a_part_is_seen_before_the_next_one_is_sent():
    app, seen = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        async for part in req.parts():
            content = await part.bytes()
            seen.append((part.name, content))
        await res.json(len(seen))

    async with Client(app) as client, client.stream("POST", "/", headers=HEADERS) as response:
        await response.send(b"--B\r\n" + HEAD % (b"one", b"1") + b"first\r\n--B\r\n")
        await anyio.wait_all_tasks_blocked()
        assert seen == [("one", b"first")]
        await response.send(HEAD % (b"two", b"2") + b"second\r\n--B--\r\n")
        await response.end()
        assert await response.read() == b"2"


async def test_nothing_is_taken_that_nobody_reads():
    """Backpressure: a handler that waits in a part holds the client."""
    app, going = Nardis(), anyio.Event()

    @app.post("/")
    async def handler(req, res):
        part = await anext(req.parts())
        await anext(part)
        await going.wait()
        await res.end()

    async with Client(app) as client, client.stream("POST", "/", headers=HEADERS) as response:
        await response.send(b"--B\r\n" + HEAD % (b"one", b"1") + b"first")
        with anyio.move_on_after(0.05) as waited:
            while True:
                await response.send(bytes(1000))
        going.set()
        await response.head()

    assert waited.cancelled_caught


async def test_a_handler_may_stop_half_way():
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        part = await anext(req.parts())
        await res.send(part.name)

    async with Client(app) as client:
        answer = await client.post("/", files=[("a", b"1"), ("b", b"2")])

    assert answer.text == "a"


@pytest.mark.parametrize("limit", [None, 50])
async def test_a_form_over_its_limit_is_a_413(limit):
    app = Nardis(limits=Limits(streamed_body_bytes=50 if limit is None else 1000))

    @app.post("/")
    async def handler(req, res):
        [await part.bytes() async for part in req.parts(limit=limit)]

    async with Client(app) as client:
        assert (await client.post("/", files={"a": bytes(200)})).status_code == 413


async def test_a_body_that_was_read_has_no_parts():
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        await anext(aiter(req))
        req.parts()

    with pytest.raises(AppError) as caught:
        async with Client(app) as client:
            await client.post("/", files={"a": b"1"})
    assert isinstance(caught.value.__cause__, BodyAlreadyRead)


@pytest.mark.parametrize(
    "read",
    [
        lambda req: req.parts(),
        lambda req: req.form(),
        lambda req: req.bytes(),
        lambda req: req.text(),
        lambda req: req.save("/tmp/nowhere"),
        lambda req: anext(aiter(req)),
        lambda req: req.body.receive(),
    ],
    ids=["parts", "form", "bytes", "text", "save", "iteration", "body"],
)
async def test_parts_have_the_body_for_themselves(read):
    """Another reader would take pieces of it, and a form without them would look whole."""
    app, names = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        parts = req.parts()
        async for part in parts:
            names.append(part.name)
            with pytest.raises(BodyAlreadyRead, match="belongs to req.parts()"):
                await read(req)
        await res.end()

    async with Client(app) as client:
        await client.post("/", files=[("a", b"1"), ("b", b"2")])

    assert names == ["a", "b"]


async def test_a_stream_that_was_there_before_has_nothing_of_it():
    app, names = Nardis(), []

    @app.post("/")
    async def handler(req, res):
        body = req.body
        async for part in req.parts():
            names.append(part.name)
            with pytest.raises(BodyAlreadyRead):
                await body.receive()
        await res.end()

    async with Client(app) as client:
        await client.post("/", files=[("a", b"1"), ("b", b"2")])

    assert names == ["a", "b"]


@pytest.mark.parametrize("most", [None, 10_000])
async def test_a_limit_holds_behind_the_limits_of_a_route(most):
    """A middleware begins to read, and the route has limits of its own."""
    app = Nardis()

    @app.use
    async def reads(req, res, next):
        req.state.parts = req.parts(limit=100)
        await next()

    @app.post("/", limits=Limits(streamed_body_bytes=most))
    async def handler(req, res):
        [await part.bytes() async for part in req.state.parts]

    async with Client(app) as client:
        assert (await client.post("/", files={"a": bytes(500)})).status_code == 413


async def test_a_client_that_leaves_ends_the_handler_and_no_part_is_short():
    app, ended, whole = Nardis(), anyio.Event(), []

    @app.post("/")
    async def handler(req, res):
        try:
            whole.extend([await part.bytes() async for part in req.parts()])
        finally:
            ended.set()

    async with Client(app) as client, client.stream("POST", "/", headers=HEADERS) as response:
        await response.send(b"--B\r\n" + HEAD % (b"one", b"1") + b"fir")
        await response.disconnect()
        with anyio.fail_after(20):
            await ended.wait()

    assert whole == []


async def test_a_part_is_saved_whole_or_not_at_all(tmp_path):
    app = Nardis()

    @app.post("/")
    async def handler(req, res):
        sizes = [await part.save(tmp_path / part.name) async for part in req.parts()]
        await res.json(sizes)

    files = [("a", bytes(700_000)), ("b", b"")]
    async with Client(app) as client:
        assert (await client.post("/", files=files)).json() == [700_000, 0]
        cut = b"--B\r\n" + HEAD % (b"c", b"c") + bytes(700_000)
        assert (await client.post("/", content=cut, headers=HEADERS)).status_code == 400

    assert {each.name: each.stat().st_size for each in tmp_path.iterdir()} == {"a": 700_000, "b": 0}
