"""
The rows of `tests/http/eventsource_cases.py`, for a browser, and what it asked for.

The second request for a row is answered by 204, behind which a browser asks no more.
"""

from __future__ import annotations

import time

from nardis import Nardis, Request, Response
from tests.http.eventsource_cases import CASES

__all__ = ["app"]

MOVED = b"id: 1\ndata: a\n\n"

app = Nardis()
asked: dict[str, list[tuple[str | None, float]]] = {name: [] for name in CASES}
moved: set[str] = set()  # the rows whose redirect has been followed


@app.get("/")
async def index(req: Request, res: Response) -> None:
    await res.send("<!doctype html><title>EventSource</title>")


@app.get("/cases/:name")
async def answer(req: Request, res: Response) -> None:
    """Answer as the row says, once; a redirect leads to here as well, with a query."""
    case, times = CASES[req.params["name"]], asked[req.params["name"]]
    # Chromium comes back to where the redirect led.
    is_followed = "moved" in req.query and req.params["name"] not in moved
    if is_followed:
        moved.add(req.params["name"])
    else:
        last = req.headers.get("last-event-id")
        times.append((last and last.encode("latin-1").decode(), time.monotonic()))
    for field, value in [("content-type", "text/event-stream"), *case.fields]:
        res.set(field, value.format(origin=req.get("origin", "")))
    res.cache(no_store=True)
    if len(times) > 1 or case.status in (204, 205):
        await res.status(204 if len(times) > 1 else case.status).send()
    elif is_followed:
        await res.write(MOVED)
    else:
        await res.status(case.status).write(case.stream)


@app.get("/asked")
async def told(req: Request, res: Response) -> None:
    await res.json(asked)
