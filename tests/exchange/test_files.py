"""R2 to R6 for files that the server sends by itself."""

from __future__ import annotations

import anyio
import pytest

from nardis import Nardis, shielded
from nardis.errors import ContentLengthMismatch, ResponseAlreadyEnded
from tests.peers.driver import Gate, Identity, Server, rest

pytestmark = pytest.mark.anyio

FILE = "http.response.zerocopysend"
PATH = "http.response.pathsend"


def takes(*names):
    return {"extensions": {name: {} for name in names}}


def kinds(call):
    return [message["type"].rpartition(".")[2] for message in call.sent]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "digits.txt"
    path.write_bytes(b"0123456789")
    with path.open("rb", buffering=0) as opened:
        yield opened


async def test_a_part_of_a_file_is_one_piece(file):
    app, sent = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        res.set("content-length", 5)
        exchange = req.exchange
        await res.write(b"ab")
        assert exchange.takes_files
        assert await exchange.send_file(file, 4, 3)
        sent.append(res.bytes_sent)

    async with Server(app) as server:
        call = await server.finished("/", **takes(FILE))

    assert kinds(call) == ["start", "body", "zerocopysend", "body"]
    message = call.sent[2]
    assert (message["file"], message["offset"], message["count"]) == (file, 4, 3)
    assert message["more_body"]
    assert sent == [5]
    assert call.error is None


async def test_what_is_filtered_is_not_sent_by_the_server(file):
    """A filter wants to see the bytes; the caller writes them."""
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        res.filter(Identity())
        assert not await req.exchange.send_file(file, 0, 3)
        assert not await req.exchange.send_file(file, 0, 3)
        await res.write(b"012")

    @app.get("/path")
    async def path(req, res):
        res.filter(Identity())
        assert not await req.exchange.send_path(file.name, 10)
        await res.write(b"0123456789")

    async with Server(app) as server:
        calls = [await server.finished(path, **takes(FILE, PATH)) for path in ("/", "/path")]

    assert [call.body for call in calls] == [b"012", b"0123456789"]


async def test_more_than_was_declared_is_not_sent(file):
    app, refused = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        res.set("content-length", 5)
        await res.write(b"abc")
        with pytest.raises(ContentLengthMismatch):
            await req.exchange.send_file(file, 0, 3)
        refused.append(True)
        await res.write(b"de")

    async with Server(app) as server:
        call = await server.finished("/", **takes(FILE))

    assert (call.body, refused, call.final) == (b"abcde", [True], True)


async def test_nothing_of_it_leaves_behind_the_end(file):
    app, refused = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        await res.send("all")
        with pytest.raises(ResponseAlreadyEnded):
            await req.exchange.send_file(file, 0, 3)
        with pytest.raises(ResponseAlreadyEnded):
            await req.exchange.send_path(file.name, 10)
        refused.append(True)

    async with Server(app) as server:
        call = await server.finished("/", **takes(FILE))

    assert (call.body, refused) == (b"all", [True])


@pytest.mark.parametrize("status", [200, 204])
async def test_what_has_no_body_has_none(file, status):
    """A HEAD handler is left at its first piece; a status without a body lets it go on."""
    app, reached = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        res.status(status)
        assert await req.exchange.send_file(file, 0, 3)
        reached.append(status)
        assert await req.exchange.send_file(file, 0, 3)

    async with Server(app) as server:
        method = "HEAD" if status == 200 else "GET"
        call = await server.finished("/", method=method, **takes(FILE))

    assert (call.body, call.final) == (b"", True)
    assert reached == ([] if status == 200 else [204])


async def test_a_head_handler_on_its_way_out_sends_no_more_and_is_not_disturbed(file):
    app, told = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        try:
            await req.exchange.send_file(file, 0, 3)
        finally:
            with shielded(5):
                told.append(await req.exchange.send_file(file, 0, 3))
                told.append(await req.exchange.send_path(file.name, 10))

    async with Server(app) as server:
        call = await server.finished("/", method="HEAD", **takes(FILE))

    assert (call.body, call.final, told) == (b"", True, [True, True])


async def test_an_interrupted_part_tears_the_response(file):
    app, gate = Nardis(), Gate()

    @app.get("/")
    async def handler(req, res):
        await res.write(b"a")
        with anyio.move_on_after(0):
            await req.exchange.send_file(file, 0, 3)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(req.exchange.send_file, file, 0, 3)
            await rest()
            tasks.cancel_scope.cancel()

    async def on_send(message):
        if message["type"] == FILE:
            await gate(message)

    async with Server(app) as server:
        call = await server.finished("/", on_send=on_send, **takes(FILE))

    assert not call.final
    assert kinds(call) == ["start", "body"]


async def test_a_path_ends_the_response(file):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        res.set("content-length", 10)
        assert req.exchange.takes_paths
        assert await req.exchange.send_path(file.name, 10)
        assert res.finished

    async with Server(app) as server:
        call = await server.finished("/", **takes(PATH))

    assert kinds(call) == ["start", "pathsend"]
    assert call.sent[1]["path"] == file.name


async def test_a_path_is_not_all_where_trailers_follow(file):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        res.trailer("x-sum", "9e10")
        assert not await req.exchange.send_path(file.name, 10)
        await res.write(b"0123456789")

    async with Server(app) as server:
        call = await server.finished("/", **takes(PATH, "http.response.trailers"))

        call.violations.clear()  # for the driver nothing comes behind a last body message

    assert kinds(call) == ["start", "body", "body", "trailers"]


async def test_a_path_is_not_all_behind_a_first_piece(file):
    app = Nardis()

    @app.get("/")
    async def handler(req, res):
        await res.write(b"0123")
        assert not await req.exchange.send_path(file.name, 10)

    async with Server(app) as server:
        call = await server.finished("/", **takes(PATH))

    assert kinds(call) == ["start", "body", "body"]


async def test_paths_are_for_servers_that_send_no_parts():
    app, seen = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        seen.append((req.exchange.takes_files, req.exchange.takes_paths))
        await res.end()

    async with Server(app) as server:
        for names in ((), (FILE,), (PATH,), (FILE, PATH)):
            await server.finished("/", **takes(*names))

    assert seen == [(False, False), (True, False), (False, True), (True, False)]


async def test_our_own_server_is_asked_only_where_nothing_is_wrapped_around():
    """It lends its scope to the application that it calls itself, and to no other."""
    app, seen = Nardis(), []

    @app.get("/")
    async def handler(req, res):
        seen.append(req.exchange.takes_files)
        await res.end()

    class Client:
        progressed, listener, claimed = 0.0, None, False

        def __init__(self, scope):
            self.scope = scope

    async with Server(app) as server:
        for scope in (None, anyio.CancelScope()):
            extensions = {FILE: {}, "nardis.client": Client(scope)}
            with scope or anyio.CancelScope():
                await server.finished("/", extensions=extensions)

    assert seen == [False, True]
