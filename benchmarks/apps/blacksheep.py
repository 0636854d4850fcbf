"""BlackSheep. Middlewares are its own: functions with the next handler."""

from __future__ import annotations

from blacksheep import Application, Request, Response, Router, StreamedContent
from blacksheep.server.responses import json, text

from ..cases import HELLO, STREAMS, item


async def hello():
    return text(HELLO)


async def one(id: str):
    return json(item(id))


async def count(request: Request):
    return json({"count": len((await request.json())["items"])})


async def upload(request: Request):
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return text(str(size))


def stream_of(path):
    count, piece = STREAMS[path]

    async def provider():  # it must be a generator function without arguments
        for _ in range(count):
            yield piece

    async def stream():
        return Response(200, content=StreamedContent(b"application/octet-stream", provider))

    return stream


async def noop(request, handler):
    return await handler(request)


def make(routes, middlewares):
    app = Application(
        router=Router()
    )  # else all applications of a process share one, and the middlewares of the first
    app.router.add_get("/hello", hello)
    for path in STREAMS:
        app.router.add_get(path, stream_of(path))
    app.router.add_post("/count", count)
    app.router.add_post("/upload", upload)
    for n in range(routes):
        app.router.add_get(f"/api/r{n}/items/{{id}}", one)
    app.middlewares.extend([noop] * middlewares)
    return app
