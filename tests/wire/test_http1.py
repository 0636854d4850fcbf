"""HTTP/1.1 of the runner, over real sockets: rules H1 to H5."""

from __future__ import annotations

import hashlib
import socket

import pytest

from tests.peers.raw_app import KIB, MIB
from tests.wire.servers import OURS, Server, Sharing

HELLO = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(params=OURS)
def server(request: pytest.FixtureRequest, shared: Sharing) -> Server:
    return shared(request.param, target="tests.peers.raw_app:app")


def statuses(server: Server, data: bytes) -> list[int]:
    """Send *data*, and give the statuses of the answers until the connection ends."""
    found = []
    with server.connect() as connection:
        connection.send(data)
        connection.socket.shutdown(socket.SHUT_WR)
        while not connection.at_end():
            found.append(connection.answer().status)
    return found


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (b"", [200]),
        (HELLO, [200, 200]),
        (HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + HELLO, [200, 200]),
        (b"GET /hello HTTP/1.0\r\n\r\nnonsense", [200, 200]),
        (b"nonsense\r\n\r\n" + HELLO, [200, 400]),
        (b"GET /hello HTTP/2.0\r\nHost: a\r\n\r\n" + HELLO, [200, 505]),
        (b"GET /hello HTTP/0.9\r\nHost: a\r\n\r\n" + HELLO, [200, 505]),
        (b"GET /hello HTTP/1.1\r\n\r\n" + HELLO, [200, 400]),
        (HELLO.replace(b"localhost", b"local\nhost") + HELLO, [200, 400]),
        (HELLO.replace(b"localhost", b"local\x00host") + HELLO, [200, 400]),
        (b"\r\n\r\n" + HELLO, [200, 200]),
        (b"POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n" + HELLO, [200, 501]),
        (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n" + HELLO, [200, 501]),
    ],
)
def test_what_follows_a_request_keeps_nobody_from_its_answer(
    server: Server, after: bytes, expected: list[int]
):
    """And a fault in it is answered after what is due; nothing comes after that (H1)."""
    assert statuses(server, HELLO + after) == expected


@pytest.mark.parametrize("size", [70 * KIB, 40 * KIB, 33 * KIB, 31 * KIB])
def test_a_head_is_as_large_as_it_may_be(server: Server, size: int):
    head = HELLO.replace(b"\r\n\r\n", b"\r\nX: %b\r\n\r\n" % (b"x" * (size - 60)))
    with server.connect() as connection:
        connection.send(head)
        assert connection.answer().status == (431 if size > 32 * KIB else 200)


def test_a_body_that_only_the_end_of_the_connection_would_end_is_cut_by_a_reset(server: Server):
    with server.connect() as connection:
        connection.send(b"GET /fail HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            while connection.socket.recv(MIB):
                pass


def test_head_and_first_piece_leave_in_one_segment(server: Server):
    """A client that reads once has both (H3)."""
    with server.connect() as connection:
        connection.send(HELLO)
        data = connection.socket.recv(MIB)
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert data.endswith(b"\r\n\r\nhello")


def test_requests_are_answered_in_order_whatever_their_pieces(server: Server):
    """With bodies by length and in chunks, written while the answers are read."""
    requests, expected = [], []
    for number in range(300):
        body = hashlib.sha512(b"%d" % number).digest() * (number % 40)
        requests.append(b"POST /digest HTTP/1.1\r\nHost: a\r\n")
        if number % 2:
            requests.append(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        else:
            requests.append(b"Transfer-Encoding: chunked\r\n\r\n")
            requests += [
                b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:]) if part
            ]
            requests.append(b"0\r\n\r\n")
        expected.append(hashlib.sha256(body).hexdigest().encode())
    data = b"".join(requests)
    with server.connect() as connection:
        for at in range(0, len(data), 9973):
            connection.send(data[at : at + 9973])
        for body in expected:
            assert connection.answer().body == body
