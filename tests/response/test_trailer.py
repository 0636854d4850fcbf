"""`res.trailer()`: fields behind the body (RFC 9110 §6.5)."""

import hashlib

import pytest

from nardis import Nardis
from nardis.errors import FieldError, HeadersAlreadySent, UsageError
from nardis.testing import Client

pytestmark = pytest.mark.anyio

OFFERED = {"extensions": {"http.response.trailers": {}}}


async def checksum(req, res):
    digest = hashlib.sha256()
    res.trailer("X-Checksum", "")
    for piece in (b"a", b"b"):
        digest.update(piece)
        await res.write(piece)
    res.trailer("x-checksum", digest.hexdigest())


async def test_a_value_can_follow_from_the_body(serve):
    response = await serve(checksum, client=OFFERED)
    assert response.headers["trailer"] == "x-checksum"
    assert response.trailers["x-checksum"] == hashlib.sha256(b"ab").hexdigest()
    assert response.complete


async def test_an_answer_in_one_piece_can_have_them(serve):
    async def handler(req, res):
        await res.trailer("x-a", 1).trailer("x-b", "2").trailer("x-a", "3").send("whole")

    response = await serve(handler, client=OFFERED)
    assert (response.text, response.headers["trailer"]) == ("whole", "x-b, x-a")
    assert dict(response.trailers) == {"x-b": "2", "x-a": "3"}


async def test_large_answers_have_them_too(serve):
    async def handler(req, res):
        await res.trailer("x-a", "1").send(b"x" * 200_000)

    response = await serve(handler, client=OFFERED)
    assert (len(response.content), dict(response.trailers)) == (200_000, {"x-a": "1"})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_where_there_is_no_body_nothing_stands_behind_it(serve, method):
    async def handler(req, res):
        await res.trailer("x-a", "1").status(204 if method == "GET" else 200).send("x")

    response = await serve(handler, method, client=OFFERED)
    assert (response.complete, dict(response.trailers)) == (True, {})


async def test_a_head_route_that_streams_has_none(serve):
    response = await serve(checksum, "HEAD", client=OFFERED)
    assert (response.complete, dict(response.trailers)) == (True, {})


async def test_a_response_that_failed_has_none(seen_by_client):
    async def handler(req, res):
        res.trailer("x-a", "1")
        await res.write("half")
        raise KeyError

    response = await seen_by_client(handler, client=OFFERED)
    assert (response.complete, dict(response.trailers)) == (False, {})


async def test_the_answer_to_an_error_has_none(seen_by_client):
    async def handler(req, res):
        res.trailer("x-a", "1")
        raise KeyError

    response = await seen_by_client(handler, client=OFFERED)
    assert (response.status_code, "trailer" in response.headers) == (500, False)
    assert dict(response.trailers) == {}


async def test_nor_where_the_field_was_taken_back(seen_by_client):
    async def handler(req, res):
        res.trailer("x-a", "1").remove("trailer")
        raise KeyError

    response = await seen_by_client(handler, client=OFFERED)
    assert (response.status_code, dict(response.trailers)) == (500, {})


async def test_an_abort_before_the_head_has_none(seen_by_client):
    async def handler(req, res):
        await res.trailer("x-a", "1").abort()

    response = await seen_by_client(handler, client=OFFERED)
    assert (response.status_code, dict(response.trailers)) == (500, {})


async def test_what_the_head_did_not_announce_comes_too_late(failure):
    async def handler(req, res):
        await res.write("x")
        res.trailer("x-a", "1")

    error = await failure(handler, client=OFFERED)
    assert isinstance(error, HeadersAlreadySent)
    assert "x-a" in str(error)


async def test_after_the_end_it_is_too_late_for_all(failure):
    async def handler(req, res):
        await res.trailer("x-a", "1").end("x")
        res.trailer("x-a", "2")

    app = Nardis()
    app.get("/", handler)
    async with Client(app, raise_app_errors=False, **OFFERED) as client:
        response = await client.get("/")
    assert dict(response.trailers) == {"x-a": "1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("content-length", "3"), ("Set-Cookie", "a=1"), ("trailer", "x"), ("a b", "1"), ("a", "\r")],
)
async def test_what_a_client_needs_before_the_body_is_no_trailer(failure, name, value):
    async def handler(req, res):
        res.trailer(name, value)

    assert isinstance(await failure(handler, client=OFFERED), FieldError)


async def test_a_server_without_trailers_is_told_of(failure):
    async def handler(req, res):
        res.trailer("x-a", "1")

    error = await failure(handler)
    assert isinstance(error, UsageError)
    assert "nardis serve" in str(error)
