"""`h2_uploads`: an upload that nobody reads holds up no other stream."""

from __future__ import annotations

import hashlib
from contextlib import suppress

import psutil
import pytest
from hyperframe.frame import DataFrame
from wsproto.events import TextMessage

from tests.peers.h2client import H2Client, Stream
from tests.peers.raw_app import KIB, MIB, block
from tests.peers.wsclient import WebSocketH2
from tests.wire.cures.scenes import beside_another
from tests.wire.cures.stock import CAN_GO, FAULT_S
from tests.wire.servers import Server


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
    with WebSocketH2(server.port, key) as websocket:
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
