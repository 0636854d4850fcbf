"""Routers inside routers: falling through, captures, and where a request stands."""

import pytest

from nardis import Nardis, Router
from nardis.testing import Client

pytestmark = pytest.mark.anyio


def answers(text):
    async def handler(req, res):
        await res.send(text)

    return handler


async def where(req, res):
    await res.json(
        {
            "path": req.path,
            "base_url": req.base_url,
            "url": req.url,
            "original_url": req.original_url,
            "raw_path": req.raw_path.decode(),
            "params": req.params,
        }
    )


async def test_a_router_without_a_match_falls_through_to_its_parent():
    app, outer, inner = Nardis(), Router(), Router()
    inner.get("/only", answers("inner"))
    outer.use("/in", inner)
    outer.get("/in/outer", answers("outer"))
    app.use("/out", outer)
    app.get("/out/in/app", answers("app"))

    async with Client(app) as client:
        assert (await client.get("/out/in/only")).text == "inner"
        assert (await client.get("/out/in/outer")).text == "outer"
        assert (await client.get("/out/in/app")).text == "app"
        assert (await client.get("/out/in/none")).status_code == 404


async def test_an_empty_router_is_passed_through():
    app = Nardis()
    app.use(Router())
    app.use("/x", Router())
    app.get("/x", answers("ok"))

    async with Client(app) as client:
        assert (await client.get("/x")).text == "ok"


async def test_an_application_can_be_used_as_a_router():
    """`req.app` stays the one that serves."""
    app, joined = Nardis(), Nardis()

    @joined.get("/x")
    async def handler(req, res):
        await res.send("outer" if req.app is app else "joined")

    app.use("/api", joined)

    async with Client(app) as client:
        assert (await client.get("/api/x")).text == "outer"
    async with Client(joined) as client:
        assert (await client.get("/x")).text == "joined"


async def test_inside_a_prefix_the_path_is_relative():
    app, outer, inner = Nardis(), Router(), Router()
    inner.get("/x/:id", where)
    outer.use("/b%20c", inner)
    app.use("/a", outer)

    async with Client(app) as client:
        assert (await client.get("/a/b%20c/x/%C3%BC%2F?d=%201")).json() == {
            "path": "/x/ü/",
            "base_url": "/a/b%20c",
            "url": "/x/%C3%BC%2F?d=%201",
            "original_url": "/a/b%20c/x/%C3%BC%2F?d=%201",
            "raw_path": "/a/b%20c/x/%C3%BC%2F",
            "params": {"id": "ü/"},
        }


async def test_the_path_is_restored_when_next_returns():
    """Each middleware sees the place that it was registered at, before and after."""
    app, router, log = Nardis(), Router(), []

    def watches(name):
        async def middleware(req, res, next):
            log.append((name, req.base_url, req.path, req.url))
            await next()
            log.append((f"/{name}", req.base_url, req.path, req.url))

        return middleware

    app.use(watches("app"))
    app.use("/a", watches("a"))
    router.use(watches("router"))
    router.use("/b", watches("b"))
    router.get("/b/c", answers("ok"))
    app.use("/a", router)

    async with Client(app) as client:
        await client.get("/a/b/c?d=1")
    assert log == [
        ("app", "", "/a/b/c", "/a/b/c?d=1"),
        ("a", "/a", "/b/c", "/b/c?d=1"),
        ("router", "/a", "/b/c", "/b/c?d=1"),
        ("b", "/a/b", "/c", "/c?d=1"),
        ("/b", "/a/b", "/c", "/c?d=1"),
        ("/router", "/a", "/b/c", "/b/c?d=1"),
        ("/a", "/a", "/b/c", "/b/c?d=1"),
        ("/app", "", "/a/b/c", "/a/b/c?d=1"),
    ]


async def test_the_path_is_restored_behind_a_router_that_fell_through():
    app, router = Nardis(), Router()
    router.use("/b", Router())
    app.use("/a", router)
    app.get("/a/b/c", where)

    async with Client(app) as client:
        found = (await client.get("/a/b/c")).json()
    assert (found["base_url"], found["path"], found["url"]) == ("", "/a/b/c", "/a/b/c")


async def test_the_path_is_restored_after_an_error():
    app, router, log = Nardis(), Router(), []

    @app.use("/a")
    async def catches(req, res, next):
        with pytest.raises(KeyError):
            await next()
        log.append((req.base_url, req.path))
        await res.send("caught")

    @router.get("/b/c")
    async def fails(req, res):
        raise KeyError

    app.use("/a/b", Router(), router)
    app.use("/a", router)

    async with Client(app) as client:
        assert (await client.get("/a/b/c")).text == "caught"
    assert log == [("/a", "/b/c")]


