"""Early hints, trailers and the client behind proxies, over real sockets and with a real client."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess

import pytest

from tests.peers.h2client import H2Client
from tests.wire.servers import OURS, Server, Sharing

CURL = shutil.which("curl")
SUM = hashlib.sha256(b"one two").hexdigest()[:8]


@pytest.fixture(params=OURS)
def server(request: pytest.FixtureRequest, shared: Sharing) -> Server:
    return shared(request.param, target="tests.wire.beside_app:app")


def told(server: Server, path: str, *fields: str) -> bytes:
    """Return all that a client is sent that asks once."""
    head = "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", "Connection: close", *fields])
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n")
        heard = b""
        while data := connection.recv(65536):
            heard += data
    return heard


def test_hints_come_before_the_answer(server: Server) -> None:
    heard = told(server, "/hints")
    assert heard.startswith(
        b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n"
    )


def test_trailers_come_to_a_client_that_asks_for_them(server: Server) -> None:
    assert told(server, "/checked", "TE: trailers").endswith(
        b"3\r\ntwo\r\n0\r\nx-sum: %b\r\n\r\n" % SUM.encode()
    )
    assert told(server, "/checked").endswith(b"3\r\ntwo\r\n0\r\n\r\n")


def test_a_response_that_failed_has_no_end_and_no_trailers(server: Server) -> None:
    assert told(server, "/fails", "TE: trailers").endswith(b"\r\n\r\n4\r\none \r\n")


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_curl_sees_the_hints_and_the_answer(server: Server) -> None:
    output = subprocess.run(
        [str(CURL), "-si", "--max-time", "10", f"http://127.0.0.1:{server.port}/hints"],
        capture_output=True,
        check=True,
    ).stdout
    assert b"103" in output.splitlines()[0]
    assert output.endswith(b"\r\n\r\nlater")


def test_over_http2_both_come_as_frames(server: Server) -> None:
    with H2Client(server.port) as client:
        hinted = client.answer(client.request("GET", "/hints"))
        checked = client.answer(client.request("GET", "/checked", [("te", "trailers")]))
    assert (hinted.interim, hinted.body) == ([103], b"later")
    assert (checked.body, checked.trailers) == (b"one two", {"x-sum": SUM})


@pytest.mark.parametrize("kind", OURS)
def test_a_trusted_proxy_names_the_client_to_application_and_log(
    shared: Sharing, kind: str
) -> None:
    options = ("--trust-proxy", "1", "--access-log", "text")
    server = shared(kind, *options, target="tests.wire.beside_app:app")
    forwarded = ("X-Forwarded-For: 192.0.2.7, 198.51.100.9", "X-Forwarded-Proto: https")
    body = told(server, "/who", *forwarded, "X-Forwarded-Host: example.com").partition(b"\r\n\r\n")
    assert json.loads(body[2]) == ["198.51.100.9", "https", "example.com", ["198.51.100.9", 0]]
    assert '198.51.100.9 "GET /who HTTP/1.1" 200' in server.log()
