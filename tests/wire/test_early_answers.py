"""Answers that leave before the request body has arrived."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from tests.peers.client import Connection
from tests.wire.servers import OURS, Server, on

MIB = 1024 * 1024
SIZE = 64 * MIB


def send_until_refused(connection: Connection, data: bytes) -> None:
    """
    Send *data* over and over until the server refuses to take more, at most four times what it
    should; read nothing.
    """
    with contextlib.suppress(ConnectionError):
        for _ in range(
            4 * SIZE // len(data)
        ):  # pragma: no branch  # no server of the usual ones takes so much
            connection.send(data)


def test_a_413_for_a_declared_length_is_readable_by_a_client_that_keeps_sending(
    server: Server, key: str
) -> None:
    with server.connect() as connection:
        connection.request("POST", f"/limited/{key}", content_length=SIZE)
        send_until_refused(connection, bytes(MIB))
        answer = connection.answer()

        assert (answer.status, answer.complete) == (413, True)
        assert answer.headers["connection"] == "close"
        assert connection.at_end()
    assert server.comes_to_rest()


def test_a_413_while_streaming_is_readable_by_a_client_that_keeps_sending(
    server: Server, key: str
) -> None:
    with server.connect() as connection:
        connection.request("POST", f"/limited/{key}", transfer_encoding="chunked")
        send_until_refused(connection, b"10000\r\n" + bytes(0x10000) + b"\r\n")
        answer = connection.answer()

        assert (answer.status, answer.complete) == (413, True)
        assert answer.headers["connection"] == "close"
        assert connection.at_end()
    assert server.comes_to_rest()


def test_a_413_reaches_a_client_that_waits_for_it(server: Server, key: str) -> None:
    with server.connect() as connection:
        answer = connection.ask("POST", f"/limited/{key}", content_length=SIZE)

        assert (answer.status, answer.complete) == (413, True)
        assert connection.at_end()
    assert server.comes_to_rest()


def test_a_body_up_to_the_limit_passes(server: Server, key: str) -> None:
    with server.connect() as connection:
        assert connection.ask("POST", f"/limited/{key}", bytes(MIB)).json() == MIB
        assert connection.ask("GET", "/hello").body == b"hello"


def test_an_expectation_is_refused_before_the_body_is_sent(server: Server, key: str) -> None:
    with server.connect() as connection:
        connection.request("POST", f"/limited/{key}", content_length=SIZE, expect="100-continue")
        answer = connection.final_answer()

        assert (answer.status, answer.complete) == (413, True)
        assert connection.interim == []
        assert connection.at_end()
    assert server.comes_to_rest()


@on("uvicorn-h11")
def test_an_expectation_is_not_met_by_waiting(server: Server, key: str) -> None:
    """uvicorn says 100 at the first receive(): watching for the client to leave must not be one."""
    with server.connect() as connection:
        connection.request("POST", f"/hold/{key}", content_length=SIZE, expect="100-continue")
        server.event(key, "started")
        time.sleep(0.6)  # longer than it takes until an exchange is watched
        server.ask("GET", f"/release/{key}")

        assert connection.final_answer().body == b"released"
        assert connection.interim == []
    assert server.comes_to_rest()


def test_an_expectation_is_met_by_the_first_read(server: Server, key: str) -> None:
    with server.connect() as connection:
        connection.request("POST", f"/limited/{key}", content_length=4, expect="100-continue")
        assert connection.head()[0] == 100
        connection.send(b"body")

        assert connection.answer().json() == 4
        assert connection.ask("GET", "/hello").body == b"hello"


def test_an_expectation_is_met_once(server: Server, key: str) -> None:
    with server.connect() as connection:
        connection.request("POST", f"/limited/{key}", content_length=4, expect="100-continue")
        assert connection.socket.recv(1, socket.MSG_PEEK)  # it speaks first
        connection.send(b"body")

        assert connection.final_answer().json() == 4
        assert connection.interim == [100]


@on(*OURS)
def test_who_does_not_wait_for_it_is_not_invited(server: Server, key: str) -> None:
    """The body comes with the head, and the handler reads it."""
    with server.connect() as connection:
        connection.request("POST", f"/limited/{key}", b"body", expect="100-continue")

        assert connection.final_answer().json() == 4
        assert connection.interim == []


@pytest.mark.parametrize("size", [100, 64 * 1024])
def test_a_small_body_that_nobody_read_does_not_cost_the_connection(
    server: Server, size: int
) -> None:
    with server.connect() as connection:
        for _ in range(3):
            answer = connection.ask("POST", "/unread", bytes(size))
            assert (answer.status, answer.body, answer.complete) == (200, b"not read", True)
            assert "connection" not in answer.headers


@on(*OURS)
def test_an_answer_is_there_for_who_sends_first_and_reads_then(server: Server) -> None:
    """
    The bound on what is dropped of a body ends nothing: the socket is held for its time, and what
    is sent fails nowhere.
    """
    with server.connect(timeout_s=0.3) as connection:
        connection.request("POST", "/unread", content_length=64 * MIB)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < SIZE:  # pragma: no branch  # the system never takes so much
                sent += connection.socket.send(bytes(64 * 1024))
        assert sent > 4 * MIB
        connection.socket.settimeout(20)
        assert connection.answer().body == b"not read"


@on(*OURS)
@pytest.mark.parametrize("size", [5, 100_000])
def test_the_refusal_of_a_body_that_was_never_asked_for_says_that_it_closes(
    server: Server, size: int
) -> None:
    """RFC 9112 §9.6: the client may send the body or not, and nobody can tell what comes next."""
    with server.connect() as connection:
        connection.request("POST", "/unread", content_length=size, expect="100-continue")
        answer = connection.answer()

        assert (answer.status, answer.headers.get("connection")) == (200, "close")
        assert connection.at_end()
