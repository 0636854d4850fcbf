"""`guest`: clients that stall or leave hold up nobody."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.peers.client import Connection, eventually
from tests.peers.raw_app import KIB, MIB
from tests.wire.cures.stock import CAN_GO, TARGET, happens, stock
from tests.wire.servers import OURS, Server, serving


@contextmanager
def stalled_reader(server: Server, path: str, key: str) -> Iterator[Connection]:
    """Ask for 256 MiB and read nothing."""
    with server.connect(receive_buffer=64 * KIB) as connection:
        connection.request("GET", f"{path}/{key}")
        eventually(lambda: int(server.ask("GET", f"/progress/{key}").body))
        yield connection


def test_workers_let_an_application_give_up_a_stalled_write(server: Server, key: str):
    with stalled_reader(server, "/hurry", key):
        assert server.event(key, "gave up")


def test_trio_worker_of_stock_shields_a_stalled_write(stock_trio: Server, key: str):
    with stalled_reader(stock_trio, "/hurry", key):
        assert not happens(lambda: stock_trio.observed(key).get("gave up"), 0.8), CAN_GO + "guest"


def test_workers_end_a_stalled_write_by_themselves(strict: Server, key: str):
    with stalled_reader(strict, "/flood", key) as connection:
        assert strict.event(key, "ended")
        with pytest.raises(ConnectionResetError):
            while connection.socket.recv(MIB):
                pass


@pytest.mark.parametrize("kind", OURS)
def test_workers_end_in_time_with_a_stalled_reader(kind: str, tmp_path: Path, key: str):
    with serving(kind, tmp_path, "--drain", "0.3", "--graceful", "1", target=TARGET) as server:
        with stalled_reader(server, "/flood", key):
            server.process.send_signal(signal.SIGTERM)

            assert server.process.wait(1 + 1) == 0, server.log()
        assert server.observed(key)["ended"]
        assert "Traceback" not in server.log()


def test_workers_of_stock_do_not_end_with_a_stalled_reader(tmp_path: Path, key: str):
    (tmp_path / "trio").mkdir()
    (tmp_path / "asyncio").mkdir()
    shutting = ("--workers", "1", "--graceful-timeout", "1")
    with (
        stock("trio", tmp_path / "trio", *shutting) as first,
        stock("asyncio", tmp_path / "asyncio", *shutting) as second,
    ):
        with stalled_reader(first, "/flood", key), stalled_reader(second, "/flood", key):
            first.process.send_signal(signal.SIGTERM)
            second.process.send_signal(signal.SIGTERM)

            assert not happens(lambda: first.process.poll() is not None, 1.5), CAN_GO + "guest"
            assert second.process.poll() is None, CAN_GO + "guest"


def leave_a_writer(server: Server, key: str) -> str:
    """Leave an application that writes on, and give what was logged meanwhile."""
    logged = len(server.log())
    with server.connect() as connection:
        connection.request("GET", f"/heedless/{key}")
        connection.head()
        assert connection.chunk() == b"first"
    server.event(key, "wrote")
    return server.log()[logged:]


def test_workers_say_nothing_of_writes_to_a_client_that_left(server: Server, key: str):
    assert leave_a_writer(server, key) == ""


def test_asyncio_worker_of_stock_warns_of_each_write_to_a_client_that_left(
    tmp_path: Path, key: str
):
    with stock("asyncio", tmp_path) as running:
        assert leave_a_writer(running, key).count("socket.send() raised exception") > 50, (
            CAN_GO + "guest"
        )
