"""Quart. Its middlewares are hooks before and after the handler."""

from __future__ import annotations

from quart import Quart, request

from ..cases import HELLO, STREAMS, item, pieces

TEXT = {"content-type": "text/plain; charset=utf-8"}


async def hello():
    return HELLO, TEXT


async def one(id):
    return item(id)


async def count():
    return {"count": len((await request.get_json())["items"])}


async def stream():
    return pieces(request.path), {"content-type": "application/octet-stream"}


async def upload():
    size = 0
    async for chunk in request.body:
        size += len(chunk)
    return str(size), TEXT


async def noop_before():
    return None


async def noop_after(response):
    return response


def make(routes, middlewares, kind=Quart):
    app = kind("benchmarks")
    app.config["MAX_CONTENT_LENGTH"] = None
    app.config["RESPONSE_TIMEOUT"] = None
    app.get("/hello")(hello)
    for n, path in enumerate(STREAMS):
        app.add_url_rule(path, f"stream{n}", stream)
    app.post("/count")(count)
    app.post("/upload")(upload)
    for n in range(routes):
        app.add_url_rule(f"/api/r{n}/items/<id>", f"one{n}", one)
    for _ in range(middlewares):
        app.before_request(noop_before)
        app.after_request(noop_after)
    return app
