"""
What the tests of foreign applications share: raw ASGI applications, and a WebSocket client without
a socket.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from tests.peers.driver import rest

START = "http.response.start"
BODY = "http.response.body"


def start(status: int = 200, *headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    return {"type": START, "status": status, "headers": list(headers), **more}


def body(data: bytes = b"", more: bool = False) -> dict[str, Any]:
    return {"type": BODY, "body": data, "more_body": more}


def says(*messages: dict[str, Any]) -> Any:
    """Make an application that sends *messages*, whatever it is asked."""

    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    return app


class WebSocket:
    """The client's side of one WebSocket: `sent` is what the application said."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self._in, self._out = anyio.create_memory_object_stream[dict[str, Any]](10)
        self._in.send_nowait({"type": "websocket.connect"})
        self.error: Exception | None = None
        self.ended = anyio.Event()

    async def run(self, app: Any, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._out.receive, self.send)
        except Exception as exc:
            self.error = exc
        finally:
            self._in.close()
            self._out.close()
            self.ended.set()

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        await checkpoint()

    def say(self, text: str) -> None:
        self._in.send_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        self._in.send_nowait({"type": "websocket.disconnect", "code": 1000})


@asynccontextmanager
async def websocket(
    app: Any,
    path: str,
    headers: list[tuple[bytes, bytes]] | None = None,
    extensions: dict[str, Any] | None = None,
    **more: Any,
) -> AsyncGenerator[WebSocket, None]:
    """Open a WebSocket; what it is told is on its `sent` once everything rests."""
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver"), *(headers or [])],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "subprotocols": [],
        "extensions": extensions or {},
        **more,
    }
    socket = WebSocket()
    async with anyio.create_task_group() as group:
        group.start_soon(socket.run, app, scope)
        await rest()
        yield socket
        await rest()
        group.cancel_scope.cancel()
