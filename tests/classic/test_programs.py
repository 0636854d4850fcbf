"""
The programs of Nardis 0.0.7, and the form it wished for, run unchanged: they stand beside this file
as they were written.
"""

import pytest

from nardis.asgi import main
from nardis.routing import Get
from nardis.testing import Client
from tests.classic import actions, countdown, wished

pytestmark = pytest.mark.anyio


@pytest.fixture
def on_asyncio(anyio_backend_name):
    """For programs that call asyncio themselves."""
    if anyio_backend_name != "asyncio":
        pytest.skip("this program calls asyncio")


async def test_a_response_is_sent_piece_by_piece(on_asyncio):
    """
    `more=True` keeps it open; each piece is there when it is sent, and the last `send` ends it.
    """
    async with Client(countdown.app) as client:
        async with client.stream("GET", "/") as response:
            chunks = [chunk async for chunk in response]
        assert chunks == [
            b"<!doctype html><title>countdown</title>",
            b"<p>3</p>",
            b"<p>2</p>",
            b"<p>1</p>",
            b"<p>go</p>",
        ]
        assert (response.headers["content-type"], response.complete) == (
            "text/html; charset=utf-8",
            True,
        )


async def test_groups_of_a_regular_expression_are_parameters():
    async with Client(countdown.app) as client:
        assert (await client.get("/hello/you")).text == "<h1>Hello, you!</h1>"
        assert (await client.get("/hello/Zo%C3%AB/")).text == "<h1>Hello, Zoë!</h1>"
        assert (await client.get("/hello/")).status_code == 404
        assert (await client.get("/hello/%ff")).status_code == 400


async def test_status_and_fields_are_set_one_by_one():
    async with Client(countdown.app) as client:
        response = await client.post("/tea")
        assert (response.status_code, response.text) == (418, "short and stout")
        assert response.headers["content-type"].startswith("text/plain")
        assert (await client.get("/tea")).status_code == 404


async def test_the_wished_form_has_paths():
    async with Client(wished.app) as client:
        assert (await client.get("/")).text == "<h1>Index</h1>"
        for path in ("/hello/you", "/hello/you/"):
            assert (await client.get(path)).text == "<h1>Hello, you</h1>"
        assert (await client.head("/")).status_code == 200


async def test_the_first_match_in_the_list_answers():
    async with Client(actions.app) as client:
        assert (await client.get("/shout/abc")).text == "GET [('word', 'ABC')]"
        assert (await client.get("/shout/ABC")).text == "GET []"
        assert (await client.get("/exactly")).text == "GET [('length', 8)]"
        assert (await client.get("/exactly/")).status_code == 404


async def test_a_matcher_of_ones_own_has_any_method():
    """Its expression is searched for: it matches anywhere unless it is anchored."""
    async with Client(actions.app) as client:
        assert (await client.request("PURGE", "/all/items/1")).text == "PURGE []"
        assert (await client.delete("/items/1")).text == "DELETE [('id', '1')]"


async def test_actions_answer_for_what_nobody_answers_and_for_what_failed():
    async with Client(actions.app, raise_app_errors=False) as client:
        response = await client.get("/nothing")
        assert (response.status_code, response.text) == (404, "<h1>/nothing is not here</h1>")
        response = await client.get("/fail")
        assert (response.status_code, response.text) == (500, "<h1>it is us</h1>")


@pytest.mark.parametrize("app", [actions.plain, actions.spelled_out], ids=["by-default", "by-name"])
async def test_without_them_there_are_small_pages(app):
    async with Client(app, raise_app_errors=False) as client:
        for path, status, title in (
            ("/nothing", 404, "404 Not Found"),
            ("/fail", 500, "500 Internal Server Error"),
        ):
            response = await client.get(path)
            assert (response.status_code, response.headers["content-type"]) == (
                status,
                "text/html; charset=utf-8",
            )
            assert f"<h1>{title}</h1>" in response.text


async def test_the_old_names_of_a_response_work():
    async def ticket(req, res):
        res.headers["x-ticket"] = "7"
        await res.send_head()
        await res.send_head()
        await res.send("seven")

    async def moved(req, res):
        await res.redirect("/ticket", code=301)

    async with Client(
        main({"routes": [Get(r"^/ticket$", ticket), Get(r"^/moved$", moved)]})
    ) as client:
        response = await client.get("/ticket")
        assert (response.text, response.headers["x-ticket"], response.complete) == (
            "seven",
            "7",
            True,
        )
        assert response.headers["content-type"].startswith("text/html")
        response = await client.get("/moved")
        assert (response.status_code, response.headers["location"]) == (301, "/ticket")
