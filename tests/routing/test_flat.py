"""What a request costs does not grow with the table: calls are counted, no clock is asked."""

from __future__ import annotations

from collections.abc import Callable
from cProfile import Profile
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

import nardis
from nardis import Nardis, Router
from nardis.testing import Client

pytestmark = pytest.mark.anyio

FEW, MANY = 5, 5_000

# Where the way of a request through the table runs.
ROOMS = tuple(str(Path(nardis.__file__).parent / room) for room in ("routing", "_paths"))

Build = Callable[[int], Nardis]


async def ok(req: Any, res: Any) -> None:
    await res.send(str(req.params))


async def passes(req: Any, res: Any, next: Any) -> None:
    await next()


class Counter:
    """Counts the calls of routing: of its functions, and of functions in C by these."""

    def __init__(self) -> None:
        self.calls = 0
        self._profile = Profile(builtins=True, subcalls=True)

    def __enter__(self) -> Counter:
        self._profile.enable()
        return self

    def __exit__(self, *_: object) -> None:
        self._profile.disable()
        for entry in self._profile.getstats():
            if isinstance(entry.code, CodeType) and entry.code.co_filename.startswith(ROOMS):
                inside = [each for each in entry.calls or () if isinstance(each.code, str)]
                self.calls += entry.callcount + sum(each.callcount for each in inside)


async def cost(app: Nardis, method: str, url: str) -> tuple[int, int]:
    """Return the calls of a request, and its status, when all that is made once is made."""
    async with Client(app) as client:
        await client.request(method, url)
        with Counter() as counter:
            response = await client.request(method, url)
    return counter.calls, response.status_code


def with_routes(pattern: str, *handlers: Any) -> Build:
    """Make tables of routes whose patterns have their number in it, with as many digits."""

    def build(size: int) -> Nardis:
        app = Nardis()
        for n in range(size):
            app.get(pattern.replace("{n}", f"{n:04}"), *handlers, ok)
        return app

    return build


def with_converters(size: int) -> Nardis:
    app = with_routes("/r{n}/:id")(size)
    app.param("id", int)
    return app


def with_prefixes(size: int) -> Nardis:
    app = Nardis()
    for n in range(size):
        app.use(f"/r{n:04}", passes)
        app.get(f"/r{n:04}/x", ok)
    return app


def with_routers(size: int) -> Nardis:
    app = Nardis()
    for n in range(size):
        router = Router()
        router.get("/:id", ok)
        app.use(f"/r{n:04}", router)
    return app


def with_one_router(size: int) -> Nardis:
    app, router = Nardis(), Router()
    router.get("/:id", ok)
    for n in range(size):
        app.use(f"/r{n:04}", router)
    return app


def with_hosts(pattern: str, prefix: str = "/") -> Build:
    """Make tables of virtual hosts, with a middleware before and a route behind them."""

    def build(size: int) -> Nardis:
        app = Nardis()
        app.use(passes)
        for n in range(size):
            router = Router(host=pattern.replace("{n}", f"{n:04}"))
            router.get("/:id", ok)
            app.use(prefix.replace("{n}", f"{n:04}"), router)
        app.get("/any", ok)
        return app

    return build


@cache
def made(build: Build, size: int) -> Nardis:
    """Make a table once for all event loops."""
    return build(size)


