"""The applications that servers are measured with."""

from __future__ import annotations

from nardis import Limits, Nardis

from .apps import nardis as of_nardis
from .apps import raw as by_hand
from .cases import CHUNK

raw = by_hand.app
nardis = of_nardis.make(0, 0)


async def endless_raw(scope, receive, send):
    """Write without an end; each piece is another, as those of a file would be."""
    if scope["type"] == "lifespan":
        return await by_hand.lifespan(receive, send)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": bytes(len(CHUNK)), "more_body": True})


endless_nardis = Nardis(limits=Limits(write_stall_s=600))


@endless_nardis.get("/")
async def endless(req, res):
    while True:
        await res.write(bytes(len(CHUNK)))
