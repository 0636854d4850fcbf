"""`await req.text()`: the body decoded by its charset."""

import codecs
import encodings
from pkgutil import iter_modules

import pytest

from nardis import HTTPError
from nardis.body import decode_text

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
    [
        *("klingon", "hex", "rot13", "zlib", "undefined", "idna", "punycode", "unicode_escape"),
        *("base64", "bz2", "charmap", "quopri", "raw-unicode-escape", "uu", "mbcs", "aliases"),
        *("__init__", "..", "utf.8", "os"),
    ],
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


@pytest.mark.parametrize(
    ("charset", "codec"),
    [
        ("UTF-8", "utf-8"),
        ("utf8", "utf-8"),
        ("utf_8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("us-ascii", "ascii"),
        ("ANSI_X3.4-1968", "ascii"),
        ("latin-1", "latin-1"),
        ("ISO_8859-1:1987", "latin-1"),
        ("iso8859-15", "iso8859-15"),
        ("windows-1252", "cp1252"),
        ("koi8-r", "koi8-r"),
        ("koi8-u", "koi8-u"),
        ("shift_jis", "shift_jis"),
        ("Shift-JIS", "shift_jis"),
        ("euc-kr", "euc-kr"),
        ("gb18030", "gb18030"),
        ("big5", "big5"),
        ("utf-16le", "utf-16-le"),
        ("macintosh", "mac-roman"),
    ],
)
def test_a_charset_is_known_by_each_of_its_names(charset, codec):
    assert decode_text("ab".encode(codec), charset) == "ab"
    body = bytes(range(0x20, 0x7F, 2)) + bytes(range(0xA1, 0xC0))
    try:
        text = body.decode(codec)
    except UnicodeDecodeError:
        with pytest.raises(HTTPError) as caught:
            decode_text(body, charset)
        assert caught.value.status == 400
    else:
        assert decode_text(body, charset) == text


def test_each_codec_of_python_decodes_or_is_refused():
    """None of them raises something else, whatever the bytes are."""
    ends = {}
    for module in iter_modules(encodings.__path__):
        for body in (b"", b"text", b"\\d\xff\xfe+A-", b"xn--\x80", bytes(range(256))):
            try:
                decode_text(body, module.name)
                ends.setdefault(module.name, set()).add(200)
            except HTTPError as exc:
                ends.setdefault(module.name, set()).add(exc.status)

    refused = {name for name, statuses in ends.items() if 415 in statuses}
    assert all(ends[name] == {415} for name in refused)
    assert len(ends) - len(refused) > 100


def test_charsets_that_nobody_knows_leave_nothing_behind():
    """Python keeps each name and each spelling that it was ever asked for."""
    asked = []
    codecs.register(asked.append)
    try:
        decode_text(b"", "utf-8")
        kept = len(encodings._cache)
        for number in range(1000):
            decode_text(b"x", "utf" + "-" * (number % 60) + "8")
            for name in (f"x-{number}", f"utf-8{number}", f"{number}\u20ac", f"a\0{number}"):
                with pytest.raises(HTTPError):
                    decode_text(b"x", name)
        assert len(encodings._cache) == kept
    finally:
        codecs.unregister(asked.append)
    assert asked == []


@pytest.mark.parametrize("charset", ["x" * 65, "utf" + "-" * 30_000 + "8"])
async def test_a_charset_of_any_length_is_shown_short(refusal, charset):
    response = await refusal(
        lambda req: req.text(),
        "POST",
        content=b"x",
        headers={"content-type": f"text/plain; charset={charset}"},
    )

    assert response.status_code == 415
    assert len(response.text) < 200


async def test_text_keeps_the_limit(refusal):
    assert (await refusal(lambda req: req.text(2), "POST", content=b"abc")).status_code == 413
