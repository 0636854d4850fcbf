"""
One connection of HTTP/2 between the socket and the application: frames in, frames out, without
either end.
"""

import importlib
import time
from contextlib import asynccontextmanager

import anyio
import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from anyio.lowlevel import checkpoint
from h2.errors import ErrorCodes
from hypercorn.events import Closed, RawData, Updated
from hypercorn.typing import ConnectionState
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)
from wsproto import ConnectionType
from wsproto.connection import Connection as Frames
from wsproto.events import BytesMessage, Ping, Pong

from nardis.errors import FieldError
from nardis.server import Config
from nardis.server.hypercorn.h2 import H2
from nardis.server.hypercorn.h2_frames import PIECE_BYTES, RESETS
from nardis.server.hypercorn.h2_honesty import STOP_S
from nardis.server.hypercorn.h2_uploads import CONNECTION_WINDOW_BYTES, WINDOW_BYTES
from nardis.server.hypercorn.h2_window import ANSWERS_BYTES, OUT_BYTES
from nardis.server.hypercorn.inbox import BOUND_BYTES, Inbox, call_app
from nardis.server.service import Service

pytestmark = pytest.mark.anyio

REQUEST = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")]
WEBSOCKET = [
    (":method", "CONNECT"),
    (":scheme", "http"),
    (":authority", "localhost"),
    (":path", "/"),
    (":protocol", "websocket"),
    ("sec-websocket-version", "13"),
]


async def settled():
    """
    Let all tasks run until they wait for what only a test does: anyio's own way to wait for that
    takes a tenth of a second.
    """
    for _ in range(30):
        await checkpoint()


class Tasks:
    """What hypercorn has for each event loop, on any."""

    def __init__(self, service, group):
        self._service = service
        self._group = group
        self.inboxes = []

    def spawn(self, function, *args):
        self._group.start_soon(function, *args)

    async def spawn_app(self, app, config, scope, send):
        inbox = Inbox()
        self.inboxes.append(inbox)
        self.spawn(call_app, self._service, scope, inbox, send)
        return inbox.put


def frames_of(data):
    """List the frames that *data* consists of."""
    frames = []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        frames.append(frame)
        data = data[9 + length :]
    return frames


class Conversation:
    """
    A client, and the connection that serves it.

    Attributes:
        said: What the server said, as events of h2.
        writes: The same, as a list for each write.
        sizes: The bytes of each write.
        reset_frames: The streams of which a RST_STREAM came, each as often as it did.
        idle: What the connection was told last.
        readable: The client reads; else the socket is full.
    """

    def __init__(self, service, context, group, window):
        self.said = []
        self.writes = []
        self.sizes = []
        self.reset_frames = []
        self.closings = 0
        self.idle = None
        self.readable = anyio.Event()
        self.readable.set()
        self.group = group
        tasks = Tasks(service, group)
        self.inboxes = tasks.inboxes
        self.server = H2(
            service.app,
            service.settings,
            context,
            tasks,
            ConnectionState({}),
            False,
            None,
            None,
            self._send,
            service.config,
        )
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        if window is not None:
            initial = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            self.client.local_settings = h2.settings.Settings(client=True, initial_values=initial)
        self.client.initiate_connection()

    async def _send(self, event):
        if isinstance(event, RawData):
            await self.readable.wait()
            self.sizes.append(len(event.data))
            self.reset_frames += [
                frame.stream_id
                for frame in frames_of(event.data)
                if isinstance(frame, RstStreamFrame)
            ]
            # Of what comes after a GOAWAY h2 takes nothing.
            self.writes.append([] if self.goodbyes() else self.client.receive_data(event.data))
            self.said += self.writes[-1]
        elif isinstance(event, Updated):
            self.idle = event.idle
        else:
            assert isinstance(event, Closed)
            self.closings += 1
            await self.server.handle(Closed())

    async def flush(self):
        """Let the server hear what the client has to say, and do what comes of it."""
        await self.server.handle(RawData(self.client.data_to_send()))
        await settled()

    async def send_frames(self, *frames):
        """Send frames past what h2 allows a client."""
        await self.server.handle(RawData(b"".join(frame.serialize() for frame in frames)))
        await settled()

    async def until(self, condition, work=settled):
        """Do *work* again and again, until *condition* is true."""
        while not condition():
            await work()

    async def during(self, seconds, work=settled):
        """Do *work* again and again, for so long."""
        end = time.monotonic() + seconds
        await self.until(lambda: time.monotonic() > end, work)

    async def open_window(self, size, *stream_ids):
        """Let the server send as much more on these streams."""
        for stream_id in stream_ids:
            self.client.increment_flow_control_window(size, stream_id)
        await self.flush()

    async def request(self, fields=REQUEST, *, end=True):
        """Open a stream, and give its number."""
        stream_id = self.client.get_next_available_stream_id()
        self.client.send_headers(stream_id, fields, end_stream=end)
        await self.flush()
        return stream_id

    def heard(self, kind):
        """List what the server said of one kind."""
        return [event for event in self.said if isinstance(event, kind)]

    def body(self):
        return b"".join(event.data for event in self.heard(h2.events.DataReceived))

    def resets(self):
        return [event.error_code for event in self.heard(h2.events.StreamReset)]

    def goodbyes(self):
        return [event.error_code for event in self.heard(h2.events.ConnectionTerminated)]


