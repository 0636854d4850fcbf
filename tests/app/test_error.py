"""`error()`: who answers an exception, and what the middlewares around see of it."""

import logging

import pytest

from nardis import ClientDisconnected, HTTPError, Limits, Nardis, Router
from nardis.errors import NoResponse, UsageError
from nardis.testing import AppError, Client

pytestmark = pytest.mark.anyio


def as_error_handler(handler):
    async def answers(err, req, res):
        return await handler(req, res)

    return answers


def raises(error):
    async def handler(req, res):
        raise error

    return handler


def answers(text):
    async def handler(err, req, res):
        await res.send(f"{text}: {err}")

    return handler


async def test_an_error_handler_answers_its_exception():
    app = Nardis()

    @app.error(KeyError)
    async def missing(err, req, res):
        await res.status(404).json({"missing": str(err), "path": req.path})

    app.get("/x", raises(KeyError("k")))

    async with Client(app) as client:
        response = await client.get("/x")
    assert (response.status_code, response.json()) == (404, {"missing": "'k'", "path": "/x"})


async def test_error_gives_the_handler_back():
    handler = answers("x")

    assert Nardis().error(KeyError)(handler) is handler


async def test_an_answer_to_an_exception_is_500_unless_it_says_otherwise():
    app = Nardis()
    app.error(KeyError)(answers("key"))
    app.error(HTTPError)(answers("http"))
    app.get("/key", raises(KeyError()))
    app.get("/http", raises(HTTPError(418)))

    async with Client(app) as client:
        assert (await client.get("/key")).status_code == 500
        assert (await client.get("/http")).status_code == 418


async def test_the_nearest_class_answers_whatever_the_order():
    """By method resolution order, not by order of registration."""
    app = Nardis()
    app.error(Exception)(answers("Exception"))
    app.error(LookupError)(answers("LookupError"))
    app.error(IndexError)(answers("IndexError"))
    for error in (KeyError("k"), IndexError("i"), ValueError("v")):
        app.get(f"/{type(error).__name__}", raises(error))

    async with Client(app) as client:
        assert (await client.get("/KeyError")).text == "LookupError: 'k'"
        assert (await client.get("/IndexError")).text == "IndexError: i"
        assert (await client.get("/ValueError")).text == "Exception: v"


async def test_one_handler_may_answer_several_kinds():
    app = Nardis()
    app.error(KeyError, ValueError, 404)(answers("one"))
    app.get("/k", raises(KeyError("k")))
    app.get("/v", raises(ValueError("v")))

    async with Client(app) as client:
        assert (await client.get("/k")).text == "one: 'k'"
        assert (await client.get("/v")).text == "one: v"
        assert (await client.get("/nothing")).text.startswith("one: 404")


async def test_the_last_handler_registered_for_a_kind_answers():
    app = Nardis()
    app.error(KeyError)(answers("first"))
    app.error(KeyError)(answers("second"))
    app.get("/", raises(KeyError("k")))

    async with Client(app) as client:
        assert (await client.get("/")).text == "second: 'k'"


async def test_a_status_wins_over_a_class():
    app = Nardis()
    app.error(HTTPError)(answers("class"))
    app.error(403)(answers("status"))
    app.get("/403", raises(HTTPError(403)))
    app.get("/410", raises(HTTPError(410)))

    async with Client(app) as client:
        response = await client.get("/403")
        assert (response.status_code, response.text) == (403, "status: 403 Forbidden")
        assert (await client.get("/410")).text == "class: 410 Gone"


async def test_a_subclass_of_http_error_is_found_by_its_class():
    class Teapot(HTTPError):
        def __init__(self):
            super().__init__(418, "short and stout")

    app = Nardis()
    app.error(HTTPError)(answers("http"))
    app.error(Teapot)(answers("teapot"))
    app.get("/", raises(Teapot()))

    async with Client(app) as client:
        assert (await client.get("/")).text == "teapot: 418 I'm a Teapot: short and stout"


async def test_the_innermost_router_answers_first():
    app, outer, inner = Nardis(), Router(), Router()
    app.error(Exception)(answers("app"))
    outer.error(LookupError)(answers("outer"))
    inner.error(KeyError)(answers("inner"))
    for error in (KeyError("k"), IndexError("i"), ValueError("v")):
        inner.get(f"/{type(error).__name__}", raises(error))
    outer.use("/i", inner)
    app.use("/o", outer)

    async with Client(app) as client:
        assert (await client.get("/o/i/KeyError")).text == "inner: 'k'"
        assert (await client.get("/o/i/IndexError")).text == "outer: i"
        assert (await client.get("/o/i/ValueError")).text == "app: v"


