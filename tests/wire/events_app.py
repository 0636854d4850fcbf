"""Event streams, for real clients, beside the other handlers of `app.py`."""

from __future__ import annotations

from collections import defaultdict

import anyio

from nardis import Request, Response
from tests.wire.app import app, observed

__all__ = ["app"]

wanted: defaultdict[str, anyio.Semaphore] = defaultdict(lambda: anyio.Semaphore(0))


@app.get("/events/:id")
async def numbers(req: Request, res: Response) -> None:
    """Send a number whenever `/more/:id` asks for it."""
    async with observed(req), res.sse(ping=None, retry=2) as events:
        for number in range(3):
            await wanted[req.params["id"]].acquire()
            await events.send({"number": number}, event="number", id=str(number))


@app.get("/more/:id")
async def more(req: Request, res: Response) -> None:
    wanted[req.params["id"]].release()
    await res.send()


@app.get("/idle-events/:id")
async def idle_events(req: Request, res: Response) -> None:
    async with observed(req), res.sse(ping=0.3):
        await anyio.sleep_forever()


@app.get("/choir")
async def choir(req: Request, res: Response) -> None:
    """Let three tasks send, in lines that would show if they were mixed."""

    async def sing(name: str) -> None:
        for _ in range(100):
            await events.send(f"{name}\n{name * 500}", event=name)

    async with res.sse() as events, anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(sing, name)


@app.get("/broken-events")
async def broken_events(req: Request, res: Response) -> None:
    async with res.sse() as events:
        await events.send("first")
        raise RuntimeError("on purpose")
