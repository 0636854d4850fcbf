"""
Conversations, with trouble at every yield of the application to the event loop: the server cancels,
the client closes or vanishes, a limit runs out, the shutdown comes.

Nobody hangs, no task is left, nothing is said behind the end, and each client hears one end.
"""

from __future__ import annotations

from functools import partial

import anyio
import pytest
from anyio.lowlevel import checkpoint

from nardis import ClientDisconnected, Nardis, shielded, wrap
from tests.websocket.calls import Peer, Socket, Sockets, bye, text

from .harness import MOST_POINTS, no_warnings, troubled

pytestmark = pytest.mark.anyio

SAID = ("a", "b", "c")


class TroubledSocket(Socket):
    """A conversation that counts the points of its application."""

    at = points = 0
    trouble = staticmethod(lambda: None)

    async def receive(self):
        await checkpoint()
        return await super().receive()

    async def run(self):
        self.inner, self.app = self.app, self.counted
        await super().run()

    async def counted(self, scope, receive, send):
        self.points = await troubled(self.inner(scope, receive, send), self.at, self.trouble)


class TroubledSockets(Sockets):
    """A server of such conversations."""

    socket_type = TroubledSocket


async def echo(req, ws):
    """The usual one."""
    async for message in ws:
        await ws.send(message)


async def cleans_up(req, ws):
    """What is deferred, or shielded, goes to its end."""
    req.defer(checkpoint)
    await ws.accept()
    try:
        async for message in ws:
            await ws.send(message)
    finally:
        with shielded(5):
            await checkpoint()
            await checkpoint()
            req.app.state.cleaned += 1


async def in_a_group(req, ws):
    """A task reads and another one sends, which is the shape of a chat."""
    put, take = anyio.create_memory_object_stream(10)

    async def sends():
        async for message in take:
            await ws.send(message)

    with put, take:
        async with anyio.create_task_group() as group:
            group.start_soon(sends)
            async for message in ws:
                await put.send(message)
            put.close()


async def goes_on(req, ws):
    """It catches how it ends, and closes by itself."""
    try:
        while True:
            await ws.send(await ws.receive())
    except ClientDisconnected:
        await ws.close(4000)
        await checkpoint()


class Passing:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


def build(handler, *, wrapped, cancels):
    app = Nardis(cancel_on_disconnect=cancels)
    app.state.cleaned = 0
    if wrapped:
        app.use(wrap(Passing))
    app.websocket("/", handler)
    return app


async def run(app, kind, at, *, has_runner):
    """Talk, and make trouble of a *kind* at point *at*; return the conversation."""
    tasks = set(anyio.get_running_tasks())
    async with TroubledSockets(app) as server:
        peer = Peer() if has_runner else None

        def trouble():
            if kind == "cancel":
                socket.cancel_scope.cancel()
            elif kind in ("close", "vanish"):
                socket.inbox.clear()
                code = 4001 if kind == "close" else 1006
                socket.push(bye(code))
                if peer is not None and peer.listener is not None:
                    peer.away = True
                    peer.listener.closed(code, "")
            else:
                for exchange in tuple(app.life.sweeper.exchanges):
                    exchange.interrupt(kind)
                if kind == "shutdown":  # of the runner, or of the server: it closes them
                    socket.push(bye(1012))

        async def pause(message):
            await checkpoint()

        messages = (*map(text, SAID), bye(4002))
        socket = server.open("/", *messages, on_send=pause, peer=peer)
        socket.at, socket.trouble = at, trouble
        with anyio.fail_after(20):
            while not socket.ended.is_set():
                await checkpoint()
                await server.tick()  # a handler that got time to return takes it
        for _ in range(5):
            await checkpoint()
        assert not app.life.sweeper.exchanges
    assert {task.name for task in set(anyio.get_running_tasks()) - tasks} == set()
    return socket


def judge(socket, kind):
    """One end, and nothing behind it; what was said is the beginning of the whole, in order."""
    said = [each for each in socket.said if each is not None]
    assert list(SAID[: len(said)]) == said
    kinds = [each for each in socket.kinds if each != "send"]
    assert kinds in (["accept"], ["accept", "close"], [], ["start", "body"]), kinds
    if kind == "cancel" and socket.cancel_scope.cancel_called:
        return
    if kind in ("deadline", "shutdown") and kinds == ["accept", "close"]:
        expected = {"deadline": (1011, 1000, 4000), "shutdown": (1012, 1000, 4000)}[kind]
        assert socket.closed[0] in expected


@pytest.mark.parametrize("has_runner", [True, False], ids=["told", "watched"])
@pytest.mark.parametrize("wrapped", [False, True], ids=["direct", "wrapped"])
@pytest.mark.parametrize("handler", [echo, cleans_up, in_a_group, goes_on])
async def test_trouble_at_every_point(handler, wrapped, has_runner):
    with no_warnings():
        for kind in ("cancel", "close", "vanish", "deadline", "shutdown"):
            for cancels in (True, False):
                begin = partial(build, handler, wrapped=wrapped, cancels=cancels)
                untroubled = await run(begin(), kind, 0, has_runner=has_runner)
                assert untroubled.said[:2] == ["a", "b"]  # "c" may come behind the client's Close
                assert 8 < untroubled.points < MOST_POINTS
                for at in range(1, untroubled.points + 1):
                    judge(await run(begin(), kind, at, has_runner=has_runner), kind)
