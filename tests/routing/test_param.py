"""`param` converts what patterns capture: once for each value, in each pass of a router."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

import anyio
import pytest

from nardis import HTTPError, Limits, Nardis, Router, SkipRoute, UsageError
from nardis.routing import Get
from nardis.testing import AppError, Client

pytestmark = pytest.mark.anyio


async def shows(req: Any, res: Any) -> None:
    await res.send({name: repr(value) for name, value in req.params.items()})


def answers(text: str) -> Any:
    async def handler(req: Any, res: Any) -> None:
        await res.send(text)

    return handler


async def passes(req: Any, res: Any, next: Any) -> None:
    await next()


def noted(log: list[Any], function: Callable[[Any], object] = str) -> Callable[[Any], object]:
    """Make a converter of the value that records what it was asked."""

    def convert(value: Any) -> object:
        log.append(value)
        return function(value)

    return convert


def gives(result: object) -> Callable[[str], object]:
    """Make a converter that returns the same for any value."""

    def convert(value: str) -> object:
        return result

    return convert


def triples(value: str, times: int = 3) -> str:
    return value * times


def fails(value: str) -> object:
    raise AttributeError("nothing")


def successor(value: int) -> int:
    return value + 1


class Color(Enum):
    RED = "red"


class Number(Enum):
    ONE = 1


# --- a converter of the value ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("converter", "text", "shown"),
    [
        ({"a": 1}.__getitem__, "a", "1"),
        (gives(None), "a", "None"),
        (gives(""), "a", "''"),
        (functools.partial(int, base=16), "ff", "255"),
        (triples, "a", "'aaa'"),
    ],
)
async def test_what_a_converter_returns_replaces_the_capture(
    converter: Callable[..., Any], text: str, shown: str
) -> None:
    """Falsy values and None as well."""
    app = Nardis()
    app.param("id", converter)
    app.get("/:id", shows)

    async with Client(app) as client:
        assert (await client.get(f"/{text}")).json() == {"id": shown}


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        (int, "-7", "-7"),
        (int, "007", "7"),
        (float, "1.5", "1.5"),
        (bool, "true", "True"),
        (Decimal, "1.10", "Decimal('1.10')"),
        (Color, "red", "<Color.RED: 'red'>"),
        (Number, "1", "<Number.ONE: 1>"),
        (UUID, "00000000000000000000000000000007", f"UUID('{UUID(int=7)}')"),
        (date, "2026-11-29", "datetime.date(2026, 11, 29)"),
        (datetime, "2026-11-29T12:30:00", "datetime.datetime(2026, 11, 29, 12, 30)"),
        (timedelta, "PT1M", "datetime.timedelta(seconds=60)"),
        (time, "12:30:00", "datetime.time(12, 30)"),
    ],
)
async def test_a_type_is_read_strictly(kind: type[Any], text: str, shown: str) -> None:
    """As in a body or a query: no blanks, no underscores, no digits of other scripts."""
    app = Nardis()
    app.param("id", kind)
    app.param("all", kind)
    app.get("/one/:id", shows)
    app.get("/several/*all", shows)

    async with Client(app) as client:
        assert (await client.get(f"/one/{text}")).json() == {"id": shown}
        assert (await client.get(f"/several/{text}/{text}")).json() == {
            "all": f"[{shown}, {shown}]"
        }
        for wrong in ("x", f"%20{text}", f"{text}%20", "1_0", "%EF%BC%91", "", "nan"):
            assert (await client.get(f"/one/{wrong}")).status_code == 404
            assert (await client.get(f"/several/{text}/{wrong}x")).status_code == 404


@pytest.mark.parametrize(
    "value", [7, 1.5, True, False, Color.RED, Number.ONE, Decimal("1.10"), UUID(int=7), date.max]
)
async def test_a_path_of_a_value_is_read_as_that_value(value: Any) -> None:
    app, seen = Nardis(), list[object]()
    app.param("id", cast("Callable[..., Any]", type(value)))

    @app.get("/:id")
    async def sees(req: Any, res: Any) -> None:
        seen.append(req.params["id"])
        await res.send(None)

    async with Client(app) as client:
        await client.get(app.url_for("sees", id=value))
    assert seen == [value]


async def test_a_class_that_is_no_known_type_is_called() -> None:
    class Name:
        def __init__(self, text: str, greeting: str = "Hello") -> None:
            self.text = f"{greeting}, {text}"

        def __repr__(self) -> str:
            return self.text

        async def __call__(self) -> None:
            """Make no difference: the class is called, not what it makes."""

    app = Nardis()
    app.param("name", Name)
    app.get("/:name", shows)

    async with Client(app) as client:
        assert (await client.get("/you")).json() == {"name": "Hello, you"}


async def test_a_converter_is_for_routes_before_and_behind_it() -> None:
    app = Nardis()
    app.get("/before/:id", shows)

    @app.param("id")
    def double(value: str) -> int:
        return 2 * int(value)

    app.get("/behind/:id", shows)

    async with Client(app) as client:
        assert (await client.get("/before/2")).json() == {"id": "4"}
        assert (await client.get("/behind/3")).json() == {"id": "6"}
    assert double("1") == 2


async def test_a_converter_that_is_added_after_a_request_is_used() -> None:
    app = Nardis()
    app.get("/:id", shows)

    async with Client(app) as client:
        assert (await client.get("/7")).json() == {"id": "'7'"}
        app.param("id", int)
        assert (await client.get("/7")).json() == {"id": "7"}


async def test_a_handler_that_is_added_behind_a_converter_sees_its_value() -> None:
    app = Nardis()
    app.param("id", int)
    route = app.get("/:id")

    async with Client(app) as client:
        assert (await client.get("/7")).status_code == 404
        route(shows)
        assert (await client.get("/7")).json() == {"id": "7"}


@pytest.mark.parametrize("error", [ValueError, KeyError, UnicodeError, SkipRoute])
async def test_a_refused_value_is_a_path_that_does_not_exist(error: type[Exception]) -> None:
    """Later routes are tried, as if the pattern had not matched."""
    app = Nardis()

    @app.param("id")
    def refuses(value: str) -> object:
        raise error

    app.get("/a/:id", answers("never"))
    app.get("/a/:other", answers("other"))
    app.get("/b/:id", answers("never"))

    async with Client(app) as client:
        assert (await client.get("/a/x")).text == "other"
        assert (await client.get("/b/x")).status_code == 404


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
async def test_a_refused_value_is_404_for_any_method(method: str) -> None:
    """405 would say that there is something."""
    app = Nardis()
    app.param("id", int)
    app.get("/:id", shows)
    app.delete("/:id", shows)

    async with Client(app) as client:
        response = await client.request(method, "/x")
        assert (response.status_code, "allow" in response.headers) == (404, False)
        assert (await client.post("/7")).headers["allow"] == "DELETE, GET, HEAD"


async def test_404_of_a_refused_value_comes_through_the_same_door() -> None:
    """The error handler of the application is asked, inside the middlewares."""
    app = Nardis()

    @app.use
    async def stamps(req: Any, res: Any, next: Any) -> None:
        await next()
        assert res.status_code == 404

    app.param("id", int)
    app.get("/:id", shows)

    @app.error(404)
    async def missing(err: HTTPError, req: Any, res: Any) -> None:
        await res.send(str(err))

    async with Client(app) as client:
        assert (await client.get("/x")).text == "404 Not Found: no route answers GET for this path"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_value_is_converted_once_for_all_routes_that_capture_it(method: str) -> None:
    """Also for those of other methods, and for one that was refused."""
    app, log = Nardis(), list[str]()
    app.param("id", noted(log, int))
    app.use("/:id", passes)
    app.get("/:id", passes)
    app.put("/:id", shows)
    app.all("/:id", shows)

    async with Client(app) as client:
        assert (await client.request(method, "/7")).json() == {"id": "7"}
        assert log == ["7"]
        assert (await client.request(method, "/x")).status_code == 404
        assert log == ["7", "x"]
        assert (await client.request(method, "/7")).json() == {"id": "7"}
        assert log == ["7", "x", "7"]


async def test_an_http_error_of_a_converter_is_answered() -> None:
    app, router = Nardis(), Router()

    @router.param("id")
    def gone(value: str) -> object:
        raise HTTPError(410)

    @router.error(410)
    async def says(err: HTTPError, req: Any, res: Any) -> None:
        await res.send(f"gone from {req.base_url}")

    router.get("/:id", shows)
    app.use("/r", router)

    async with Client(app) as client:
        response = await client.get("/r/7")
    assert (response.status_code, response.text) == (410, "gone from /r")


async def test_another_error_of_a_converter_is_one_of_the_program() -> None:
    app = Nardis()
    app.param("id", fails)
    app.get("/:id", shows)

    async with Client(app) as client:
        with pytest.raises(AppError, match="nothing"):
            await client.get("/7")


async def test_a_wildcard_gives_a_list() -> None:
    app = Nardis()
    app.param("path", "/".join)
    app.get("/files/*path", shows)

    async with Client(app) as client:
        assert (await client.get("/files/a/b")).json() == {"path": "'a/b'"}


async def test_an_optional_capture_that_is_absent_is_not_converted() -> None:
    app, log = Nardis(), list[str]()
    app.param("id", noted(log, int))
    app.get("/users{/:id}", shows)

    async with Client(app) as client:
        assert (await client.get("/users")).json() == {}
        assert (await client.get("/users/7")).json() == {"id": "7"}
    assert log == ["7"]


async def test_other_captures_stay_text() -> None:
    app = Nardis()
    app.param("id", int)
    app.get("/:tenant/:id", shows)

    async with Client(app) as client:
        assert (await client.get("/7/7")).json() == {"tenant": "'7'", "id": "7"}


async def test_captures_of_a_regular_expression_are_converted() -> None:
    """The names are known when it has matched; a group that took no part stays None."""
    app = Nardis()
    app.param("id", int)
    app.param("no", int)
    Get(r"^/(?P<id>\d+)(?P<no>x)?(?P<rest>.*)$", shows).add_to(app)

    async with Client(app) as client:
        assert (await client.get("/7y")).json() == {"id": "7", "no": "None", "rest": "'y'"}


# --- a converter of request and value -------------------------------------------------------------


async def test_a_converter_may_take_the_request_and_be_async() -> None:
    app = Nardis()

    @app.param("id")
    async def load(req: Any, value: str) -> str:
        await anyio.lowlevel.checkpoint()
        return f"{req.method} {req.params['id']} {value}"

    @app.param("name")
    def find(req: Any, value: str) -> None:
        return None

    app.get("/:id/:name", shows)

    async with Client(app) as client:
        assert (await client.get("/7/x")).json() == {"id": "'GET 7 7'", "name": "None"}


async def test_it_runs_before_the_handlers_and_inside_the_middlewares() -> None:
    app, log = Nardis(), list[str]()

    def logs(name: str) -> Any:
        async def middleware(req: Any, res: Any, next: Any) -> None:
            log.append(f"{name} {req.params.get('id')}")
            await next()

        return middleware

    @app.param("id")
    async def load(req: Any, value: str) -> int:
        log.append("load")
        return int(value)

    app.use(logs("around"))
    app.get("/:id", logs("first"), logs("second"), shows)

    async with Client(app) as client:
        await client.get("/7")
    assert log == ["around None", "load", "first 7", "second 7"]


async def test_it_runs_for_the_method_that_is_asked_for_alone() -> None:
    """405 and the list of methods are made without it, as in Express."""
    app, log = Nardis(), list[str]()

    @app.param("id")
    async def load(req: Any, value: str) -> str:
        log.append(value)
        return value

    app.get("/:id", shows)

    async with Client(app) as client:
        assert (await client.post("/7")).status_code == 405
        assert (await client.options("/7")).headers["allow"] == "GET, HEAD"
        assert log == []
        assert (await client.head("/7")).status_code == 200
    assert log == ["7"]


async def test_it_runs_once_for_each_value_in_each_pass_of_a_router() -> None:
    """A `use` with the capture and a route with it share the result; another value is another."""
    app, router, log = Nardis(), Router(), list[str]()

    def loads(name: str) -> Any:
        async def load(req: Any, value: str) -> str:
            log.append(f"{name} {value}")
            return f"{name}:{value}"

        return load

    app.param("id", loads("app"))
    router.param("id", loads("router"))
    app.use("/:id", passes, passes)
    app.get("/:id/*rest", passes, passes)
    app.get("/x/:id", passes)
    router.get("/:id", passes)
    router.get("/:id", shows)
    app.use("/x", router)

    async with Client(app) as client:
        assert (await client.get("/x/7")).json() == {"id": "'router:7'"}
    assert log == ["app x", "app 7", "router 7"]


async def test_the_result_of_one_layer_is_that_of_the_next() -> None:
    """The same object, not one that is equal."""
    app, seen = Nardis(), list[object]()

    @app.param("id")
    async def load(req: Any, value: str) -> object:
        return object()

    async def sees(req: Any, res: Any, next: Any) -> None:
        seen.append(req.params["id"])
        await next()

    app.use("/:id", sees)
    app.get("/:id", sees, answers("ok"))

    async with Client(app) as client:
        await client.get("/7")
        await client.get("/7")
    assert seen[0] is seen[1]
    assert seen[2] is seen[3]
    assert seen[0] is not seen[2]


@pytest.mark.parametrize(
    "error", [SkipRoute(), ExceptionGroup("of a task group", [SkipRoute()])], ids=["one", "group"]
)
async def test_skip_route_refuses_and_is_remembered(error: Exception) -> None:
    """For the routes that capture the same; the last one captures under another name."""
    app, log = Nardis(), list[str]()

    @app.param("id")
    async def refuses(req: Any, value: str) -> None:
        log.append(value)
        raise error

    app.get("/:id", answers("never"))
    app.get("/:id", answers("never"))
    app.get("/x/:id", answers("never"))
    app.get("/:other", answers("other"))

    async with Client(app) as client:
        assert (await client.get("/7")).text == "other"
        assert (await client.get("/x/8")).status_code == 404
    assert log == ["7", "8"]


async def test_an_error_refuses_as_that_of_a_handler_does() -> None:
    app = Nardis()

    @app.param("id")
    async def load(req: Any, value: str) -> None:
        raise HTTPError(403, "not yours") if value == "7" else ValueError("broken")

    @app.error(ValueError)
    async def broken(err: ValueError, req: Any, res: Any) -> None:
        await res.send(f"answered: {err}")

    app.get("/:id", answers("never"))
    app.get("/*rest", answers("never either"))

    async with Client(app) as client:
        response = await client.get("/7")
        assert (response.status_code, "not yours" in response.text) == (403, True)
        response = await client.get("/8")
        assert (response.status_code, response.text) == (500, "answered: broken")


async def test_what_it_learned_of_the_values_before_it_is_seen() -> None:
    app = Nardis()

    @app.param("a")
    async def first(req: Any, value: str) -> str:
        return value.upper()

    @app.param("b")
    async def second(req: Any, value: str) -> str:
        return f"{req.params['a']}{value}"

    app.get("/:a/:b", shows)

    async with Client(app) as client:
        assert (await client.get("/x/y")).json() == {"a": "'X'", "b": "'Xy'"}


async def test_several_converters_of_a_name_run_in_order() -> None:
    """Those of the value first: the request is only asked about a value that can be."""
    app, log = Nardis(), list[object]()

    @app.param("id")
    async def load(req: Any, value: int) -> str:
        log.append(value)
        return f"user {value}"

    app.param("id", int)
    app.param("id", successor)

    @app.param("id")
    def adorns(req: Any, value: str) -> str:
        return f"{value}!"

    app.get("/:id", shows)

    async with Client(app) as client:
        assert (await client.get("/7")).json() == {"id": "'user 8!'"}
        assert (await client.get("/x")).status_code == 404
    assert log == [8]


async def test_a_callable_object_is_a_converter() -> None:
    class Loader:
        async def __call__(self, req: Any, value: str) -> str:
            return f"loaded {value}"

    app = Nardis()
    app.param("id", Loader())
    app.get("/:id", shows)

    async with Client(app) as client:
        assert (await client.get("/7")).json() == {"id": "'loaded 7'"}


async def test_a_route_with_options_converts_as_well() -> None:
    app = Nardis()

    @app.param("id")
    async def load(req: Any, value: str) -> str:
        return f"{value}!"

    app.get("/:id", shows, limits=Limits(), cancel_on_disconnect=False)
    app.head("/h/:id", shows)

    async with Client(app) as client:
        assert (await client.get("/7")).json() == {"id": "'7!'"}
        assert (await client.head("/h/7")).headers["content-length"] == "13"


# --- prefixes and routers -------------------------------------------------------------------------


async def test_a_router_has_converters_of_its_own() -> None:
    """Those of the router around it are not inherited, as in Express."""
    app, router = Nardis(), Router()
    app.param("id", int)
    router.get("/:id", shows)
    app.use("/r", router)
    app.get("/:id", shows)

    async with Client(app) as client:
        assert (await client.get("/r/7")).json() == {"id": "'7'"}
        assert (await client.get("/7")).json() == {"id": "7"}


@pytest.mark.parametrize("form", ["value", "request"])
async def test_a_router_sees_captures_of_its_prefixes_as_they_were_converted(form: str) -> None:
    app, outer, inner = Nardis(), Router(), Router()

    async def load(req: Any, value: str) -> int:
        return int(value)

    converter = int if form == "value" else load
    app.param("a", converter)
    outer.param("b", converter)
    inner.param("a", gives("of another router"))
    inner.get("/:c", shows)
    outer.use("/:b", passes, inner)
    app.use("/:a", outer)

    async with Client(app) as client:
        assert (await client.get("/1/2/3")).json() == {"a": "1", "b": "2", "c": "'3'"}


async def test_a_prefix_whose_value_is_refused_does_not_match() -> None:
    app, router, log = Nardis(), Router(), list[object]()
    app.param("id", int)

    @app.use("/:id")
    async def sees(req: Any, res: Any, next: Any) -> None:
        log.append(req.params["id"])
        await next()

    router.get("/x", answers("router"))
    app.use("/:id", router)
    app.get("/*rest", answers("rest"))

    async with Client(app) as client:
        assert (await client.get("/7/x")).text == "router"
        assert (await client.get("/a/x")).text == "rest"
    assert log == [7]


async def test_skip_route_for_a_prefix_passes_the_router_by() -> None:
    app, router = Nardis(), Router()

    @app.param("id")
    async def refuses(req: Any, value: str) -> None:
        raise SkipRoute

    router.get("/x", answers("never"))
    app.use("/:id", router)
    app.get("/a/x", answers("app"))

    async with Client(app) as client:
        assert (await client.get("/a/x")).text == "app"


async def test_the_path_is_what_it_was_outside_of_the_prefix() -> None:
    """A converter belongs to the router that holds the prefix, and runs where that one stands."""
    app, router, seen = Nardis(), Router(), list[str]()

    @app.param("id")
    async def load(req: Any, value: str) -> str:
        seen.append(f"{req.base_url} {req.path}")
        return value

    router.get("/x", answers("ok"))
    app.use("/a/:id", router)

    async with Client(app) as client:
        assert (await client.get("/a/7/x")).text == "ok"
    assert seen == [" /a/7/x"]


async def test_merge_params_false_hides_converted_captures_too() -> None:
    app, router = Nardis(), Router(merge_params=False)
    app.param("id", int)
    router.get("/:x", shows)
    app.use("/:id", router)

    async with Client(app) as client:
        assert (await client.get("/7/8")).json() == {"x": "'8'"}


async def test_a_router_used_twice_converts_in_each_pass() -> None:
    app, router, log = Nardis(), Router(), list[str]()
    router.param("id", noted(log))
    router.get("/:id", passes)
    app.use("/a", router)
    app.use("/a", router)

    async with Client(app) as client:
        assert (await client.get("/a/7")).status_code == 404
    assert log == ["7", "7"]


# --- registration ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", ":id", "*rest", 7, None])
def test_param_refuses_what_is_no_name(name: Any) -> None:
    with pytest.raises(UsageError, match="'id' for `/users/:id`"):
        Nardis().param(name)


def test_a_name_in_quotes_is_one() -> None:
    assert Nardis().param("user id", int) is int


async def of_the_value(value: str) -> None:
    raise NotImplementedError  # pragma: no cover - never registered


def of_nothing() -> None:
    raise NotImplementedError  # pragma: no cover - never registered


def of_three(req: Any, res: Any, value: str) -> None:
    raise NotImplementedError  # pragma: no cover - never registered


def of_an_option(value: str, *, option: int) -> None:
    raise NotImplementedError  # pragma: no cover - never registered


class AsyncOfTheValue:
    async def __call__(self, value: str) -> None:
        raise NotImplementedError  # pragma: no cover - never registered


@pytest.mark.parametrize(
    "converter",
    [AsyncOfTheValue(), of_the_value, of_nothing, of_three, of_an_option, "int", 7, object()],
)
def test_param_refuses_what_is_no_converter(converter: Any) -> None:
    """The message says what is wanted."""
    app = Nardis()
    with pytest.raises(TypeError, match=r"param\('id'\) takes a type.*\(req, value\)"):
        app.param("id", converter)
    with pytest.raises(TypeError):
        app.param("id")(converter)
    assert app.converters == {}


def test_a_message_names_an_async_function_of_the_value_alone() -> None:
    with pytest.raises(TypeError, match=r"of_the_value\(\) is async"):
        Nardis().param("id", of_the_value)


class Undescribed:
    """A callable that does not say what it takes, as some functions in C."""

    __signature__ = "?"

    def __call__(self, value: str) -> str:
        return value.upper()


async def test_a_function_that_does_not_say_what_it_takes_is_given_the_value() -> None:
    app = Nardis()
    app.param("id", Undescribed())
    app.get("/:id", shows)

    async with Client(app) as client:
        assert (await client.get("/a")).json() == {"id": "'A'"}
