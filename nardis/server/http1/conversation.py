"""
The conversation of one HTTP/1.1 connection: a head, a call, and again.

Source: RFC 9112 §2.2 (empty lines), §9.3 (persistence), §9.3.2 (pipelining), §9.6 (closing).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Final
from urllib.parse import unquote

import anyio
from anyio.lowlevel import checkpoint

from ..._asgi.extensions import CLIENT, EARLY_HINT, FILE, PATH, TRAILERS
from ..._http.request_head import path_in
from ...types import Scope
from ..byte_stream import ByteStream
from ..connection import Connection, Conversation
from ..service import Service, logger, run_app
from ..stream import TURN_S, Stream, clock
from .call import Call, log_refusal
from .request import END_OF_HEAD, Refused, RequestHead, check_begun, read_head, too_large
from .response import refusal

__all__ = ["Http1"]

# Empty lines before a request are skipped, of clients that end a body with one (RFC 9112 §2.2).
EMPTY_LINES: Final = 8

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\n"

VERSION: Final = {"version": "3.0", "spec_version": "2.3"}

# What stands for an extension that needs no words: applications look whether it is there.
OFFERED: Final[dict[str, Any]] = {}
OFFERS: Final = {EARLY_HINT: OFFERED, TRAILERS: OFFERED}
OFFERS_WITH_FILES: Final = OFFERS | {FILE: OFFERED, PATH: OFFERED}

# Whether the system has sendfile(2), by which the server sends files.
HAS_SENDFILE: Final = hasattr(os, "sendfile")


class Lent:
    """
    The cancel scope of a connection's task, as its calls get it.

    Attributes:
        cancel_called: It was cancelled. On trio (0.35) the scope itself looks at the clock each
            time that it is asked, which costs more than one percent of a plain request.
    """

    __slots__ = ("_scope", "cancel_called")

    def __init__(self, scope: anyio.CancelScope) -> None:
        self._scope = scope
        self.cancel_called: bool = False

    def cancel(self) -> None:
        """Cancel what runs."""
        self.cancel_called = True
        self._scope.cancel()


class Http1:
    """
    What is said on one connection until it ends, or another protocol takes over.

    Args:
        connection: The client.
        hand_over: Makes the conversation of another protocol, where the client asks for one: given
            the request, or None for the preface of HTTP/2, and all that was read, its head first.

    Attributes:
        multiplexed: One request at a time.
        unread: What was read of the socket, and nobody has taken.
        stream: The client.
        wire: Its socket.
        service: What all connections share.
        head_bytes: The most for a head, and for what stands around a body in chunks.
        takes_files: The system can copy files to the socket.
    """

    __slots__ = (
        "_begun",
        "_call",
        "_connection",
        "_context",
        "_hand_over",
        "_relieved",
        "_scheme",
        "_seen",
        "_yielded",
        "head_bytes",
        "multiplexed",
        "service",
        "stream",
        "takes_files",
        "unread",
        "wire",
    )

    def __init__(
        self,
        connection: Connection,
        hand_over: Callable[[RequestHead | None, bytes], Conversation | None],
    ) -> None:
        self.multiplexed: bool = False
        self.unread: bytes = b""
        self.stream: ByteStream = connection.stream
        self.wire: Stream = connection.wire
        self.service: Service = connection.service
        self.head_bytes: int = connection.service.config.head_bytes
        self.takes_files: bool = HAS_SENDFILE and connection.stream is connection.wire
        self._connection = connection
        self._hand_over = hand_over
        # The preface of HTTP/2 is the first thing in the clear, or none (RFC 9113 §3.3 and §3.4).
        self._begun = connection.is_secure
        self._scheme: str = "https" if connection.is_secure else "http"
        self._call: Call | None = None
        self._seen: Call | None = None  # by the last look
        self._relieved: Call | None = None  # its task is not the connection's any more
        self._context = copy_context()  # what a task of the connection begins with
        self._yielded = 0.0

    async def converse(self) -> Conversation | None:
        """Serve one request after the other, to the end."""
        connection = self._connection
        shift = connection.shift
        other: Conversation | None = None
        try:
            while self._call is None or await self._conclude(self._call):
                # One scope serves many requests. The application may cancel it, and so may the
                # connection: then the next request has another.
                with anyio.CancelScope() as own:
                    scope = Lent(own)
                    connection.cancel = scope.cancel
                    other = await self._serve_each(scope, shift)
                if connection.shift != shift:
                    return None
                if self._call is None:
                    break
        except Refused as exc:  # of the head that `unread` begins with
            log_refusal(self.wire.client, exc)
            to_head = self.unread[:5] == b"HEAD "
            if await self.stream.write(refusal(exc.status, exc.reason, to_head=to_head)):
                await self.finish(whole=True)
        except BaseException:
            if self._call is not None and connection.shift == shift:
                self._call.cut_short()
            raise
        if connection.over:
            await connection.linger()
        return other

    async def _serve_each(self, scope: Lent, shift: int) -> Conversation | None:
        """Serve requests until one is cancelled, another task takes over, or no more can come."""
        connection, service, context = self._connection, self.service, self._context
        innermost = service.innermost()
        ours = innermost(False)
        while True:
            head = await self._read_head()
            if head is None:
                return None
            begins, self._begun = not self._begun, True
            is_preface = begins and head == PREFACE and service.config.http2
            try:
                request = None if is_preface else read_head(head)
            except Refused:
                self.unread = head
                check_begun(head)  # as it was while it came, in whatever pieces
                raise
            if request is None or request.upgrade:
                other = self._hand_over(request, head + self.unread)
                if other is not None or request is None:
                    return other
            call = self._call = Call(self, request, scope if service.lends else None)
            connection.idle_since = connection.head_since = 0.0
            await run_app(service, self._scope_of(request, call), call, call.receive, call.send)
            if copy_context() != context:
                # The application has set a context variable: the next request, which may be another
                # person's, must not see it.
                self.relieve(call)
            elif innermost(scope.cancel_called) is not ours:
                # The same of a cancel scope, which might end the next request.
                path = request.target.decode("ascii", "backslashreplace")
                logger.warning("%s %s has left a cancel scope open", request.method, path)
                self.relieve(call)
            if scope.cancel_called or connection.shift != shift:
                return None
            if call.is_done() and not self.unread:
                self._call = self._seen = None
                connection.idle_since = clock()
            elif not await self._conclude(call):
                return None

    async def _conclude(self, call: Call) -> bool:
        """Bring a call to its end; return whether there may be another request."""
        self._call = self._seen = None
        goes_on = call.is_done() or await call.conclude()
        self._connection.idle_since = now = clock()
        if self.unread and now - self._yielded > TURN_S:
            self._yielded = now
            await checkpoint()
        return goes_on

    async def _read_head(self) -> bytes | None:
        """
        Return the bytes of the next head, to its empty line; None where there is none.

        Raises:
            Refused: It is too large, or never ends.
        """
        unread, looked_at, empty = self.unread, 0, 0
        while True:
            if unread:
                while unread[:2] == b"\r\n":
                    unread, empty = unread[2:], empty + 1
                    if empty > EMPTY_LINES:
                        raise Refused(400, "too many empty lines before a request")
                end = unread.find(END_OF_HEAD, looked_at)
                if end >= 0:
                    break
                self.unread = unread
                self._check_begun(looked_at)
                looked_at = max(len(unread) - 3, 0)
                if unread and not self._connection.head_since:
                    self._connection.head_since = clock()
            data = await self.stream.read()
            if data is None:
                continue
            if not data:
                if unread and not self.wire.closed:
                    raise Refused(400, "the request ended in its head")
                return None
            unread = unread + data if unread else data
        end += len(END_OF_HEAD)
        if end > self.head_bytes:
            self.unread = unread
            self._check_begun(0)
        if end == len(unread):
            self.unread = b""
            return unread
        self.unread = unread[end:]
        return unread[:end]

    def _check_begun(self, at: int) -> None:
        """
        Check what has come of a head that is not whole, or that is larger than is allowed.

        Raises:
            Refused: It is no head, or too large.
        """
        begun = self.unread[: self.head_bytes]
        check_begun(begun, at)
        if len(self.unread) > self.head_bytes:
            raise too_large(begun)

    def _scope_of(self, request: RequestHead, call: Call) -> Scope:
        path, _, query = request.target.partition(b"?")
        text = path.decode("ascii")
        if text[:1] != "/" and "://" in text:  # a whole URL (RFC 9112 §3.2.2)
            text = path_in(path, request.method).decode("ascii")
        return {
            "type": "http",
            "asgi": VERSION,
            "http_version": request.version,
            "method": request.method,
            "scheme": self._scheme,
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "root_path": self.service.config.root_path,
            "headers": request.headers,
            "client": self.wire.client,
            "server": self.wire.server,
            "state": self.service.state.copy(),
            "extensions": {CLIENT: call, **(OFFERS_WITH_FILES if self.takes_files else OFFERS)},
        }

    # --- for a call -------------------------------------------------------------------------------

    async def finish(self, *, whole: bool) -> None:
        """Send nothing more."""
        await self._connection.finish(whole=whole)

    def answered(self, call: object) -> None:
        """Let another task have the connection, unless one is behind already: a client has few."""
        if not self._connection.behind:
            self.relieve(call)

    def relieve(self, call: object) -> None:
        """Let another task have the connection, unless it has: this one is at *call* for longer."""
        if call is self._call and call is not self._relieved:
            self._relieved = self._call
            self._context.run(self._connection.change_shift)

    # --- for the connection -----------------------------------------------------------------------

    def calls(self) -> tuple[Call, ...]:
        """Return the call that is under way."""
        return () if self._call is None else (self._call,)

    def progressed(self, now: float) -> None:
        """Note that the client has taken something."""
        if self._call is not None:
            self._call.progressed = now

    def look(self, now: float) -> bool:
        """
        Look after a call that lasts; return whether nobody would hear the client leave.

        One that goes on after its last message keeps its task, and another one takes the
        connection: the client need not wait for what is none of its business.
        """
        call = self._call
        lasts, self._seen = call is self._seen, call
        if call is None:
            return False
        if call.over:
            self.relieve(call)
            return False
        return lasts and not (call.left or self.wire.reading)

    def hung_up(self) -> None:
        """Note that the client left while nobody reads."""
        if self._call is not None:
            self._call.leave()

    def goodbye(self) -> bool:
        """Say nothing: responses do, by `connection: close`."""
        return False

    def close_websockets(self) -> bool:
        """Find none."""
        return False
