"""
A WebSocket between a client and an application in one process, over HTTP/1.1 and over HTTP/2.

Their sockets are real, but no time passes: a test lets the sweep look at a time of its own.
"""

import importlib
import socket
from contextlib import asynccontextmanager

import anyio
import h2.config
import h2.connection
import h2.events
import h2.settings
from anyio.lowlevel import checkpoint

from nardis.server import Config
from nardis.server.connection import Connection
from nardis.server.hypercorn.guest import Guest
from nardis.server.service import Service
from nardis.server.stream import clock
from tests.peers.wsclient import websocket_head, websocket_request
from tests.runner.ends import STREAMS, fill, tcp


async def settled():
    """Let all tasks run until they wait, and hear what the kernel has for them."""
    for _ in range(40):
        await checkpoint()


def stream_of(talk):
    """Return the server's end of a WebSocket."""
    [stream] = talk.connection.talk.protocol.streams()
    return stream


class TalkH1:
    """
    The client's end of a WebSocket over HTTP/1.1.

    Attributes:
        connection: What serves it.
        socket: Its socket.
        body: What was said, and not yet read.
        head: The answer to the handshake.
        reset: The connection was reset, or the stream.
        ended: It came to a regular end.
    """

    http = None

    def __init__(self, connection, client):
        self.connection = connection
        self.socket = client
        self.body = b""
        self.head = b""
        self.reset = self.ended = False
        self.zeros = 0

    async def block(self):
        """Leave no room for what the server says, until it is read."""
        wire = self.connection.wire
        self.zeros = fill(wire)
        # The kernel may find more room later, unless there is too much already.
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    async def ask(self, offer="", window=0):
        """Ask for a WebSocket."""
        await self.send(websocket_request("/", offer))

    async def accepted(self):
        """Wait for the answer."""
        while b"\r\n\r\n" not in self.body:
            await self.hear()
        self.head, _, self.body = self.body.partition(b"\r\n\r\n")
        assert b" 101 " in self.head

    async def hear(self):
        """Take what the server says next."""
        await anyio.wait_readable(self.socket)
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            self.reset = True
        else:
            self.take(data)

    def take(self, data):
        self.ended = not data
        self.body += data[self.zeros :]
        self.zeros = max(self.zeros - len(data), 0)

    async def send(self, data):
        """Send as the server takes it, and let it work on that."""
        while data:
            await anyio.wait_writable(self.socket)
            data = data[self.socket.send(data) :]
        await settled()

    async def read(self, size):
        """Read *size* bytes of what was said."""
        while len(self.body) < size:
            assert not self.ended
            assert not self.reset
            await self.hear()
        taken, self.body = self.body[:size], self.body[size:]
        return taken

    async def grow(self, size):
        """Let the server say so much more; here the kernel does."""

    async def rest(self):
        """Read all to the end, regular or not."""
        while not (self.ended or self.reset):
            await self.hear()
        return self.body

    def look(self, later=0.0):
        """Let the sweep look so many seconds later."""
        self.connection.look(clock() + later)

    async def leave(self):
        self.socket.close()
        await settled()

    async def say_no_more(self):
        """Leave, but go on reading."""
        self.socket.shutdown(socket.SHUT_WR)
        await settled()


class TalkH2(TalkH1):
    """The client's end of a WebSocket over a stream of HTTP/2."""

    http = "h2"

    async def ask(self, offer="", window=0):
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window},
        )
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(2**30)
        more = [("sec-websocket-extensions", offer)] if offer else []
        self.h2.send_headers(1, websocket_head("/", *more))
        await self.flush()

    async def accepted(self):
        while not self.head:
            await self.hear()

    async def block(self):
        """There is none from the beginning, by the window."""

    async def flush(self):
        await super().send(self.h2.data_to_send())

    def take(self, data):
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.head = event.headers
            elif isinstance(event, h2.events.DataReceived):
                self.body += event.data
            elif isinstance(event, h2.events.StreamEnded):
                self.ended = True
            elif isinstance(event, h2.events.StreamReset):
                self.reset = True

    async def send(self, data):
        while data:
            room = min(self.h2.local_flow_control_window(1), self.h2.max_outbound_frame_size)
            if room:
                self.h2.send_data(1, data[:room])
                data = data[room:]
                await self.flush()
            else:
                await self.hear()

    async def say_no_more(self):
        self.h2.end_stream(1)
        await self.flush()

    async def read(self, size):
        await self.grow(size - len(self.body) - self.h2.remote_flow_control_window(1))
        return await super().read(size)

    async def grow(self, size):
        if size > 0:
            self.h2.increment_flow_control_window(size, 1)
            await self.flush()


TALKS = {"h1": TalkH1, "h2": TalkH2}


@asynccontextmanager
async def talking(over, backend, app, *, offer="", window=2**16 - 1, waits=True, **settings):
    """Open a WebSocket to *app*, and give the client's end of it; *waits* for the answer."""
    ours, client = tcp()
    for each in (ours, client):
        each.setblocking(False)
    kind = TALKS[over]
    tasks = importlib.import_module(f"nardis.server.hypercorn.{backend}_tasks").ConnectionTasks
    service, stream = Service(app, Config(**settings)), STREAMS[backend](ours)
    connection = Connection(
        service, stream, stream, lambda self: Guest(self, tasks, b"", kind.http)
    )
    talk = kind(connection, client)
    try:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(connection.attend)
                await talk.ask(offer, window)
                if waits:
                    await talk.accepted()
                yield talk
                connection.end()
    finally:
        client.close()
        stream.close()
