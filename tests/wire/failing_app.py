"""Handlers that fail in every way, beside one that must not notice."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import aclosing
from typing import Any

import anyio
from anyio import to_thread

from nardis import Limits, Nardis, Request, Response

app = Nardis()


class OfItsOwn(BaseException):
    """What no `except Exception` catches."""


def arguments() -> None:
    argparse.ArgumentParser().parse_args(["--unknown"])


async def in_a_task() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(as_task)


async def as_task() -> None:
    await anyio.sleep(0.01)
    sys.exit(3)


async def cancelled() -> None:
    """Await what somebody else cancels; on trio there is no such thing."""
    if "asyncio" not in anyio.get_cancelled_exc_class().__module__:
        raise OfItsOwn("cancelled")
    task = asyncio.create_task(asyncio.sleep(9))
    asyncio.get_running_loop().call_later(0.01, task.cancel)
    await task


async def merged() -> Any:
    """Two producers merged into one stream: closing it raises a group of GeneratorExit."""
    async with anyio.create_task_group() as group:
        send, receive = anyio.create_memory_object_stream[bytes](1)

        async def produce() -> None:
            while True:
                await send.send(bytes(1000))

        group.start_soon(produce)
        group.start_soon(produce)
        async for each in receive:
            yield each


async def broken_off() -> None:
    async with aclosing(merged()) as source:
        async for _ in source:
            break


async def raised(error: BaseException) -> None:
    raise error


FAULTS: dict[str, Any] = {
    "argparse": lambda: raised(SystemExit(2)),
    "in-a-thread": lambda: to_thread.run_sync(arguments),
    "in-a-task": in_a_task,
    "cancelled": cancelled,
    "broken-off": broken_off,
    "of-its-own": lambda: raised(OfItsOwn("own")),
    "keyboard": lambda: raised(KeyboardInterrupt()),
    "generator-exit": lambda: raised(GeneratorExit()),
    "group": lambda: raised(
        BaseExceptionGroup("", [SystemExit(1), GeneratorExit(), ValueError("v")])
    ),
}


@app.get("/tick")
async def tick(req: Request, res: Response) -> None:
    while True:
        await res.write("tick\n")
        await anyio.sleep(0.01)


@app.get("/hello")
async def hello(req: Request, res: Response) -> None:
    await res.send("hello")


@app.get("/before/:fault")
async def before(req: Request, res: Response) -> None:
    await FAULTS[req.params["fault"]]()


@app.get("/half/:fault")
async def half(req: Request, res: Response) -> None:
    await res.write("half")
    await FAULTS[req.params["fault"]]()


@app.get("/after/:fault")
async def after(req: Request, res: Response) -> None:
    await res.send("whole")
    await anyio.sleep(0.01)
    await FAULTS[req.params["fault"]]()


@app.get("/in-background/:fault")
async def in_background(req: Request, res: Response) -> None:
    app.tasks.start_soon(FAULTS[req.params["fault"]])
    await res.send("whole")


@app.get("/deferred/:fault")
async def deferred(req: Request, res: Response) -> None:
    req.defer(FAULTS[req.params["fault"]])
    await res.send("whole")


async def foreign(scope: Any, receive: Any, send: Any) -> None:
    await FAULTS[scope["path"].rpartition("/")[2]]()


app.mount("/mounted", foreign)


@app.get("/aclosing", limits=Limits(write_stall_s=0.3))
async def closing(req: Request, res: Response) -> None:
    async with aclosing(merged()) as source:
        async for each in source:
            await res.write(each)


@app.get("/piped", limits=Limits(write_stall_s=0.3))
async def piped(req: Request, res: Response) -> None:
    await res.pipe(merged())


@app.get("/thanks")
async def thanks(req: Request, res: Response) -> None:
    """Go on after the answer, longer than a connection may be idle."""
    await res.send("thanks")
    await anyio.sleep(2)


async def raw(scope: Any, receive: Any, send: Any) -> None:
    """Fail as an application that is no Nardis."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return await send({"type": "lifespan.shutdown.complete"})
    fault = scope["path"].rpartition("/")[2]
    if fault not in FAULTS:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
        )
        return await send({"type": "http.response.body", "body": b"hello"})
    if scope["path"].startswith("/half"):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
    await FAULTS[fault]()
