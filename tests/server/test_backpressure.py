"""Bytes flow: nobody runs ahead of a client that stopped reading, and nothing is taken that no handler asked for."""

from __future__ import annotations

import contextlib
import socket

from tests.server.client import Connection, settled
from tests.server.servers import Server, on_each_worker

pytestmark = on_each_worker

MIB = 1024 * 1024


def push(connection: Connection, most: int) -> None:
    """Send until the server has taken nothing for 0.3 s; it may not take more than *most* bytes."""
    sent = 0
    # What waits in the client's own kernel was not taken by the server: keep it small.
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    connection.socket.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while True:
            sent += connection.socket.send(bytes(64 * 1024))
            assert sent <= most, "the server takes what nobody reads"
    connection.socket.settimeout(10)


def test_a_producer_stays_close_to_a_client_that_stopped_reading(server: Server, key: str) -> None:
    with server.connect(receive_buffer=64 * 1024) as connection:
        connection.request("GET", f"/flood/{key}")
        connection.head()
        taken = settled(lambda: server.ask("GET", f"/progress/{key}").json())

        # trio has the kernel hold little back that was not sent (TCP_NOTSENT_LOWAT); elsewhere this is the kernel's buffer.
        assert 0 < taken <= (1 if server.kind == "hypercorn-trio" else 4.5) * MIB

        read = 0
        while read < taken + 2 * MIB:
            read += len(connection.chunk() or b"")
        assert server.ask("GET", f"/progress/{key}").json() >= read - 64 * 1024

    assert server.event(key, "cancelled")["reason"] == "gone"


def test_an_echo_answers_each_chunk_before_the_next_is_sent(server: Server) -> None:
    with server.connect() as connection:
        connection.request("POST", "/echo", transfer_encoding="chunked")
        status = None
        for sent in (b"one", b"two", b"three"):
            connection.send_chunk(sent)
            status = status or connection.head()[0]
            assert connection.chunk() == sent
        connection.send_chunk(b"")

        assert status == 200
        assert connection.chunk() == b""
        assert connection.ask("GET", "/hello").body == b"hello"


def test_an_upload_that_nobody_reads_is_held_back(server: Server, key: str) -> None:
    with server.connect() as connection:
        before = server.application.memory_info().rss
        connection.request("POST", f"/hold/{key}", content_length=200 * MIB)
        server.event(key, "started")
        push(connection, 6 * MIB)

        assert server.application.memory_info().rss - before < 8 * MIB

        server.ask("GET", f"/release/{key}")
        answer = connection.answer()
        assert (answer.status, answer.body, answer.complete) == (200, b"released", True)
        assert answer.headers["connection"] == "close"
        assert connection.at_end()
    server.event(key, "deferred")