@pytest.fixture
def conversing(anyio_backend_name):
    """Return a context manager that opens a conversation with an application."""
    context = importlib.import_module(
        f"hypercorn.{anyio_backend_name}.worker_context"
    ).WorkerContext

    @asynccontextmanager
    async def conversing(app, *, window=None, **settings):
        service = Service(app, Config(**settings))
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                conversation = Conversation(service, context(None), group, window)
                await conversation.server.initiate()
                await conversation.flush()
                yield conversation
                await conversation.server.handle(Closed())
                await settled()

    return conversing


async def patient(scope, receive, send):
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def quick(scope, receive, send):
    """Answer at once, with six bytes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"answer"})


# --- the end of a connection ----------------------------------------------------------------------


async def test_goodbye_is_said_once(conversing):
    async with conversing(patient) as conversation:
        assert conversation.server.goodbye()
        assert not conversation.server.goodbye()
        await settled()
    assert conversation.goodbyes() == [ErrorCodes.NO_ERROR]


@pytest.mark.parametrize(
    "garbage",
    [
        bytes(9) + b"DATA of no stream",
        b"\x00\x00\x04\x08\x00\x00\x00\x00\x00" + bytes(4),  # WINDOW_UPDATE by nothing
        b"\xff\xff\xff" + bytes(6),  # a frame that is too large
    ],
)
async def test_what_is_no_http2_is_answered_by_a_goaway_and_ends_the_connection(
    conversing, garbage
):
    async with conversing(patient) as conversation:
        await conversation.request()
        await conversation.server.handle(RawData(garbage))
        await settled()

        assert len(conversation.goodbyes()) == 1
        assert conversation.goodbyes() != [ErrorCodes.NO_ERROR]
        assert conversation.closings == 1
        assert not conversation.server.streams


async def test_nothing_is_heard_after_the_end(conversing):
    """Also if it came together with it."""
    async with conversing(patient) as conversation:
        await conversation.flush()
        conversation.client.close_connection()
        goodbye = conversation.client.data_to_send()
        await conversation.server.handle(RawData(goodbye + goodbye))

        assert conversation.closings == 1


async def reset_streams(conversation, count, each=1):
    """Make *count* requests, and reset every *each* of them."""
    for number in range(count):
        if conversation.closings:
            break
        stream_id = conversation.client.get_next_available_stream_id()
        conversation.client.send_headers(stream_id, REQUEST, end_stream=True)
        if number % each == 0:
            conversation.client.reset_stream(stream_id)
        await conversation.flush()
    return number


async def test_a_client_that_does_little_but_reset_is_told_to_be_calm(conversing):
    """After a hundred of them."""
    async with conversing(patient) as conversation:
        count = await reset_streams(conversation, 1000)

        assert 100 <= count < 110
        assert conversation.goodbyes() == [ErrorCodes.ENHANCE_YOUR_CALM]
        assert conversation.closings == 1


async def test_a_client_may_reset_some_of_its_requests(conversing):
    async with conversing(quick) as conversation:
        await reset_streams(conversation, 240, each=2)

        assert conversation.goodbyes() == []
        assert len(conversation.heard(h2.events.StreamEnded)) >= 120


async def test_many_frames_that_were_read_at_once_give_others_their_turn(conversing, monkeypatch):
    """And nothing is done with those behind a GOAWAY."""
    turns = 0

    async def count():
        nonlocal turns
        turns += 1

    async with conversing(quick) as conversation:
        monkeypatch.setattr("nardis.server.hypercorn.h2_frames.checkpoint", count)
        monkeypatch.setattr("nardis.server.hypercorn.h2_frames.clock", iter(range(9999)).__next__)
        pings = (PIECE_BYTES // 17 - 2) * PingFrame(0, b"12345678").serialize()
        goodbye = GoAwayFrame(0).serialize()
        rest = PIECE_BYTES - len(pings + goodbye)
        unknown = bytes([0, 0, rest - 9, 0xFE]).ljust(rest, b"\0")
        await conversation.server.handle(RawData(pings + unknown + goodbye + pings))
        monkeypatch.undo()
        assert turns > 400
        assert len(conversation.heard(h2.events.PingAckReceived)) == 0
        assert conversation.closings == 1


# --- what is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [b"six", b"-6", b"6.0", b"", b"1" + b"0" * 18])
async def test_a_content_length_that_is_no_number_is_an_error_of_the_application_and_not_sent(
    conversing, length
):
    raised = []

    async def app(scope, receive, send):
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-length", length)],
                }
            )
        except FieldError as exc:
            raised.append(str(exc))
            await quick(scope, receive, send)

    async with conversing(app) as conversation:
        await conversation.request()

        assert "is no Content-Length" in raised[0]
        [response] = conversation.heard(h2.events.ResponseReceived)
        assert "content-length" not in dict(response.headers)
        assert conversation.body() == b"answer"


async def with_trailers(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
    await send({"type": "http.response.body", "body": b"body"})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"5")]})


async def test_trailers_come_after_the_body_and_end_the_stream(conversing):
    async with conversing(with_trailers) as conversation:
        await conversation.request([*REQUEST, ("te", "trailers")])

        kinds = (
            h2.events.DataReceived,
            h2.events.TrailersReceived,
            h2.events.StreamEnded,
            h2.events.StreamReset,
        )
        said = [event for event in conversation.said if isinstance(event, kinds)]
        assert [type(event) for event in said] == [*kinds[:3]]
        assert conversation.body() == b"body"
        assert dict(said[1].headers) == {"x-sum": "5"}


async def test_trailers_are_not_for_those_who_did_not_ask(conversing):
    async with conversing(with_trailers) as conversation:
        await conversation.request()

        assert conversation.heard(h2.events.TrailersReceived) == []
        assert len(conversation.heard(h2.events.StreamEnded)) == 1


async def test_a_window_that_stays_shut_resets_its_stream_and_no_other(conversing):
    """
    After `write_stall_s`; the application's send returns, and it learns that the client is gone.
    """
    ended = anyio.Event()

    async def app(scope, receive, send):
        await quick(scope, receive, send)
        while (await receive())["type"] != "http.disconnect":
            pass
        ended.set()

    async with conversing(app, window=3, write_stall_s=0.05) as conversation:
        await conversation.request()
        await ended.wait()
        await settled()

        assert conversation.body() == b"ans"
        assert conversation.resets() == [ErrorCodes.CANCEL]

        other = await conversation.request()
        conversation.client.increment_flow_control_window(100, other)
        await conversation.flush()

        assert conversation.body() == b"ans" + b"answer"
        assert len(conversation.resets()) == 1


async def test_a_send_returns_when_its_stream_is_reset_while_the_window_is_shut(conversing):
    returned = anyio.Event()

    async def app(scope, receive, send):
        await quick(scope, receive, send)
        returned.set()

    async with conversing(app, window=0) as conversation:
        conversation.client.reset_stream(await conversation.request())
        assert not returned.is_set()
        await conversation.flush()
        assert returned.is_set()


# --- what arrives ---------------------------------------------------------------------------------


async def test_data_of_no_length_gives_back_no_window(conversing):
    """RFC 9113 §6.9.1: an increment of none would be an error."""
    taken = []

    async def app(scope, receive, send):
        while (message := await receive())["more_body"]:
            taken.append(message["body"])
        await quick(scope, receive, send)

    async with conversing(app) as conversation:
        stream_id = await conversation.request(end=False)
        for piece in (b"", b"one", b"", b"two", b""):
            conversation.said.clear()
            conversation.client.send_data(stream_id, piece)
            await conversation.flush()
            # One for the connection, and one for the stream, whose application has taken it.
            assert [event.delta for event in conversation.heard(h2.events.WindowUpdated)] == 2 * [
                len(piece)
            ] * bool(piece)
        conversation.client.end_stream(stream_id)
        await conversation.flush()

        assert b"".join(taken) == b"onetwo"
        assert conversation.body() == b"answer"
        assert conversation.goodbyes() == []


async def test_a_refused_handshake_leaves_no_stream_behind(conversing):
    """Else its connection would not end at a shutdown."""
    async with conversing(patient) as conversation:
        await conversation.request([*WEBSOCKET[:-1], ("sec-websocket-version", "12")], end=False)

        assert dict(conversation.heard(h2.events.ResponseReceived)[0].headers)[":status"] == "400"
        assert not conversation.server.streams


async def test_what_is_said_while_a_handshake_is_being_denied_is_of_no_matter(conversing):
    release = anyio.Event()

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
        await release.wait()
        await send({"type": "websocket.http.response.body", "body": b"here"})

    async with conversing(app) as conversation:
        stream_id = await conversation.request(WEBSOCKET, end=False)
        conversation.client.send_data(stream_id, b"\x81\x82\x00\x00\x00\x00hi")
        await conversation.flush()
        release.set()
        await settled()

        assert conversation.body() == b"not here"
        assert ErrorCodes.PROTOCOL_ERROR not in conversation.resets()
        assert len(conversation.heard(h2.events.StreamEnded)) == 1


# --- early answers --------------------------------------------------------------------------------


@pytest.fixture
def stops_after(monkeypatch):
    """Set the time from an answer to the reset of its upload."""

    def set_to(seconds):
        monkeypatch.setattr("nardis.server.hypercorn.h2_honesty.STOP_S", seconds)

    return set_to


async def test_the_reset_that_stops_an_upload_leaves_in_a_later_write_than_the_answer(conversing):
    """curl 7.88 loses an answer that it reads together with the reset."""
    async with conversing(quick) as conversation:
        begun = time.monotonic()
        await conversation.request(end=False)
        await conversation.until(conversation.resets)

        assert time.monotonic() - begun > STOP_S
        assert (conversation.body(), conversation.resets()) == (b"answer", [ErrorCodes.NO_ERROR])
        for write in conversation.writes:
            kinds = {type(event) for event in write}
            assert not {h2.events.StreamEnded, h2.events.StreamReset} <= kinds


async def test_the_reset_waits_for_an_answer_that_waits_for_the_socket(conversing):
    async with conversing(quick) as conversation:
        conversation.readable = anyio.Event()
        await conversation.request(end=False)
        await conversation.during(2 * STOP_S)
        conversation.readable.set()
        await conversation.until(conversation.resets)

        assert h2.events.StreamReset not in {
            type(event) for write in conversation.writes[:-1] for event in write
        }
        assert conversation.body() == b"answer"


def end_by_a_frame(client, stream_id):
    client.end_stream(stream_id)


def end_by_trailers(client, stream_id):
    client.send_headers(stream_id, [("x-sum", "5")], end_stream=True)


def reset(client, stream_id):
    client.reset_stream(stream_id)


def leave(client, stream_id):
    client.close_connection()


@pytest.mark.parametrize("stop", [end_by_a_frame, end_by_trailers, reset, leave])
async def test_an_upload_that_ends_by_itself_is_not_reset(conversing, stops_after, stop):
    stops_after(0.2)
    async with conversing(quick) as conversation:
        stream_id = await conversation.request(end=False)
        stop(conversation.client, stream_id)
        await conversation.flush()
        await conversation.during(0.3)

        assert conversation.reset_frames == []
        assert conversation.goodbyes() == []


async def test_uploads_are_stopped_before_a_draining_connection_closes(conversing, stops_after):
    stops_after(0.3)
    async with conversing(quick) as conversation:
        first, second = await conversation.request(end=False), await conversation.request(end=False)
        conversation.server.goodbye()
        await settled()
        assert conversation.closings == 0

        await conversation.until(lambda: conversation.closings)
        assert conversation.reset_frames == [first, second]


async def test_a_draining_connection_waits_for_no_upload_that_has_ended(conversing, stops_after):
    stops_after(60)
    async with conversing(quick) as conversation:
        stream_id = await conversation.request(end=False)
        conversation.server.goodbye()
        await conversation.send_frames(DataFrame(stream_id, flags=["END_STREAM"]))

        assert conversation.closings == 1
        assert conversation.reset_frames == []


def given_back(conversation):
    """Sum up what the server gave back, by stream; 0 is the connection."""
    sums = {}
    for event in conversation.heard(h2.events.WindowUpdated):
        sums[event.stream_id] = sums.get(event.stream_id, 0) + event.delta
    return sums


async def test_what_comes_between_an_answer_and_the_reset_is_dropped_and_gives_its_window_back(
    conversing, stops_after
):
    stops_after(60)
    async with conversing(quick) as conversation:
        stream_id = await conversation.request(end=False)
        conversation.said.clear()
        conversation.client.send_data(stream_id, bytes(1000), pad_length=23)
        await conversation.flush()

        assert given_back(conversation) == {0: 1024}


async def test_a_stream_is_reset_once_whatever_still_comes(conversing):
    """And late frames do not use up the window of the connection."""
    async with conversing(quick) as conversation:
        stream_id = await conversation.request(end=False)
        await conversation.until(conversation.resets)
        conversation.said.clear()
        for _ in range(2 * CONNECTION_WINDOW_BYTES // (16 * 16 * 1024)):
            await conversation.send_frames(
                *(DataFrame(stream_id, bytes(16 * 1024)) for _ in range(16))
            )
        trailers = conversation.client.encoder.encode([("x-sum", "5")])
        await conversation.send_frames(
            WindowUpdateFrame(stream_id, window_increment=10),
            HeadersFrame(stream_id, trailers, flags=["END_HEADERS", "END_STREAM"]),
            RstStreamFrame(stream_id),
            DataFrame(stream_id, b"later still"),
        )

        assert conversation.reset_frames == [stream_id]
        assert given_back(conversation)[0] >= 1.5 * CONNECTION_WINDOW_BYTES
        await conversation.request()
        assert len(conversation.heard(h2.events.ResponseReceived)) == 1
        assert conversation.goodbyes() == []


async def test_h2_by_itself_resets_a_stream_for_each_late_frame():
    """When it does not any more, its cure in `h2_frames` can go."""
    client = h2.connection.H2Connection()
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    client.initiate_connection()
    client.send_headers(1, REQUEST)
    server.receive_data(client.data_to_send())
    server.reset_stream(1)
    for _ in range(2):
        server.receive_data(DataFrame(1, b"late").serialize())

    assert [type(frame) for frame in frames_of(server.data_to_send())].count(RstStreamFrame) == 3


async def test_data_after_the_end_of_a_stream_resets_it_once(conversing):
    async with conversing(quick) as conversation:
        stream_id = await conversation.request()
        for _ in range(3):
            await conversation.send_frames(DataFrame(stream_id, b"late"))

        assert conversation.reset_frames == [stream_id]


async def test_what_is_remembered_of_resets_is_bounded(conversing, monkeypatch):
    monkeypatch.setattr("nardis.server.hypercorn.h2_frames.RESETS", 2)
    async with conversing(quick) as conversation:
        stream_ids = [await conversation.request() for _ in range(3)]
        for stream_id in (*stream_ids, stream_ids[2], stream_ids[0]):
            await conversation.send_frames(DataFrame(stream_id, b"late"))

        assert conversation.reset_frames == [*stream_ids, stream_ids[0]]
    assert RESETS > 1000


async def test_a_client_may_stop_each_of_its_uploads_that_were_answered(conversing, stops_after):
    """That is no sign of an attack."""
    stops_after(60)
    async with conversing(quick) as conversation:
        for _ in range(250):
            conversation.client.reset_stream(await conversation.request(end=False))
            await conversation.flush()

        assert conversation.goodbyes() == []


# --- 100 Continue ---------------------------------------------------------------------------------

EXPECTING = [*REQUEST, ("expect", "100-Continue")]


class Asking:
    """An application that reads its request when it is told to, and then answers."""

    def __init__(self):
        self.ask = anyio.Event()
        self.body = b""

    async def __call__(self, scope, receive, send):
        await self.ask.wait()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            self.body += message["body"]
            more = message["more_body"]
        await quick(scope, receive, send)


def invitations(conversation):
    return [
        dict(event.headers)[":status"]
        for event in conversation.heard(h2.events.InformationalResponseReceived)
    ]


async def test_a_client_is_invited_when_the_application_first_asks_for_the_body(conversing):
    app = Asking()
    async with conversing(app) as conversation:
        stream_id = await conversation.request(EXPECTING, end=False)
        assert invitations(conversation) == []

        app.ask.set()
        await settled()
        assert invitations(conversation) == ["100"]

        for piece in (b"one", b"two"):
            conversation.client.send_data(stream_id, piece)
            await conversation.flush()
        conversation.client.end_stream(stream_id)
        await conversation.flush()
        assert (app.body, conversation.body()) == (b"onetwo", b"answer")
        assert invitations(conversation) == ["100"]


def send_a_piece(client, stream_id):
    client.send_data(stream_id, b"piece")


@pytest.mark.parametrize("act", [send_a_piece, end_by_a_frame, end_by_trailers, reset, leave])
async def test_who_does_not_wait_to_be_invited_is_not(conversing, act):
    app = Asking()
    async with conversing(app) as conversation:
        stream_id = await conversation.request(EXPECTING, end=False)
        act(conversation.client, stream_id)
        await conversation.flush()
        app.ask.set()
        await settled()

        assert invitations(conversation) == []


@pytest.mark.parametrize(
    ("fields", "end"),
    [(EXPECTING, True), (REQUEST, False), ([*REQUEST, ("expect", "more")], False)],
)
async def test_nobody_is_invited_to_send_a_body_that_is_whole_or_not_held_back(
    conversing, fields, end
):
    app = Asking()
    app.ask.set()
    async with conversing(app) as conversation:
        await conversation.request(fields, end=end)

        assert invitations(conversation) == []


async def test_nobody_is_invited_after_the_head_of_the_answer(conversing):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()
        await send({"type": "http.response.body", "body": b"answer"})

    async with conversing(app) as conversation:
        stream_id = await conversation.request(EXPECTING, end=False)
        assert len(conversation.heard(h2.events.ResponseReceived)) == 1
        conversation.client.end_stream(stream_id)
        await conversation.flush()

        assert conversation.body() == b"answer"
        assert invitations(conversation) == []


async def test_nobody_is_invited_on_a_connection_that_is_being_closed(conversing):
    app = Asking()
    async with conversing(app) as conversation:
        await conversation.request(EXPECTING, end=False)
        conversation.readable = anyio.Event()
        await conversation.server.handle(RawData(bytes(9) + b"DATA of no stream"))
        app.ask.set()
        await settled()
        conversation.readable.set()
        await settled()

        assert invitations(conversation) == []
        assert len(conversation.goodbyes()) == 1


# --- what is known at once ------------------------------------------------------------------------


async def flood(scope, receive, send):
    """Send half a mebibyte, and wait until the client has left."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": bytes(512 * 1024), "more_body": True})
    await patient(scope, receive, send)


