"""
Each cure of nardis/server/hypercorn: the same scenario on our server, which passes, and on stock hypercorn, which has the fault.

When a test of the stock server fails, hypercorn has been cured itself, and the module that the message names can go.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

import h2.exceptions
import psutil
import pytest
from hyperframe.frame import DataFrame, RstStreamFrame, WindowUpdateFrame
from wsproto.events import CloseConnection, TextMessage

from tests.peers.client import Connection, eventually
from tests.peers.h2client import Ended, H2Client, Stream
from tests.peers.raw_app import KIB, MIB, block
from tests.peers.wsclient import (
    BINARY,
    CLOSE,
    TEXT,
    WebSocketH1,
    WebSocketH2,
    close_frame,
    frame,
    websocket_head,
    websocket_request,
)
from tests.wire.servers import LEAKS, OURS, ROOT, Server, serving

TARGET = "tests.peers.raw_app:app"

NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL = 0x0, 0x2, 0x7, 0x8  # RFC 9113 §7
SERVICE_RESTART = 1012

GLUED = b"\x81\x82\x00\x00\x00\x00hi"  # a text message of a WebSocket
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets

CAN_GO = "stock hypercorn does it right: this cure in nardis/server/hypercorn can go: "

# How long a fault is given to be none.
FAULT_S = 0.5


def happens(condition: Callable[[], object], within_s: float = FAULT_S) -> bool:
    """Tell whether *condition* comes true in a time that a fault gets."""
    with suppress(AssertionError):
        return bool(eventually(condition, within_s))
    return False


# --- the servers --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=OURS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Our server, with its defaults."""
    with serving(request.param, tmp_path_factory.mktemp(request.param), target=TARGET) as running:
        yield running
        assert running.stop() == 0, running.log()
        assert not LEAKS.search(running.log())


@pytest.fixture(scope="module", params=OURS)
def strict(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Our server, without HTTP/2 and with little patience."""
    options = ("--no-http2", "--write-stall", "0.5")
    with serving(
        request.param, tmp_path_factory.mktemp(request.param), *options, target=TARGET
    ) as running:
        yield running
        assert running.stop() == 0, running.log()


@contextmanager
def stock(worker: str, directory: Path, *options: str) -> Iterator[Server]:
    """Run hypercorn as it comes; in one process, unless it has to heed SIGTERM, which takes `--workers 1`."""
    command = [
        sys.executable,
        "-m",
        "hypercorn",
        "-k",
        worker,
        "--bind",
        "127.0.0.1:0",
        "--workers",
        "0",
        *options,
        TARGET,
    ]
    # It will be killed: what coverage measures in it would be left half-written.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")
    }
    environment["NARDIS_OBSERVED"] = str(directory / "observed")
    with (
        open(directory / "log", "wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log) as process,
    ):
        try:
            yield Server(f"stock-{worker}", process, directory)
        finally:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()


@pytest.fixture(scope="module")
def stock_trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests that it survives."""
    with stock("trio", tmp_path_factory.mktemp("trio")) as running:
        yield running


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Server]:
    """One for a test that it does not survive, or not without harm."""
    with stock("trio", tmp_path) as running:
        yield running


def pseudo(method: str, path: str | bytes) -> list[tuple[str, str | bytes]]:
    """Give the fields without which there is no request in HTTP/2."""
    return [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)]


def serves(server: Server) -> bool:
    """Tell whether a new client is answered."""
    url = f"http://127.0.0.1:{server.port}/hello"
    with suppress(OSError, HTTPException), urlopen(url, timeout=0.5) as answer:
        return bool(answer.read() == b"hello")
    return False


# --- inbox: what waits unread -------------------------------------------------------------------------------------------


def leave_an_upload(server: Server, key: str, chunks: int, *, reset: bool) -> None:
    """Send a part of an upload that is read slowly, and leave."""
    with server.connect() as connection:
        connection.request("POST", f"/slow/{key}", transfer_encoding="chunked")
        server.event(key, "started")
        for _ in range(chunks):
            connection.send_chunk(bytes(5 * KIB))
        if reset:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    server.ask("GET", f"/release/{key}")


# As much as there is room for before the server's kernel shuts the window: a FIN comes after the data, a reset does not.
leaving = pytest.mark.parametrize(
    ("chunks", "reset"), [(48, False), (400, True)], ids=["by FIN", "by RST"]
)


@leaving
def test_inbox_tells_of_a_disconnect_behind_an_unread_upload(
    server: Server, key: str, chunks: int, reset: bool
):
    leave_an_upload(server, key, chunks, reset=reset)

    assert server.event(key, "gone")["after"] <= 2


def test_inbox_of_stock_hides_a_disconnect_behind_an_unread_upload(stock_trio: Server, key: str):
    leave_an_upload(stock_trio, key, 48, reset=False)

    stock_trio.event(key, "took 3")
    assert not stock_trio.observed(key).get("gone"), CAN_GO + "inbox"


def answer_over_an_upload(server: Server, key: str) -> bytes:
    """Have a request answered whose body lies unread, and give the answer."""
    with server.connect() as connection:
        connection.request("POST", f"/unread/{key}", bytes(MIB))
        server.event(key, "started")
        server.ask("GET", f"/release/{key}")
        return connection.answer().body


def test_inbox_lets_a_last_send_return_over_an_unread_upload(server: Server, key: str):
    assert answer_over_an_upload(server, key) == b"not read"
    assert server.event(key, "returned")


