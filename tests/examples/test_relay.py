"""examples/relay.py: a child process between request and response."""

from __future__ import annotations

import gzip
import random
import subprocess

import psutil
import pytest

TARGET = "examples/relay.py:app"
MIB = 1024 * 1024
PARTIAL_FILE, SEND_FAILED = (
    18,
    55,
)  # curl's exit status for a body that was cut, and for an upload that was
GONE_S = 20


@pytest.fixture
def noise(tmp_path):
    """Some mebibytes that gzip cannot shrink, so that both directions carry them."""
    path = tmp_path / "noise.bin"
    path.write_bytes(random.Random(0).randbytes(6 * MIB))
    return path


def test_the_output_unzips_to_the_input(serve, curl, noise):
    with serve(TARGET) as server:
        output, _ = curl("--upload-file", str(noise), f"{server.url}/relay").communicate()

        assert gzip.decompress(output) == noise.read_bytes()
        assert psutil.Process(server.process.pid).children() == []


def test_output_comes_back_before_the_input_ends(serve, curl, noise):
    with serve(TARGET) as server:
        client = curl("--upload-file", ".", f"{server.url}/relay", stdin=subprocess.PIPE)
        given = client.feed(noise.read_bytes()[:MIB])
        client.stdin.close()

        assert gzip.decompress(client.stdout.read()) == given
        assert client.wait() == 0


def test_the_child_ends_when_the_client_leaves(serve, curl, noise):
    with serve(TARGET) as server:
        client = curl("--upload-file", ".", f"{server.url}/relay", stdin=subprocess.PIPE)
        client.feed(noise.read_bytes()[:MIB])
        children = psutil.Process(server.process.pid).children()
        assert [child.name() for child in children] == ["gzip"]

        client.kill()

        assert psutil.wait_procs(children, timeout=GONE_S)[1] == []


def test_a_child_that_ignores_its_pipes_ends_too_when_the_client_leaves(serve, curl):
    """It reads nothing, and no write shows it that nobody listens: only a signal ends it."""
    with serve(TARGET, COMMAND="sh -c 'echo started; exec sleep 1000'") as server:
        client = curl("--upload-file", ".", f"{server.url}/relay", stdin=subprocess.PIPE)
        client.feed(b"unread")
        children = psutil.Process(server.process.pid).children()
        assert len(children) == 1

        client.kill()

        assert psutil.wait_procs(children, timeout=GONE_S)[1] == []


def test_a_child_that_fails_half_way_cuts_the_response(serve, curl, noise):
    with serve(TARGET, COMMAND="sh -c 'head -c 100000; cat > /dev/null; exit 3'") as server:
        client = curl("--upload-file", str(noise), f"{server.url}/relay")
        output, _ = client.communicate()

        assert output == noise.read_bytes()[:100_000]
        assert client.returncode == PARTIAL_FILE
        server.logs = ".*truncated=True: 502 Bad Gateway: sh failed with status 3.*"


def test_a_child_that_fails_at_once_is_a_502(serve, curl, noise):
    with serve(TARGET, COMMAND="sh -c 'exit 3'") as server:
        client = curl(
            "--upload-file",
            str(noise),
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            f"{server.url}/relay",
        )
        status, _ = client.communicate()

        assert status == b"502"


def test_a_child_that_wants_only_the_beginning_ends_the_response_well(serve, curl, noise):
    with serve(TARGET, COMMAND="head -c 1000") as server:
        client = curl("--upload-file", ".", f"{server.url}/relay", stdin=subprocess.PIPE)
        client.feed(noise.read_bytes()[:2000])
        output = client.stdout.read(1000)
        client.stdin.close()
        assert output + client.stdout.read() == noise.read_bytes()[:1000]
        assert client.wait() in (0, SEND_FAILED)  # the rest of the upload found nobody
