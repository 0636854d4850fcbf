"""The handlers of the demo. The page shows the source of four of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
from anyio.lowlevel import current_token

from .. import HTTPError, Limits, Nardis, Next, Request, Response, Router, shielded
from .board import Board, board_of, to_page
from .page import render

__all__ = ["make_app"]

MIB: Final = 1024 * 1024
STREAM_BYTES: Final = 64 * MIB
PIECE: Final = bytes(16 * 1024)

# An event stream tells at most this often; what changes faster is told as it is by then.
TELL_S: Final = 0.05

RUNNERS: Final = {"hare": 0.1, "fox": 0.17, "tortoise": 0.3}  # seconds for a lap

demo = Router()


def make_app(ports: Mapping[str, int]) -> Nardis:
    """Make the application for one of the servers; *ports* has both: `{"trio": 3000, …}`."""
    app = Nardis()
    app.state.ports = dict(ports)
    boards: dict[str, Board] = {}
    app.state.boards = boards
    app.use(demo)
    return app


@demo.use
async def cors(req: Request, res: Response, next: Next) -> None:
    """Let the page of one server use the other one: the same host, any port."""
    origin = req.get("origin", "")
    if origin and urlsplit(origin).hostname == urlsplit(f"//{req.get('host', '')}").hostname:
        res.set("access-control-allow-origin", origin).set(
            "access-control-allow-methods", "GET, PUT"
        ).vary("Origin")
    await next()


@demo.get("/")
async def index(req: Request, res: Response) -> None:
    """Send the page; what it may load from elsewhere is nothing."""
    res.set(
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
        "connect-src http: https:; base-uri 'none'; form-action 'none'",
    )
    facts = {
        "here": running_on(),
        "ports": req.app.state.ports,
        "stream_bytes": STREAM_BYTES,
        "runners": list(RUNNERS),
    }
    await res.send(render(facts, stream=stream, upload=upload, leave=leave, race=race))


@demo.get("/events/:page")
async def events(req: Request, res: Response) -> None:
    """Tell a page what its handlers tell: a second response beside the first."""
    res.type("text/event-stream").set("cache-control", "no-store")
    board, told = board_of(req), -1
    while not req.app.draining.is_set():
        if told != board.version:
            told = board.version
            await res.write(f"data: {json.dumps(board.facts)}\n\n")
        with anyio.move_on_after(TELL_S):
            await req.app.draining.wait()


@demo.get("/stream/:page")
async def stream(req: Request, res: Response) -> None:
    """Send 64 MiB, as fast as the client takes them."""
    tell = to_page(req)  # moves the bars
    res.set({"content-length": STREAM_BYTES, "cache-control": "no-store"})
    try:
        while res.bytes_sent < STREAM_BYTES:
            if req.app.draining.is_set():
                await res.abort()  # a cut: this was not all
            await res.write(PIECE)  # waits until the client has room
            tell(sent=res.bytes_sent)
    finally:
        # A client that has all of it may leave before these lines.
        tell(sent=res.bytes_sent)
        tell.end("all sent" if res.bytes_sent == STREAM_BYTES else req.close_reason or "cut")


@demo.put("/upload/:page", limits=Limits(streamed_body_bytes=1024 * MIB))
async def upload(req: Request, res: Response) -> None:
    """Hash a body as it arrives, and answer meanwhile how far it came."""
    tell, pause_s = to_page(req), seconds_for_a_mib(req)
    digest, size, answered = hashlib.sha256(), 0, 0
    res.type("text/plain")
    try:
        async for chunk in req:  # asks for no more than it takes
            digest.update(chunk)
            size += len(chunk)
            tell(hashed=size, sha256=digest.hexdigest())
            if size - answered >= MIB:
                answered = size
                await res.write(f"{size:,} bytes so far\n")
            await anyio.sleep(len(chunk) / MIB * pause_s)
        await res.end(f"{size:,} bytes, sha256 {digest.hexdigest()}\n")
    finally:
        tell.end(req.close_reason or "all hashed")


@demo.get("/leave/:page")
async def leave(req: Request, res: Response) -> None:
    """Work for one client, for as long as it waits."""
    tell = to_page(req)
    tell.log("began: a client waits")
    try:
        await req.app.draining.wait()  # a long query, a slow model
        await res.send("The server is shutting down: goodbye.\n")
    finally:
        with shielded(2):  # seconds for a clean-up that awaits
            await roll_back()
        tell.end(req.close_reason or "goodbye")


@demo.get("/race")
async def race(req: Request, res: Response) -> None:
    """Let three tasks write into one response; they end with it."""

    async def run(name: str, lap_s: float) -> None:
        for lap in range(1, 6):
            await anyio.sleep(lap_s)
            await res.write(f"{name} {lap}\n")

    res.type("text/plain")
    async with anyio.create_task_group() as group:
        for name, lap_s in RUNNERS.items():
            group.start_soon(run, name, lap_s)
    await res.end(f"All ran on {running_on()}.\n")


async def roll_back() -> None:
    """Stand for what a handler has to put right: a transaction, a lock, a temporary file."""
    await anyio.sleep(0.05)


def seconds_for_a_mib(req: Request) -> float:
    """Return the pace of an upload: `?mib_s=4` is four mebibytes a second, nothing no pause."""
    text = req.query.get("mib_s")
    if text is None:
        return 0.0
    try:
        return 1 / int(text)
    except (ValueError, ZeroDivisionError):
        raise HTTPError(400, "mib_s is a whole number above 0") from None


def running_on() -> str:
    """Name the event loop that runs this very code."""
    backend: Any = current_token().backend_class
    name: str = backend.__module__.rpartition("_")[2]
    return name