@asynccontextmanager
async def full(conversing, count, **settings):
    """Yield a conversation whose socket is full of what *count* streams have to say."""
    async with conversing(flood, window=2**20, **settings) as conversation:
        conversation.client.increment_flow_control_window(2**24)
        conversation.readable = anyio.Event()
        stream_ids = [await conversation.request() for _ in range(count)]
        yield conversation, stream_ids
        conversation.readable.set()


async def test_a_reset_is_known_in_the_turn_in_which_it_was_read(conversing):
    """Also while the socket is full, and behind something that has an answer."""
    async with full(conversing, 3) as (conversation, stream_ids):
        for inbox, stream_id in zip(conversation.inboxes, stream_ids, strict=True):
            assert not inbox.has_left()
            frames = (
                PingFrame(0, b"nardis's"),
                RstStreamFrame(stream_id, error_code=ErrorCodes.CANCEL),
            )
            conversation.group.start_soon(conversation.send_frames, *frames)
            await settled()
            assert inbox.has_left()


async def test_who_asks_and_does_not_read_is_not_heard_any_more(conversing):
    """The answers to pings would fill memory."""
    heard = 0

    async def ping():
        nonlocal heard
        for _ in range(20):
            await conversation.server.handle(RawData(1000 * PingFrame(0, b"nardis's").serialize()))
            heard += 1

    async with full(conversing, 1) as (conversation, _):
        conversation.group.start_soon(ping)
        await settled()
        pong_bytes = 1000 * len(PingFrame(0, b"nardis's").serialize())
        assert 0 < heard <= ANSWERS_BYTES / pong_bytes < 20
        conversation.readable.set()
        await conversation.until(lambda: heard == 20)


