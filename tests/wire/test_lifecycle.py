"""
What a server says by itself of its life, in lines with their time: they are the logger
`nardis.lifecycle`.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.peers.client import eventually
from tests.wire.servers import OURS, USUAL_LINE, Server, serving

TARGET = "tests.wire.drain_app:app"

APP = """
import logging
from nardis import Nardis

logging.basicConfig(level=logging.{level}, format="%(name)s says %(message)s")
app = Nardis()
"""


def life(server: Server) -> list[str]:
    """
    Give the lines of that logger, each after its time and level; the address and the times taken
    are left out.
    """
    lines = [
        USUAL_LINE.sub("", line) for line in server.log().splitlines() if USUAL_LINE.match(line)
    ]
    lines = [
        re.sub(
            r"after \d+\.\d s", "after a while", line.replace(f"127.0.0.1:{server.port}", "here")
        )
        for line in lines
    ]
    return lines


def until(server: Server, end: str) -> None:
    eventually(lambda: [line for line in life(server) if line.startswith(end)], 20)


@pytest.mark.parametrize("kind", OURS)
def test_one_process_says_when_it_starts_stops_and_has_ended(kind: str, tmp_path: Path) -> None:
    """Below the line that programs wait for."""
    with serving(kind, tmp_path, "--drain", "1", target=TARGET) as server:
        until(server, "started")
        assert server.stop() == 0
        backend = kind.removeprefix("hypercorn-")

        assert server.log().startswith("Nardis serves on ")
        assert life(server) == [
            f"started: http://here with {backend}, pid {server.process.pid}",
            "SIGTERM: stopping; 1 s to drain, 15 s at most",
            "ended after a while",
        ]


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize(
    ("count", "said"), [(1, "1 request was cancelled"), (2, "2 requests were cancelled")]
)
def test_requests_that_the_end_has_cancelled_are_counted(
    kind: str, count: int, said: str, tmp_path: Path
) -> None:
    with serving(kind, tmp_path, "--drain", "0.1", target=TARGET) as server:
        streams = [server.connect() for _ in range(count)]
        for stream in streams:
            stream.request("GET", "/ticks/100000")
            assert stream.head()[0] == 200
        server.process.send_signal(signal.SIGTERM)
        for stream in streams:
            stream.read_out()  # a client that stays is waited for
        assert server.process.wait(20) == 0

        assert life(server)[-1] == f"ended after a while; {said}"


@pytest.mark.parametrize("kind", OURS)
def test_a_supervisor_says_what_becomes_of_each_worker(kind: str, tmp_path: Path) -> None:
    with serving(
        kind,
        tmp_path,
        "--workers",
        "1",
        "--max-requests",
        "1000000",
        "--drain",
        "0.1",
        target=TARGET,
    ) as server:
        until(server, "started")
        first = server.ask("GET", "/pid").body.decode()
        server.process.send_signal(signal.SIGHUP)
        until(server, f"worker {first} ended")
        second = server.ask("GET", "/pid").body.decode()
        os.kill(int(second), signal.SIGKILL)
        eventually(lambda: len(re.findall("began", server.log())) == 3, 20)
        stream = server.connect()
        stream.request("GET", "/ticks/100000")
        assert stream.head()[0] == 200
        third = server.ask("GET", "/pid").body.decode()
        server.process.send_signal(signal.SIGTERM)
        stream.read_out()  # a client that stays is waited for
        assert server.process.wait(20) == 0

        assert life(server) == [
            f"worker {first} began",
            f"started: http://here with {kind.removeprefix('hypercorn-')}, "
            f"pid {server.process.pid}, 1 worker",
            "SIGHUP: reloading; 1 worker to replace",
            f"worker {second} began",
            f"worker {first} is replaced by {second}",
            "reloaded after a while",
            f"worker {first} ended with status 0",
            f"worker {third} began",
            "SIGTERM: stopping; 0.1 s to drain, 15 s at most",
            f"worker {third}: 1 request was cancelled",
            f"worker {third} ended with status 0",
            "ended after a while",
        ]
        [_, crash] = server.unusual()
        assert crash.endswith(f" ERROR worker {second} ended with status -9: it is replaced")


@pytest.mark.parametrize(("level", "heard"), [("WARNING", False), ("INFO", True)])
def test_the_logging_of_the_application_rules(level: str, heard: bool, tmp_path: Path) -> None:
    """With one process: a supervisor does not load the application."""
    path = tmp_path / f"module_{level.lower()}.py"
    path.write_text(APP.format(level=level))
    with serving(OURS[0], tmp_path, target=f"{path}:app") as server:
        assert server.stop() == 0

        assert ("nardis.lifecycle says SIGTERM: stopping" in server.log()) is heard
        assert "INFO" not in server.log()
