"""
The access log of a running server: one line for each exchange, on standard output, and what it says
of how it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.peers.client import Connection, eventually
from tests.wire.servers import COMMANDS, LEAKS, OURS, ROOT, TARGET, Server

MOST_IN_FLIGHT = 3


class Logging(Server):
    """A server whose standard output is read."""

    def said(self) -> list[str]:
        """Give the lines that are whole."""
        lines = (self._log.parent / "said").read_text().splitlines(keepends=True)
        return [line.rstrip("\n") for line in lines if line.endswith("\n")]

    def entries(self, path: str) -> list[dict[str, Any]]:
        """Give what was said of the exchanges of *path*."""
        return [entry for line in self.said() if (entry := json.loads(line))["path"] == path]

    def logged(self, path: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until *count* exchanges of *path* have their line."""
        return eventually(lambda: found if len(found := self.entries(path)) >= count else None)


@contextlib.contextmanager
def logging_server(kind: str, folder: Path, *options: object) -> Iterator[Logging]:
    command = [sys.executable, "-m", *COMMANDS[kind], *map(str, options), TARGET]
    environment = os.environ | {"NARDIS_OBSERVED": str(folder / "observed")}
    with ExitStack() as stack:
        log, said = (stack.enter_context(open(folder / name, "wb")) for name in ("log", "said"))
        process = stack.enter_context(
            subprocess.Popen(command, cwd=ROOT, env=environment, stderr=log, stdout=said)
        )
        stack.callback(process.kill)
        yield Logging(kind, process, folder)


@pytest.fixture(scope="module", params=OURS)
def logging(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Logging]:
    options = [
        "--access-log",
        "json",
        "--max-in-flight",
        MOST_IN_FLIGHT,
        "--drain",
        0,
        "--graceful",
        2,
    ]
    with logging_server(request.param, tmp_path_factory.mktemp(request.param), *options) as server:
        yield server
        last = server.connect()
        last.request("GET", "/idle/at-the-end")
        assert last.head()[0] == 200
        assert last.chunk() == b"first"
        server.process.send_signal(signal.SIGTERM)
        last.read_out()  # a client that stays is waited for
        assert server.process.wait(20) == 0, server.log()
        assert not LEAKS.search(server.log())
        [entry] = server.logged("/idle/at-the-end")
        assert (entry["status"], entry["bytes"], entry["aborted"], entry["close_reason"]) == (
            200,
            5,
            True,
            "shutdown",
        )


@pytest.fixture
def entry(logging: Logging, key: str) -> Callable[..., dict[str, Any]]:
    """Give a function that asks for a path of its own and gives the one line that this made."""

    def ask(
        path: str, method: str = "GET", then: Callable[[Connection], object] = Connection.answer
    ) -> dict[str, Any]:
        path = path.replace(":id", key)
        before = len(logging.entries(path))
        with logging.connect() as connection:
            connection.request(method, path)
            then(connection)
        found = logging.logged(path, before + 1)[-1]
        assert found["method"] == method
        assert found["client"].startswith("127.0.0.1:")
        assert found["http_version"] == "1.1"
        assert found["host"] == "localhost"
        assert (found["request_id"], found["user_agent"]) == (None, None)
        assert datetime.fromisoformat(found["time"]).tzinfo == UTC
        return found

    return ask


Entry = Callable[..., dict[str, Any]]


def ending(entry: dict[str, Any]) -> tuple[object, ...]:
    return entry["status"], entry["bytes"], entry["aborted"], entry["close_reason"]


def test_an_answer_has_a_line(entry: Entry) -> None:
    said = entry("/hello")

    assert ending(said) == (200, 5, False, None)
    assert 0 <= said["first_byte_ms"] <= said["duration_ms"] < 10_000


def test_a_stream_has_one_line_when_it_has_ended(entry: Entry) -> None:
    assert ending(entry("/pieces")) == (200, len(b"one two three"), False, None)


def test_the_first_byte_has_a_time_of_its_own(entry: Entry) -> None:
    """It left long before the end of an answer that was cut after a third of a second."""
    said = entry("/hurried-idle/:id")

    assert said["first_byte_ms"] + 200 < said["duration_ms"]
    assert said["blocked_ms"] + 200 < said["duration_ms"]  # it was the handler that took its time


def test_nothing_is_here(entry: Entry) -> None:
    said = entry("/nowhere")

    assert said["status"] == 404
    assert ending(said)[2:] == (False, None)


def test_an_answer_to_head_has_no_bytes(entry: Entry) -> None:
    said = entry("/hello", "HEAD", lambda connection: connection.answer("HEAD"))

    assert ending(said) == (200, 0, False, None)


def read_a_chunk(connection: Connection) -> None:
    """Read what comes first, and leave."""
    assert connection.head()[0] == 200
    assert connection.chunk()


