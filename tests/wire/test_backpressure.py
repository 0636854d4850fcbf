"""
Bytes flow: nobody runs ahead of a client that stopped reading, and nothing is taken that no handler
asked for.
"""

from __future__ import annotations

from tests.peers.client import settled
from tests.wire.servers import OURS, USUAL, Server, on_each_worker

pytestmark = on_each_worker

MIB = 1024 * 1024


def test_a_producer_stays_close_to_a_client_that_stopped_reading(server: Server, key: str) -> None:
    with server.connect(receive_buffer=64 * 1024) as connection:
        connection.request("GET", f"/flood/{key}")
        connection.head()
        taken = settled(lambda: server.ask("GET", f"/progress/{key}").json())

        # trio has the kernel hold little back that was not sent (TCP_NOTSENT_LOWAT); elsewhere this
        # is the kernel's buffer.
        assert (
            0
            < taken
            <= (1 if server.kind == "hypercorn-trio" else 4.5 if server.kind in USUAL else 6) * MIB
        )

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
        connection.push(MIB if server.kind in OURS else 6 * MIB)

        assert server.application.memory_info().rss - before < 8 * MIB

        server.ask("GET", f"/release/{key}")
        answer = connection.answer()
        assert (answer.status, answer.body, answer.complete) == (200, b"released", True)
        assert answer.headers["connection"] == "close"
        assert connection.at_end()
    server.event(key, "deferred")
