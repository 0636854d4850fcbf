"""The order of registration decides; the index behind a router only saves time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nardis import HTTPError, Nardis, Router
from nardis._paths.pattern import compile_pattern
from nardis._paths.segments import split_path
from nardis.testing import Client

pytestmark = pytest.mark.anyio


@dataclass
class Entry:
    """A registration: a route, or with *inside* a router, else a middleware at a prefix."""

    pattern: str
    method: str | None = None
    inside: list[Entry] = field(default_factory=list)
    prefix: bool = False


SOURCES = [
    "/",
    "/a",
    "/b",
    "/a/b",
    "/a-b",
    "/:x",
    "/:x/b",
    "/a/:y",
    "/:x-:y",
    "/a:x",
    "/*w",
    "/a/*w",
    "/*w/b",
    "{/a}",
    "/a{/:x}",
    "/*w-b",
]
SEGMENTS = ["a", "b", "a-b", "A", "", "%61", "a%2Fb", "%ff", "ab"]

routes = st.builds(Entry, st.sampled_from(SOURCES), st.sampled_from(["GET", "GET", "POST", None]))
middlewares = st.builds(Entry, st.sampled_from(SOURCES), prefix=st.just(True))
leaves = routes | routes | middlewares
routers = st.builds(
    Entry, st.sampled_from(SOURCES), inside=st.lists(leaves, min_size=1, max_size=4)
)
nested = st.builds(
    Entry, st.sampled_from(SOURCES), inside=st.lists(leaves | routers, min_size=1, max_size=4)
)
tables = st.lists(leaves | routers | nested, max_size=9)
paths = st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4).map(
    lambda segments: "/" + "/".join(segments)
)


def build(router: Router, entries: list[Entry], trace: list[Any]) -> None:
    """Register *entries*; each records what it saw and passes on."""
    for entry in entries:

        def records(entry: Entry) -> Any:
            async def middleware(req: Any, res: Any, next: Any) -> None:
                trace.append((id(entry), dict(req.params), req.path if entry.prefix else None))
                await next()

            return middleware

        if entry.inside:
            inner = Router()
            build(inner, entry.inside, trace)
            router.use(entry.pattern, inner)
        elif entry.prefix:
            router.use(entry.pattern, records(entry))
        elif entry.method is None:
            router.all(entry.pattern, records(entry))
        else:
            router.method(entry.method, entry.pattern, records(entry))


def scan(
    entries: list[Entry],
    raw: bytes,
    method: str,
    outer: dict[str, Any],
    trace: list[Any],
    allowed: set[str],
) -> None:
    """Do naively what a router does: try one entry after the other."""
    segments = split_path(raw)
    for entry in entries:
        pattern = compile_pattern(entry.pattern)
        if entry.prefix or entry.inside:
            found = pattern.match_prefix(segments)
            if found is None:
                continue
            params, taken = found
            rest = b"/" + b"/".join(raw.split(b"/")[taken + 1 :])
            if entry.inside:
                scan(entry.inside, rest, method, {**outer, **params}, trace, allowed)
            else:
                path = "/".join(
                    "\ufffd" if segment is None else segment for segment in ["", *split_path(rest)]
                )
                trace.append((id(entry), {**outer, **params}, path))
        else:
            matched = pattern.match(segments)
            if matched is not None and entry.method in (
                None,
                method,
                "GET" if method == "HEAD" else None,
            ):
                trace.append((id(entry), {**outer, **matched}, None))
            elif matched is not None:
                allowed.add(str(entry.method))


def expected(entries: list[Entry], raw: str, method: str) -> tuple[bool, list[Any], str | None]:
    """Return whether the path is broken, what runs, and what Allow should say."""
    trace: list[Any] = []
    allowed: set[str] = set()
    try:
        scan(entries, raw.encode(), method, {}, trace, allowed)
    except HTTPError:
        return True, trace, None
    return False, trace, ", ".join(sorted(allowed | {"HEAD"} if "GET" in allowed else allowed))


@settings(max_examples=150)
@given(tables, paths, st.sampled_from(["GET", "GET", "HEAD", "POST"]))
@example(
    [Entry("/:x", "GET"), Entry("/a", "GET"), Entry("/*w", "GET"), Entry("/a", "POST")], "/a", "GET"
)
@example([Entry("/", inside=[Entry("/:x", "GET")]), Entry("/a", "GET")], "/a/", "GET")
@example([Entry("/:x", inside=[Entry("/:y", inside=[Entry("/*w", None)])])], "/a/b/a%2Fb", "GET")
async def test_a_router_does_what_a_linear_scan_does(
    entries: list[Entry], path: str, method: str
) -> None:
    """Each layer that matches runs, in order, with its captures and place; then 404, 405 or 400."""
    app, trace = Nardis(), []
    build(app, entries, trace)
    broken, wanted, allow = expected(entries, path, method)

    async with Client(app) as client:
        for _ in range(2):  # the second time from what the first one left behind
            trace.clear()
            response = await client.request(method, path)
            assert (response.status_code == 400, trace) == (broken, wanted)
            assert response.headers.get("allow", allow) == allow


MIXES = [
    (["/a", "/:x", "/*w"], "/a", "/a"),
    (["/:x", "/a", "/*w"], "/a", "/:x"),
    (["/*w", "/:x", "/a"], "/a", "/*w"),
    (["/:x", "/a/b", "/a/:y"], "/a/b", "/a/b"),
    (["/*w/b", "/a/b"], "/a/b", "/*w/b"),
    (["/:x-:y", "/a-b"], "/a-b", "/:x-:y"),
    (["{/a}", "/a"], "/a", "{/a}"),
    (["/a/", "/a"], "/a", "/a/"),
    (["/a", "/%61"], "/%61", "/a"),
]


@pytest.mark.parametrize(("patterns", "path", "winner"), MIXES)
@pytest.mark.parametrize("table", [0, 200])
async def test_the_route_registered_first_wins(
    patterns: list[str], path: str, winner: str, table: int
) -> None:
    """However special the others are, and however many routes stand around."""
    app = Nardis()

    def answers(text: str) -> Any:
        async def handler(req: Any, res: Any) -> None:
            await res.send(text)

        return handler

    for n in range(table):
        app.get(f"/fill/{n}/:x", answers("filling"))
    for pattern in patterns:
        app.get(pattern, answers(pattern))

    async with Client(app) as client:
        assert (await client.get(path)).text == winner


async def test_a_router_stands_where_it_was_registered() -> None:
    """Before and behind a route of its parent that matches the same path."""

    def answers(text: str) -> Any:
        async def handler(req: Any, res: Any) -> None:
            await res.send(text)

        return handler

    router = Router()
    router.get("/x", answers("router"))
    before, behind = Nardis(), Nardis()
    before.use("/r", router)
    before.get("/r/x", answers("app"))
    behind.get("/r/x", answers("app"))
    behind.use("/r", router)

    async with Client(before) as client:
        assert (await client.get("/r/x")).text == "router"
    async with Client(behind) as client:
        assert (await client.get("/r/x")).text == "app"