async def test_bodies_of_many_streams_wait_for_the_socket_together(conversing):
    async with full(conversing, 20) as (conversation, _):
        conversation.readable.set()
        await conversation.until(lambda: len(conversation.body()) == 20 * 512 * 1024)

        assert max(conversation.sizes) < 2 * OUT_BYTES + 16 * 1024


async def test_a_connection_is_idle_when_its_last_stream_was_reset(conversing):
    """By whichever side: else it would never have its time limit."""
    async with conversing(patient) as conversation:
        first, second = await conversation.request(), await conversation.request()
        conversation.client.reset_stream(first)
        await conversation.flush()
        assert conversation.idle is False
        conversation.client.reset_stream(second)
        await conversation.flush()
        assert conversation.idle is True

        await conversation.request([*REQUEST[:3], (":path", "no path")])
        assert conversation.resets() == [ErrorCodes.PROTOCOL_ERROR]
        assert conversation.idle is True


async def test_a_method_or_path_that_is_none_ends_its_stream_alone(conversing):
    """h2 lets them through, and they would forge lines of logs."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["method"], scope["raw_path"]))
        await quick(scope, receive, send)

    bad = [("GET", path) for path in ("/a b", "/a?\x1b[2J", "/\x7f", "a", "//é")]
    bad += [(method, "/") for method in ('GET" 200 "', "GE\x1bT", "", "A" * 65, "a:b", "é")]
    good = [("BREW!" * 12, "/"), ("OPTIONS", "*"), ("GET", '/"~?a[]|#\\')]
    async with conversing(app) as conversation:
        for method, path in bad + good:
            await conversation.request(
                [(":method", method), *REQUEST[1:3], (":path", path)], end=False
            )

        assert conversation.resets()[: len(bad)] == [ErrorCodes.PROTOCOL_ERROR] * len(bad)
        assert not conversation.goodbyes()
    assert seen == [(method, path.partition("?")[0].encode()) for method, path in good]


# --- progress -------------------------------------------------------------------------------------

STALL_S = 1.0  # a busy machine may keep a reader waiting for a good part of it
EARLY_S = 0.01  # the timers of event loops are exact to a millisecond
LATE_S = 5.0  # what a busy machine may add


async def test_a_stalled_stream_is_reset_in_its_time_beside_an_active_one(conversing):
    async with conversing(flood, window=0, write_stall_s=STALL_S) as conversation:
        begun = time.monotonic()
        stalled, active = await conversation.request(), await conversation.request()
        await conversation.until(conversation.resets, lambda: conversation.open_window(1, active))

        assert conversation.reset_frames == [stalled]
        assert STALL_S - EARLY_S < time.monotonic() - begun < STALL_S + LATE_S
        assert len(conversation.body()) > 10


async def test_each_byte_that_the_window_takes_renews_the_time(conversing):
    """A slow reader gets its data; when it stops, it has its time and no more."""
    async with conversing(flood, window=0, write_stall_s=STALL_S) as conversation:
        stream_id = await conversation.request()
        [inbox] = conversation.inboxes
        assert inbox.progressed == 0.0

        async def read_a_byte():
            taken, progressed = len(conversation.body()), inbox.progressed
            await conversation.during(STALL_S / 8)
            await conversation.open_window(1, stream_id)
            assert len(conversation.body()) == taken + 1
            assert inbox.progressed > progressed

        await conversation.during(1.5 * STALL_S, read_a_byte)
        assert conversation.resets() == []

        await conversation.until(conversation.resets)
        assert conversation.resets() == [ErrorCodes.CANCEL]
        assert STALL_S - EARLY_S < time.monotonic() - inbox.progressed < STALL_S + LATE_S
        assert conversation.idle is True


async def test_a_stalled_stream_is_reset_once_however_many_write_to_it(conversing):
    returned = []

    async def app(scope, receive, send):
        async def write():
            await send({"type": "http.response.body", "body": b"piece", "more_body": True})
            returned.append("write")

        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with anyio.create_task_group() as group:
            group.start_soon(write)
            group.start_soon(write)

    async with conversing(app, window=0, write_stall_s=0.05) as conversation:
        stream_id = await conversation.request()
        await conversation.until(lambda: len(returned) == 2)
        await settled()

        assert conversation.reset_frames == [stream_id]


async def test_time_in_which_an_application_sends_nothing_is_no_stall(conversing):
    release = anyio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ans", "more_body": True})
        await release.wait()
        await send({"type": "http.response.body", "body": b"wer"})

    async with conversing(app, window=3, write_stall_s=STALL_S) as conversation:
        stream_id = await conversation.request()
        await conversation.during(2 * STALL_S)
        release.set()
        await conversation.during(STALL_S / 2)
        await conversation.open_window(3, stream_id)

        assert conversation.body() == b"answer"
        assert conversation.resets() == []


async def test_time_in_which_the_socket_is_full_is_no_stall_of_a_stream(conversing):
    """The connection has a limit for that; a stream shows only that it waits."""
    async with full(conversing, 2, write_stall_s=STALL_S) as (conversation, _):
        await conversation.during(2 * STALL_S)
        assert [inbox.flushing for inbox in conversation.inboxes] == [True, True]
        assert conversation.resets() == []

        conversation.readable.set()
        await conversation.until(lambda: len(conversation.body()) == 2 * 512 * 1024)
        await settled()
        assert [inbox.flushing for inbox in conversation.inboxes] == [False, False]
        assert conversation.resets() == []


async def test_the_time_of_a_stream_begins_when_the_socket_has_room_again(conversing):
    """Also where the other streams have used up the window of the connection meanwhile."""
    write = anyio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await write.wait()
        await send({"type": "http.response.body", "body": bytes(OUT_BYTES)})

    async with conversing(app, window=OUT_BYTES, write_stall_s=STALL_S) as conversation:
        for _ in range(4):
            await conversation.request()
        conversation.client.increment_flow_control_window(3 * OUT_BYTES - 65535)
        await conversation.flush()
        conversation.readable = anyio.Event()
        write.set()
        await settled()
        inboxes = conversation.inboxes
        assert sum(inbox.flushing for inbox in inboxes) >= 3  # the first one may have said all
        assert sum(inbox.progressed == 0 for inbox in inboxes) == 2
        await conversation.during(2 * STALL_S)

        freed = time.monotonic()
        conversation.readable.set()
        await settled()
        assert len(conversation.body()) == 3 * OUT_BYTES
        assert conversation.resets() == []
        assert sum(inbox.progressed > freed for inbox in inboxes) >= 2

        await conversation.until(conversation.resets)
        assert STALL_S - EARLY_S < time.monotonic() - freed < STALL_S + LATE_S


# --- uploads --------------------------------------------------------------------------------------


async def test_an_application_gives_back_the_window_of_what_it_takes_and_no_more(conversing):
    take, taken = [anyio.Event() for _ in range(2)], []

    async def app(scope, receive, send):
        for event in take:
            await event.wait()
            taken.append(len((await receive())["body"]))
        await patient(scope, receive, send)

    async with conversing(app) as conversation:
        stream_id = await conversation.request(end=False)
        for size in (15_000, 100, 100, 16_000, 16_000, 16_000, 16_000):
            conversation.client.send_data(stream_id, bytes(size), pad_length=200)
            await conversation.flush()
        conversation.client.send_data(stream_id, b"", pad_length=100)
        await conversation.flush()
        assert given_back(conversation)[stream_id] == 101

        take[0].set()
        await settled()
        assert taken == [63_200]
        assert given_back(conversation)[stream_id] == 101 + 63_200 + 6 * 201

        take[1].set()
        await settled()
        assert taken == [63_200, 16_000]
        assert conversation.client.local_flow_control_window(stream_id) == WINDOW_BYTES


async def test_what_lies_may_be_taken_after_h2_has_forgotten_the_stream(conversing):
    """h2 does so when the next one begins."""
    app = Asking()
    async with conversing(app) as conversation:
        stream_id = await conversation.request(end=False)
        conversation.client.send_data(stream_id, b"", pad_length=9)
        conversation.client.reset_stream(stream_id)
        await conversation.request(end=False)
        app.ask.set()

        assert not conversation.goodbyes()
        assert conversation.closings == 0


# --- websockets -----------------------------------------------------------------------------------


class Socket:
    """The client's end of a WebSocket over a stream."""

    def __init__(self, conversation, stream_id):
        self._conversation = conversation
        self._id = stream_id
        self._frames = Frames(ConnectionType.CLIENT)
        self._read = 0

    async def send(self, event):
        """Send as much as the windows allow, and the rest as they open."""
        data, client = self._frames.send(event), self._conversation.client
        while data:
            room = min(client.local_flow_control_window(self._id), client.max_outbound_frame_size)
            if room:
                client.send_data(self._id, data[:room])
                data = data[room:]
            await self._conversation.flush()

    def received(self):
        """Return what has come since the last time."""
        data = b"".join(
            event.data
            for event in self._conversation.heard(h2.events.DataReceived)
            if event.stream_id == self._id
        )
        self._frames.receive_data(data[self._read :])
        self._read = len(data)
        return list(self._frames.events())


