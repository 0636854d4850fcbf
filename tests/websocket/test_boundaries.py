"""
At each message of a conversation the server fails, hangs, or says that the client has left; and the
handler is ended there.

Whatever happens: nobody hangs, nothing is sent behind the end, nothing is left over.
"""

from __future__ import annotations

import logging
from itertools import product

import anyio
import pytest

from nardis import ClientDisconnected, Limits, Nardis, wrap
from nardis.errors import NardisError
from tests.peers.driver import rest
from tests.websocket.calls import CONNECT, Peer, Sockets, bye, text

pytestmark = pytest.mark.anyio

# What the server is asked for, one after the other.
RECEIVED = {"connect": CONNECT, "receive 1": text("a"), "receive 2": text("b")}
BOUNDARIES = ["connect", "accept", "receive 1", "send 1", "receive 2", "send 2", "close"]
SENT = [each for each in BOUNDARIES if each not in RECEIVED]


class PassThrough:
    """A foreign middleware with nothing to do."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


class Conversation:
    """
    One conversation up to a boundary, at which the server hangs or raises *error*.

    Attributes:
        log: What happened to the handler, and what stands around it saw of that.
        scope: The handler's own, around all that it does.
    """

    def __init__(self, boundary, error, cancels, has_runner, wrapped):
        self.boundary = boundary
        self.error = error
        self.log = []
        self.scope = anyio.CancelScope()
        self.peer = Peer() if has_runner else None
        self.before = 0  # how many messages had been sent when it came to the boundary
        self.app = Nardis(cancel_on_disconnect=cancels, limits=Limits(handler_s=30, cleanup_s=5))
        self.app.use(self.around)
        if wrapped:
            self.app.use(wrap(PassThrough))
        self.app.websocket("/")(self.handler)

    async def around(self, req, res, next):
        async def last():
            self.log.append("deferred")

        req.defer(last)
        try:
            await next()
        finally:
            self.log.append(req.close_reason)

    async def handler(self, req, ws):
        self.ws = ws
        try:
            with self.scope:
                await ws.accept()
                for _ in range(2):
                    await ws.send(await ws.receive())
                await ws.close(4000)
        except ClientDisconnected as exc:
            self.log.append(exc.code)
            raise
        except anyio.get_cancelled_exc_class():
            self.log.append("cancelled")
            raise

    async def on_send(self, message):
        if SENT[len(self.socket.begun) - 1] == self.boundary and not self.before:
            self.before = len(self.socket.begun)
            if self.error is not None:
                raise self.error
            await anyio.sleep_forever()

    async def begin(self, server):
        """Talk up to the boundary."""
        at = BOUNDARIES.index(self.boundary)
        messages = [RECEIVED[each] for each in BOUNDARIES[:at] if each in RECEIVED]
        if self.boundary in RECEIVED and self.error is not None:
            messages.append(self.error)
        self.socket = server.open("/", *messages, connect=False, peer=self.peer)
        self.socket.on_send = self.on_send
        await rest()
        self.before = self.before or len(self.socket.begun)


async def fails(talk, server):
    """The server raised at the boundary: nothing is to be done."""


async def leaves(talk, server):
    """The client closes."""
    await server.watched()
    if talk.peer is not None:
        talk.peer.away = True
        talk.peer.listener.closed(4001, "")
    talk.socket.push(bye(4001))
    await rest()
    await server.tick(4)
    await server.tick(4)
    if not talk.socket.ended.is_set():  # it opted out, and hangs in a send
        await server.tick(61)


async def shuts_down(talk, server):
    server.shut_down()
    await rest()
    await server.tick(6)


async def takes_too_long(talk, server):
    await server.tick(31)


async def cancels_itself(talk, server):
    talk.scope.cancel()


async def is_cancelled(talk, server):
    """The server cancels the call."""
    talk.socket.cancel_scope.cancel()


async def stalls(talk, server):
    await server.tick(61)
    await server.tick(4)


# What happens, what the server raises at the boundary, and why it then ended.
FAULTS = {
    "OSError": (fails, OSError("reset"), "gone"),
    "RuntimeError": (fails, RuntimeError("a bug"), "gone"),
    "the client leaves": (leaves, None, "gone"),
    "the shutdown": (shuts_down, None, "shutdown"),
    "the deadline": (takes_too_long, None, "deadline"),
    "the handler": (cancels_itself, None, None),
    "the server": (is_cancelled, None, None),
    "a stall": (stalls, None, "stalled"),
}

# Whether a client that leaves cancels, whether our runner serves, and whether it is wrapped.
KINDS = [*product((True, False), (True, False), (False,)), (True, True, True), (True, False, True)]

CLOSES = {"shutdown": 1012, "deadline": 1011, None: 1000}


@pytest.mark.parametrize("fault", FAULTS)
async def test_nobody_hangs_and_nothing_is_sent_behind_the_end(fault, caplog):
    """Opted out or not, told by our runner or not, behind a foreign middleware or not."""
    act, error, reason = FAULTS[fault]
    boundaries = SENT if act is stalls else BOUNDARIES
    for boundary, kind in product(boundaries, KINDS):
        caplog.clear()
        talk = Conversation(boundary, error, *kind)
        async with Sockets(talk.app) as server:
            await talk.begin(server)
            await act(talk, server)
            await rest()
            if boundary == "connect":  # a server says it in the end
                talk.socket.push(CONNECT)
            with anyio.fail_after(20):
                await talk.socket.ended.wait()
            await judge(talk, reason, server)
        logged = [each for each in caplog.records if each.levelno >= logging.ERROR]
        allowed = isinstance(error, RuntimeError) and boundary != "close"
        allowed = allowed or (boundary, act) == ("connect", cancels_itself)
        assert len(logged) == allowed, (boundary, kind)


async def judge(talk, reason, server):
    socket, boundary = talk.socket, talk.boundary
    # Nothing is left over.
    assert not server.exchanges
    assert (socket.receiving, socket.sending) == (0, 0)
    # Everyone was told why.
    assert talk.log[-1] == "deferred"
    assert talk.log[-2] in ((reason, None, "stalled") if boundary == "close" else (reason,))
    # Nothing follows the end, and where there is somebody to tell, it is told once.
    if reason in ("gone", "stalled") or talk.socket.cancel_scope.cancel_called:
        assert len(socket.begun) == talk.before
    elif boundary == "close":
        assert socket.closed == (4000, "")
    elif boundary == "accept":
        assert socket.kinds == ["accept"]
        assert socket.error is not None
    elif boundary == "connect":
        assert socket.denied == (500 if reason is None else 503)
    else:
        assert socket.closed is not None
        assert socket.closed[0] == CLOSES[reason]
    # It is over for good.
    for verb in (talk.ws.send("late"), talk.ws.receive()):
        with anyio.fail_after(20), pytest.raises(NardisError):
            await verb