def test_a_client_that_left_is_gone(entry: Entry) -> None:
    said = entry("/tick/:id", then=read_a_chunk)

    assert ending(said)[2:] == (True, "gone")
    assert said["bytes"] >= 5
    assert said["bytes"] % 5 == 0


def test_a_client_that_left_before_the_head_is_gone_without_a_status(
    logging: Logging, entry: Entry, key: str
) -> None:
    said = entry("/wait/:id", then=lambda _: logging.event(key, "started"))

    assert ending(said) == (None, 0, True, "gone")
    assert said["first_byte_ms"] is None


def test_a_client_that_read_nothing_has_stalled(logging: Logging, key: str) -> None:
    with logging.connect(receive_buffer=64 * 1024) as connection:
        connection.request("GET", f"/stalling-flood/{key}")
        [said] = logging.logged(f"/stalling-flood/{key}")

    assert ending(said)[2:] == (True, "stalled")
    assert said["bytes"] > 0
    assert said["blocked_ms"] > 200  # nearly all of the time that it was given


def test_a_body_that_stalled_is_a_408(logging: Logging, key: str) -> None:
    with logging.connect() as connection:
        connection.request("POST", f"/impatient/{key}", content_length=10)
        assert connection.answer().status == 408
        [said] = logging.logged(f"/impatient/{key}")

    assert (said["status"], said["aborted"], said["close_reason"]) == (408, False, "stalled")


def test_a_deadline_is_a_reason(entry: Entry) -> None:
    assert ending(entry("/hurried/:id"))[2:] == (False, "deadline")
    assert ending(entry("/hurried-idle/:id")) == (200, 5, True, "deadline")


def test_a_handler_that_failed_after_the_head_was_aborted(entry: Entry) -> None:
    """By nobody who would have a name for it: the server's own log has the error."""
    assert ending(entry("/raise")) == (200, 4, True, None)


def test_a_handler_that_failed_before_the_head_is_a_500(entry: Entry) -> None:
    said = entry("/raise-first")

    assert said["status"] == 500
    assert ending(said)[2:] == (False, None)


def test_a_request_too_many_has_a_line(logging: Logging, key: str) -> None:
    with ExitStack() as stack:
        for number in range(MOST_IN_FLIGHT):
            connection = stack.enter_context(logging.connect())
            connection.request("GET", f"/wait/{key}-{number}")
            logging.event(f"{key}-{number}", "started")
        assert logging.ask("GET", f"/refused/{key}").status == 503
        [said] = logging.logged(f"/refused/{key}")

    eventually(lambda: logging.ask("GET", "/hello").status == 200)
    assert ending(said) == (503, len(b"too many requests at once: try again soon"), False, None)


@pytest.mark.parametrize("end", ["%0A", "%0D%0A", "%E2%80%A8", "%C2%85"])
def test_a_path_with_a_line_end_in_it_is_one_line(logging: Logging, key: str, end: str) -> None:
    logging.ask("GET", f"/{key}{end}forged")

    [line] = eventually(
        lambda: [line for line in logging.said() if "forged" in line and f'"/{key}' in line]
    )
    assert json.loads(line)["path"] == f"/{key}{unquote(end)}forged"


def test_each_request_of_a_connection_has_a_line(logging: Logging, key: str) -> None:
    with logging.connect() as connection:
        for _ in range(3):
            connection.ask("GET", f"/{key}")

        assert len(logging.logged(f"/{key}", 3)) == 3


def test_it_can_be_text(tmp_path: Path, key: str) -> None:
    with logging_server(OURS[0], tmp_path, "--access-log", "text") as server:
        server.ask("GET", "/hello")
        server.ask("GET", f"/{key}%0Aforged%1B%5B2J%E2%80%A8")
        with server.connect() as connection:
            connection.request("GET", f"/tick/{key}")
            read_a_chunk(connection)
        plain, forged, gone = eventually(
            lambda: lines if len(lines := server.said()) >= 3 else None
        )
        assert server.stop() == 0

    words = plain.split()
    assert words[0].startswith("127.0.0.1:")
    assert words[1:6] == ['"GET', "/hello", 'HTTP/1.1"', "200", "5B"]
    assert words[6].startswith("first=")
    assert words[7].startswith("total=")
    assert all(word.startswith("blocked=") for word in words[8:])  # by the machine, if at all
    assert f"/{key}\\nforged\\x1b[2J\\u2028 HTTP" in forged
    assert gone.endswith(" aborted close_reason=gone")


def test_without_the_flag_nothing_is_said(tmp_path: Path) -> None:
    with logging_server(OURS[0], tmp_path) as server:
        server.ask("GET", "/hello")
        server.ask("GET", "/raise-first")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0

        assert (tmp_path / "said").read_bytes() == b""
