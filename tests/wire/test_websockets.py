"""WebSockets on each worker, over HTTP/1.1 and HTTP/2: who hears what when one ends."""

from __future__ import annotations

import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import BytesMessage, CloseConnection, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

from tests.peers.client import Connection, close_by_reset, eventually
from tests.peers.h2client import H2Client
from tests.peers.raw_app import KIB, MIB
from tests.peers.wsclient import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    WebSocketH1,
    WebSocketH2,
    close_frame,
    frame,
    websocket_head,
    websocket_request,
)
from tests.wire.servers import OURS, Server, Sharing, serving

TARGET = "tests.peers.raw_app:app"

NO_ERROR = 0x0  # RFC 9113 §7
MESSAGE_BYTES = 16 * MIB

# RFC 6455 §7.4.1
GOING_AWAY, PROTOCOL_ERROR, NO_STATUS, VANISHED, NOT_TEXT, TOO_BIG, INTERNAL_ERROR, RESTART = (
    1001, 1002, 1005, 1006, 1007, 1009, 1011, 1012,
)  # fmt: skip

ENOUGH = (CLOSE, struct.pack("!H", 4000) + b"enough")

over = pytest.mark.parametrize("over", [WebSocketH1, WebSocketH2], ids=["h1", "h2"])
Over = type[WebSocketH1] | type[WebSocketH2]


@pytest.fixture(params=OURS)
def running(request: pytest.FixtureRequest, shared: Sharing) -> Server:
    return shared(request.param, target=TARGET)


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    """Our server, which has nothing to say of what a client does."""
    with running.silent():
        yield running


@pytest.fixture(params=OURS)
def compressing(request: pytest.FixtureRequest, shared: Sharing) -> Server:
    return shared(request.param, "--ws-compression", target=TARGET)


def heard(server: Server, key: str) -> tuple[int, str]:
    """Give the code and the reason that an application heard; no reason is an empty one."""
    message = server.event(key, "disconnect")
    assert message["type"] == "websocket.disconnect"
    assert message.get("reason") != "", "a reason that is none is left out"
    return message["code"], message.get("reason", "")


@contextmanager
def beside_another(server: Server, key: str) -> Iterator[H2Client]:
    """Give a connection of HTTP/2 on which another stream runs, which must go on."""
    with H2Client(server.port) as client:
        other = client.streams[client.request("GET", f"/tick/{key}-other")]
        client.until(lambda: other.body)
        yield client
        ticks = other.body.count(b"\n") + 3
        client.until(lambda: other.body.count(b"\n") > ticks)
        assert other.reset is None


# --- the client closes ----------------------------------------------------------------------------

codes = pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1000, ""),
        (GOING_AWAY, ""),
        (1003, "no bytes"),
        (NOT_TEXT, "not text"),
        (RESTART, ""),
        (1014, "upstream"),
        (3000, ""),
        (4001, "bye"),
        (4999, "zażółć"),
        (4002, 123 * "x"),
    ],
)


@over
@codes
def test_the_application_hears_the_code_and_the_reason_of_the_client(
    server: Server, key: str, over: Over, code: int, reason: str
):
    with over(server.port, key) as websocket:
        websocket.send_raw(close_frame(code, reason))

        assert heard(server, key) == (code, reason)
        assert websocket.said() == [(CLOSE, struct.pack("!H", code) + reason.encode())]


@over
def test_the_application_hears_1005_where_the_client_gave_no_code(
    server: Server, key: str, over: Over
):
    with over(server.port, key) as websocket:
        websocket.send_raw(frame(CLOSE))

        assert heard(server, key) == (NO_STATUS, "")
        assert websocket.said() == [(CLOSE, b"")]


