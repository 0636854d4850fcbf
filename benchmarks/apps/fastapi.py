"""
FastAPI. Middlewares are plain ASGI.

The JSON body is validated by a model, as most users of FastAPI do.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel

from ..cases import HELLO, STREAMS, item, pieces
from .starlette import Noop


class Document(BaseModel):
    items: list[dict[str, Any]]


async def hello():
    return HELLO


async def one(id: str):
    return item(id)


async def count(document: Document):
    return {"count": len(document.items)}


async def stream(request: Request):
    return StreamingResponse(pieces(request.url.path), media_type="application/octet-stream")


async def upload(request: Request):
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return str(size)


def make(routes, middlewares):
    app = FastAPI(openapi_url=None)
    app.get("/hello", response_class=PlainTextResponse)(hello)
    for path in STREAMS:
        app.get(path)(stream)
    app.post("/count")(count)
    app.post("/upload", response_class=PlainTextResponse)(upload)
    for n in range(routes):
        app.get(f"/api/r{n}/items/{{id}}")(one)
    for _ in range(middlewares):
        app.add_middleware(Noop)
    return app