def test_inbox_of_stock_hangs_in_the_last_send_over_an_unread_upload(stock_trio: Server, key: str):
    assert answer_over_an_upload(stock_trio, key) == b"not read"
    assert not happens(lambda: stock_trio.observed(key).get("returned")), CAN_GO + "inbox"


def ask_after_the_disconnect(server: Server, key: str) -> object:
    """Give what a second `receive()` after the disconnect gives; None is nothing."""
    with server.connect() as connection:
        connection.request("GET", f"/twice/{key}")
        server.event(key, "started")
    return server.event(key, "asked again")["answer"]


def test_inbox_repeats_the_disconnect(server: Server, key: str):
    assert ask_after_the_disconnect(server, key) == {"type": "http.disconnect"}


def test_inbox_of_stock_says_nothing_after_the_disconnect(stock_trio: Server, key: str):
    assert ask_after_the_disconnect(stock_trio, key) is None, CAN_GO + "inbox"


# --- connection: faults are contained -----------------------------------------------------------------------------------


def meet_a_fault(server: Server, key: str) -> None:
    """Let the task that reads one connection raise."""
    with server.connect() as connection:
        connection.request("POST", f"/fault/{key}", content_length=5)
        server.event(key, "armed")
        connection.send(b"fatal")
        while not connection.at_end():  # after a 500, on asyncio
            connection.take(KIB)


def test_connection_contains_a_fault(server: Server, key: str):
    with server.connect() as other:
        other.request("GET", f"/tick/{key}-other")
        other.head()

        meet_a_fault(server, key)

        for number in range(int(server.ask("GET", f"/progress/{key}-other").body) + 2):
            assert other.chunk() == b"%d\n" % number
    assert "a fault ended a connection" in server.log()


def test_connection_of_stock_ends_the_worker_by_a_fault(doomed: Server, key: str):
    meet_a_fault(doomed, key)

    assert happens(lambda: not serves(doomed)), CAN_GO + "connection"


# --- the workers: readers that stall or leave ---------------------------------------------------------------------------


@contextmanager
def stalled_reader(server: Server, path: str, key: str) -> Iterator[Connection]:
    """Ask for 256 MiB and read nothing."""
    with server.connect(receive_buffer=64 * KIB) as connection:
        connection.request("GET", f"{path}/{key}")
        eventually(lambda: int(server.ask("GET", f"/progress/{key}").body))
        yield connection


def test_workers_let_an_application_give_up_a_stalled_write(server: Server, key: str):
    with stalled_reader(server, "/hurry", key):
        assert server.event(key, "gave up")


def test_trio_worker_of_stock_shields_a_stalled_write(stock_trio: Server, key: str):
    with stalled_reader(stock_trio, "/hurry", key):
        assert not happens(lambda: stock_trio.observed(key).get("gave up"), 0.8), (
            CAN_GO + "trio_worker"
        )


def test_workers_end_a_stalled_write_by_themselves(strict: Server, key: str):
    with stalled_reader(strict, "/flood", key) as connection:
        assert strict.event(key, "ended")
        with pytest.raises(ConnectionResetError):
            while connection.socket.recv(MIB):
                pass


@pytest.mark.parametrize("kind", OURS)
def test_workers_end_in_time_with_a_stalled_reader(kind: str, tmp_path: Path, key: str):
    with serving(kind, tmp_path, "--drain", "0.3", "--graceful", "1", target=TARGET) as server:
        with stalled_reader(server, "/flood", key):
            server.process.send_signal(signal.SIGTERM)

            assert server.process.wait(1 + 1) == 0, server.log()
        assert server.observed(key)["ended"]
        assert "Traceback" not in server.log()


def test_workers_of_stock_do_not_end_with_a_stalled_reader(tmp_path: Path, key: str):
    (tmp_path / "trio").mkdir()
    (tmp_path / "asyncio").mkdir()
    shutting = ("--workers", "1", "--graceful-timeout", "1")
    with (
        stock("trio", tmp_path / "trio", *shutting) as first,
        stock("asyncio", tmp_path / "asyncio", *shutting) as second,
    ):
        with stalled_reader(first, "/flood", key), stalled_reader(second, "/flood", key):
            first.process.send_signal(signal.SIGTERM)
            second.process.send_signal(signal.SIGTERM)

            assert not happens(lambda: first.process.poll() is not None, 1.5), (
                CAN_GO + "trio_worker"
            )
            assert second.process.poll() is None, CAN_GO + "asyncio_worker"


def leave_a_writer(server: Server, key: str) -> str:
    """Leave an application that writes on, and give what was logged meanwhile."""
    logged = len(server.log())
    with server.connect() as connection:
        connection.request("GET", f"/heedless/{key}")
        connection.head()
        assert connection.chunk() == b"first"
    server.event(key, "wrote")
    return server.log()[logged:]


def test_workers_say_nothing_of_writes_to_a_client_that_left(server: Server, key: str):
    assert leave_a_writer(server, key) == ""


def test_asyncio_worker_of_stock_warns_of_each_write_to_a_client_that_left(
    tmp_path: Path, key: str
):
    with stock("asyncio", tmp_path) as running:
        assert leave_a_writer(running, key).count("socket.send() raised exception") > 50, (
            CAN_GO + "asyncio_worker"
        )


# --- protocol: which HTTP -----------------------------------------------------------------------------------------------


