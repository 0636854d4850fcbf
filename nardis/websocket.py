"""
The WebSocket that a handler of `app.websocket` holds. What moves bytes is awaited.

Source: RFC 6455; the ASGI specification, "WebSocket".
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal, NoReturn, Self, TypeVar, overload

from ._exchange.handshake import Handshake
from ._exchange.socket import REASON_BYTES, Socket
from ._models import encode_json
from ._receiving.lines import json_of_message
from ._sending.sources import to_bytes
from ._sending.verbs import PATIENCE_S, SOMEBODY, Called, Verb
from .errors import ForgottenAwait, HTTPError, UsageError
from .request import Request
from .response import Response
from .types import Message

__all__ = ["WebSocket"]

T = TypeVar("T")

# What an endpoint may close with: those that RFC 6455 §7.4.1 and IANA's registry let one send, and
# those for libraries, frameworks and applications (§7.4.2).
_CODES: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})

# Whose handler, or a task of it, is running. A verb that another one calls, as a broadcast does, is
# not this handler's to await.
_TALKING: Final[ContextVar[object]] = ContextVar("nardis.websocket")

# What the handshake itself says.
_OWN_FIELDS: Final = ("connection", "upgrade")
_OWN_PREFIX: Final = "sec-websocket-"

# A verb counts as forgotten when it was found so often. A handler that works for a second without
# `await` has kept the task that is to await it from its turn; a receive behind that gives it one,
# and on trio it may need two.
_LOOKS: Final = 3


class WebSocket:
    """
    One WebSocket: a handshake, which can be refused, and then a conversation.

        @app.websocket("/echo")
        async def echo(req, ws):
            async for message in ws:
                await ws.send(message)

    The handshake is accepted by `accept`, or at the first message that is received or sent. To
    refuse it, raise `HTTPError(403)` or another status before that. When the handler returns the
    WebSocket is closed with 1000; when it raises, with 1011, or for an `HTTPError` of a status
    below 500 with 1003, 1007, 1008 or 1009.

    When the client closes it, or vanishes, iteration ends. A handler that was reading then has
    `Limits.cleanup_s` to return; any other is cancelled at once, unless its route says
    `cancel_on_disconnect=False`.

    Args:
        req: The request that opened it.
        res: The answer to that.

    Source: RFC 6455.
    """

    __slots__ = ("_handshake", "_looks", "_missed", "_missed_at", "_res", "_socket", "_wanted")

    def __init__(self, req: Request, res: Response, wanted: Sequence[str] = ()) -> None:
        handshake = req.exchange
        if not isinstance(handshake, Handshake):
            raise UsageError("this request opens no WebSocket")
        self._handshake: Handshake = handshake
        self._res = res
        self._socket: Socket | None = None
        self._missed: Called | None = None  # a verb that had not begun then
        self._missed_at = 0.0
        self._looks = 0  # how often it was found again
        self._wanted = wanted

    def __repr__(self) -> str:
        return f"<WebSocket {self._res.req.original_url} {self.state}>"

    # --- the handshake ----------------------------------------------------------------------------

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offers, the one it likes best first."""
        return list(self._handshake.scope.get("subprotocols") or ())

    @property
    def subprotocol(self) -> str | None:
        """
        The subprotocol that was chosen; None where there is none.

        Before the accept, it is the one that `accept()` would choose by itself.
        """
        return self._choice if self._socket is None else self._socket.subprotocol

    @property
    def _choice(self) -> str | None:
        offered = self.subprotocols
        return next((each for each in self._wanted if each in offered), None)

    async def accept(
        self, subprotocol: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """
        Accept the handshake; the fields that middlewares have set go out with it.

        Args:
            subprotocol: One of those that the client offers. None takes the first of the route's
                that it offers, if there is one.
            headers: Fields of the answer, beside those already set. They replace fields of the same
                name; cookies, and names of Vary, are added.

        Raises:
            UsageError: It was accepted before, the client does not offer that subprotocol, or a
                field belongs to the handshake itself.
            FieldError: A field that HTTP does not allow.
            ClientDisconnected: The client left, and this handler is not cancelled for it.

        Source: RFC 6455 §4.2.2.
        """
        if self._socket is not None:
            raise UsageError("ws.accept() was called twice, or after a message: once is enough")
        offered = self.subprotocols
        if subprotocol is None:
            subprotocol = self._choice
        elif subprotocol not in offered:
            raise UsageError(
                f"the client does not offer the subprotocol {subprotocol!r}, only {offered}: it "
                "would end the connection (RFC 6455 §4.1)"
            )
        given = headers or {}
        _check_fields(given)
        for name, value in given.items():
            self._say_too(name, value)
        _check_fields(self._res.headers)
        self._socket = await self._handshake.accept(subprotocol)

    def _say_too(self, name: str, value: str) -> None:
        """Set a field of the accept; a middleware may have set cookies, and names of Vary."""
        match name.lower():
            case "set-cookie":
                self._res.append(name, value)
            case "vary":
                self._res.vary(value)
            case _:
                self._res.set(name, value)

    # --- messages ---------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, str | bytes]:
        socket, last = self._socket, self._res.unawaited
        if last is not None and (last.cr_frame is not None or self._res.earlier is not None):
            self._look_back(last)
        return self._first_message() if socket is None else socket.next_message()

    async def receive(self) -> str | bytes:
        """
        Return the next message, as text or bytes, as the client sent it.

        Backpressure: what is not received is not taken from the client. Cancellation: loses
        nothing.

        Raises:
            ClientDisconnected: There is none any more, with the code of the Close.
            UsageError: Another task is receiving.
        """
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            self._raise_over()

    async def receive_text(self) -> str:
        """
        Return the next message, which is to be text.

        Raises:
            HTTPError: 415: it is binary. Unhandled, that closes with 1003.
            ClientDisconnected: As `receive`.
        """
        message = await self.receive()
        if not isinstance(message, str):
            raise HTTPError(415, "a text message is wanted here, and this one is binary")
        return message

    async def receive_bytes(self) -> bytes:
        """
        Return the next message, which is to be binary.

        Raises:
            HTTPError: 415: it is text. Unhandled, that closes with 1003.
            ClientDisconnected: As `receive`.
        """
        message = await self.receive()
        if isinstance(message, str):
            raise HTTPError(415, "a binary message is wanted here, and this one is text")
        return message

    @overload
    async def receive_json(self, type: None = None) -> Any: ...
    @overload
    async def receive_json(self, type: type[T]) -> T: ...
    async def receive_json(self, type: Any = None) -> Any:
        """
        Return the next message, text or binary, decoded from JSON; with a *type*, validated too.

        Args:
            type: As for `req.json`.

        Raises:
            HTTPError: 400: it is not JSON; 422: it does not fit the type. Unhandled, both close
                with 1007.
            ClientDisconnected: As `receive`.
        """
        message = await self.receive()
        data = message.encode() if isinstance(message, str) else message
        req = self._res.req
        return json_of_message(data, type, req.exchange.limits.json_depth, req.app.json_codec)

    def send(self, message: str | bytes | bytearray | memoryview) -> Verb:
        """
        Send one message: a str as text, bytes-like data as binary.

        Several tasks may send: each message is whole, in the order of the calls.

        Backpressure: returns when the system took it. Cancellation: a message that was cancelled
        before its first byte leaves no trace; one that has begun to go out still arrives, whole and
        in front of the next, though nobody waits for it. A server other than ours may end the
        WebSocket there.

        Raises:
            ClientDisconnected: It is closed, with the code of the Close.
            UsageError: It is neither.
            UnicodeEncodeError: Half of a surrogate pair is in it.
        """
        socket, said = self._socket, _as_message(message)
        # Behind an accept there may be others, who were called before.
        at_once = socket is not None and self._handshake.is_calm
        verb = socket.send(said) if socket is not None and at_once else self._send_first(said)
        return self._kept(verb, "ws.send")

    def send_json(self, obj: object) -> Verb:
        """
        Send *obj* as JSON, in one text message; see `send`.

        Raises:
            TypeError: It is nothing that JSON has.
            ClientDisconnected: As `send`.
        """
        codec = self._res.req.app.json_codec
        return self.send(encode_json(obj, codec).decode())

    async def _first_message(self) -> str | bytes:
        if self._socket is None:
            await self.accept()
        return await self._open.next_message()

    async def _send_first(self, message: Message) -> None:
        if self._socket is None:
            await self.accept()
        else:
            await self._handshake.opened()
        await self._open.send(message)

    @property
    def _open(self) -> Socket:
        assert self._socket is not None
        return self._socket

    # --- the end ----------------------------------------------------------------------------------

    @property
    def state(self) -> Literal["connecting", "open", "closed"]:
        """Where it is: `connecting` before the accept, then `open`, and `closed`."""
        if self._socket is None:
            is_over = self._res.started or self._handshake.gone
            return "closed" if is_over else "connecting"
        return "open" if self._socket.open else "closed"

    @property
    def close_code(self) -> int | None:
        """
        The code of the Close that ended it, ours or the client's; None while it is open.

        1005 is a Close without a code, 1006 is none at all (RFC 6455 §7.1.5).
        """
        return self._handshake.close_code if self._socket is None else self._socket.close_code

    @property
    def close_reason(self) -> str:
        """What was said with that, for people to read."""
        return "" if self._socket is None else self._socket.close_text

    def close(self, code: int = 1000, reason: str = "") -> Verb:
        """
        Close, after the messages that are being sent; does nothing where it is closed.

        Before the accept it refuses the handshake with 403, and *reason* for its text.

        Args:
            code: 1000 to 1003, 1007 to 1014, or an application's own from 3000 to 4999 (RFC 6455
                §7.4).
            reason: At most 123 bytes of UTF-8.

        Raises:
            UsageError: A code that nobody may send, or a reason that is too long, or no text.
        """
        if not isinstance(code, int) or code not in _CODES:  # type: ignore[redundant-expr]  # for untyped callers
            raise UsageError(
                f"ws.close() takes a code that may be sent, 1000 or 3000 to 4999 among others, not "
                f"{code!r} (RFC 6455 §7.4)"
            )
        if not isinstance(reason, str) or len(reason.encode()) > REASON_BYTES:  # type: ignore[redundant-expr]  # for untyped callers
            raise UsageError(
                f"the reason of ws.close() is text of at most {REASON_BYTES} bytes (RFC 6455 §5.5)"
            )
        return self._kept(self._close(int(code), reason), "ws.close")

    async def _close(self, code: int, reason: str) -> None:
        socket = self._socket or await self._handshake.opened()
        if socket is not None:
            await socket.close(code, reason)
        elif not self._res.started:
            await self._handshake.refuse(reason)

    def _kept(self, verb: Verb, name: str) -> Verb:
        if _TALKING.get(None) is self:
            self._res.keep(verb, name)
        return verb

    def _look_back(self, last: Called) -> None:
        """
        Find a verb that was called, and not awaited for a second, before a message is waited for.

        The verbs themselves find one before them; a handler that goes on to read calls no more.

        Raises:
            ForgottenAwait: There is one.
        """
        first = self._res.earlier[0] if self._res.earlier else last
        if first.cr_frame is None or first.cr_suspended or first.cr_running:
            return
        now = self._handshake.sweeper.clock()
        if self._missed is not first:
            self._missed, self._missed_at, self._looks = first, now, 0
        elif now - self._missed_at > PATIENCE_S / _LOOKS:
            self._missed_at = now
            self._looks += 1
        if self._looks == _LOOKS:
            raise ForgottenAwait(self._res.forgotten() or first.__name__, SOMEBODY)

    @contextmanager
    def talking(self) -> Generator[None, None, None]:
        """For Nardis itself: run its handler in this block."""
        token = _TALKING.set(self)
        try:
            yield
        finally:
            _TALKING.reset(token)

    def _raise_over(self) -> NoReturn:
        raise self._open.ended() from None


def _check_fields(names: Iterable[str]) -> None:
    """Refuse fields of the answer that the handshake makes by itself."""
    for name in names:
        if name.lower() in _OWN_FIELDS or name.lower().startswith(_OWN_PREFIX):
            raise UsageError(
                f"{name} belongs to the handshake itself; a subprotocol is given to "
                "ws.accept(subprotocol=...)"
            )


def _as_message(message: Any) -> Message:
    """Make what a server is told."""
    if isinstance(message, str):
        if not message.isascii():
            message.encode()  # half of a surrogate pair has no UTF-8, and is no fault of the server
        return {"type": "websocket.send", "text": message}
    data = to_bytes(message, "ws.send()", "ws.send_json() encodes the rest")
    return {"type": "websocket.send", "bytes": data}
