"""`url_for` builds paths by name, and `routes()` lists what there is."""

import datetime
import enum
import uuid

import pytest

from nardis import Nardis, Router, UsageError


async def handler(req, res):
    raise NotImplementedError  # pragma: no cover - nobody asks


async def other(req, res, next):
    raise NotImplementedError  # pragma: no cover - nobody asks


def test_a_route_is_named_after_its_last_handler():
    app = Nardis()

    @app.get("/users/:id", other)
    async def show(req, res):
        await res.send("ok")  # pragma: no cover - nobody asks

    app.get("/h", other, handler)

    assert app.url_for("show", id=7) == "/users/7"
    assert app.url_for("handler") == "/h"


def test_a_name_that_is_given_wins():
    app = Nardis()
    app.get("/h", handler, name="home")

    assert app.url_for("home") == "/h"
    with pytest.raises(UsageError, match="home"):
        app.url_for("handler")


def test_values_are_percent_encoded():
    app = Nardis()
    app.get("/files/:name", handler, name="file")
    app.get("/tree/*path", handler, name="tree")

    assert app.url_for("file", name="a/b c?ü") == "/files/a%2Fb%20c%3F%C3%BC"
    assert app.url_for("tree", path=["a b", "c/d"]) == "/tree/a%20b/c%2Fd"


def test_optional_parts_are_built_when_their_values_are_given():
    app = Nardis()
    app.get("/:file{.:ext}", handler, name="file")

    assert app.url_for("file", file="a") == "/a"
    assert app.url_for("file", file="a", ext="txt") == "/a.txt"


def test_prefixes_are_built_too():
    app, outer, inner = Nardis(), Router(), Router()
    inner.get("/", handler, name="index")
    inner.get("/:id", handler, name="item")
    outer.use("/", inner)
    app.use("/:tenant/", outer)

    assert app.url_for("item", tenant="acme", id=7) == "/acme/7"
    assert app.url_for("index", tenant="acme").rstrip("/") == "/acme"
    assert outer.url_for("item", id=7) == "/7"


def test_the_first_route_of_a_name_counts():
    app, router = Nardis(), Router()
    router.get("/inner", handler)
    app.use("/r", router)
    app.get("/outer", handler)

    assert app.url_for("handler") == "/r/inner"


def test_a_name_that_is_asked_for_before_its_route_is_registered_is_found_then():
    app, router = Nardis(), Router()
    app.use("/r", router)
    with pytest.raises(UsageError):
        app.url_for("handler")
    route = router.get("/late")
    with pytest.raises(UsageError):
        app.url_for("handler")
    route(handler)

    assert app.url_for("handler") == "/r/late"


def test_of_several_routes_of_a_name_the_first_that_can_be_built_counts():
    """As where one handler shows a list, and what is in it."""
    app = Nardis()
    app.get("/users/:id/posts/:post", handler)
    app.get("/users/:id", handler)
    app.get("/users", handler)

    assert app.url_for("handler", id=7, post=8) == "/users/7/posts/8"
    assert app.url_for("handler", id=7) == "/users/7"
    assert app.url_for("handler") == "/users"


def test_of_several_prefixes_of_a_router_the_first_that_can_be_built_counts():
    app, router = Nardis(), Router()
    router.get("/:id", handler, name="item")
    app.use("/tenants/:tenant", router)
    app.use(["/shared", "/common"], router)

    assert app.url_for("item", tenant="acme", id=7) == "/tenants/acme/7"
    assert app.url_for("item", id=7) == "/shared/7"
    with pytest.raises(UsageError, match="'id'"):
        app.url_for("item", tenant="acme")


def test_where_none_can_be_built_the_first_says_what_it_lacks():
    app = Nardis()
    app.get("/a/:first", handler)
    app.get("/b/:second", handler)

    with pytest.raises(UsageError, match="'first'"):
        app.url_for("handler")


def test_optional_parts_and_wildcards_are_built_in_prefixes_as_well():
    app, router = Nardis(), Router()
    router.get("/files/*path{.:ext}", handler, name="file")
    app.use("{/:lang}/v:version", router)

    assert app.url_for("file", version=2, path=["a", "b"]) == "/v2/files/a/b"
    assert (
        app.url_for("file", lang="de", version=2, path="a/b", ext="txt") == "/de/v2/files/a/b.txt"
    )


class Color(enum.Enum):
    RED = "dark red"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (True, "true"),
        (Color.RED, "dark%20red"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (datetime.date(2026, 11, 29), "2026-11-29"),
    ],
)
def test_values_that_a_converter_makes_are_taken(value, text):
    """What `param` made of a text can be written again."""
    app = Nardis()
    app.get("/:id", handler, name="item")

    assert app.url_for("item", id=value) == f"/{text}"


def test_a_parameter_may_be_called_name():
    app = Nardis()
    app.get("/hello/:name", handler, name="hello")

    assert app.url_for("hello", name="bob") == "/hello/bob"


@pytest.mark.parametrize("params", [{}, {"id": ""}, {"other": 1}])
def test_a_missing_value_is_an_error(params):
    app = Nardis()
    app.get("/users/:id", handler, name="user")

    with pytest.raises(UsageError, match="id"):
        app.url_for("user", **params)


def test_an_unknown_name_is_an_error_that_lists_those_there_are():
    app = Nardis()
    with pytest.raises(UsageError, match="there are: none"):
        app.url_for("nobody")
    app.get("/a", handler, name="first")
    app.get("/b", handler, name="second")
    with pytest.raises(UsageError, match="there are: first, second"):
        app.url_for("nobody")


def test_routes_lists_everything_in_order():
    app, router = Nardis(), Router()
    app.use(other)
    app.get("/", handler, name="home")
    app.use("/r", other, router)
    app.use(router)
    router.all("/x/:id", handler)
    app.post(["/a", "/b"], handler)
    app.get("/nameless")

    assert app.routes()[:3] == [
        ("GET", "/", "home"),
        (None, "/r/x/:id", "handler"),
        (None, "/x/:id", "handler"),
    ]
    assert app.routes()[3][0::2] == ("POST", "handler")
    assert app.routes()[4] == ("GET", "/nameless", None)


def test_a_line_of_routes_is_a_tuple_with_names():
    app = Nardis()
    app.get("/users/:id", other, handler, name="user")

    [route] = app.routes()
    method, path, name = route

    assert (method, path, name) == (route.method, route.path, route.name)
    assert route == ("GET", "/users/:id", "user")
    assert (route.host, route.handlers) == (None, (other, handler))


def test_a_prefix_that_ends_with_a_slash_is_listed_without_it():
    app, router = Nardis(), Router()
    router.get("/:id", handler)
    app.use("/:tenant/", router)

    assert [route.path for route in app.routes()] == ["/:tenant/:id"]


def test_a_route_shows_what_it_is():
    app = Nardis()

    assert repr(app.get("/x")) == "<Route GET /x>"
    assert repr(app.all("/y")) == "<Route ALL /y>"
