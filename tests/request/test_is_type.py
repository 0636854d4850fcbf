"""`req.is_type()`: what kind of body came. The rules themselves are tested in `tests/http`."""

import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("sent", "types", "found"),
    [
        ("application/json; charset=utf-8", ("html", "json"), "json"),
        ("application/problem+json", ("+json",), "application/problem+json"),
        ("text/html", ("text/*",), "text/html"),
        ("text/html", ("json",), None),
    ],
)
async def test_is_type_gives_the_entry_that_fits(ask, sent, types, found):
    assert (
        await ask(
            lambda req: req.is_type(*types), "POST", content=b"x", headers={"content-type": sent}
        )
        == found
    )


async def test_a_body_without_a_content_type_is_of_none(ask):
    assert await ask(lambda req: req.is_type("json"), "POST", content=b"x") is None


async def test_a_request_without_a_body_is_of_no_type(ask):
    """Whatever its Content-Type says."""
    assert (
        await ask(lambda req: req.is_type("json"), headers={"content-type": "application/json"})
        is None
    )


@pytest.mark.parametrize(("method", "found"), [("GET", None), ("POST", "json")])
async def test_on_http2_no_field_announces_a_body(ask, method, found):
    headers = {"content-type": "application/json"}

    async def pieces():
        yield b"{}"

    options = {"content": pieces()} if method == "POST" else {}

    async def look(req):
        await req.bytes()
        return req.is_type("json")

    assert (
        await ask(look, method, headers=headers, client={"http_version": "2"}, **options) == found
    )