def upgrade_to_h2c(server: Server, settings: str) -> int:
    """Ask for an upgrade to HTTP/2, and give the status of the answer; 0 is none."""
    with server.connect() as connection:
        connection.request(
            "GET",
            "/hello",
            connection="Upgrade, HTTP2-Settings",
            upgrade="h2c",
            http2_settings=settings,
        )
        return connection.head()[0] if not connection.at_end() else 0


def begin_with_http2(server: Server) -> int | None:
    """Speak HTTP/2 by prior knowledge, and give the status of the answer."""
    with H2Client(server.port) as client, suppress(Ended, h2.exceptions.ProtocolError):
        return client.ask("GET", "/hello").status
    return None


def test_protocol_serves_http2_by_default(server: Server):
    assert upgrade_to_h2c(server, "AAMAAABkAAQAAP__") == 101
    assert begin_with_http2(server) == 200


def test_protocol_can_do_without_http2(strict: Server):
    assert upgrade_to_h2c(strict, "AAMAAABkAAQAAP__") == 200
    assert begin_with_http2(strict) is None
    with strict.connect() as connection:
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert connection.head()[0] == 505
        assert connection.at_end()


def test_protocol_of_stock_speaks_http2_whatever_it_is_told(tmp_path: Path):
    (tmp_path / "config.toml").write_text('alpn_protocols = ["http/1.1"]\n')
    with stock("trio", tmp_path, "--config", str(tmp_path / "config.toml")) as running:
        assert upgrade_to_h2c(running, "AAMAAABkAAQAAP__") == 101, CAN_GO + "protocol"
        assert begin_with_http2(running) == 200, CAN_GO + "protocol"


@pytest.mark.parametrize("settings", ["!!notbase64", "AAM", "AAIAAAAC", "AAUAAAAA"])
def test_protocol_ignores_an_upgrade_that_it_cannot_read(server: Server, settings: str):
    assert upgrade_to_h2c(server, settings) == 200


def test_protocol_ignores_an_upgrade_of_what_http2_would_refuse(server: Server):
    fields = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"
    with server.connect() as connection:
        connection.send(
            b"GET http://localhost/hello HTTP/1.1\r\nhost: localhost\r\n" + fields + b"\r\n"
        )
        assert connection.head()[0] >= 200


def test_protocol_takes_no_upgrade_by_a_preface_that_is_none(server: Server):
    logged = len(server.unusual())
    fields = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAIAAAAC\r\n"
    with server.connect() as connection:
        connection.send(b"PRI /hello HTTP/1.1\r\nhost: localhost\r\n" + fields + b"\r\n")
        assert connection.head()[0] >= 200
    assert server.unusual()[logged:] == []


def test_h1_makes_nobody_a_tunnel(server: Server):
    """An application that answered CONNECT with 200 would fail in its own body, at the client's will."""
    logged = len(server.unusual())
    with server.connect() as connection:
        connection.send(b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n")
        assert connection.head()[0] == 501
    assert server.unusual()[logged:] == []


def test_protocol_of_stock_ends_the_worker_by_an_upgrade_that_it_cannot_read(doomed: Server):
    upgrade_to_h2c(doomed, "!!notbase64")

    assert happens(lambda: not serves(doomed)), CAN_GO + "protocol"


# --- h1 -----------------------------------------------------------------------------------------------------------------


def send_head(server: Server, size: int) -> int:
    """Send a request head of *size* bytes, and give the status of the answer."""
    with server.connect() as connection:
        connection.request("GET", "/hello", x=(size - 60) * "x")
        return connection.head()[0]


@pytest.mark.parametrize("size", [70 * KIB, 40 * KIB, 33 * KIB])
def test_h1_refuses_a_head_that_is_too_large(server: Server, size: int):
    assert send_head(server, size) == 431


def test_h1_takes_a_head_within_the_limit(server: Server):
    assert send_head(server, 31 * KIB) == 200


def test_h1_of_stock_takes_a_head_beyond_its_limit(stock_trio: Server):
    """The limit is 16 KiB; it is held only where the head comes in several pieces, which cannot be helped here."""
    assert any(send_head(stock_trio, 40 * KIB) == 200 for _ in range(5)), CAN_GO + "h1"


def speak_before_the_handshake(server: Server, key: str) -> int:
    """Send a WebSocket message glued to its handshake, and give the status of the answer; 0 is none."""
    with server.connect() as connection:
        connection.send(ws_upgrade(key) + GLUED)
        return connection.head()[0] if not connection.at_end() else 0


def ws_upgrade(key: str, what: str = "websocket") -> bytes:
    return websocket_request(f"/{what}/{key}")


def test_h1_refuses_a_message_glued_to_the_handshake(server: Server, key: str):
    assert speak_before_the_handshake(server, key) == 400
    assert server.event(key, "disconnect")["code"] == 1006


@pytest.mark.parametrize(
    "field",
    [
        b"connection: Upgrade, \xff",
        b"sec-websocket-protocol: \xff",
        b"sec-websocket-extensions: \xff",
    ],
)
def test_h1_refuses_a_handshake_that_is_not_ascii(server: Server, key: str, field: bytes):
    head, _, rest = ws_upgrade(key).partition(b"\r\n")
    with server.connect() as connection:
        connection.send(head + b"\r\n" + field + b"\r\n" + rest)
        assert connection.head()[0] == 400


def test_h1_refuses_a_bad_handshake_with_a_message_glued_to_it(server: Server, key: str):
    logged = len(server.unusual())
    with server.connect() as connection:
        connection.send(ws_upgrade(key).replace(b"Sec-WebSocket-Key", b"X") + GLUED)
        assert connection.head()[0] == 400
        assert connection.at_end()
    assert server.unusual()[logged:] == []


def test_h1_finishes_a_denial_whatever_is_said_meanwhile(server: Server, key: str):
    logged = len(server.unusual())
    with server.connect() as connection:
        connection.send(ws_upgrade(key, "denied"))
        assert connection.head()[0] == 403
        assert connection.chunk() == b"not "
        connection.send(GLUED)
        server.ask("GET", f"/release/{key}")
        assert connection.chunk() == b"here"
        assert connection.chunk() == b""
    assert server.unusual()[logged:] == []


def test_h1_of_stock_ends_the_worker_by_a_message_glued_to_the_handshake(doomed: Server, key: str):
    """It does so only where the application is not as quick as the next turn of the loop, about each second time."""

    def dies() -> bool:
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", doomed.port), timeout=0.5) as connection,
        ):
            connection.sendall(ws_upgrade(key) + GLUED)
            connection.recv(KIB)
        return not serves(doomed)

    assert happens(dies, 5), CAN_GO + "h1"


