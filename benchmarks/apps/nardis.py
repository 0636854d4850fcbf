"""Nardis. Middlewares are its own: functions with `next`."""

from __future__ import annotations

from nardis import Nardis

from ..cases import HELLO, STREAMS, item


async def hello(req, res):
    await res.type("text/plain").send(HELLO)


async def one(req, res):
    await res.json(item(req.params["id"]))


async def count(req, res):
    await res.json({"count": len((await req.json())["items"])})


async def stream(req, res):
    count, piece = STREAMS[req.path]
    res.type("application/octet-stream")
    for _ in range(count):
        await res.write(piece)


async def upload(req, res):
    size = 0
    async for chunk in req:
        size += len(chunk)
    await res.type("text/plain").send(str(size))


async def noop(req, res, next):
    await next()


def make(routes, middlewares, **options):
    app = Nardis(**options)
    for _ in range(middlewares):
        app.use(noop)
    app.get("/hello", hello)
    for path in STREAMS:
        app.get(path, stream)
    app.post("/count", count)
    app.post("/upload", upload)
    for n in range(routes):
        app.get(f"/api/r{n}/items/:id", one)
    return app
