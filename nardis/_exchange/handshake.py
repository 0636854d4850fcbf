"""
The opening of a WebSocket: middlewares see it as a request, and may refuse it.

Answering before the connection is accepted denies it: with that response if the server supports
one, otherwise by closing, which the client sees as 403. The fields that were set go out with the
accept, whoever accepts: a handler of ours, or an application that is handed the connection.

Source: the ASGI specification, "HTTP & WebSocket", and its extension "websocket.http.response".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Final

from .._asgi.extensions import Client
from .._failures import name_of
from ..errors import NoResponse
from ..types import ASGIApp, CloseReason, Message, Receive, Scope, Send
from .exchange import ENDED, IDLE, STARTED, Exchange
from .intake import Intake, UnwatchedIntake
from .lifetime import Lifetime
from .socket import Messages, Socket
from .sweeper import Sweeper

if TYPE_CHECKING:
    from ..limits import Limits

__all__ = ["Handshake"]

# What an accept has none of.
_OF_A_BODY: Final = b"content-"

_HOW_TO_ANSWER: Final = (
    "accept the WebSocket, by `await ws.accept()` or by sending or receiving; to refuse it raise "
    "HTTPError(403), or another status"
)


class Handshake(Exchange):
    """
    The exchange of a handshake: a GET without a body.

    Attributes:
        is_handed_over: A foreign application has the connection.
        messages: What the server says of the WebSocket.
        outer: The handshake outside of a foreign middleware; None around everything.
        socket: What it became, also where it was accepted behind a foreign middleware.
    """

    __slots__ = ("_is_met", "_to_server", "is_handed_over", "messages", "outer", "socket")

    intake_type: ClassVar[type[Intake]] = UnwatchedIntake

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, sweeper: Sweeper, limits: Limits
    ) -> None:
        scope = {"http_version": "1.1", **scope, "method": "GET"}
        super().__init__(scope, _no_body, self._deny, sweeper, limits)
        self.messages = Messages(self, receive)
        self._to_server = send
        self._is_met = False
        self.is_handed_over: bool = False
        self.outer: Handshake | None = None
        self.socket: Socket | None = None

    # --- its end ----------------------------------------------------------------------------------

    async def accept(self, subprotocol: str | None) -> Socket:
        """
        Accept, with the fields that were set; a conversation begins.

        Cancellation: the handshake is neither accepted nor denied, and can only fail.
        """
        await self._take_turn()
        try:
            if self.socket is not None:
                return self.socket  # another task, which receives or sends, was first
            await self._may_send("accept the WebSocket")
            await self._meet_client()
            if self.client is not None:
                self.client.message_bytes = self.limits.websocket_message_bytes
            message = self._with_fields({"type": "websocket.accept", "subprotocol": subprotocol})
            self.state = STARTED
            await self._tell_server(message)
            return self._become_socket(subprotocol)
        finally:
            self._give_turn()

    def _become_socket(self, subprotocol: str | None) -> Socket:
        self.state = ENDED
        self.sweeper.exchanges.discard(self)
        socket = Socket(self, self.messages, self._to_server, subprotocol)
        self.messages.serve(socket)
        self.sweeper.exchanges.add(socket)
        if self.client is not None:
            self.client.listener = socket
        each: Handshake | None = self
        while each is not None:
            each.socket = socket
            each = each.outer
        return socket

    async def hand_over(self, app: ASGIApp, scope: Scope) -> None:
        """Let *app* have the connection; nobody else can answer from now on."""
        self.state = ENDED
        self.is_handed_over = True
        self.sweeper.exchanges.discard(self)
        if self.client is not None:
            self.client.claimed = False  # nobody of us hears of it any more
            self.client.listener = None
        scope = {name: value for name, value in scope.items() if name != "method"}
        await app(scope, self.messages.take, self._accept)

    async def _accept(self, message: Message) -> None:
        if message["type"] == "websocket.accept":
            message = self._with_fields(message)
        await self._to_server(message)

    def _with_fields(self, message: Message) -> Message:
        """Close the head, and let its fields go out with the accept."""
        start, _, _, _ = self.head.compose(None, self.http1, False)
        ours = [line for line in start["headers"] if not line[0].startswith(_OF_A_BODY)]
        return {**message, "headers": [*ours, *message.get("headers", ())]}

    async def _meet_client(self) -> None:
        """Hear that there is a client, which a server says first, and once."""
        if not self._is_met:
            if (await self.messages.take())["type"] == "websocket.disconnect":
                self.disconnected()
                await self.raise_gone()
            self._is_met = True

    async def _tell_server(self, message: Message) -> None:
        try:
            await self._to_server(message)
        except BaseException as exc:
            await self._interrupted(exc)

    async def _deny(self, message: Message) -> None:
        starts = message["type"] == "http.response.start"
        if starts:
            await self._meet_client()
        if "websocket.http.response" in (self.scope.get("extensions") or {}):
            await self._to_server({**message, "type": f"websocket.{message['type']}"})
        elif starts:
            # Closing before accepting: the server answers the handshake with 403.
            await self._to_server({"type": "websocket.close", "code": 1000, "reason": ""})

    async def finish(self, silent: Callable[..., object] | None) -> None:
        """End a denial that was begun; see `Exchange.finish`."""
        if self.state == IDLE and self.end_data is None:
            raise NoResponse(name_of(silent), _HOW_TO_ANSWER)
        await super().finish(silent)

    # --- its client -------------------------------------------------------------------------------

    def inside(self, outer: Lifetime) -> None:
        """Belong to the handshake outside of a foreign middleware."""
        super().inside(outer)
        if isinstance(outer, Handshake):
            self.outer = outer
            self.meet(outer.client)

    def meet(self, client: Client | None) -> None:
        """Be the one who is told what happens to the client."""
        self.client = client
        if client is not None:
            client.listener, client.claimed = self, True

    def note(self, reason: CloseReason) -> None:
        """Note why it ended, also outside of a foreign middleware."""
        super().note(reason)
        if self.outer is not None:
            self.outer.note(reason)

    def closed(self, code: int, reason: str) -> None:
        """Hear that the client has left without waiting for the answer."""
        self.left()

    def let_go(self) -> None:
        """Let go of the server: the watchers end (C3)."""
        super().let_go()
        self.messages.close()

    def leave(self) -> None:
        """Let go of everything, because the handler is over."""
        self.let_go()
        self.sweeper.exchanges.discard(self)
        if self.socket is not None:
            self.sweeper.exchanges.discard(self.socket)
        if self.client is not None:
            self.client.listener = None
        # Circles, which would be the garbage collector's work.
        self.messages.serve(self)
        del self.messages
        self.socket, self._send = None, _over

    def _look_for_client(self) -> None:
        if self.cancels and self.client is not None and self.client.has_left():
            self.disconnected()
        elif not self.is_over():
            self.messages.watch()


async def _over(message: Message) -> None:
    """Be the `send` of a handshake that is over."""


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
