"""
The opening of a WebSocket: middlewares see it as a request, and may refuse it.

Answering before the connection is accepted denies it: with that response if the server supports
one, otherwise by closing, which the client sees as 403. An application that is handed the
connection accepts it; the fields that middlewares have set go out with that.

Source: the ASGI specification, "HTTP & WebSocket", and its extension "websocket.http.response".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..types import ASGIApp, Message, Receive, Scope, Send
from .exchange import ENDED, Exchange
from .intake import Intake, UnwatchedIntake
from .sweeper import Sweeper

if TYPE_CHECKING:
    from ..limits import Limits

__all__ = ["Handshake"]


class Handshake(Exchange):
    """The exchange of a handshake: a GET without a body."""

    __slots__ = ("_socket_receive", "_socket_send")

    intake_type: ClassVar[type[Intake]] = UnwatchedIntake

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, sweeper: Sweeper, limits: Limits
    ) -> None:
        scope = {"http_version": "1.1", **scope, "method": "GET"}
        super().__init__(scope, self._no_body, self._deny, sweeper, limits)
        self._socket_receive = receive
        self._socket_send = send

    async def hand_over(self, app: ASGIApp, scope: Scope) -> None:
        """Let *app* have the connection; nobody else can answer from now on."""
        self.state = ENDED
        await app(
            {name: value for name, value in scope.items() if name != "method"},
            self._socket_receive,
            self._accept,
        )

    async def _accept(self, message: Message) -> None:
        if message["type"] == "websocket.accept":
            start, _, _, _ = self.head.compose(None, self.http1, False)
            ours = [line for line in start["headers"] if not line[0].startswith(b"content-")]
            message = {**message, "headers": [*ours, *message.get("headers", ())]}
        await self._socket_send(message)

    async def _no_body(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _deny(self, message: Message) -> None:
        starts = message["type"] == "http.response.start"
        if starts:
            await self._socket_receive()
        if "websocket.http.response" in (self.scope.get("extensions") or {}):
            await self._socket_send({**message, "type": f"websocket.{message['type']}"})
        elif starts:
            # Closing before accepting: the server answers the handshake with 403.
            await self._socket_send({"type": "websocket.close", "code": 1000, "reason": ""})
