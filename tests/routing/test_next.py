"""The rules of `next()` and of `SkipRoute`."""

import anyio
import pytest

from nardis import HTTPError, Nardis, Router, SkipRoute
from nardis.errors import NextCalledTwice, NoResponse, NotModified
from nardis.testing import AppError, Client

pytestmark = pytest.mark.anyio


def answers(text):
    async def handler(req, res):
        await res.send(text)

    return handler


async def passes(req, res, next):
    await next()


async def skips(req, res, next):
    raise SkipRoute


def cause_of(caught):
    return caught.value.__cause__


async def test_calling_next_twice_is_an_error():
    app = Nardis()

    @app.use
    async def twice(req, res, next):
        await next()
        await next()

    app.use(passes)
    app.get("/", answers("ok"))

    async with Client(app) as client:
        with pytest.raises(AppError) as caught:
            await client.get("/")
    assert isinstance(cause_of(caught), NextCalledTwice)


@pytest.mark.parametrize("where", ["use", "route", "router"])
async def test_calling_next_twice_is_an_error_even_if_the_first_call_failed(where):
    """There is no retry: what ran once may have half an effect."""
    app, router, errors = Nardis(), Router(), []

    async def retry(req, res, next):
        try:
            await next()
        except KeyError:
            try:
                await next()
            except NextCalledTwice as exc:
                errors.append(exc)
        await res.send("caught")

    async def fails(req, res):
        raise KeyError

    if where == "use":
        app.use(retry)
    elif where == "route":
        app.get("/", retry)
    else:
        router.use(retry)
        app.use(router)
    app.get("/", fails)

    async with Client(app) as client:
        assert (await client.get("/")).text == "caught"
    assert len(errors) == 1


@pytest.mark.parametrize("prefix", ["/", "/api"])
async def test_next_that_was_never_called_is_of_no_use_after_the_request(prefix):
    """Behind a router as well."""
    app, router, kept = Nardis(), Router(), []
    app.use(prefix, router)

    @router.use
    async def keeps(req, res, next):
        kept.append(next)
        await res.send("ok")

    app.use(keeps)
    async with Client(app) as client:
        for path in (prefix, "/elsewhere"):
            assert (await client.get(path)).text == "ok"
        for next in kept:
            with pytest.raises(NextCalledTwice):
                await next()
    assert len(kept) == 2


async def test_next_is_of_no_use_after_its_middleware_returned():
    """Somebody who kept it learns so, and the request that ran meanwhile is not disturbed."""
    app, kept = Nardis(), []

    @app.use
    async def keeps(req, res, next):
        kept.append(next)
        await next()

    app.get("/", answers("ok"))

    async with Client(app) as client:
        assert (await client.get("/")).text == "ok"
        with pytest.raises(NextCalledTwice):
            await kept[0]()


async def test_who_neither_answers_nor_passes_on_is_named():
    app = Nardis()
    app.use(passes)

    @app.get("/")
    async def forgetful(req, res):
        pass

    async with Client(app) as client:
        with pytest.raises(AppError) as caught:
            await client.get("/")
    assert isinstance(cause_of(caught), NoResponse)
    assert "forgetful" in str(cause_of(caught))


async def test_who_neither_answers_nor_passes_on_is_named_in_a_router_too():
    app, router = Nardis(), Router()
    app.use("/api", router)

    @router.get("/")
    async def forgetful(req, res):
        pass

    async with Client(app) as client:
        with pytest.raises(AppError) as caught:
            await client.get("/api/")
    assert "forgetful" in str(cause_of(caught))


async def test_a_middleware_that_neither_answers_nor_passes_on_is_named():
    app = Nardis()

    @app.use
    async def forgetful(req, res, next):
        pass

    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/")).status_code == 500
    async with Client(app) as client:
        with pytest.raises(AppError, match="forgetful"):
            await client.get("/")


