"""Routes as data."""

import pytest

import nardis
from nardis import Limits, Nardis, UsageError, get, main
from nardis.routing import Get, Post, RegexPattern
from nardis.testing import Client

pytestmark = pytest.mark.anyio


async def says(req, res):
    await res.send(f"{req.method} {req.params} {req.route.path}")


async def passes(req, res, next):
    await next()


@pytest.mark.parametrize("name", ["get", "post", "put", "patch", "delete", "head", "options"])
async def test_each_verb_has_a_function_and_a_class(name):
    """The function has paths, the class regular expressions."""
    one, other = (
        getattr(nardis, name)("/a/:x", says),
        getattr(nardis.routing, name.title())("^/b/(?P<x>.)$", says),
    )
    assert (one.method, other.method) == (name.upper(), name.upper())
    async with Client(main([one, other])) as client:
        for path in ("/a/1", "/b/1"):
            response = await client.request(name, path)
            assert response.status_code == 200
            assert response.text.startswith(
                "" if name == "head" else f"{name.upper()} {{'x': '1'}} "
            )


async def test_middlewares_and_options_are_as_in_calls():
    routes = [
        get("/a", [passes, passes], says, name="first", limits=Limits(buffered_body_bytes=1)),
        Post("^/b$", [passes, reads], limits=Limits(buffered_body_bytes=1)),
        get("/c", says, pattern_cls=RegexPattern, cancel_on_disconnect=False),
    ]
    app = main(routes)
    assert app.url_for("first") == "/a"
    assert app.routes() == [("GET", "/a", "first"), ("POST", "^/b$", None), ("GET", "/c", None)]
    async with Client(app) as client:
        assert (await client.get("/a")).status_code == 200
        assert (await client.post("/b", content=b"12")).status_code == 413
        assert (await client.get("/a/c/d")).text == "GET {} /c"


async def reads(req, res):
    await req.bytes()


async def test_one_can_be_added_to_any_router():
    app = Nardis()
    Get("^/x", says).add_to(app)
    app.get("/:y", says)
    async with Client(app) as client:
        assert (await client.get("/x/y")).text == "GET {} ^/x"
        assert (await client.get("/z")).text == "GET {'y': 'z'} /:y"


async def test_one_shows_itself():
    assert repr(Get("^/x$", says)).startswith("Get('^/x$', <function says")


async def test_what_is_no_route_is_refused():
    with pytest.raises(TypeError, match=r"get\('/', index\)"):
        main(["/"])


async def test_what_is_no_member_is_refused():
    with pytest.raises(UsageError, match="routes, action_404 and action_500, not action_403"):
        main({"routes": [], "action_403": says})


async def test_an_application_without_routes_answers_404():
    async with Client(main({})) as client:
        assert (await client.get("/")).status_code == 404


async def test_a_pattern_gives_its_groups():
    """None for a group that took no part, nothing for a path that does not match."""
    pattern = RegexPattern("^/(?P<a>a)?(?P<b>b)?$")
    assert (pattern.match("/a"), pattern.parse("/a"), pattern.parse("/c")) == (
        True,
        {"a": "a", "b": None},
        {},
    )


class Fixed:
    """A pattern of somebody's own that gives the same captures each time."""

    def __init__(self, text):
        self.captures = {"text": text}

    def match(self, path):
        return True

    def parse(self, path):
        return self.captures


async def test_what_a_handler_does_to_its_captures_is_gone_with_the_request():
    async def takes(req, res):
        await res.send(req.params.pop("text"))

    async with Client(main([Get("x", takes, pattern_cls=Fixed)])) as client:
        assert [(await client.get("/")).text for _ in range(2)] == ["x", "x"]


@pytest.mark.parametrize("kind", [KeyError, SystemExit])
async def test_what_a_pattern_raises_goes_to_the_error_handlers(kind):
    class Failing(Fixed):
        def parse(self, path):
            raise kind(path)

    app = main([Get("x", says, pattern_cls=Failing)])

    @app.error(kind)
    async def failed(err, req, res):
        await res.status(404).send(f"no {err.args[0]}")

    async with Client(app) as client:
        assert (await client.get("/a")).text == "no /a"