@over
def test_a_close_comes_after_all_messages_and_nothing_after_it(
    server: Server, key: str, over: Over
):
    with over(server.port, key, "listens") as websocket:
        fragments = frame(TEXT, b"th", first=0) + frame(PING, b"?") + frame(CONTINUATION, b"ree")
        behind = frame(TEXT, b"late") + close_frame(4002) + b"\xff\xff\xff"
        websocket.send_raw(
            frame(TEXT, b"one") + frame(BINARY, b"22") + fragments + close_frame(4001) + behind
        )
        server.event(key, "started")
        server.ask("GET", f"/release/{key}")

        assert server.event(key, "took")["messages"] == ["one", 2, "three"]
        assert heard(server, key) == (4001, "")
        assert websocket.said()[-1] == (CLOSE, struct.pack("!H", 4001))


@over
def test_what_comes_behind_a_close_by_itself_is_ignored_as_well(
    server: Server, key: str, over: Over
):
    with over(server.port, key) as websocket:
        websocket.send_raw(close_frame(4001))
        websocket.send_raw(frame(TEXT, b"late"))
        websocket.send_raw(close_frame(4002) + b"\xff\xff\xff")

        assert heard(server, key) == (4001, "")
        assert websocket.said() == [(CLOSE, struct.pack("!H", 4001))]


@over
def test_a_close_ends_a_message_that_is_not_whole(server: Server, key: str, over: Over):
    with over(server.port, key) as websocket:
        websocket.send_raw(frame(TEXT, b"hal", first=0) + close_frame(4001))

        assert heard(server, key) == (4001, "")


@over
def test_a_close_may_come_byte_by_byte(server: Server, key: str, over: Over):
    with over(server.port, key) as websocket:
        for byte in close_frame(4001, "slowly"):
            websocket.send_raw(bytes([byte]))

        assert heard(server, key) == (4001, "slowly")
        assert websocket.said() == [(CLOSE, struct.pack("!H", 4001) + b"slowly")]


@over
def test_an_application_that_sends_on_after_the_close_is_not_disturbed(
    server: Server, key: str, over: Over
):
    with over(server.port, key, "pours") as websocket:
        websocket.next()
        websocket.send(CloseConnection(4001))

        assert heard(server, key) == (4001, "")


@over
@pytest.mark.parametrize("reset", [False, True], ids=["by FIN", "by RST"])
def test_a_close_is_heard_of_a_client_that_leaves_with_it(
    server: Server, key: str, over: Over, reset: bool
):
    """
    Also where the application notices first, because it cannot send any more; that is a matter of
    chance.
    """
    for number in range(15):
        with over(server.port, f"{key}-{number}", "gushes") as websocket:
            websocket.socket.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
            )  # else a reset may overtake the Close
            websocket.send_raw(close_frame(GOING_AWAY))
            if reset:
                close_by_reset(websocket.socket)
    for number in range(15):
        assert heard(server, f"{key}-{number}") == (GOING_AWAY, "")


# --- the client breaks a rule ---------------------------------------------------------------------

BROKEN = {
    "a Close frame with half a code": (frame(CLOSE, b"\x03"), PROTOCOL_ERROR),
    **{
        f"code {code}": (close_frame(code), PROTOCOL_ERROR)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65535)
    },
    "a reason that is no text": (frame(CLOSE, b"\x0f\xa1\xff"), NOT_TEXT),
    "a text that is none": (frame(TEXT, b"\xff"), NOT_TEXT),
    "a text that ends within a character": (frame(TEXT, b"\xc3"), NOT_TEXT),
    "fragments that are no text together": (
        frame(TEXT, b"\xc3", first=0) + frame(CONTINUATION, b"("),
        NOT_TEXT,
    ),
    "no mask": (frame(TEXT, b"a", masked=False), PROTOCOL_ERROR),
    **{
        f"reserved bit {bit:#x}": (frame(TEXT, b"a", first=0x80 | bit), PROTOCOL_ERROR)
        for bit in (0x40, 0x20, 0x10)
    },
    **{f"opcode {opcode:#x}": (frame(opcode), PROTOCOL_ERROR) for opcode in (0x3, 0x7, 0xB, 0xF)},
    "a Ping in fragments": (frame(PING, b"a", first=0), PROTOCOL_ERROR),
    "a Close in fragments": (frame(CLOSE, b"", first=0), PROTOCOL_ERROR),
    "a Ping that is too long": (frame(PING, bytes(126)), PROTOCOL_ERROR),
    "a continuation of nothing": (frame(CONTINUATION, b"a"), PROTOCOL_ERROR),
    "a message within another": (frame(TEXT, b"a", first=0) + frame(TEXT, b"b"), PROTOCOL_ERROR),
    "a length in two bytes that one would hold": (b"\x81\xfe\x00\x05" + bytes(9), PROTOCOL_ERROR),
    "a length in eight bytes that two would hold": (
        b"\x81\xff" + (5).to_bytes(8, "big") + bytes(9),
        PROTOCOL_ERROR,
    ),
    "a length beyond 63 bits": (b"\x81\xff\x80" + bytes(16), PROTOCOL_ERROR),
}

