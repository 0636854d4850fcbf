"""`cors()`: which pages of other origins may read an answer."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from nardis import HTTPError, Nardis, Router, UsageError
from nardis.middleware import cors
from nardis.testing import Client
from tests.peers.asgi import websocket

pytestmark = pytest.mark.anyio

A, B = "https://a.com", "https://b.com"
PREFLIGHT = {"origin": A, "access-control-request-method": "PUT"}


async def ask(middleware, method="GET", path="/", /, **headers):
    """Ask an application that answers GET with `ok`, behind *middleware*."""
    app = Nardis()
    app.use(middleware)

    @app.get("/")
    async def ok(req, res):
        await res.send("ok")

    async with Client(app, raise_app_errors=False) as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.request(method, path, headers=named)


async def preflight(middleware, path="/", /, **headers):
    asked = {name.replace("-", "_"): value for name, value in PREFLIGHT.items()}
    return await ask(middleware, "OPTIONS", path, **{**asked, **headers})


def granted(answer):
    return answer.headers.get("access-control-allow-origin")


def names_of(answer, field):
    return [name.strip() for name in answer.headers.get(field, "").split(",") if name]


# --- the rows of Express's package ----------------------------------------------------------------

ROWS = json.loads((Path(__file__).parents[1] / "vectors" / "cors_vectors.json").read_text())[
    "vectors"
]
NAMES = {
    "allowedHeaders": "headers",
    "exposedHeaders": "expose_headers",
    "maxAge": "max_age",
    "origin": "origins",
}

# By the number of the row: what differs, and why.
DEVIATIONS = {
    2: "an origin that may not read is not told who may: only its own name would let it",
    3: "`false` is a list of nobody here, and Vary says that an answer depends on the origin",
    10: "the middleware answers each preflight: what stands behind it has no part in that",
}


def options_of(row):
    """Return a row's options by our names; what it does not say is Express's default."""
    given = {NAMES.get(name, name): value for name, value in (row["options"] or {}).items()}
    given.pop("preflightContinue", None)
    origins = given.get("origins", "*")
    given["origins"] = (lambda origin, req: True) if origins is True else origins or []
    if isinstance(given.get("methods"), str):
        given["methods"] = given["methods"].split(",")
    return {"max_age": None, **given}


def said_by(headers):
    """Return the fields of CORS and Vary, lists as sets; a 204 of ours has no Content-Length."""
    return {
        name: {each.strip().lower() for each in value.split(",")}
        for name, value in headers.items()
        if name == "vary" or name.startswith("access-control-")
    }


@pytest.mark.parametrize("number", range(len(ROWS)))
async def test_the_package_of_express_agrees(number):
    row = ROWS[number]
    named = {name.replace("-", "_"): value for name, value in row["headers"].items()}
    answer = await ask(cors(**options_of(row)), row["method"], **named)

    ours = (answer.status_code, said_by(answer.headers), answer.text)
    theirs = (row["status"], said_by(row["response"]), row["body"])
    assert (ours != theirs) == (number in DEVIATIONS)


# --- who may read ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origins", "origin", "told", "varies"),
    [
        pytest.param([A, B], A, A, True, id="one of those named"),
        pytest.param("HTTPS://A.com:443", A, A, True, id="the only one, in other words"),
        pytest.param([A], B, None, True, id="another"),
        pytest.param([A], "https://a.com.evil.com", None, True, id="one that begins the same"),
        pytest.param([A], f"{A}, {A}", None, True, id="two"),
        pytest.param([A], None, None, True, id="no origin"),
        pytest.param("*", A, "*", False, id="all"),
        pytest.param(["*"], None, "*", False, id="all, and no origin"),
        pytest.param([A], "null", None, True, id="null, not named"),
        pytest.param([A, "null"], "null", "null", True, id="null, named"),
        pytest.param(lambda origin, req: True, "null", None, True, id="null, and a function"),
        pytest.param(lambda origin, req: True, "x y", None, True, id="nonsense, and a function"),
        pytest.param(lambda origin, req: req.path == "/", A, A, True, id="a function"),
        pytest.param(lambda origin, req: origin == B, A, None, True, id="a function that refuses"),
    ],
)
async def test_who_may_read(origins, origin, told, varies):
    """Vary says so whenever it depends on the origin: also for none, and for one that may not."""
    answer = await ask(cors(origins=origins), **({} if origin is None else {"origin": origin}))

    assert granted(answer) == told
    assert (answer.headers.get("vary") == "Origin") is varies
    assert (answer.status_code, answer.text) == (200, "ok")


@pytest.mark.parametrize("known", [True, False])
async def test_a_function_may_await(known):
    async def look_up(origin, req):
        assert origin == A
        return known

    answer = await ask(cors(origins=look_up, credentials=True), origin=A)

    assert granted(answer) == (A if known else None)
    assert answer.headers.get("access-control-allow-credentials") == ("true" if known else None)


async def test_an_answer_says_what_a_page_may_read_beside_the_usual():
    middleware = cors(origins=[A], expose_headers=("X-Total", "Link"))

    answer = await ask(middleware, origin=A)
    assert names_of(answer, "access-control-expose-headers") == ["X-Total", "Link"]
    assert "access-control-expose-headers" not in (await preflight(middleware)).headers


# --- preflights -----------------------------------------------------------------------------------


async def test_a_preflight_is_answered_by_the_middleware():
    answer = await preflight(cors(origins=[A], headers=["X-A"], max_age=timedelta(hours=1)))

    assert (answer.status_code, answer.content) == (204, b"")
    assert granted(answer) == A
    assert names_of(answer, "access-control-allow-methods") == [
        *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
    ]
    assert answer.headers["access-control-allow-headers"] == "X-A"
    assert answer.headers["access-control-max-age"] == "3600"
    assert answer.headers["vary"] == "Origin"


async def test_a_preflight_of_another_origin_allows_nothing():
    answer = await preflight(cors(origins=[B], credentials=True))

    assert answer.status_code == 204
    assert [name for name in answer.headers if name.startswith("access-control")] == []
    assert set(names_of(answer, "vary")) == {"Origin", "Access-Control-Request-Headers"}


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("x-a, X-B", "x-a, X-B"),
        ("x-a,x-b", "x-a, x-b"),
        ("x-a, b c", None),
        ("", None),
    ],
)
async def test_what_a_page_wants_to_set_is_allowed_unless_it_is_no_list_of_names(asked, told):
    answer = await preflight(cors(origins="*"), access_control_request_headers=asked)

    assert answer.headers.get("access-control-allow-headers") == told
    assert names_of(answer, "vary") == ["Access-Control-Request-Headers"]


async def test_no_field_may_be_set():
    answer = await preflight(cors(origins="*", headers=()), access_control_request_headers="x-a")

    assert "access-control-allow-headers" not in answer.headers
    assert "vary" not in answer.headers


@pytest.mark.parametrize("missing", PREFLIGHT)
async def test_any_other_options_is_answered_as_ever(missing):
    headers = {
        name.replace("-", "_"): value for name, value in PREFLIGHT.items() if name != missing
    }
    answer = await ask(cors(origins="*"), "OPTIONS", **headers)

    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD")
    assert granted(answer) == "*"


# --- where it stands ------------------------------------------------------------------------------


@pytest.fixture
async def site():
    """An application with two routers, one of which lets pages of A read."""
    app, api, inner = Nardis(), Router(), Router()

    @inner.get("/items")
    @inner.post("/items")
    async def items(req, res):
        await res.send("items")

    @inner.get("/gone")
    async def gone(req, res):
        raise HTTPError(410)

    @inner.get("/broken")
    async def broken(req, res):
        raise KeyError

    api.use(cors(origins=[A]))
    api.use("/v1", inner)
    app.use("/api", api)
    plain = Router()
    plain.get("/items", items)
    app.use("/plain", plain)
    async with Client(app, raise_app_errors=False) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "is_granted"),
    [
        ("/api/v1/items", True),
        ("/api/v1/nothing", True),
        ("/plain/items", False),
        ("/apiary", False),
    ],
)
async def test_a_router_answers_the_preflights_of_its_paths(site, path, is_granted):
    """Whether there is such a route is known when the request itself comes."""
    answer = await site.options(path, headers=PREFLIGHT)

    assert granted(answer) == (A if is_granted else None)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/items", 200),
        ("POST", "/api/v1/items", 200),
        ("DELETE", "/api/v1/items", 405),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/gone", 410),
        ("GET", "/api/v1/broken", 500),
    ],
)
async def test_errors_can_be_read_as_well(site, method, path, status):
    answer = await site.request(method, path, headers={"origin": A})

    assert (answer.status_code, granted(answer)) == (status, A)
    assert "Origin" in names_of(answer, "vary")


async def test_a_304_can_be_read():
    middleware = cors(origins=[A])
    etag = (await ask(middleware, origin=A)).headers["etag"]
    answer = await ask(middleware, origin=A, if_none_match=etag)

    assert (answer.status_code, granted(answer), answer.headers["vary"]) == (304, A, "Origin")


async def test_a_neighbour_is_not_touched(site):
    answer = await site.get("/plain/items", headers={"origin": A})

    assert (answer.text, granted(answer), answer.headers.get("vary")) == ("items", None, None)


async def test_a_route_has_it_for_its_method_alone():
    """The preflight of a route is another request, for which `all` or `options` has a place."""
    app = Nardis()

    async def ok(req, res):
        await res.send("ok")

    app.options("/one", cors(origins=[A]))
    app.put("/one", cors(origins=[A]), ok)
    app.all("/all", cors(origins=[A]), ok)
    async with Client(app) as client:
        for path in ("/one", "/all"):
            assert granted(await client.options(path, headers=PREFLIGHT)) == A
            assert granted(await client.put(path, headers={"origin": A})) == A
        plain = await client.options("/one")

    assert (plain.status_code, "PUT" in plain.headers["allow"]) == (204, True)


async def test_of_two_around_a_route_the_inner_one_says_who_may_read():
    app, strict = Nardis(), Router()
    app.use(cors(origins=[A, B], credentials=True, expose_headers=["X"]))
    strict.use(cors(origins=[A]))

    @strict.get("/")
    async def ok(req, res):
        await res.send("ok")

    app.use("/strict", strict)
    async with Client(app) as client:
        for origin in (A, B):
            answer = await client.get("/strict", headers={"origin": origin})
            said = {name for name in answer.headers if name.startswith("access-control")}
            assert said == ({"access-control-allow-origin"} if origin == A else set())


async def test_a_handler_with_a_vary_of_its_own_does_not_undo_ours():
    """Else a cache gives to one page what was allowed to another."""
    app = Nardis()
    app.use(cors(origins=[A]))

    @app.get("/")
    async def ok(req, res):
        await res.set("vary", "Accept").send("ok")

    async with Client(app) as client:
        answer = await client.get("/")

    assert names_of(answer, "vary") == ["Accept", "Origin"]


async def test_a_stream_has_the_fields_in_its_head():
    app = Nardis()
    app.use(cors(origins=[A]))

    @app.get("/")
    async def pieces(req, res):
        await res.write("1")
        await res.write("2")

    async with Client(app) as client, client.stream("GET", "/", headers={"origin": A}) as answer:
        assert granted(answer) == A
        assert await answer.read() == b"12"


async def test_a_function_that_fails_is_a_500_that_no_page_can_read():
    def fails(origin, req):
        raise KeyError

    answer = await ask(cors(origins=fails), origin=A)

    assert (answer.status_code, granted(answer)) == (500, None)
    assert "Origin" in names_of(answer, "vary")


async def test_the_opening_of_a_websocket_passes_untouched():
    app = Nardis()
    app.use(cors(origins=[A]))

    async def echo(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    app.mount("/", echo)
    async with websocket(app, "/") as socket:
        socket.leave()
        await socket.ended.wait()

    assert socket.sent == [{"type": "websocket.accept", "headers": []}]


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"origins": "example.com"}, "write 'https://example.com'"),
        ({"origins": ["*"], "credentials": True}, r"no '\*'"),
        ({"origins": [A, "null"], "credentials": True}, "no 'null'"),
        ({"origins": True}, "takes a list"),
        ({"origins": b"*"}, "takes a list"),
        ({"origins": A, "methods": "GET"}, "takes a list"),
        ({"origins": A, "methods": ["GE T"]}, "GE T"),
        ({"origins": A, "headers": ["x:"]}, "x:"),
        ({"origins": A, "headers": ["*"], "credentials": True}, "no wildcard"),
        ({"origins": A, "expose_headers": "X"}, "takes a list"),
        ({"origins": A, "max_age": -1}, "seconds"),
        ({"origins": A, "max_age": float("nan")}, "seconds"),
        ({"origins": A, "max_age": "600"}, "seconds"),
    ],
)
def test_mistakes_are_found_when_it_is_made(options, says):
    with pytest.raises(UsageError, match=says):
        cors(**options)
