"""Each verb registers a route: with handlers in the call, as a decorator, or both."""

import anyio
import pytest

from nardis import Limits, Nardis, Router, UsageError
from nardis.testing import Client
from tests.peers.driver import tick_once

pytestmark = pytest.mark.anyio

VERBS = ["get", "post", "put", "patch", "delete", "options"]


def answers(text):
    async def handler(req, res):
        await res.send(text)

    return handler


def passes(log, name):
    async def middleware(req, res, next):
        log.append(name)
        await next()

    return middleware


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_called_with_a_handler_answers_its_method(verb):
    app = Nardis()
    getattr(app, verb)("/x", answers(verb))

    async with Client(app) as client:
        assert (await getattr(client, verb)("/x")).text == verb


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_decorates_and_gives_the_function_back(verb):
    app = Nardis()
    handler = answers(verb)

    assert getattr(app, verb)("/x")(handler) is handler
    async with Client(app) as client:
        assert (await getattr(client, verb)("/x")).text == verb


async def test_head_answers_head_alone():
    app = Nardis()
    app.head("/x")(answers("12345"))

    async with Client(app) as client:
        response = await client.head("/x")
        assert (response.status_code, response.headers["content-length"], response.content) == (
            200,
            "5",
            b"",
        )
        assert (await client.get("/x")).status_code == 405


async def test_a_verb_with_middlewares_decorates_the_handler():
    """`@app.get("/x", guard)`: the guard runs first."""
    app, log = Nardis(), []

    @app.get("/x", passes(log, "guard"))
    async def handler(req, res):
        log.append("handler")
        await res.send("ok")

    async with Client(app) as client:
        assert (await client.get("/x")).text == "ok"
    assert log == ["guard", "handler"]


async def test_handlers_may_come_in_nested_lists():
    """As in Express, an array of handlers is flattened."""
    app, log = Nardis(), []
    app.get("/x", passes(log, "a"), [passes(log, "b"), (passes(log, "c"), [answers("ok")])])

    async with Client(app) as client:
        assert (await client.get("/x")).text == "ok"
    assert log == ["a", "b", "c"]


async def test_all_answers_any_method():
    app = Nardis()

    @app.all("/x")
    async def handler(req, res):
        await res.send(req.method)

    async with Client(app) as client:
        assert [
            (await client.request(method, "/x")).text
            for method in ("GET", "POST", "OPTIONS", "PROPFIND")
        ] == [
            "GET",
            "POST",
            "OPTIONS",
            "PROPFIND",
        ]
        assert (await client.head("/x")).status_code == 200


async def test_method_takes_any_name_in_any_case():
    app = Nardis()
    app.method("propfind", "/x", answers("found"))

    @app.method("REPORT", "/x")
    async def report(req, res):
        await res.send("reported")

    async with Client(app) as client:
        assert (await client.request("PROPFIND", "/x")).text == "found"
        assert (await client.request("REPORT", "/x")).text == "reported"
        assert (await client.get("/x")).headers["allow"] == "PROPFIND, REPORT"


@pytest.mark.parametrize("method", ["", "A B", "/x", None, "GÉT"])
@pytest.mark.parametrize("of", ["the application", "a path"])
def test_what_no_request_can_have_as_its_method_is_refused(method, of):
    """An empty one would have been any method, and the others none, without a word."""
    app = Nardis()

    with pytest.raises(UsageError, match="the path comes behind it"):
        if of == "a path":
            app.route("/x").method(method, answers("x"))
        else:
            app.method(method, "/x", answers("x"))
    assert app.routes() == []


async def test_route_chains_verbs_on_one_path():
    app, log = Nardis(), []
    verbs = ["get", "post", "put", "patch", "delete", "options"]
    route = app.route("/x").all(passes(log, "all"))
    for verb in verbs:
        assert getattr(route, verb)(answers(verb)) is not None
    route.method("REPORT", answers("report"))

    async with Client(app) as client:
        for verb in [*verbs, "report"]:
            assert (await client.request(verb, "/x")).text == verb
    assert log == ["all"] * 7


async def test_route_chains_head():
    app = Nardis()
    app.route("/x").head(answers("123")).get(answers("12345"))

    async with Client(app) as client:
        assert (await client.head("/x")).headers["content-length"] == "3"


async def test_route_chains_take_several_handlers_and_a_list_of_paths():
    app, log = Nardis(), []
    app.route(["/x", "/y/:id"]).get(passes(log, "a"), [passes(log, "b")], answers("ok"))

    async with Client(app) as client:
        assert (await client.get("/x")).text == "ok"
        assert (await client.get("/y/7")).text == "ok"
        assert (await client.post("/x")).headers["allow"] == "GET, HEAD"
    assert log == ["a", "b"] * 2


@pytest.mark.parametrize("verb", [*VERBS, "head", "all", "method"])
async def test_each_verb_of_a_route_chain_takes_the_options_of_a_route(verb):
    app = Nardis()

    async def echo(req, res):
        await res.send(await req.bytes())

    method = ["REPORT"] if verb == "method" else []
    options = {"limits": Limits(buffered_body_bytes=3), "name": "echo"}
    getattr(app.route("/x"), verb)(*method, echo, **options)
    [route] = app.routes()

    assert app.url_for("echo") == "/x"
    async with Client(app) as client:
        sent = route.method or "POST"
        assert (await client.request(sent, "/x", content=b"1234")).status_code == 413
    with pytest.raises(TypeError, match="'nmae'"):
        getattr(app.route("/y"), verb)(*method, echo, nmae="x")


