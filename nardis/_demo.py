"""The demo: the three jobs on one server, each with a `curl` line to try."""

from __future__ import annotations

import hashlib

import anyio

from .app import Nardis
from .request import Request
from .response import Response

__all__ = ["app"]

app = Nardis()


@app.get("/")
async def index(req: Request, res: Response) -> None:
    """Say what there is."""
    await res.type("text/plain").send("GET /ticks, GET /flood, PUT /upload\n")


@app.get("/ticks")
async def ticks(req: Request, res: Response) -> None:
    """Count seconds for as long as somebody listens."""
    res.type("text/plain")
    second = 0
    try:
        while not app.draining.is_set():
            await res.write(f"{second} s\n")
            with anyio.move_on_after(1):
                await app.draining.wait()
            second += 1
        await res.end("The server is shutting down: goodbye.\n")
    finally:
        print(f"/ticks ended after {second} s: {req.close_reason or 'goodbye'}", flush=True)  # noqa: T201


@app.get("/flood")
async def flood(req: Request, res: Response) -> None:
    """Send a gigabyte, as fast as the client takes it."""
    res.type("application/octet-stream")
    chunk = bytes(64 * 1024)
    try:
        for _ in range(16 * 1024):
            await res.write(chunk)
    finally:
        print(f"/flood: {res.bytes_sent:,} bytes were taken", flush=True)  # noqa: T201


@app.put("/upload")
@app.post("/upload")
async def upload(req: Request, res: Response) -> None:
    """Hash a body as it arrives, and report every 10 MiB while it does."""
    res.type("text/plain")
    digest = hashlib.sha256()
    size = reported = 0
    async for chunk in req:
        digest.update(chunk)
        size += len(chunk)
        if size - reported >= 10 * 1024 * 1024:
            reported = size
            await res.write(f"{size:,} bytes\n")
    await res.end(f"{size:,} bytes in all, sha256 {digest.hexdigest()}\n")
