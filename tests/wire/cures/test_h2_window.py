"""`h2_window`: a window that is shut holds the application back."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
from h2.errors import ErrorCodes

from tests.peers.client import eventually
from tests.peers.h2client import H2Client
from tests.peers.raw_app import KIB, MIB, block
from tests.wire.cures.stock import CAN_GO, TARGET
from tests.wire.servers import OURS, Server, serving


def taken(server: Server, key: str) -> int:
    """Give how much was taken of what the application offers, as soon as that grows no more."""
    last, same = -1, 0
    while same < 20 and last < 32 * MIB:
        now = int(server.ask("GET", f"/progress/{key}").body)
        last, same = now, same + 1 if now == last else 0
    return last


def test_h2_window_holds_the_application_while_it_is_shut(server: Server, key: str):
    process = psutil.Process(server.process.pid)
    server.ask("GET", "/hello")
    rss, fds = process.memory_info().rss, process.num_fds()
    with H2Client(server.port, window=0) as client:
        client.request("GET", f"/flood/{key}")
        client.ping()

        assert taken(server, key) <= MIB
        assert process.memory_info().rss - rss < 8 * MIB
    assert server.event(key, "ended")
    eventually(lambda: process.num_fds() <= fds)
    assert process.memory_info().rss - rss < 8 * MIB


def test_h2_window_of_stock_fills_memory_while_it_is_shut(doomed: Server, key: str):
    process = psutil.Process(doomed.process.pid)
    rss = process.memory_info().rss
    with H2Client(doomed.port, window=0) as client:
        client.request("GET", f"/flood/{key}")
        client.ping()

        assert taken(doomed, key) > 8 * MIB, CAN_GO + "h2_window"
        assert process.memory_info().rss - rss > 8 * MIB, CAN_GO + "h2_window"


def test_h2_window_lets_everything_through_in_order_when_it_opens(server: Server):
    with H2Client(server.port, window=0, credit=False) as client:
        one, other = client.request("GET", "/blocks/12"), client.request("GET", "/blocks/6")
        client.ping()
        assert client.streams[one].body == client.streams[other].body == b""
        step = 1
        while not (client.streams[one].ended and client.streams[other].ended):
            for stream_id in (one, other):
                if not client.streams[stream_id].ended:
                    client.open_window(step, stream_id)
            client.open_window(2 * step)
            client.ping()
            step = min(2 * step + 1, 128 * KIB)
        assert client.streams[one].body == b"".join(map(block, range(12)))
        assert client.streams[other].body == b"".join(map(block, range(6)))


def test_h2_window_lets_a_send_return_when_the_client_leaves(server: Server, key: str):
    """Also of an application that looks at nothing but its sends."""
    with H2Client(server.port, window=0) as client:
        stream = client.streams[client.request("GET", f"/blocks/{key}-12")]
        client.until(lambda: stream.status)
    assert server.event(f"{key}-12", "returned")


@pytest.mark.parametrize("kind", OURS)
def test_h2_window_ends_a_stream_that_stalls_and_none_that_is_slow(
    kind: str, tmp_path: Path, key: str
):
    """
    However long a piece takes: the application sends 64 KiB at once, and the client takes byte
    after byte.
    """
    with serving(kind, tmp_path, "--write-stall", "0.5", target=TARGET) as server:
        with H2Client(server.port, window=0, credit=False) as client:
            slow_id, begun = client.request("GET", f"/flood/{key}-slow"), time.monotonic()
            stalled_id = client.request("GET", f"/flood/{key}-stalled")
            slow, stalled = client.streams[slow_id], client.streams[stalled_id]
            while stalled.reset is None or time.monotonic() - begun < 1.5:
                taken = len(slow.body)
                client.open_window(1)
                client.open_window(1, slow_id)
                client.until(lambda taken=taken: len(slow.body) > taken)

            assert (stalled.reset, stalled.body) == (ErrorCodes.CANCEL, b"")
            assert server.event(f"{key}-stalled", "ended")
            assert slow.reset is None
            assert client.answer(slow_id).reset == ErrorCodes.CANCEL  # it has stopped
            assert len(slow.body) < 64 * KIB
        assert server.stop() == 0, server.log()
