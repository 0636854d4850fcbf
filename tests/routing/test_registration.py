"""What can be registered, and what is refused with a hint at what to write instead."""

import functools
import sys
from datetime import timedelta

import pytest

from nardis import Limits, Nardis, Router, UsageError, get
from nardis.errors import PatternError
from nardis.routing import Get
from nardis.testing import Client


class Callable:
    async def __call__(self, req, res):
        await res.send("callable")

    async def method(self, req, res, next):
        await next()

    @classmethod
    async def from_class(cls, req, res, next):
        await next()

    @staticmethod
    async def static(req, res, next):
        await next()


class CallableMiddleware:
    async def __call__(self, req, res, next):
        await next()


async def configured(prefix, req, res, next, *, flag=False):
    assert (prefix, flag) == ("prefix", True)
    await next()


async def takes_anything(*args):
    await args[2]()


async def closes_over(req, res, next, flag=True):
    assert flag is True
    await next()


@pytest.mark.anyio
async def test_every_kind_of_async_callable_is_accepted():
    app, thing = Nardis(), Callable()
    app.use(
        thing.method,
        Callable.from_class,
        Callable.static,
        CallableMiddleware(),
        functools.partial(configured, "prefix", flag=True),
        functools.partial(functools.partial(configured, flag=True), "prefix"),
        functools.partial(thing.method),
        functools.partial(CallableMiddleware()),
        takes_anything,
    )
    app.get("/", thing)
    app.get("/partial", functools.partial(thing))

    async with Client(app) as client:
        assert (await client.get("/")).text == "callable"
        assert (await client.get("/partial")).text == "callable"


@pytest.mark.anyio
async def test_a_third_parameter_with_a_default_is_not_next():
    """`n=n` binds a value in a loop; it is the function's own."""
    app = Nardis()
    for n in range(3):

        @app.get(f"/{n}")
        async def handler(req, res, n=n):
            await res.send(f"number {n}")

    async with Client(app) as client:
        assert (await client.get("/2")).text == "number 2"


def fills_in(handler):
    @functools.wraps(handler)
    async def filled(req, res):
        await handler(req, res, "ann")

    return filled


def goes_on(handler):
    @functools.wraps(handler)
    async def going(req, res, next):
        await handler(req, res)
        await next()

    return going


def passes_on(handler):
    @functools.wraps(handler)
    async def passing(*args, **options):
        await handler(*args, **options)

    return passing


class Wrapped:
    @passes_on
    async def method(self, req, res):
        await res.send("method")

    @passes_on
    @staticmethod
    async def static(req, res):
        await res.send("static")


@pytest.mark.anyio
async def test_a_decorated_handler_is_called_as_its_decorator_wants():
    """What `functools.wraps` says of the handler inside is no promise of the wrapper's."""
    app = Nardis()

    @app.use
    @goes_on
    async def marks(req, res):
        res.set("x-marked", "yes")

    @app.get("/")
    @passes_on
    @fills_in
    async def handler(req, res, user):
        await res.send(f"for {user}")

    app.get("/method", Wrapped().method)
    app.get("/static", Wrapped.static)
    app.get("/partial", functools.partial(passes_on(configured), "prefix", flag=True))

    async with Client(app) as client:
        answer = await client.get("/")
        assert (answer.text, answer.headers["x-marked"]) == ("for ann", "yes")
        assert (await client.get("/method")).text == "method"
        assert (await client.get("/static")).text == "static"
        assert (await client.get("/partial")).status_code == 404  # it went on


ANNOTATED = """
async def handler(req: Request, res: Response):
    await res.format({"html": page})


async def page(req: Request, res: Response):
    await res.send(f"page {req.params['id']}")


async def asgi(scope: Scope, receive: Receive, send: Send):
    raise NotImplementedError


def number(req: Request, value: str):
    return int(value)
"""


@pytest.mark.anyio
async def test_a_handler_may_be_annotated_with_what_only_type_checkers_know():
    """From Python 3.14 on, annotations are evaluated when they are looked at."""
    app, names = Nardis(), {}
    before = "" if sys.version_info >= (3, 14) else "from __future__ import annotations"
    exec(before + ANNOTATED, names)
    app.param("id", names["number"])
    app.get("/:id", names["handler"])
    app.mount("/old", names["asgi"])

    async with Client(app) as client:
        assert (await client.get("/7")).text == "page 7"


def sync_handler(req, res):
    return None  # pragma: no cover - never registered


def sync_middleware(req, res, next):
    return None  # pragma: no cover - never registered


async def one(req):
    raise NotImplementedError  # pragma: no cover - never registered