async def test_an_inner_class_wins_over_an_outer_nearer_one():
    """Innermost first: also where the outer handler fits better."""
    app, router = Nardis(), Router()
    app.error(KeyError)(answers("app"))
    router.error(Exception)(answers("router"))
    router.get("/", raises(KeyError("k")))
    app.use("/r", router)

    async with Client(app) as client:
        assert (await client.get("/r")).text == "router: 'k'"


async def test_what_lies_behind_a_router_is_none_of_its_business():
    """A router that was fallen through does not answer for what its parent ran afterwards."""
    app, router = Nardis(), Router()
    router.error(KeyError)(answers("router"))

    @router.use
    async def passes(req, res, next):
        await next()

    app.use(router)
    app.get("/", raises(KeyError("k")))

    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/")).status_code == 500
    app.error(KeyError)(answers("app"))
    async with Client(app) as client:
        assert (await client.get("/")).text == "app: 'k'"


async def test_a_handler_that_raises_passes_on_to_the_router_around():
    """The same error or another one; never to a handler of its own router."""
    app, router, log = Nardis(), Router(), []

    @router.error(KeyError)
    async def again(err, req, res):
        log.append("again")
        raise err

    @router.error(LookupError)
    async def other(err, req, res):
        log.append("other")
        raise ValueError("other") from err

    router.error(ValueError)(answers("never"))
    app.error(KeyError, ValueError)(answers("app"))
    router.get("/key", raises(KeyError("k")))
    router.get("/index", raises(IndexError("i")))
    app.use("/r", router)

    async with Client(app) as client:
        assert (await client.get("/r/key")).text == "app: 'k'"
        assert (await client.get("/r/index")).text == "app: other"
    assert log == ["again", "other"]


async def test_a_handler_may_raise_an_http_error():
    app = Nardis()

    @app.error(LookupError)
    async def missing(err, req, res):
        raise HTTPError(404, "no such thing") from err

    app.get("/", raises(KeyError("k")))

    async with Client(app) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (404, "404 Not Found: no such thing\n")


async def test_a_handler_that_fails_is_a_500_with_its_own_error():
    app = Nardis()
    bug = ZeroDivisionError("in the handler")

    @app.error(KeyError)
    async def fails(err, req, res):
        raise bug

    app.get("/", raises(KeyError("k")))

    async with Client(app) as client:
        with pytest.raises(AppError) as caught:
            await client.get("/")
    assert caught.value.__cause__ is bug


async def test_an_error_handler_that_does_not_answer_is_named():
    app = Nardis()

    @app.error(KeyError)
    async def forgetful(err, req, res):
        pass

    app.get("/", raises(KeyError("k")))

    async with Client(app) as client:
        with pytest.raises(AppError, match="forgetful") as caught:
            await client.get("/")
    assert isinstance(caught.value.__cause__, NoResponse)


async def returns(req, res):
    return {"id": 7}


async def returns_text(req, res):
    return "hello"


async def returns_response(req, res):
    return res.status(204)


async def hands_on(req, res, next):
    return await next()


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (returns, r"returned a value \(dict\), .* `await res\.json\(\.\.\.\)`"),
        (returns_text, r"returned a value \(str\), .* `await res\.send\(\.\.\.\)`"),
        (returns_response, r"returned a value \(Response\), .* `await res\.send\(\.\.\.\)`"),
    ],
    ids=["dict", "text", "response"],
)
@pytest.mark.parametrize("way", ["alone", "behind", "routed", "limited", "head", "error"])
async def test_a_handler_that_returns_what_it_should_send_is_told_so(handler, told, way):
    """As in frameworks that send what a handler returns; wherever it stands."""
    app, router = Nardis(), Router()
    app.error(KeyError)(as_error_handler(handler))
    if way == "behind":
        app.use(hands_on)
    if way == "limited":
        app.get("/", handler, limits=Limits(handler_s=9))
    else:
        (router if way == "routed" else app).get(
            "/", raises(KeyError) if way == "error" else handler
        )
    app.use(router)

    async with Client(app) as client:
        with pytest.raises(AppError, match=told) as caught:
            await client.request("HEAD" if way == "head" else "GET", "/")
    assert isinstance(caught.value.__cause__, NoResponse)


