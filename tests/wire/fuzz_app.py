"""
The applications that the fuzz serves.

`app` answers with a digest of the request as it saw it, so that two servers that read the same
bytes in two ways give two answers. `faulty` does so too, and has the faults that the fuzz is to
find.
"""

from __future__ import annotations

import hashlib
import json
import logging
from itertools import count
from typing import Any

import anyio

from nardis.types import Receive, Scope, Send

__all__ = ["app", "faulty"]

PURPOSE = "on purpose"

# What `faulty` remembers.
turns = count(1)
cut: list[Scope] = []


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """
    Answer with a digest of the request; parts of the target tell how.

    `/early` answers before the body is read, `/pieces` in three pieces, `/raise` not at all, and
    `/raise-late` after the first piece.
    """
    if scope["type"] == "http":
        await answer(scope, receive, send)
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close"})
    else:
        await live(receive, send)


async def live(receive: Receive, send: Send) -> None:
    """Start and end with the server."""
    for what in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{what}.complete"})


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    target = scope["raw_path"]
    length, summed = 0, hashlib.sha1(usedforsecurity=False)
    more = b"/early" not in target
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        summed.update(message["body"])
        more = message["more_body"]
    if b"/raise" in target and b"/raise-late" not in target:
        raise RuntimeError(PURPOSE)
    body = digest(scope, length, summed.hexdigest())
    fields = [
        (b"x-method", scope["method"].encode()),
        (b"x-digest", hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    if b"/pieces" in target or b"/raise-late" in target:
        for piece in (body[:10], body[10:]):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if b"/raise-late" in target:
                raise RuntimeError(PURPOSE)
        body = b""
    await send({"type": "http.response.body", "body": body})


def digest(scope: Scope, length: int, summed: str) -> bytes:
    """Say what was seen of a request, as JSON."""
    seen: dict[str, Any] = {
        "method": scope["method"],
        "raw_path": scope["raw_path"].decode("latin-1"),
        "query": scope["query_string"].decode("latin-1"),
        "version": scope["http_version"],
        "headers": [
            [name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]
        ],
        "length": length,
        "sha1": summed,
    }
    return json.dumps(seen).encode()


async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
    """Do as `app` does, but for some requests with a query."""
    match scope.get("query_string"):
        case b"differ":
            scope["method"] = "OTHER"
        case b"fail":
            raise ValueError("not on purpose")
        case b"hang":
            await anyio.sleep_forever()
        case b"cut":
            scope["raw_path"] = b"/raise-late"
        case b"cut-once" if not cut:
            scope["raw_path"] = b"/raise-late"
            cut.append(scope)
        case b"waver" if next(turns) % 2:
            scope["method"] = "OTHER"
        case b"log":
            logging.getLogger("nardis.server").warning("something odd")
    await app(scope, receive, send)
