"""`res.format()`: one answer in several forms (RFC 9110 §12.5.1)."""

import pytest

from nardis import HTTPError

pytestmark = pytest.mark.anyio


async def as_json(req, res):
    await res.json({"hey": 1})


async def as_html(req, res):
    await res.send("<p>hey</p>")


async def handler(req, res):
    await res.format({"json": as_json, "html": as_html, "text": lambda: res.send("hey")})


@pytest.mark.parametrize(
    ("accept", "content_type", "body"),
    [
        (None, "application/json; charset=utf-8", '{"hey":1}'),
        ("*/*", "application/json; charset=utf-8", '{"hey":1}'),
        ("text/html", "text/html; charset=utf-8", "<p>hey</p>"),
        ("text/*;q=0.5, application/json;q=0.1", "text/html; charset=utf-8", "<p>hey</p>"),
        ("text/plain", "text/plain; charset=utf-8", "hey"),
    ],
)
async def test_format_lets_the_client_choose(serve, accept, content_type, body):
    response = await serve(handler, headers={"accept": accept} if accept else {})
    assert response.headers["content-type"] == content_type
    assert response.headers["vary"] == "Accept"
    assert response.text == body


async def test_a_client_that_takes_none_of_them_gets_a_406(seen_by_client):
    response = await seen_by_client(handler, headers={"accept": "image/png"})
    assert (response.status_code, response.headers["vary"]) == (406, "Accept")
    assert "json, html, text" in response.text


@pytest.mark.parametrize("offers", [{}, {"json": as_json}])
async def test_default_is_for_who_takes_nothing_else(serve, offers):
    async def only(req, res):
        async def default():
            await res.send(b"raw")

        await res.format({**offers, "default": default})

    response = await serve(only, headers={"accept": "image/png"})
    assert (response.status_code, response.content) == (200, b"raw")
    assert response.headers["content-type"] == "application/octet-stream"


async def test_format_of_nothing_is_a_406(failure, seen_by_client):
    async def nothing(req, res):
        await res.format({})

    assert (await seen_by_client(nothing)).status_code == 406


async def test_an_error_in_a_form_is_that_error(seen_by_client):
    async def fails(req, res):
        raise HTTPError(409, "no")

    async def broken(req, res):
        await res.format({"json": fails})

    assert (await seen_by_client(broken)).status_code == 409


async def test_a_verb_that_a_form_forgets_is_named(failure):
    async def forgets(req, res):
        res.json({})

    async def broken(req, res):
        await res.format({"json": forgets})

    assert "res.json" in str(await failure(broken))
