"""
The end of one process under load: each response is whole or visibly cut, and the process leaves in
time, whoever is there.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from nardis import Nardis
from nardis.server import Config, serve
from tests.peers.crowd import HELLO, Crowd, Member, records
from tests.wire.drain_app import END
from tests.wire.servers import LEAKS, OURS, Server, serving

TARGET = "tests.wire.drain_app:app"
DRAIN_S = 0.5
GRACEFUL_S = 1.5

# The promise is "graceful and one second"; a busy machine may take longer to end a process that has
# left its event loop.
LATE_S = 1 + 5
LATEST_S = GRACEFUL_S + LATE_S

# How often the crowd is driven: once, unless somebody wants to know it better than CI does.
TIMES = int(os.environ.get("NARDIS_DRAIN_TIMES", "1"))

OPEN = 200


@dataclass
class Drained:
    """What is known after a shutdown under a crowd."""

    members: dict[str, list[Member]]
    status: int
    took_s: float
    log: str
    directory: Path

    def of(self, *names: str) -> list[Member]:
        return [member for name in names or self.members for member in self.members[name]]


def get(path: str, version: str = "1.1") -> bytes:
    return f"GET {path} HTTP/{version}\r\nhost: localhost\r\n\r\n".encode()


def post(field: str, body: bytes) -> bytes:
    return f"POST /upload HTTP/1.1\r\nhost: localhost\r\n{field}\r\n\r\n".encode() + body


@pytest.fixture(
    scope="module", params=[f"{kind} {time}" for time in range(1, TIMES + 1) for kind in OURS]
)
def drained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Drained:
    return drain(request.param.split()[0], tmp_path_factory.mktemp("drained"))


def drain(kind: str, directory: Path) -> Drained:
    """Tell a server with a crowd to end, and see what comes of it."""
    options = ("--drain", str(DRAIN_S), "--graceful", str(GRACEFUL_S))
    with serving(kind, directory, *options, target=TARGET) as server, Crowd(server.port) as crowd:
        members = {
            "listening": crowd.join(40, get("/listen")),
            "ticking": crowd.join(20, get("/ticks/100000")),
            "ticking, declared": crowd.join(10, get("/declared/100000")),
            "ticking, unframed": crowd.join(10, get("/ticks/100000", "1.0")),
            "ending soon": [
                member for n in range(10) for member in crowd.join(1, get(f"/ticks/{3 + 3 * n}"))
            ],
            "stalled": crowd.join(10, get("/flood"), stalls=True)
            + crowd.join(10, get("/declared-flood"), stalls=True),
            "half an upload": crowd.join(15, post("content-length: 65536", bytes(4096))),
            "half a chunked upload": crowd.join(
                15, post("transfer-encoding: chunked", b"1000\r\n" + bytes(4000))
            ),
            "silent": crowd.join(10, HELLO),
            "asking at that moment": crowd.join(10, HELLO),
            "asking again": crowd.join(10, HELLO),
            "repeating": crowd.join(20, HELLO, repeats=True),
            "repeating an upload": crowd.join(
                10, post("content-length: 4096", bytes(4096)), repeats=True
            ),
        }
        assert sum(map(len, members.values())) == OPEN
        answered = [
            name
            for name in members
            if name.startswith(("listening", "repeating", "silent", "asking"))
        ]
        crowd.until(
            lambda: all(
                member.received or member.answers for name in answered for member in members[name]
            )
        )
        for path, count in {
            "/listen": 40,
            "/ticks/100000": 30,
            "/flood": 10,
            "/declared-flood": 10,
            "/upload": 40,
        }.items():
            crowd.until(lambda: len(records(directory, path, "started")) >= count)  # noqa: B023  # it is called at once

        server.process.send_signal(signal.SIGSTOP)
        server.process.send_signal(signal.SIGTERM)
        for member in members["asking at that moment"]:
            member.ask(HELLO)
        server.process.send_signal(signal.SIGCONT)
        since = time.monotonic()
        crowd.until(
            lambda: END in members["listening"][0].received or members["listening"][0].answers
        )
        for member in members["asking again"]:
            member.ask(HELLO)
        crowd.until(lambda: server.process.poll() is not None, GRACEFUL_S + 10)
        took_s = time.monotonic() - since
        crowd.read_out()
        return Drained(members, server.process.returncode, took_s, server.log(), directory)


def test_no_body_looks_whole_and_is_not(drained: Drained) -> None:
    answers = [answer for member in drained.of() for answer in member.answers]

    assert [
        answer for answer in answers if answer.status == 200 and not answer.body.endswith(END)
    ] == []
    assert {answer.status for answer in answers} <= {200, 503}


def test_a_stream_that_does_not_end_is_cut(drained: Drained) -> None:
    for member in drained.of("ticking", "ticking, declared", "ticking, unframed"):
        last = member.last()
        assert member.answers == []
        assert last is not None
        assert b"tick" in last.body
    assert {member.end for member in drained.of("ticking, unframed")} == {"reset"}


def test_a_stream_that_listens_ends_well(drained: Drained) -> None:
    for member in drained.of("listening"):
        assert [
            answer.body.endswith(b"\n\nevent: goodbye\ndata: " + END) for answer in member.answers
        ] == [True]
        assert not member.received


def test_a_stream_that_ends_by_itself_in_time_is_whole(drained: Drained) -> None:
    """The shortest ones do so long before the time is up; the longest cannot."""
    shortest = drained.members["ending soon"][0]

    assert [answer.body.endswith(END) for answer in shortest.answers] == [True]


def test_a_half_upload_is_not_taken_for_a_whole_one(drained: Drained) -> None:
    for member in drained.of("half an upload", "half a chunked upload"):
        assert {answer.status for answer in member.answers} <= {503}


def test_a_request_on_its_way_when_the_drain_begins_is_answered(drained: Drained) -> None:
    for member in drained.of("asking at that moment", "asking again"):
        assert [answer.body for answer in member.answers] == [b"hello" + END] * 2
        assert not member.received
    assert {
        member.answers[1].headers.get("connection") for member in drained.of("asking again")
    } == {"close"}


def test_an_idle_connection_is_closed_without_a_word(drained: Drained) -> None:
    for member in drained.of("silent"):
        assert len(member.answers) == 1
        assert (member.received, member.end) == (b"", "closed")


def test_a_client_that_asks_in_a_loop_is_told_when_it_is_over(drained: Drained) -> None:
    for member in drained.of("repeating", "repeating an upload"):
        assert {answer.body for answer in member.answers} in ({b"hello" + END}, {b"4096" + END})
        assert [answer.headers.get("connection") for answer in member.answers].count("close") == 1
        assert not member.received


def test_the_process_ends_in_time_and_well(drained: Drained) -> None:
    assert drained.status == 0, drained.log
    assert drained.took_s < LATEST_S
    assert not LEAKS.search(drained.log)
    assert "Traceback" not in drained.log


def test_the_lifespan_ends_after_all_handlers(drained: Drained) -> None:
    [last] = records(drained.directory, "lifespan", "ended")
    for path in (
        "/listen",
        "/ticks/100000",
        "/declared/100000",
        "/flood",
        "/declared-flood",
        "/upload",
    ):
        started, ended = (records(drained.directory, path, event) for event in ("started", "ended"))
        assert len(started) == len(ended) > 0
        assert max(each["at"] for each in ended) <= last["at"]


# --- what does not end by itself ------------------------------------------------------------------

STUCK = ("/ignore-cancellation", "/block-a-thread")
SHORT_GRACEFUL_S = 0.4


@dataclass
class Stuck:
    """A server that was told to end and could not."""

    status: int
    took_s: float
    log: list[str]


def end(server: Server) -> Stuck:
    server.process.send_signal(signal.SIGTERM)
    since = time.monotonic()
    status = server.process.wait(20)
    return Stuck(status, time.monotonic() - since, server.unusual())


@pytest.fixture(scope="module")
def stuck(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[tuple[str, str], Future[Stuck]]]:
    """Tell servers to end that cannot; all at once, because this takes time and nothing else."""
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        ending = {}
        for kind, path in itertools.product(OURS, STUCK):
            options = ("--drain", "0.1", "--graceful", str(SHORT_GRACEFUL_S))
            server = stack.enter_context(
                serving(kind, tmp_path_factory.mktemp("stuck"), *options, target=TARGET)
            )
            connection = stack.enter_context(server.connect())
            connection.request("GET", path)
            server.event(path, "started")
            ending[kind, path] = pool.submit(end, server)
        yield ending


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("path", STUCK)
def test_what_does_not_end_is_left_behind(
    kind: str, path: str, stuck: dict[tuple[str, str], Future[Stuck]]
) -> None:
    """A watchdog leaves the process in time, with a line and a status that say so."""
    left = stuck[kind, path].result()

    assert left.status == 70
    assert left.took_s < SHORT_GRACEFUL_S + LATE_S, left.took_s
    [line] = left.log[1:]
    assert "stuck" in line


# --- at the edges ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("path", ["/flood", "/declared-flood"])
def test_a_stalled_reader_does_not_hold_it_up(kind: str, path: str, tmp_path: Path) -> None:
    """
    Once its handler has ended there is nothing left to wait for, and `--graceful` has no say in it.
    """
    with (
        serving(kind, tmp_path, "--drain", "0.1", "--graceful", "30", target=TARGET) as server,
        Crowd(server.port) as crowd,
    ):
        [stalled] = crowd.join(1, get(path), stalls=True)
        server.event(path, "started")
        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(15) == 0
        crowd.read_out()
        assert (stalled.answers, stalled.end) == ([], "reset")


def test_a_request_that_waits_for_a_busy_loop_is_answered(tmp_path: Path) -> None:
    """A connection is not idle whose next request is there and was not read yet."""
    with serving("hypercorn-trio", tmp_path, target=TARGET) as server, Crowd(server.port) as crowd:
        [listening] = crowd.join(1, get("/listen"))
        idle = crowd.join(10, HELLO)
        crowd.until(lambda: listening.received and all(member.answers for member in idle))
        [blocking] = crowd.join(1, get("/block-the-loop"))
        server.event("/block-the-loop", "started")
        server.process.send_signal(signal.SIGTERM)
        server.event("/block-the-loop", "blocks")
        for member in idle:
            member.ask(HELLO)
        crowd.until(lambda: server.process.poll() is not None)
        crowd.read_out()

        assert [answer.body for answer in blocking.answers] == [END]
        assert [[answer.body for answer in member.answers] for member in idle] == [
            [b"hello" + END] * 2
        ] * 10
        assert server.process.returncode == 0, server.log()


@pytest.mark.parametrize(
    ("kind", "number"), list(zip(OURS, (signal.SIGINT, signal.SIGHUP), strict=True))
)
def test_other_signals_end_a_single_process_as_sigterm_does(
    kind: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And systemd hears of both ends of serving, if it wants to."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(20)
        systemd.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with serving(kind, tmp_path, target=TARGET) as server, server.connect() as connection:
            assert systemd.recv(100) == b"READY=1"
            connection.request("GET", "/listen")
            assert connection.head()[0] == 200
            server.process.send_signal(number)

            assert systemd.recv(100) == b"STOPPING=1"
            pieces = iter(connection.chunk, None)
            assert b"".join(itertools.takewhile(bool, pieces)).endswith(END)
            connection.close()
            assert server.process.wait(10) == 0, server.log()
            assert records(tmp_path, "lifespan", "ended")


@pytest.mark.parametrize("kind", OURS)
def test_who_connects_during_the_end_is_answered_wholly_or_not_at_all(
    kind: str, tmp_path: Path
) -> None:
    """
    Clients that come in the moment of the signal, some before it, some after it, some before the
    process looks.
    """
    with (
        serving(kind, tmp_path, "--drain", "0.2", "--graceful", "1", target=TARGET) as server,
        Crowd(server.port) as crowd,
    ):
        server.process.send_signal(signal.SIGSTOP)
        queued = crowd.join(50, HELLO)
        server.process.send_signal(signal.SIGTERM)
        queued += crowd.join(50, HELLO)
        server.process.send_signal(signal.SIGCONT)
        crowd.until(lambda: server.process.poll() is not None)
        crowd.read_out()

        assert server.process.returncode == 0, server.log()
        assert {member.received for member in queued} == {b""}
        assert {answer.body for member in queued for answer in member.answers} <= {b"hello" + END}
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))


@pytest.mark.anyio
async def test_a_connection_that_was_taken_is_answered_and_the_others_stay_in_the_queue(
    anyio_backend_name: str,
) -> None:
    """
    Several processes have one queue: whoever ends leaves it as it is, and what it took from it is
    its own to serve.
    """
    app = Nardis()

    @app.get("/")
    async def index(req: Any, res: Any) -> None:
        await res.send(END)

    for steps in range(12):
        with (
            socket.create_server(("127.0.0.1", 0)) as queue,
            Crowd(queue.getsockname()[1]) as crowd,
        ):
            config = Config(bind=[f"fd://{queue.fileno()}"], backend=anyio_backend_name)  # type: ignore[arg-type]
            stop, ended = anyio.Event(), threading.Event()

            async def run(
                config: Config, stop: anyio.Event, ended: threading.Event, *, task_status: Any
            ) -> None:
                await serve(app, config, shutdown=stop.wait, task_status=task_status)
                ended.set()

            async with anyio.create_task_group() as group:
                await group.start(run, config, stop, ended)
                members = crowd.join(
                    5, b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
                )
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                stop.set()
                await anyio.to_thread.run_sync(crowd.until, ended.is_set)
            left = left_in(queue)
            # One that nobody took, and nobody closed, would be waited for here.
            crowd.until(lambda: all(member.end for member in members))  # noqa: B023  # it is called at once

        assert sum(len(member.answers) for member in members) + left == len(members), (
            f"lost after {steps} steps"
        )
        assert {answer.body for member in members for answer in member.answers} <= {END}
        assert {member.received for member in members} == {b""}


def left_in(queue: socket.socket) -> int:
    """Count the connections that nobody has taken, and take them."""
    queue.setblocking(False)
    count = 0
    while True:
        try:
            queue.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


# --- readiness ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_readiness_hook_hears_when_serving_begins_and_when_it_ends(
    anyio_backend_name: str,
) -> None:
    """It hears of the end before what runs is told to end."""
    app, heard, stop = Nardis(), [], anyio.Event()
    config = Config(
        bind=["127.0.0.1:0"],
        backend=anyio_backend_name,  # type: ignore[arg-type]
        ready=lambda ready: heard.append((ready, app.draining.is_set())),
    )
    async with anyio.create_task_group() as group:
        await group.start(lambda **told: serve(app, config, shutdown=stop.wait, **told))
        await anyio.wait_all_tasks_blocked()
        assert heard == [(True, False)]
        stop.set()

    assert heard == [(True, False), (False, False)]
    assert app.draining.is_set()