async def four(req, res, next, more):
    raise NotImplementedError  # pragma: no cover - never registered


async def asgi(scope, receive, send):
    raise NotImplementedError  # pragma: no cover - never registered


def asgi2(scope):
    raise NotImplementedError  # pragma: no cover - never registered


class ASGI:
    async def __call__(self, scope, receive, send):
        raise NotImplementedError  # pragma: no cover - never registered


class Wrapper:
    """An ASGI middleware: a class that takes the application."""

    def __init__(self, app, minimum_size=500, level=9):
        raise NotImplementedError  # pragma: no cover - never made

    async def __call__(self, scope, receive, send):
        raise NotImplementedError  # pragma: no cover - never made


WRONG = [
    sync_handler,
    sync_middleware,
    one,
    four,
    asgi,
    asgi2,
    ASGI(),
    Wrapper,
    Nardis(),
    "text",
    None,
    7,
    max,
    print,
    object(),
]
ids = [getattr(thing, "__name__", repr(type(thing).__name__)) for thing in WRONG]


@pytest.mark.parametrize("thing", WRONG, ids=ids)
def test_a_route_refuses_what_is_no_handler(thing):
    """The message says what is wanted, and where ASGI applications and middlewares go."""
    with pytest.raises(TypeError, match=r"(?s)async \(req, res\[, next\]\).*mount.*wrap"):
        Nardis().get("/x", thing)
    with pytest.raises(TypeError):
        Nardis().get("/x")(thing)


@pytest.mark.parametrize(
    "thing", [*WRONG[:8], *WRONG[10:], Callable()], ids=[*ids[:8], *ids[10:], "Callable"]
)
def test_use_refuses_what_is_no_middleware(thing):
    with pytest.raises(TypeError, match=r"(?s)Router or async \(req, res, next\).*mount.*wrap"):
        Nardis().use(thing)
    with pytest.raises(TypeError):
        Nardis().use("/x", thing)


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(Wrapper),
        functools.partial(Wrapper, level=1),
        functools.partial(CallableMiddleware),
    ],
)
def test_a_partial_of_a_class_is_refused(make):
    """Calling it makes an object and runs nothing."""
    with pytest.raises(TypeError, match="wrap"):
        Nardis().use(make)


async def swapped(res, req):
    raise NotImplementedError  # pragma: no cover - never registered


async def swapped_middleware(res, req, next):
    raise NotImplementedError  # pragma: no cover - never registered


async def err_last(req, res, err):
    raise NotImplementedError  # pragma: no cover - never registered


async def other_names(response, request):
    raise NotImplementedError  # pragma: no cover - never called


@pytest.mark.parametrize(
    ("register", "told"),
    [
        (lambda app: app.get("/x", swapped), r"swapped\(\) takes \(res, req\): `req` comes first"),
        (lambda app: app.use(swapped_middleware), r"takes \(res, req, next\): `req` comes first"),
        (lambda app: app.error(404)(err_last), r"takes \(req, res, err\): `err` comes first"),
    ],
    ids=["a route", "a middleware", "an error handler"],
)
def test_parameters_in_another_order_are_refused(register, told):
    """Their names say so; it would be an AttributeError of each request."""
    with pytest.raises(TypeError, match=told):
        register(Nardis())


def test_parameters_may_have_other_names():
    Nardis().get("/x", other_names)
    Nardis().websocket("/x", other_names)


@pytest.mark.parametrize("handler", [sync_handler, sync_middleware])
def test_a_sync_function_is_told_of_threads(handler):
    with pytest.raises(TypeError, match=r"not async: write `async def`.*anyio\.to_thread"):
        Nardis().get("/x", handler)


def test_a_decorator_that_is_not_async_is_told_apart_from_its_handler():
    def counts(handler):
        @functools.wraps(handler)
        def counted(*args):
            raise NotImplementedError  # pragma: no cover - never called

        return counted

    with pytest.raises(TypeError, match=r"one\(\) is async inside a decorator that is not: write"):
        Nardis().get("/", counts(one))


def factory(*, level=1):
    raise NotImplementedError  # pragma: no cover - never called


async def generator(req, res):
    yield b"piece"  # pragma: no cover - never called


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (factory, r"takes 0 parameters.* call it: factory\(\)\. Else write `async def`"),
        (generator, r"is a generator.* `await res\.write\(\.\.\.\)`.* `await res\.pipe\("),
    ],
)
def test_what_was_not_called_or_yields_is_told_so(thing, says):
    with pytest.raises(TypeError, match=says):
        Nardis().use(thing)
    with pytest.raises(TypeError, match=says):
        Nardis().get("/", thing)