broken = pytest.mark.parametrize(("data", "code"), BROKEN.values(), ids=BROKEN)


@over
@broken
def test_a_broken_rule_is_answered_by_one_close_frame(
    server: Server, key: str, over: Over, data: bytes, code: int
):
    with over(server.port, key) as websocket:
        websocket.send_raw(data + frame(PING, b"ignored") + close_frame(4001))

        [(opcode, payload)] = websocket.said()
        assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", code))
        assert heard(server, key) == (code, payload[2:].decode())
        assert payload[2:], "the reason says which rule"


def test_a_broken_rule_ends_its_stream_of_http2_alone(server: Server, key: str):
    with beside_another(server, key) as client:
        one, other = (
            WebSocketH2(server.port, key, client=client),
            WebSocketH2(server.port, f"{key}-good", client=client),
        )
        one.send_raw(frame(0x3))

        assert heard(server, key)[0] == PROTOCOL_ERROR
        assert one.said()[0][0] == CLOSE
        client.until(lambda: one.stream.reset is not None)
        assert one.stream.reset == NO_ERROR, "what it still sends is for nobody"
        other.send(TextMessage("untouched"))
        assert other.next() == TextMessage("untouched")


def test_a_broken_rule_at_the_end_of_a_stream_is_answered_as_well(server: Server, key: str):
    with WebSocketH2(server.port, key) as websocket:
        websocket.client.h2.send_data(websocket.id, frame(0x3), end_stream=True)
        websocket.client.flush()

        assert [opcode for opcode, _ in websocket.said()] == [CLOSE]
        assert heard(server, key)[0] == PROTOCOL_ERROR
        websocket.client.ping()
        assert websocket.stream.reset is None, "both halves have ended"


TOO_MUCH = {
    "in one frame": frame(BINARY, bytes(MESSAGE_BYTES + 1))[:KIB],
    "in two": frame(BINARY, bytes(KIB), first=0)
    + frame(CONTINUATION, bytes(MESSAGE_BYTES - KIB + 1))[:KIB],
}


