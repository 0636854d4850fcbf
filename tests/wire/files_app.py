"""Files, for real clients, which are told whether the system sends them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

from nardis import Nardis

LARGE = Random(13).randbytes(5_000_000)

app = Nardis()


@app.lifespan
async def lifespan(app: Nardis) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        app.state.folder = Path(folder)
        (app.state.folder / "large.bin").write_bytes(LARGE)
        (app.state.folder / "small.txt").write_bytes(LARGE[:100])
        yield


@app.use
async def telling(req: Any, res: Any, next: Any) -> None:
    """Tell whether the server was asked to send files by itself."""
    res.on_head(lambda: res.set("x-takes-files", str(int(req.exchange.takes_files))))
    await next()


@app.get("/files/:name")
async def file(req: Any, res: Any) -> None:
    await res.send_file(req.params["name"], root=app.state.folder)


@app.get("/shrinking/:size")
async def shrinking(req: Any, res: Any) -> None:
    path = app.state.folder / "shrinking.bin"
    path.write_bytes(LARGE)
    res.on_head(lambda: os.truncate(path, int(req.params["size"])))
    await res.send_file(path)
