"""
A server of WebSockets in a script: the test says when each message comes, and how long each `send`
takes.

The rules that an application owes its server are watched on each call, also after it has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from nardis.testing.rules import Talk, payload_of
from tests.peers.driver import Call, Server, rest

DENIALS = {"websocket.http.response": {}}

CONNECT = {"type": "websocket.connect"}
VANISH = {"type": "websocket.disconnect", "code": 1006}


def text(said: str) -> dict[str, Any]:
    return {"type": "websocket.receive", "text": said}


def binary(said: bytes) -> dict[str, Any]:
    return {"type": "websocket.receive", "bytes": said}


def bye(code: int = 1000, reason: str = "") -> dict[str, Any]:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


class Peer:
    """What a runner of our own knows of a client: the application hears of its end at once."""

    scope = None
    progressed = 0.0

    def __init__(self) -> None:
        self.listener: Any = None
        self.claimed = False
        self.message_bytes: int | None = None
        self.unread = self.away = False

    def has_unread(self) -> bool:
        return self.unread

    def has_left(self) -> bool:
        return self.away


class Socket(Call):
    """One WebSocket; `code` and `reason` are of the Close that it was sent."""

    def __init__(self, app: Any, scope: dict[str, Any]) -> None:
        super().__init__(app, scope)
        self.talk = Talk({**scope, "extensions": scope["extensions"] or {}})

    async def receive(self) -> dict[str, Any]:
        self._check(not self.ended.is_set(), "receive() after the call has ended")
        message = await super().receive()
        self._told = message["type"] == "websocket.disconnect"
        return message

    async def send(self, message: dict[str, Any]) -> None:
        self._check(not self.ended.is_set(), "send() after the call has ended")
        self._check(self.sending == 0, "two tasks in send()")
        self._check(not self._told, "send() after websocket.disconnect")
        fault = self.talk.fault({**message})
        self._check(fault is None, str(fault))
        self.talk.take({**message})
        self.begun.append(message)
        self.sending += 1
        try:
            if self.on_send is not None:
                await self.on_send(message)
        finally:
            self.sending -= 1
        self.sent.append(message)

    @property
    def kinds(self) -> list[str]:
        """The messages that it was sent, by the last words of their types."""
        return [message["type"].rpartition(".")[2] for message in self.begun]

    @property
    def said(self) -> list[str | bytes | None]:
        """The messages of the conversation."""
        return [payload_of(each) for each in self.sent if each["type"] == "websocket.send"]

    @property
    def closed(self) -> tuple[int, str] | None:
        """The Close that it was sent, after an accept."""
        last = self.begun[-1] if self.begun else {}
        has_closed = self.kinds[:1] == ["accept"] and last.get("type") == "websocket.close"
        return (last["code"], last["reason"]) if has_closed else None

    @property
    def denied(self) -> int | None:
        """The status of its denial."""
        return self.talk.denial.status or None


class Sockets(Server):
    """A server of WebSockets, with a clock that stands still; see `Server`."""

    socket_type: type[Socket] = Socket

    def open(
        self,
        path: str = "/",
        *messages: dict[str, Any] | Exception,
        connect: bool = True,
        headers: Iterable[tuple[str, str]] = (),
        on_send: Any = None,
        peer: Peer | None = None,
        **scope: Any,
    ) -> Socket:
        """Begin a handshake; *messages* have arrived already, behind the one that connects."""
        socket = self.socket_type(
            self.app,
            {
                "type": "websocket",
                "asgi": {"version": "3.0", "spec_version": "2.4"},
                "http_version": "1.1",
                "scheme": "ws",
                "path": path,
                "raw_path": path.encode(),
                "query_string": b"",
                "root_path": "",
                "headers": [
                    (name.encode(), value.encode())
                    for name, value in headers or [("host", "testserver")]
                ],
                "client": ("127.0.0.1", 50000),
                "server": ("testserver", 80),
                "subprotocols": [],
                "extensions": {**DENIALS, **({} if peer is None else {"nardis.client": peer})},
                **scope,
            },
        )
        socket.on_send = on_send
        socket.push(*([CONNECT] if connect else []), *messages)
        self.calls.append(socket)
        self.group.start_soon(socket.run, name=path)
        return socket

    async def opened(self, *args: Any, **options: Any) -> Socket:
        """Begin a handshake, and let everything come to rest."""
        socket = self.open(*args, **options)
        await rest()
        return socket

    async def talked(self, *args: Any, **options: Any) -> Socket:
        """Begin a handshake, and wait for the end of all."""
        socket = self.open(*args, **options)
        await socket.wait()
        return socket

    async def watched(self) -> None:
        """Let the clients of all calls be watched, and what they have said be taken ahead."""
        await self.tick()
        await self.tick()


def errors(caplog: Any) -> list[str]:
    """Return what was logged as an error, or as a warning."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
