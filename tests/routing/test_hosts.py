"""Virtual hosts: a router with a host is entered for the requests of that host alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nardis import HTTPError, Nardis, Router, SkipRoute, UsageError
from nardis.errors import PatternError
from nardis.routing.hosts import Host
from nardis.testing import Client

pytestmark = pytest.mark.anyio


def answers(text: str) -> Any:
    async def handler(req: Any, res: Any) -> None:
        await res.send(text)

    return handler


async def shows(req: Any, res: Any) -> None:
    await res.json(req.params)


async def passes(req: Any, res: Any, next: Any) -> None:
    await next()


def router_of(host: Any, text: str, path: str = "/x") -> Router:
    router = Router(host=host)
    router.get(path, answers(text))
    return router


MATCHES: list[tuple[str | list[str], str, dict[str, str] | None]] = [
    ("example.com", "example.com", {}),
    ("example.com", "EXAMPLE.com", {}),
    ("Example.Com", "example.com", {}),
    ("example.com", "example.com.", {}),
    ("example.com.", "example.com", {}),
    ("example.com", "www.example.com", None),
    ("example.com", "example.org", None),
    ("example.com", "com", None),
    ("example.com", "", None),
    ("localhost", "localhost", {}),
    ("127.0.0.1", "127.0.0.1", {}),
    ("[::1]", "[::1]", {}),
    ("[0:0::1]", "[::1]", {}),
    ("[::1]", "[0::1]", {}),
    ("[::1]", "[::2]", None),
    ("[::1]", "[v1.x]", None),
    ("a.com", "[v1.com.a]", None),
    ("_dmarc.example.com", "_dmarc.example.com", {}),
    ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de", {}),
    ("*.example.com", "api.example.com", {}),
    ("*.example.com", "a.b.example.com", {}),
    ("*.example.com", "example.com", None),
    ("*.example.com", ".example.com", None),
    ("*.example.com", "a..example.com", None),
    ("*.example.com", "badexample.com", None),
    (":tenant.example.com", "acme.example.com", {"tenant": "acme"}),
    (":tenant.example.com", "ACME.example.com", {"tenant": "acme"}),
    (":tenant.example.com", "a.b.example.com", None),
    (":tenant.example.com", "example.com", None),
    (":tenant.example.com", "%61cme.example.com", None),
    (":tenantId.example.com", "acme.example.com", {"tenantId": "acme"}),
    (":tenant-api.example.com", "acme-api.example.com", {"tenant": "acme"}),
    (":a.:b.example.com", "x.y.example.com", {"a": "x", "b": "y"}),
    ("api.:region.example.com", "api.eu.example.com", {"region": "eu"}),
    ("*.:region.example.com", "a.b.eu.example.com", {"region": "eu"}),
    (["example.com", ":sub.example.com"], "example.com", {}),
    (["example.com", ":sub.example.com"], "www.example.com", {"sub": "www"}),
    (["*.example.com", ":sub.example.com"], "www.example.com", {}),
    (["a.com", "b.com"], "c.com", None),
]


@pytest.mark.parametrize(("pattern", "host", "captured"), MATCHES)
async def test_a_router_is_entered_for_the_hosts_that_fit(
    pattern: str | list[str], host: str, captured: dict[str, str] | None
) -> None:
    """In the table a port is added, which plays no part."""
    app, router = Nardis(), Router(host=pattern)
    router.get("/x", shows)
    app.use(router)
    app.get("/x", answers("any host"))

    async with Client(app) as client:
        for port in ("", ":8000"):
            response = await client.get("/x", headers={"host": f"{host}{port}" if host else ""})
            if captured is None:
                assert response.text == "any host"
            else:
                assert response.json() == captured


@pytest.mark.parametrize(("pattern", "host", "captured"), MATCHES)
def test_a_host_says_itself_whether_it_fits(
    pattern: str | list[str], host: str, captured: dict[str, str] | None
) -> None:
    assert Host(pattern).match(host) == captured


@given(st.text(max_size=30), st.sampled_from(["a.com", "*.a.com", ":x.a.com", "[::1]"]))
def test_any_text_is_compared_without_an_error(host: str, pattern: str) -> None:
    """What a client sends decides nothing but whether it fits."""
    found = Host(pattern).match(host)

    assert found is None or (set(found.values()) <= set(host.lower().split(".")))


@pytest.mark.parametrize(
    "host",
    [
        "",
        "*",
        ".",
        "a..b",
        ".example.com",
        "*example.com",
        "a.*.com",
        "example.com:8000",
        "http://example.com",
        "example.com/x",
        "münchen.de",
        ":.example.com",
        "a b.com",
        "[::1",
        [],
        [""],
        [7],
        7,
        b"example.com",
    ],
)
def test_what_is_no_host_is_refused(host: Any) -> None:
    with pytest.raises(UsageError, match=r"host"):
        Router(host=host)


@pytest.mark.parametrize("host", [":a:b.example.com", ":a.:a.com"])
def test_captures_follow_the_rules_of_paths(host: str) -> None:
    with pytest.raises(PatternError):
        Router(host=host)


def test_a_host_that_is_nearly_one_is_refused_at_once() -> None:
    """The check takes nothing back: a long text costs no more than its length."""
    with pytest.raises(UsageError):
        Router(host=f":{'a' * 100_000}!")


async def test_other_hosts_pass_it_by_as_if_it_were_not_there() -> None:
    """It contributes neither to 405 nor to the list of methods, nor middlewares."""
    app, router, log = Nardis(), Router(host="api.example.com"), list[str]()

    @router.use
    async def logs(req: Any, res: Any, next: Any) -> None:
        log.append(req.path)
        await next()

    router.get("/x", answers("api"))
    router.delete("/x", answers("api"))
    app.use(router)
    app.post("/x", answers("app"))

    async with Client(app) as client:
        assert (await client.get("http://other.example.com/x")).headers["allow"] == "POST"
        assert (await client.options("http://other.example.com/x")).headers["allow"] == "POST"
        assert (await client.get("http://other.example.com/y")).status_code == 404
        assert log == []
        response = await client.options("http://api.example.com/x")
        assert response.headers["allow"] == "DELETE, GET, HEAD, POST"
        assert (await client.put("http://api.example.com/x")).status_code == 405
        assert (await client.post("http://api.example.com/x")).text == "app"
    assert log == ["/x", "/x", "/x"]


async def test_the_order_of_registration_decides() -> None:
    """Among hosts, and among all that stands between and around them."""
    app, log = Nardis(), list[str]()

    def logs(name: str) -> Any:
        async def middleware(req: Any, res: Any, next: Any) -> None:
            log.append(name)
            await next()

        return middleware

    def router_logging(host: str) -> Router:
        router = Router(host=host)
        router.use(logs(host))
        return router

    app.use(logs("first"))
    app.use(router_logging("*.example.com"))
    app.use("/x", logs("second"))
    app.use(router_logging("api.example.com"), router_logging("other.example.com"))
    app.use("/y", router_logging("api.example.com"))
    app.use(router_logging(":sub.example.com"))
    app.get("/x", logs("route"), answers("ok"))
    app.use(router_logging("*.example.com"))

    async with Client(app) as client:
        for _ in range(2):  # the second time the path is known
            log.clear()
            assert (await client.get("http://api.example.com/x")).text == "ok"
            assert log == [
                "first",
                "*.example.com",
                "second",
                "api.example.com",
                ":sub.example.com",
                "route",
            ]
        log.clear()
        assert (await client.get("http://example.com/x")).text == "ok"
        assert log == ["first", "second", "route"]
        log.clear()
        assert (await client.get("http://api.example.com/y")).status_code == 404
        assert log == [
            "first",
            "*.example.com",
            "api.example.com",
            "api.example.com",
            ":sub.example.com",
            "*.example.com",
        ]


NAMES = ["a", "a.b", "c.b", "a.a.b", "c.a.b", "b", "A.b"]
PATTERNS = [None, "a", "a.b", "*.b", ":x.b", "*.a.b", ":x.a.b", "c.:x.b", "A.B"]


def fits(pattern: str | None, host: str) -> bool:
    """Compare label by label, as nobody would with thousands of them."""
    if pattern is None:
        return True
    wanted, labels = pattern.lower().split("."), host.lower().split(".")
    if wanted[0] == "*":
        return len(labels) >= len(wanted) and labels[1 - len(wanted) :] == wanted[1:]
    return len(labels) == len(wanted) and all(
        label == text or text[0] == ":" for label, text in zip(labels, wanted, strict=True)
    )


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(PATTERNS), st.sampled_from(["/", "/p", "/q"])), max_size=12),
    st.sampled_from(NAMES),
    st.sampled_from(["/p", "/q", "/r"]),
)
async def test_an_index_of_hosts_does_what_a_linear_scan_does(
    entries: list[tuple[str | None, str]], host: str, path: str
) -> None:
    """All that fit are entered, in order of registration."""
    app, log = Nardis(), list[int]()

    def logs(number: int) -> Any:
        async def middleware(req: Any, res: Any, next: Any) -> None:
            log.append(number)
            await next()

        return middleware

    for number, (pattern, prefix) in enumerate(entries):
        router = Router(host=pattern)
        router.use(logs(number))
        app.use(prefix, router)

    async with Client(app) as client:
        for _ in range(2):
            log.clear()
            assert (await client.get(f"http://{host}{path}")).status_code == 404
            assert log == [
                number
                for number, (pattern, prefix) in enumerate(entries)
                if fits(pattern, host) and prefix in ("/", path)
            ]


async def test_a_route_before_the_first_host_is_found_first() -> None:
    """A lone handler there needs no host at all."""
    app = Nardis()
    app.get("/x", answers("app"))
    app.use(router_of("api.example.com", "api"), router_of("api.example.com", "y", "/y"))

    async with Client(app) as client:
        assert (await client.get("http://api.example.com/x")).text == "app"
        assert (await client.get("http://api.example.com/y")).text == "y"


async def test_a_lone_handler_before_the_first_host_may_pass_on_to_it() -> None:
    app = Nardis()

    @app.get("/x")
    async def skips(req: Any, res: Any) -> None:
        raise SkipRoute

    app.use(router_of("api.example.com", "api"))
    app.get("/x", answers("app"))

    async with Client(app) as client:
        for _ in range(2):
            assert (await client.get("http://api.example.com/x")).text == "api"
            assert (await client.get("http://example.com/x")).text == "app"


async def test_a_host_may_stand_behind_a_prefix() -> None:
    app, router = Nardis(), Router(host=":tenant.example.com")
    router.get("/:id", shows)
    app.use("/v:version", router)
    app.use("/plain", router_of("www.example.com", "plain"))

    async with Client(app) as client:
        response = await client.get("http://acme.example.com/v2/7")
        assert response.json() == {"tenant": "acme", "version": "2", "id": "7"}
        assert (await client.get("http://acme.example.com/7")).status_code == 404
        assert (await client.get("http://www.example.com/plain/x")).text == "plain"
        assert (await client.get("http://www.example.com/v%ff/x")).status_code == 400


async def test_routers_inside_may_have_hosts() -> None:
    """Both have to fit; a router without one is for all."""
    app, outer, inner = Nardis(), Router(host="*.example.com"), Router(host="api.example.com")
    inner.get("/x", answers("inner"))
    outer.use("/in", Router(), inner)
    outer.get("/in/x", answers("outer"))
    app.use("/out", outer)

    async with Client(app) as client:
        assert (await client.get("http://api.example.com/out/in/x")).text == "inner"
        assert (await client.get("http://www.example.com/out/in/x")).text == "outer"
        assert (await client.get("http://api.example.org/out/in/x")).status_code == 404


async def test_an_application_is_joined_for_a_host_inside_a_router() -> None:
    app, joined, router = Nardis(), Nardis(), Router(host="api.example.com")
    joined.get("/x", answers("joined"))
    router.use(joined)
    app.use(router)

    async with Client(app) as client:
        assert (await client.get("http://api.example.com/x")).text == "joined"
        assert (await client.get("http://example.com/x")).status_code == 404


async def test_captures_of_the_path_win_and_those_of_the_host_are_never_hidden() -> None:
    """`merge_params` is about what stands around the router; the host is its own."""
    app, router = Nardis(), Router(host=":tenant.:region.example.com", merge_params=False)
    router.get("/:region", shows)
    app.use("/:prefix", router)

    async with Client(app) as client:
        response = await client.get("http://acme.eu.example.com/a/b")
    assert response.json() == {"tenant": "acme", "region": "b"}


async def test_what_a_host_captured_is_converted_by_its_router() -> None:
    """The router around it has converters for its own patterns, such as the prefix."""
    app, router = Nardis(), Router(host=":tenant.example.com")

    @router.param("tenant")
    async def load(req: Any, value: str) -> str:
        return f"loaded {value}"

    app.param("tenant", len)
    app.param("version", int)
    router.get("/:id", shows)
    app.use("/:version", router)

    async with Client(app) as client:
        response = await client.get("http://acme.example.com/2/7")
    assert response.json() == {"tenant": "loaded acme", "version": 2, "id": "7"}


async def test_a_label_that_is_refused_is_no_such_host() -> None:
    app, router = Nardis(), Router(host=":id.example.com")
    router.param("id", int)
    router.get("/x", shows)
    app.use(router)
    app.get("/x", answers("any host"))

    async with Client(app) as client:
        assert (await client.get("http://7.example.com/x")).json() == {"id": 7}
        assert (await client.get("http://x.example.com/x")).text == "any host"


async def test_an_error_is_answered_by_the_router_of_the_host() -> None:
    app, router = Nardis(), Router(host="api.example.com")

    @router.get("/x")
    async def fails(req: Any, res: Any) -> None:
        raise HTTPError(410)

    @router.error(410)
    async def says(err: HTTPError, req: Any, res: Any) -> None:
        await res.send("gone")

    app.use(router)

    async with Client(app) as client:
        assert (await client.get("http://api.example.com/x")).text == "gone"


async def test_hosts_added_after_a_request_are_found() -> None:
    app = Nardis()
    app.get("/x", passes)

    async with Client(app) as client:
        assert (await client.get("http://api.example.com/x")).status_code == 404
        app.use(router_of("api.example.com", "late"))
        assert (await client.get("http://api.example.com/x")).text == "late"


async def test_requests_of_different_hosts_do_not_disturb_each_other() -> None:
    """What is remembered of a path is remembered for all of them."""
    app = Nardis()
    app.use(router_of("a.com", "a"), router_of("b.com", "b"), router_of("*.c.com", "c"))
    app.get("/x", answers("none"))

    async with Client(app) as client:
        for _ in range(2):
            for host, text in [("a.com", "a"), ("b.com", "b"), ("x.c.com", "c"), ("d.com", "none")]:
                assert (await client.get(f"http://{host}/x")).text == text


async def test_other_letters_of_a_path_are_a_matter_of_the_table() -> None:
    app = Nardis(case_sensitive=False)
    app.use("/API", router_of("api.example.com", "ok"))

    async with Client(app) as client:
        assert (await client.get("http://api.example.com/api/x")).text == "ok"


def test_routes_names_the_host_of_each_route() -> None:
    """Of the innermost router that has one."""
    app, outer, inner = Nardis(), Router(host=["a.com", "*.a.com"]), Router(host="b.a.com")
    outer.get("/outer", shows)
    inner.get("/inner", shows)
    outer.use(inner, Router())
    app.use("/v1", outer)
    app.get("/app", shows)

    assert [(route.path, route.host) for route in app.routes()] == [
        ("/v1/outer", "a.com, *.a.com"),
        ("/v1/inner", "b.a.com"),
        ("/app", None),
    ]
