"""
The application that the tests of draining and of the supervisor serve.

Every answer ends with END, so that by its content alone one sees whether it is whole. Files beside
the records tell a process that starts what to do: `refuse-to-start` fails its start; `slow-import`,
`slow-start` and `blocking-start` hold it up for as long as they are there, the last one without a
turn for its event loop.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio
import anyio.to_thread

from nardis import Nardis, Request, Response, shielded
from tests.wire.app import record

END = b"<end>"
TICK = b"tick\n"
TICK_S = 0.05
BLOCK = bytes(64 * 1024)

# Longer than any server of these tests may live after its signal.
TOO_LONG_S = 30


def ordered(what: str) -> bool:
    """Whether a file beside the records tells to do *what*."""
    return Path(os.environ.get("NARDIS_OBSERVED", "observed")).with_name(what).exists()


if ordered("slow-import"):  # pragma: no cover  # its process is ended without measuring
    record("lifespan", "importing", pid=os.getpid())
    while ordered("slow-import"):
        time.sleep(0.01)

app = Nardis()


@contextmanager
def recorded(req: Request) -> Iterator[None]:
    """Record that a handler has begun, and that it has ended."""
    record(req.path, "started", pid=os.getpid())
    try:
        yield
    finally:
        record(req.path, "ended")


@app.lifespan
async def lifespan(app: Nardis) -> AsyncIterator[None]:
    record("lifespan", "starting", pid=os.getpid())
    if ordered("refuse-to-start"):
        raise RuntimeError("told not to start")
    while ordered("slow-start"):  # noqa: ASYNC110  # whoever removes it is another process
        await anyio.sleep(0.01)
    while ordered("blocking-start"):
        time.sleep(0.01)  # noqa: ASYNC251
    record("lifespan", "started", pid=os.getpid())
    async with anyio.create_task_group() as group:
        group.start_soon(tell_draining)
        yield
        group.cancel_scope.cancel()
    record("lifespan", "ended", pid=os.getpid())


async def tell_draining() -> None:
    await app.draining.wait()
    record("lifespan", "draining", pid=os.getpid())


@app.get("/hello")
async def hello(req: Request, res: Response) -> None:
    await res.type("text/plain").send(b"hello" + END)


@app.get("/pid")
async def pid(req: Request, res: Response) -> None:
    await res.type("text/plain").send(b"%d" % os.getpid())


@app.get("/ticks/:count")
async def ticks(req: Request, res: Response) -> None:
    """Stream without listening to the shutdown; HTTP/1.0 clients get it without a framing."""
    with recorded(req):
        await tick(res, int(req.params["count"]))


@app.get("/declared/:count")
async def declared(req: Request, res: Response) -> None:
    """Do so with a Content-Length."""
    with recorded(req):
        count = int(req.params["count"])
        res.set("content-length", count * len(TICK) + len(END))
        await tick(res, count)


async def tick(res: Response, count: int) -> None:
    for _ in range(count):
        await res.write(TICK)
        await anyio.sleep(TICK_S)
    await res.write(END)


@app.get("/listen")
async def listen(req: Request, res: Response) -> None:
    """Send events until the shutdown, and say goodbye."""
    with recorded(req):
        number = 0
        res.type("text/event-stream")
        while not app.draining.is_set():
            number += 1
            await res.write(b"data: %d\n\n" % number)
            with anyio.move_on_after(TICK_S):
                await app.draining.wait()
        await res.write(b"event: goodbye\ndata: " + END)


@app.get("/flood")
@app.get("/declared-flood")
async def flood(req: Request, res: Response) -> None:
    """Send more than anybody will read."""
    with recorded(req):
        if req.path == "/declared-flood":
            res.set("content-length", 2**40)
        while True:
            await res.write(BLOCK)


@app.post("/upload")
async def upload(req: Request, res: Response) -> None:
    with recorded(req):
        size = 0
        async for chunk in req:
            size += len(chunk)
        await res.send(b"%d" % size + END)


# --- what a shutdown has to cope with -------------------------------------------------------------


@app.get("/ignore-cancellation")
async def ignore_cancellation(
    req: Request, res: Response
) -> None:  # pragma: no cover  # its process leaves without measuring
    record(req.path, "started")
    while True:
        with suppress(anyio.get_cancelled_exc_class()), shielded(TOO_LONG_S):
            await anyio.sleep_forever()


@app.get("/block-a-thread")
async def block_a_thread(
    req: Request, res: Response
) -> None:  # pragma: no cover  # neither does this one's
    record(req.path, "started")
    await anyio.to_thread.run_sync(time.sleep, TOO_LONG_S)


@app.get("/fork")
async def fork(req: Request, res: Response) -> None:
    """Leave a child behind that has all that this process has."""
    child = multiprocessing.get_context("fork").Process(
        target=time.sleep, args=(TOO_LONG_S,), daemon=True
    )
    child.start()
    await res.send(b"%d" % child.pid + END)


@app.get("/block-at-once")
async def block_at_once(req: Request, res: Response) -> None:
    """Hold the event loop up until a file says that it is enough."""
    record(req.path, "started")
    while not ordered("enough"):
        time.sleep(0.01)  # noqa: ASYNC251
    await res.send(END)


@app.get("/block-the-loop")
async def block_the_loop(req: Request, res: Response) -> None:
    """Do at the shutdown what a handler must not do; a busy machine does it to the best of them."""
    record(req.path, "started")
    await app.draining.wait()
    record(req.path, "blocks")
    time.sleep(0.9)  # noqa: ASYNC251
    await res.send(END)
