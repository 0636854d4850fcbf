"""
The application that the tests of this directory serve on every server.

What its handlers go through is written, one JSON object a line, to the file that NARDIS_OBSERVED
names: readable while the server runs and after it ended.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel

from nardis import Limits, Nardis, Request, Response, shielded

MIB = 1024 * 1024
CHUNK = bytes(64 * 1024)


class CountingNardis(Nardis):
    """Knows how many of the server's calls have not returned."""

    calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.calls -= 1


app = CountingNardis()
progress: dict[str, int] = {}
releases: dict[str, anyio.Event] = {}


def record(key: str, event: str, **facts: Any) -> None:
    line = json.dumps({"key": key, "event": event, "at": time.monotonic(), **facts})
    with open(os.environ["NARDIS_OBSERVED"], "a", encoding="utf-8") as file:
        file.write(line + "\n")


@asynccontextmanager
async def observed(req: Request) -> AsyncIterator[None]:
    """
    Record the life of a handler: its start, its cancellation, a clean-up that awaits, and what it
    deferred.
    """
    key = req.params["id"]

    async def deferred() -> None:
        await anyio.lowlevel.checkpoint()
        record(key, "deferred", reason=req.close_reason)

    req.defer(deferred)
    record(key, "started")
    try:
        yield
    except anyio.get_cancelled_exc_class():
        record(key, "cancelled", reason=req.close_reason)
        raise
    finally:
        with shielded(5):
            await anyio.sleep(0.01)
            record(key, "cleaned")


def numbered_blocks(mebibytes: int) -> Iterator[bytes]:
    """Give *mebibytes* blocks that differ, so that none can be lost, doubled or moved unseen."""
    rest = bytes(range(256)) * 4096
    for number in range(mebibytes):
        yield number.to_bytes(256, "big") + rest[256:]


@app.lifespan
async def lifespan(app: Nardis) -> AsyncIterator[None]:
    record("lifespan", "started")
    yield
    record("lifespan", "ended")


@app.get("/hello")
async def hello(req: Request, res: Response) -> None:
    await res.type("text/plain").send("hello")


@app.get("/nothing")
async def nothing(req: Request, res: Response) -> None:
    await res.status(204).send()


@app.get("/in-flight")
async def in_flight(req: Request, res: Response) -> None:
    # Without a lifespan there is none: each request has its own.
    sweepers = [app.life.sweeper] if app.life.sweeper else []
    # By name, and only ours: hypercorn's asyncio worker keeps the tasks of a connection that its
    # client closed for 5 s.
    tasks = sorted(
        task.name for task in anyio.get_running_tasks() if task.name.startswith("nardis.")
    )
    await res.json(
        {
            "calls": app.calls,
            "exchanges": sum(len(each.exchanges) for each in sweepers),
            "tasks": tasks,
        }
    )


@app.get("/process")
async def process(req: Request, res: Response) -> None:
    await res.json(os.getpid())


@app.get("/progress/:id")
async def progress_of(req: Request, res: Response) -> None:
    await res.json(progress.get(req.params["id"], 0))


@app.get("/release/:id")
async def release(req: Request, res: Response) -> None:
    releases.pop(req.params["id"]).set()
    await res.send()


# --- down -----------------------------------------------------------------------------------------


@app.get("/pieces")
async def pieces(req: Request, res: Response) -> None:
    for piece in ("one ", "two ", "three"):
        await res.write(piece)


@app.get("/flood/:id")
@app.get("/stalling-flood/:id", limits=Limits(write_stall_s=0.3))
async def flood(req: Request, res: Response) -> None:
    async with observed(req):
        while True:
            await res.write(CHUNK)
            progress[req.params["id"]] = progress.get(req.params["id"], 0) + len(CHUNK)


@app.get("/blocks/:mebibytes")
async def blocks(req: Request, res: Response) -> None:
    for block in numbered_blocks(int(req.params["mebibytes"])):
        await res.write(block)


