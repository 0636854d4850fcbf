"""
A client is slow, or it stops: the one gets all of its response, the other is cut in time.

On both workers, with our own application and with any other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.peers.client import eventually
from tests.wire.servers import OURS, TARGET, Server, serving

MIB = 1024 * 1024
STALL_S = 2.0
SLOW_S = 4.0  # the whole takes longer than a client may stall
LATE_S = 5.0  # what a busy machine may add
SLOW_BYTES = 2 * MIB - 200_000

OPTIONS = ("--write-stall", str(STALL_S), "--access-log", "text")
RAW = "tests.wire.test_progress:raw"

# The path ends with the size of the response in mebibytes; the one for those that stop is more
# than kernels take.
SLOW = [(TARGET, "/whole/2"), (TARGET, "/one-write/2"), (TARGET, "/blocks/2"), (RAW, "/2")]
STOPPING = [(TARGET, "/whole/16"), (TARGET, "/one-write/16"), (TARGET, "/blocks/16"), (RAW, "/16")]


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


def read_slowly(server: Server, path: str) -> tuple[int, str]:
    """Read a response, a little all the time; return how many bytes came, and the access line."""
    with server.connect(receive_buffer=16 * 1024) as connection:
        connection.request("GET", path)
        assert connection.head()[0] == 200
        since, got = time.monotonic(), 0
        while got < SLOW_BYTES:
            data = connection.socket.recv(SLOW_BYTES // 200)
            assert data, "the response ended early"
            got += len(data)
            ahead = got / SLOW_BYTES * SLOW_S - (time.monotonic() - since)
            time.sleep(max(ahead, 0))  # that is what slow means
    return got, access_line(server, path)


def read_nothing(server: Server, path: str) -> tuple[float, str]:
    """Return after which time a client that stops was given up, and the access line."""
    with server.connect(receive_buffer=16 * 1024) as connection:
        connection.request("GET", path)
        assert connection.head()[0] == 200
        since = time.monotonic()
        line = access_line(server, path)
        return time.monotonic() - since, line


def access_line(server: Server, path: str) -> str:
    [line] = eventually(
        lambda: [line for line in server.log().splitlines() if f'"GET {path} ' in line]
    )
    return line


Outcomes = dict[tuple[str, str, str], Future[tuple[float, str]]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    """Run all clients at once, because this takes time and nothing else."""
    most = len(OURS) * (len(SLOW) + len(STOPPING))
    with ExitStack() as stack, ThreadPoolExecutor(most) as pool:
        running: Outcomes = {}
        for kind in OURS:
            for target in (TARGET, RAW):
                directory = tmp_path_factory.mktemp(kind)
                server = stack.enter_context(serving(kind, directory, *OPTIONS, target=target))
                stack.callback(ends_well, server)
                for client, asked in ((read_slowly, SLOW), (read_nothing, STOPPING)):
                    for of, path in asked:
                        if of == target:
                            running[kind, of, path] = pool.submit(client, server, path)
        yield running


def ends_well(server: Server) -> None:
    assert server.stop() == 0, server.log()


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize(("target", "path"), SLOW)
def test_a_slow_and_steady_reader_gets_it_all(
    kind: str, target: str, path: str, outcomes: Outcomes
) -> None:
    got, line = outcomes[kind, target, path].result()

    assert got >= SLOW_BYTES
    assert "stalled" not in line


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize(("target", "path"), STOPPING)
def test_one_that_stops_is_cut_in_time_and_counted_as_stalled(
    kind: str, target: str, path: str, outcomes: Outcomes
) -> None:
    took_s, line = outcomes[kind, target, path].result()

    assert STALL_S - 0.3 < took_s < STALL_S + LATE_S
    assert line.endswith("close_reason=stalled")
