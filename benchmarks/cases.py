"""
The cases: one request each, what a right answer is, and what every application in `apps/` offers.

    GET  /hello                 "Hello, world!", text/plain
    GET  /api/r{i}/items/{id}   item(id) as JSON, for i in range(routes)
    POST /count                 parses the JSON body; {"count": the number of its items}
    GET  /chunks/64k            100 pieces of 64 KiB, each sent by itself
    GET  /chunks/1k             1,000 pieces of 1 KiB
    POST /upload                reads the body piece by piece; the number of its bytes as text
    anything else               404
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal

HELLO = "Hello, world!"
KIB = b"x" * 1024
CHUNK = b"x" * 65536
# Path of a stream: how many pieces, and which.
STREAMS = {"/chunks/64k": (100, CHUNK), "/chunks/1k": (1000, KIB)}
ROUTES = 50


def item(ident: str) -> dict[str, Any]:
    return {"id": ident, "name": "item", "price": 9.5, "tags": ["a", "b", "c"], "ok": True}


async def pieces(path: str) -> AsyncIterator[bytes]:
    """Return a stream in the form that most frameworks take: an asynchronous generator."""
    count, piece = STREAMS[path]
    for _ in range(count):
        yield piece


@dataclass(frozen=True, slots=True)
class Case:
    """
    One request.

    Attributes:
        title: How the tables call it.
        kind: The table it stands in; a stream is judged by its ratio, the others by what they add.
        body: The pieces of the request body, one ASGI message each.
        right: Whether the body of an answer is right.
        routes: How many routes with a parameter the application has.
    """

    name: str
    title: str
    path: str
    right: Callable[[bytes], bool]
    kind: Literal["short", "stream", "routing"] = "short"
    method: str = "GET"
    status: int = 200
    body: tuple[bytes, ...] = (b"",)
    content_type: bytes = b""
    routes: int = ROUTES
    middlewares: int = 0


def is_json(value: object) -> Callable[[bytes], bool]:
    return lambda body: bool(json.loads(body) == value)


def last_of(routes: int) -> Case:
    """Ask for the last of so many routes."""
    kind: Literal["short", "routing"] = "short" if routes == ROUTES else "routing"
    return Case(
        f"routes{routes}",
        f"{routes:,} routes, the last, one parameter, JSON",
        f"/api/r{routes - 1}/items/42",
        is_json(item("42")),
        kind,
        routes=routes,
    )


def stream(name: str, title: str, path: str) -> Case:
    count, piece = STREAMS[path]
    return Case(name, title, path, (piece * count).__eq__, "stream")


DOCUMENT = json.dumps({"items": [item(str(n)) for n in range(12)]}).encode()

CASES = (
    Case("static", "static route, short text", "/hello", HELLO.encode().__eq__),
    last_of(ROUTES),
    Case("missing", "404", "/nope/nope", lambda body: True, status=404),
    Case("middlewares", "5 no-op middlewares", "/hello", HELLO.encode().__eq__, middlewares=5),
    Case(
        "document",
        "JSON body parsed",
        "/count",
        is_json({"count": 12}),
        method="POST",
        body=(DOCUMENT,),
        content_type=b"application/json",
    ),
    stream("writes64k", "100 writes of 64 KiB", "/chunks/64k"),
    stream("writes1k", "1,000 writes of 1 KiB", "/chunks/1k"),
    Case(
        "upload",
        "upload of 1,000 × 64 KiB",
        "/upload",
        str(1000 * len(CHUNK)).encode().__eq__,
        "stream",
        "POST",
        body=(CHUNK,) * 1000,
        content_type=b"application/octet-stream",
    ),
    *(last_of(routes) for routes in (5, 500, 5000)),
)
BY_NAME = {case.name: case for case in CASES}