def read_a_cut_body(server: Server) -> bytes:
    """Read, in HTTP/1.0, a body that an exception cut, to what looks like its regular end."""
    received = b""
    with server.connect() as connection:
        connection.send(b"GET /fail HTTP/1.0\r\n\r\n")
        while data := connection.socket.recv(MIB):
            received += data
    return received


def test_h1_resets_a_body_that_only_the_end_of_the_connection_would_end(server: Server):
    with pytest.raises(ConnectionResetError):
        read_a_cut_body(server)


def test_h1_of_stock_ends_a_cut_body_as_if_it_were_whole(stock_trio: Server):
    assert read_a_cut_body(stock_trio).endswith(b"half"), CAN_GO + "h1"


# --- h2_window ----------------------------------------------------------------------------------------------------------


def taken(server: Server, key: str) -> int:
    """Give how much was taken of what the application offers, as soon as that grows no more."""
    last, same = -1, 0
    while same < 20 and last < 32 * MIB:
        now = int(server.ask("GET", f"/progress/{key}").body)
        last, same = now, same + 1 if now == last else 0
    return last


def test_h2_window_holds_the_application_while_it_is_shut(server: Server, key: str):
    process = psutil.Process(server.process.pid)
    server.ask("GET", "/hello")
    rss, fds = process.memory_info().rss, process.num_fds()
    with H2Client(server.port, window=0) as client:
        client.request("GET", f"/flood/{key}")
        client.ping()

        assert taken(server, key) <= MIB
        assert process.memory_info().rss - rss < 8 * MIB
    assert server.event(key, "ended")
    eventually(lambda: process.num_fds() <= fds)
    assert process.memory_info().rss - rss < 8 * MIB


def test_h2_window_of_stock_fills_memory_while_it_is_shut(doomed: Server, key: str):
    process = psutil.Process(doomed.process.pid)
    rss = process.memory_info().rss
    with H2Client(doomed.port, window=0) as client:
        client.request("GET", f"/flood/{key}")
        client.ping()

        assert taken(doomed, key) > 8 * MIB, CAN_GO + "h2_window"
        assert process.memory_info().rss - rss > 8 * MIB, CAN_GO + "h2_window"


def test_h2_window_lets_everything_through_in_order_when_it_opens(server: Server):
    with H2Client(server.port, window=0, credit=False) as client:
        one, other = client.request("GET", "/blocks/12"), client.request("GET", "/blocks/6")
        client.ping()
        assert client.streams[one].body == client.streams[other].body == b""
        step = 1
        while not (client.streams[one].ended and client.streams[other].ended):
            for stream_id in (one, other):
                if not client.streams[stream_id].ended:
                    client.open_window(step, stream_id)
            client.open_window(2 * step)
            client.ping()
            step = min(2 * step + 1, 128 * KIB)
        assert client.streams[one].body == b"".join(map(block, range(12)))
        assert client.streams[other].body == b"".join(map(block, range(6)))


def test_h2_window_lets_a_send_return_when_the_client_leaves(server: Server, key: str):
    """Also of an application that looks at nothing but its sends."""
    with H2Client(server.port, window=0) as client:
        stream = client.streams[client.request("GET", f"/blocks/{key}-12")]
        client.until(lambda: stream.status)
    assert server.event(f"{key}-12", "returned")


@pytest.mark.parametrize("kind", OURS)
def test_h2_window_ends_a_stream_that_stalls_and_none_that_is_slow(
    kind: str, tmp_path: Path, key: str
):
    """However long a piece takes: the application sends 64 KiB at once, and the client takes byte after byte."""
    with (
        serving(kind, tmp_path, "--write-stall", "0.5", target=TARGET) as server,
        H2Client(server.port, window=0, credit=False) as client,
    ):
        slow_id, begun = client.request("GET", f"/flood/{key}-slow"), time.monotonic()
        stalled_id = client.request("GET", f"/flood/{key}-stalled")
        slow, stalled = client.streams[slow_id], client.streams[stalled_id]
        while stalled.reset is None or time.monotonic() - begun < 1.5:
            taken = len(slow.body)
            client.open_window(1)
            client.open_window(1, slow_id)
            client.until(lambda taken=taken: len(slow.body) > taken)

        assert (stalled.reset, stalled.body) == (CANCEL, b"")
        assert server.event(f"{key}-stalled", "ended")
        assert slow.reset is None
        assert client.answer(slow_id).reset == CANCEL  # it has stopped
        assert len(slow.body) < 64 * KIB
        assert server.stop() == 0, server.log()


