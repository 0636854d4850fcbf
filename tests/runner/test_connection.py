"""What a connection is held to, with a socket and a conversation that do as the test says."""

from functools import partial

import anyio
import pytest

from nardis.server import Config
from nardis.server.connection import Connection, contained
from nardis.server.service import DRAIN_IDLE_S, Service
from nardis.server.stream import LINGER_BYTES, LINGER_S
from tests.peers.wsclient import websocket_head
from tests.runner.talks import settled, talking

pytestmark = pytest.mark.anyio

NOW = 1000.0


class Wire:
    """
    A client's socket that lists what is done to it.

    Attributes:
        pieces: What is read, one after the other, before the end.
        count: What the client took.
        input: Something lies unread.
    """

    may_miss_reset = reading = fetching = False

    def __init__(self):
        self.log = []
        self.pieces = []
        self.count = 0
        self.input = self.closed = False
        self.writing = 0.0
        self.read_at = NOW

    async def read(self):
        self.log.append("read")
        return self.pieces.pop(0) if self.pieces else b""

    async def finish(self, *, whole):
        self.log.append(f"finish {whole}")

    def taken(self):
        return self.count

    def has_input(self):
        return self.input

    def read_anyway(self):
        self.log.append("read anyway")

    def cut(self):
        self.log.append("cut")
        self.closed = True

    def close(self):
        self.log.append("close")
        self.closed = True


class Call:
    """A call of the application."""

    def __init__(self, *, claimed=False, waits_since=0.0):
        self.claimed = claimed
        self.waits_since = waits_since
        self.stalled = False

    def stall(self):
        self.stalled = True


class Talk:
    """A conversation: *speak* is what becomes of it, *deaf* whether nobody reads."""

    def __init__(self, speak=None, *, multiplexed=False, deaf=False, ends=False, websockets=False):
        self.multiplexed = multiplexed
        self.speak = speak
        self.deaf = deaf
        self.ends = ends
        self.websockets = websockets
        self.under_way = []
        self.heard = []

    async def converse(self):
        return self.speak()

    def calls(self):
        return self.under_way

    def progressed(self, now):
        self.heard.append(f"progress at {now:.0f}")

    def look(self, now):
        self.heard.append("look")
        return self.deaf

    def hung_up(self):
        self.heard.append("hung up")

    def goodbye(self):
        self.heard.append("goodbye")
        return self.ends

    def close_websockets(self):
        return self.websockets


def connected(talk=None, *, secure=False, **settings):
    """Return a connection with a call under way, its wire and its conversation."""
    wire, talk = Wire(), talk or Talk()
    service = Service(None, Config(**settings))
    stream = Wire() if secure else wire
    connection = Connection(service, wire, stream, lambda self: talk)
    connection.idle_since = 0.0
    connection.cancel = partial(wire.log.append, "cancel")
    return connection, wire, talk


def looked_at(connection, *seconds):
    """Look at a connection so many seconds after NOW."""
    return [connection.look(NOW + each) for each in seconds][-1]


# --- a client that does not read ------------------------------------------------------------------


def writing(**settings):
    """Return a connection that writes since NOW, its wire, its conversation and its call."""
    connection, wire, talk = connected(**settings)
    talk.under_way.append(call := Call())
    wire.writing = NOW
    return connection, wire, talk, call


async def test_a_client_that_takes_nothing_is_cut_and_its_call_learns_the_reason():
    connection, wire, _, call = writing(write_stall_s=5)

    looked_at(connection, 4)
    assert (wire.log, call.stalled) == ([], False)
    assert looked_at(connection, 6) is False
    assert (wire.log, call.stalled) == (["cut"], True)


async def test_each_byte_that_the_client_takes_renews_the_time_of_a_write():
    """The conversation hears of it."""
    connection, wire, talk, call = writing(write_stall_s=5)

    for second in range(4, 40, 4):
        wire.count += 1
        looked_at(connection, second)
    assert (wire.log, connection.progressed) == ([], NOW + 36)
    assert talk.heard[-2:] == ["progress at 1036", "look"]

    looked_at(connection, 40)
    assert (wire.log, talk.heard[-1]) == ([], "look")
    looked_at(connection, 42)
    assert (wire.log, call.stalled) == (["cut"], True)


