"""Litestar. Middlewares are plain ASGI."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, get, post
from litestar.middleware import ASGIMiddleware
from litestar.response import Stream

from ..cases import HELLO, STREAMS, item, pieces


class Noop(ASGIMiddleware):
    async def handle(self, scope, receive, send, next_app) -> None:
        await next_app(scope, receive, send)


@get("/hello", media_type="text/plain")
async def hello() -> str:
    return HELLO


@post("/count", status_code=200)
async def count(data: dict[str, Any]) -> dict[str, Any]:
    return {"count": len(data["items"])}


@get(list(STREAMS))
async def stream(request: Request) -> Stream:
    return Stream(pieces(request.scope["path"]), media_type="application/octet-stream")


@post("/upload", media_type="text/plain", status_code=200)
async def upload(request: Request) -> str:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return str(size)


def make(routes, middlewares):
    @get([f"/api/r{n}/items/{{id:str}}" for n in range(routes)])
    async def one(id: str) -> dict[str, Any]:
        return item(id)

    return Litestar(
        [hello, count, stream, upload, one],
        middleware=[Noop() for _ in range(middlewares)],
        openapi_config=None,
        request_max_body_size=None,
    )
