"""
The end of a connection over TLS: close_notify for what is whole, a reset for what was cut, and an
answer that is read.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.peers.client import eventually
from tests.wire.servers import OURS, Server, serving

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Make a certificate for 127.0.0.1; the directory has it in `both.pem`, and who issued it in
    `ca.pem`.
    """
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(
        str(directory / "both.pem")
    )
    return directory


@pytest.fixture(scope="module", params=OURS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: Path
) -> Iterator[Server]:
    options = ("--certfile", str(authority / "both.pem"), "--keyfile", str(authority / "both.pem"))
    with serving(request.param, tmp_path_factory.mktemp(request.param), *options) as running:
        yield running
        assert running.stop() == 0, running.log()


@contextmanager
def connected(
    server: Server, authority: Path, *, receive_buffer: int | None = None
) -> Iterator[ssl.SSLSocket]:
    """Connect; a connection that ends without close_notify is an `SSLEOFError`, or a reset."""
    context = ssl.create_default_context(cafile=str(authority / "ca.pem"))
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    with socket.socket() as plain:
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(20)
        plain.connect(("127.0.0.1", server.port))
        with context.wrap_socket(
            plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False
        ) as secure:
            yield secure


def read_all(connection: ssl.SSLSocket) -> bytes:
    data = b""
    while piece := connection.recv(65536):
        data += piece
    return data


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("path", ["/hello", "/pieces", "/blocks/1"])
def test_a_whole_response_ends_with_close_notify(
    server: Server, authority: Path, path: str, version: str
) -> None:
    with connected(server, authority) as connection:
        connection.sendall(
            f"GET {path} HTTP/{version}\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()
        )
        assert read_all(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/raise", "/abort", "/raise-declared"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_cut_response_ends_without(
    server: Server, authority: Path, path: str, version: str
) -> None:
    with (
        connected(server, authority) as connection,
        pytest.raises((ssl.SSLEOFError, ConnectionResetError)),
    ):
        connection.sendall(f"GET {path} HTTP/{version}\r\nhost: localhost\r\n\r\n".encode())
        read_all(connection)


def curl(
    server: Server, authority: Path, path: str, *options: str
) -> subprocess.CompletedProcess[bytes]:
    command = [
        "curl",
        "-s",
        "-m",
        "8",
        "--cacert",
        str(authority / "ca.pem"),
        *options,
        f"https://127.0.0.1:{server.port}{path}",
    ]
    return subprocess.run(command, capture_output=True, check=False)


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")


@needs_curl
@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2"])
def test_curl_tells_a_cut_response_from_a_whole_one(
    server: Server, authority: Path, version: str
) -> None:
    assert curl(server, authority, "/pieces", version).returncode == 0
    assert curl(server, authority, "/raise", version).returncode != 0


@needs_curl
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_curl_reads_an_early_refusal(
    server: Server, authority: Path, version: str, tmp_path: Path
) -> None:
    """The rest of 32 MiB is on its way meanwhile."""
    body = tmp_path / "body"
    body.write_bytes(bytes(32 * MIB))
    for _ in range(5):
        sent = ("-X", "POST", "-H", "Expect:", "-T", str(body))
        done = curl(
            server,
            authority,
            "/limited/curl",
            version,
            *sent,
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        )
        assert (done.stdout, done.returncode) == (b"413", 0)


def test_an_early_answer_is_there_for_who_sends_first_and_reads_then(
    server: Server, authority: Path
) -> None:
    """As requests and urllib3 do: a write that fails is the end for them."""
    with connected(server, authority) as connection:
        connection.sendall(
            b"POST /unread HTTP/1.1\r\nhost: localhost\r\ncontent-length: 33554432\r\n\r\n"
        )
        connection.sendall(bytes(16 * MIB))

        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_what_is_no_tls_in_the_middle_ends_the_connection(
    server: Server, authority: Path, key: str
) -> None:
    """The handler is cancelled, whatever it writes meanwhile; there is no fault."""
    with connected(server, authority) as connection:
        connection.sendall(f"GET /tick/{key} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        assert connection.recv(100)
        with socket.socket(fileno=os.dup(connection.fileno())) as plain:
            plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        assert server.event(key, "cancelled")["reason"] == "gone"
    assert "fault" not in server.log()


def test_a_client_that_does_not_speak_tls_is_left(server: Server) -> None:
    with server.connect() as connection:
        connection.request("GET", "/hello")
        assert connection.at_end()


def test_a_slow_reader_gets_the_end_of_a_whole_response(server: Server, authority: Path) -> None:
    """Its last bytes wait for room, and close_notify behind them."""
    with connected(server, authority, receive_buffer=4096) as connection:
        connection.sendall(
            b"GET /blocks/1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )
        with pytest.raises(AssertionError):
            eventually(lambda: False, 1.5)
        assert len(read_all(connection)) > MIB