async def test_what_a_client_took_before_a_write_began_does_not_count_against_it():
    connection, wire, _, _ = writing(write_stall_s=5)
    connection.progressed = NOW - 100

    looked_at(connection, 4)

    assert wire.log == []


async def test_a_write_that_waits_for_our_own_disk_stalls_nobody():
    """The conversation hears that, too: its call has limits of its own."""
    connection, wire, talk, call = writing(write_stall_s=5)
    wire.fetching = True

    looked_at(connection, 100)
    assert (wire.log, talk.heard[-2:]) == ([], ["progress at 1100", "look"])

    wire.fetching = False
    looked_at(connection, 104)
    assert wire.log == []
    looked_at(connection, 106)
    assert (wire.log, call.stalled) == (["cut"], True)


async def test_who_is_interrupted_and_does_not_read_has_no_more_than_a_moment():
    """The time of those that may end by themselves is over."""
    connection, wire, _, _ = writing(write_stall_s=60)
    connection.service.interrupted = True

    looked_at(connection, LINGER_S / 2)
    assert wire.log == []
    looked_at(connection, LINGER_S * 2)
    assert wire.log == ["cut"]


# --- after the last byte --------------------------------------------------------------------------


async def test_a_connection_is_finished_once():
    connection, wire, _ = connected()
    await connection.finish(whole=False)
    await connection.finish(whole=True)

    assert (wire.log, connection.over) == (["finish False"], True)
    assert connection.ending > 0


async def test_a_client_that_does_not_close_its_side_is_closed_after_a_moment():
    connection, wire, talk = connected()
    await connection.finish(whole=True)
    wire.log.clear()
    connection.ending = NOW

    assert looked_at(connection, LINGER_S / 2) is False
    assert wire.log == []
    looked_at(connection, LINGER_S * 2)
    assert (wire.log, talk.heard) == (["close"], [])


@pytest.mark.parametrize(("taken", "done"), [(0, ["cut"]), (1, [])])
async def test_a_last_piece_has_the_time_of_a_write_and_not_that_of_the_end(taken, done):
    """What is taken later than the moment that a client has to close its side is not lost."""
    connection, wire, _, _ = writing(write_stall_s=5)
    connection.over = True
    connection.ending = NOW

    looked_at(connection, LINGER_S * 2)
    assert wire.log == []
    for second in (4, 8):
        wire.count += taken
        looked_at(connection, second)
    assert wire.log == done


async def test_the_time_of_the_end_begins_when_it_was_said():
    connection, wire, _ = connected()
    connection.over = True  # `finish` is on its way

    looked_at(connection, LINGER_S * 2)

    assert wire.log == []


async def test_what_the_client_still_sends_is_dropped_to_its_end():
    connection, wire, _ = connected()
    wire.pieces = [b"late", b"later"]
    await connection.linger()

    assert wire.log == ["read"] * 3


async def test_a_client_that_still_sends_without_end_is_held_unread_in_the_clear(monkeypatch):
    monkeypatch.setattr("nardis.server.connection.LINGER_S", 0)
    connection, wire, _ = connected()
    wire.pieces = [bytes(LINGER_BYTES), b"x", b"never read"]
    await connection.linger()

    assert wire.log == ["read"] * 2


async def test_over_tls_all_is_read_that_comes_in_the_time():
    connection, wire, _ = connected(secure=True)
    wire.pieces = [bytes(LINGER_BYTES), b"x", b"the rest"]
    await connection.linger()

    assert wire.log == ["read"] * 4


# --- a client that does not speak -----------------------------------------------------------------


def idle(talk=None, **settings):
    """Return a connection that is idle since NOW, its wire and its conversation."""
    connection, wire, talk = connected(talk, **settings)
    connection.idle_since = NOW
    return connection, wire, talk


async def test_an_idle_connection_is_closed_after_its_time():
    connection, wire, talk = idle(keep_alive_s=5)

    assert looked_at(connection, 4) is False
    assert wire.log == []
    assert looked_at(connection, 6) is False
    assert (wire.log, talk.heard) == (["close"], ["goodbye"])


async def test_a_conversation_that_says_goodbye_ends_by_itself():
    connection, wire, _ = idle(Talk(ends=True), keep_alive_s=5)
    looked_at(connection, 6)

    assert wire.log == []