@over
@pytest.mark.parametrize("data", TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_message_that_is_too_big_ends_with_1009_on_both_sides(
    server: Server, key: str, over: Over, data: bytes
):
    """Before it is here: by the length that the head of its last frame declares."""
    with over(server.port, key) as websocket:
        websocket.send_raw(data)

        [(opcode, payload)] = websocket.said()
        assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", TOO_BIG))
        assert heard(server, key) == (TOO_BIG, payload[2:].decode())


@over
def test_a_message_of_the_largest_size_passes(server: Server, key: str, over: Over):
    with over(server.port, key) as websocket:
        websocket.send(BytesMessage(bytes(MESSAGE_BYTES)))

        assert websocket.next() == TextMessage(str(MESSAGE_BYTES))


def test_tiny_messages_that_nobody_reads_wait_in_the_window_and_are_heard_in_order(
    server: Server, key: str
):
    tiny, sent = b"".join(frame(TEXT, b"%d" % number) for number in range(100_000)), 0
    with beside_another(server, key) as client:
        websocket = WebSocketH2(server.port, key, "listens", client)
        server.event(key, "started")
        while room := client.room(websocket.id):
            websocket.send_raw(tiny[sent : sent + room])
            sent += room
            client.ping()
        server.ask("GET", f"/release/{key}")
        client.until(lambda: client.room(websocket.id))
        websocket.end()

        messages = server.event(key, "took")["messages"]
        assert 256 * KIB <= sent < 512 * KIB
        assert messages == [str(number) for number in range(len(messages))]
        assert heard(server, key) == (VANISHED, "")


@pytest.mark.parametrize("way", ["end", "reset"])
def test_a_close_that_waits_behind_messages_is_heard_before_the_end_of_its_stream(
    server: Server, key: str, way: str
):
    tiny = 3000 * frame(TEXT, b"x")
    with beside_another(server, key) as client:
        websocket = WebSocketH2(server.port, key, "listens", client)
        server.event(key, "started")
        websocket.send_raw(tiny + close_frame(4001, "behind"))
        getattr(websocket, way)()
        client.ping()
        server.ask("GET", f"/release/{key}")

        assert server.event(key, "took")["messages"] == 3000 * ["x"]
        assert heard(server, key) == (4001, "behind")


# --- the client vanishes --------------------------------------------------------------------------


@over
@pytest.mark.parametrize("way", ["end", "reset"])
@pytest.mark.parametrize(
    "last", [b"", frame(TEXT, b"half")[:-2]], ids=["between frames", "within a frame"]
)
def test_the_application_hears_1006_of_a_client_that_vanished(
    server: Server, key: str, over: Over, way: str, last: bytes
):
    with over(server.port, key, "listens") as websocket:
        websocket.send_raw(frame(TEXT, b"before") + last)
        server.event(key, "started")
        getattr(websocket, way)()
        server.ask("GET", f"/release/{key}")

        assert heard(server, key) == (VANISHED, "")
        if way == "end":
            assert server.event(key, "took")["messages"] == ["before"]
            assert websocket.said() == []


def test_the_end_of_a_connection_of_http2_is_1006_for_all_its_websockets(server: Server, key: str):
    with H2Client(server.port) as client:
        for number in range(3):
            WebSocketH2(server.port, f"{key}-{number}", client=client)
    for number in range(3):
        assert heard(server, f"{key}-{number}") == (VANISHED, "")


def test_the_end_of_a_stream_without_a_close_ends_it_alone(server: Server, key: str):
    with beside_another(server, key) as client:
        websocket = WebSocketH2(server.port, key, client=client)
        websocket.end()

        assert heard(server, key) == (VANISHED, "")
        assert websocket.said() == []
        client.ping()
        assert websocket.stream.reset is None


def test_a_stream_that_ends_before_the_handshake_was_answered_is_refused(server: Server, key: str):
    with beside_another(server, key) as client:
        stream_id = client.send_headers(websocket_head(f"/undecided/{key}"), end=False)
        server.event(key, "asked")
        client.h2.end_stream(stream_id)
        client.flush()

        assert heard(server, key) == (VANISHED, "")
        answer = client.answer(stream_id)
        assert (answer.status, answer.ended) == (400, True)


def test_a_stream_that_ends_during_a_denial_gets_all_of_it(server: Server, key: str):
    with beside_another(server, key) as client:
        stream_id = client.send_headers(websocket_head(f"/denied/{key}"), end=False)
        stream = client.streams[stream_id]
        client.until(lambda: stream.body)
        client.h2.end_stream(stream_id)
        client.ping()
        server.ask("GET", f"/release/{key}")

        answer = client.answer(stream_id)
        assert (answer.status, answer.body, answer.ended) == (403, b"not here", True)


# --- the application closes -----------------------------------------------------------------------


@over
@codes
def test_an_application_that_closed_hears_what_the_client_answers(
    server: Server, key: str, over: Over, code: int, reason: str
):
    with over(server.port, key, "closes") as websocket:
        server.event(key, "closed")
        websocket.send_raw(frame(TEXT, b"before") + close_frame(code, reason))

        assert heard(server, key) == (code, reason)
        assert server.event(key, "took")["messages"] == ["before"]
        assert websocket.said() == [ENOUGH]


@over
def test_an_application_that_closed_hears_1005_of_an_answer_without_a_code(
    server: Server, key: str, over: Over
):
    with over(server.port, key, "closes") as websocket:
        server.event(key, "closed")
        websocket.send_raw(frame(CLOSE))

        assert heard(server, key) == (NO_STATUS, "")
        assert websocket.said() == [ENOUGH]


@over
@pytest.mark.parametrize("way", ["end", "reset"])
def test_an_application_that_closed_hears_1006_if_there_is_no_answer(
    server: Server, key: str, over: Over, way: str
):
    with over(server.port, key, "closes") as websocket:
        assert isinstance(websocket.next(), CloseConnection)
        getattr(websocket, way)()

        assert heard(server, key) == (VANISHED, "")


@over
def test_a_broken_rule_after_our_close_is_heard_and_not_answered(
    server: Server, key: str, over: Over
):
    with over(server.port, key, "closes") as websocket:
        server.event(key, "closed")
        websocket.send_raw(frame(0x3))

        assert heard(server, key)[0] == PROTOCOL_ERROR
        assert websocket.said() == [ENOUGH]


def answered_close(websocket: WebSocketH1 | WebSocketH2) -> int:
    """Read to the Close frame of the server and answer it, which is the end; return its code."""
    said = iter(websocket.next, None)
    code = next(each.code for each in said if isinstance(each, CloseConnection))
    websocket.send_raw(close_frame(code))
    assert websocket.at_end()
    return code


@over
def test_an_application_that_returns_leaves_1011_behind(server: Server, key: str, over: Over):
    with over(server.port, key, "leaves") as websocket:
        websocket.send_raw(frame(PING, b"?") + frame(TEXT))

        assert answered_close(websocket) == INTERNAL_ERROR


@over
def test_a_code_that_is_none_is_the_applications_fault_and_1011(
    running: Server, key: str, over: Over
):
    with over(running.port, key, "closes-badly") as websocket:
        assert answered_close(websocket) == INTERNAL_ERROR


# --- what the protocol says by itself -------------------------------------------------------------


@over
def test_pings_are_answered_while_the_application_reads_nothing(
    server: Server, key: str, over: Over
):
    with over(server.port, key, "listens") as websocket:
        websocket.send_raw(frame(PING, b"there?"))
        server.event(key, "started")
        pong = websocket.next()
        server.ask("GET", f"/release/{key}")

        assert getattr(pong, "payload", None) == b"there?"


@over
def test_a_pong_that_was_not_asked_for_is_taken_no_notice_of(server: Server, key: str, over: Over):
    with over(server.port, key) as websocket:
        websocket.send_raw(frame(PONG, b"by itself") + frame(TEXT, b"echo"))

        assert websocket.next() == TextMessage("echo")


def test_a_shut_window_of_one_websocket_does_not_stop_its_connection(server: Server, key: str):
    """
    The client hears the last Pong and the Close frame when it opens its window; the application
    need not wait for that.
    """
    with H2Client(server.port, window=0) as client:
        websocket = WebSocketH2(server.port, key, client=client)
        for number in range(5):
            websocket.send_raw(frame(PING, b"%d" % number))
            client.ping()
        assert client.ask("GET", "/status/204").status == 204
        client.open_window(64, websocket.id)
        client.until(lambda: websocket.stream.body.endswith(b"4"))
        websocket.send_raw(close_frame(4001))

        assert heard(server, key) == (4001, "")
        assert websocket.said() == [(PONG, b"0"), (PONG, b"4"), (CLOSE, struct.pack("!H", 4001))]


def test_frames_do_not_mix_where_the_window_divides_them(server: Server, key: str):
    """An answer to a Ping waits for the message that is on its way."""
    with H2Client(server.port, window=0) as client:
        websocket = WebSocketH2(server.port, key, client=client)
        websocket.send_raw(frame(TEXT, b"a message"))
        client.open_window(3, websocket.id)
        client.until(lambda: len(websocket.stream.body) == 3)
        websocket.send_raw(frame(PING, b"?"))
        client.ping()
        client.open_window(64, websocket.id)
        client.until(lambda: websocket.stream.body.endswith(b"?"))
        websocket.send_raw(close_frame(4001))

        assert websocket.said() == [
            (TEXT, b"a message"),
            (PONG, b"?"),
            (CLOSE, struct.pack("!H", 4001)),
        ]


def test_a_client_that_vanished_gets_no_answer(server: Server, key: str):
    with beside_another(server, key) as client:
        websocket = WebSocketH2(server.port, key, client=client)
        client.h2.send_data(websocket.id, frame(PING, b"?") + close_frame(4001))
        client.h2.reset_stream(websocket.id)
        client.flush()

        assert heard(server, key) == (4001, "")


# --- compression ----------------------------------------------------------------------------------


@pytest.mark.parametrize("parameter", ["client_max_window_bits=many", "server_max_window_bits="])
def test_an_offer_of_compression_that_cannot_be_read_is_declined(
    compressing: Server, key: str, parameter: str
):
    with compressing.connect() as connection:
        connection.send(websocket_request(f"/websocket/{key}", f"permessage-deflate; {parameter}"))
        status, fields = connection.head()
        connection.send(close_frame(4001))

        assert status == 101
        assert "sec-websocket-extensions" not in fields
        assert heard(compressing, key) == (4001, "")


def test_nothing_is_compressed_unless_the_server_is_told_to(server: Server, key: str):
    with server.connect() as connection:
        connection.send(websocket_request(f"/websocket/{key}", "permessage-deflate"))

        assert "sec-websocket-extensions" not in connection.head()[1]


def test_an_offer_of_compression_that_can_be_read_is_taken(compressing: Server, key: str):
    with compressing.connect() as connection:
        client = WSConnection(ConnectionType.CLIENT)
        connection.send(
            client.send(Request("localhost", f"/websocket/{key}", extensions=[PerMessageDeflate()]))
        )
        while not list(client.events()):
            client.receive_data(connection.socket.recv(KIB))
        connection.send(client.send(TextMessage(KIB * "x")))
        text = ""
        while len(text) < KIB:
            data = connection.socket.recv(KIB)
            assert len(data) < KIB
            client.receive_data(data)
            text += "".join(event.data for event in client.events())
        connection.send(client.send(CloseConnection(4001)))

        assert text == KIB * "x"
        assert heard(compressing, key) == (4001, "")


def test_compressed_data_that_is_none_is_refused(compressing: Server, key: str):
    with compressing.connect() as connection:
        connection.send(websocket_request(f"/websocket/{key}", "permessage-deflate"))
        assert "sec-websocket-extensions" in connection.head()[1]
        connection.send(frame(TEXT, b"\xff\xff\xff", first=0xC0))

        assert connection.take(4)[2:] == struct.pack("!H", NOT_TEXT)
        assert heard(compressing, key)[0] == NOT_TEXT


# --- the handshake is denied ----------------------------------------------------------------------


def raw_head(connection: Connection) -> list[bytes]:
    """Read the head of a response, line by line, in small letters."""
    return [line.lower() for line in iter(connection.line, b"")]


def status_line(status: int) -> bytes:
    return f"http/1.1 {status} {HTTPStatus(status).phrase}".lower().encode()


def connection_fields(head: list[bytes]) -> list[bytes]:
    return [line.partition(b":")[2].strip() for line in head if line.startswith(b"connection:")]


DENIALS = {
    "by a close": ("deny", 403),
    "by a response": ("denied-with-fields", 403),
    "by an application that fails": ("never", 500),
    "by an application that accepts what was not offered": ("accepts-unasked", 500),
    "by an application that accepts with a broken field": ("accepts-wrongly", 500),
}

denials = pytest.mark.parametrize(("what", "status"), DENIALS.values(), ids=DENIALS)


@denials
def test_a_denial_says_that_the_connection_closes(
    running: Server, key: str, what: str, status: int
):
    with running.connect() as connection:
        connection.send(websocket_request(f"/{what}/{key}"))
        head = raw_head(connection)
        connection.take(2)

        assert head[0] == status_line(status)
        assert connection_fields(head) == [b"close"]
        assert connection.at_end()


def test_a_denial_in_pieces_says_that_the_connection_closes(server: Server, key: str):
    with server.connect() as connection:
        connection.send(websocket_request(f"/denied/{key}"))
        head = raw_head(connection)
        server.event(key, "started")
        server.ask("GET", f"/release/{key}")

        assert connection_fields(head) == [b"close"]
        assert [connection.chunk() for _ in range(3)] == [b"not ", b"here", b""]
        assert connection.at_end()


@denials
def test_a_denial_over_http2_says_nothing_of_the_connection(
    running: Server, key: str, what: str, status: int
):
    with beside_another(running, key) as client:
        stream_id = client.send_headers(websocket_head(f"/{what}/{key}"), end=False)
        answer = client.answer(stream_id)
        client.until(lambda: answer.reset is not None)

        assert (answer.status, answer.ended, answer.reset) == (status, True, NO_ERROR)
        assert answer.headers is not None
        assert "connection" not in answer.headers


REFUSALS = {
    "for its version": (b"Version: 13", b"Version: 12", 426),
    "for a field that is not ASCII": (
        b"\r\n\r\n",
        b"\r\nSec-WebSocket-Protocol: \xff\r\n\r\n",
        400,
    ),
    "for its key": (b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: x", 400),
    "for its content": (b"\r\n\r\n", b"\r\nContent-Length: 8\r\n\r\n", 400),
    "for its content in chunks": (b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "for content that it announces": (b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n", 400),
}


@pytest.mark.parametrize(("found", "instead", "status"), REFUSALS.values(), ids=REFUSALS)
def test_a_refused_handshake_says_why_and_that_the_connection_closes(
    server: Server, key: str, found: bytes, instead: bytes, status: int
):
    """A client of another version is told which is spoken (RFC 6455 §4.4)."""
    with server.connect() as connection:
        connection.send(websocket_request(f"/websocket/{key}").replace(found, instead))
        head = raw_head(connection)
        wrong_version = [b"sec-websocket-version: 13", b"upgrade: websocket"]
        options = [b"close", b"upgrade"] if status == 426 else [b"close"]

        assert head[0] == status_line(status)
        assert sorted(connection_fields(head)) == options
        assert [line for line in head if line in wrong_version] == wrong_version * (status == 426)
        assert connection.line().endswith(b"\n")
        assert connection.at_end()


def test_a_list_in_several_fields_of_a_handshake_is_one(server: Server, key: str):
    """RFC 9110 §5.3, RFC 6455 §11.3.4; a Content-Length of 0 is no content."""
    with server.connect() as connection:
        connection.send(
            websocket_request(f"/accepts-unasked/{key}").replace(
                b"\r\n\r\n",
                b"\r\nConnection: keep-alive\r\nSec-WebSocket-Protocol: unasked"
                b"\r\nContent-Length: 0\r\nSec-WebSocket-Protocol: wake\r\n\r\n",
            )
        )
        head = raw_head(connection)

        assert head[0] == status_line(101)
        assert b"sec-websocket-protocol: unasked" in head


def test_a_list_in_several_fields_of_a_handshake_over_http2_is_one(server: Server, key: str):
    with beside_another(server, key) as client:
        offers = [("sec-websocket-protocol", each) for each in ("unasked", "wake")]
        fields = websocket_head(f"/accepts-unasked/{key}", *offers)
        answer = client.streams[client.send_headers(fields, end=False)]
        client.until(lambda: answer.headers is not None)

        assert answer.status == 200
        assert answer.headers is not None
        assert answer.headers["sec-websocket-protocol"] == "unasked"


def test_a_refused_handshake_over_http2_says_nothing_of_the_connection(server: Server, key: str):
    """Nor is it a 426, which has to; but it says which version is spoken (RFC 6455 §4.4)."""
    with beside_another(server, key) as client:
        fields = [
            (name, "12" if name == "sec-websocket-version" else value)
            for name, value in websocket_head("/websocket/x")
        ]
        answer = client.answer(client.send_headers(fields, end=False))

        assert (answer.status, answer.ended) == (400, True)
        assert answer.headers is not None
        assert answer.headers["sec-websocket-version"] == "13"
        assert "connection" not in answer.headers


def test_a_method_in_small_letters_opens_no_websocket_past_the_rules(server: Server, key: str):
    with beside_another(server, key) as client:
        answer = client.streams[client.request("connect", f"/websocket/{key}", end=False)]
        client.until(lambda: answer.reset is not None)

        assert answer.status is None


# --- the server ends ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OURS)
def test_handshakes_during_a_shutdown_say_once_what_becomes_of_the_connection(
    kind: str, tmp_path: Path
):
    with serving(kind, tmp_path, "--drain", "5", "--graceful", "6", target=TARGET) as server:
        asked = ["deny/a", "denied-with-fields/b", "websocket/c", "websocket/d"]
        connections = [server.connect() for _ in asked]
        for connection, path in zip(connections, asked, strict=True):
            connection.send(websocket_request(f"/{path}")[:20])  # it may take its time
        eventually(lambda: server.ask("GET", "/hello").status == 200)
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: not server.listens())
        heads = []
        for connection, path in zip(connections, asked, strict=True):
            rest = websocket_request(f"/{path}")[20:]
            connection.send(
                rest.replace(b"Version: 13", b"Version: 12") if path == "websocket/d" else rest
            )
            heads.append(raw_head(connection))
        connections[2].send(close_frame(4001))

        assert [head[0].split()[1] for head in heads] == [b"403", b"403", b"101", b"426"]
        assert [connection_fields(head) for head in heads] == [
            [b"close"],
            [b"close"],
            [b"upgrade"],
            [b"upgrade", b"close"],
        ]
        assert heard(server, "c") == (4001, "")
        for connection in connections:
            connection.close()
        assert server.process.wait(20) == 0, server.log()


@pytest.mark.parametrize("kind", OURS)
def test_a_shutdown_tells_each_websocket_also_those_that_are_stuck(kind: str, tmp_path: Path):
    """Also an application that goes on sending, which is no fault of it."""
    with serving(kind, tmp_path, "--drain", "0.2", "--graceful", "2", target=TARGET) as server:
        with (
            H2Client(server.port, window=0) as client,
            WebSocketH1(server.port, "one", "pours") as lively,
        ):
            for key in ("two", "three"):
                WebSocketH2(server.port, key, "pours", client)
            lively.next()
            server.process.send_signal(signal.SIGTERM)
            for key in ("one", "two", "three"):
                assert heard(server, key) == (RESTART, "the server restarts")
            while not isinstance(event := lively.next(), CloseConnection):
                assert event == TextMessage("drop")
            assert event.code == RESTART
        assert server.process.wait(20) == 0, server.log()
        assert "Traceback" not in server.log()
