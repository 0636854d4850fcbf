"""`NotModified` is a signal: the answer is a 304, and no error handler is asked."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from nardis import Nardis, Router, shielded, wrap
from nardis.errors import NotModified, ResponseAborted
from nardis.testing import Client
from tests.peers.driver import Server, rest

pytestmark = pytest.mark.anyio

FIELDS = {
    "etag": '"1"',
    "last-modified": "Sun, 06 Nov 1994 08:49:37 GMT",
    "cache-control": "max-age=60",
    "expires": "0",
    "vary": "Accept",
    "content-location": "/x.txt",
    "content-security-policy": "default-src 'none'",
    "x-request-id": "7",
}
OF_A_BODY = {
    "content-type": "text/plain",
    "content-length": "3",
    "content-encoding": "gzip",
    "content-language": "en",
    "content-range": "bytes 0-2/3",
}


async def unchanged(req: Any, res: Any) -> None:
    res.set({**FIELDS, **OF_A_BODY})
    raise NotModified


async def passes(req: Any, res: Any, next: Any) -> None:
    await next()


@pytest.mark.parametrize("around", [False, True], ids=["alone", "inside a middleware"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_answer_is_304_with_the_fields_of_no_body(around: bool, method: str) -> None:
    """Those that bring a stored answer up to date are kept (RFC 9110 §15.4.5)."""
    app = Nardis()
    if around:
        app.use(passes)
    app.get("/x", unchanged)

    async with Client(app) as client:
        response = await client.request(method, "/x")

    assert (response.status_code, response.content) == (304, b"")
    assert {name: response.headers.get(name) for name in FIELDS | OF_A_BODY} == {
        **FIELDS,
        **dict.fromkeys(OF_A_BODY),
    }


@pytest.mark.parametrize(("known", "status"), [('"1"', 304), ('"0"', 200)])
async def test_check_preconditions_answers_who_has_the_current_copy(
    known: str, status: int
) -> None:
    """The rest of the handler is not run, and the fields that it set are there."""
    app = Nardis()

    @app.get("/x")
    async def handler(req: Any, res: Any) -> None:
        res.set("etag", '"1"').vary("Accept")
        req.check_preconditions(etag='"1"')
        await res.send("new")

    async with Client(app) as client:
        response = await client.get("/x", headers={"if-none-match": known})

    assert (response.status_code, response.text) == (status, "new" if status == 200 else "")
    assert (response.headers["etag"], response.headers["vary"]) == ('"1"', "Accept")


async def test_no_error_handler_is_asked_and_nothing_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, router, asked = Nardis(), Router(), list[BaseException]()

    @app.error(Exception)
    @router.error(NotModified)
    async def handler(err: Exception, req: Any, res: Any) -> None:
        asked.append(err)  # pragma: no cover - that is the point

    router.get("/x", unchanged)
    app.use("/r", router)

    with caplog.at_level(logging.DEBUG, "nardis"):
        async with Client(app) as client:
            assert (await client.get("/r/x")).status_code == 304
    assert (asked, caplog.records) == ([], [])


async def test_an_error_handler_may_raise_it() -> None:
    app = Nardis()

    @app.get("/x")
    async def fails(req: Any, res: Any) -> None:
        raise KeyError

    @app.error(KeyError)
    async def is_as_before(err: KeyError, req: Any, res: Any) -> None:
        res.set("etag", '"1"')
        raise NotModified from err

    async with Client(app) as client:
        response = await client.get("/x")
    assert (response.status_code, response.headers["etag"]) == (304, '"1"')


async def test_middlewares_around_see_an_answer() -> None:
    """Their `next()` returns, and hooks run as for every head."""
    app, log = Nardis(), list[object]()

    @app.use
    async def watches(req: Any, res: Any, next: Any) -> None:
        res.on_head(lambda: res.set("x-hook", res.status_code))
        await next()
        log.append((res.status_code, res.finished))

    app.get("/x", unchanged)

    async with Client(app) as client:
        assert (await client.get("/x")).headers["x-hook"] == "304"
    assert log == [(304, True)]


async def test_a_middleware_may_raise_it_before_and_behind_next() -> None:
    """Behind an answer that was sent it is an error like any other."""
    app, log = Nardis(), list[bool]()

    @app.use
    async def before(req: Any, res: Any, next: Any) -> None:
        if req.query.get("early"):
            raise NotModified
        await next()
        raise NotModified

    @app.get("/silent")
    async def silent(req: Any, res: Any) -> None:
        log.append(res.started)

    @app.get("/loud")
    async def loud(req: Any, res: Any) -> None:
        await res.send("loud")

    async with Client(app) as client:
        assert (await client.get("/loud?early=1")).status_code == 304
        assert (await client.get("/silent")).status_code == 304
    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/loud")).text == "loud"
    assert log == [False]


async def test_past_the_head_it_cuts_the_response() -> None:
    app = Nardis()

    @app.get("/x")
    async def late(req: Any, res: Any) -> None:
        await res.write("half")
        raise NotModified

    async with Client(app, raise_app_errors=False) as client:
        assert not (await client.get("/x")).complete


async def test_what_was_ended_in_a_finally_does_not_count() -> None:
    app = Nardis()

    @app.get("/x")
    async def ends(req: Any, res: Any) -> None:
        try:
            raise NotModified
        finally:
            await res.end("something")

    async with Client(app) as client:
        response = await client.get("/x")
    assert (response.status_code, response.content) == (304, b"")


async def test_a_head_that_could_not_be_sent_does_not_count() -> None:
    app = Nardis()

    @app.get("/x")
    async def fails_and_finds_out(req: Any, res: Any) -> None:
        res.headers.append("content-length", "many")
        with pytest.raises(ValueError, match="Content-Length"):
            await res.write("x")
        raise NotModified

    async with Client(app) as client:
        response = await client.get("/x")
    assert (response.status_code, response.headers.get("content-length")) == (304, None)


async def test_a_filter_is_fed_nothing_and_weakens_the_etag() -> None:
    """The 200 beside it would have a weak one."""

    class Untouched:
        def feed(self, data: bytes) -> bytes:
            raise NotImplementedError  # pragma: no cover - that is the point

        flush = finish = feed

    app = Nardis()

    @app.get("/x")
    async def filtered(req: Any, res: Any) -> None:
        res.filter(Untouched()).set("etag", '"1"')
        raise NotModified

    async with Client(app) as client:
        response = await client.get("/x")
    assert (response.status_code, response.headers["etag"]) == (304, 'W/"1"')


async def test_it_passes_through_a_foreign_middleware_as_an_answer() -> None:
    class Passing:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    app = Nardis()
    app.use(wrap(Passing))
    app.get("/x", unchanged)

    async with Client(app) as client:
        response = await client.get("/x")
    assert (response.status_code, response.headers["etag"]) == (304, '"1"')


async def test_one_in_a_task_group_is_one() -> None:
    app = Nardis()

    @app.get("/x")
    async def grouped(req: Any, res: Any) -> None:
        async with anyio.create_task_group():
            raise NotModified

    async with Client(app) as client:
        assert (await client.get("/x")).status_code == 304


async def test_for_a_client_that_left_it_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    app, parked = Nardis(), anyio.Event()

    @app.get("/x")
    async def lingers(req: Any, res: Any) -> None:
        with shielded(5):
            await parked.wait()
        raise NotModified

    async with Server(app) as server:
        call = server.call("/x")
        await rest()
        await server.lose(call)
        parked.set()
        await call.wait()

    assert call.untouched
    assert not isinstance(call.error, (NotModified, ResponseAborted))
    assert caplog.records == []