async def test_a_connection_whose_next_request_has_arrived_is_not_idle():
    """Something else may have kept the event loop meanwhile."""
    connection, wire, _ = idle(keep_alive_s=5)
    wire.input = True
    looked_at(connection, 6)

    assert wire.log == ["read anyway"]


async def test_in_a_shutdown_an_idle_connection_has_a_moment_for_its_next_request():
    connection, wire, _ = idle(keep_alive_s=60)
    connection.service.draining = NOW + 10

    looked_at(connection, 10 + DRAIN_IDLE_S / 2)
    assert wire.log == []
    looked_at(connection, 10 + DRAIN_IDLE_S * 2)
    assert wire.log == ["close"]


async def test_a_head_has_a_time_of_its_own_from_its_first_byte():
    connection, wire, _ = idle(keep_alive_s=5, head_s=20)
    connection.head_since = NOW + 4

    looked_at(connection, 23)
    assert wire.log == []
    looked_at(connection, 25)
    assert wire.log == ["close"]


async def test_the_frames_of_http2_are_no_head():
    connection, wire, _ = idle(Talk(multiplexed=True), keep_alive_s=5, head_s=20)
    connection.head_since = NOW + 4
    looked_at(connection, 6)

    assert wire.log == ["close"]


@pytest.mark.parametrize(
    ("waits_since", "pause_s", "done"),
    [
        (NOW - 1, 11, ["cut"]),
        (NOW - 1, 9, []),
        (NOW + 5, 14, []),
        (NOW + 5, 16, ["cut"]),
        (0.0, 11, []),
    ],
)
async def test_a_body_that_stops_arriving_is_cut_where_the_application_waits_for_it(
    waits_since, pause_s, done
):
    """Time in which the application did not ask for it is not the client's."""
    connection, wire, talk = connected(body_idle_s=10)
    talk.under_way += [Call(), Call(waits_since=waits_since)]

    assert looked_at(connection, pause_s) is False

    assert wire.log == done


# --- who hears the client leave -------------------------------------------------------------------


@pytest.mark.parametrize("deaf", [True, False])
async def test_the_conversation_says_whether_nobody_reads(deaf):
    connection, wire, _ = connected(Talk(deaf=deaf))

    assert looked_at(connection, 1) is deaf
    assert wire.log == []


@pytest.mark.parametrize("deaf", [True, False])
async def test_no_limit_is_enforced_on_a_closed_connection_and_its_socket_is_not_used(deaf):
    """A handler that does not read has to be told all the same."""
    connection, wire, _ = connected(Talk(deaf=deaf), keep_alive_s=1, write_stall_s=1)
    wire.closed, wire.taken = True, None
    wire.writing = connection.idle_since = 1.0

    assert looked_at(connection, 1) is deaf
    assert wire.log == []


async def test_what_the_service_wants_is_for_the_conversation_or_for_the_socket():
    connection, wire, talk = connected()
    wire.socket = object()
    assert connection.socket is wire.socket
    assert connection.is_closed() is False
    connection.say_goodbye()
    connection.hung_up()
    connection.end()

    assert talk.heard == ["goodbye", "hung up"]
    assert wire.log == ["cut", "cancel"]
    assert connection.is_closed() is True


@pytest.mark.parametrize(("multiplexed", "done"), [(False, ["cancel"]), (True, [])])
async def test_at_the_end_of_the_drain_half_a_head_is_not_waited_for(multiplexed, done):
    """No call will come of it; over HTTP/2 it says nothing of the calls."""
    connection, wire, _ = connected(Talk(multiplexed=multiplexed))
    connection.head_since = NOW
    connection.service.tell(lambda seconds: None, lambda: None)

    connection.interrupt()

    assert wire.log == done


@pytest.mark.parametrize(
    ("heard", "claimed", "websockets", "done"),
    [
        (True, [True, True], False, []),
        (True, [True, False], False, ["cancel"]),
        (False, [True], False, ["cancel"]),
        (False, [False], True, []),
    ],
)
async def test_at_the_end_of_the_drain_calls_are_cancelled_that_nobody_looks_after(
    heard, claimed, websockets, done
):
    """A WebSocket is told, at both ends."""
    connection, wire, talk = connected(Talk(websockets=websockets))
    talk.under_way = [Call(claimed=each) for each in claimed]
    if heard:
        connection.service.tell(lambda seconds: None, lambda: None)

    connection.interrupt()

    assert wire.log == done


