"""Files over real sockets: sent by the system in the clear, and read in blocks everywhere else."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import trustme

from tests.peers.h2client import H2Client
from tests.wire.files_app import LARGE
from tests.wire.servers import OURS, Server, Sharing, serving

TARGET = "tests.wire.files_app:app"
CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(CURL is None, reason="curl is not installed")


@pytest.fixture(params=OURS)
def server(request: pytest.FixtureRequest, shared: Sharing) -> Server:
    return shared(request.param, target=TARGET)


def ask(server: Server, path: str, *fields: str, slow: bool = False) -> tuple[bytes, bytes]:
    """Return head and body of an answer, all that comes of it."""
    head = "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", "Connection: close", *fields])
    with socket.socket() as connection:
        if slow:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(head.encode() + b"\r\n\r\n")
        heard = bytearray()
        while data := connection.recv(4096 if slow else 1 << 20):
            heard += data
    head_of, _, body = bytes(heard).partition(b"\r\n\r\n")
    return head_of, body


@pytest.mark.parametrize("slow", [False, True])
def test_a_large_file_is_sent_whole_by_the_system(server: Server, slow: bool) -> None:
    head, body = ask(server, "/files/large.bin", slow=slow)

    assert body == LARGE
    assert b"\r\nx-takes-files: 1" in head
    assert b"\r\ncontent-length: 5000000" in head


def test_ranges_are_parts_of_it(server: Server) -> None:
    head, body = ask(server, "/files/large.bin", "Range: bytes=1000000-4000000")
    assert (body, head[:12]) == (LARGE[1_000_000:4_000_001], b"HTTP/1.1 206")

    head, body = ask(server, "/files/large.bin", "Range: bytes=0-99999,3000000-4000000")
    assert LARGE[:100_000] in body
    assert LARGE[3_000_000:4_000_001] in body
    assert b"\r\ncontent-length: %d" % len(body) in head


def test_several_files_come_over_one_connection(server: Server) -> None:
    request = b"GET /files/%b HTTP/1.1\r\nHost: a\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        for name, content in ((b"large.bin", LARGE), (b"small.txt", LARGE[:100])) * 2:
            connection.sendall(request % name)
            heard = b""
            while not heard.endswith(content[-64:]):
                heard += connection.recv(1 << 20)
            assert heard.partition(b"\r\n\r\n")[2] == content


def test_a_file_that_shrinks_never_looks_whole(server: Server) -> None:
    """What was there is sent, and the client sees that it is not all; or nothing is, and a 500."""
    head, body = ask(server, "/shrinking/4500000")
    assert b"\r\ncontent-length: 5000000" in head
    assert len(body) < 4_600_000

    assert ask(server, "/shrinking/1500000")[0].startswith(b"HTTP/1.1 500")


@needs_curl
def test_curl_goes_on_where_it_was_cut(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "copy.bin"
    target.write_bytes(LARGE[:1_234_567])
    url = f"http://127.0.0.1:{server.port}/files/large.bin"
    command = [str(CURL), "-s", "--max-time", "20", "-C", "-", "-o", str(target), url]
    subprocess.run(command, check=True)

    assert target.read_bytes() == LARGE


def test_over_http2_it_is_read_in_blocks(server: Server) -> None:
    with H2Client(server.port) as client:
        answer = client.answer(client.request("GET", "/files/large.bin"))

    assert answer.body == LARGE
    assert answer.headers["x-takes-files"] == "0"


@needs_curl
@pytest.mark.parametrize("kind", OURS)
def test_over_tls_it_is_read_in_blocks(kind: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    both = str(tmp_path / "both.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(both)
    options = ("--certfile", both, "--keyfile", both)
    with serving(kind, tmp_path, *options, target=TARGET) as server:
        url = f"https://127.0.0.1:{server.port}/files/large.bin"
        tls = ["--cacert", str(tmp_path / "ca.pem"), "--http1.1"]
        command = [str(CURL), "-s", "--max-time", "20", "-D", str(tmp_path / "head"), *tls, url]
        body = subprocess.run(command, capture_output=True, check=True).stdout

    assert body == LARGE
    assert "x-takes-files: 0" in (tmp_path / "head").read_text()