@pytest.mark.parametrize(
    ("prefix", "path", "base_url", "inside"),
    [
        ("/a", "/a", "/a", "/"),
        ("/a", "/a/", "/a", "/"),
        ("/a", "/a//b", "/a", "//b"),
        ("/a/", "/a/b", "/a", "/b"),
        ("/:t", "/x%2Fy/b", "/x%2Fy", "/b"),
        ("/", "/a/b", "", "/a/b"),
        ("{/a}", "/b", "", "/b"),
        ("{/a}", "/a/b", "/a", "/b"),
        # A wildcard takes the slash at the end, which is the path that is left.
        ("/*all", "/a/b", "/a/b", "/"),
        ("/*all", "/a/b/", "/a/b", "/"),
        ("/*all", "/a//", "/a/", "/"),
    ],
)
async def test_a_prefix_takes_whole_segments(prefix, path, base_url, inside):
    app = Nardis()
    router = Router()
    router.get("/*rest", where)
    router.get("/", where)
    app.use(prefix, router)

    async with Client(app) as client:
        found = (await client.get(path)).json()
    assert (found["base_url"], found["path"], found["original_url"]) == (base_url, inside, path)


async def test_a_router_sees_the_captures_of_its_prefixes():
    app, outer, inner = Nardis(), Router(), Router()
    inner.get("/:c", where)
    outer.use("/:b", inner)
    app.use("/:a", outer)

    async with Client(app) as client:
        assert (await client.get("/1/2/3")).json()["params"] == {"a": "1", "b": "2", "c": "3"}


async def test_captures_of_its_own_win():
    app, router = Nardis(), Router()
    router.get("/:id", where)
    app.use("/:id", router)

    async with Client(app) as client:
        assert (await client.get("/outer/inner")).json()["params"] == {"id": "inner"}


async def test_merge_params_false_hides_the_captures_of_prefixes():
    app, router, nested = Nardis(), Router(merge_params=False), Router()
    router.get("/", where)
    router.get("/x/:c", where)
    nested.get("/:d", where)
    router.use("/n/:b", nested)
    app.use("/:a", router)

    async with Client(app) as client:
        assert (await client.get("/1")).json()["params"] == {}
        assert (await client.get("/1/x/3")).json()["params"] == {"c": "3"}
        assert (await client.get("/1/n/2/4")).json()["params"] == {"b": "2", "d": "4"}


async def test_captures_of_one_layer_are_not_seen_by_the_next():
    """Outside of routers, each `use` and each route has captures of its own."""
    app, seen = Nardis(), []

    @app.use("/:tenant")
    async def watches(req, res, next):
        seen.append(dict(req.params))
        await next()

    app.get("/acme/:id", where)
    app.get("/acme", where)

    async with Client(app) as client:
        assert (await client.get("/acme/7")).json()["params"] == {"id": "7"}
        assert (await client.get("/acme")).json()["params"] == {}
    assert seen == [{"tenant": "acme"}] * 2


@pytest.mark.parametrize("path", ["/acme/fixed", "/acme/7", "/acme/inside"])
async def test_changed_captures_are_seen_by_no_other_request(path):
    """
    What a middleware does to `req.params` is gone with its request.

    Also where captures are looked up and not matched.
    """
    app, router, seen = Nardis(), Router(), []

    async def spoils(req, res, next):
        seen.append(
            {
                name: list(value) if isinstance(value, list) else value
                for name, value in req.params.items()
            }
        )
        req.params["spoilt"] = "yes"
        for value in req.params.values():
            if isinstance(value, list):
                value.append("spoilt")
        await next()

    app.use("/:tenant", spoils)
    app.use("/*rest", spoils)
    app.get("/acme/fixed", where)
    router.use(spoils)
    router.get("/inside", where)
    router.get("/:id", where)
    app.use("/:tenant", router)

    async with Client(app) as client:
        first = (await client.get(path)).json()
        first_seen = seen.copy()
        seen.clear()
        second = (await client.get(path)).json()
        assert seen == first_seen
        assert first == second
    assert first_seen[:2] == [{"tenant": "acme"}, {"rest": path.split("/")[1:]}]


async def test_a_fresh_request_has_no_captures():
    app, seen = Nardis(), []

    @app.use
    async def spoils(req, res, next):
        seen.append(dict(req.params))
        req.params["spoilt"] = "yes"
        await next()

    app.get("/", answers("ok"))

    async with Client(app) as client:
        for _ in range(2):
            await client.get("/")
    assert seen == [{}, {}]
