"""A quarter of a gigabyte either way, by curl: no server's memory grows with it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.wire.app import MIB, numbered_blocks
from tests.wire.servers import CHOSEN, OURS, Server, serving

pytestmark = [
    pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl"),
    pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from Linux's /proc"),
]

BLOCKS = 256  # of a mebibyte


@pytest.fixture(scope="module", params=CHOSEN or OURS)
def quiet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server of its own: memory that other tests left to be used again would hide growth."""
    with serving(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running
        assert running.kind not in OURS or running.stop() == 0, running.log()


@pytest.fixture(scope="module")
def expected() -> str:
    summed = hashlib.sha256()
    for block in numbered_blocks(BLOCKS):
        summed.update(block)
    return summed.hexdigest()


@contextmanager
def little_growth(server: Server) -> Iterator[None]:
    """
    Check that the server's resident memory is at no time in the block much larger than before it.
    """
    process = Path("/proc") / str(server.application.pid)

    def peak() -> int:
        line = next(
            line
            for line in (process / "status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
        return int(line.split()[1]) * 1024

    server.ask("GET", "/hello")
    (process / "clear_refs").write_text("5")  # begins a new peak: proc_pid_clear_refs(5)
    before = peak()
    yield
    assert peak() - before < (8 if server.kind in OURS else 16) * MIB


def curl(server: Server, path: str, *options: str) -> subprocess.Popen[bytes]:
    command = [
        "curl",
        "--silent",
        "--fail",
        "--max-time",
        "50",
        *options,
        f"http://127.0.0.1:{server.port}{path}",
    ]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_256_mebibytes_come_down(quiet: Server, expected: str) -> None:
    summed = hashlib.sha256()
    with little_growth(quiet), curl(quiet, f"/blocks/{BLOCKS}") as process:
        while piece := process.stdout.read(MIB):
            summed.update(piece)

    assert process.returncode == 0
    assert summed.hexdigest() == expected


def test_256_mebibytes_go_up(quiet: Server, expected: str) -> None:
    with little_growth(quiet), curl(quiet, "/digest", "--upload-file", "-") as process:
        for block in numbered_blocks(BLOCKS):
            process.stdin.write(block)
        process.stdin.close()
        answered = process.stdout.read().decode()

    assert process.returncode == 0
    assert answered == expected