@pytest.mark.parametrize("way", ["straight", "walked"])
async def test_a_next_that_nobody_awaits_is_called_so(way):
    """By Python's warning, which is all that knows of it; the 500 says how to pass on."""
    app = Nardis()

    async def forgets(req, res, next):
        next()

    if way == "straight":
        app.use(forgets)
    app.get("/", forgets, returns)

    async with Client(app) as client:
        with (
            pytest.warns(RuntimeWarning, match="coroutine 'next' was never awaited"),
            pytest.raises(AppError, match=r"forgets\(\) returned without.*`await next\(\)`"),
        ):
            await client.get("/")


async def test_what_is_returned_beside_an_answer_means_nothing():
    app = Nardis()
    app.use(hands_on)

    @app.get("/")
    async def handler(req, res):
        await res.send("sent")
        return {"returned": True}

    async with Client(app) as client:
        assert (await client.get("/")).text == "sent"


async def test_an_error_handler_that_forgets_await_is_told_so():
    app = Nardis()

    @app.error(KeyError)
    async def forgetful(err, req, res):
        res.send("no await")

    app.get("/", raises(KeyError("k")))

    async with Client(app) as client:
        with pytest.raises(AppError, match="await"):
            await client.get("/")


async def test_an_error_handler_may_stream():
    app = Nardis()

    @app.error(KeyError)
    async def streams(err, req, res):
        await res.status(503).write("one ")
        await res.write("two")

    app.get("/", raises(KeyError("k")))

    async with Client(app) as client:
        response = await client.get("/")
    assert (response.status_code, response.text, response.complete) == (503, "one two", True)


async def test_middlewares_stand_around_the_answer():
    """`next()` returns normally, what they set stays, and their hooks run."""
    app, log = Nardis(), []

    @app.use
    async def cors(req, res, next):
        res.set("access-control-allow-origin", "*")
        res.on_head(lambda: res.set("x-status", res.status_code))
        await next()
        log.append(res.status_code)

    app.error(KeyError)(answers("key"))
    app.get("/key", raises(KeyError("k")))
    app.get("/http", raises(HTTPError(418)))

    async with Client(app) as client:
        for path, status in (("/key", 500), ("/http", 418)):
            response = await client.get(path)
            assert response.status_code == status
            assert response.headers["access-control-allow-origin"] == "*"
            assert response.headers["x-status"] == str(status)
    assert log == [500, 418]


async def test_what_nobody_registered_passes_outward_through_the_middlewares():
    app, log = Nardis(), []
    bug = KeyError("k")

    @app.use
    async def watches(req, res, next):
        try:
            await next()
        except KeyError as exc:
            log.append(exc)
            raise

    app.get("/", raises(bug))

    async with Client(app) as client:
        with pytest.raises(AppError) as caught:
            await client.get("/")
    assert log == [bug]
    assert caught.value.__cause__ is bug


async def test_an_error_is_offered_to_each_handler_once():
    """On its way outward through the middlewares nobody is asked again."""
    app, router, log = Nardis(), Router(), []

    async def passes(req, res, next):
        await next()

    @app.error(KeyError)
    @router.error(KeyError)
    async def declines(err, req, res):
        log.append(req.path)
        raise err

    router.use(passes, passes)
    router.get("/x", raises(KeyError("k")))
    app.use(passes)
    app.use("/r", passes, router)

    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/r/x")).status_code == 500
    assert len(log) == 2


async def test_an_error_of_a_middleware_before_next_is_answered():
    app, router = Nardis(), Router()

    @router.use
    async def fails(req, res, next):
        raise KeyError("k")

    router.error(KeyError)(answers("router"))
    app.use("/r", router)

    async with Client(app) as client:
        assert (await client.get("/r/anything")).text == "router: 'k'"


async def test_an_error_of_a_middleware_after_next_is_answered_while_nothing_was_sent():
    app = Nardis()

    @app.use
    async def fails(req, res, next):
        await next()
        raise KeyError("after next")

    @app.get("/")
    async def silent(req, res):
        pass

    app.error(KeyError)(answers("app"))

    async with Client(app) as client:
        assert (await client.get("/")).text == "app: 'after next'"


