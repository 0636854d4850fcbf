"""
`nardis demo`: the page, its handlers and its curl lines do on both servers what they say, and
Ctrl-C ends both.
"""

from __future__ import annotations

import hashlib
import html
import inspect
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import nardis._demo
from nardis._cli.parser import main
from nardis._demo import handlers
from nardis._demo.board import MOST_BOARDS, MOST_LINES
from nardis.server import Config
from nardis.testing import Client
from tests.peers.client import Connection, eventually

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
SHOWN = ["stream", "upload", "leave", "race"]

curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the lines are for curl")


class Demo:
    """A running demo, and what it has said in its terminal."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log
        eventually(lambda: "how it ended" in self.said(), 20)  # the last of its lines
        found = re.findall(r"on (trio|asyncio) (?:there|at)|(http://[\d.:]+)/#me", self.said())
        first_url, first, second, second_url = (backend or url for backend, url in found)
        self.urls = {first: first_url, second: second_url}

    def said(self) -> str:
        return self._log.read_text()

    def on(self, backend: str) -> Side:
        return Side(self, backend)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)


class Side:
    """One of its servers."""

    def __init__(self, demo: Demo, backend: str) -> None:
        self.demo = demo
        self.backend = backend
        self.url = demo.urls[backend]

    def connect(self, *, receive_buffer: int | None = None) -> Connection:
        return Connection(int(self.url.rpartition(":")[2]), receive_buffer=receive_buffer)

    def shell(self, line: str) -> str:
        return subprocess.run(line, shell=True, capture_output=True, timeout=30).stdout.decode()

    @contextmanager
    def following(self, page: str) -> Iterator[News]:
        """Read the event stream of a page."""
        with self.connect() as connection:
            connection.request("GET", f"/events/{page}")
            yield News(connection)


class News:
    """An event stream: what the handlers tell."""

    def __init__(self, connection: Connection) -> None:
        assert connection.head()[1]["content-type"].startswith("text/event-stream")
        self.connection = connection
        self.last: dict[str, Any] = {}

    def until(self, kind: str, **facts: object) -> dict[str, Any]:
        """Wait until the handler of this kind tells so."""
        while kind not in self.last or not facts.items() <= self.last[kind].items():
            piece = self.connection.chunk()
            assert piece, "the event stream ended"
            self.last = json.loads(piece.decode().removeprefix("data: "))
        told: dict[str, Any] = self.last[kind]
        return told

    def until_quiet(self, kind: str) -> dict[str, Any]:
        """Wait until nothing was told for half a second."""
        self.connection.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            self.until(kind, ended="never")
        self.connection.socket.settimeout(20)
        told: dict[str, Any] = self.last[kind]
        return told


@contextmanager
def running(log: Path, *options: str) -> Iterator[Demo]:
    command = [
        sys.executable,
        "-W",
        "always::ResourceWarning",
        "-m",
        "nardis",
        "demo",
        "--bind",
        "127.0.0.1:0",
        *options,
    ]
    with (
        log.open("wb") as out,
        subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=os.environ) as process,
    ):
        try:
            yield Demo(process, log)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with running(tmp_path_factory.mktemp("demo") / "log") as demo:
        yield demo
        assert demo.stop() == 0
        assert "Warning" not in demo.said()


@pytest.fixture(params=["trio", "asyncio"])
def side(demo: Demo, request: pytest.FixtureRequest) -> Side:
    return demo.on(request.param)


@pytest.fixture
def page(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W", "", request.node.name)


def test_the_lines_in_the_terminal_are_for_its_own_address(demo: Demo) -> None:
    assert list(demo.urls) == ["trio", "asyncio"]
    assert [f"{demo.urls['trio']}/{kind}/me" in demo.said() for kind in SHOWN[:3]] == [True] * 3
    assert not re.search(r"[{}]", demo.said())


def test_the_page_shows_the_sources_of_the_handlers_as_they_run(side: Side) -> None:
    with side.connect() as connection:
        text = connection.ask("GET", "/").body.decode()
    shown = [
        html.unescape(re.sub(r"<.*?>", "", source))
        for source in re.findall(r"<pre.*?>(.*?)</pre>", text, re.DOTALL)
    ]

    assert shown == [inspect.getsource(getattr(handlers, name)).rstrip() for name in SHOWN]
    assert "{{" not in text


def test_the_page_loads_nothing_and_knows_both_servers(side: Side) -> None:
    with side.connect() as connection:
        answer = connection.ask("GET", "/")
    text = answer.body.decode()
    facts = json.loads(re.findall(r'id="facts">(.*?)</script>', text)[0])

    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert set(re.findall(r"\b(?:src|href)=[\"']?(\w+:)", text)) == {"data:"}
    assert not re.search(r"@import|url\(", text)
    assert facts["here"] == side.backend
    assert {
        name: f"http://127.0.0.1:{port}" for name, port in facts["ports"].items()
    } == side.demo.urls


def test_the_page_of_one_server_may_use_the_other(side: Side) -> None:
    with side.connect() as connection:
        answer = connection.ask(
            "OPTIONS", "/upload/x", origin="http://localhost:1", access_control_request_method="PUT"
        )

    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "http://localhost:1"
    assert "PUT" in answer.headers["access-control-allow-methods"]


def test_pages_from_elsewhere_may_not(side: Side) -> None:
    with side.connect() as connection:
        answer = connection.ask("GET", "/", origin="http://example.com")

    assert "access-control-allow-origin" not in answer.headers


def test_a_stream_stands_still_while_its_reader_does(side: Side, page: str) -> None:
    with side.following(page) as news:
        with side.connect(receive_buffer=64 * 1024) as reader:
            reader.request("GET", f"/stream/{page}")
            stood_at = news.until_quiet("stream")["sent"]
            reader.take(16 * MIB)
            went_on_to = news.until_quiet("stream")["sent"]
        news.until("stream", ended="gone")

    assert 0 < stood_at < went_on_to < handlers.STREAM_BYTES
    assert went_on_to - stood_at >= 8 * MIB


@curl
def test_a_stream_is_whole(side: Side, page: str) -> None:
    with side.following(page) as news:
        assert side.shell(
            f"curl -s -o /dev/null -w '%{{size_download}}' {side.url}/stream/{page}"
        ) == str(handlers.STREAM_BYTES)
        told = news.until("stream", ended="all sent")

    assert told == {"client": "curl", "sent": handlers.STREAM_BYTES, "ended": "all sent"}


def test_an_upload_is_answered_while_it_arrives(side: Side, page: str) -> None:
    """In the response itself and, for browsers, in the event stream."""
    half = os.urandom(2 * MIB)
    with side.following(page) as news, side.connect() as connection:
        connection.request("PUT", f"/upload/{page}?mib_s=1000", content_length=2 * len(half))
        connection.send(half)
        connection.head()
        first = connection.chunk()
        told = news.until("upload", hashed=len(half))
        connection.send(half)
        *_, last = iter(connection.chunk, b"")
        news.until("upload", ended="all hashed")

    assert re.fullmatch(rb"[\d,]+ bytes so far\n", first or b"")
    assert told["sha256"] == hashlib.sha256(half).hexdigest()
    assert last == f"4,194,304 bytes, sha256 {hashlib.sha256(half + half).hexdigest()}\n".encode()


@curl
def test_the_line_for_an_upload_gets_its_progress_and_its_hash(side: Side, page: str) -> None:
    *progress, last = side.shell(
        f"head -c 5M /dev/zero | curl -sN -T - {side.url}/upload/{page}"
    ).splitlines()

    assert progress
    assert all(line.endswith(" bytes so far") for line in progress)
    assert last == f"5,242,880 bytes, sha256 {hashlib.sha256(bytes(5 * MIB)).hexdigest()}"


@pytest.mark.parametrize("pace", ["0", "soon"])
def test_a_pace_that_is_none_is_refused(side: Side, page: str, pace: str) -> None:
    with side.connect() as connection:
        assert connection.ask("PUT", f"/upload/{page}?mib_s={pace}", b"x").status == 400


def test_a_handler_tells_that_its_client_left_before_it_had_an_answer(
    side: Side, page: str
) -> None:
    with side.following(page) as news:
        with side.connect() as client:
            client.request("GET", f"/leave/{page}")
            news.until("leave")
            client.close()
        news.until("leave", ended="gone")
        lines = [each["line"] for each in news.last["log"]]

    assert [re.sub(r"^ *[\d.]+ s", "", line) for line in lines] == [
        "  /leave  began: a client waits",
        "  /leave  ended: gone",
    ]
    assert lines[1] in side.demo.said()


def test_three_tasks_write_into_one_response(side: Side) -> None:
    with side.connect() as connection:
        *lines, last = connection.ask("GET", "/race").body.decode().splitlines()

    assert sorted(lines) == sorted(
        f"{name} {lap}" for name in handlers.RUNNERS for lap in range(1, 6)
    )
    assert lines[0] == "hare 1"
    assert last == f"All ran on {side.backend}."


@pytest.mark.anyio
async def test_what_pages_and_lines_may_cost_is_bounded() -> None:
    """Old pages go, and old lines; a newer request takes the place of an older one."""
    app = handlers.make_app({"trio": 1, "asyncio": 2})
    async with Client(app) as client:
        for number in range(MOST_BOARDS + 1):
            await client.put(f"/upload/{number}", content=b"")
        for size in range(MOST_LINES + 1):
            await client.put("/upload/last", content=bytes(size))
    boards = app.state.boards

    assert list(boards) == [*map(str, range(2, MOST_BOARDS + 1)), "last"]
    assert boards["last"].facts["upload"]["hashed"] == MOST_LINES
    assert [each["number"] for each in boards["last"].facts["log"]] == list(
        range(2, MOST_LINES + 2)
    )


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_ctrl_c_ends_both_servers_and_all_streams(tmp_path: Path, backend: str) -> None:
    """
    At once, with status 0, whoever came first; what has an end to say says it, and what was not
    whole does not look so.
    """
    with running(tmp_path / "log", "--backend", backend) as demo:
        assert next(iter(demo.urls)) == backend
        clients: list[list[Connection]] = []
        for side in map(demo.on, demo.urls):
            clients.append([side.connect() for _ in range(4)])
            for client, path in zip(
                clients[-1], ("/events/x", "/leave/x", "/stream/x", "/stream/y"), strict=True
            ):
                client.request("GET", path)
            events, _, reader, stalled = clients[-1]
            News(events).until("leave")
            reader.head()
            assert reader.take(MIB)
            stalled.head()
        demo.process.send_signal(signal.SIGINT)
        for events, leaving, reader, _ in clients:
            while events.chunk():
                pass
            assert leaving.answer().body == b"The server is shutting down: goodbye.\n"
            assert len(reader.take(handlers.STREAM_BYTES)) < handlers.STREAM_BYTES - MIB
        assert demo.process.wait(20) == 0
        for client in itertools.chain(*clients):
            client.close()

    assert demo.said().count("/leave  ended: goodbye") == 2
    assert "Warning" not in demo.said()


def test_an_address_that_is_taken_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        assert main(["demo", "--bind", "127.0.0.1:0", "--bind", address]) == 1
    assert address in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "seconds"), [([], (0.5, 1.5)), (["--drain", "4"], (4.0, 15.0))]
)
def test_an_end_is_quick_unless_asked_otherwise(
    monkeypatch: pytest.MonkeyPatch, options: list[str], seconds: tuple[float, float]
) -> None:
    configs: list[Config] = []
    monkeypatch.setattr(nardis._demo, "run_demo", configs.append)

    assert main(["demo", *options]) == 0
    assert [(config.drain_s, config.graceful_s) for config in configs] == [seconds]