# --- h2_honesty ---------------------------------------------------------------------------------------------------------


@contextmanager
def beside_another(server: Server, key: str) -> Iterator[H2Client]:
    """Give a connection on which another stream runs, which must go on."""
    with H2Client(server.port) as client:
        other = client.streams[client.request("GET", f"/tick/{key}")]
        client.until(lambda: other.body)
        yield client
        ticks = other.body.count(b"\n") + 3
        client.until(lambda: other.body.count(b"\n") > ticks)
        assert other.body.split(b"\n")[:ticks] == [b"%d" % number for number in range(ticks)]


def test_h2_honesty_resets_a_failed_response(server: Server, key: str):
    with beside_another(server, key) as client:
        assert client.ask("GET", "/fail") == Stream(
            200, client.streams[3].headers, b"half", False, INTERNAL_ERROR
        )


@pytest.mark.parametrize("size", [0, 7, 9])
def test_h2_honesty_resets_a_body_that_is_not_as_long_as_declared(
    server: Server, key: str, size: int
):
    with beside_another(server, key) as client:
        answer = client.ask("GET", f"/declared/{size}")

        assert answer.reset == INTERNAL_ERROR
        assert not answer.ended


def test_h2_honesty_sends_no_field_with_a_line_end(server: Server, key: str):
    with beside_another(server, key) as client:
        answer = client.ask("GET", "/line-end")

        assert (answer.status, answer.body, answer.ended) == (500, b"", True)
        assert "x-injected" not in str(answer.headers)


def test_h2_honesty_tells_a_client_to_stop_uploading_after_a_whole_answer(server: Server, key: str):
    with beside_another(server, key) as client:
        stream_id = client.request("POST", "/early", end=False)
        answer = client.streams[stream_id]
        client.until(lambda: answer.reset is not None)

        assert (answer.status, answer.body, answer.ended, answer.reset) == (
            200,
            b"early",
            True,
            NO_ERROR,
        )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("HEAD", "/declared/8", 200), ("HEAD", "/declared/0", 200), ("GET", "/status/204", 204), ("GET", "/declared/8", 200),
     ("GET", "/status/304", 304), ("POST", "/hello", 200)],
)  # fmt: skip
def test_h2_honesty_leaves_honest_responses_alone(
    server: Server, key: str, method: str, path: str, status: int
):
    with beside_another(server, key) as client:
        answer = client.ask(method, path)
        client.ping()

        assert (answer.status, answer.ended, answer.reset) == (status, True, None)


def test_h2_honesty_says_nothing_of_a_response_to_a_stream_that_was_reset(server: Server):
    logged = len(server.unusual())
    with H2Client(server.port) as client:
        for _ in range(10):
            stream_id = client.h2.get_next_available_stream_id()
            client.h2.send_headers(stream_id, pseudo("HEAD", "/hello"), end_stream=True)
            client.h2.reset_stream(stream_id)
        client.ping()
        assert client.ask("GET", "/hello").body == b"hello"
    assert server.unusual()[logged:] == []


def test_h2_honesty_of_stock_leaves_a_failed_response_open(stock_trio: Server):
    answer = None
    with H2Client(stock_trio.port, timeout_s=FAULT_S) as client, suppress(TimeoutError):
        answer = client.ask("GET", "/fail")
    assert answer is None, CAN_GO + "h2_honesty"


@pytest.mark.parametrize("path", ["/declared/7", "/declared/9", "/line-end"])
def test_h2_honesty_of_stock_sends_what_is_no_response(stock_trio: Server, path: str):
    answer = None
    with H2Client(stock_trio.port) as client, suppress(h2.exceptions.ProtocolError):
        answer = client.ask("GET", path)
    assert answer is None, CAN_GO + "h2_honesty"


def test_h2_honesty_of_stock_does_not_stop_an_upload(stock_trio: Server):
    with H2Client(stock_trio.port) as client:
        stream_id = client.request("POST", "/early", end=False)
        client.answer(stream_id)
        client.ping()

        assert client.streams[stream_id].reset is None, CAN_GO + "h2_honesty"


# --- h2_frames ----------------------------------------------------------------------------------------------------------


def late_data(client: H2Client) -> None:
    stream_id = client.request("POST", "/early", end=False)
    client.answer(stream_id)
    client.send_frames(DataFrame(stream_id, b"late"))


def connect_without_path(client: H2Client) -> None:
    client.send_headers([(":method", "CONNECT"), (":authority", "localhost")])


def path_beyond_ascii(client: H2Client) -> None:
    client.request("GET", b"/hello/\xff")


def path_beyond_ascii_and_reset(client: H2Client) -> None:
    stream_id = client.h2.get_next_available_stream_id()
    client.h2.send_headers(stream_id, pseudo("GET", b"/\xff"), end_stream=True)
    client.h2.reset_stream(stream_id)
    client.streams[stream_id] = Stream(reset=NO_ERROR)
    client.flush()


def handshake_beyond_ascii(client: H2Client) -> None:
    client.send_headers(
        websocket_head("/websocket/never", ("sec-websocket-protocol", b"\xff")), end=False
    )


