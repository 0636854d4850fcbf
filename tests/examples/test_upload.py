"""examples/upload.py: progress comes back while the upload is still going."""

from __future__ import annotations

import hashlib
import re
import subprocess

TARGET = "examples/upload.py:app"
MIB = 1024 * 1024


def test_progress_comes_back_while_the_upload_goes_on(serve, curl):
    """Each line is read before the next mebibyte is sent: without full duplex it would not come."""
    with serve(TARGET) as server:
        client = curl("--upload-file", ".", f"{server.url}/upload", stdin=subprocess.PIPE)
        given = b""
        for step in range(4):
            given += client.feed(
                bytes([step]) * (MIB + MIB // 8)
            )  # curl may hold back the last part of what it has
            told = re.fullmatch(rb"(\d+) bytes\n", client.stdout.readline())
            assert told
            assert (step + 1) * MIB <= int(told[1]) <= len(given)
        client.stdin.close()
        last = client.stdout.read().decode().splitlines()[-1]

        assert last == f"{len(given)} bytes, sha256 {hashlib.sha256(given).hexdigest()}"
        assert client.wait() == 0


def test_an_empty_upload_has_a_digest_too(serve, curl):
    with serve(TARGET) as server:
        answer, _ = curl("--upload-file", ".", f"{server.url}/upload").communicate()

        assert answer.decode() == f"0 bytes, sha256 {hashlib.sha256().hexdigest()}\n"


def test_a_client_that_leaves_half_way_is_no_error(serve, curl):
    """Nothing is logged, and the server goes on."""
    with serve(TARGET) as server:
        client = curl("--upload-file", ".", f"{server.url}/upload", stdin=subprocess.PIPE)
        client.feed(bytes(2 * MIB))
        client.kill()

        answer, _ = curl("--upload-file", ".", f"{server.url}/upload").communicate()
        assert answer.startswith(b"0 bytes, ")


def test_a_body_over_the_limit_is_refused_beforehand(serve, curl):
    with serve(TARGET) as server:
        client = curl(
            *(
                "--request",
                "PUT",
                "--header",
                f"content-length: {10 * 1024**3 + 1}",
                "--header",
                "expect:",
            ),
            *("--output", "/dev/null", "--write-out", "%{http_code}", f"{server.url}/upload"),
        )
        status, _ = client.communicate()

        assert status == b"413"
