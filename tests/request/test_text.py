"""`await req.text()`: the body decoded by its charset."""

import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("content_type", "content", "text"),
    [
        ("text/plain", "häß €".encode(), "häß €"),
        ("text/plain; charset=utf-8", "€".encode(), "€"),
        ("text/plain; charset=ISO-8859-1", b"caf\xe9", "café"),
        ('text/plain; charset="utf-16"', "€".encode("utf-16"), "€"),
        ("application/octet-stream", b"x", "x"),
    ],
)
async def test_text_is_decoded_by_the_charset_of_the_content_type(ask, content_type, content, text):
    assert (
        await ask(
            lambda req: req.text(), "POST", content=content, headers={"content-type": content_type}
        )
        == text
    )


async def test_text_without_a_content_type_is_utf_8(ask):
    assert await ask(lambda req: req.text(), "POST", content="€".encode()) == "€"


async def test_a_chunk_border_inside_a_character_is_no_matter(ask):
    async def pieces():
        yield b"\xe2\x82"
        yield b"\xac"

    assert await ask(lambda req: req.text(), "POST", content=pieces()) == "€"


@pytest.mark.parametrize(
    ("charset", "content"), [("utf-8", b"caf\xe9"), ("ascii", b"\x80"), ("utf-16", b"\x00")]
)
async def test_bytes_that_do_not_fit_the_charset_are_a_400(refusal, charset, content):
    response = await refusal(
        lambda req: req.text(),
        "POST",
        content=content,
        headers={"content-type": f"text/plain; charset={charset}"},
    )

    assert response.status_code == 400
    assert charset in response.text


@pytest.mark.parametrize(
    "charset",
    ["klingon", "hex", "rot13", "zlib", "undefined", "idna", "punycode", "unicode_escape"],
)
async def test_a_charset_that_is_none_is_a_415(refusal, charset):
    """Some codecs of Python are no charsets: they raise own errors, or run code on escapes."""
    response = await refusal(
        lambda req: req.text(),
        "POST",
        content=b"\\d\xff",
        headers={"content-type": f"text/plain; charset={charset}"},
    )

    assert response.status_code == 415
    assert charset in response.text


async def test_text_keeps_the_limit(refusal):
    assert (await refusal(lambda req: req.text(2), "POST", content=b"abc")).status_code == 413
