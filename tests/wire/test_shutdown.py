"""SIGTERM: streams that listen end cleanly, others are cut visibly, and the process ends well."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.peers.client import settled
from tests.wire.servers import CHOSEN, OURS, Server, serving

# How each is told to wait for what runs, a second or two; ours parts the time to say goodbye from
# that to clean up.
PATIENCE = {
    "hypercorn-trio": ("--drain", "0.5", "--graceful", "1"),
    "hypercorn-asyncio": ("--drain", "0.5", "--graceful", "1"),
    "uvicorn-h11": ("--timeout-graceful-shutdown", "2"),
    "uvicorn-httptools": ("--timeout-graceful-shutdown", "2"),
    "stock-trio": ("--graceful-timeout", "2"),
    "stock-asyncio": ("--graceful-timeout", "2"),
    "granian": ("--workers-kill-timeout", "2"),
    "daphne": ("--application-close-timeout", "2"),
    "anycorn-trio": ("--graceful-timeout", "2"),
    "anycorn-asyncio": ("--graceful-timeout", "2"),
}
on_each = pytest.mark.parametrize("kind", CHOSEN or OURS)


def ends_well(server: Server) -> bool:
    """Wait for its end; uvicorn ends by the very signal that told it to."""
    return server.process.wait(20) in ((0,) if server.kind in OURS else (0, -signal.SIGTERM))


@on_each
def test_a_stream_that_listens_ends_cleanly(kind: str, tmp_path: Path, key: str) -> None:
    with (
        serving(kind, tmp_path, *PATIENCE[kind]) as server,
        server.connect() as connection,
        server.connect() as idle,
    ):
        assert idle.ask("GET", "/hello").status == 200
        connection.request("GET", f"/until-draining/{key}")
        assert connection.head()[0] == 200
        assert connection.chunk() == b"open "
        server.process.send_signal(signal.SIGTERM)

        assert connection.chunk() == b"goodbye"
        assert connection.chunk() == b""
        assert idle.at_end()
        for each in (connection, idle):
            each.close()  # a client that stays is waited for
        assert ends_well(server), server.log()

        events = server.observed(key) | server.observed("lifespan")
        assert set(events) == {"started", "draining", "cleaned", "deferred", "ended"}
        assert events["draining"]["at"] < events["deferred"]["at"] < events["ended"]["at"]


@on_each
@pytest.mark.parametrize("path", ["/idle", "/tick"])
def test_a_stream_that_does_not_listen_is_cut(
    kind: str, path: str, tmp_path: Path, key: str
) -> None:
    with serving(kind, tmp_path, *PATIENCE[kind]) as server, server.connect() as connection:
        connection.request("GET", f"{path}/{key}")
        assert connection.head()[0] == 200
        assert connection.chunk()
        server.process.send_signal(signal.SIGTERM)

        piece: bytes | None = b"more"
        while piece:
            piece = connection.chunk()
        assert piece is None
        connection.close()
        assert ends_well(server), server.log()

        events = server.observed(key)
        # Under a server that says nothing beforehand it is known only when the cancellation came
        # out of the handler.
        assert events["cancelled"]["reason"] == ("shutdown" if kind in OURS else None)
        assert events["deferred"]["reason"] == "shutdown"
        assert "cleaned" in events
        assert "ended" in server.observed("lifespan")


@on_each
def test_a_client_that_does_not_read_does_not_hold_up_the_end(
    kind: str, tmp_path: Path, key: str
) -> None:
    with (
        serving(kind, tmp_path, *PATIENCE[kind]) as server,
        server.connect(receive_buffer=64 * 1024) as connection,
    ):
        connection.request("GET", f"/flood/{key}")
        assert connection.head()[0] == 200
        settled(lambda: server.ask("GET", f"/progress/{key}").json())
        server.process.send_signal(signal.SIGTERM)

        assert ends_well(server), server.log()
        assert "ended" in server.observed("lifespan")


def test_without_a_lifespan_a_handler_is_cancelled_too(tmp_path: Path, key: str) -> None:
    with (
        serving("uvicorn-h11", tmp_path, "--lifespan", "off") as server,
        server.connect() as connection,
    ):
        connection.request("GET", f"/wait/{key}")
        server.event(key, "started")
        connection.close()

        assert server.event(key, "cancelled")["reason"] == "gone"
        server.event(key, "deferred")
        assert server.ask("GET", "/hello").body == b"hello"
        server.stop()
        assert not server.observed("lifespan")


def test_the_cancellation_of_a_foreign_server_is_shutdown(tmp_path: Path, key: str) -> None:
    with (
        serving("uvicorn-h11", tmp_path, "--timeout-graceful-shutdown", "0") as server,
        server.connect() as connection,
    ):
        connection.request("GET", f"/idle/{key}")
        assert connection.head()[0] == 200
        assert connection.chunk() == b"first"
        server.stop()

        assert connection.chunk() is None
        events = server.observed(key)
        assert {"cancelled", "cleaned"} <= events.keys()
        assert events["deferred"]["reason"] == "shutdown"
