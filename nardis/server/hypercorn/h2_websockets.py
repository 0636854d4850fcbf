"""
HTTP/2: WebSockets (RFC 8441).

Faults (hypercorn 0.18): the end of a stream without a Close frame is not heard, and a stream is not
ended after one. A handshake that was refused leaves its stream behind.

Cure: the end of a stream is what the end of the connection is in HTTP/1.1 (RFC 8441 §5). Each
stream is ended after our Close frame, and reset only if nobody wants what the client may still
send. Its window is given back for what was worked on, also where that is not a message yet.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, cast

import anyio
import h2.errors
import h2.events
import h2.exceptions
from anyio.lowlevel import checkpoint
from hypercorn.protocol.events import Data, Request
from hypercorn.protocol.ws_stream import ASGIWebsocketState
from hypercorn.utils import filter_pseudo_headers

from .h1 import with_whole_lists
from .h2_uploads import FairH2
from .handshakes import awaits_answer, give_up
from .websockets import WebSocket, new_websocket

__all__ = ["SocketsH2"]


class StreamLine:
    """
    What carries one WebSocket: a stream.

    Attributes:
        rest: Of a frame whose write was cancelled; it may be with the connection as a whole.
    """

    __slots__ = ("_protocol", "_stream_id", "rest")

    def __init__(self, protocol: SocketsH2, stream_id: int) -> None:
        self._protocol = protocol
        self._stream_id = stream_id
        self.rest: memoryview | None = None

    @property
    def has_rest(self) -> bool:
        """Whether a write was cancelled which has begun."""
        return self.rest is not None

    async def write(self, *pieces: bytes, begun: bool = False) -> None:
        """Send *pieces* as one; see `speech.Line`."""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        await self._protocol.stream_send(Data(stream_id=self._stream_id, data=data))

    def begin(self, data: bytes) -> int:
        """Send nothing yet; see `speech.Line`: each frame is a frame of HTTP/2, in its turn."""
        return 0

    async def resume(self) -> None:
        """Send the rest; see `speech.Line`."""
        rest, self.rest = cast("bytes", self.rest), None
        try:
            await self._protocol.stream_send(Data(stream_id=self._stream_id, data=rest))
        except BaseException:
            self.cut()
            raise

    def try_write(self, data: bytes) -> bool:
        """Send *data* if the window has room for all of it, and the connection too."""
        return self._protocol.try_to_send(self._stream_id, data)

    async def give_turn(self) -> None:
        """Give others a turn; see `speech.Line`."""
        async with self._protocol.hearing:
            await checkpoint()

    def cut(self) -> None:
        """Reset the stream: what a reset of the connection is in HTTP/1.1 (RFC 8441 §5)."""
        self._protocol.task_group.spawn(self._protocol.cut, self._stream_id)


class SocketsH2(FairH2):
    """
    HTTP/2 whose WebSockets end as they do in HTTP/1.1.

    Attributes:
        hearing: One WebSocket at a time works on what it has heard: a hundred of them, each for a
            turn, would hold up all other connections for a hundred turns.
    """

    keep_alive_requests: int
    task_group: Any

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.hearing: anyio.Lock = anyio.Lock(fast_acquire=True)

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        fields = dict(request.headers)
        if fields[b":method"].upper() != b"CONNECT":
            return await super()._create_stream(request)
        stream_id = request.stream_id
        stream = self.streams[stream_id] = new_websocket(
            self, stream_id, StreamLine(self, stream_id)
        )
        stream.give_back = partial(self._give_back, stream_id)
        await stream.handle(
            Request(
                stream_id=stream_id,
                headers=with_whole_lists(filter_pseudo_headers(request.headers)),
                http_version="2",
                method="CONNECT",
                raw_path=fields[b":path"],
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1
        await self.context.mark_request()

    async def take_data(self, event: h2.events.DataReceived) -> None:
        """Take a piece of a WebSocket; before the handshake was answered there may be none."""
        stream_id, size = event.stream_id, event.flow_controlled_length
        stream = self.streams.get(stream_id)
        if not isinstance(stream, WebSocket):
            return await super().take_data(event)
        if size:
            self.connection.increment_flow_control_window(size)
        if stream.handshake.accepted:
            await stream.hear(event.data, size)
        elif event.data and awaits_answer(stream):
            give_up(stream)
            await self._end_stream(stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)

    def interrupted(self, stream_id: int, rest: memoryview) -> None:
        """Let no other frame of a WebSocket come behind a part of one."""
        stream = self.streams.get(stream_id)
        if not isinstance(stream, WebSocket):
            return
        if stream.handshake.accepted and isinstance(stream.line, StreamLine):
            stream.line.rest = rest
        else:
            stream.line.cut()  # it was the body of a denial

    async def cut(self, stream_id: int) -> None:
        """Reset a WebSocket; its application hears that the client is gone."""
        await self._end_stream(stream_id, h2.errors.ErrorCodes.CANCEL)

    def _settle(self, stream_id: int) -> None:
        stream, account = self.streams.get(stream_id), self._accounts.get(stream_id)
        if isinstance(stream, WebSocket) and account is not None:
            if stream.state is ASGIWebsocketState.CLOSED and not account.ended:
                account.ended = True
                with suppress(h2.exceptions.ProtocolError):
                    self.connection.end_stream(stream_id)
            if account.ended and not stream.unwelcome:
                del self._accounts[stream_id]
                return
        super()._settle(stream_id)
