"""`req.params` and `req.route`: what matched."""

import pytest

from nardis import Nardis
from nardis.testing import Client

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("pattern", "url", "params"),
    [
        ("/", "/", {}),
        ("/users/:id", "/users/42", {"id": "42"}),
        ("/users/:id", "/users/a%2Fb", {"id": "a/b"}),
        ("/files/*path", "/files/a/b%20c", {"path": ["a", "b c"]}),
        ("/x{/:opt}", "/x", {}),
    ],
)
async def test_params_are_the_captures_decoded_once(pattern, url, params):
    app, seen = Nardis(), []

    @app.get(pattern)
    async def handler(req, res):
        seen.append(req.params)
        await res.send()

    async with Client(app) as client:
        await client.get(url)

    assert seen == [params]


async def test_params_are_each_requests_own():
    app, seen = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        req.params["mark"] = 1
        seen.append(req.params)
        await res.send()

    async with Client(app) as client:
        await client.get("/")
        await client.get("/")

    assert seen == [{"mark": 1}, {"mark": 1}]
    assert seen[0] is not seen[1]


async def test_route_is_none_before_one_matched_and_then_has_its_pattern():
    """For metrics: the pattern, and not the path of each request."""
    app, seen = Nardis(), []

    @app.use
    async def around(req, res, next):
        seen.append(req.route)
        await next()
        seen.append(req.route.path)

    @app.get("/users/:id")
    async def handler(req, res):
        seen.append(req.route.path)
        await res.send()

    async with Client(app) as client:
        await client.get("/users/42")

    assert seen == [None, "/users/:id", "/users/:id"]
