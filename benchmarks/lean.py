"""
The floor under HTTP/1.1 servers: what a parser and an event loop cost, and nothing else.

httptools parses, and the application runs in the task of the connection: `receive` reads the
socket, `send` writes to it. That is no server: it has no limits, no clean-up after errors, no TLS,
no shutdown, no pipelining, and it speaks HTTP/1.1 alone.

    python -m benchmarks.lean trio|asyncio MODULE:NAME PORT
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import socket
import sys
from http import HTTPStatus

import httptools
import trio
from trio.lowlevel import wait_readable, wait_writable

READ_BYTES = 64 * 1024
# A larger piece is not copied to stand between the size and the end of its chunk.
LARGE_BYTES = 16 * 1024
LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}".encode() for status in HTTPStatus}
VERSION = {"version": "3.0", "spec_version": "2.3"}


class Request:
    """One request, as the parser tells of it."""

    def __init__(self):
        self.parser = httptools.HttpRequestParser(self)
        self.target, self.fields, self.pieces = b"", [], []
        self.begun = self.ended = False
        self.rest = None  # bytes of a body with a length: they need no parser

    def on_url(self, part):
        self.target += part

    def on_header(self, name, value):
        self.fields.append((name.lower(), value))

    def on_headers_complete(self):
        self.begun = True
        for name, value in self.fields:
            if name == b"content-length":
                self.rest = int(value)

    def on_body(self, piece):
        self.pieces.append(piece)
        if self.rest is not None:
            self.rest -= len(piece)

    def on_message_complete(self):
        self.ended = True


class Exchange:
    """A request, and the `receive` and `send` that answer it."""

    def __init__(self, request, wire):
        self.request, self.wire = request, wire
        self.head, self.chunked = b"", False

    async def receive(self):
        request = self.request
        while not (request.pieces or request.ended):
            data = await self.wire.read()
            if not data:
                return {"type": "http.disconnect"}
            if request.rest is not None:
                request.rest -= len(data)
                return {"type": "http.request", "body": data, "more_body": request.rest > 0}
            request.parser.feed_data(data)
        pieces, request.pieces = request.pieces, []
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": not request.ended}

    async def send(self, message):
        if message["type"] == "http.response.start":
            fields = message["headers"]
            self.chunked = all(name != b"content-length" for name, _ in fields)
            coding = [b"transfer-encoding: chunked"] if self.chunked else []
            lines = (LINES[message["status"]], *(b"%b: %b" % field for field in fields), *coding)
            self.head = b"\r\n".join(lines) + b"\r\n\r\n"
            return
        head, self.head = self.head, b""
        body, more = message.get("body", b""), message.get("more_body", False)
        if not self.chunked:
            return await self.wire.write(head + body)
        end = b"" if more else b"0\r\n\r\n"
        if len(body) < LARGE_BYTES:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return await self.wire.write(head + chunk + end)
        await self.wire.write(head + b"%x\r\n" % len(body), body, b"\r\n" + end)


async def talk(app, state, wire):
    """Answer one request after the other."""
    client, server = wire.names()
    try:
        while True:
            request = Request()
            while not request.begun:
                data = await wire.read()
                if not data:
                    return
                request.parser.feed_data(data)
            path, _, query = request.target.partition(b"?")
            exchange = Exchange(request, wire)
            scope = {
                "type": "http",
                "asgi": VERSION,
                "http_version": "1.1",
                "method": request.parser.get_method().decode(),
                "scheme": "http",
                "path": path.decode(),
                "raw_path": path,
                "query_string": query,
                "root_path": "",
                "headers": request.fields,
                "client": client,
                "server": server,
                "state": state.copy(),
                "extensions": {},
            }
            await app(scope, exchange.receive, exchange.send)
    except OSError:
        pass
    finally:
        wire.close()


class TrioWire:
    """Not `trio.socket`, which lets others run at each piece that is written."""

    def __init__(self, sock):
        self.sock = sock

    async def read(self):
        await wait_readable(self.sock)
        return self.sock.recv(READ_BYTES)

    async def write(self, *pieces):
        try:
            sent = self.sock.sendmsg(pieces)
        except BlockingIOError:
            sent = 0
        if sent < sum(map(len, pieces)):
            rest = memoryview(b"".join(pieces))[sent:]
            while rest:
                await wait_writable(self.sock)
                rest = rest[self.sock.send(rest) :]

    def close(self):
        self.sock.close()

    def names(self):
        return self.sock.getpeername(), self.sock.getsockname()


class AsyncioWire(asyncio.Protocol):
    def __init__(self, app, state):
        self.app, self.state = app, state
        self.unread, self.gone = b"", False
        self.arrival = self.room = None

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(0)
        self.task = asyncio.get_running_loop().create_task(talk(self.app, self.state, self))

    def data_received(self, data):
        if self.unread:
            self.transport.pause_reading()
        self.unread += data
        self.wake(self.arrival)

    def eof_received(self):
        self.connection_lost(None)
        return True

    def connection_lost(self, error):
        self.gone = True
        self.wake(self.arrival)
        self.wake(self.room)

    def pause_writing(self):
        self.room = asyncio.get_running_loop().create_future()

    def resume_writing(self):
        self.wake(self.room)
        self.room = None

    def wake(self, future):
        if future is not None and not future.done():
            future.set_result(None)

    async def read(self):
        if not (self.unread or self.gone):
            self.arrival = asyncio.get_running_loop().create_future()
            await self.arrival
        data, self.unread = self.unread, b""
        if not self.gone:
            self.transport.resume_reading()
        return data

    async def write(self, *pieces):
        if self.gone:
            raise ConnectionResetError
        self.transport.writelines(pieces)
        if self.room is not None:
            await self.room

    def close(self):
        self.transport.close()

    def names(self):
        return tuple(self.transport.get_extra_info(name) for name in ("peername", "sockname"))


def begin(state):
    """Return what a lifespan is called with that only starts."""
    asked = iter([{"type": "lifespan.startup"}])
    return {"type": "lifespan", "asgi": VERSION, "state": state}, asked


async def serve_asyncio(app, listener):
    state, loop, started = {}, asyncio.get_running_loop(), asyncio.Event()
    scope, asked = begin(state)

    async def receive():
        return next(asked, None) or await loop.create_future()

    async def send(message):
        started.set()

    lifespan = loop.create_task(app(scope, receive, send))
    await started.wait()
    server = await loop.create_server(lambda: AsyncioWire(app, state), sock=listener)
    await server.serve_forever()
    await lifespan


async def serve_trio(app, listener):
    state, started = {}, trio.Event()
    scope, asked = begin(state)

    async def receive():
        return next(asked, None) or await trio.sleep_forever()

    async def send(message):
        started.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(app, scope, receive, send)
        await started.wait()
        while True:
            await wait_readable(listener)
            accepted, _ = listener.accept()
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            nursery.start_soon(talk, app, state, TrioWire(accepted))


def main():
    loop, target, port = sys.argv[1:]
    module, _, name = target.partition(":")
    app = getattr(importlib.import_module(module), name)
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=1024)
    listener.setblocking(False)
    gc.freeze()
    if loop == "trio":
        trio.run(serve_trio, app, listener)
    else:
        import uvloop

        uvloop.run(serve_asyncio(app, listener))


if __name__ == "__main__":
    main()
