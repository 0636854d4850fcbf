"""`res.redirect_back()`: to the page before, if that is one of ours."""

import pytest

from nardis import Nardis

pytestmark = pytest.mark.anyio


async def back(req, res):
    await res.redirect_back("/home")


@pytest.mark.parametrize(
    ("referer", "target"),
    [
        ("http://testserver/page?x=1", "http://testserver/page?x=1"),
        ("http://TestServer/page", "http://TestServer/page"),
        ("http://testserver", "http://testserver"),
        ("http://testserver//evil.test", "http://testserver//evil.test"),
        (None, "/home"),
        ("", "/home"),
        ("/page", "/home"),
        ("//testserver/page", "/home"),
        ("https://testserver/page", "/home"),
        ("http://testserver:81/page", "/home"),
        ("http://testserver.evil.test/", "/home"),
        ("http://testserver@evil.test/", "/home"),
        ("http://evil.test/http://testserver/", "/home"),
        ("http://testserver\\@evil.test/", "/home"),
        ("about:client", "/home"),
    ],
)
async def test_only_a_page_of_this_origin_is_gone_back_to(serve, referer, target):
    headers = {"host": "testserver"} | ({} if referer is None else {"referer": referer})
    response = await serve(back, headers=headers)
    assert (response.status_code, response.headers["location"]) == (302, target)
    assert {"Accept", "Referer"} <= set(response.headers["vary"].split(", "))


async def test_the_origin_is_the_one_the_client_used(serve):
    forwarded = {"x-forwarded-proto": "https", "x-forwarded-host": "example.com"}
    headers = {**forwarded, "referer": "https://example.com/a"}
    response = await serve(back, app=Nardis(trust_proxy=1), headers=headers)
    assert response.headers["location"] == "https://example.com/a"


async def test_the_status_can_be_another(serve):
    async def handler(req, res):
        await res.redirect_back("/home", 303)

    assert (await serve(handler, "POST")).status_code == 303
