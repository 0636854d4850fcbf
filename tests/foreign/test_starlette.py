"""A Starlette application under `mount`: files, a WebSocket, a streaming route."""

import anyio
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from nardis import Nardis, wrap
from nardis.testing import Client
from tests.peers.asgi import websocket
from tests.peers.driver import rest

pytestmark = pytest.mark.anyio


class Peer:
    """A Nardis app with a Starlette app in it; `written` counts the chunks of its stream."""

    def __init__(self, directory):
        self.written = 0
        self.ended = anyio.Event()
        routes = [
            Route("/where", self.where),
            Route("/stream", self.stream),
            Route("/broken", self.broken),
            Route("/size", self.size, methods=["POST"]),
            WebSocketRoute("/echo", self.echo),
            Mount("/files", StaticFiles(directory=directory)),
        ]
        self.app = Nardis()
        self.app.mount("/peer", Starlette(routes=routes))

    async def where(self, request):
        return PlainTextResponse(str(request.url_for("where")))

    async def stream(self, request):
        async def chunks():
            try:
                for self.written in range(1, 1000):
                    yield bytes(1024)
            finally:
                self.ended.set()

        return StreamingResponse(chunks())

    async def broken(self, request):
        async def chunks():
            yield b"half"
            raise KeyError("k")

        return StreamingResponse(chunks())

    async def size(self, request):
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return PlainTextResponse(str(size))

    async def echo(self, socket):
        await socket.accept()
        await socket.send_text(await socket.receive_text())
        await socket.close()


@pytest.fixture
def peer(tmp_path):
    (tmp_path / "a.txt").write_text("a file")
    return Peer(tmp_path)


async def test_it_knows_where_it_stands(peer):
    """`url_for` builds from `root_path`; a path without its slash is redirected inside."""
    async with Client(peer.app) as client:
        assert (await client.get("/peer/where")).text == "http://testserver/peer/where"
        assert (await client.get("/peer/where/")).headers[
            "location"
        ] == "http://testserver/peer/where"


async def test_its_files_are_served_with_their_validators(peer):
    async with Client(peer.app) as client:
        response = await client.get("/peer/files/a.txt")
        assert (response.text, response.headers["content-length"]) == ("a file", "6")
        again = await client.get(
            "/peer/files/a.txt", headers={"if-none-match": response.headers["etag"]}
        )
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.head("/peer/files/a.txt")).headers["content-length"] == "6"
        assert (await client.get("/peer/files/b.txt")).text == "Not Found"


async def test_its_streams_are_not_gathered(peer):
    async with Client(peer.app) as client, client.stream("GET", "/peer/stream") as response:
        await anext(response)
        await rest()
        assert peer.written <= 3


async def test_its_streams_end_when_the_client_leaves(peer):
    async with Client(peer.app) as client:
        async with client.stream("GET", "/peer/stream") as response:
            await anext(response)
        with anyio.fail_after(20):
            await peer.ended.wait()
        assert peer.written < 1000


async def test_it_may_be_mounted_behind_a_wrapped_middleware(tmp_path):
    """Its own error, past the head, is cut there too; and it is told of a client that left."""

    class Through:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)

    peer, app = Peer(tmp_path), Nardis()
    app.use(wrap(Through))
    app.use(peer.app)
    async with Client(app, raise_app_errors=False) as client:
        assert (await client.get("/peer/where")).text == "http://testserver/peer/where"
        assert not (await client.get("/peer/broken")).complete
        async with client.stream("GET", "/peer/stream") as response:
            await anext(response)
        with anyio.fail_after(20):
            await peer.ended.wait()
    async with websocket(app, "/peer/echo") as socket:
        socket.say("hello")
        await rest()
    assert socket.sent[1]["text"] == "hello"


async def test_a_stream_that_fails_is_cut(peer, caplog):
    async with Client(peer.app, raise_app_errors=False) as client:
        response = await client.get("/peer/broken")
    assert (response.content, response.complete) == (b"half", False)


async def test_it_reads_the_body_chunk_by_chunk(peer):
    async def chunks():
        for _ in range(100):
            yield bytes(1024)

    async with Client(peer.app) as client:
        assert (await client.post("/peer/size", content=chunks())).text == "102400"


async def test_its_websocket_echoes(peer):
    async with Client(peer.app), websocket(peer.app, "/peer/echo") as socket:
        socket.say("hello")
        await rest()
    assert [message["type"] for message in socket.sent] == [
        "websocket.accept",
        "websocket.send",
        "websocket.close",
    ]
    assert socket.sent[1]["text"] == "hello"