def broken_streams(*ways: Callable[[H2Client], None]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("break_a_stream", ways, ids=lambda each: each.__name__)


@broken_streams(
    late_data,
    connect_without_path,
    path_beyond_ascii,
    path_beyond_ascii_and_reset,
    handshake_beyond_ascii,
)
def test_h2_frames_end_their_stream_alone(
    server: Server, key: str, break_a_stream: Callable[[H2Client], None]
):
    with beside_another(server, key) as client:
        break_a_stream(client)

        assert client.ask("GET", "/hello").body == b"hello"
        client.until(lambda: client.streams[3].reset is not None or client.streams[3].status == 400)


def test_h2_frames_reset_a_stream_once(server: Server, key: str):
    """Whatever still comes of an upload that was stopped."""
    with beside_another(server, key) as client:
        stream_id = client.request("POST", "/early", end=False)
        client.until(lambda: client.streams[stream_id].reset is not None)
        client.send_frames(
            *(DataFrame(stream_id, bytes(16 * KIB)) for _ in range(32)),
            WindowUpdateFrame(stream_id, 1),
        )
        client.send_frames(RstStreamFrame(stream_id), DataFrame(stream_id, flags=["END_STREAM"]))
        client.ping()

        assert client.reset_frames == [stream_id]


@broken_streams(late_data, connect_without_path, path_beyond_ascii)
def test_h2_frames_of_stock_end_the_worker(
    doomed: Server, break_a_stream: Callable[[H2Client], None]
):
    with H2Client(doomed.port) as client:
        break_a_stream(client)
        assert client.ends()

    assert happens(lambda: not serves(doomed)), CAN_GO + "h2_frames"


def test_h2_frames_that_come_with_a_goaway_are_no_fault(server: Server):
    logged = len(server.unusual())
    with H2Client(server.port) as client:
        upload, refused = (
            client.request("POST", "/digest", end=False),
            client.h2.get_next_available_stream_id(),
        )
        client.h2.send_headers(refused, pseudo("GET", b"/\xff"), end_stream=True)
        client.h2.send_data(upload, b"last")
        client.h2.close_connection()
        client.socket.sendall(client.h2.data_to_send())
        client.socket.shutdown(socket.SHUT_WR)
        while client.socket.recv(KIB):
            pass
    assert server.ask("GET", "/hello").body == b"hello"
    assert server.unusual()[logged:] == []


def test_h2_websockets_refuse_a_message_before_the_handshake(server: Server, key: str):
    """The application hears that the client is gone, and does not wait for ever."""
    with beside_another(server, f"{key}-other") as client:
        stream_id = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream_id, websocket_head(f"/websocket/{key}"))
        client.h2.send_data(
            stream_id, b"\x88\x80\x00\x00\x00\x00"
        )  # a close: it ends also what was accepted before
        client.flush()
        assert server.event(key, "disconnect")


# --- h2_uploads ---------------------------------------------------------------------------------------------------------


def leave_an_upload_unread(server: Server, client: H2Client, key: str) -> int:
    """Begin an upload that nobody reads, in more pieces than hypercorn's queue takes."""
    stream_id = client.request("POST", f"/hold/{key}", end=False)
    server.event(key, "started")
    for _ in range(30):
        client.send_body(stream_id, b"%01000d" % stream_id, end=False)
    return stream_id


def test_h2_uploads_do_not_block_other_streams(server: Server, key: str):
    upload = b"".join(map(block, range(24)))
    with H2Client(server.port) as client:
        stream_id = leave_an_upload_unread(server, client, key)
        sent = 0
        client.ping()
        while room := min(client.room(stream_id), 16 * KIB):
            client.send_body(stream_id, upload[sent : sent + room], end=False)
            sent += room
            client.ping()
        assert 64 * KIB < sent < MIB

        assert client.ask("GET", "/hello").body == b"hello"
        client.ask("GET", f"/release/{key}")
        client.send_body(stream_id, upload[sent:])

        expected = hashlib.sha256(30 * (b"%01000d" % stream_id) + upload).hexdigest()
        assert client.answer(stream_id).body == expected.encode()


def test_h2_uploads_of_stock_block_other_streams(stock_trio: Server, key: str):
    answer = None
    with H2Client(stock_trio.port, timeout_s=FAULT_S) as client, suppress(TimeoutError):
        leave_an_upload_unread(stock_trio, client, key)
        answer = client.ask("GET", "/hello")
    assert answer is None, CAN_GO + "h2_uploads"


@pytest.mark.parametrize("piece", [16 * KIB, 2 * KIB], ids=["large pieces", "small pieces"])
def test_h2_uploads_wait_for_a_handler_that_is_slower_than_they(server: Server, piece: int):
    """With 200-byte pieces an upload was reset after 5.8 MB, with large ones after 3 to 4 MB."""
    process = psutil.Process(server.process.pid)
    summed = hashlib.sha256()
    with H2Client(server.port) as client:
        stream_id = client.request("POST", "/sluggish", end=False)
        rss = process.memory_info().rss
        for number in range(128):
            data = block(number)
            summed.update(data)
            for start in range(0, len(data), piece):
                client.send_body(stream_id, data[start : start + piece], end=False)
        client.send_body(stream_id, b"")

        assert client.answer(stream_id).body == summed.hexdigest().encode()
        assert process.memory_info().rss - rss < 8 * MIB


