"""
The promises over HTTP/2: what they are on a connection of one request, they are on each stream of
many.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h2.errors
import pytest

from tests.peers.client import settled
from tests.peers.h2client import H2Client
from tests.wire.servers import CHOSEN, OURS, Server, Sharing, on

MIB = 1024 * 1024

on_ours = on(*OURS)


@contextmanager
def speaking(server: Server, **options: Any) -> Iterator[H2Client]:
    with H2Client(server.port, **options) as client:
        client.ping()  # who does not speak HTTP/2 fails here, and not after all that is waited for
        yield client


@on_ours
def test_http2_is_spoken_in_the_clear(server: Server) -> None:
    with speaking(server) as client:
        first, second = client.request("GET", "/pieces"), client.request("GET", "/hello")

        assert client.answer(first).body == b"one two three"
        assert client.answer(second).body == b"hello"


@on_ours
def test_http2_a_producer_stays_close_to_a_shut_window(server: Server, key: str) -> None:
    with speaking(server, window=64 * 1024, credit=False) as client:
        flood = client.request("GET", f"/flood/{key}")
        client.until(lambda: client.streams[flood].body)

        assert settled(lambda: server.ask("GET", f"/progress/{key}").json()) <= MIB

    assert server.event(key, "cancelled")["reason"] == "gone"


@on_ours
def test_http2_an_upload_that_nobody_reads_holds_up_no_other_stream(
    server: Server, key: str
) -> None:
    with speaking(server) as client:
        upload = client.request("POST", f"/hold/{key}", end=False)
        server.event(key, "started")
        for _ in range(30):  # more pieces than the queue of any server takes
            client.send_body(upload, bytes(1000), end=False)

        assert client.ask("GET", "/hello").body == b"hello"
        server.ask("GET", f"/release/{key}")
        assert client.answer(upload).body == b"released"
    assert server.comes_to_rest()


@on_ours
def test_http2_an_echo_answers_each_piece_before_the_next_is_sent(server: Server) -> None:
    with speaking(server) as client:
        echo = client.request("POST", "/echo", end=False)
        stream = client.streams[echo]
        for sent in (b"one", b"onetwo", b"onetwothree"):
            client.send_body(echo, sent[len(stream.body) :], end=False)
            assert client.until(lambda sent=sent: stream.body == sent)
        client.send_body(echo, b"")

        assert client.answer(echo).ended


@on_ours
def test_http2_an_expectation_is_met_by_the_first_read(server: Server, key: str) -> None:
    with speaking(server) as client:
        upload = client.request("POST", f"/limited/{key}", [("expect", "100-continue")], end=False)
        stream = client.streams[upload]
        client.until(lambda: stream.interim)
        client.send_body(upload, b"body")

        assert (client.answer(upload).body, stream.interim) == (b"4", [100])


@on_ours
def test_http2_an_expectation_is_not_met_by_a_refusal(server: Server, key: str) -> None:
    with speaking(server) as client:
        fields = [("expect", "100-continue"), ("content-length", str(64 * MIB))]
        answer = client.answer(client.request("POST", f"/limited/{key}", fields, end=False))

        assert (answer.status, answer.interim) == (413, [])


@pytest.mark.parametrize("path", ["wait", "tick", "flood"])
@on_ours
def test_http2_a_handler_is_cancelled_when_its_stream_is(
    server: Server, key: str, path: str
) -> None:
    with speaking(server) as client:
        stream = client.request("GET", f"/{path}/{key}")
        server.event(key, "started")
        client.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        left = time.monotonic()
        client.flush()

        cancelled = server.event(key, "cancelled")
        assert cancelled["reason"] == "gone"
        assert cancelled["at"] - left < 0.2, "at once, and not at the next look of the sweeper"
        server.event(key, "deferred")
        assert client.ask("GET", "/hello").body == b"hello"
    assert server.comes_to_rest()


@pytest.mark.parametrize("path", ["/raise", "/raise-declared"])
@on_ours
def test_http2_a_failed_response_is_reset(server: Server, path: str) -> None:
    with speaking(server) as client:
        stream = client.ask("GET", path)

        assert (stream.status, stream.ended) == (200, False)
        assert stream.reset
        assert client.ask("GET", "/hello").body == b"hello"


@pytest.mark.parametrize("kind", CHOSEN or OURS)
def test_trailers_follow_a_body(kind: str, shared: Sharing) -> None:
    with speaking(shared(kind, target="tests.peers.raw_app:app")) as client:
        stream = client.ask("GET", "/trailed", [("te", "trailers")])

        assert (stream.body, stream.ended) == (b"body", True)
        assert stream.trailers == {"x-sum": "4"}
