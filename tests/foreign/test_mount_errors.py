"""Errors and faults of a mounted application, which never look whole."""

import pytest

from nardis import Nardis
from nardis.errors import (
    ContentLengthMismatch,
    FieldError,
    NoResponse,
    ResponseAborted,
    ResponseAlreadyEnded,
    UsageError,
)
from nardis.testing import AppError, Client
from tests.foreign.applications import mounted
from tests.peers.asgi import body, says, start

pytestmark = pytest.mark.anyio


async def test_an_error_is_answered_like_that_of_a_handler():
    app = Nardis()

    async def fails(scope, receive, send):
        raise KeyError("k")

    @app.error(KeyError)
    async def missing(err, req, res):
        await res.status(404).send(f"{err}")

    app.mount("/", fails)
    async with Client(app) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (404, "'k'")


async def test_an_error_past_the_head_cuts_the_response(caplog):
    async def fails(scope, receive, send):
        await send(start())
        await send(body(b"half", True))
        raise KeyError("k")

    async with Client(mounted(fails), raise_app_errors=False) as client:
        response = await client.get("/legacy")
    assert (response.content, response.complete) == (b"half", False)
    assert "truncated=True" in caplog.text


async def test_ending_in_a_finally_does_not_make_a_failure_whole(caplog):
    async def fails(scope, receive, send):
        await send(start())
        try:
            await send(body(b"half", True))
            raise KeyError("k")
        finally:
            await send(body())

    async with Client(mounted(fails), raise_app_errors=False) as client:
        response = await client.get("/legacy")
    assert (response.content, response.complete) == (b"half", False)


async def test_ending_in_an_except_counts_when_the_application_returns():
    async def recovers(scope, receive, send):
        await send(start())
        await send(body(b"half", True))
        try:
            raise KeyError("k")
        except KeyError:
            await send(body(b" and half"))

    async with Client(mounted(recovers)) as client:
        response = await client.get("/legacy")
    assert (response.content, response.complete) == (b"half and half", True)


@pytest.mark.parametrize(
    ("messages", "error", "status"),
    [
        ([], NoResponse, 500),
        ([start()], NoResponse, 500),
        ([body()], UsageError, 500),
        ([start(), start()], UsageError, 500),
        ([start(), {"type": "http.response.trailers"}], UsageError, 500),
        ([start(100)], UsageError, 500),
        ([start(200, (b"x y", b"1"))], FieldError, 500),
        ([start(200, (b"x", b"1\r\ny: 2"))], FieldError, 500),
        ([start(200, (b"content-length", b"x"))], FieldError, 500),
        ([start(200, (b"content-length", b"1"), (b"content-length", b"2"))], FieldError, 500),
        ([start(200, (b"content-length", b"5")), body(b"four")], ContentLengthMismatch, 500),
        ([start(200, (b"content-length", b"3")), body(b"four", True)], ContentLengthMismatch, 500),
        ([start(), body({}, True)], UsageError, 500),
        ([start(), body(b"half", True)], UsageError, 200),
        (
            [start(200, (b"content-length", b"5")), body(b"four", True), body()],
            ContentLengthMismatch,
            200,
        ),
        (
            [start(200, (b"content-length", b"5")), body(b"four", True), body(b"four", True)],
            ContentLengthMismatch,
            200,
        ),
        ([start(), body(b"whole"), body(b"more")], ResponseAlreadyEnded, 200),
    ],
)
async def test_a_fault_is_an_error_where_it_is_made_and_never_looks_whole(messages, error, status):
    """
    ASGI's order, HTTP's fields and the length are looked after: before the head it is a 500, past
    it a cut.
    """
    async with Client(mounted(says(*messages))) as client:
        with pytest.raises(AppError) as raised:
            await client.get("/legacy")
        assert isinstance(raised.value.__cause__, error), raised.value.__cause__
    async with Client(mounted(says(*messages)), raise_app_errors=False) as client:
        response = await client.get("/legacy")
        assert response.status_code == status
        assert response.complete == (status == 500 or error is ResponseAlreadyEnded)


async def test_a_fault_that_is_swallowed_cuts_all_the_same():
    """A piece was refused, so what would follow it has a gap before it."""

    async def swallows(scope, receive, send):
        await send(start(200, (b"content-length", b"5")))
        await send(body(b"1234", True))
        for message in (body(b"56", True), body(b"5")):
            try:
                await send(message)
            except UsageError:
                errors.append("usage")
            except ResponseAborted:
                errors.append("aborted")

    errors = []
    async with Client(mounted(swallows), raise_app_errors=False) as client:
        response = await client.get("/legacy")
    assert errors == ["usage", "aborted"]
    assert (response.content, response.complete) == (b"1234", False)


async def test_a_fault_in_the_head_can_be_made_good():
    async def recovers(scope, receive, send):
        with pytest.raises(FieldError):
            await send(start(200, (b"x y", b"1")))
        await says(start(500), body(b"sorry"))(scope, receive, send)

    async with Client(mounted(recovers)) as client:
        response = await client.get("/legacy")
    assert (response.status_code, response.text) == (500, "sorry")


async def test_an_error_after_the_end_is_logged(caplog):
    async def fails(scope, receive, send):
        await says(start(), body(b"whole"))(scope, receive, send)
        raise KeyError("k")

    async with Client(mounted(fails), raise_app_errors=False) as client:
        response = await client.get("/legacy")
    assert (response.text, response.complete) == ("whole", True)
    assert "failed after its end" in caplog.text
