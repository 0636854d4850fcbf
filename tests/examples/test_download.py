"""examples/download.py: a file and a generated body, at the client's pace."""

from __future__ import annotations

import hashlib
import re

import pytest

TARGET = "examples/download.py:app"
MIB = 1024 * 1024


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(range(256)) * 4096 * 32 + b"odd")  # 32 MiB
    return path


def sha256(pipe):
    return hashlib.file_digest(pipe, "sha256").hexdigest()


def test_the_file_arrives_as_it_is(serve, curl, large):
    with serve(TARGET, FILE=str(large)) as server:
        client = curl(f"{server.url}/file")

        assert sha256(client.stdout) == hashlib.sha256(large.read_bytes()).hexdigest()
        assert client.wait() == 0


def test_the_file_announces_its_length(serve, curl, large):
    """HEAD tells it too, and leaves no file open."""
    with serve(TARGET, FILE=str(large)) as server:
        head, _ = curl("--head", f"{server.url}/file").communicate()

        assert f"content-length: {large.stat().st_size}\r\n" in head.decode().lower()


def test_a_missing_file_is_a_404(serve, curl, tmp_path):
    with serve(TARGET, FILE=str(tmp_path / "missing")) as server:
        status, _ = curl(
            "--output", "/dev/null", "--write-out", "%{http_code}", f"{server.url}/file"
        ).communicate()

        assert status == b"404"


def test_the_squares_arrive_whole(serve, curl):
    expected = hashlib.sha256()
    size = 0
    for start in range(0, 2_000_000, 1_000):
        piece = "".join(f"{n * n}\n" for n in range(start, start + 1_000)).encode()
        expected.update(piece)
        size += len(piece)
    with serve(TARGET) as server:
        client = curl(f"{server.url}/squares")

        assert sha256(client.stdout) == expected.hexdigest()
        assert client.wait() == 0
        assert server.line() == f"/squares: {size} bytes, complete"


def test_the_squares_wait_for_a_reader_that_stops_and_end_when_it_leaves(serve, curl):
    """The kernel and curl hold what was made and not taken: a fraction of the 25 MiB in all."""
    with serve(TARGET) as server:
        client = curl(f"{server.url}/squares")
        taken = 0
        while taken < 100 * 1024:
            taken += len(client.stdout.read(4096))
        client.kill()
        line = server.line()

        # asyncio's own transport warns of writes between the loss of the connection and the news of
        # it.
        server.logs = r"(socket\.send\(\) raised exception\.\s*)*"
        report = re.fullmatch(r"/squares: (\d+) bytes, gone", line)
        assert report, line
        assert taken <= int(report[1]) < taken + 8 * MIB


def test_a_slow_reader_gets_the_whole_file(serve, curl, tmp_path):
    path = tmp_path / "small.bin"
    path.write_bytes(bytes(range(256)) * 4096)  # 1 MiB
    with serve(TARGET, FILE=str(path)) as server:
        client = curl("--limit-rate", "1M", f"{server.url}/file")

        assert sha256(client.stdout) == hashlib.sha256(path.read_bytes()).hexdigest()
        assert client.wait() == 0
