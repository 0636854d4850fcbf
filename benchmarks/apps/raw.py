"""
The floor: ASGI by hand, no framework.

Its routes are looked up by prefix, which no framework could do.
"""

from __future__ import annotations

import json

from ..cases import HELLO, STREAMS, item


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    path = scope["path"]
    if path == "/hello":
        await answer(send, HELLO.encode(), b"text/plain; charset=utf-8")
    elif path.startswith("/api/r"):
        await answer(send, json.dumps(item(path.rpartition("/")[2])).encode(), b"application/json")
    elif path in STREAMS:
        await stream(send, *STREAMS[path])
    elif path == "/count":
        await answer(
            send,
            json.dumps({"count": len(json.loads(await gather(receive))["items"])}).encode(),
            b"application/json",
        )
    elif path == "/upload":
        await upload(receive, send)
    else:
        await answer(send, b"Not Found", b"text/plain; charset=utf-8", 404)


async def lifespan(receive, send):
    for _ in range(2):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})


async def answer(send, body, content_type, status=200):
    headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(send, count, piece):
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/octet-stream")],
        }
    )
    for _ in range(count):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def gather(receive):
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message["body"])
        more = message["more_body"]
    return b"".join(pieces)


async def upload(receive, send):
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message["body"])
        more = message["more_body"]
    await answer(send, b"%d" % size, b"text/plain; charset=utf-8")


def wrap(inner):
    async def noop(scope, receive, send):
        await inner(scope, receive, send)

    return noop


def make(routes, middlewares):
    outer = app
    for _ in range(middlewares):
        outer = wrap(outer)
    return outer
