"""WebSockets over each HTTP: who hears how one ended, and when; sizes, silence, and the close."""

from contextlib import asynccontextmanager
from itertools import count as count_from

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypercorn.utils import UnexpectedMessageError

from nardis.errors import UsageError
from nardis.server.hypercorn.guest import REST_S
from nardis.server.hypercorn.inbox import BOUND_BYTES
from nardis.server.hypercorn.websockets import CLOSE_S
from nardis.server.stream import clock
from nardis.server.websocket.frames import PARTS_AT_ONCE
from tests.peers.wsclient import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_frame,
    frame,
)
from tests.runner.talks import TALKS, settled, stream_of, talking

pytestmark = pytest.mark.anyio

PING_S = 20.0
STALL_S = 60.0
PINGED = frame(PING, masked=False)


@pytest.fixture(params=TALKS)
def opened(request, anyio_backend_name):
    """Return a context manager that opens a WebSocket to an application, over each HTTP."""
    return lambda app, **options: talking(request.param, anyio_backend_name, app, **options)


class Listens:
    """
    An application that accepts, and does nothing, or reads when it is told to.

    Attributes:
        heard: What its listener was told.
        received: What it received.
    """

    def __init__(self, message_bytes=None, *, reads=False):
        self.heard, self.received = [], []
        self.reads, self.end, self.left = anyio.Event(), anyio.Event(), anyio.Event()
        self._bound = message_bytes
        if reads:
            self.reads.set()

    def closed(self, code, reason):
        self.heard.append((code, reason))

    def stalled(self):
        self.heard.append("stalled")

    async def __call__(self, scope, receive, send):
        self.client, self.send = scope["extensions"]["nardis.client"], send
        self.client.listener, self.client.message_bytes = self, self._bound
        await receive()
        await self.answer(send)
        await self.reads.wait()
        message = {"type": ""}
        while message["type"] != "websocket.disconnect":
            message = await receive()
            self.received.append(message)
        self.left.set()

    async def answer(self, send):
        await send({"type": "websocket.accept"})

    def messages(self):
        return [
            each["text"] if each["bytes"] is None else len(each["bytes"])
            for each in self.received
            if each["type"] == "websocket.receive"
        ]


def closed(code):
    """Return our Close frame, up to its reason."""
    return code.to_bytes(2, "big")


async def gone(talk):
    """Read to the end, which has to be a cut, and return what was said before."""
    while not talk.reset:
        await talk.hear()
    return talk.body


# --- the listener ---------------------------------------------------------------------------------


async def test_an_end_is_told_at_once_and_once_also_where_messages_lie_in_front(opened):
    app = Listens()
    async with opened(app) as talk:
        await talk.send(frame(TEXT, b"unread") + close_frame(4001, "bye"))
        assert app.heard == [(4001, "bye")]
        assert app.client.has_left()
        assert app.client.has_unread()

        app.reads.set()
        await talk.rest()
        await talk.leave()
        await app.left.wait()
    assert app.messages() == ["unread"]
    assert not app.client.has_unread()
    assert app.received[-1] == {"type": "websocket.disconnect", "code": 4001, "reason": "bye"}
    assert app.heard == [(4001, "bye")]


async def test_the_listener_hears_of_a_client_that_leaves_before_it_was_answered(opened):
    class Undecided(Listens):
        async def answer(self, send):
            await self.reads.wait()

    app = Undecided()
    async with opened(app, waits=False) as talk:
        await talk.leave()
        await settled()
        assert app.heard == [(1006, "")]
        app.reads.set()
    assert app.heard == [(1006, "")]


# --- sizes ----------------------------------------------------------------------------------------

TOO_BIG = {
    "by its head": frame(BINARY, bytes(1001))[:8],
    "in characters of two bytes": frame(TEXT, 501 * "é".encode()),
    "in fragments": frame(BINARY, bytes(600), first=0) + frame(CONTINUATION, bytes(401))[:8],
}