async def test_an_error_of_a_middleware_after_the_end_changes_nothing_for_the_client(caplog):
    app, asked = Nardis(), []

    @app.use
    async def fails(req, res, next):
        await next()
        raise KeyError("after next")

    @app.get("/")
    async def index(req, res):
        await res.send("whole")

    @app.error(KeyError)
    async def never(err, req, res):
        asked.append(err)  # pragma: no cover - must not happen

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/")
    assert (response.status_code, response.text, asked) == (200, "whole", [])
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info[0] is KeyError
    async with Client(app) as client:
        with pytest.raises(AppError, match="after next"):
            await client.get("/")


async def test_an_error_past_the_head_is_answered_by_nobody():
    app, asked = Nardis(), []

    @app.get("/")
    async def fails(req, res):
        await res.write("half")
        raise KeyError("k")

    @app.error(KeyError, 500)
    async def never(err, req, res):
        asked.append(err)  # pragma: no cover - must not happen

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/")
    assert (response.status_code, response.text, response.complete, asked) == (
        200,
        "half",
        False,
        [],
    )


async def test_status_500_answers_what_nobody_registered_for():
    """It gets the exception itself, outside of all middlewares."""
    app, log = Nardis(), []

    @app.use
    async def watches(req, res, next):
        try:
            await next()
        finally:
            log.append(res.started)

    @app.error(500)
    async def sorry(err, req, res):
        await res.json({"sorry": type(err).__name__})

    app.get("/", raises(KeyError("k")))

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/")
    assert (response.status_code, response.json(), log) == (500, {"sorry": "KeyError"}, [False])


async def test_status_500_answers_an_http_error_of_that_status_where_it_arises():
    app, log = Nardis(), []

    @app.use
    async def watches(req, res, next):
        await next()
        log.append(res.status_code)

    app.error(500)(answers("sorry"))
    app.get("/", raises(HTTPError(500)))

    async with Client(app) as client:
        assert (await client.get("/")).text == "sorry: 500 Internal Server Error"
    assert log == [500]


@pytest.mark.parametrize("failure", ["raises", "silent"])
async def test_a_handler_of_500_that_fails_leaves_the_default(failure, caplog):
    app = Nardis()

    @app.error(500)
    async def fails(err, req, res):
        if failure == "raises":
            raise ZeroDivisionError

    app.get("/", raises(KeyError("k")))

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/")
    assert (response.status_code, response.text) == (500, "500 Internal Server Error\n")
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 2


async def test_a_handler_of_500_that_fails_past_its_head_is_cut():
    app = Nardis()

    @app.error(500)
    async def fails(err, req, res):
        await res.write("half")
        raise ZeroDivisionError

    app.get("/", raises(KeyError("k")))

    async with Client(app, raise_app_errors=False) as client:
        response = await client.get("/")
    assert (response.status_code, response.text, response.complete) == (500, "half", False)


async def test_error_handlers_run_after_the_except_block_was_left():
    """So `res.end()` in one is an end like any other."""
    app = Nardis()

    @app.error(KeyError)
    async def ends(err, req, res):
        await res.status(500).write("half ")
        await res.end("whole")
        assert res.finished

    app.get("/", raises(KeyError("k")))

    async with Client(app) as client:
        response = await client.get("/")
    assert (response.text, response.complete) == ("half whole", True)


async def test_an_error_handler_sees_the_place_of_its_router():
    app, router = Nardis(), Router()

    @router.error(KeyError)
    @app.error(ValueError)
    async def where(err, req, res):
        await res.send(f"{req.base_url} {req.path}")

    router.get("/x", raises(KeyError("k")))
    router.get("/y", raises(ValueError("v")))
    app.use("/r", router)

    async with Client(app) as client:
        assert (await client.get("/r/x")).text == "/r /x"
        assert (await client.get("/r/y")).text == " /r/y"


async def test_an_exception_handler_for_all_does_not_hide_clients_that_left():
    """`error(Exception)` is not asked for ClientDisconnected: there is nobody to answer."""
    app, asked = Nardis(), []

    @app.error(Exception, ClientDisconnected)
    async def everything(err, req, res):
        asked.append(err)  # pragma: no cover - must not happen

    app.get("/", raises(ClientDisconnected("gone")))

    async with Client(app, raise_app_errors=False) as client:
        await client.get("/")
    assert asked == []


async def test_usage_errors_are_errors_like_others():
    app = Nardis()
    app.error(UsageError)(answers("misused"))

    @app.get("/")
    async def silent(req, res):
        res.status(7)

    async with Client(app) as client:
        assert (await client.get("/")).text.startswith("misused: status() takes")
