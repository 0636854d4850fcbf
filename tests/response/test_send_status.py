"""`await res.send_status()`."""

import pytest

from nardis import UsageError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (200, "OK"),
        (201, "Created"),
        (404, "Not Found"),
        (418, "I'm a Teapot"),
        (299, "299"),
        (500, "Internal Server Error"),
    ],
)
async def test_send_status_sends_the_reason_as_text(serve, code, text):
    async def handler(req, res):
        await res.send_status(code)

    response = await serve(handler)

    assert (response.status_code, response.text) == (code, text)
    assert response.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("code", [204, 304])
async def test_a_status_without_a_body_has_none(serve, code):
    async def handler(req, res):
        await res.send_status(code)

    response = await serve(handler)

    assert (response.status_code, response.content, response.headers.pairs()) == (code, b"", [])


async def test_a_bad_status_is_refused(failure):
    async def handler(req, res):
        await res.send_status("404")

    assert isinstance(await failure(handler), UsageError)