class Listening:
    """An application that accepts a WebSocket, and takes its messages when it is told to."""

    def __init__(self):
        self.listen = anyio.Event()
        self.heard = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            return await quick(scope, receive, send)
        await receive()
        await send({"type": "websocket.accept"})
        await self.listen.wait()
        while (message := await receive())["type"] == "websocket.receive":
            self.heard.append(message["bytes"])


async def test_a_message_may_be_larger_than_the_window(conversing):
    app = Listening()
    app.listen.set()
    async with conversing(app) as conversation:
        websocket = Socket(conversation, await conversation.request(WEBSOCKET, end=False))
        await websocket.send(BytesMessage(3 * WINDOW_BYTES * b"x"))

        assert app.heard == [3 * WINDOW_BYTES * b"x"]


async def test_messages_that_nobody_takes_wait_for_room_and_for_the_window(conversing):
    """Their client is made to wait, and is not reset."""
    app, sent = Listening(), 0

    async def send():
        nonlocal sent
        for number in range(250):
            await websocket.send(BytesMessage(b"%02000d" % number))
            sent += 1

    async with conversing(app) as conversation:
        websocket = Socket(
            conversation, stream_id := await conversation.request(WEBSOCKET, end=False)
        )
        [inbox] = conversation.inboxes
        conversation.group.start_soon(send)
        await conversation.until(
            lambda: not conversation.client.local_flow_control_window(stream_id)
        )
        await settled()
        assert inbox.weight <= BOUND_BYTES + 2100
        assert sent < 250

        app.listen.set()
        await conversation.until(lambda: len(app.heard) == 250)
        assert app.heard == [b"%02000d" % number for number in range(250)]
        assert conversation.resets() == []


