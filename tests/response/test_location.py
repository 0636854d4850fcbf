"""`res.location()`; the encoding itself is tested in `tests/http`."""

import pytest

from nardis.errors import FieldError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("/a?b=c", "/a?b=c"),
        ("https://example.org/x", "https://example.org/x"),
        ("/café", "/caf%C3%A9"),
        ("\\\\evil.example", "%5C%5Cevil.example"),
        ("/a\r\nx-evil: 1", "/a%0D%0Ax-evil:%201"),
    ],
)
async def test_location_is_sent_encoded(serve, given, sent):
    async def handler(req, res):
        assert res.location(given) is res
        await res.status(201).send()

    response = await serve(handler)

    assert (response.status_code, response.headers["location"]) == (201, sent)


async def test_a_location_that_is_no_text_is_refused(failure):
    async def handler(req, res):
        res.location(b"/x")

    error = await failure(handler)

    assert isinstance(error, FieldError)
    assert "a str, not bytes" in str(error)