@pytest.mark.parametrize("heard", [False, True])
async def test_at_the_end_of_the_drain_a_websocket_saves_no_call_beside_it(
    heard, anyio_backend_name
):
    """
    Over HTTP/2: a response, a handshake, a call whose client has reset its stream.

    Those that an application looks after are its own business, as everywhere.
    """
    told = []

    async def app(scope, receive, send):
        path = scope["path"]
        client = scope["extensions"]["nardis.client"]
        client.claimed = path == "/claimed"
        if path == "/":
            await send({"type": "websocket.accept"})
            await receive()  # websocket.connect
            told.append((await receive())["code"])
            return
        if path == "/begun":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"...", "more_body": True})
        try:
            await anyio.sleep_forever()
        finally:
            told.append(path)

    async with talking("h2", anyio_backend_name, app) as talk:
        if heard:
            talk.connection.service.tell(lambda seconds: None, lambda: None)
        fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a")]
        talk.h2.send_headers(3, websocket_head("/handshake"))
        for stream_id, path in ((5, "/begun"), (7, "/left"), (9, "/claimed")):
            talk.h2.send_headers(stream_id, [*fields, (":path", path)], end_stream=True)
        await talk.flush()
        talk.h2.reset_stream(7)
        await talk.flush()
        assert told == []

        talk.connection.interrupt()
        await settled()

        cancelled = {"/handshake", "/begun", "/left"} | (set() if heard else {"/claimed"})
        assert {*told} == {1012, *cancelled}
        assert talk.connection.wire.closed is False


# --- from the first conversation to the last ------------------------------------------------------


async def test_a_connection_has_one_conversation_after_the_other_and_is_closed():
    connection, wire, talk = connected()
    seen = []

    def speak(other):
        seen.append((connection.talk, connection in connection.service.connections))
        return other

    last = Talk(partial(speak, None))
    talk.speak = partial(speak, last)
    await connection.attend()

    assert seen == [(talk, True), (last, True)]
    assert connection.service.connections == set()
    assert wire.log == ["close"]


async def test_a_task_that_another_one_has_relieved_leaves_the_connection_alone():
    connection, wire, talk = connected()
    started = []
    connection.service.start = started.append

    talk.speak = connection.change_shift
    await connection.attend()
    assert (wire.log, connection.service.connections) == ([], {connection})

    talk.speak = lambda: None
    await started.pop()
    assert (wire.log, connection.service.connections) == (["close"], set())


def fail(fault):
    raise fault


@pytest.mark.parametrize(
    ("fault", "log"),
    [
        (ValueError("v"), ["cut", "close"]),
        (SystemExit(3), ["cut", "close"]),
        (BaseExceptionGroup("", [OSError(), GeneratorExit()]), ["cut", "close"]),
        (ConnectionResetError("gone"), ["close"]),
        (ExceptionGroup("", [BrokenPipeError()]), ["close"]),
    ],
    ids=repr,
)
async def test_a_fault_ends_its_connection_alone_and_a_client_that_is_gone_is_none(
    fault, log, caplog
):
    connection, wire, talk = connected()
    talk.speak = partial(fail, fault)

    await connection.attend()

    assert wire.log == log
    assert caplog.text.count("a fault ended a connection") == log.count("cut")


async def test_a_cancellation_leaves_a_connection_also_beside_a_fault(caplog):
    wire = Wire()
    with anyio.CancelScope() as scope, contained(wire, lambda: True):
        scope.cancel()
        try:
            await anyio.sleep_forever()
        except BaseException as exc:
            raise BaseExceptionGroup("", [exc, ValueError("v")]) from None
    assert scope.cancelled_caught
    assert wire.log == ["cut"]
    assert caplog.text.count("a fault ended a connection") == 1


async def test_the_cancellation_of_a_connection_is_no_fault(caplog):
    wire = Wire()
    with anyio.CancelScope() as scope, contained(wire, lambda: True):
        scope.cancel()
        await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert (wire.log, caplog.text) == ([], "")
