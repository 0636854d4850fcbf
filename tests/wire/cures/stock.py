"""Hypercorn as it comes, which has each fault that `nardis/server/hypercorn` cures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

import psutil

from tests.peers.client import eventually
from tests.wire.servers import ROOT, Server

TARGET = "tests.peers.raw_app:app"

CAN_GO = "stock hypercorn does it right: this cure in nardis/server/hypercorn can go: "

# How long a test waits for something that a fault prevents.
FAULT_S = 0.5


@contextmanager
def stock(worker: str, directory: Path, *options: str) -> Iterator[Server]:
    """Run hypercorn in one process; to heed SIGTERM it needs `--workers 1`."""
    command = [
        sys.executable,
        "-m",
        "hypercorn",
        "-k",
        worker,
        "--bind",
        "127.0.0.1:0",
        "--workers",
        "0",
        *options,
        TARGET,
    ]
    # It will be killed: what coverage measures in it would be left half-written.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")
    }
    environment["NARDIS_OBSERVED"] = str(directory / "observed")
    with (
        open(directory / "log", "wb") as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log) as process,
    ):
        try:
            yield Server(f"stock-{worker}", process, directory)
        finally:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()


def happens(condition: Callable[[], object], within_s: float = FAULT_S) -> bool:
    """Whether *condition* comes true in the time that a fault gets."""
    with suppress(AssertionError):
        return bool(eventually(condition, within_s))
    return False


def serves(server: Server) -> bool:
    """Whether a new client is answered."""
    url = f"http://127.0.0.1:{server.port}/hello"
    with suppress(OSError, HTTPException), urlopen(url, timeout=0.5) as answer:
        return bool(answer.read() == b"hello")
    return False
