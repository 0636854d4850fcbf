"""`req.save()`: the raw body as a file, whole or not at all."""

from __future__ import annotations

import gzip
from random import Random

import anyio
import pytest

from nardis import Limits, Nardis
from nardis.errors import BodyAlreadyRead
from nardis.testing import AppError, Client

pytestmark = pytest.mark.anyio

LARGE = Random(1).randbytes(1_280_000)


@pytest.fixture
def app(tmp_path):
    app = Nardis(limits=Limits(streamed_body_bytes=2_000_000))

    @app.put("/")
    async def handler(req, res):
        if "content-encoding" in req.headers:
            req.decode_content()
        limit = req.query.get("limit")
        size = await req.save(tmp_path / "file", None if limit is None else int(limit))
        await res.json(size)

    return app


@pytest.mark.parametrize("content", [b"", b"abc", LARGE])
async def test_the_body_becomes_the_file(app, tmp_path, content):
    async with Client(app) as client:
        assert (await client.put("/", content=content)).json() == len(content)

    assert (tmp_path / "file").read_bytes() == content


async def test_what_comes_is_decoded_where_the_handler_says_so(app, tmp_path):
    async with Client(app) as client:
        headers = {"content-encoding": "gzip"}
        assert (await client.put("/", content=gzip.compress(LARGE), headers=headers)).json() == len(
            LARGE
        )

    assert (tmp_path / "file").read_bytes() == LARGE


@pytest.mark.parametrize(("url", "size"), [("/?limit=10", 11), ("/", 2_000_001)])
async def test_over_a_limit_nothing_is_saved(app, tmp_path, url, size):
    async with Client(app) as client:
        assert (await client.put(url, content=bytes(size))).status_code == 413

    assert list(tmp_path.iterdir()) == []


async def test_the_limits_hold_as_before_behind_it(tmp_path):
    app, limits = Nardis(limits=Limits(streamed_body_bytes=50)), []

    @app.put("/")
    async def handler(req, res):
        await req.save(tmp_path / "file", 10)
        limits.append(req.exchange.open_body().limit)
        await res.end()

    async with Client(app) as client:
        await client.put("/", content=b"abc")

    assert limits == [50]


async def test_a_client_that_leaves_leaves_nothing(app, tmp_path):
    (tmp_path / "file").write_bytes(b"as before")
    async with Client(app) as client, client.stream("PUT", "/") as response:
        for _ in range(12):
            await response.send(bytes(65536))
        await response.disconnect()

    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"as before"]


async def test_a_body_that_was_gathered_is_saved(tmp_path):
    app = Nardis()

    @app.put("/")
    async def handler(req, res):
        await req.bytes()
        assert await req.save(tmp_path / "one") == 3
        assert await req.save(tmp_path / "two", 2) == 3

    async with Client(app) as client:
        assert (await client.put("/", content=b"abc")).status_code == 413

    assert [each.read_bytes() for each in tmp_path.iterdir()] == [b"abc"]


async def test_a_body_that_was_read_cannot_be_saved(tmp_path):
    app = Nardis()

    @app.put("/")
    async def handler(req, res):
        await anext(aiter(req))
        await req.save(tmp_path / "file")

    with pytest.raises(AppError) as caught:
        async with Client(app) as client:
            await client.put("/", content=b"abc")
    assert isinstance(caught.value.__cause__, BodyAlreadyRead)
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_is_missing_is_an_error_of_the_program(tmp_path):
    app = Nardis()

    @app.put("/")
    async def handler(req, res):
        with pytest.raises(FileNotFoundError):
            await req.save(tmp_path / "missing" / "file")
        await res.status(507).end()

    with anyio.fail_after(20):
        async with Client(app) as client:
            assert (await client.put("/", content=b"abc")).status_code == 507
