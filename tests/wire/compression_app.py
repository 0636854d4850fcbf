"""Answers that are compressed, and a stream whose reader says when it goes on."""

from __future__ import annotations

from typing import Any

import anyio

from nardis import Nardis
from nardis.middleware import compression

BODY = b"".join(b"%d squared is %d\n" % (n, n * n) for n in range(50_000))
EVENTS = 10

app = Nardis()
app.use(compression())


@app.lifespan
async def lifespan(app: Nardis) -> Any:
    app.state.waiting = {}
    yield


@app.get("/whole")
async def whole(req: Any, res: Any) -> None:
    await res.type("text").send(BODY)


@app.get("/pieces")
async def pieces(req: Any, res: Any) -> None:
    res.type("text")
    for at in range(0, len(BODY), 1000):
        await res.write(BODY[at : at + 1000])


@app.get("/cut")
async def cut(req: Any, res: Any) -> None:
    await res.type("text").write(BODY)
    await res.abort()


@app.get("/events/:name")
async def events(req: Any, res: Any) -> None:
    """Send each event once the one before it was read."""
    async with res.sse() as stream:
        for n in range(EVENTS):
            app.state.waiting[req.params["name"]] = read = anyio.Event()
            await stream.send(f"event {n}")
            await read.wait()


@app.post("/read/:name")
async def read(req: Any, res: Any) -> None:
    app.state.waiting[req.params["name"]].set()
    await res.status(204).end()