async def test_a_pong_that_waits_for_the_window_holds_up_nothing_else(conversing):
    app = Listening()
    async with conversing(app, window=0) as conversation:
        websocket = Socket(
            conversation, stream_id := await conversation.request(WEBSOCKET, end=False)
        )
        await websocket.send(Ping(b"there?"))
        other = await conversation.request()
        assert [event.stream_id for event in conversation.heard(h2.events.ResponseReceived)] == [
            stream_id,
            other,
        ]

        await conversation.open_window(100, stream_id)
        assert websocket.received() == [Pong(b"there?")]
        app.listen.set()


async def test_websockets_whose_clients_vanish_do_not_cost_their_connection(conversing):
    """A proxy resets the stream of each."""
    app = Listening()
    async with conversing(app) as conversation:
        for _ in range(120):
            stream_id = await conversation.request(WEBSOCKET, end=False)
            conversation.client.reset_stream(stream_id)
            await conversation.flush()
        app.listen.set()
        assert conversation.goodbyes() == []


async def test_padding_on_a_websocket_is_given_back_at_once(conversing):
    app = Listening()
    app.listen.set()
    async with conversing(app) as conversation:
        stream_id = await conversation.request(WEBSOCKET, end=False)
        conversation.client.send_data(stream_id, b"", pad_length=99)
        await conversation.flush()

        assert given_back(conversation)[stream_id] == 100