async def test_a_middleware_may_answer_for_a_handler_that_did_not():
    app = Nardis()

    @app.use
    async def fallback(req, res, next):
        await next()
        if not res.started:
            await res.send("fallback")

    @app.get("/silent")
    async def silent(req, res):
        pass

    app.get("/loud", answers("loud"))

    async with Client(app) as client:
        assert (await client.get("/silent")).text == "fallback"
        assert (await client.get("/loud")).text == "loud"


async def test_next_in_a_route_goes_on_behind_it():
    app, log = Nardis(), []

    def passing(name):
        async def middleware(req, res, next):
            log.append(name)
            await next()

        return middleware

    app.get("/x", passing("a"), passing("b"))
    app.get("/y", answers("y"))
    app.get("/x", passing("c"), answers("ok"))

    async with Client(app) as client:
        assert (await client.get("/x")).text == "ok"
    assert log == ["a", "b", "c"]


async def test_skip_route_leaves_the_route():
    """The rest of its handlers is passed over; the next route that matches goes on."""
    app = Nardis()
    app.get("/x", passes, skips, answers("passed over"))
    app.get("/:any", answers("next"))
    app.get("/passed over", answers("not passed over"))

    async with Client(app) as client:
        assert (await client.get("/x")).text == "next"


async def test_skip_route_without_another_route_is_404():
    app = Nardis()
    app.get("/x", skips, passes)

    async with Client(app) as client:
        assert (await client.get("/x")).status_code == 404


async def test_skip_route_in_use_goes_on():
    """There is no route to leave, so it is `next()`, as in Express."""
    app = Nardis()
    app.use(passes, skips, passes)
    app.get("/x", answers("ok"))

    async with Client(app) as client:
        assert (await client.get("/x")).text == "ok"


async def test_skip_route_in_a_router_goes_on_in_that_router():
    app, router = Nardis(), Router()
    router.get("/x", skips)
    router.get("/x", answers("router"))
    app.use(router)
    app.get("/x", answers("app"))

    async with Client(app) as client:
        assert (await client.get("/x")).text == "router"


async def test_skip_route_from_the_last_layer_of_a_router_goes_on_in_its_parent():
    app, router = Nardis(), Router()
    router.get("/x", skips)
    app.use("/r", router)
    app.get("/r/x", answers("app"))

    async with Client(app) as client:
        assert (await client.get("/r/x")).text == "app"


async def test_skip_route_skips_only_once():
    """Two in a row skip two routes."""
    app = Nardis()
    app.get("/x", skips)
    app.get("/x", skips)
    app.get("/x", passes, answers("third"))

    async with Client(app) as client:
        assert (await client.get("/x")).text == "third"


async def test_next_raises_what_nobody_answered():
    """An exception that nobody registered passes outward, and a middleware may take it."""
    app = Nardis()

    @app.use
    async def catches(req, res, next):
        with pytest.raises(LookupError):
            await next()
        await res.send("caught")

    @app.get("/")
    async def fails(req, res):
        raise LookupError

    async with Client(app) as client:
        assert (await client.get("/")).text == "caught"


async def test_next_returns_for_an_error_that_was_answered():
    app, log = Nardis(), []

    @app.use
    async def watches(req, res, next):
        await next()
        log.append(res.status_code)

    @app.get("/")
    async def refuses(req, res):
        raise HTTPError(418)

    async with Client(app) as client:
        assert (await client.get("/")).status_code == 418
    assert log == [418]


async def test_skip_route_after_next_runs_nothing_again():
    """The rest has run; leaving the route then is no way to run it once more."""
    app, log = Nardis(), []

    @app.get("/x")
    async def confused(req, res, next):
        await next()
        raise SkipRoute

    @app.get("/x")
    async def handler(req, res):
        log.append("handler")
        await res.send("ok")

    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/x")).text == "ok"
    assert log == ["handler"]