def test_h2_uploads_of_tiny_frames_cost_no_more_memory_than_their_bytes(server: Server, key: str):
    process = psutil.Process(server.process.pid)
    with beside_another(server, f"{key}-other") as client:
        stream_id = client.request("POST", f"/hold/{key}", end=False)
        server.event(key, "started")
        rss, stream = process.memory_info().rss, client.streams[stream_id]
        for _ in range(10):
            client.send_frames(*(DataFrame(stream_id, b"x") for _ in range(4096)))
            client.ping()

        assert stream.reset is None
        assert process.memory_info().rss - rss < 4 * MIB
        server.ask("GET", f"/release/{key}")
        client.send_frames(DataFrame(stream_id, flags=["END_STREAM"]))
        assert (
            client.answer(stream_id).body == hashlib.sha256(10 * 4096 * b"x").hexdigest().encode()
        )


def test_h2_uploads_of_nothing_cost_no_memory(server: Server, key: str):
    """Neither empty frames nor padding, of which there may be any number."""
    process = psutil.Process(server.process.pid)
    with H2Client(server.port) as client:
        stream_id = client.request("POST", f"/hold/{key}", end=False)
        server.event(key, "started")
        rss = process.memory_info().rss
        for _ in range(5):
            client.send_frames(*(DataFrame(stream_id) for _ in range(1000)))
            client.send_frames(
                *(DataFrame(stream_id, flags=["PADDED"], pad_length=255) for _ in range(1000))
            )
            client.ping()

        assert process.memory_info().rss - rss < 4 * MIB
        server.ask("GET", f"/release/{key}")
        client.send_frames(DataFrame(stream_id, b"x", flags=["END_STREAM"]))
        assert client.answer(stream_id).body == hashlib.sha256(b"x").hexdigest().encode()


def expect_an_invitation(server: Server, timeout_s: float | None = None) -> Stream:
    """Send a body when the server invites it, and give the answer."""
    with H2Client(server.port, timeout_s=timeout_s) as client:
        stream_id = client.request("POST", "/digest", [("expect", "100-continue")], end=False)
        client.until(lambda: client.streams[stream_id].interim)
        client.send_body(stream_id, b"body")
        return client.answer(stream_id)


def test_h2_uploads_are_invited_by_100_continue(server: Server):
    answer = expect_an_invitation(server)

    assert (answer.interim, answer.body) == ([100], hashlib.sha256(b"body").hexdigest().encode())


def test_h2_uploads_may_be_messages_larger_than_the_window(server: Server, key: str):
    text = "".join(f"{number:08}" for number in range(128 * KIB))
    with WebSocketH2(server, key) as websocket:
        websocket.send(TextMessage(text))
        echo = ""
        while len(echo) < len(text):
            event = websocket.next()
            assert isinstance(event, TextMessage)
            echo += event.data
        assert echo == text


def test_h2_uploads_of_stock_wait_for_100_continue_for_ever(stock_trio: Server):
    answer = None
    with suppress(TimeoutError):
        answer = expect_an_invitation(stock_trio, FAULT_S)
    assert answer is None, CAN_GO + "h2_uploads"


# --- h2: a shutdown is announced ----------------------------------------------------------------------------------------


@contextmanager
def upload_at_the_end(server: Server) -> Iterator[tuple[H2Client, int]]:
    """Give a connection with a running upload, on a server that was asked to end."""
    with H2Client(server.port) as client:
        stream_id = client.request("POST", "/digest", end=False)
        client.send_body(stream_id, b"before", end=False)
        client.ping()
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: not serves(server))
        yield client, stream_id


@pytest.mark.parametrize("kind", OURS)
def test_h2_says_goodbye_refuses_what_is_new_and_ends_what_runs(kind: str, tmp_path: Path):
    with serving(kind, tmp_path, "--drain", "5", "--graceful", "6", target=TARGET) as server:
        with upload_at_the_end(server) as (client, stream_id):
            [goodbye] = client.until(lambda: client.goodbyes)
            assert (goodbye.last_stream_id, goodbye.error_code) == (stream_id, NO_ERROR)

            assert client.ask("GET", "/hello").reset == REFUSED_STREAM

            client.send_body(stream_id, b" and after")
            answer = client.answer(stream_id)
            assert (answer.body, answer.ended) == (
                hashlib.sha256(b"before and after").hexdigest().encode(),
                True,
            )
            assert client.ends()
        assert server.process.wait(5) == 0, server.log()


def test_h2_of_stock_says_no_goodbye(tmp_path: Path):
    with (
        stock("trio", tmp_path, "--workers", "1") as server,
        upload_at_the_end(server) as (client, _),
    ):
        answer = client.ask("GET", "/hello")

        assert answer.reset not in (None, REFUSED_STREAM), CAN_GO + "h2"
        assert not client.goodbyes, CAN_GO + "h2"


# --- websockets; test_websockets.py has all cases -----------------------------------------------------------------------


def end_of_a_websocket(
    server: Server, key: str, last: bytes, over: type[WebSocketH1] | type[WebSocketH2]
) -> object:
    """Send *last*, and give the code that the application hears; None is nothing."""
    with over(server, key) as websocket:
        websocket.send_raw(last) if last else websocket.end()
        if happens(lambda: server.observed(key).get("disconnect")):
            return server.observed(key)["disconnect"]["code"]
    return None


ENDS = {
    "a Close frame": (close_frame(4001), 4001),
    "one without a code": (frame(CLOSE), 1005),
    "a broken rule": (frame(0x3), 1002),
    "a text that is none": (frame(TEXT, b"\xff"), 1007),
}

ends = pytest.mark.parametrize(("last", "code"), ENDS.values(), ids=ENDS)
over = pytest.mark.parametrize("over", [WebSocketH1, WebSocketH2], ids=["h1", "h2"])