def rows(count: int, key: str) -> Iterator[str]:
    """Give rows of sqlite3, whose connection refuses every thread but the one it was made in."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE TABLE rows (n INTEGER)")
        connection.executemany("INSERT INTO rows VALUES (?)", ((n,) for n in range(count)))
        for (n,) in connection.execute("SELECT n FROM rows ORDER BY n"):
            yield f"row {n}\n"
    finally:
        connection.close()
        record(key, "closed")


@app.get("/rows/:count/:id")
async def piped_rows(req: Request, res: Response) -> None:
    await res.type("text/plain").pipe(rows(int(req.params["count"]), req.params["id"]))


@app.get("/whole/:mebibytes")
async def whole(req: Request, res: Response) -> None:
    await res.send(bytes(int(req.params["mebibytes"]) * MIB))


@app.get("/one-write/:mebibytes")
async def one_write(req: Request, res: Response) -> None:
    await res.write(bytes(int(req.params["mebibytes"]) * MIB))


@app.get("/until-a-deadline")
async def until_a_deadline(req: Request, res: Response) -> None:
    """
    Write without a pause until the time is over, which finds the handler in a write.

    It is no more than the system takes of a client that does not read for a while.
    """
    with anyio.CancelScope() as scope:
        for _ in range(1000):
            await res.write("tick ")
        scope.deadline = anyio.current_time()
        while True:
            await res.write("tick ")
    await res.write("tock")


# --- up -------------------------------------------------------------------------------------------


@app.post("/echo")
async def echo(req: Request, res: Response) -> None:
    async for chunk in req:
        await res.write(chunk)


@app.put("/digest")
async def digest(req: Request, res: Response) -> None:
    summed = hashlib.sha256()
    async for chunk in req:
        summed.update(chunk)
    await res.type("text/plain").send(summed.hexdigest())


@app.post("/json")
async def as_json(req: Request, res: Response) -> None:
    await res.json(await req.json())


@app.post("/unread")
async def unread(req: Request, res: Response) -> None:
    await res.type("text/plain").send("not read")


@app.post("/hold/:id")
async def hold(req: Request, res: Response) -> None:
    """Wait, without reading, until `/release/:id`."""
    releases[req.params["id"]] = anyio.Event()
    async with observed(req):
        await releases[req.params["id"]].wait()
    await res.send("released")


@app.post("/limited/:id", limits=Limits(streamed_body_bytes=MIB))
async def limited(req: Request, res: Response) -> None:
    async with observed(req):
        size = 0
        async for chunk in req:
            size += len(chunk)
    await res.json(size)


@app.post("/impatient/:id", limits=Limits(body_idle_s=0.3))
async def impatient(req: Request, res: Response) -> None:
    async with observed(req):
        async for chunk in req:
            progress[req.params["id"]] = progress.get(req.params["id"], 0) + len(chunk)
    await res.send("whole")


# --- waiting --------------------------------------------------------------------------------------


@app.get("/wait/:id")
@app.get("/hurried/:id", limits=Limits(handler_s=0.3))
async def wait(req: Request, res: Response) -> None:
    async with observed(req):
        await anyio.sleep_forever()


@app.get("/idle/:id")
@app.get("/hurried-idle/:id", limits=Limits(handler_s=0.3))
async def idle(req: Request, res: Response) -> None:
    async with observed(req):
        await res.write("first")
        await anyio.sleep_forever()


@app.get("/tick/:id")
async def tick(req: Request, res: Response) -> None:
    async with observed(req):
        while True:
            await res.write("tick\n")
            await anyio.sleep(0.01)


@app.get("/until-draining/:id")
async def until_draining(req: Request, res: Response) -> None:
    async with observed(req):
        await res.write("open ")
        await app.draining.wait()
        record(req.params["id"], "draining")
        await res.write("goodbye")


# --- endings --------------------------------------------------------------------------------------


@app.get("/raise")
@app.get("/raise/:id")
async def fail(req: Request, res: Response) -> None:
    await res.write("half")
    raise RuntimeError("on purpose")


@app.get("/raise-first")
async def fail_first(req: Request, res: Response) -> None:
    raise RuntimeError("a secret")


@app.get("/raise-declared")
async def fail_declared(req: Request, res: Response) -> None:
    await res.set("content-length", 8).write("half")
    raise RuntimeError("on purpose")


@app.get("/short")
async def short(req: Request, res: Response) -> None:
    await res.set("content-length", 8).write("half")


@app.get("/long")
async def long(req: Request, res: Response) -> None:
    await res.set("content-length", 6).write("half")
    await res.write("half")


@app.get("/long-first")
async def long_first(req: Request, res: Response) -> None:
    await res.set("content-length", 3).write("half")


@app.get("/abort")
async def abort(req: Request, res: Response) -> None:
    await res.write("half")
    await res.abort()


@app.get("/abort-first")
async def abort_first(req: Request, res: Response) -> None:
    await res.abort()