async def test_a_list_of_paths_is_one_route():
    app = Nardis()

    @app.get(["/a", "/b/:id"])
    async def handler(req, res):
        await res.json(req.params)

    async with Client(app) as client:
        assert (await client.get("/a")).json() == {}
        assert (await client.get("/b/7")).json() == {"id": "7"}
        assert (await client.get("/c")).status_code == 404


async def test_req_route_is_the_route_that_matched():
    """With its pattern, for metrics; a middleware sees it once next() returned."""
    app, seen = Nardis(), []

    @app.use
    async def metrics(req, res, next):
        seen.append(req.route)
        await next()
        seen.append(req.route and req.route.path)

    app.get("/users/:id", answers("ok"))

    async with Client(app) as client:
        await client.get("/users/7")
        await client.get("/nobody")
    assert seen == [None, "/users/:id", None, None]


@pytest.mark.parametrize("case_sensitive", [True, False])
async def test_case_sensitive_tells_upper_from_lower_case(case_sensitive):
    app = Nardis(case_sensitive=case_sensitive)
    app.get("/Hello/:name", answers("route"))
    app.get("/fixed", answers("fixed"))

    async with Client(app) as client:
        assert (await client.get("/Hello/Bob")).status_code == 200
        assert (await client.get("/hello/Bob")).status_code == (404 if case_sensitive else 200)
        assert (await client.get("/FIXED")).status_code == (404 if case_sensitive else 200)


async def test_captures_keep_their_case():
    app = Nardis(case_sensitive=False)

    @app.get("/hello/:name")
    async def hello(req, res):
        await res.send(req.params["name"])

    async with Client(app) as client:
        assert (await client.get("/HELLO/BoB")).text == "BoB"


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("written", "other"), [("/x", "/x/"), ("/:id", "/7/")])
async def test_strict_refuses_one_slash_more(strict, written, other):
    app = Nardis(strict=strict)
    app.get(written, answers("ok"))

    async with Client(app) as client:
        assert (await client.get(other)).status_code == (404 if strict else 200)
        assert (await client.get(other.rstrip("/"))).status_code == 200
        assert (await client.get(other + "/")).status_code == 404


async def test_each_router_has_rules_of_its_own():
    """`case_sensitive` and `strict` are the router's that holds the route."""
    app, lax, stern = (
        Nardis(case_sensitive=False),
        Router(case_sensitive=False),
        Router(strict=True),
    )
    lax.get("/x", answers("lax"))
    stern.get("/y", answers("stern"))
    app.use("/lax", lax)
    app.use("/stern", stern)

    async with Client(app) as client:
        assert (await client.get("/LAX/X/")).text == "lax"
        assert (await client.get("/STERN/y")).text == "stern"
        assert (await client.get("/STERN/y/")).status_code == 404
        assert (await client.get("/stern/Y")).status_code == 404


async def test_a_path_with_a_percent_sign_is_matched_as_received():
    """`%25` in a pattern is the sign itself, which a path writes in the same way."""
    app = Nardis()
    app.get("/100%25", answers("all"))
    app.get("/what%3F", answers("question"))

    async with Client(app) as client:
        assert (await client.get("/100%25")).text == "all"
        assert (await client.get("/what%3F")).text == "question"
        assert (await client.get("/100%2525")).status_code == 404


async def test_routes_added_after_the_first_request_are_found():
    app, router = Nardis(), Router()
    app.use("/r", router)

    async with Client(app) as client:
        assert (await client.get("/late")).status_code == 404
        assert (await client.get("/r/late")).status_code == 404
        app.get("/late", answers("late"))
        router.get("/late", answers("router"))
        assert (await client.get("/late")).text == "late"
        assert (await client.get("/r/late")).text == "router"


async def test_a_handler_added_to_a_route_after_a_request_is_found():
    """`route = app.get("/x")`, and later `route(handler)`; also after a request in between."""
    app = Nardis()
    route = app.get("/x")

    async with Client(app) as client:
        assert (await client.get("/x")).status_code == 404
        route(answers("late"))
        assert (await client.get("/x")).text == "late"


async def test_a_route_can_have_limits_of_its_own():
    app = Nardis()

    @app.post("/small", limits=Limits(buffered_body_bytes=3))
    @app.post("/large")
    async def echo(req, res):
        await res.send(await req.bytes())

    async with Client(app) as client:
        assert (await client.post("/large", content=b"1234")).content == b"1234"
        assert (await client.post("/small", content=b"123")).content == b"123"
        assert (await client.post("/small", content=b"1234")).status_code == 413


@pytest.mark.parametrize(("path", "end"), [("/work", "finished"), ("/show", "cancelled")])
async def test_a_route_can_opt_out_of_cancellation(path, end):
    """And the route beside it has not."""
    app, ended, leaving = Nardis(), [], anyio.Event()

    @app.get("/work", cancel_on_disconnect=False)
    @app.get("/show")
    async def work(req, res):
        try:
            await leaving.wait()
            ended.append("finished")
        except anyio.get_cancelled_exc_class():
            ended.append("cancelled")
            raise

    async with Client(app, raise_app_errors=False) as client:
        async with client.stream("GET", path) as response:
            tick_once(app)
            await response.disconnect()
            await anyio.wait_all_tasks_blocked()
            leaving.set()
    assert ended == [end]
