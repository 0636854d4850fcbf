"""`res.sse()` over real sockets: events are read as they come, and each end is an honest one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import chain

import httpx2
import pytest

from nardis.events import Event, EventDecoder
from tests.peers.client import eventually
from tests.wire.servers import OURS, Server, Sharing
from tests.wire.test_http2 import speaking

TARGET = "tests.wire.events_app:app"
NODE = """
const answer = await fetch(process.argv[1]);
for await (const chunk of answer.body) process.stdout.write(chunk);
"""
COMMANDS = {
    "curl": ("curl", "-sSN", "--noproxy", "*", "--max-time", "20"),
    "node": ("node", "--input-type=module", "--eval", NODE),
}

Chunks = Iterator[bytes]


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"there is no {name} here")


@pytest.fixture(params=OURS)
def server(request: pytest.FixtureRequest, shared: Sharing) -> Server:
    running = shared(request.param, target=TARGET)
    assert running.at_rest["calls"] == 2  # the lifespan's and this one
    return running


@contextmanager
def by_program(name: str, url: str) -> Iterator[Chunks]:
    """Read what curl or Node's fetch get, as they write it."""
    with subprocess.Popen([*COMMANDS[name], url], stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            assert process.stdout is not None
            output = process.stdout
            yield iter(lambda: output.read(64 * 1024), b"")
        finally:
            process.kill()


@contextmanager
def by_httpx(name: str, url: str) -> Iterator[Chunks]:
    with httpx2.Client(trust_env=False) as client, client.stream("GET", url) as response:
        with closing(response.iter_bytes()) as chunks:
            yield chunks


def events_of(chunks: Chunks) -> Iterator[Event]:
    decoder = EventDecoder()
    return chain.from_iterable(map(decoder.feed, chunks))


@pytest.mark.parametrize(
    ("name", "reading"),
    [
        pytest.param("curl", by_program, id="curl", marks=needs("curl")),
        pytest.param("node", by_program, id="node", marks=needs("node")),
        pytest.param("httpx2", by_httpx, id="httpx2"),
    ],
)
def test_a_client_has_each_event_before_the_next_is_made(
    server: Server, key: str, name: str, reading: Callable[..., AbstractContextManager[Chunks]]
) -> None:
    with reading(name, f"http://127.0.0.1:{server.port}/events/{key}") as chunks:
        events = events_of(chunks)
        for number in range(3):
            server.ask("GET", f"/more/{key}")
            assert next(events) == Event(f'{{"number":{number}}}', "number", str(number), 2.0)
        assert list(events) == []
    assert "cancelled" not in server.observed(key)
    assert server.comes_to_rest()


def test_an_idle_stream_has_pings_and_ends_when_its_client_leaves(server: Server, key: str) -> None:
    with server.connect() as connection:
        connection.request("GET", f"/idle-events/{key}")
        status, fields = connection.head()
        assert (status, fields["content-type"]) == (200, "text/event-stream")
        assert (fields["cache-control"], fields["x-accel-buffering"]) == ("no-store", "no")
        assert [connection.chunk(), connection.chunk()] == [b": ping\n\n"] * 2

    assert server.event(key, "cancelled")["reason"] == "gone"
    assert server.comes_to_rest()


def test_http2_events_come_as_they_are_made_and_end_with_their_stream(
    server: Server, key: str
) -> None:
    with speaking(server) as client:
        number = client.request("GET", f"/events/{key}")
        stream = client.streams[number]
        for count in (1, 2):
            server.ask("GET", f"/more/{key}")
            client.until(lambda count=count: stream.body.count(b"data: ") == count)
        assert stream.body.startswith(b"retry: 2000\n\nevent: number\nid: 0\n")
        client.h2.reset_stream(number)
        client.flush()

        assert server.event(key, "cancelled")["reason"] == "gone"


def test_the_events_of_several_tasks_are_whole(server: Server) -> None:
    answer = server.ask("GET", "/choir")
    events = EventDecoder().feed(answer.body)

    assert answer.complete
    assert sorted(event.event for event in events) == sorted("abc" * 100)
    assert all(event.data == f"{event.event}\n{event.event * 500}" for event in events)


@needs("curl")
def test_a_failed_producer_cuts_the_stream_visibly(server: Server) -> None:
    """Curl says 18, that it is not whole, and a browser comes back."""
    command = [*COMMANDS["curl"], f"http://127.0.0.1:{server.port}/broken-events"]
    done = subprocess.run(command, capture_output=True)

    assert (done.returncode, done.stdout) == (18, b"data: first\n\n")
    eventually(lambda: "RuntimeError: on purpose" in server.log())
