"""
The applications of `benchmarks.websockets`: an echo, a room, and WebSockets that say nothing.

What a handler does is the same for all; each brings its own means to read and to send.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import anyio

KEPT_MESSAGES = 16  # for a member that is slow; what is older is dropped
# More than the kernel takes for a socket that nobody reads, in pieces of which one is stuck.
FLOOD = "x" * 16 * 1024
FLOODS = 256

Say = Callable[[str], Awaitable[None]]
Texts = AsyncIterator[str]


class Mailbox:
    """What a member has still to get."""

    def __init__(self) -> None:
        self._kept: deque[str] = deque(maxlen=KEPT_MESSAGES)
        self._came = anyio.Event()

    def put(self, text: str) -> None:
        self._kept.append(text)
        self._came.set()

    async def take(self) -> str:
        if not self._kept:
            self._came = anyio.Event()
            await self._came.wait()
        return self._kept.popleft()


members: set[Say] = set()
mailboxes: set[Mailbox] = set()


async def echo(say: Say, texts: Texts) -> None:
    async for text in texts:
        await say(text)


async def by_loop(say: Say, texts: Texts) -> None:
    """Say to all what each member says, one after the other."""
    members.add(say)
    try:
        async for text in texts:
            for each in list(members):
                await each(text)
    finally:
        members.discard(say)


async def by_mailbox(say: Say, texts: Texts, floods: int = 0) -> None:
    """Say to all what each member says; each has a task that sends, after so many floods."""
    mailbox = Mailbox()

    async def deliver() -> None:
        for _ in range(floods):
            await say(FLOOD)
        while True:
            await say(await mailbox.take())

    mailboxes.add(mailbox)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deliver)
            async for text in texts:
                for each in mailboxes:
                    each.put(text)
            tasks.cancel_scope.cancel()
    finally:
        mailboxes.discard(mailbox)


async def idle(say: Say, texts: Texts) -> None:
    async for _ in texts:
        pass


HANDLERS = {
    "/echo": echo,
    "/loop": by_loop,
    "/mailbox": by_mailbox,
    "/flooded": partial(by_mailbox, floods=FLOODS),
    "/idle": idle,
}


async def raw(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "websocket":
        return await lifespan(receive, send)

    async def say(text: str) -> None:
        await send({"type": "websocket.send", "text": text})

    async def texts() -> Texts:
        while (message := await receive())["type"] == "websocket.receive":
            yield message["text"]

    await receive()
    await send({"type": "websocket.accept"})
    await HANDLERS[scope["path"]](say, texts())


async def lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def nardis() -> Any:
    from nardis import Nardis

    app = Nardis()

    def add(path: str) -> None:
        @app.websocket(path)
        async def endpoint(req: Any, ws: Any) -> None:
            await HANDLERS[path](ws.send, ws)

    for path in HANDLERS:
        add(path)
    return app


def starlette() -> Any:
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute

    def route(path: str) -> WebSocketRoute:
        async def endpoint(websocket: Any) -> None:
            await websocket.accept()
            await HANDLERS[path](websocket.send_text, websocket.iter_text())

        return WebSocketRoute(path, endpoint)

    return Starlette(routes=[route(path) for path in HANDLERS])


served = nardis()
