"""`res.on_head()`: sync hooks that run once for every head, last registered first."""

import zlib

import pytest

from nardis import HTTPError, Nardis
from nardis.testing import AppError, Client

pytestmark = pytest.mark.anyio

ANSWERS = {
    "send": lambda res: res.send("x"),
    "json": lambda res: res.json({}),
    "write": lambda res: res.write("x"),
    "flush": lambda res: res.flush(),
    "end": lambda res: res.end(),
    "pipe": lambda res: res.pipe([b"x"]),
    "redirect": lambda res: res.redirect("/"),
    "204": lambda res: res.status(204).send(),
    "304": lambda res: res.status(304).send(),
    "304-write": lambda res: res.status(304).write("x"),
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_a_hook_runs_once_for_every_head(serve, answer, method):
    calls = []

    async def handler(req, res):
        assert res.on_head(lambda: calls.append(res.set("x-hook", "1"))) is res
        await answer(res)

    response = await serve(handler, method)

    assert response.headers["x-hook"] == "1"
    assert len(calls) == 1


async def test_a_hook_runs_once_in_a_response_of_many_writes(serve):
    calls = []

    async def handler(req, res):
        res.on_head(lambda: calls.append(1))
        await res.write("a")
        await res.flush()
        await res.write("b")

    await serve(handler)

    assert calls == [1]


async def test_the_last_registered_runs_first(serve):
    calls = []

    async def handler(req, res):
        res.on_head(lambda: calls.append("outer")).on_head(lambda: calls.append("inner"))
        await res.send()

    await serve(handler)

    assert calls == ["inner", "outer"]


async def test_a_hook_sees_and_changes_what_the_handler_set(serve):
    async def handler(req, res):
        res.on_head(
            lambda: (
                res.status(res.status_code + 1)
                .set("x-type", res.get("content-type"))
                .remove("x-gone")
            )
        )
        await res.status(201).set("x-gone", "1").send("text")

    response = await serve(handler)

    assert response.status_code == 202
    assert response.headers["x-type"] == "text/html; charset=utf-8"
    assert "x-gone" not in response.headers


async def test_a_status_without_a_body_that_a_hook_sets_takes_the_body_away(serve):
    async def handler(req, res):
        res.on_head(lambda: res.status(304))
        await res.send("hello")

    response = await serve(handler)

    assert (response.status_code, response.content) == (304, b"")
    assert list(response.headers) == ["etag"]


async def test_a_hook_may_add_a_filter(serve):
    async def handler(req, res):
        res.on_head(lambda: res.filter(Deflate()))
        await res.send("hello")

    response = await serve(handler)

    assert zlib.decompress(response.content) == b"hello"
    assert "content-length" not in response.headers


class Deflate:
    def __init__(self):
        self._codec = zlib.compressobj()

    def feed(self, data):
        return self._codec.compress(data)

    def finish(self):
        return self._codec.flush()


ERRORS = {
    "404": (404, None),
    "405": (405, None),
    "HTTPError": (403, HTTPError(403)),
    "500": (500, KeyError("x")),
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_hook_of_a_middleware_runs_for_errors_too(name, method):
    status, error = ERRORS[name]
    app, calls = Nardis(), []

    @app.use
    async def hooked(req, res, next):
        res.on_head(lambda: calls.append(res.set("x-hook", str(res.status_code))))
        await next()

    @app.get("/HTTPError")
    @app.get("/500")
    async def fails(req, res):
        raise error

    @app.post("/405")
    async def elsewhere(req, res):
        raise AssertionError  # pragma: no cover: it is for POST

    async with Client(app, raise_app_errors=False) as client:
        response = await client.request(method, f"/{name}")

    assert response.status_code == status
    assert response.headers["x-hook"] == str(status)
    assert len(calls) == 1


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_a_hook_that_raises_makes_it_a_500_without_hooks(failure, seen_by_client, answer):
    calls = []

    async def handler(req, res):
        def broken():
            calls.append("broken")
            raise KeyError("hook")

        res.on_head(lambda: calls.append("never")).on_head(broken)
        await answer(res.set("x-kept", "1"))

    assert isinstance(await failure(handler), KeyError)
    assert calls == ["broken"]
    response = await seen_by_client(handler)
    assert (response.status_code, response.complete) == (500, True)
    assert response.headers["x-kept"] == "1"


async def test_a_hook_that_raises_for_an_error_makes_it_a_500_too():
    app = Nardis()

    @app.use
    async def hooked(req, res, next):
        def broken():
            raise KeyError("hook")

        res.on_head(broken)
        await next()

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/missing")

    assert (response.status_code, response.complete) == (500, True)

    async with Client(app) as client:
        with pytest.raises(AppError) as caught:
            await client.get("/missing")
    assert isinstance(caught.value.__cause__, KeyError)


async def test_an_async_hook_is_refused(failure):
    """It would never be awaited, and what it should have set would be missing without a word."""

    async def handler(req, res):
        async def hook():
            res.set("x-hook", "1")  # pragma: no cover: it never runs

        res.on_head(hook)

    error = await failure(handler)

    assert "on_head" in str(error)
    assert "sync" in str(error)