@pytest.mark.parametrize("path", ["/x", "/:name"])
async def test_a_handler_alone_on_its_route_passes_on_by_skip_route(path):
    """Such a handler is called without a walk through the table."""
    app, log = Nardis(), []

    @app.get(path)
    async def first(req, res):
        log.append((req.params, req.route.path, req.path, req.base_url))
        raise SkipRoute

    @app.get("/x")
    async def second(req, res):
        log.append((req.params, req.route.path, req.path, req.base_url))
        await res.send("second")

    async with Client(app) as client:
        assert (await client.get("/x")).text == "second"
        for _ in range(2):
            assert (await client.get("/x")).text == "second"

    captured = {"name": "x"} if path == "/:name" else {}
    assert log[:2] == [(captured, path, "/x", ""), ({}, "/x", "/x", "")]


async def test_where_the_last_handler_passes_on_nothing_is_found():
    app = Nardis()

    @app.get("/x")
    async def alone(req, res):
        raise SkipRoute

    async with Client(app) as client:
        response = await client.get("/x")

    assert response.status_code == 404


async def test_what_a_handler_passes_on_may_stream():
    app = Nardis()

    @app.get("/x")
    async def alone(req, res):
        raise SkipRoute

    @app.get("/x")
    async def streams(req, res):
        await res.write("half")
        await res.write("whole")

    async with Client(app) as client:
        response = await client.get("/x")

    assert (response.text, response.complete) == ("halfwhole", True)


@pytest.mark.parametrize(("first", "posted"), [("all", 405), ("get", 200)])
async def test_skip_route_leaves_all_of_a_chain(first, posted):
    """What stands in front of `app.route()` guards what stands behind it, as in Express."""
    app = Nardis()
    chain = app.route("/x")
    getattr(chain, first)(skips)
    app.get("/y", answers("between"))
    chain.get(answers("guarded")).post(answers("posted"))
    app.get("/x", answers("behind"))

    async with Client(app) as client:
        for _ in range(2):  # the second time by a plan that is known
            assert (await client.get("/x")).text == "behind"
        assert (await client.post("/x")).status_code == posted


async def test_a_handler_alone_leaves_all_of_its_chain():
    """It is called without a walk through the table, unless more of the chain may follow."""
    app = Nardis()

    async def alone(req, res):
        raise SkipRoute

    app.route("/x").get(alone).put(answers("put")).all(answers("guarded"))
    app.get("/x", answers("behind"))

    async with Client(app) as client:
        assert (await client.get("/x")).text == "behind"
        assert (await client.put("/x")).text == "put"


async def leaves(error):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep_forever)
        raise error


@pytest.mark.parametrize("around", [[], [passes]], ids=["alone", "behind a middleware"])
async def test_a_signal_means_the_same_out_of_a_task_group(around):
    """It leaves that as a group of one error, as `HTTPError` does."""
    app, errors = Nardis(), {"skip": SkipRoute(), "http": HTTPError(418), "same": NotModified()}

    @app.get("/:kind", *around)
    async def grouped(req, res):
        await leaves(errors[req.params["kind"]])

    app.get("/*rest", answers("the next one"))

    async with Client(app) as client:
        assert (await client.get("/skip")).text == "the next one"
        assert (await client.get("/http")).status_code == 418
        assert (await client.get("/same")).status_code == 304
    assert errors["skip"].__cause__ is None  # a circle, for a signal that nobody looks at


async def test_a_skip_beside_another_error_in_a_group_is_an_error():
    app = Nardis()

    @app.get("/", passes)
    async def handler(req, res):
        raise ExceptionGroup("two", [SkipRoute(), KeyError("k")])

    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/")).status_code == 500


async def test_a_skip_of_an_error_handler_finds_no_route_behind_the_last_one():
    """It passes outward through a router that has come to its end, and no fault is made of it."""
    app, router, heard = Nardis(), Router(), []
    router.get("/elsewhere", answers("elsewhere"))
    app.use(router)

    @app.error(Exception)
    async def skips(error, req, res):
        heard.append(type(error))
        raise SkipRoute

    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/")).status_code == 500
    assert heard == [HTTPError]
