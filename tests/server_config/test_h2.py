"""One connection of HTTP/2 between the socket and the application: frames in, frames out, without either end."""

import importlib
from contextlib import asynccontextmanager

import anyio
import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from anyio.lowlevel import checkpoint
from h2.errors import ErrorCodes
from hypercorn.events import Closed, RawData
from hypercorn.typing import ConnectionState

from nardis.errors import FieldError
from nardis.server import Config
from nardis.server._hypercorn.connection import Service, run_app
from nardis.server._hypercorn.h2 import H2
from nardis.server._hypercorn.inbox import Inbox

pytestmark = pytest.mark.anyio

REQUEST = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")]
WEBSOCKET = [
    (":method", "CONNECT"), (":scheme", "http"), (":authority", "localhost"), (":path", "/"), (":protocol", "websocket"),
    ("sec-websocket-version", "13"),
]  # fmt: skip


async def settled():
    """Let all tasks run until they wait for what only a test does: anyio's own way to wait for that takes a tenth of a second."""
    for _ in range(30):
        await checkpoint()


class Tasks:
    """What hypercorn has for each event loop, on any."""

    def __init__(self, service, group):
        self._service = service
        self._group = group

    def spawn(self, function, *args):
        self._group.start_soon(function, *args)

    async def spawn_app(self, app, config, scope, send):
        inbox = Inbox()
        self.spawn(run_app, self._service, scope, inbox, send)
        return inbox.put


class Conversation:
    """A client, and the connection that serves it; `said` is what the server said, as events of h2."""

    def __init__(self, service, context, group, window):
        self.said = []
        self.closings = 0
        self.group = group
        self.server = H2(
            service.app, service.settings, context, Tasks(service, group), ConnectionState({}), False, None, None,
            self._send, service.config,
        )  # fmt: skip
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        if window is not None:
            initial = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            self.client.local_settings = h2.settings.Settings(client=True, initial_values=initial)
        self.client.initiate_connection()

    async def _send(self, event):
        if isinstance(event, RawData):
            self.said += self.client.receive_data(event.data)
        elif isinstance(event, Closed):
            self.closings += 1
            await self.server.handle(Closed())

    async def flush(self):
        """Let the server hear what the client has to say, and do what comes of it."""
        await self.server.handle(RawData(self.client.data_to_send()))
        await settled()

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
    """Give what opens a conversation with an application."""
    context = importlib.import_module(f"hypercorn.{anyio_backend_name}.worker_context").WorkerContext

    @asynccontextmanager
    async def conversing(app, *, window=None, **settings):
        service = Service(app, Config(**settings))
        with anyio.fail_after(10):
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


# --- the end of a connection --------------------------------------------------------------------------------------------


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
async def test_what_is_no_http2_is_answered_by_a_goaway_and_ends_the_connection(conversing, garbage):
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


# --- what is sent -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [b"six", b"-6", b"6.0", b""])
async def test_a_content_length_that_is_no_number_is_an_error_of_the_application_and_not_sent(conversing, length):
    raised = []

    async def app(scope, receive, send):
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
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

        kinds = (h2.events.DataReceived, h2.events.TrailersReceived, h2.events.StreamEnded, h2.events.StreamReset)
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
    """After `write_stall_s`; the application's send returns, and it learns that the client is gone."""
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


# --- what arrives -------------------------------------------------------------------------------------------------------


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
            assert [event.delta for event in conversation.heard(h2.events.WindowUpdated)] == 2 * [len(piece)] * bool(piece)
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