@pytest.mark.parametrize(
    "register",
    [
        lambda given: Nardis(limits=given),
        lambda given: Nardis().get("/", limits=given),
        lambda given: get("/", limits=given),
    ],
    ids=["the application", "a route", "a route as data"],
)
def test_limits_are_limits(register):
    with pytest.raises(TypeError, match=r"not \{'line_bytes': 1\}: write limits=Limits\("):
        register({"line_bytes": 1})


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"line_bytes": "1MB"}, r"Limits\(line_bytes=...\) takes a whole number of bytes"),
        ({"headers": 1.5}, "a whole number, at least 0, not 1.5"),
        ({"body_min_rate": "1"}, "a number, at least 0, not '1'"),
        (
            {"handler_s": timedelta(seconds=1)},
            "a number of seconds above 0, or None for no limit, not datetime",
        ),
        ({"cleanup_s": None}, "a number of seconds, at least 0, not None"),
    ],
)
def test_a_limit_is_a_number(limits, says):
    with pytest.raises(TypeError, match=says):
        Limits(**limits)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"buffered_body_bytes": -1}, "a whole number of bytes, such as .*, not -1"),
        ({"file_bytes": -1}, "or None for no limit, not -1"),
        ({"cleanup_s": -0.5}, "a number of seconds, at least 0, not -0.5"),
        ({"handler_s": 0}, "a number of seconds above 0, or None for no limit, not 0"),
        ({"body_idle_s": float("nan")}, "a number of seconds above 0, not nan"),
    ],
)
def test_a_limit_that_nothing_could_keep_is_refused(limits, says):
    with pytest.raises(ValueError, match=says):
        Limits(**limits)


def test_limits_of_nothing_and_without_end_are_limits():
    given = {"cleanup_s": 0, "body_min_rate": 0, "file_bytes": 0, "write_stall_s": float("inf")}
    assert {name: getattr(Limits(**given), name) for name in given} == given


def test_a_message_names_the_function():
    with pytest.raises(TypeError, match=r"sync_handler"):
        Nardis().get("/x", sync_handler)
    with pytest.raises(TypeError, match=r"four.* takes 4 parameters"):
        Nardis().use(four)


@pytest.mark.parametrize(
    "handler", [sync_middleware, Callable().__call__, one, four, Wrapper, None]
)
def test_error_refuses_what_is_no_error_handler(handler):
    with pytest.raises(TypeError, match=r"async \(err, req, res\)"):
        Nardis().error(KeyError)(handler)


@pytest.mark.parametrize("kind", [200, 399, 600, "404", KeyboardInterrupt, KeyError(), int, None])
def test_error_refuses_what_is_neither_exception_nor_status(kind):
    with pytest.raises(UsageError, match="400 to 599"):
        Nardis().error(kind)


def test_error_wants_something_to_handle():
    with pytest.raises(UsageError, match="exception types or statuses"):
        Nardis().error()


@pytest.mark.parametrize("pattern", ["*", "/:", "/a(b)", "/{a", "/:a:b"])
def test_a_bad_pattern_is_refused_at_registration(pattern):
    app = Nardis()
    for register in (app.get, app.use, app.all):
        with pytest.raises(PatternError):
            register(pattern, CallableMiddleware())
    with pytest.raises(PatternError):
        app.route(pattern).get(Callable())


def test_nothing_is_registered_by_a_refused_call():
    """A program that catches the TypeError has half a route at most in its mind."""
    app = Nardis()
    with pytest.raises(TypeError):
        app.get("/x", Callable(), sync_handler)
    with pytest.raises(TypeError):
        app.use(CallableMiddleware(), sync_middleware)

    assert app.routes() == []
    assert app.layers == []


@pytest.mark.parametrize("register", [Router().get, Router().all, get, Get])
def test_an_unknown_option_is_refused_with_those_that_there_are(register):
    """At the call itself, for routes as data as well."""
    with pytest.raises(TypeError, match=r"'nmae'.* limits, cancel_on_disconnect, name$"):
        register("/x", Callable(), nmae="x")


def test_a_router_alone_is_no_application():
    assert not callable(Router())


@pytest.mark.anyio
async def test_a_closure_with_a_default_behind_next_is_a_middleware():
    """`next` is asked for, what follows it has a default."""
    app = Nardis()
    app.use(closes_over)
    app.get("/", Callable())

    async with Client(app) as client:
        assert (await client.get("/")).text == "callable"


@pytest.mark.anyio
async def test_one_application_can_be_served_again():
    """One lifespan after another; nothing of the first is left."""
    app = Nardis()
    app.get("/", Callable())

    for _ in range(2):
        async with Client(app) as client:
            assert (await client.get("/")).text == "callable"
