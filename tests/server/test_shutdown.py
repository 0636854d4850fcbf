"""SIGTERM: streams that listen end cleanly, others are cut visibly, and the process ends well."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.server.servers import OURS, serving


@pytest.mark.parametrize("kind", OURS)
def test_a_stream_that_listens_ends_cleanly(kind: str, tmp_path: Path, key: str) -> None:
    with serving(kind, tmp_path) as server, server.connect() as connection, server.connect() as idle:
        assert idle.ask("GET", "/hello").status == 200
        connection.request("GET", f"/until-draining/{key}")
        assert connection.head()[0] == 200
        assert connection.chunk() == b"open "
        server.process.send_signal(signal.SIGTERM)

        assert connection.chunk() == b"goodbye"
        assert connection.chunk() == b""
        assert idle.at_end()
        assert server.process.wait(10) == 0, server.log()

        events = server.observed(key) | server.observed("lifespan")
        assert set(events) == {"started", "draining", "cleaned", "deferred", "ended"}
        assert events["draining"]["at"] < events["deferred"]["at"] < events["ended"]["at"]


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("path", ["/idle", "/tick"])
def test_a_stream_that_does_not_listen_is_cut(kind: str, path: str, tmp_path: Path, key: str) -> None:
    with serving(kind, tmp_path, "--drain", "0.2", "--graceful", "0.4") as server, server.connect() as connection:
        connection.request("GET", f"{path}/{key}")
        assert connection.head()[0] == 200
        assert connection.chunk()
        server.process.send_signal(signal.SIGTERM)

        piece: bytes | None = b"more"
        while piece:
            piece = connection.chunk()
        assert piece is None
        assert server.process.wait(10) == 0, server.log()

        events = server.observed(key)
        assert events["cancelled"]["reason"] == "shutdown"
        assert {"cleaned", "deferred"} <= events.keys()
        assert "ended" in server.observed("lifespan")


def test_without_a_lifespan_a_handler_is_cancelled_too(tmp_path: Path, key: str) -> None:
    with serving("uvicorn-h11", tmp_path, "--lifespan", "off") as server, server.connect() as connection:
        connection.request("GET", f"/wait/{key}")
        server.event(key, "started")
        connection.close()

        assert server.event(key, "cancelled")["reason"] == "gone"
        server.event(key, "deferred")
        assert server.ask("GET", "/hello").body == b"hello"
        server.stop()
        assert not server.observed("lifespan")


def test_the_cancellation_of_a_foreign_server_is_shutdown(tmp_path: Path, key: str) -> None:
    with serving("uvicorn-h11", tmp_path, "--timeout-graceful-shutdown", "0") as server, server.connect() as connection:
        connection.request("GET", f"/idle/{key}")
        assert connection.head()[0] == 200
        assert connection.chunk() == b"first"
        server.stop()

        assert connection.chunk() is None
        events = server.observed(key)
        assert {"cancelled", "cleaned"} <= events.keys()
        assert events["deferred"]["reason"] == "shutdown"
