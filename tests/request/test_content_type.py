"""`req.content_type`, `req.charset` and `req.content_length`."""

import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("sent", "content_type", "charset"),
    [
        ("text/plain", "text/plain", None),
        ("Text/HTML; Charset=UTF-8", "text/html", "utf-8"),
        ('text/plain; charset="ISO-8859-1"', "text/plain", "iso-8859-1"),
        ("application/json;a=b", "application/json", None),
        ("nonsense", None, None),
        ("", None, None),
    ],
)
async def test_content_type_and_charset_are_in_small_letters(ask, sent, content_type, charset):
    look = await ask(
        lambda req: (req.content_type, req.charset),
        "POST",
        content=b"x",
        headers={"content-type": sent},
    )

    assert look == (content_type, charset)


async def test_without_the_field_both_are_none(ask):
    assert await ask(lambda req: (req.content_type, req.charset)) == (None, None)


async def test_content_length_is_what_the_client_declared(ask):
    assert await ask(lambda req: req.content_length, "POST", content=b"12345") == 5


async def test_content_length_of_a_chunked_body_is_not_known(ask):
    headers = {"transfer-encoding": "chunked"}

    assert (
        await ask(lambda req: req.content_length, "POST", content=b"12345", headers=headers) is None
    )
