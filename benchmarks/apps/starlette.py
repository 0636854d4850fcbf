"""Starlette. Middlewares are plain ASGI, the cheaper of its two kinds."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from ..cases import HELLO, STREAMS, item, pieces


async def hello(request):
    return PlainTextResponse(HELLO)


async def one(request):
    return JSONResponse(item(request.path_params["id"]))


async def count(request):
    return JSONResponse({"count": len((await request.json())["items"])})


async def stream(request):
    return StreamingResponse(pieces(request.url.path), media_type="application/octet-stream")


async def upload(request):
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return PlainTextResponse(str(size))


class Noop:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


def make(routes, middlewares):
    return Starlette(
        routes=[
            Route("/hello", hello),
            *(Route(path, stream) for path in STREAMS),
            Route("/count", count, methods=["POST"]),
            Route("/upload", upload, methods=["POST"]),
            *(Route(f"/api/r{n}/items/{{id}}", one) for n in range(routes)),
        ],
        middleware=[Middleware(Noop)] * middlewares,
    )
