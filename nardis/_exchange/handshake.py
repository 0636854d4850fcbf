"""
The opening of a WebSocket: middlewares see it as a request, and may refuse it.

Answering before the connection is accepted denies it: with that response if the server supports
one, otherwise by closing, which the client sees as 403. The fields that were set go out with the
accept, whoever accepts: a handler of ours, or an application that is handed the connection.

Source: the ASGI specification, "HTTP & WebSocket", and its extension "websocket.http.response".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Final, NoReturn

import anyio
from anyio.lowlevel import checkpoint

from .._asgi.extensions import Client
from .._failures import parted
from ..errors import (
    ClientDisconnected,
    NardisError,
    NoResponse,
    ResponseAborted,
    ResponseAlreadyStarted,
    UsageError,
)
from ..limits import Limits
from ..types import ASGIApp, CloseReason, Message, Receive, Scope, Send
from .exchange import ENDED, IDLE, STARTED, Exchange
from .intake import Intake, UnwatchedIntake
from .lifetime import Lifetime
from .socket import VANISHED, Messages, Socket, how_of
from .sweeper import Sweeper

__all__ = ["Handshake"]

# What an accept has none of: what describes a body, and what the server says of the connection.
_OF_A_BODY: Final = b"content-"
_OF_THE_SERVER: Final = frozenset({b"connection", b"upgrade"})
_OF_THE_HANDSHAKE: Final = b"sec-websocket-"

_DENIAL: Final = "websocket.http.response"

_HOW_TO_ANSWER: Final = (
    "accept the WebSocket, by `await ws.accept()` or by sending or receiving; to refuse it raise "
    "HTTPError(403), or another status"
)


class Handshake(Exchange):
    """
    The exchange of a handshake: a GET without a body.

    Attributes:
        is_handed_over: A foreign application has accepted it, and has the connection.
        messages: What the server says of the WebSocket.
        outer: The handshake outside of a foreign middleware; None around everything.
        inner: The one inside of it.
        socket: What it became, also where it was accepted behind a foreign middleware.
    """

    __slots__ = (
        "_door",
        "_how_it_ended",
        "_is_refused",
        "_to_server",
        "inner",
        "is_handed_over",
        "messages",
        "outer",
        "socket",
    )

    intake_type: ClassVar[type[Intake]] = UnwatchedIntake

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, sweeper: Sweeper, limits: Limits
    ) -> None:
        extensions: dict[str, Any] = scope.get("extensions") or {}
        scope = {
            "http_version": "1.1",
            **scope,
            "method": "GET",
            # Of these a denial has none, whatever a server offers.
            "extensions": {
                name: value for name, value in extensions.items() if name[:5] != "http."
            },
        }
        self.begin(scope, _no_body, self._deny, sweeper, limits)
        self.messages = Messages(self, receive)
        self._to_server = send
        self._how_it_ended: tuple[int, str] | None = None
        self._is_refused = False
        self._door: anyio.Lock | None = None
        self.is_handed_over: bool = False
        self.outer: Handshake | None = None
        self.inner: Handshake | None = None
        self.socket: Socket | None = None

    # --- accepted ---------------------------------------------------------------------------------

    async def accept(self, subprotocol: str | None) -> Socket:
        """
        Accept, with the fields that were set; a conversation begins.

        Cancellation: in the middle of it, the handshake is neither accepted nor denied.
        """
        await self._take_turn()
        try:
            if self.socket is not None:
                return self.socket  # another task, which receives or sends, was first
            if self._is_refused:
                raise ClientDisconnected("this WebSocket was refused: ws.close() was called")
            await self._may_accept()
            await self._meet_client()
            message = self._with_fields({"type": "websocket.accept", "subprotocol": subprotocol})
            if self.client is not None:
                self.client.message_bytes = self.limits.websocket_message_bytes
            self.state = STARTED
            self.writing = self._clock()
            try:
                await self._to_server(message)
            except BaseException as exc:
                await self._interrupted(exc)
            finally:
                self.writing = 0.0
            return self._become_socket(subprotocol)
        finally:
            self._give_turn()

    async def _may_accept(self) -> None:
        """Refuse what was answered, or whose denial has begun (W1)."""
        await self._may_send("accept the WebSocket")
        if self.state != IDLE:
            raise ResponseAlreadyStarted("accept the WebSocket")

    @property
    def is_calm(self) -> bool:
        """Whether nobody accepts or denies it, or waits for that."""
        return not self._busy

    async def opened(self) -> Socket | None:
        """Wait for an accept, or a denial, that is under way; return what it became."""
        await self._take_turn()
        self._give_turn()
        return self.socket

    def fail(self, error: BaseException) -> None:
        """Note that the handler failed, also past the accept (W4)."""
        if self.socket is None:
            super().fail(error)
        else:
            self.socket.fail(error)

    def cut_short(self, exc: BaseException) -> None:
        """Note that a middleware cancelled the handler half-way, also past the accept (W4)."""
        socket = self.socket
        if socket is None:
            super().cut_short(exc)
        elif socket.open and not socket.closing and parted(exc)[0] is not None:
            what = "a middleware cancelled the handler of a WebSocket half-way"
            socket.fail(ResponseAborted(what))

    def _become_socket(self, subprotocol: str | None) -> Socket:
        self._conclude()
        socket = Socket(self, self.messages, self._to_server, subprotocol)
        self.messages.serve(socket)
        self.sweeper.exchanges.add(socket)
        if self.client is not None:
            self.client.listener, self.client.claimed = socket, True
        each: Handshake | None = self
        while each is not None:
            each.socket = socket
            each = each.outer
        if self._how_it_ended is not None:  # meanwhile
            socket.closed(*self._how_it_ended)
        return socket

    def _conclude(self) -> None:
        """Be over, and let somebody else hear of the client."""
        self.state = ENDED
        self.sweeper.exchanges.discard(self)
        if self.client is not None and self.client.listener is self:
            self.client.listener, self.client.claimed = None, False

    def _with_fields(self, message: Message) -> Message:
        """Close the head, and let its fields go out with the accept."""
        start, _, _, _ = self.head.compose(None, self.http1, False)
        lines: Iterable[tuple[bytes, bytes]] = start["headers"]
        ours = [
            line
            for line in lines
            if not line[0].startswith(_OF_A_BODY) and line[0] not in _OF_THE_SERVER
        ]
        for name, _ in ours:
            if name.startswith(_OF_THE_HANDSHAKE):
                raise UsageError(
                    f"{name.decode()} belongs to the handshake itself: a subprotocol is given to "
                    "ws.accept(subprotocol=...)"
                )
        if self.http1:
            self.head.switch()
        return {**message, "headers": ours}

    async def _meet_client(self) -> None:
        """Hear that there is a client, which a server says first, and once."""
        messages = self.messages
        try:
            if self._door is not None:
                async with self._door:
                    await self._take_connect()
            else:
                await self._take_connect()
        except BaseException as exc:
            if isinstance(exc, NardisError) or parted(exc)[0] is not None:
                raise
            self.server_failed(exc)
        if messages.is_at_end and messages.last is not None:
            self._how_it_ended = how_of(messages.last)
            self.disconnected()
        if self.gone:
            await self.raise_gone()

    async def _take_connect(self) -> None:
        if not self.messages.met:
            await self.messages.take()

    # --- handed over ------------------------------------------------------------------------------

    async def hand_over(self, app: ASGIApp, scope: Scope, deny: Send) -> None:
        """
        Let *app* have the connection, if it accepts.

        What it says to deny it goes to *deny*, as the answer to a request. While it has said
        nothing, an error of it can be answered.
        """

        async def hear(message: Message) -> None:
            kind: str = message["type"]
            if self.is_handed_over:
                # A middleware may say more than the handler, but not behind its Close.
                if self.socket is None or self.socket.open or kind != "websocket.send":
                    await self._to_server(message)
            elif kind == "websocket.accept":
                await self._may_accept()
                # One rule for all that is foreign: its head goes into ours.
                self.head.merge({"status": 200, "headers": message.get("headers", ())})
                message = self._with_fields(message)
                self._conclude()
                self.is_handed_over = True
                await self._to_server(message)
            elif kind == "websocket.close":
                await deny({"type": "http.response.start", "status": 403, "headers": []})
                await deny({"type": "http.response.body", "body": b""})
            else:
                await deny({**message, "type": kind.removeprefix("websocket.")})

        # A foreign application may ask from several tasks; the server is asked by one (Q1).
        self._door = door = anyio.Lock(fast_acquire=True)

        async def receive() -> Message:
            async with door:
                return await self.messages.take()

        scope = {name: value for name, value in scope.items() if name != "method"}
        await app(scope, receive, hear)

    # --- denied -----------------------------------------------------------------------------------

    async def abort(self) -> NoReturn:
        """Cut it on purpose: a handshake is a 500, and a conversation 1011."""
        if self.socket is not None:
            self.socket.fail(ResponseAborted("res.abort() cut the WebSocket"))
        await super().abort()

    async def refuse(self, reason: str) -> None:
        """Deny it with 403, in a handler that closes it; *reason* is the text."""
        self._is_refused = True
        fields = [(b"content-type", b"text/plain; charset=utf-8")] if reason else []
        self.head.merge({"status": 403, "headers": fields})
        await self.answer(reason.encode())

    async def _deny(self, message: Message) -> None:
        starts = message["type"] == "http.response.start"
        if starts:
            await self._meet_client()
            if not self.http1 and 200 <= message["status"] < 300:
                # Over HTTP/2 that would accept it (RFC 8441 §5).
                message = {**message, "status": 403}
        if _DENIAL in self.scope["extensions"]:
            await self._to_server({**message, "type": f"websocket.{message['type']}"})
        elif starts:
            # Closing before accepting: the server answers the handshake with 403.
            await self._to_server({"type": "websocket.close", "code": 1000, "reason": ""})

    async def finish(self, silent: tuple[str, ...] | None) -> None:
        """End a denial that was begun; see `Exchange.finish`."""
        if self.state == IDLE and self.end_data is None:
            if self.failure is not None:  # a foreign middleware has swallowed it
                raise self.failure
            raise NoResponse((silent or ("the application",))[0], _HOW_TO_ANSWER)
        await super().finish(silent)

    # --- its client -------------------------------------------------------------------------------

    def inside(self, outer: Lifetime) -> None:
        """Belong to the handshake outside of a foreign middleware."""
        super().inside(outer)
        assert isinstance(outer, Handshake)
        self.outer, outer.inner = outer, self
        self.meet(outer.client)

    def meet(self, client: Client | None) -> None:
        """Be the one who is told what happens to the client."""
        self.client = client
        if client is not None:
            client.listener, client.claimed = self, True

    def set_limits(self, limits: Limits) -> None:
        """Apply them outside of a foreign middleware too, where time is kept before the accept."""
        super().set_limits(limits)
        if self.outer is not None:
            self.outer.set_limits(limits)

    def set_cancels(self, cancels: bool) -> None:
        """Apply it outside of a foreign middleware too."""
        super().set_cancels(cancels)
        if self.outer is not None:
            self.outer.set_cancels(cancels)

    @property
    def close_code(self) -> int | None:
        """How it ended, also where the client left before the accept; None where it did not."""
        if self.socket is not None:
            return self.socket.close_code
        if not self.gone:
            return None
        return VANISHED if self._how_it_ended is None else self._how_it_ended[0]

    async def raise_gone(self) -> NoReturn:
        """Let the cancellation land; where it cannot, say how it ended."""
        await checkpoint()
        what = f"the client is no longer served: {self.close_reason or 'gone'}"
        raise ClientDisconnected(what, code=self.close_code)

    def note(self, reason: CloseReason) -> None:
        """Note why it ended, on both sides of a foreign middleware."""
        super().note(reason)
        for each in (self.outer, self.inner):
            if each is not None and each.close_reason is None:
                each.note(reason)

    def disconnected(self) -> None:
        """Note that the client left, also outside of a foreign middleware."""
        super().disconnected()
        if self.outer is not None:
            self.outer.disconnected()

    def left(self) -> None:
        """Hear from the runner that the client is gone: there is nothing that it may have left."""
        if not self.is_over():
            self.disconnected()

    def closed(self, code: int, reason: str) -> None:
        """Hear that the client has left without waiting for the answer; so does who is inside."""
        self._how_it_ended = code, reason
        inside = self.socket or self.inner
        if inside is not None:
            inside.closed(code, reason)
        self.left()

    def server_failed(self, exc: BaseException) -> Message:
        """Count the client as gone; see `Lifetime.server_failed`."""
        self.messages.shut()
        return super().server_failed(exc)

    def leave(self) -> None:
        """Let go of everything, because the handler is over."""
        self.let_go()
        self.closing: bool = True  # for who has it still
        self.sweeper.exchanges.discard(self)
        if self.client is not None:
            self.client.listener = None
        if self.outer is None and self.socket is not None:
            self.sweeper.exchanges.discard(self.socket)
            self.socket.shut()
            self.socket.failure = None  # a circle, as below: its traceback has frames of ours
        elif self.socket is None and self.outer is not None and not self.outer.is_handed_over:
            self.outer.meet(self.client)
        if self.outer is not None:
            self.outer.inner = None
        # Circles, which would be the garbage collector's work.
        self.messages.shut()
        self.messages.serve(self)
        del self.messages
        self.socket, self._send, self.failure = None, _over, None

    def let_go(self) -> None:
        """Let go of the server: the watchers end (C3)."""
        super().let_go()
        self.messages.close()

    def _look_for_client(self) -> None:
        if self.client is not None and self.client.has_left():
            self.left()
        elif not self.is_over():
            self.messages.watch()


async def _over(message: Message) -> None:
    """Be the `send` of a handshake that is over."""


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
