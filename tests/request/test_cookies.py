"""`req.cookies`."""

import pytest

from nardis import Limits, Nardis

pytestmark = pytest.mark.anyio


async def test_cookies_give_the_first_of_a_name(ask):
    cookies = await ask(
        lambda req: req.cookies, headers={"cookie": "sid=31d4; theme=dark; sid=evil"}
    )

    assert dict(cookies) == {"sid": "31d4", "theme": "dark"}
    assert cookies.get_all("sid") == ["31d4", "evil"]


async def test_cookie_lines_of_http2_are_joined(ask):
    """A client may split the field for better compression (RFC 9113 §8.2.3)."""
    headers = [("cookie", "a=1"), ("cookie", "b=2")]

    assert dict(
        await ask(lambda req: req.cookies, headers=headers, client={"http_version": "2"})
    ) == {"a": "1", "b": "2"}


async def test_a_request_without_cookies_has_none(ask):
    assert dict(await ask(lambda req: req.cookies)) == {}


async def test_more_cookies_than_the_limit_are_a_431(refusal):
    app = Nardis(limits=Limits(cookies=2))

    assert (
        await refusal(lambda req: len(req.cookies), headers={"cookie": "a=1; b=2; c=3"}, app=app)
    ).status_code == 431
