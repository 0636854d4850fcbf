"""A client is slow, or it stops: the one gets all of its response, the other is cut in time, on both workers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.peers.client import Connection, eventually
from tests.wire.servers import OURS, Server, serving

MIB = 1024 * 1024
STALL_S = 1.0


@pytest.fixture(scope="module", params=OURS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    options = ("--write-stall", "1", "--access-log", "text")
    with serving(request.param, tmp_path_factory.mktemp(request.param), *options) as running:
        yield running
        assert running.stop() == 0, running.log()


@pytest.fixture(scope="module", params=OURS)
def raw_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    options = ("--write-stall", "1", "--access-log", "text")
    with serving(
        request.param,
        tmp_path_factory.mktemp(request.param),
        *options,
        target="tests.wire.test_progress:raw",
    ) as running:
        yield running
        assert running.stop() == 0, running.log()


async def raw(scope: object, receive: object, send: object) -> None:
    """Answer with one large piece, as an application that is no Nardis."""
    assert isinstance(scope, dict)
    if scope["type"] == "lifespan":
        raise RuntimeError
    assert callable(send)
    size = int(scope["path"][1:]) * MIB
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"%d" % size)],
        }
    )
    await send({"type": "http.response.body", "body": bytes(size)})


def read_slowly(connection: Connection, size: int, seconds: float) -> int:
    """Read *size* bytes in so many *seconds*, a little all the time; give how many came."""
    since, got = time.monotonic(), 0
    while got < size:
        data = connection.socket.recv(size // 200)
        assert data, "the response ended early"
        got += len(data)
        ahead = got / size * seconds - (time.monotonic() - since)
        time.sleep(max(ahead, 0))  # that is what slow means
    return got


@pytest.mark.parametrize("path", ["/whole/2", "/one-write/2", "/blocks/2"])
def test_a_slow_and_steady_reader_gets_it_all(server: Server, path: str) -> None:
    """The whole of it takes longer than a client may stall."""
    with server.connect(receive_buffer=16 * 1024) as connection:
        connection.request("GET", path)
        assert connection.head()[0] == 200
        assert read_slowly(connection, 2 * MIB - 200_000, 3) >= 2 * MIB - 200_000
    assert "stalled" not in server.log()


def test_a_slow_and_steady_reader_of_any_application_gets_it_all(raw_server: Server) -> None:
    with raw_server.connect(receive_buffer=16 * 1024) as connection:
        connection.request("GET", "/2")
        assert connection.head()[0] == 200
        assert read_slowly(connection, 2 * MIB - 200_000, 3) >= 2 * MIB - 200_000


@pytest.mark.parametrize("path", ["/whole/64", "/one-write/64", "/blocks/64"])
def test_one_that_stops_is_cut_in_time_and_counted_as_stalled(server: Server, path: str) -> None:
    logged = len(server.log())
    with server.connect(receive_buffer=16 * 1024) as connection:
        connection.request("GET", path)
        assert connection.head()[0] == 200
        since = time.monotonic()
        eventually(lambda: f'"GET {path} ' in server.log()[logged:])

        assert STALL_S - 0.3 < time.monotonic() - since < STALL_S + 2
    [line] = [each for each in server.log()[logged:].splitlines() if f'"GET {path} ' in each]
    assert line.endswith("close_reason=stalled")


def test_one_of_any_application_that_stops_is_counted_as_stalled(raw_server: Server) -> None:
    with raw_server.connect(receive_buffer=4096) as connection:
        connection.request("GET", "/32")
        assert connection.head()[0] == 200
        eventually(lambda: "close_reason=stalled" in raw_server.log())
