"""`res.type()`."""

import pytest

from nardis.errors import FieldError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("html", "text/html; charset=utf-8"),
        (".png", "image/png"),
        ("json", "application/json; charset=utf-8"),
        ("text/plain", "text/plain; charset=utf-8"),
        ("image/png", "image/png"),
        ("text/csv; charset=latin-1", "text/csv; charset=latin-1"),
    ],
)
async def test_type_takes_an_extension_or_a_media_type(serve, given, sent):
    async def handler(req, res):
        assert res.type(given) is res
        await res.send(b"x")

    assert (await serve(handler)).headers["content-type"] == sent


async def test_the_last_type_wins(serve):
    async def handler(req, res):
        await res.type("html").type("png").send(b"x")

    assert (await serve(handler)).headers.get_all("content-type") == ["image/png"]


@pytest.mark.parametrize("given", ["text/html\r\nset-cookie: sid=1", "a/b\0", "text/\u20ac"])
async def test_a_type_that_no_field_may_have_is_refused(serve, given):
    """It may be what a client said of its file, and must not become a second line of the head."""

    async def handler(req, res):
        with pytest.raises(FieldError, match="content-type"):
            res.type(given)
        await res.send(b"x")

    answer = await serve(handler)
    assert answer.headers["content-type"] == "application/octet-stream"
