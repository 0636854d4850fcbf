"""The applications of `benchmarks.streams`: events, and lines of JSON, by each one's own means."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import anyio

EVENTS = 1000
LINES = 10_000


async def rows() -> AsyncIterator[dict[str, Any]]:
    for n in range(LINES):
        yield {"n": n, "name": "row"}


async def texts() -> AsyncIterator[bytes]:
    for n in range(EVENTS):
        yield b'data: {"n":%d}\n\n' % n


async def raw(scope: Any, receive: Any, send: Any) -> None:
    """Do by hand what the others do."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/events":
        for n in range(EVENTS):
            body = b'data: {"n":%d}\n\n' % n
            await send({"type": "http.response.body", "body": body, "more_body": True})
    else:
        async for row in rows():
            body = json.dumps(row, separators=(",", ":")).encode() + b"\n"
            await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def nardis() -> Any:
    from nardis import Nardis

    app = Nardis()

    @app.get("/events")
    async def events(req: Any, res: Any) -> None:
        async with res.sse() as events:
            for n in range(EVENTS):
                await events.send(f'{{"n":{n}}}')

    @app.get("/lines")
    async def lines(req: Any, res: Any) -> None:
        await res.ndjson(rows())

    @app.get("/idle")
    async def idle(req: Any, res: Any) -> None:
        async with res.sse() as events:
            await events.send("hello")
            await anyio.sleep_forever()

    return app


def starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def encoded() -> AsyncIterator[str]:
        async for row in rows():
            yield json.dumps(row, separators=(",", ":")) + "\n"

    async def events(request: Any) -> StreamingResponse:
        return StreamingResponse(texts(), media_type="text/event-stream")

    async def lines(request: Any) -> StreamingResponse:
        return StreamingResponse(encoded(), media_type="application/x-ndjson")

    return Starlette(routes=[Route("/events", events), Route("/lines", lines)])


def fastapi() -> Any:
    from fastapi import FastAPI
    from fastapi.sse import EventSourceResponse

    app = FastAPI()

    @app.get("/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterable[dict[str, int]]:
        for n in range(EVENTS):
            yield {"n": n}

    async def lines() -> AsyncIterable[dict[str, Any]]:
        async for row in rows():
            yield row

    app.get("/lines")(lines)
    return app


served = nardis()
