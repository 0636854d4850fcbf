"""Sanic, as an ASGI application. Its middlewares are hooks before and after the handler."""

from __future__ import annotations

from itertools import count as counter

from sanic import Sanic
from sanic.response import json, text

from ..cases import HELLO, STREAMS, item

numbers = counter()  # its applications need names of their own
Sanic.test_mode = (
    True  # else a process has one application: starting it rewrites methods of Sanic itself, once
)


async def hello(request):
    return text(HELLO)


async def one(request, id):
    return json(item(id))


async def count(request):
    return json({"count": len(request.json["items"])})


async def stream(request):
    count, piece = STREAMS[request.path]
    response = await request.respond(content_type="application/octet-stream")
    for _ in range(count):
        await response.send(piece)


async def upload(request):
    size = 0
    async for (
        chunk
    ) in request.stream:  # as an ASGI application it never ends the documented `read()` until None
        size += len(chunk)
    return text(str(size))


def make(routes, middlewares):
    app = Sanic(f"benchmarks{next(numbers)}", configure_logging=False)
    app.add_route(hello, "/hello")
    for n, path in enumerate(STREAMS):
        app.add_route(stream, path, name=f"stream{n}")
    app.add_route(count, "/count", methods=["POST"])
    app.add_route(upload, "/upload", methods=["POST"], stream=True)
    for n in range(routes):
        app.add_route(one, f"/api/r{n}/items/<id:str>", name=f"one{n}")
    for _ in range(middlewares):
        app.on_request(noop_before)
        app.on_response(noop_after)
    return app


async def noop_before(request):
    pass


async def noop_after(request, response):
    pass