@pytest.mark.parametrize("data", TOO_BIG.values(), ids=TOO_BIG)
async def test_a_message_beyond_the_bound_of_its_application_is_refused(opened, data):
    app = Listens(1000)
    async with opened(app) as talk:
        await talk.send(frame(TEXT, 500 * "é".encode()) + data)
        said = await talk.read(4)
        assert (said[0], said[2:]) == (0x80 | CLOSE, closed(1009))
        assert app.heard == [(1009, "a message is larger than 1000")]
        app.reads.set()
        await app.left.wait()
    assert app.messages() == [500 * "é"]


async def test_who_reads_behind_a_message_that_is_much_too_big_hears_that_it_is(
    anyio_backend_name,
):
    """Its rest is taken and dropped: else it would fill the kernel, and end in a reset."""
    async with talking("h1", anyio_backend_name, Listens(1000)) as talk:
        await talk.send(frame(BINARY, bytes(16 * 2**20)))
        said = await talk.read(4)

        assert (said[0], said[2:]) == (0x80 | CLOSE, closed(1009))


async def test_what_nobody_reads_is_not_taken_and_is_heard_later(opened):
    app = Listens()
    async with opened(app) as talk:
        [inbox] = talk.connection.talk.calls()
        for _ in range(200):
            await talk.send(frame(BINARY, bytes(1000)))
        assert BOUND_BYTES < inbox.weight < BOUND_BYTES + 1100

        app.reads.set()
        await talk.send(close_frame(4001))
        await app.left.wait()
    assert app.messages() == 200 * [1000]
    assert app.heard == [(4001, "")]


MUCH = {
    "pongs": 50 * frame(PONG),
    "fragments": frame(TEXT, first=0) + 50 * PARTS_AT_ONCE * frame(CONTINUATION, first=0),
    "messages": 50 * frame(TEXT),
}


@pytest.mark.parametrize("said", MUCH.values(), ids=MUCH)
async def test_who_says_much_gives_others_their_turn(opened, said, monkeypatch):
    """Also with what leaves nothing for the application."""
    turns = 0

    async def count():
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with opened(Listens()) as talk, anyio.create_task_group() as group:
        group.start_soon(count)
        monkeypatch.setattr("nardis.server.hypercorn.websockets.clock", count_from(0).__next__)
        stream = stream_of(talk)
        if talk.http is None:
            await stream.take(said)  # there is more to do
        else:
            await stream.hear(said, 0)
            while stream._hearing:
                await checkpoint()
        group.cancel_scope.cancel()
    assert turns > 40


async def test_of_what_a_client_leaves_behind_a_bounded_part_is_kept(opened, monkeypatch):
    """If all of it is not, its Close counts for no more than a cut."""
    for name in ("inbox.BOUND_BYTES", "websockets.LATE_BYTES"):
        monkeypatch.setattr(f"nardis.server.hypercorn.{name}", 2000)
    kept = {}
    for count in (10, 200):
        app = Listens()
        async with opened(app) as talk:
            await talk.send(count * frame(TEXT, b"said") + close_frame(4001))
            await talk.say_no_more()
            talk.connection.hung_up()
            assert (await talk.rest())[:4] == frame(CLOSE, closed(4001), masked=False)
            app.reads.set()
            await app.left.wait()
        kept[count] = len(app.messages()), app.heard
    assert kept[10] == (10, [(4001, "")])
    assert 10 < kept[200][0] < 100
    assert kept[200][1] == [(1006, "")]


@pytest.mark.parametrize("leave", ["leave", "say_no_more"])
async def test_the_socket_of_a_client_that_left_is_closed_though_its_application_goes_on(
    opened, leave
):
    app = Listens()
    async with opened(app) as talk:
        await getattr(talk, leave)()
        talk.socket.close()
        await settled()
        assert app.heard == [(1006, "")]
        assert talk.connection.wire.closed
        assert not app.left.is_set()


# --- a silent client ------------------------------------------------------------------------------


async def test_a_silent_client_is_asked_and_gone_when_it_does_not_answer(opened):
    app = Listens()
    async with opened(app, ws_ping_s=PING_S) as talk:
        talk.look(PING_S - 1)
        talk.look(PING_S + 1)
        assert await talk.read(2) == PINGED
        talk.look(2 * PING_S)
        talk.look(2 * PING_S + 0.5)
        assert app.heard == []

        talk.look(2 * PING_S + 2)
        assert app.heard == [(1006, "")]
        assert await gone(talk) == b""
        app.reads.set()
        await app.left.wait()


