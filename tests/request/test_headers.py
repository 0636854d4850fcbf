"""`req.headers` and `req.get()`."""

import pytest

pytestmark = pytest.mark.anyio


async def test_headers_are_case_insensitive_and_keep_every_line(ask):
    headers = await ask(
        lambda req: req.headers, headers=[("X-One", "1"), ("accept", "a/b"), ("Accept", "c/d")]
    )

    assert headers["x-ONE"] == "1"
    assert headers["Accept"] == "a/b, c/d"
    assert headers.get_all("accept") == ["a/b", "c/d"]


async def test_headers_of_a_request_are_read_only(ask):
    assert not await ask(lambda req: hasattr(req.headers, "__setitem__"))


@pytest.mark.parametrize("name", ["x-one", "X-One", "X-ONE"])
async def test_get_ignores_case(ask, name):
    assert await ask(lambda req: req.get(name), headers={"X-One": "1"}) == "1"


async def test_get_gives_the_default_for_a_field_that_is_not_there(ask):
    assert await ask(
        lambda req: (req.get("x-none"), req.get("x-none", "d"), req.get("referer", 7))
    ) == (None, "d", 7)


@pytest.mark.parametrize("sent", ["Referer", "Referrer"])
@pytest.mark.parametrize("asked", ["referer", "Referrer"])
async def test_get_takes_both_spellings_of_referer_for_one(ask, sent, asked):
    assert await ask(lambda req: req.get(asked), headers={sent: "http://a/"}) == "http://a/"