@ends
@over
def test_websockets_tell_the_application_how_they_ended(
    server: Server, key: str, last: bytes, code: int, over: type[WebSocketH1] | type[WebSocketH2]
):
    assert end_of_a_websocket(server, key, last, over) == code


@ends
@over
def test_websockets_of_stock_say_that_the_client_vanished(
    stock_trio: Server,
    key: str,
    last: bytes,
    code: int,
    over: type[WebSocketH1] | type[WebSocketH2],
):
    assert end_of_a_websocket(stock_trio, key, last, over) == 1006, CAN_GO + "websockets"


def answer_to_a_broken_rule(server: Server, key: str) -> list[tuple[int, bytes]]:
    with WebSocketH1(server, key) as websocket:
        websocket.send_raw(frame(0x3))
        return websocket.said()


def test_websockets_answer_a_broken_rule(server: Server, key: str):
    assert [opcode for opcode, _ in answer_to_a_broken_rule(server, key)] == [CLOSE]


def test_websockets_of_stock_do_not_answer_a_broken_rule(stock_trio: Server, key: str):
    assert answer_to_a_broken_rule(stock_trio, key) == [], CAN_GO + "websockets"


TOO_BIG = frame(BINARY, bytes(16 * MIB + 1))


def test_websockets_tell_the_application_of_a_message_that_is_too_big(server: Server, key: str):
    assert end_of_a_websocket(server, key, TOO_BIG, WebSocketH1) == 1009


def test_websockets_of_stock_do_not_tell_of_a_message_that_is_too_big(stock_trio: Server, key: str):
    assert end_of_a_websocket(stock_trio, key, TOO_BIG, WebSocketH1) is None, CAN_GO + "websockets"


def offer_compression(server: Server, key: str) -> bool:
    """Offer a compression that cannot be read, and tell whether a WebSocket comes of it."""
    with server.connect() as connection:
        connection.send(
            websocket_request(
                f"/websocket/{key}", "permessage-deflate; client_max_window_bits=many"
            )
        )
        return not connection.at_end() and connection.head()[0] == 101


def test_websockets_decline_a_compression_that_they_cannot_read(server: Server, key: str):
    assert offer_compression(server, key)


def test_websockets_of_stock_end_the_worker_by_a_compression_that_they_cannot_read(
    doomed: Server, key: str
):
    assert not offer_compression(doomed, key), CAN_GO + "websockets"
    assert happens(lambda: not serves(doomed)), CAN_GO + "websockets"


def fields_of_a_denial(server: Server, key: str) -> dict[str, str]:
    with server.connect() as connection:
        connection.send(ws_upgrade(key, "denied-with-nothing"))
        status, fields = connection.head()
        assert status == 403
        assert connection.chunk() == b""
        assert connection.at_end()
        return fields


def test_h1_says_that_the_connection_closes_after_a_denial(server: Server, key: str):
    assert fields_of_a_denial(server, key)["connection"] == "close"


def test_h1_of_stock_closes_without_a_word_after_a_denial(stock_trio: Server, key: str):
    assert "connection" not in fields_of_a_denial(stock_trio, key), CAN_GO + "h1"


# --- h2_websockets ------------------------------------------------------------------------------------------------------


def test_h2_websockets_hear_the_end_of_their_stream(server: Server, key: str):
    assert end_of_a_websocket(server, key, b"", WebSocketH2) == 1006


def test_h2_websockets_of_stock_do_not_hear_the_end_of_their_stream(stock_trio: Server, key: str):
    assert end_of_a_websocket(stock_trio, key, b"", WebSocketH2) is None, CAN_GO + "h2_websockets"


def test_h2_websockets_end_their_stream_after_a_close(server: Server, key: str):
    with WebSocketH2(server, key) as websocket:
        websocket.send_raw(close_frame(4001))
        assert websocket.at_end()


def test_h2_websockets_of_stock_leave_their_stream_open_after_a_close(stock_trio: Server, key: str):
    with WebSocketH2(stock_trio, key) as websocket:
        websocket.send_raw(close_frame(4001))
        assert isinstance(websocket.next(), CloseConnection)
        websocket.client.ping()
        assert not websocket.stream.ended, CAN_GO + "h2_websockets"


# --- websockets at a shutdown -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OURS)
def test_websockets_are_told_of_a_restart(kind: str, tmp_path: Path):
    with serving(kind, tmp_path, "--drain", "0.3", "--graceful", "5", target=TARGET) as server:
        with WebSocketH1(server, "h1") as first, WebSocketH2(server, "h2") as second:
            for websocket in (first, second):
                websocket.send(TextMessage("still there?"))
                assert websocket.next() == TextMessage("still there?")

            server.process.send_signal(signal.SIGTERM)

            for websocket in (first, second):
                close = websocket.next()
                assert isinstance(close, CloseConnection)
                assert close.code == SERVICE_RESTART
                websocket.send(close.response())
                assert websocket.at_end()
            assert server.process.wait(5) == 0, server.log()
        for key in ("h1", "h2"):
            assert server.observed(key)["disconnect"]["code"] == SERVICE_RESTART
        assert "Traceback" not in server.log()


def test_websockets_of_stock_are_cut_without_a_word(tmp_path: Path):
    with (
        stock("trio", tmp_path, "--workers", "1", "--graceful-timeout", "0") as server,
        WebSocketH1(server, "h1") as websocket,
    ):
        server.process.send_signal(signal.SIGTERM)

        assert websocket.next() is None, CAN_GO + "websockets"
        assert "disconnect" not in server.observed("h1"), CAN_GO + "websockets"