@pytest.mark.parametrize("said", [frame(PONG), frame(TEXT, b"hal", first=0), frame(TEXT, b"x")[:3]])
async def test_whatever_is_heard_of_a_client_answers_a_ping(opened, said):
    app = Listens()
    async with opened(app) as talk:
        talk.look(PING_S + 1)
        assert await talk.read(2) == PINGED
        before = clock() + 2 * PING_S
        await talk.send(said)
        [stream] = talk.connection.talk.protocol.streams()
        stream._pinged_at = 0.5  # long ago
        talk.connection.look(before)

        assert await talk.read(2) == PINGED, "it was silent again"
        assert app.heard == []


async def test_a_client_is_not_asked_where_that_is_switched_off(opened):
    app = Listens(reads=True)
    async with opened(app, ws_ping_s=0) as talk:
        talk.look(1000)
        await talk.send(close_frame(1000))
        assert await talk.rest() == frame(CLOSE, closed(1000), masked=False)


async def test_a_client_that_is_not_read_is_not_gone(opened):
    """Its answers may lie behind what the application has not read."""
    app = Listens()
    async with opened(app) as talk:
        await talk.send(2 * frame(BINARY, bytes(BOUND_BYTES // 2)) + frame(TEXT, b"last"))
        for times in range(1, 5):
            talk.look(times * PING_S + times)
        assert app.heard == []

        app.reads.set()
        await talk.send(close_frame(1000))
        assert await talk.read(2) == b"\x88\x02"
    assert app.messages()[-1] == "last"


async def test_a_ping_that_finds_no_room_is_a_stall(opened):
    """The window is shut, or the socket full, and nobody waits for either."""
    app = Listens(reads=True)
    async with opened(app, window=1) as talk:
        await talk.block()
        talk.look(PING_S + STALL_S - 1)
        assert app.heard == []

        talk.look(PING_S + STALL_S + 1)
        assert app.heard == ["stalled", (1006, "")]
        await app.left.wait()


async def test_no_ping_comes_inside_of_a_frame_or_behind_a_close(opened):
    app = Listens()
    async with opened(app, window=9, ws_ping_s=1) as talk, anyio.create_task_group() as group:
        await talk.block()
        group.start_soon(app.send, {"type": "websocket.send", "bytes": bytes(100)})
        await settled()
        talk.look(2)
        assert (await talk.read(102))[2:] == bytes(100)
        await talk.grow(100)
        await app.send({"type": "websocket.close"})
        talk.look(2)
        await talk.send(close_frame(1000))

        assert await talk.rest() == frame(CLOSE, closed(1000), masked=False)


async def test_while_a_ping_is_on_its_way_what_the_client_takes_is_a_sign_of_it(
    opened, monkeypatch
):
    app, taken = Listens(), 0
    async with opened(app) as talk:
        monkeypatch.setattr(type(talk.connection.wire), "taken", lambda self: taken)
        talk.look(PING_S + 1)
        for times in range(2, 5):
            talk.look(times * (PING_S + 1))
            taken += 1
            assert app.heard == []
        talk.look(5 * (PING_S + 1))
        talk.look(6 * (PING_S + 1))
        assert app.heard == [(1006, "")]


# --- rest -----------------------------------------------------------------------------------------


@pytest.fixture
def resting(anyio_backend_name):
    """Return a context manager that opens a WebSocket of which nothing is due for a while."""

    @asynccontextmanager
    async def resting(app, **options):
        async with talking("h1", anyio_backend_name, app, **options) as talk:
            talk.look()
            assert talk.connection.rests_until > clock()
            yield talk

    return resting


async def test_one_that_is_idle_rests_until_it_is_to_be_pinged(resting):
    async with resting(Listens(reads=True), ws_ping_s=3) as talk:
        until = talk.connection.rests_until
        assert until == talk.connection.wire.read_at + 3
        talk.look(3)
        assert await talk.read(2) == frame(PING, masked=False)
        assert talk.connection.rests_until == 0.0
        talk.look(3.5)
        assert talk.connection.rests_until == 0.0, "its answer is waited for"
        talk.connection.wire.read_at = until + 1  # it has come
        talk.look(3.5)
        assert talk.connection.rests_until == until + 4


@pytest.mark.parametrize("ping_s", [0, 3600])
async def test_none_rests_for_longer_than_ten_seconds(resting, ping_s):
    async with resting(Listens(reads=True), ws_ping_s=ping_s) as talk:
        assert REST_S - 1 < talk.connection.rests_until - clock() <= REST_S


async def waits_to_send(app, talk, group):
    await talk.block()
    group.start_soon(app.send, {"type": "websocket.send", "text": "said"})


async def closes(app, talk, group):
    await app.send({"type": "websocket.close"})


async def says_too_much(app, talk, group):
    for _ in range(3):
        await talk.send(frame(BINARY, bytes(BOUND_BYTES - 1000)))


async def is_shut_down(app, talk, group):
    talk.connection.interrupt()


async def is_ended(app, talk, group):
    await talk.connection.finish(whole=True)


@pytest.mark.parametrize("act", [waits_to_send, closes, says_too_much, is_shut_down, is_ended])
async def test_what_has_to_be_looked_after_ends_its_rest(resting, act):
    """And it does not rest again before that is over."""
    app = Listens()
    async with resting(app) as talk, anyio.create_task_group() as group:
        await act(app, talk, group)
        await settled()
        assert talk.connection.rests_until == 0.0
        talk.look()
        assert talk.connection.rests_until == 0.0
        group.cancel_scope.cancel()


async def test_one_that_was_not_accepted_yet_does_not_rest(anyio_backend_name):
    class Undecided(Listens):
        async def answer(self, send):
            await anyio.sleep_forever()

    async with talking("h1", anyio_backend_name, Undecided(), waits=False) as talk:
        talk.look()
        assert talk.connection.rests_until == 0.0


# --- the close handshake --------------------------------------------------------------------------


class Closes(Listens):
    """It closes, and hears what comes of that."""

    async def answer(self, send):
        await super().answer(send)
        await send({"type": "websocket.close", "code": 4000})


CLOSED = frame(CLOSE, closed(4000), masked=False)


async def test_a_close_that_is_not_answered_for_five_seconds_ends_by_a_cut(opened):
    """And the application, whose own code it was, hears that nobody answered (RFC 6455 7.1.5)."""
    app = Closes(reads=True)
    async with opened(app) as talk:
        assert await talk.read(4) == CLOSED
        talk.look(CLOSE_S - 0.5)
        assert app.heard == []

        talk.look(CLOSE_S + 0.5)
        assert app.heard == [(1006, "")]
        await gone(talk)
        talk.look(CLOSE_S + 1)
        await app.left.wait()
    assert app.received == [{"type": "websocket.disconnect", "code": 1006}]


async def test_a_client_that_sends_on_after_our_close_is_heard_to_its_own(opened):
    """What nobody takes is dropped, so it holds nothing up, and all behind it."""
    app = Closes()
    async with opened(app) as talk:
        [inbox] = talk.connection.talk.calls()
        for _ in range(200):
            await talk.send(frame(BINARY, bytes(1000)))
        await talk.send(frame(PING, b"?") + close_frame(4001))
        assert await talk.rest() == CLOSED
        assert app.heard == [(4001, "")]
        assert inbox.weight < BOUND_BYTES + 1100
        app.reads.set()
        await app.left.wait()
    assert len(app.messages()) < 130


async def test_a_close_wakes_the_reader_that_waits_for_room(opened):
    app = Listens()
    async with opened(app) as talk:
        for _ in range(3):
            await talk.send(frame(BINARY, bytes(BOUND_BYTES - 1000)))
        await app.send({"type": "websocket.close", "code": 4000})
        await talk.send(close_frame(4001))
        assert app.heard == [(4001, "")]
        app.reads.set()


@pytest.mark.parametrize("last", [frame(0x3), close_frame(4001)], ids=["a fault", "its close"])
async def test_a_close_frame_that_nobody_takes_holds_nothing_for_longer_than_five_seconds(
    opened, last
):
    app = Listens(reads=True)
    async with opened(app, window=0) as talk:
        await talk.block()
        await talk.send(frame(PING, b"?") + last)
        await app.left.wait()
        assert len(app.heard) == 1
        await talk.send(frame(TEXT, b"late"))
        for later in (0, CLOSE_S - 0.5, CLOSE_S + 0.5):
            talk.look(later)

        await gone(talk)
    assert len(app.heard) == 1


class Leaves(Listens):
    """It returns when it is told to; before that it has closed, or not."""

    def __init__(self, *, closes=False):
        super().__init__()
        self._closes, self.told = closes, anyio.Event()

    def closed(self, code, reason):
        super().closed(code, reason)
        self.told.set()

    async def __call__(self, scope, receive, send):
        self.client, self.send = scope["extensions"]["nardis.client"], send
        self.client.listener = self
        await receive()
        await self.answer(send)
        if self._closes:
            await send({"type": "websocket.close", "code": 4000})
        await self.reads.wait()


async def test_an_application_that_returns_closes_what_it_left_unread(opened):
    app = Leaves()
    async with opened(app) as talk:
        for _ in range(3):
            await talk.send(frame(BINARY, bytes(BOUND_BYTES - 1000)))
        app.reads.set()

        assert await talk.read(4) == frame(CLOSE, closed(1011), masked=False)
        await talk.send(close_frame(1011))
        assert await talk.rest() == b""
        assert not talk.reset


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "returned"])
async def test_a_client_has_five_seconds_for_its_close_when_the_application_has_returned(
    opened, closes
):
    """What it says before that means nothing, and does not reset what is on its way to it."""
    app = Leaves(closes=closes)
    async with opened(app) as talk:
        app.reads.set()
        assert await talk.read(4) == frame(CLOSE, closed(4000 if closes else 1011), masked=False)
        await settled()
        talk.look(CLOSE_S - 1)
        [inbox] = talk.connection.talk.calls()
        for _ in range(3):
            await talk.send(frame(BINARY, bytes(BOUND_BYTES - 1000)))
            await app.send({"type": "websocket.send", "text": "of a task that is left"})
        assert (inbox.weight, app.heard, talk.connection.over) == (0, [], False)

        await talk.send(close_frame(4001))
        assert await talk.rest() == b""
        await app.told.wait()
        assert (app.heard, talk.reset) == ([(4001, "")], False)


async def test_a_close_that_is_not_answered_cuts_nothing_when_the_application_has_returned(opened):
    """A slow client may still be reading what came before."""
    app = Leaves(closes=True)
    async with opened(app) as talk:
        app.reads.set()
        assert await talk.read(4) == CLOSED
        await settled()
        talk.look(CLOSE_S + 0.5)
        talk.look(CLOSE_S + 1)
        assert await talk.rest() == b""
        assert not talk.reset


async def test_what_nobody_has_read_is_dropped_where_the_application_returns_in_a_shutdown(opened):
    app = Leaves()
    async with opened(app) as talk:
        for _ in range(3):
            await talk.send(frame(BINARY, bytes(BOUND_BYTES - 1000)))
        await settled()
        talk.connection.service.interrupted = True
        app.reads.set()
        assert await talk.rest() == frame(CLOSE, closed(1011), masked=False)


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_a_shutdown_does_not_wait_for_a_close_when_the_application_has_returned(
    opened, before
):
    app = Leaves(closes=True)
    async with opened(app) as talk:
        assert await talk.read(4) == CLOSED
        talk.connection.service.interrupted = before
        app.reads.set()
        await settled()
        talk.connection.service.interrupted = True
        talk.look()
        assert await talk.rest() == b""
        assert not talk.reset


# --- what an application may not send -------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"type": "websocket.send", "text": b"bytes"}, TypeError),
        ({"type": "websocket.accept"}, UnexpectedMessageError),
        ({"type": "websocket.close", "code": 70_000}, UsageError),
    ],
)
async def test_a_mistake_of_the_application_is_its_own_and_nothing_is_said(opened, message, error):
    app = Listens()
    async with opened(app) as talk:
        with pytest.raises(error):
            await app.send(message)
        await app.send({"type": "websocket.close"})
        with pytest.raises(UnexpectedMessageError):
            await app.send({"type": "websocket.send", "text": "late"})
        await talk.send(close_frame(1000))

        assert await talk.rest() == frame(CLOSE, closed(1000), masked=False)
