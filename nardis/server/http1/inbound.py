"""
The request of one call: its `receive`, which asks the client for no more than is taken.

Source: the ASGI HTTP specification; RFC 9112 §6 and §7 (framing); RFC 9110 §10.1.1 (100 Continue).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Protocol

import anyio
from anyio.lowlevel import checkpoint

from ...types import Message
from ..byte_stream import ByteStream
from ..service import Service
from ..stream import LINGER_S, Stream, clock
from .request import Chunks, Refused, RequestHead
from .response import CONTINUE

__all__ = ["SMALL_REST_BYTES", "Inbound", "Talk"]

# The rest of a request that was answered is read and dropped, if it is small; a larger one costs
# the connection.
SMALL_REST_BYTES: Final = 64 * 1024


class Talk(Protocol):
    """
    The conversation that a call belongs to.

    Attributes:
        unread: What was read of the socket, and nobody has taken.
        stream: The client.
        wire: Its socket.
        head_bytes: The most for what stands around a body in chunks.
        service: What all connections share.
        takes_files: The system can copy files to the socket.
    """

    unread: bytes
    stream: ByteStream
    wire: Stream
    head_bytes: int
    service: Service
    takes_files: bool

    async def finish(self, *, whole: bool) -> None:
        """Send nothing more."""
        ...

    def answered(self, call: object) -> None:
        """Let another task have the connection: *call* goes on after its response."""
        ...


class Inbound(ABC):
    """
    The way in.

    Attributes:
        left: The client is gone.
        over: The last message of the response was sent.
    """

    __slots__ = (
        "_chunks",
        "_deaf",
        "_end",
        "_expects",
        "_given",
        "_head",
        "_rest",
        "_talk",
        "_turn",
        "_waited",
        "_waiting",
        "left",
        "over",
    )

    # Set by the call's constructor: one of their own would cost half a percent of a plain request.
    _chunks: Chunks | None
    _deaf: bool  # the application has returned: nobody is to hear anything more
    _end: anyio.Event | None  # one waits for the end
    _expects: bool  # the client waits to be asked for its body
    _given: bool  # the application has got the whole body
    _head: RequestHead
    _rest: int | None  # bytes of the body that the application has not got
    _talk: Talk
    _turn: anyio.Event | None  # another one waits for the one that waits for the client
    _waited: float  # seconds in which others did, and nothing came
    _waiting: float  # a task of the application waits for the client, since then
    left: bool
    over: bool

    @property
    @abstractmethod
    def began(self) -> bool:
        """Whether the response has begun."""

    @abstractmethod
    def hang_up(self) -> None:
        """Close the socket of a client that has left."""

    @abstractmethod
    async def refuse(self, exc: Refused) -> None:
        """Answer a body that cannot be read."""

    async def receive(self) -> Message:
        """Return the application's next message; it is the ASGI `receive`."""
        if self._given or self._is_deaf():
            return await self._hear_the_end()
        if self._rest == 0:
            self._given = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if self._expects:
            await self._invite()
        talk = self._talk
        while not self._is_deaf():
            data = talk.unread
            if not data:
                await self._read()
                continue
            talk.unread = b""
            try:
                piece = self._part(data)
            except Refused as exc:
                await self.refuse(exc)
            else:
                if piece or self._given:
                    return {"type": "http.request", "body": piece, "more_body": not self._given}
        return await self._hear_the_end()

    def _is_deaf(self) -> bool:
        """Whether nothing of the request is of interest any more."""
        return self.left or self.over or self._deaf

    def _part(self, data: bytes) -> bytes:
        """Return what is of the body in *data*; put back what comes after it."""
        rest = self._rest
        if rest is None:
            if self._chunks is None:
                self._chunks = Chunks(self._talk.head_bytes)
            piece, self._talk.unread = self._chunks.feed(data)
            self._given = self._chunks.complete
            return piece
        if len(data) > rest:
            data, self._talk.unread = data[:rest], data[rest:]
        self._rest = rest = rest - len(data)
        self._given = not rest
        return data

    async def _read(self) -> None:
        """Read the client; where another task of the application does, wait for that."""
        if self._waiting:
            self._turn = self._turn or anyio.Event()
            return await self._turn.wait()
        self._waiting = clock() - self._waited
        try:
            data = await self._talk.stream.read()
        except BaseException:  # it may ask again at once
            self._waited = clock() - self._waiting
            raise
        finally:
            self._waiting = 0.0
            if self._turn is not None:
                self._turn.set()
                self._turn = None
        if data:
            self._waited = 0.0
            self._talk.unread += data
        elif data is not None:
            self.left = True
            self.hang_up()

    async def _hear_the_end(self) -> Message:
        """Wait for the client to leave, or for the end of the response."""
        talk = self._talk
        while not self._is_deaf():
            if talk.unread:  # of the next request: no more than that is read (H2)
                self._end = self._end or anyio.Event()
                await self._end.wait()
            else:
                await self._read()
        await checkpoint()
        return {"type": "http.disconnect"}

    async def _invite(self) -> None:
        """Ask the client for the body that it holds back, unless it does not any more."""
        self._expects = False
        if not self.began and not self._talk.unread:
            await self._talk.stream.write(CONTINUE)

    # --- what is left of it -----------------------------------------------------------------------

    def _has_all(self) -> bool:
        """Whether nothing of the request is to come that the application has not got."""
        return self._rest == 0 or self._given

    def _can_have_all(self) -> bool:
        """
        Whether the rest of the request may be little enough to be read and dropped.

        How much of it has arrived makes no difference: that is chance.
        """
        if self._expects:
            return False  # it may never come
        return self._rest is None or self._rest <= SMALL_REST_BYTES

    async def _drop_rest(self) -> bool:
        """Read and drop the rest of the request; return whether that came to an end."""
        dropped = 0
        with anyio.move_on_after(LINGER_S):
            while not self._has_all():
                data = self._talk.unread or await self._talk.stream.read()
                self._talk.unread = b""
                if not data:
                    return False
                try:
                    dropped += len(self._part(data))
                except Refused:
                    return False
                if dropped > SMALL_REST_BYTES:
                    return False
        return self._has_all()
