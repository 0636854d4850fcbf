"""The examples are served as their docstrings say, by `nardis serve`, and driven by curl."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

ROOT = Path(__file__).parents[2]
STOP_S = 20

# What a server says when it begins and ends as it should.
USUAL_LINE = re.compile(r"^[-\d]+ [:,\d]+ INFO .*\n", re.MULTILINE)


@dataclass
class Server:
    """
    A running `nardis serve`.

    A log line beside its usual life must be expected, or the test fails at the end.
    """

    url: str
    process: subprocess.Popen[str]
    logs: str = ""  # a pattern that everything it writes to stderr has to match

    def line(self) -> str:
        """Wait for the next line that the example prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")


class Curl(subprocess.Popen[bytes]):
    """A running curl."""

    def feed(self, data: bytes) -> bytes:
        """
        Feed it *data*, and then single bytes until it has output to read; return all of them.

        While it uploads, curl 7.88 looks for an answer only when it has something to send.
        """
        assert self.stdin is not None
        assert self.stdout is not None
        self.stdin.write(data)
        while not select.select([self.stdout], [], [], 0.05)[0]:
            self.stdin.write(b"\0")
            data += b"\0"
        return data


@contextmanager
def serving(target: str, backend: str, environment: dict[str, str]) -> Iterator[Server]:
    # A leak that only shows as a warning is a failure as well.
    command = [sys.executable, "-W", "always::ResourceWarning", "-m", "nardis"]
    process = subprocess.Popen(
        [*command, "serve", target, "--bind", "127.0.0.1:0", "--backend", backend],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        try:
            line = process.stderr.readline()
            announced = re.search(r"http://\S+", line)
            assert announced, line + process.stderr.read()
            server = Server(announced[0], process)
            yield server
            process.send_signal(signal.SIGINT)
            _, logged = process.communicate(timeout=STOP_S)
        finally:
            process.kill()
    assert re.fullmatch(server.logs, USUAL_LINE.sub("", logged).strip(), re.DOTALL), logged
    assert process.returncode == 0


@pytest.fixture(params=["trio", "asyncio"])
def serve(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """
    Serve an example on hypercorn's trio and asyncio workers.

    `with serve("examples/x.py:app", NAME="value") as server`
    """
    return lambda target, **environment: serving(target, request.param, environment)


@pytest.fixture
def curl() -> Iterator[Callable[..., Curl]]:
    """Start curl, with pipes to feed and read it, and end it after the test."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("there is no curl here")
    started: list[Curl] = []

    def start(*arguments: str, stdin: int | IO[bytes] = subprocess.DEVNULL) -> Curl:
        command = [
            program,
            "--silent",
            "--show-error",
            "--no-buffer",
            "--noproxy",
            "*",
            "--max-time",
            "50",
            *arguments,
        ]
        started.append(
            Curl(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
