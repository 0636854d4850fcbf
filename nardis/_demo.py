"""The demo: the three jobs on one server, each with a `curl` line to try."""

from __future__ import annotations

import hashlib

import anyio

from .app import Nardis
from .request import Request
from .response import Response

__all__ = ["app"]

app = Nardis()

LINES = """\
Nardis streams both ways. In another terminal:

  curl -N {url}/ticks                                   a live stream; Ctrl-C it, and the server says that the work stopped
  curl -N --limit-rate 64k {url}/flood > /dev/null      a slow reader: the handler goes no faster than you
  head -c 50M /dev/zero | curl -N -T - {url}/upload     an upload hashed as it arrives, its progress coming back meanwhile
"""


@app.get("/")
async def index(req: Request, res: Response) -> None:
    """Say what there is."""
    host, port = req.server or ("127.0.0.1", 3000)
    await res.type("text/plain").send(LINES.format(url=f"http://{host}:{port}"))


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
        print(f"/ticks ended after {second} s: {req.close_reason or 'goodbye'}")  # noqa: T201  # a demo shows what happens


@app.get("/flood")
async def flood(req: Request, res: Response) -> None:
    """Send a gigabyte, as fast as the client takes it."""
    res.type("application/octet-stream")
    chunk = bytes(64 * 1024)
    try:
        for _ in range(16 * 1024):
            await res.write(chunk)
    finally:
        print(f"/flood: {res.bytes_sent:,} bytes were taken")  # noqa: T201


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
