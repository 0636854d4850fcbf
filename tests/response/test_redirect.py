"""`await res.redirect()`."""

import pytest

from nardis import UsageError

pytestmark = pytest.mark.anyio


async def test_redirect_is_a_302_with_location_and_text(serve):
    async def handler(req, res):
        await res.redirect("/there?a=1&b=2")

    response = await serve(handler)

    assert response.status_code == 302
    assert response.headers["location"] == "/there?a=1&b=2"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["vary"] == "Accept"
    assert response.text == "Found. Redirecting to /there?a=1&b=2"


async def test_a_client_that_likes_html_better_gets_html_with_everything_escaped(serve):
    async def handler(req, res):
        await res.redirect("/there?a=1&b='><script>")

    response = await serve(handler, headers={"accept": "text/html, text/plain;q=0.5"})

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "/there?a=1&amp;b=" in response.text
    assert "<script>" not in response.text
    assert "'>" not in response.text


async def test_the_page_of_a_redirect_has_nothing_to_click(serve):
    """A link to a target of `javascript:` would run it; browsers do not follow such a Location."""

    async def handler(req, res):
        await res.redirect("javascript:alert(1)")

    response = await serve(handler, headers={"accept": "text/html"})

    assert "javascript:alert(1)" in response.text
    assert "href" not in response.text


async def test_a_client_that_takes_neither_gets_no_body(serve):
    """A script that asks for JSON follows Location, and would not read a page."""

    async def handler(req, res):
        await res.redirect("/there")

    response = await serve(handler, headers={"accept": "application/json"})

    assert response.headers.pairs() == [
        ("location", "/there"),
        ("vary", "Accept"),
        ("content-length", "0"),
    ]


@pytest.mark.parametrize("status", [301, 303, 307, 308])
async def test_the_status_is_the_second_argument(serve, status):
    async def handler(req, res):
        await res.redirect("/there", status)

    assert (await serve(handler)).status_code == status


async def test_vary_keeps_what_it_had(serve):
    async def handler(req, res):
        await res.vary("Origin").redirect("/there")

    assert (await serve(handler)).headers["vary"] == "Origin, Accept"


@pytest.mark.parametrize("status", [200, 299, 400, "303", None])
async def test_a_status_that_is_no_redirect_is_refused(failure, status):
    async def handler(req, res):
        await res.redirect("/there", status)

    error = await failure(handler)

    assert isinstance(error, UsageError)
    assert "from 300 to 399" in str(error)


async def test_the_order_of_express_points_to_ours(failure):
    async def handler(req, res):
        await res.redirect(302, "/there")

    error = await failure(handler)

    assert isinstance(error, UsageError)
    assert "the URL comes first" in str(error)


async def test_head_of_a_redirect_has_its_fields_and_no_body(serve):
    async def handler(req, res):
        await res.redirect("/there")

    response = await serve(handler, "HEAD")

    assert (response.status_code, response.headers["location"], response.content) == (
        302,
        "/there",
        b"",
    )
    assert response.headers["content-length"] == str(len("Found. Redirecting to /there"))
