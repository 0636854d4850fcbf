"""`nardis demo`: what a newcomer sees first works, line by line."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.client import eventually

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the lines are for curl")


class Demo:
    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log
        # The last of its lines; the address stands before it.
        eventually(lambda: "/upload" in self.said(), 20)
        self.url = re.findall(r"http://[\d.:]+", self.said())[0]

    def said(self) -> str:
        return self._log.read_text()

    def shell(self, line: str) -> bytes:
        return subprocess.run(line, shell=True, capture_output=True, timeout=30).stdout


@pytest.fixture(scope="module", params=["trio", "asyncio"])
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    log = tmp_path_factory.mktemp("demo") / "log"
    command = [sys.executable, "-m", "nardis", "demo", "--bind", "127.0.0.1:0", "--backend", request.param]
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=os.environ) as process:
        try:
            yield Demo(process, log)
        finally:
            process.kill()


def test_the_root_says_what_there_is(demo: Demo) -> None:
    assert b"/ticks" in demo.shell(f"curl -s {demo.url}/")


def test_its_own_lines_are_for_its_own_address(demo: Demo) -> None:
    assert demo.said().count(f"{demo.url}/") == 3
    assert "{url}" not in demo.said()


def test_an_upload_gets_its_progress_and_its_hash(demo: Demo) -> None:
    lines = demo.shell(f"head -c 25M /dev/zero | curl -sN -T - {demo.url}/upload").decode().splitlines()

    assert [line.endswith(" bytes") for line in lines] == [True, True, False]
    assert lines[-1] == f"26,214,400 bytes in all, sha256 {hashlib.sha256(bytes(25 * 1024 * 1024)).hexdigest()}"


def test_a_flood_is_a_gigabyte(demo: Demo) -> None:
    assert demo.shell(f"curl -s -o /dev/null -w '%{{size_download}}' {demo.url}/flood") == b"%d" % 1024**3
    assert eventually(lambda: "/flood: 1,073,741,824 bytes were taken" in demo.said())


def test_a_flood_ends_when_nobody_drinks(demo: Demo) -> None:
    assert len(demo.shell(f"curl -s {demo.url}/flood | head -c 100000")) == 100_000
    assert eventually(lambda: "/flood: " in demo.said())


# The last one: it ends the demo.
def test_ticks_end_when_the_client_leaves_and_say_goodbye_at_the_end(demo: Demo) -> None:
    demo.shell(f"curl -sN {demo.url}/ticks | head -n 2")
    assert eventually(lambda: re.search(r"/ticks ended after \d+ s: gone", demo.said()))

    with subprocess.Popen(["curl", "-sN", f"{demo.url}/ticks"], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        first = client.stdout.readline()
        demo.process.send_signal(signal.SIGTERM)
        rest = client.stdout.read()
    assert first == b"0 s\n"
    assert rest.endswith(b"goodbye.\n")
    assert demo.process.wait(20) == 0