HIT = 200
TABLES: list[tuple[str, Build, list[tuple[str, str, int]]]] = [
    (
        "static",
        with_routes("/r{n}"),
        [
            ("GET", "/r0003", HIT),
            ("GET", "/r0003/", HIT),
            ("GET", "/none", 404),
            ("POST", "/r0003", 405),
            ("OPTIONS", "/r0003", 204),
            ("HEAD", "/r0003", HIT),
        ],
    ),
    ("below", with_routes("/api/r{n}/x"), [("GET", "/api/r0003/x", HIT), ("GET", "/api/n", 404)]),
    ("params", with_routes("/r{n}/:id"), [("GET", "/r0003/7", HIT), ("GET", "/r0003", 404)]),
    ("first", with_routes("/:id/r{n}"), [("GET", "/7/r0003", HIT), ("GET", "/7/none", 404)]),
    ("mixed", with_routes("/r{n}-:id"), [("GET", "/r0003-7", HIT), ("GET", "/none-7", 404)]),
    ("wild", with_routes("/r{n}/*rest"), [("GET", "/r0003/a/b", HIT), ("GET", "/n/a", 404)]),
    ("optional", with_routes("/r{n}{/:id}"), [("GET", "/r0003", HIT), ("GET", "/r0003/7/8", 404)]),
    ("several", with_routes("/r{n}", passes), [("GET", "/r0003", HIT), ("GET", "/none", 404)]),
    ("converted", with_converters, [("GET", "/r0003/7", HIT), ("GET", "/r0003/x", 404)]),
    ("prefixes", with_prefixes, [("GET", "/r0003/x", HIT), ("GET", "/r0003/y", 404)]),
    ("routers", with_routers, [("GET", "/r0003/7", HIT), ("GET", "/none/7", 404)]),
    ("one router", with_one_router, [("GET", "/r0003/7", HIT), ("GET", "/r0003", 404)]),
    (
        "hosts",
        with_hosts("h{n}.example.com"),
        [
            ("GET", "http://h0003.example.com/7", HIT),
            ("GET", "http://h0003.example.com/7/8", 404),
            ("GET", "http://none.example.com/any", HIT),
            ("GET", "http://none.example.com/7/8", 404),
            ("POST", "http://h0003.example.com/7", 405),
        ],
    ),
    (
        "families of hosts",
        with_hosts("*.h{n}.example.com"),
        [
            ("GET", "http://a.b.h0003.example.com/7", HIT),
            ("GET", "http://a.none.example.com/7/8", 404),
        ],
    ),
    (
        "labels",
        with_hosts(":tenant.h{n}.example.com"),
        [
            ("GET", "http://a.h0003.example.com/7", HIT),
            ("GET", "http://a.none.example.com/7/8", 404),
        ],
    ),
    (
        "prefixes of one host",
        with_hosts("api.example.com", "/r{n}"),
        [
            ("GET", "http://api.example.com/r0003/7", HIT),
            ("GET", "http://api.example.com/none/7", 404),
        ],
    ),
]


@pytest.mark.parametrize(
    ("build", "requests"), [pytest.param(*row[1:], id=row[0]) for row in TABLES]
)
async def test_a_request_costs_the_same_among_5_and_5000(
    build: Build, requests: list[tuple[str, str, int]]
) -> None:
    few, many = made(build, FEW), made(build, MANY)

    for method, url, status in requests:
        small, large = await cost(few, method, url), await cost(many, method, url)
        assert small == large
        assert small[1] == status


async def test_the_counter_notices_a_table_that_is_walked_through() -> None:
    """Middlewares that all run cost what they are."""

    def build(size: int) -> Nardis:
        app = Nardis()
        for _ in range(size):
            app.use(passes)
        return app

    assert (await cost(build(50), "GET", "/"))[0] > 3 * (await cost(build(5), "GET", "/"))[0]


@pytest.mark.parametrize("size", [FEW, MANY])
def test_the_path_of_a_name_is_looked_up(size: int) -> None:
    """In the routers inside, too."""
    app, router = Nardis(), Router()
    for n in range(size):
        router.get(f"/r{n}/:id", ok, name=f"r{n}")
    app.use("/in", router)
    assert app.url_for("r3", id=7) == "/in/r3/7"

    with Counter() as counter:
        app.url_for("r3", id=7)

    assert counter.calls < 60


def test_listing_routers_takes_a_look_at_each() -> None:
    """Their number is that of calls, not its square."""
    app = with_routers(MANY)

    with Counter() as counter:
        assert len(app.below()) == MANY + 1

    assert counter.calls < 5 * MANY
