"""
Work follows the client: when it leaves, the handler is cancelled, cleans up, and nothing stays
behind.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

import pytest

from tests.peers.client import eventually
from tests.wire.servers import OURS, Server, on, on_each_worker

KIB = 1024
MIB = 1024 * KIB

# A tick until an exchange is looked at, another until it is old enough for a watcher, and some for
# a slow machine. How many ticks it is, tests with a clock of their own know better.
NOTICED_S = 0.5 + 2


def assert_cleaned_up(server: Server, key: str, left: float) -> None:
    """
    The handler was cancelled because its client left, its clean-up ran to the end, and its tasks
    are gone.
    """
    cancelled = server.event(key, "cancelled")
    assert cancelled["reason"] == "gone"
    assert cancelled["at"] - left < NOTICED_S
    events = list(
        eventually(lambda: seen if "deferred" in (seen := server.observed(key)) else None)
    )
    assert events == ["started", "cancelled", "cleaned", "deferred"]
    assert server.comes_to_rest()


@on_each_worker
def test_a_handler_is_cancelled_before_its_first_byte(server: Server, key: str) -> None:
    with server.connect() as connection:
        connection.request("GET", f"/wait/{key}")
        server.event(key, "started")
        left = time.monotonic()
        connection.close()

        assert_cleaned_up(server, key, left)


@on_each_worker
def test_a_handler_is_cancelled_while_idle_mid_stream(server: Server, key: str) -> None:
    with server.connect() as connection:
        connection.request("GET", f"/idle/{key}")
        connection.head()
        assert connection.chunk() == b"first"
        left = time.monotonic()
        connection.close()

        assert_cleaned_up(server, key, left)


@on_each_worker
def test_a_handler_is_cancelled_while_it_writes_now_and_then(server: Server, key: str) -> None:
    with server.connect() as connection:
        connection.request("GET", f"/tick/{key}")
        connection.head()
        assert connection.chunk() == b"tick\n"
        left = time.monotonic()
        connection.close()

        assert_cleaned_up(server, key, left)


@on_each_worker
def test_a_handler_is_cancelled_while_it_writes_without_pause(server: Server, key: str) -> None:
    with server.connect() as connection:
        connection.request("GET", f"/flood/{key}")
        connection.head()
        assert connection.chunk() == bytes(64 * 1024)
        left = time.monotonic()
        connection.close()

        assert_cleaned_up(server, key, left)


@on_each_worker
def test_a_handler_is_cancelled_while_it_reads(server: Server, key: str) -> None:
    with server.connect() as connection:
        connection.request("POST", f"/limited/{key}", content_length=1000)
        connection.send(b"half")
        server.event(key, "started")
        left = time.monotonic()
        connection.close()

        assert_cleaned_up(server, key, left)


@on_each_worker
def test_a_handler_is_cancelled_behind_a_small_body_that_it_does_not_read(
    server: Server, key: str
) -> None:
    """
    hypercorn queues the end of the connection behind the body; the watcher takes that much ahead.
    """
    sizes = (0, 100, 100_000)
    with ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in sizes]
        for size, connection in zip(sizes, connections, strict=True):
            connection.request("POST", f"/hold/{key}-{size}", bytes(size))
            server.event(f"{key}-{size}", "started")
        left = time.monotonic()
        for connection in connections:
            connection.close()

        for size in sizes:
            cancelled = server.event(f"{key}-{size}", "cancelled")
            assert cancelled["reason"] == "gone"
            assert (
                cancelled["at"] - left < NOTICED_S + 0.25
            )  # one more tick until the body counts as unread
    assert server.comes_to_rest()


@pytest.mark.skipif(sys.platform != "linux", reason="the runner asks Linux's sockets")
@on(*OURS)
def test_a_handler_is_cancelled_behind_a_large_body_that_it_does_not_read(
    server: Server, key: str
) -> None:
    """
    The news is behind all that the client has sent: only a server that looks past it can know.

    What the client has sent must fit into the server's system. What its own system still has, keeps
    the news back.
    """
    with server.connect() as connection:
        connection.request("POST", f"/hold/{key}", content_length=64 * MIB)
        server.event(key, "started")
        connection.send(bytes(512 * KIB))
        connection.close()

        assert server.event(key, "cancelled")["reason"] == "gone"
        server.event(key, "deferred")
    assert server.comes_to_rest()


@on_each_worker
def test_a_handler_is_cancelled_when_its_client_resets_a_used_connection(
    server: Server, key: str
) -> None:
    with server.connect() as connection:
        assert connection.ask("GET", "/hello").status == 200
        connection.request("GET", f"/wait/{key}")
        server.event(key, "started")
        left = time.monotonic()
        connection.reset()

        assert_cleaned_up(server, key, left)
