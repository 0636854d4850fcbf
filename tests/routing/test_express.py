"""Facts obtained by running Express 5, over a real application; deviations are named here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from nardis import HTTPError, Nardis, Router, SkipRoute
from nardis.errors import PatternError
from nardis.testing import Client

pytestmark = pytest.mark.anyio

VECTORS = Path(__file__).parents[1] / "vectors"
PATHS: list[dict[str, Any]] = json.loads((VECTORS / "path_vectors.json").read_text())["vectors"]
DISPATCHES: list[dict[str, Any]] = json.loads((VECTORS / "dispatch_vectors.json").read_text())[
    "vectors"
]


async def here(req: Any, res: Any, next: Any) -> None:
    await res.json(
        {
            "params": req.params,
            "url": req.url,
            "baseUrl": req.base_url,
            "originalUrl": req.original_url,
            "path": req.path,
        }
    )


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=row["id"]) for row in PATHS if row["kind"] != "match"]
)
async def test_paths_are_matched_as_in_express(row: dict[str, Any]) -> None:
    """Our `req.path` is decoded, Express's is not; everything else is the same."""
    result, settings = row["result"], row["settings"]
    app = Nardis(
        case_sensitive=settings.get("case sensitive routing", False),
        strict=settings.get("strict routing", False),
    )
    register: Any = {"express_get": app.get, "express_use": app.use}[row["kind"]]

    if "error" in result:
        with pytest.raises(PatternError):
            register(row["pattern"], here)
        return
    register(row["pattern"], here)

    async with Client(app) as client:
        response = await client.get(row["path"])
    assert response.status_code == result["status"]
    if result["status"] == 200:
        assert response.json() == {
            **{name: result[name] for name in response.json()},
            "path": unquote(result["path"]),
        }


# Rows that say the same of Nardis.
SAME = [row for row in DISPATCHES if row["name"] in {
    "order of middleware and routes", "explicit head wins if registered first",
    "automatic OPTIONS collects all matching routes", "automatic OPTIONS in a mounted router",
    "next(route) inside middleware acts as next()", "mergeParams true",
    "url and baseUrl while mounted and after", "sub-app 404 falls through to the parent",
    "app.route chain", "array of handlers is flattened",
    "app.param runs again when the value differs", "app.param is not inherited by a child router",
    "res.format 406",
}]  # fmt: skip

DEVIATIONS = {
    "next(router) at the app level is 404": "no signal leaves a router; SkipRoute leaves a route",
    "error handler calling next() without error resumes normal flow": (
        "error handlers answer or raise, they have no `next`"
    ),
    "error handler inside a route": (
        "error handlers belong to routers; a route is a list of handlers"
    ),
    "handler that neither responds nor calls next hangs": "it is a 500 that names the handler",
    "rewriting req.url in middleware re-routes": (
        "the request line is read-only: answer with a redirect, or call the handler"
    ),
}


def build(name: str, trace: list[str]) -> Nardis:
    """Make the application that a row's name describes."""
    app = Nardis(case_sensitive=False)

    def passes(text: str) -> Any:
        async def middleware(req: Any, res: Any, next: Any) -> None:
            trace.append(text)
            await next()

        return middleware

    def answers(body: object, text: str | None = None) -> Any:
        async def handler(req: Any, res: Any) -> None:
            trace.extend([text] if text else [])
            await res.send(req.params if body == "params" else body)

        return handler

    async def skips(req: Any, res: Any, next: Any) -> None:
        trace.append("m")
        raise SkipRoute

    def records(body: str | None) -> Any:
        async def middleware(req: Any, res: Any, next: Any) -> None:
            shown = "" if body else f"|{req.path}|{req.original_url}"
            trace.append(f"{req.base_url}|{req.url}{shown}")
            await (res.send(body) if body else next())

        return middleware

    def notes(req: Any, value: str) -> str:
        trace.append(f"param:{value}")
        return value

    async def formats(req: Any, res: Any) -> None:
        await res.format({"json": lambda: res.json(1)})

    router = Router()
    match name:
        case "order of middleware and routes":
            app.use(passes("m1"))
            app.get("/x", passes("h1"))
            app.get("/x", answers("ok", "h2"))
            app.use(passes("m2"))
        case "explicit head wins if registered first":
            app.head("/x", answers(None, "head"))
            app.get("/x", answers("get", "get"))
        case "automatic OPTIONS collects all matching routes":
            app.get("/x", answers("x"))
            app.post("/:any", answers("x"))
            app.delete("/x", answers("x"))
            app.all("/other", answers("ok", "all"))
        case "automatic OPTIONS in a mounted router":
            router.get("/x", answers("x"))
            app.use("/api", router)
        case "next(route) inside middleware acts as next()":
            app.use(skips)
            app.get("/x", answers("ok", "c"))
        case "mergeParams true":
            router.get("/:b", answers("params"))
            app.use("/:a", router)
        case "url and baseUrl while mounted and after":
            router.use("/b", records(None))
            app.use("/a", router)
            app.use(records("x"))
        case "sub-app 404 falls through to the parent":
            app.use("/sub", Nardis())
            app.use(passes("parent"), answers_any("ok"))
        case "app.param runs again when the value differs":
            app.param("id", notes)
            app.use("/:id", passes("a"))
            app.get("/u/:id", answers("ok", "b"))
        case "app.param is not inherited by a child router":
            app.param("id", notes)
            router.get("/:id", answers("ok", "h"))
            app.use("/r", router)
        case "res.format 406":  # its name has another request in mind, with an Accept
            app.get("/x", formats)
        case "app.route chain":
            app.route("/x").all(passes("all")).get(answers("ok", "get"))
        case _:
            assert name == "array of handlers is flattened"
            nested: Any = [passes("a"), [passes("b")]]
            app.get("/x", nested, answers("ok", "c"))
    return app


def answers_any(body: str) -> Any:
    async def middleware(req: Any, res: Any, next: Any) -> None:
        await res.send(body)

    return middleware


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{row['name']}: {row['request']}") for row in SAME]
)
async def test_requests_are_dispatched_as_in_express(row: dict[str, Any]) -> None:
    """
    The same handlers run, in the same order.

    404 is 405 where other methods match, and OPTIONS has no body.
    """
    trace: list[str] = []
    method, url = row["request"].split()

    async with Client(build(row["name"], trace)) as client:
        response = await client.request(method, url)

    assert trace == row["trace"]
    if row["allow"] is not None:
        assert (response.status_code, response.headers["allow"], response.content) == (
            204,
            row["allow"],
            b"",
        )
    elif row["status"] == 404:
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
    else:
        assert (response.status_code, response.text) == (row["status"], row["body"])


def test_every_row_is_used_or_has_a_reason() -> None:
    assert {row["name"] for row in DISPATCHES} == {row["name"] for row in SAME} | DEVIATIONS.keys()


async def test_a_handler_that_does_nothing_does_not_hang() -> None:
    """The deviation that matters most: Express lets the client wait for ever."""
    app = Nardis()

    @app.get("/x")
    async def silent(req: Any, res: Any) -> None:
        pass

    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/x")).status_code == 500


async def test_an_error_handler_may_pass_on_by_raising() -> None:
    """What `next(err)` does in Express."""
    app, router = Nardis(), Router()
    app.use(router)

    @router.get("/x")
    async def fails(req: Any, res: Any) -> None:
        raise KeyError

    @router.error(KeyError)
    async def passes_on(err: KeyError, req: Any, res: Any) -> None:
        raise HTTPError(410) from err

    async with Client(app) as client:
        assert (await client.get("/x")).status_code == 410
