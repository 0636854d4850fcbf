"""
A raw ASGI application, on anyio alone: it calls `receive` and `send`, which a framework hides.

The path says what is done, and under which key it is recorded: `/what/key`. Records go to the file
that NARDIS_OBSERVED names.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel

KIB = 1024
MIB = 1024 * KIB
CHUNK = bytes(64 * KIB)
BLOCK_BYTES = 64 * KIB

Fields = Iterable[tuple[bytes, bytes]]

progress: dict[str, int] = {}
releases: dict[str, anyio.Event] = {}


def block(number: int) -> bytes:
    """Give a block unlike all others, so that none can be lost, doubled or moved unseen."""
    return number.to_bytes(256, "big") + bytes(range(256)) * (BLOCK_BYTES // 256 - 1)


@dataclass(frozen=True)
class Call:
    """One call of the application."""

    scope: dict[str, Any]
    receive: Callable[[], Awaitable[dict[str, Any]]]
    send: Callable[[dict[str, Any]], Awaitable[None]]
    key: str

    def record(self, event: str, **facts: Any) -> None:
        with open(os.environ["NARDIS_OBSERVED"], "a", encoding="utf-8") as file:
            file.write(json.dumps({"key": self.key, "event": event, **facts}) + "\n")

    async def start(self, status: int = 200, fields: Fields = ()) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": list(fields)})

    async def write(self, data: bytes) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        await self.send({"type": "http.response.body", "body": data})

    async def answer(self, data: bytes, fields: Fields | None = None) -> None:
        await self.start(
            fields=[(b"content-length", b"%d" % len(data))] if fields is None else fields
        )
        await self.end(data)

    async def gone(self) -> None:
        """Take all messages up to the disconnect."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def released(self) -> None:
        """Wait for `/release/key`."""
        releases[self.key] = anyio.Event()
        self.record("started")
        await releases[self.key].wait()

    async def while_there(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work without an end, until the client leaves."""
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            await self.gone()
            group.cancel_scope.cancel()


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
    else:
        what, _, key = scope["path"][1:].partition("/")
        await HANDLERS[what](Call(scope, receive, send, key))


async def hello(call: Call) -> None:
    await call.answer(b"hello")


async def progress_of(call: Call) -> None:
    await call.answer(b"%d" % progress.get(call.key, 0))


async def release(call: Call) -> None:
    releases.pop(call.key).set()
    await call.answer(b"")


async def status(call: Call) -> None:
    """Answer with the status that is the key."""
    await call.start(int(call.key))
    await call.end()


# --- down -----------------------------------------------------------------------------------------


async def tick(call: Call) -> None:
    async def work() -> None:
        number = 0
        while True:
            await call.write(b"%d\n" % number)
            progress[call.key] = number
            number += 1
            await anyio.sleep(0.01)

    await call.start()
    await call.while_there(work)


async def flood(call: Call) -> None:
    """Offer bytes without an end, and count what is taken."""

    async def work() -> None:
        while True:
            await call.write(CHUNK)
            progress[call.key] = progress.get(call.key, 0) + len(CHUNK)

    await call.start()
    try:
        await call.while_there(work)
    finally:
        call.record("ended")


async def hurry(call: Call) -> None:
    """Flood for a third of a second."""
    with anyio.move_on_after(0.3):
        await flood(call)
    call.record("gave up")


async def heedless(call: Call) -> None:
    """Write on after the client has left."""
    await call.start()
    await call.write(b"first")
    await call.gone()
    for _ in range(100):
        await call.write(bytes(KIB))
        await anyio.lowlevel.checkpoint()
    call.record("wrote")


async def blocks(call: Call) -> None:
    """Send as many blocks as the end of the key says, and look at nothing else."""
    await call.start()
    for number in range(int(call.key.rpartition("-")[2])):
        await call.write(block(number))
    await call.end()
    call.record("returned")


# --- up -------------------------------------------------------------------------------------------


async def hold(call: Call) -> None:
    """Leave the body unread until `/release/key`, then give its digest."""
    await call.released()
    await digest(call)


async def digest(call: Call, pause_s: float = 0) -> None:
    summed, more = hashlib.sha256(), True
    while more:
        message = await call.receive()
        if message["type"] == "http.disconnect":
            return
        summed.update(message["body"])
        more = message["more_body"]
        if pause_s:
            await anyio.sleep(pause_s)
    await call.answer(summed.hexdigest().encode())


async def sluggish(call: Call) -> None:
    """Give the digest of a body that comes faster than it is taken."""
    await digest(call, pause_s=0.001)


async def unread(call: Call) -> None:
    """Answer without having read the body, when as much of it as possible has arrived."""
    await call.released()
    await anyio.sleep(0.2)
    await call.answer(b"not read")
    call.record("returned")


async def slow(call: Call) -> None:
    """Take a message each half second."""
    await call.released()
    number = 0
    while True:
        await anyio.sleep(0.5)
        message = await call.receive()
        if message["type"] == "http.disconnect":
            break
        # On stock hypercorn alone, whose process is killed before it can be measured.
        number += 1  # pragma: no cover
        call.record(f"took {number}")  # pragma: no cover
    call.record("gone", after=number)


async def twice(call: Call) -> None:
    """Ask once more after the disconnect."""
    call.record("started")
    await call.gone()
    again = None
    with anyio.move_on_after(0.5):
        again = await call.receive()
    call.record("asked again", answer=again)


async def early(call: Call) -> None:
    await call.answer(b"early")


async def fault(call: Call) -> None:
    """
    Break the server's own stream: what the client sends next raises where the connection is read.
    """
    client = call.scope["extensions"].get("nardis.client")
    if client is not None:  # our own HTTP/1.1 reads the rest of this request after the answer
        client._talk.stream = Broken(client._talk.stream)
        call.record("armed")
        return await call.answer(b"")
    path = call.scope["path"]  # pragma: no cover  # on stock hypercorn alone, which is killed
    stream: Any = next(  # pragma: no cover
        each
        for each in gc.get_objects()
        if type(each).__name__ == "HTTPStream" and each.scope["path"] == path
    )
    stream.handle = Broken(stream).read  # pragma: no cover
    call.record("armed")  # pragma: no cover
    await anyio.sleep_forever()  # pragma: no cover


class Broken:
    """A stream of the server that cannot be read."""

    def __init__(self, stream: Any) -> None:
        self.write = stream.write if hasattr(stream, "write") else None

    async def read(self, *event: object) -> None:
        raise RuntimeError("a fault of the server's own")


# --- endings --------------------------------------------------------------------------------------


async def fail(call: Call) -> None:
    await call.start()
    await call.write(b"half")
    raise RuntimeError("on purpose")


async def declared(call: Call) -> None:
    """Declare 8 bytes, and send as many as the key says."""
    await call.answer(bytes(int(call.key)), [(b"content-length", b"8")])


async def line_end(call: Call) -> None:
    await call.answer(b"split", [(b"x-split", b"one\r\nx-injected: two")])


async def trailed(call: Call) -> None:
    """End with a trailer, as the ASGI extension has it; it is for the server to refuse."""
    await call.send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"trailer", b"x-sum")],
            "trailers": True,
        }
    )
    await call.end(b"body")
    await call.send({"type": "http.response.trailers", "headers": [(b"x-sum", b"4")]})


# --- websockets -----------------------------------------------------------------------------------


async def accept(call: Call, **more: Any) -> None:
    await call.receive()
    await call.send({"type": "websocket.accept", **more})


async def listen(call: Call) -> list[Any]:
    """Take what comes up to the disconnect, which is recorded as it is."""
    taken = []
    while (message := await call.receive())["type"] != "websocket.disconnect":
        taken.append(message["text"] if message["bytes"] is None else len(message["bytes"]))
    assert await call.receive() == message
    call.record("disconnect", **message)
    return taken


async def websocket(call: Call) -> None:
    """Send back what comes; of bytes their number."""
    await accept(call)
    while (message := await call.receive())["type"] != "websocket.disconnect":
        text = message["text"] if message["bytes"] is None else str(len(message["bytes"]))
        await call.send({"type": "websocket.send", "text": text})
    call.record("disconnect", **message)


async def listens(call: Call) -> None:
    """Take nothing until `/release/key`; then record all that came."""
    await accept(call)
    await call.released()
    call.record("took", messages=await listen(call))


async def closes(call: Call) -> None:
    """Close at once, and hear what comes of it."""
    await accept(call)
    await call.send({"type": "websocket.close", "code": 4000, "reason": "enough"})
    call.record("closed")
    call.record("took", messages=await listen(call))


async def leaves(call: Call) -> None:
    """Accept, and return when a message has come."""
    await accept(call)
    await call.receive()


async def closes_badly(call: Call) -> None:
    await accept(call)
    await call.send({"type": "websocket.close", "code": 70_000})


async def pours(call: Call) -> None:
    """Send without an end, beside hearing."""

    async def work() -> None:
        while True:
            await call.send({"type": "websocket.send", "text": "drop"})
            await anyio.sleep(0.01)

    await accept(call)
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await listen(call)
        group.cancel_scope.cancel()
    await call.send({"type": "websocket.send", "text": "after the end"})
    await call.send({"type": "websocket.close"})


async def gushes(call: Call) -> None:
    """Send as much as the client takes, beside hearing."""

    async def work() -> None:
        while True:
            await call.send({"type": "websocket.send", "bytes": bytes(KIB)})
            await anyio.lowlevel.checkpoint()

    await accept(call)
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await listen(call)
        group.cancel_scope.cancel()


async def accepts_wrongly(call: Call) -> None:
    """Accept with a field that cannot be sent."""
    await accept(call, headers=[(b"x-split", b"one\r\nx-injected: two")])


async def accepts_unasked(call: Call) -> None:
    """Accept with a subprotocol that the client did not offer."""
    await accept(call, subprotocol="unasked")


async def deny(call: Call) -> None:
    """Refuse a WebSocket in the old way."""
    await call.receive()
    await call.send({"type": "websocket.close"})


async def denied_with_fields(call: Call) -> None:
    """Refuse a WebSocket, with fields that are the server's."""
    await call.receive()
    fields = [(b"connection", b"keep-alive"), (b"Connection", b"close"), (b"content-length", b"2")]
    await call.send({"type": "websocket.http.response.start", "status": 403, "headers": fields})
    await call.send({"type": "websocket.http.response.body", "body": b"no"})


async def denied_with_nothing(call: Call) -> None:
    """Refuse a WebSocket with an empty response."""
    await call.receive()
    await call.send({"type": "websocket.http.response.start", "status": 403, "headers": []})
    await call.send({"type": "websocket.http.response.body", "body": b""})


async def undecided(call: Call) -> None:
    """Record what comes before the handshake was answered."""
    await call.receive()
    call.record("asked")
    await listen(call)
    await call.send({"type": "websocket.accept"})


async def denied(call: Call) -> None:
    """Refuse a WebSocket, in two pieces."""
    await call.receive()
    await call.send({"type": "websocket.http.response.start", "status": 403, "headers": []})
    await call.send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
    await call.released()
    await call.send({"type": "websocket.http.response.body", "body": b"here"})


HANDLERS: dict[str, Callable[[Call], Awaitable[None]]] = {
    "accepts-unasked": accepts_unasked,
    "accepts-wrongly": accepts_wrongly,
    "blocks": blocks,
    "closes": closes,
    "closes-badly": closes_badly,
    "declared": declared,
    "denied": denied,
    "denied-with-fields": denied_with_fields,
    "denied-with-nothing": denied_with_nothing,
    "deny": deny,
    "digest": digest,
    "early": early,
    "fail": fail,
    "fault": fault,
    "flood": flood,
    "heedless": heedless,
    "gushes": gushes,
    "hello": hello,
    "hold": hold,
    "hurry": hurry,
    "leaves": leaves,
    "line-end": line_end,
    "listens": listens,
    "pours": pours,
    "progress": progress_of,
    "release": release,
    "slow": slow,
    "sluggish": sluggish,
    "status": status,
    "tick": tick,
    "trailed": trailed,
    "twice": twice,
    "undecided": undecided,
    "unread": unread,
    "websocket": websocket,
}
